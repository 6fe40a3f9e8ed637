"""Bootstrap, spread and paired tests against their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reiqa.regression import metrics, statistics
from reiqa.regression.statistics import (
    Ranked,
    bootstrap,
    paired_tests,
    summary_statistics,
    weighted_srcc,
)


@settings(deadline=None, max_examples=50)
@given(
    st.lists(
        st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 3)), min_size=2, max_size=30
    )
)
def test_weights_are_equivalent_to_repetition(rows):
    first, second, weights = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    repeats = weights.astype(int)
    expected = metrics.srcc(np.repeat(first, repeats), np.repeat(second, repeats))
    found = weighted_srcc(Ranked.of(first), Ranked.of(second), weights)
    assert found == pytest.approx(expected, abs=1e-9, nan_ok=True)


def draw(count: int, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    ratings = rng.normal(size=200)
    tests = [np.arange(start, start + 60) for start in (0, 70, 140)]
    predictions = {
        "both": [ratings[rows] + 0.5 * rng.normal(size=60) for rows in tests],
        "content": [ratings[rows] + 2.0 * rng.normal(size=60) for rows in tests],
    }
    groups = np.arange(200)
    return {
        "tests": tests,
        "ratings": ratings,
        "predictions": predictions,
        "groups": groups,
        "count": count,
    }


def test_the_interval_holds_the_median_and_is_narrower_where_prediction_is_better():
    given_ = draw(400)
    draws = bootstrap(**given_, generator=np.random.default_rng(1))
    widths = {}
    for name, parts in given_["predictions"].items():
        values = [
            metrics.srcc(part, given_["ratings"][rows])
            for part, rows in zip(parts, given_["tests"], strict=True)
        ]
        low, high = statistics.percentile_interval(draws[name])
        assert low < np.median(values) < high
        widths[name] = high - low
    assert widths["both"] < widths["content"]


def test_the_same_generator_gives_the_same_draws():
    first, second = (bootstrap(**draw(20), generator=np.random.default_rng(3)) for _ in range(2))
    np.testing.assert_array_equal(first["both"], second["both"])


def test_a_reference_is_drawn_with_all_its_versions():
    # One group only: whatever is drawn is the whole sample, so no draw can differ.
    given_ = draw(30) | {"groups": np.zeros(200, dtype=int)}
    draws = bootstrap(**given_, generator=np.random.default_rng(0))["both"]
    np.testing.assert_allclose(draws, draws[0], atol=1e-12)


def test_the_paired_tests_are_the_published_ones():
    first, second = np.array([0.8, 0.85, 0.9, 0.81, 0.87]), np.array([0.7, 0.8, 0.91, 0.7, 0.8])
    found = paired_tests(first, second, test_share=2 / 7)
    assert found["wilcoxon_p"] == pytest.approx(stats.wilcoxon(first, second).pvalue)
    plain = stats.ttest_rel(first, second)
    # Nadeau and Bengio: the variance of the mean is (1/k + test/train), not 1/k, of the variance.
    t = plain.statistic * np.sqrt((1 / 5) / (1 / 5 + 2 / 7))
    assert found["corrected_t_p"] == pytest.approx(2 * stats.t.sf(abs(t), 4), rel=1e-5)
    assert found["difference"] == pytest.approx(0.07)


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.5]])
def test_where_there_is_nothing_to_test_there_is_no_p(values):
    found = paired_tests(values, values, 0.3)
    assert found["wilcoxon_p"] is None
    assert found["corrected_t_p"] is None


def test_a_split_without_a_value_is_left_out_and_still_shown():
    assert summary_statistics([0.5, float("nan"), 0.7]) == {
        "median": 0.6,
        "mean": 0.6,
        "std": pytest.approx(0.141421),
        "splits": [0.5, None, 0.7],
    }
    assert summary_statistics([float("nan")])["median"] is None
    assert summary_statistics([0.5])["std"] is None
