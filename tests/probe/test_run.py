"""The probe of both experts: what is asked of them, of which photographs, and what is written."""

import numpy as np
import pytest
import torch

from reiqa import encoders, layout, params, store
from reiqa.probe import retrieval, run

MEASURES = {"type_accuracy", "level_srcc", "distance_srcc", "retrieval"}


def photograph(seed):
    coarse = np.random.default_rng(seed).integers(0, 256, (9, 9, 3))
    return np.kron(coarse, np.ones((12, 12, 1))).astype(np.uint8)


@pytest.fixture
def settings(project, monkeypatch):
    """Two finished experts, four embedded photographs, and a corpus that only quality has seen."""
    from reiqa.data.index import CorpusImage

    training = {"epochs": 1, "batch_size": 1}
    expert = {"source": "pretrain", "backbone": "mobilenet_v3_small", "training": training}
    made = params.Params.model_validate(
        {
            "preset": "test",
            "datasets": ["demo"],
            "bank": {"types": ["gaussian_blur", "white_noise"]},
            "chunks": {"corpora": ["kodak", "cid22"], "n_aug": 2},
            "content": {**expert, "corpora": ["cid22"]},
            "quality": expert,
        }
    )
    photographs = {name: photograph(seed) for seed, name in zip((0, 1, 9, 10), "abcd", strict=True)}
    monkeypatch.setattr(run, "load_photographs", lambda: photographs)
    rows = [CorpusImage(f"{number}.png", 108, 108, f"{number:x}" * 8) for number in range(3)]
    monkeypatch.setattr(run, "read_corpus", lambda path: rows)
    monkeypatch.setattr(run.images, "read_rgb", lambda path: photograph(100 + int(path.stem)))
    for seed, name in enumerate(params.EXPERTS):
        expert = encoders.build_encoder("mobilenet_v3_small", name, seed + 1)
        encoders.save_encoder(expert, layout.model(name), {})
    return made


def test_both_experts_and_their_random_selves_are_asked_the_same(settings):
    run.run_probe(settings)
    tree = store.read_json(layout.PROBE)
    assert list(tree["encoders"]) == ["content", "content_random", "quality", "quality_random"]
    assert all(set(found) == MEASURES for found in tree["encoders"].values())
    assert tree["encoders"]["quality"] != tree["encoders"]["quality_random"]
    # Four embedded, and three of the corpus that the content expert does not learn from.
    assert tree["photographs"] == {"distortions": 4, "retrieval": 7}
    first = layout.PROBE.read_bytes()
    run.run_probe(settings)
    assert layout.PROBE.read_bytes() == first


def test_a_content_expert_is_never_asked_of_what_it_has_learnt_from(settings):
    assert settings.probe_corpora() == ["kodak"]
    imported = settings.content.model_copy(update={"source": "import", "file": "f"})
    assert settings.model_copy(update={"content": imported}).probe_corpora() == ["kodak", "cid22"]


def test_crops_are_two_of_each_photograph_and_repeat():
    photographs = [torch.from_numpy(photograph(seed)).permute(2, 0, 1) for seed in range(3)]
    first, again = (retrieval.cut_crop_pairs(iter(photographs), 32) for _ in range(2))
    assert first.shape == (3, 2, 3, 32, 32) and first.dtype == torch.uint8
    assert torch.equal(first, again)
    assert not torch.equal(first[:, 0], first[:, 1])


def test_a_crop_is_found_by_the_nearest_feature_whatever_all_have_in_common():
    common = torch.full((8,), 50.0)
    own = torch.randn(6, 1, 8, generator=torch.Generator().manual_seed(1))
    alike = common + own + 1e-3 * torch.randn(6, 2, 8, generator=torch.Generator().manual_seed(2))
    assert retrieval.retrieval_accuracy(alike) == 1.0
    swapped = torch.stack([alike[:, 0], alike[:, 1].roll(1, 0)], dim=1)
    assert retrieval.retrieval_accuracy(swapped) == 0.0


def test_found_counts_both_ways():
    axes = torch.eye(4)
    first, second = axes[:2], torch.stack([axes[0], 0.6 * axes[0] + 0.5 * axes[1]])
    features = torch.stack([first, second], dim=1)
    by_hand = features - features.mean((0, 1))
    cosines = torch.nn.functional.cosine_similarity(by_hand[:, None, 0], by_hand[None, :, 1], dim=2)
    hits = [int(cosines[i].argmax()) == i for i in (0, 1)]
    hits += [int(cosines[:, i].argmax()) == i for i in (0, 1)]
    assert retrieval.retrieval_accuracy(features) == sum(hits) / 4
