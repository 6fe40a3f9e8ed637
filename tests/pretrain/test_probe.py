import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from reiqa.encoders import Encoder, build
from reiqa.pretrain import probe


@pytest.fixture(scope="module")
def types():
    from reiqa.distortions import TYPES as KNOWN

    return tuple(KNOWN)[:3]


@pytest.fixture(scope="module")
def photographs():
    draw = np.random.default_rng(1)
    coarse = {name: draw.integers(0, 256, (9, 9, 3)) for name in "abcd"}
    return {name: np.kron(p, np.ones((8, 8, 1))).astype(np.uint8) for name, p in coarse.items()}


def test_windows_hold_the_plain_one_then_every_type_at_every_level(photographs, types):
    seen = probe.windows(photographs, types, 48, 2, seed=3)
    assert seen.pixels.shape == (8, 1 + 3 * 5, 3, 48, 48)
    assert seen.pixels.dtype == torch.uint8
    assert seen.photograph.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    again = probe.windows(dict(reversed(photographs.items())), types, 48, 2, seed=3)
    assert torch.equal(seen.pixels, again.pixels)
    worst = (seen.pixels[:, 5].float() - seen.pixels[:, 0].float()).abs().mean()
    least = (seen.pixels[:, 1].float() - seen.pixels[:, 0].float()).abs().mean()
    assert worst > least > 0


def test_rank_correlation_equals_scipys_window_by_window():
    values = np.random.default_rng(2).normal(size=(4, 15)).round(1)
    wanted = [spearmanr(range(5), part).statistic for part in values.reshape(-1, 5)]
    assert probe._rank_by_type(values) == pytest.approx(np.mean(wanted))


class Told(nn.Module):
    """Stands in for a body that reads type and level from two pixels of the window."""

    def forward(self, images):
        kind, level = images[:, 0, 0, 0] * 255, images[:, 0, 0, 1] * 255
        return torch.stack([*(kind == n for n in range(4)), level], dim=1).float()


def told(types, confused=False):
    """Windows whose first two pixels say type and level, or another's."""
    pixels = torch.zeros(4, 1 + 5 * types, 3, 8, 8, dtype=torch.uint8)
    for place in range(5 * types):
        kind, level = divmod(place, 5)
        pixels[:, 1 + place, :, 0, 0] = 0 if confused else kind + 1
        pixels[:, 1 + place, :, 0, 1] = 0 if confused else level + 1
    return probe.Windows(pixels, np.arange(4), tuple("abc"))


def test_features_that_know_all_score_one_and_features_that_know_nothing_score_chance():
    encoder = Encoder("told", "quality", Told(), 5)
    knowing, blind = probe.probe(encoder, told(3)), probe.probe(encoder, told(3, confused=True))
    assert knowing == pytest.approx({"type_accuracy": 1.0, "level_srcc": 1.0, "distance_srcc": 1.0})
    assert blind["type_accuracy"] == pytest.approx(1 / 3)
    assert (blind["level_srcc"], blind["distance_srcc"]) == (0, 0)


def test_comparison_tells_the_trained_from_the_random(photographs, types):
    seen = probe.windows(photographs, types, 48, 1, seed=3)
    trained = build("mobilenet_v3_small", "quality", seed=4)
    measures = probe.compare(trained, seen, seed=5)
    assert len(measures) == 6
    same = probe.compare(trained, seen, seed=4)
    for name in ("type_accuracy", "level_srcc", "distance_srcc"):
        assert same[name] == same[f"{name} of random weights"] == measures[name]
