import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from reiqa.probe import linear


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
    seen = linear.cut_windows(photographs, types, 48, 2, seed=3)
    assert seen.pixels.shape == (8, 1 + 3 * 5, 3, 48, 48)
    assert seen.pixels.dtype == torch.uint8
    assert seen.photograph.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    again = linear.cut_windows(dict(reversed(photographs.items())), types, 48, 2, seed=3)
    assert torch.equal(seen.pixels, again.pixels)
    worst = (seen.pixels[:, 5].float() - seen.pixels[:, 0].float()).abs().mean()
    least = (seen.pixels[:, 1].float() - seen.pixels[:, 0].float()).abs().mean()
    assert worst > least > 0


def test_rank_correlation_equals_scipys_window_by_window():
    values = np.random.default_rng(2).normal(size=(4, 15)).round(1)
    wanted = [spearmanr(range(5), part).statistic for part in values.reshape(-1, 5)]
    assert linear._rank_by_type(values) == pytest.approx(np.mean(wanted))


def told(types):
    """Features that say type and level of four photographs' windows outright."""
    kind = np.repeat(np.arange(types), linear.LEVELS)
    level = np.tile(np.arange(1, linear.LEVELS + 1), types)
    rows = np.column_stack([np.eye(types)[kind], level])
    return np.tile(np.concatenate([np.zeros((1, types + 1)), rows]), (4, 1, 1))


def test_features_that_know_all_score_one_and_features_that_know_nothing_score_chance():
    photograph = np.arange(4)
    knowing = linear.probe_features(told(3), photograph)
    blind = linear.probe_features(np.zeros_like(told(3)), photograph)
    assert knowing == pytest.approx({"type_accuracy": 1.0, "level_srcc": 1.0, "distance_srcc": 1.0})
    assert blind["type_accuracy"] == pytest.approx(1 / 3)
    assert (blind["level_srcc"], blind["distance_srcc"]) == (0, 0)
