"""Metrics against scipy's own, and what must not change them."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import optimize, stats

from reiqa.regression import metrics

NUMBERS = st.floats(-100, 100).map(lambda value: round(value, 3))
PAIRS = st.integers(3, 40).flatmap(
    lambda count: st.tuples(
        arrays(np.float64, count, elements=NUMBERS), arrays(np.float64, count, elements=NUMBERS)
    )
)

UNHURRIED = settings(deadline=None, max_examples=50)


def vary(*columns: np.ndarray) -> None:
    assume(all(np.ptp(column) > 0 for column in columns))


@UNHURRIED
@given(PAIRS)
def test_correlations_are_those_of_scipy(pair):
    first, second = pair
    vary(first, second)
    assert metrics.srcc(first, second) == pytest.approx(
        stats.spearmanr(first, second).statistic, abs=1e-9
    )
    assert metrics.plcc(first, second) == pytest.approx(
        stats.pearsonr(first, second).statistic, abs=1e-7
    )
    assert metrics.krcc(first, second) == pytest.approx(
        stats.kendalltau(first, second).statistic, abs=1e-9
    )


@UNHURRIED
@given(PAIRS, st.integers(1, 64), st.integers(-100, 100))
def test_rank_correlation_does_not_see_scale_or_offset(pair, scale, offset):
    first, second = pair
    vary(first, second)
    # Whole multiples of a sixteenth, so that scaling keeps ties and order to the bit.
    first = np.round(first * 16) / 16
    vary(first)
    expected = metrics.srcc(first, second)
    assert metrics.srcc(scale * first + offset, second) == pytest.approx(expected, abs=1e-12)
    assert metrics.srcc(-scale * first + offset, second) == pytest.approx(-expected, abs=1e-12)


@UNHURRIED
@given(PAIRS, st.randoms())
def test_no_metric_sees_the_order_of_the_images(pair, random):
    first, second = pair
    vary(first, second)
    order = list(range(len(first)))
    random.shuffle(order)
    for metric in (metrics.srcc, metrics.plcc, metrics.krcc, metrics.rmse):
        assert metric(first[order], second[order]) == pytest.approx(metric(first, second), abs=1e-9)


@pytest.mark.parametrize("metric", [metrics.srcc, metrics.plcc, metrics.krcc])
@pytest.mark.parametrize("constant", [0.0, 0.1, 1e9])
def test_no_correlation_exists_with_a_constant_or_a_single_image(metric, constant):
    values = np.arange(5.0)
    assert np.isnan(metric(np.full(5, constant), values))
    assert np.isnan(metric(values[:1], values[:1]))


@pytest.mark.parametrize("direction", [1, -1])
def test_a_logistic_curve_is_found_again(direction):
    predictions = np.linspace(-3, 5, 200)
    truth = metrics.Logistic(4.5 * direction, 1.0, 0.7, 1.3)
    found = metrics.fit_logistic(predictions, truth(predictions))
    np.testing.assert_allclose(found(predictions), truth(predictions), atol=1e-6)
    assert found.b4 > 0


def test_the_logistic_curve_is_no_worse_than_that_of_another_fit():
    rng = np.random.default_rng(0)
    predictions = rng.normal(60, 15, 300)
    ratings = 1 + 4 / (1 + np.exp(-(predictions - 55) / 9)) + rng.normal(0, 0.3, 300)

    def curve(x, b1, b2, b3, b4):
        return b2 + (b1 - b2) / (1 + np.exp(-(x - b3) / abs(b4)))

    other, _ = optimize.curve_fit(curve, predictions, ratings, [5, 1, 60, 15], maxfev=20000)
    expected = metrics.rmse(curve(predictions, *other), ratings)
    found = metrics.fit_logistic(predictions, ratings)
    assert metrics.rmse(found(predictions), ratings) <= expected * (1 + 1e-6)


@pytest.mark.parametrize("scale", [1e-3, 1, 1e4])
def test_the_mapped_predictions_do_not_depend_on_the_scale_of_either_side(scale):
    rng = np.random.default_rng(1)
    predictions = rng.normal(size=80)
    ratings = np.tanh(1.5 * predictions) + 0.1 * rng.normal(size=80)
    plain = metrics.fit_logistic(predictions, ratings)(predictions)
    scaled_predictions = 3 + scale * predictions
    scaled = metrics.fit_logistic(scaled_predictions, scale * ratings)(scaled_predictions)
    np.testing.assert_allclose(scaled, scale * plain, atol=1e-5 * scale)


def test_no_curve_is_fitted_to_a_constant_or_to_a_handful():
    values = np.arange(20.0)
    assert metrics.fit_logistic(np.ones(20), values) is None
    assert metrics.fit_logistic(values[:5], values[:5]) is None
    np.testing.assert_array_equal(metrics.fit_line(np.ones(20), values), np.full(20, 9.5))


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("relation", [0.0, 0.3, -2.0])
def test_after_mapping_the_error_is_no_greater_than_after_a_straight_line(seed, relation):
    rng = np.random.default_rng(seed)
    predictions = np.round(rng.normal(size=40), seed % 3)
    ratings = relation * predictions + rng.normal(size=40)
    curve = metrics.fit_logistic(predictions, ratings)
    if curve is not None:
        line = metrics.rmse(metrics.fit_line(predictions, ratings), ratings)
        assert metrics.rmse(curve(predictions), ratings) <= line * (1 + 1e-5)
        assert np.isfinite(metrics.plcc(curve(predictions), ratings))


def test_two_outliers_that_no_curve_follows_leave_a_curve_that_is_not_flat_or_none():
    predictions = np.array([0.0] * 12 + [60.426, 78.0])
    ratings = np.array([0.0] * 13 + [78.0])
    curve = metrics.fit_logistic(predictions, ratings)
    assert curve is None or np.isfinite(metrics.plcc(curve(predictions), ratings))
