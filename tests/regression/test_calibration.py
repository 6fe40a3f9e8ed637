"""Ratings to normal scores and back."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from reiqa.regression.regressor import IDENTITY, fit_calibration, normal_scores


def test_normal_scores_are_the_quantiles_of_the_ranks_and_ties_share_one():
    scores = normal_scores(np.array([3.0, 1.0, 2.0, 2.0]))
    shares = np.array([3.5, 0.5, 2.0, 2.0]) / 4
    np.testing.assert_allclose(scores, stats.norm.ppf(shares))


def test_the_curve_leads_normal_scores_back_to_ratings():
    ratings = np.random.default_rng(0).beta(0.7, 0.5, size=2000)
    back = fit_calibration(ratings)(normal_scores(ratings))
    inside = np.abs(normal_scores(ratings)) < 2
    assert np.abs(back - ratings)[inside].max() < 0.02
    assert stats.spearmanr(back, ratings).statistic > 1 - 1e-12


def test_a_normal_distribution_of_ratings_is_led_back_by_a_line():
    ratings = 5 + 2 * normal_scores(np.arange(500.0))
    fitted = np.linspace(-6, 6, 40)
    np.testing.assert_allclose(fit_calibration(ratings)(fitted), 5 + 2 * fitted, atol=1e-9)


@given(
    st.lists(st.integers(0, 20), min_size=2, max_size=60).filter(lambda drawn: len(set(drawn)) > 1)
)
def test_the_curve_rises_everywhere_and_for_ever(drawn):
    link = fit_calibration(np.array(drawn, dtype=np.float64))
    assert (np.diff(link(np.linspace(-30, 30, 500))) > 0).all()


def test_the_straight_link_changes_nothing():
    matrix = np.random.default_rng(1).normal(size=(4, 3)) * 10
    np.testing.assert_allclose(IDENTITY(matrix), matrix)
