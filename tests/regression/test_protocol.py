"""One split: how the penalty is chosen, and that no part sees another."""

import numpy as np
import pytest

from reiqa.errors import BadInputError
from reiqa.params import RegressionParams
from reiqa.regression.protocol import choose_alpha, refit_all, run_split
from reiqa.regression.regressor import normal_scores
from reiqa.regression.ridge_path import Penalty
from reiqa.regression.splits import Split

GRID = [Penalty(alpha, 0.0) for alpha in (0.1, 1.0, 10.0)]
RATINGS = np.array([1.0, 2.0, 3.0, 4.0])


def predictions(*columns: list[float]) -> np.ndarray:
    return np.array(columns).T


def test_the_penalty_with_the_best_validation_srcc_is_chosen():
    choice = choose_alpha(predictions([4, 3, 2, 1], [1, 2, 3, 4], [1, 3, 2, 4]), RATINGS, GRID)
    assert (choice.at, choice.note) == (1, "")
    np.testing.assert_allclose(choice.scores, [-1, 1, 0.8])


def test_of_equal_penalties_the_greatest_is_chosen():
    assert (
        choose_alpha(predictions([1, 2, 3, 4], [2, 3, 4, 5], [1, 3, 2, 4]), RATINGS, GRID).at == 1
    )


def test_a_penalty_that_could_not_be_solved_for_is_passed_over():
    nan = [np.nan] * 4
    choice = choose_alpha(predictions(nan, [4, 3, 2, 1], nan), RATINGS, GRID)
    assert choice.at == 1
    with pytest.raises(BadInputError, match="alphas"):
        choose_alpha(predictions(nan, nan, nan), RATINGS, GRID)


def test_two_validation_images_choose_by_squared_error_and_say_so():
    choice = choose_alpha(predictions([1, 9], [2, 2.1], [1.1, 2.1]), RATINGS[:2], GRID)
    assert choice.at == 2
    assert "squared error" in choice.note


def test_constant_predictions_choose_by_squared_error_and_say_so():
    choice = choose_alpha(predictions([9] * 4, [2.5] * 4, [0] * 4), RATINGS, GRID)
    assert choice.at == 1
    assert "no validation SRCC" in choice.note


def test_without_validation_images_the_middle_of_the_grid_is_taken():
    choice = choose_alpha(np.empty((0, 3)), RATINGS[:0], GRID)
    assert choice.at == 1
    assert "no validation image" in choice.note


def parts(count: int) -> Split:
    rows = np.arange(count)
    return Split(rows[: count // 2], rows[count // 2 : -4], rows[-4:], rows[:0])


def data(count: int = 30) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(count, 5)).astype(np.float32)
    return values, values @ rng.normal(size=5) + 3


def test_neither_penalty_nor_predictions_depend_on_test_ratings():
    values, ratings = data()
    expected = run_split(values, ratings, parts(30), GRID)
    changed = ratings.copy()
    changed[-4:] = 1e6
    found = run_split(values, changed, parts(30), GRID)
    assert found.penalty == expected.penalty
    np.testing.assert_array_equal(found.predictions, expected.predictions)


def test_other_test_images_do_not_change_a_prediction():
    values, ratings = data()
    expected = run_split(values, ratings, parts(30), GRID).predictions
    values = values.copy()
    values[-3:] *= 100
    assert run_split(values, ratings, parts(30), GRID).predictions[0] == expected[0]


def test_predictions_are_on_the_scale_of_the_ratings():
    values, ratings = data()
    for scale, offset in ((1, 0), (1000, -7)):
        trial = run_split(values, scale * ratings + offset, parts(30), GRID)
        np.testing.assert_allclose(
            (trial.predictions - offset) / scale,
            run_split(values, ratings, parts(30), GRID).predictions,
            rtol=1e-7,
        )


def test_constant_training_ratings_are_a_clear_line():
    values, _ = data()
    with pytest.raises(BadInputError, match="distinct ratings"):
        run_split(values, np.ones(30), parts(30), GRID)


def test_features_that_do_not_vary_predict_the_mean_and_say_so():
    values, ratings = data()
    trial = run_split(np.ones_like(values), ratings, parts(30), GRID)
    np.testing.assert_allclose(trial.predictions, ratings[:15].mean())
    assert any("no feature varies" in note for note in trial.notes)


def test_the_kept_regressor_is_fitted_on_every_row():
    values, ratings = data()
    regressor = refit_all(values, ratings, Penalty(1e-6, 0.0))
    np.testing.assert_allclose(regressor.predict(values), ratings, rtol=1e-5)


def test_clipping_keeps_one_strange_photograph_within_reach():
    values, ratings = data()
    strange = values[:1] * 1e6
    clipped, free = (
        refit_all(values, ratings, Penalty(1.0, 0.0), RegressionParams(clip=clip))
        for clip in (3.0, None)
    )
    farthest = 3 * np.abs(clipped.weights).sum()
    assert abs(clipped.predict(strange)[0] - clipped.intercept) <= farthest * (1 + 1e-9)
    assert abs(free.predict(strange)[0] - free.intercept) > 1000 * farthest


def test_normal_scores_are_fitted_and_led_back_to_ratings():
    values, ratings = data()
    skewed = np.exp(ratings)
    settings = RegressionParams(target="normal_scores")
    regressor = refit_all(values, skewed, Penalty(1e-6, 0.0), settings)
    straight = refit_all(values, normal_scores(skewed), Penalty(1e-6, 0.0))
    np.testing.assert_allclose(regressor.weights, straight.weights)
    predicted = regressor.predict(values)
    np.testing.assert_array_equal(predicted.argsort(), straight.predict(values).argsort())
    assert np.median(np.abs(predicted - skewed)) < 0.1 * skewed.std()
