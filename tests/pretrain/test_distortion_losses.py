"""The losses on distortions, against slow references written from their definitions."""

import math
from dataclasses import replace

import numpy as np
import piq
import pytest
import torch
from torch.nn import functional

from reiqa import params, tensors
from reiqa.chunks.recipe import draw_recipe
from reiqa.chunks.render import render
from reiqa.distortions import LEVELS, resolve
from reiqa.pretrain import distortion_losses as losses
from reiqa.pretrain.distortion_losses import DistortionLabels, mdsi_on_device

TYPES = resolve(params.BankParams())


def labels(types, levels, severity=None):
    return DistortionLabels(
        torch.tensor(types),
        torch.tensor(levels),
        torch.zeros(len(types), len(types[0])) if severity is None else severity,
    )


def unit(*shape, seed=0):
    return functional.normalize(
        torch.randn(shape, generator=torch.Generator().manual_seed(seed)), dim=-1
    )


def slow_contrast(units, kinds, temperature):
    """Mean over crops with positives of the mean over positives of -log of the share."""
    groups, versions = len(kinds), len(kinds[0])
    places = [(g, v) for g in range(groups) for v in range(versions)]
    total = []
    for a in places:
        others = [b for b in places if b != a]
        whole = sum(math.exp(float(units[a] @ units[b]) / temperature) for b in others)
        positives = [b for b in others if b[0] != a[0] and kinds[b[0]][b[1]] == kinds[a[0]][a[1]]]
        if positives:
            terms = [float(units[a] @ units[b]) / temperature - math.log(whole) for b in positives]
            total.append(-sum(terms) / len(terms))
    return sum(total) / len(total) if total else 0.0


@pytest.mark.parametrize("seed", range(3))
def test_supervised_contrast_equals_a_slow_reference(seed):
    draw = np.random.default_rng(seed)
    types, levels = draw.integers(0, 3, (4, 3)), draw.integers(0, 2, (4, 3))
    kinds = [
        [*zip(t, at, strict=True)] for t, at in zip(types.tolist(), levels.tolist(), strict=True)
    ]
    units = unit(4, 3, 8, seed=seed)
    found = losses.supervised_contrast(units, labels(types.tolist(), levels.tolist()), 0.2)
    assert float(found) == pytest.approx(slow_contrast(units, kinds, 0.2), rel=1e-5)


def test_supervised_contrast_is_zero_without_positives_and_its_gradient_finite():
    units = unit(2, 2, 8).requires_grad_()
    value = losses.supervised_contrast(units, labels([[0, 1], [2, 3]], [[1, 1], [1, 1]]), 0.2)
    value.backward()
    assert value.item() == 0
    assert units.grad.isfinite().all()


def test_the_weighted_sum_equals_its_parts():
    given = labels([[2, 0], [2, 1]], [[0, 3], [0, 5]], torch.tensor([[0.0, 0.3], [0.0, 0.5]]))
    outputs, units = torch.randn(2, 2, losses.head_width(2)), unit(2, 2, 8)

    def loss(**weights):
        chosen = params.DistortionLossParams(**weights)
        return float(losses.distortion_loss(units, outputs, given, chosen, 0.2))

    flat = outputs.flatten(0, 1)
    kind = functional.cross_entropy(flat[:, :3], torch.tensor([2, 0, 2, 1]))
    level = np.mean((flat[:, 3].numpy() - (np.array([0, 3, 0, 5]) - 2.5) * 3 / 5) ** 2)
    assert loss(type=2.0) == pytest.approx(2 * float(kind), rel=1e-5)
    assert loss(level=1.0) == pytest.approx(level, rel=1e-5)
    parts = [loss(**{name: 1.0}) for name in ("contrast", "type", "level", "severity")]
    assert loss(contrast=1, type=1, level=1, severity=1) == pytest.approx(sum(parts), rel=1e-5)


@pytest.fixture(scope="module")
def chunks():
    settings = params.ChunkParams(corpora=["kodak"], n_aug=3, patch=32)
    draw = torch.Generator().manual_seed(0)
    windows, recipes = [], []
    for name in "abcd":
        recipe = draw_recipe(settings, TYPES, 0, "kodak", name, 0, 400, 400)
        coarse = torch.rand(1, 3, 25, 25, generator=draw)
        smooth = functional.interpolate(coarse, size=(recipe.height, recipe.width), mode="bicubic")
        windows.append(tensors.to_uint8(smooth.clamp(0, 1))[0])
        recipes.append(recipe)
    return windows, recipes


def test_labels_are_types_and_levels_of_each_version_at_each_scale(chunks):
    windows, recipes = chunks
    found = losses.label_pairs(render(windows, recipes), recipes)
    assert found.type.shape == found.level.shape == found.severity.shape == (8, 4)
    for group in range(8):
        recipe = recipes[group // 2]
        assert [TYPES[at] for at in found.type[group, 1:].tolist()] == list(recipe.types)
        assert found.level[group].tolist() == [0, *recipe.levels]
    assert (found.type[:, 0] == len(TYPES)).all()


def test_severity_compares_a_version_with_the_undistorted_crop_of_the_same_place(chunks):
    windows, recipes = chunks
    pairs = render(windows, recipes)
    found = losses.label_pairs(pairs, recipes).severity.view(4, 2, 4)
    for chunk, scale, version in np.ndindex(4, 2, 4):
        plain = [side[chunk, scale, 0] for side in (pairs.query, pairs.key)]
        first, second = plain[::-1] if recipes[chunk].swapped(scale, 0) else plain
        clean = second if recipes[chunk].swapped(scale, version) else first
        own = piq.mdsi(pairs.query[chunk, scale, version][None], clean[None])
        assert float(found[chunk, scale, version]) == pytest.approx(float(own), abs=1e-5)
    assert found[..., 0].abs().max() < 1e-6
    assert found[..., 1:].mean() > 0.1


def test_shared_distortions_are_those_of_the_first_recipe_with_own_seeds_and_crops(chunks):
    _, recipes = chunks
    shared = losses.share_distortions(recipes, 2)
    assert losses.share_distortions(recipes, 1) == recipes
    for place, recipe in enumerate(shared):
        first = recipes[place - place % 2]
        assert (recipe.types, recipe.levels) == (first.types, first.levels)
        assert recipe == replace(recipes[place], types=first.types, levels=first.levels)
    assert all(0 < level <= LEVELS for recipe in shared for level in recipe.levels)


def test_severity_on_a_gpu_is_piqs():
    draw = torch.Generator().manual_seed(0)
    clean = torch.rand(3, 3, 40, 50, generator=draw)
    distorted = (clean + torch.rand(3, 3, 40, 50, generator=draw) * 0.5).clamp(0, 1)
    distorted[1] = 1 - clean[1]
    for one, two in (
        (distorted, clean),
        (distorted.repeat(1, 1, 12, 12), clean.repeat(1, 1, 12, 12)),
    ):
        expected = piq.mdsi(one, two, data_range=1.0, reduction="none")
        torch.testing.assert_close(mdsi_on_device(one, two), expected, atol=1e-5, rtol=1e-5)
