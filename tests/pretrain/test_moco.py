"""The engine's pieces, each against a slow hand-written reference."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from reiqa import encoders
from reiqa.params import TrainingParams
from reiqa.pretrain import moco


def unit(*shape, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return functional.normalize(torch.randn(*shape, generator=draw), dim=-1)


def models(**changes):
    training = TrainingParams(epochs=1, batch_size=1, projection_dim=8, queue_size=16, **changes)
    return moco.MoCo(encoders.build_encoder("shufflenet_v2_x0_5", "quality"), training, seed=1)


def slow_loss(query, key, queue, temperature, within_chunk):
    """InfoNCE written out: one query, one negative at a time."""
    total, right, count = 0.0, 0, 0
    groups, versions, _ = query.shape
    for g in range(groups):
        for v in range(versions):
            positive = float(query[g, v] @ key[g, v])
            negatives = [float(query[g, v] @ queue[n]) for n in range(len(queue))]
            if within_chunk:
                negatives += [float(query[g, v] @ key[g, w]) for w in range(versions) if w != v]
            exponents = [math.exp(c / temperature) for c in (positive, *negatives)]
            total -= math.log(exponents[0] / sum(exponents))
            right += positive > max(negatives)
            count += 1
    return total / count, right / count


@pytest.mark.parametrize("within_chunk", [False, True])
@pytest.mark.parametrize("shape", [(1, 2), (3, 4), (2, 1)])
def test_the_loss_equals_a_slow_reference(within_chunk, shape):
    query, key, queue = unit(*shape, 8, seed=1), unit(*shape, 8, seed=2), unit(5, 8, seed=3)
    key = functional.normalize(key + query, dim=-1)
    cosines = moco.logits(query, key, queue, within_chunk)
    loss, right = slow_loss(query, key, queue, 0.2, within_chunk)
    assert float(moco.info_nce(cosines, 0.2)) == pytest.approx(loss, rel=1e-5)
    assert float(moco.top1(cosines)) == pytest.approx(right)


def test_in_batch_keys_are_negatives_only_of_their_own_group():
    query, key, queue = unit(3, 4, 8, seed=1), unit(3, 4, 8, seed=2), unit(5, 8, seed=3)
    before = moco.logits(query, key, queue, within_chunk=True)
    moved = key.clone()
    moved[2] = unit(4, 8, seed=9)
    after = moco.logits(query, moved, queue, within_chunk=True)
    assert torch.equal(before[:8], after[:8])
    assert not torch.equal(before[8:], after[8:])


def test_negatives_of_the_queue_alone_ignore_the_other_keys():
    query, key, queue = unit(2, 4, 8, seed=1), unit(2, 4, 8, seed=2), unit(5, 8, seed=3)
    cosines = moco.logits(query, key, queue, within_chunk=False)
    torch.testing.assert_close(cosines[:, 1:], query.flatten(0, 1) @ queue.T)
    assert cosines.shape == (8, 6)


@pytest.mark.parametrize("batch", [1, 2, 8, 15, 16, 17, 40])
def test_the_queue_wraps_like_a_list(batch):
    model = models()
    reference, pointer = list(model.queue.clone()), 0
    for step in range(7):
        keys = unit(batch, 8, seed=step + 50)
        model.enqueue(keys)
        for row in keys:
            reference[pointer] = row
            pointer = (pointer + 1) % 16
        assert torch.equal(model.queue, torch.stack(reference))
        assert int(model.pointer) == pointer


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_the_queue_holds_the_latest_keys_whatever_the_batches(sizes):
    model, everything = models(), [torch.zeros(0, 8)]
    for number, size in enumerate(sizes):
        everything.append(unit(size, 8, seed=number))
        model.enqueue(everything[-1])
    latest = torch.cat(everything)[-16:]
    held = {tuple(row) for row in model.queue.tolist()}
    assert {tuple(row) for row in latest.tolist()} <= held


def test_the_key_encoder_follows_by_momentum_and_takes_no_gradient():
    model = models()
    with torch.no_grad():
        for weight in model.query.parameters():
            weight.add_(1)
    before = [weight.clone() for weight in model.key.parameters()]
    model.update_momentum_encoder(0.9)
    for old, new, lead in zip(
        before, model.key.parameters(), model.query.parameters(), strict=True
    ):
        torch.testing.assert_close(new, 0.9 * old + 0.1 * lead)
        assert not new.requires_grad


def test_embeddings_have_length_one_and_the_asked_width():
    with torch.no_grad():
        embedded, distortions = models().query(torch.rand(4, 3, 32, 32))
        assert distortions is None
    assert embedded.shape == (4, 8)
    torch.testing.assert_close(embedded.norm(dim=1), torch.ones(4))


def test_each_part_of_a_batch_is_normalised_by_itself():
    images = torch.rand(6, 3, 32, 32)
    whole, apart = models().query, models().query
    apart._bn_splits = 3
    with torch.no_grad():
        together = torch.cat([whole(part).embeddings for part in images.split(2)])
        torch.testing.assert_close(apart(images).embeddings, together)
        assert not torch.allclose(apart(images).embeddings, whole(images).embeddings)
