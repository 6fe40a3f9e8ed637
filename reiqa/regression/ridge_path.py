"""Regularisation paths: ridge from one factorisation, or elastic net."""

import warnings
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import enet_path

from reiqa.params import RegressionParams
from reiqa.regression.banded_solver import ShiftedSystem
from reiqa.regression.scaler import Matrix, ScaledRows, Vector

_MAX_ITERATIONS = 2000


class Penalty(NamedTuple):
    """One point of the grid.

    The objective is ``|y - Xw|² + alpha (1 - l1_ratio) |w|² + 2 alpha l1_ratio |w|₁`` with y and
    X standardised, so that ``l1_ratio`` 0 is ridge regression with the same alpha.
    """

    alpha: float
    l1_ratio: float


@dataclass(frozen=True)
class RegularizationPath:
    """Weights for every penalty of a grid.

    Attributes:
        penalties: P of them.
        weights: ``(D, P)`` for standardised features and ratings; a column is NaN if its penalty
            is too small to solve the system.
        notes: warnings.
    """

    penalties: list[Penalty]
    weights: Matrix
    notes: list[str]


def alpha_grid(settings: RegressionParams) -> list[float]:
    """Return the alphas of params.yaml, ascending and logarithmically spaced."""
    least, greatest, count = settings.alphas
    return [float(alpha) for alpha in np.geomspace(least, greatest, count)]


def penalty_grid(settings: RegressionParams) -> list[Penalty]:
    """Return all penalties to try."""
    ratios = [0.0] if settings.model == "ridge" else sorted(settings.l1_ratios)
    return [Penalty(alpha, ratio) for ratio in ratios for alpha in alpha_grid(settings)]


def fit_path(
    features: ScaledRows,
    ratings: Vector,
    penalties: list[Penalty],
    mixing: sparse.csr_array | None = None,
) -> RegularizationPath:
    """Fit a linear model for every penalty.

    Args:
        features: N x D training rows.
        ratings: ``(N,)``, standardised on the same rows; with ``mixing`` ``(R,)``.
        penalties: penalties to fit; pure ridge penalties share one factorisation.
        mixing: ``(R, N)`` matrix that maps training rows to fitted rows; ridge only.
    """
    weights = np.empty((features.shape[1], len(penalties)))
    notes = []
    for ratio in sorted({penalty.l1_ratio for penalty in penalties}):
        columns = [at for at, penalty in enumerate(penalties) if penalty.l1_ratio == ratio]
        alphas = [penalties[column].alpha for column in columns]
        if ratio == 0:
            weights[:, columns] = ridge(features, ratings, alphas, mixing)
        else:
            weights[:, columns], note = _elastic_net(features, ratings, alphas, ratio)
            notes += note
    return RegularizationPath(penalties, weights, notes)


def ridge(
    features: ScaledRows,
    ratings: Vector,
    alphas: list[float],
    mixing: sparse.csr_array | None = None,
) -> Matrix:
    """Return ridge weights for every alpha, ``(D, len(alphas))``, from one factorisation.

    Solves the primal normal equations if there are fewer features than images, else the dual
    ones. With ``mixing`` (see `fit_path`) it always solves the dual ones.
    """
    rows, width = features.shape
    target = ratings[:, None]
    if mixing is not None:
        gram = mixing @ (mixing @ features.gram()).T
        return features.rmatmul(mixing.T @ ShiftedSystem(gram).solve(target, alphas))
    if width <= rows:
        system = ShiftedSystem(features.covariance())
        return system.solve(features.rmatmul(target), alphas)
    return features.rmatmul(ShiftedSystem(features.gram()).solve(target, alphas))


def _elastic_net(
    features: ScaledRows, ratings: Vector, alphas: list[float], ratio: float
) -> tuple[Matrix, list[str]]:
    # scikit-learn divides the squared error by 2 N and expects descending alphas.
    count = features.shape[0]
    descending = [alpha / count for alpha in reversed(alphas)]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        _, coefficients, _ = enet_path(
            np.asfortranarray(features.dense()),
            ratings,
            l1_ratio=ratio,
            alphas=descending,
            max_iter=_MAX_ITERATIONS,
        )
    unconverged = [
        warning for warning in caught if issubclass(warning.category, ConvergenceWarning)
    ]
    notes = (
        [
            f"elastic net, l1_ratio {ratio:g}: {len(unconverged)} of {len(alphas)} alphas "
            "did not converge"
        ]
        if unconverged
        else []
    )
    return coefficients[:, ::-1], notes
