"""The path of penalties against scikit-learn, and the work it takes."""

import numpy as np
import pytest
from sklearn.linear_model import ElasticNet, Ridge
from sklearn.preprocessing import StandardScaler

from reiqa.regression import ridge_path, scaler
from reiqa.regression.ridge_path import Penalty, ScaledRows, fit_path, ridge
from reiqa.regression.scaler import FeatureScaler

ALPHAS = [float(alpha) for alpha in np.geomspace(1e-3, 1e6, 25)]


def sample(rows: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Correlated features on unlike scales, with a large mean, and ratings that follow them."""
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(rows, 20)) @ rng.normal(size=(20, width))
    values = 5 + np.exp(rng.normal(size=width)) * (hidden + rng.normal(size=(rows, width)))
    ratings = hidden[:, :3].sum(axis=1) + rng.normal(size=rows)
    return values.astype(np.float32), (ratings - ratings.mean()) / ratings.std()


def standardised(values: np.ndarray) -> ScaledRows:
    rows = np.arange(len(values))
    return ScaledRows(values, rows, FeatureScaler.fit(values, rows))


@pytest.mark.parametrize(
    ("rows", "width"), [(500, 210), (150, 600), (120, 120), (2, 30), (30, 1), (450, 460)]
)
def test_ridge_predicts_what_scikit_learn_predicts(rows, width):
    values, ratings = sample(rows, width)
    fresh, _ = sample(40, width, seed=1)
    scaler = StandardScaler().fit(values.astype(np.float64))
    scaled = scaler.transform(values.astype(np.float64))
    features = standardised(values)
    weights = ridge(features, ratings, ALPHAS)
    predicted = ScaledRows(fresh, np.arange(40), features.scaling).matmul(weights)
    for column, alpha in enumerate(ALPHAS):
        model = Ridge(alpha, fit_intercept=False).fit(scaled, ratings)
        expected = model.predict(scaler.transform(fresh.astype(np.float64)))
        scale = np.abs(expected).max()
        np.testing.assert_allclose(predicted[:, column] / scale, expected / scale, atol=1e-8)


@pytest.mark.parametrize(("rows", "width"), [(300, 40), (60, 200)])
def test_clipped_features_are_fitted_as_scikit_learn_fits_them(rows, width):
    values, ratings = sample(rows, width)
    scaler = StandardScaler().fit(values.astype(np.float64))
    clipped = scaler.transform(values.astype(np.float64)).clip(-1.5, 1.5)
    every = np.arange(rows)
    features = ScaledRows(values, every, FeatureScaler.fit(values, every, 1.5))
    model = Ridge(30.0, fit_intercept=False).fit(clipped, ratings)
    predicted = features.matmul(ridge(features, ratings, [30.0]))[:, 0]
    np.testing.assert_allclose(predicted, model.predict(clipped), rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(("rows", "width"), [(300, 200), (200, 300)])
def test_a_whole_path_takes_one_factorisation_of_the_smaller_side(rows, width, monkeypatch):
    values, ratings = sample(rows, width)
    sizes = []
    reduce = ridge_path._reduce

    def counted(matrix, bandwidth):
        sizes.append(matrix.shape)
        return reduce(matrix, bandwidth)

    monkeypatch.setattr(ridge_path, "_reduce", counted)
    ridge(standardised(values), ratings, ALPHAS)
    assert sizes == [(200, 200)]


@pytest.mark.parametrize("size", [1, 2, 6, 7, 8, 13, 50, 100])
@pytest.mark.parametrize("bandwidth", [1, 3, 6, 96])
def test_a_shifted_system_is_solved_whatever_its_size_and_bandwidth(size, bandwidth, monkeypatch):
    monkeypatch.setattr(ridge_path, "_ROWS", 10)
    rng = np.random.default_rng(size)
    root = rng.normal(size=(size, size))
    matrix, right = root @ root.T, rng.normal(size=(size, 1))
    found = ridge_path.ShiftedSystem(matrix.copy(), bandwidth).solve(right, [0.1, 10.0])
    for column, shift in enumerate((0.1, 10.0)):
        expected = np.linalg.solve(matrix + shift * np.eye(size), right)[:, 0]
        np.testing.assert_allclose(found[:, column], expected, rtol=1e-7, atol=1e-10)


def test_a_shift_below_rounding_gives_nan_only_in_its_column():
    vector = np.arange(1.0, 41.0)[:, None]
    matrix = 1e12 * vector @ vector.T
    found = ridge_path.ShiftedSystem(matrix.copy(), 4).solve(vector, [1e-30, 1e6])
    expected = np.linalg.solve(matrix + 1e6 * np.eye(40), vector)[:, 0]
    np.testing.assert_allclose(found[:, 1], expected, rtol=1e-3)
    assert np.isnan(found[:, 0]).all() or np.isfinite(found[:, 0]).all()


@pytest.mark.parametrize("ratio", [0.3, 1.0])
def test_the_elastic_net_is_that_of_scikit_learn(ratio):
    values, ratings = sample(80, 25)
    tried = [0.5, 5.0, 20.0]
    path = fit_path(standardised(values), ratings, [Penalty(alpha, ratio) for alpha in tried])
    scaled = StandardScaler().fit_transform(values.astype(np.float64))
    for column, alpha in enumerate(tried):
        model = ElasticNet(alpha / 80, l1_ratio=ratio, tol=1e-10, max_iter=100_000)
        model.fit(scaled, ratings)
        np.testing.assert_allclose(path.weights[:, column], model.coef_, atol=1e-3)
    assert path.notes == []


def test_an_elastic_net_without_its_first_norm_is_ridge():
    values, ratings = sample(60, 10)
    path = fit_path(standardised(values), ratings, [Penalty(3.0, 0.0), Penalty(3.0, 0.5)])
    np.testing.assert_array_equal(path.weights[:, :1], ridge(standardised(values), ratings, [3.0]))


def test_an_elastic_net_that_does_not_converge_says_so(monkeypatch):
    monkeypatch.setattr(ridge_path, "_MAX_ITERATIONS", 1)
    values, ratings = sample(40, 60)
    path = fit_path(standardised(values), ratings, [Penalty(1e-4, 0.5)])
    assert "did not converge" in path.notes[0]


@pytest.mark.parametrize("block", [1, 37, 10_000])
def test_blocks_change_nothing(block, monkeypatch):
    values, _ = sample(60, 17)
    scaled = StandardScaler().fit_transform(values.astype(np.float64))
    weights = np.random.default_rng(0).normal(size=(17, 3))
    monkeypatch.setattr(scaler, "_BLOCK", block)
    features = standardised(values)
    np.testing.assert_allclose(features.dense(), scaled, atol=1e-10)
    np.testing.assert_allclose(features.gram(), scaled @ scaled.T, atol=1e-10)
    np.testing.assert_allclose(features.covariance(), scaled.T @ scaled, atol=1e-10)
    np.testing.assert_allclose(features.matmul(weights), scaled @ weights, atol=1e-10)
    np.testing.assert_allclose(features.rmatmul(scaled), scaled.T @ scaled, atol=1e-10)


@pytest.mark.parametrize("constant", [0.0, 0.1, 7e6])
def test_a_constant_feature_says_nothing_even_where_it_changes(constant):
    values, ratings = sample(50, 4)
    values[:, 2] = np.float32(constant)
    features = standardised(values)
    assert features.scaling.inverse[2] == 0
    weights = ridge(features, ratings, [1e-3])
    elsewhere = values.copy()
    elsewhere[:, 2] += 1000
    moved = ScaledRows(elsewhere, np.arange(50), features.scaling)
    np.testing.assert_array_equal(moved.matmul(weights), features.matmul(weights))


def test_statistics_are_of_the_given_rows_alone():
    values, _ = sample(50, 4)
    rows = np.arange(10, 30)
    scaling = FeatureScaler.fit(values, rows)
    np.testing.assert_allclose(scaling.mean, values[10:30].astype(np.float64).mean(axis=0))
    deviation = values[10:30].astype(np.float64).std(axis=0)
    np.testing.assert_allclose(scaling.inverse, 1 / deviation)
