"""Kernel ridge: against direct solutions, and what a bundle relies on."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import sparse
from sklearn.kernel_ridge import KernelRidge
from sklearn.metrics.pairwise import rbf_kernel

from reiqa.errors import BadInputError
from reiqa.params import RegressionParams
from reiqa.regression import kernel_ridge, regressor
from reiqa.regression.kernel_ridge import fit_kernel_ridge
from reiqa.regression.protocol import refit_all, run_split
from reiqa.regression.ridge_path import Penalty, ScaledRows
from reiqa.regression.scaler import FeatureScaler
from reiqa.regression.splits import Split

EXPERTS = [slice(0, 7), slice(7, 12)]
PENALTIES = [Penalty(alpha, 0.0) for alpha in (0.3, 4.0)]
SETTINGS = RegressionParams(model="kernel_ridge", components=12, clip=4.0)


@pytest.fixture
def values() -> np.ndarray:
    return np.random.default_rng(3).normal(2, 3, (60, 12)).astype(np.float32)


@pytest.fixture
def ratings(values: np.ndarray) -> np.ndarray:
    """Ratings that no linear function of the features gives."""
    return 50 + 5 * np.sin(values[:, 0]) + np.abs(values[:, 8] - 2) * 4


def scaled(values: np.ndarray, rows: np.ndarray) -> ScaledRows:
    return ScaledRows(values, rows, FeatureScaler.fit(values, rows, 4.0))


def kernel_of(features: ScaledRows, rated: int) -> np.ndarray:
    """Return inner products and an RBF per expert, by scikit-learn, of all components."""
    dense = features.dense()
    kernel = dense @ dense.T
    for columns in EXPERTS:
        part = dense[:, columns]
        norm = np.square(part[:rated]).sum(axis=1).mean()
        kernel += norm * rbf_kernel(part, gamma=1 / norm)
    return kernel


def test_it_is_kernel_ridge_with_the_sum_of_the_kernels(
    values: np.ndarray, ratings: np.ndarray
) -> None:
    rows, target = np.arange(40), ratings[:40] - ratings[:40].mean()
    features = scaled(values, rows)
    path = fit_kernel_ridge(features, EXPERTS, 40, target, PENALTIES, 12)
    every = ScaledRows(values, np.arange(60), features.scaling)
    kernel = kernel_of(every, 40)
    for at, penalty in enumerate(PENALTIES):
        direct = KernelRidge(alpha=penalty.alpha, kernel="precomputed")
        direct.fit(kernel[:40, :40], target)
        # Axes and centres are rounded to half precision.
        np.testing.assert_allclose(
            path.predict(every)[:, at], direct.predict(kernel[:, :40]), atol=0.02 * np.ptp(target)
        )


def test_pairs_are_fitted_as_rows_of_their_differences(
    values: np.ndarray, ratings: np.ndarray
) -> None:
    features = scaled(values, np.arange(50))
    mixing = sparse.csr_array(np.random.default_rng(0).normal(0, 1, (45, 50)))
    target = np.random.default_rng(1).normal(0, 1, 45)
    path = fit_kernel_ridge(features, EXPERTS, 40, target, PENALTIES, 12, mixing)
    kernel = kernel_of(features, 40)
    for at, penalty in enumerate(PENALTIES):
        system = mixing @ kernel @ mixing.T + penalty.alpha * np.eye(45)
        direct = kernel @ mixing.T @ np.linalg.solve(system, target)
        np.testing.assert_allclose(path.predict(features)[:, at], direct, atol=0.05)


def test_few_components_are_the_principal_ones(values: np.ndarray) -> None:
    features = scaled(values, np.arange(60))
    part = features.columns(EXPERTS[0])
    term, _ = kernel_ridge._unfitted(part, EXPERTS[0], 60, 3)
    _, _, expected = np.linalg.svd(part.dense(), full_matrices=False)
    np.testing.assert_allclose(np.abs(term.axes.T @ expected[:3].T), np.eye(3), atol=2e-3)
    assert term.axes.dtype == term.centres.dtype == np.float16
    np.testing.assert_allclose(part.dense() @ term.axes, term.centres, atol=5e-3)


def test_it_bends_where_a_linear_regressor_cannot(values: np.ndarray, ratings: np.ndarray) -> None:
    split = Split(np.arange(40), np.arange(40, 50), np.arange(50, 60), np.empty(0, dtype=np.int64))
    errors = {}
    for model in ("ridge", "kernel_ridge"):
        settings = SETTINGS.model_copy(update={"model": model})
        found = run_split(values, ratings, split, PENALTIES, settings, content=7)
        errors[model] = np.abs(found.predictions - ratings[50:]).mean()
        assert found.shares is not None and found.shares.shape == (10, 2)
    assert errors["kernel_ridge"] < 0.9 * errors["ridge"]


@pytest.mark.parametrize("target", ["ratings", "normal_scores"])
def test_shares_and_the_score_of_mean_features_are_the_score(
    values: np.ndarray, ratings: np.ndarray, target: str
) -> None:
    settings = SETTINGS.model_copy(update={"target": target})
    fitted = refit_all(values, ratings, PENALTIES[0], settings, content=7)
    assert isinstance(fitted, regressor.Regressor) and len(fitted.terms) == 2
    mean = fitted.scaling.mean[None].astype(np.float32)
    shares = fitted.expert_shares(values, np.arange(60), 7)
    np.testing.assert_allclose(fitted.predict(mean), fitted.link(np.array([fitted.intercept])))
    np.testing.assert_allclose(shares.sum(axis=1) + fitted.predict(mean), fitted.predict(values))
    # The share of an expert at its mean is 0 whatever the other sees.
    half = values.copy()
    half[:, 7:] = mean[:, 7:]
    np.testing.assert_allclose(fitted.expert_shares(half, np.arange(60), 7)[:, 1], 0, atol=1e-4)


def test_far_from_the_training_rows_the_linear_part_remains(
    values: np.ndarray, ratings: np.ndarray
) -> None:
    settings = SETTINGS.model_copy(update={"clip": None})
    fitted = refit_all(values, ratings, PENALTIES[0], settings, content=7)
    assert isinstance(fitted, regressor.Regressor)
    far = values[:1] + np.float32(1e4)
    constant = sum(float(term.at_mean()[0]) for term in fitted.terms)
    linear = replace(fitted, terms=(), intercept=fitted.intercept - constant)
    np.testing.assert_allclose(fitted.predict(far), linear.predict(far))


def test_it_is_saved_and_loaded_exactly(values: np.ndarray, ratings: np.ndarray, tmp_path) -> None:
    settings = SETTINGS.model_copy(update={"components": 3})
    fitted = {
        "content": refit_all(values[:, :7], ratings, PENALTIES[0], settings),
        "quality": refit_all(values[:, 7:], ratings, PENALTIES[0], settings),
        "both": refit_all(values, ratings, PENALTIES[0], settings, content=7),
    }
    path = tmp_path / "d.regressor.safetensors"
    regressor.save_regressors(path, fitted, {"key": "k"})
    kept = regressor.load_saved(path, "k", {}.__getitem__)
    assert kept is not None
    for variant, part in (("content", slice(0, 7)), ("quality", slice(7, 12)), ("both", slice(12))):
        np.testing.assert_array_equal(
            kept[variant].predict(values[:, part]), fitted[variant].predict(values[:, part])
        )
        assert len(kept[variant].terms) == (2 if variant == "both" else 1)


def test_constant_features_and_more_components_than_rows_are_fitted(ratings: np.ndarray) -> None:
    values = np.ones((60, 12), dtype=np.float32)
    values[:, 3] = ratings
    fitted = refit_all(values[:5], ratings[:5], PENALTIES[0], SETTINGS, content=7)
    assert np.isfinite(fitted.predict(values)).all()


def test_too_many_rows_are_refused_before_the_matrix_is_made(
    values: np.ndarray, ratings: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernel_ridge, "MAX_ROWS", 59)
    with pytest.raises(BadInputError, match=r"at most 59\. Use model ridge"):
        refit_all(values, ratings, PENALTIES[0], SETTINGS, content=7)
