"""Support vector regression with a linear or a radial basis function (RBF) kernel.

The kernel matrix of a training part is computed once for the whole grid; scikit-learn (LIBSVM)
solves each point of the grid.
"""

import warnings
from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.svm import SVR

from reiqa.params import SVRParams
from reiqa.regression.kernel import kernel_sums, rbf_kernel
from reiqa.regression.ridge_path import Penalty, RegularizationPath, ScaledRows
from reiqa.regression.scaler import Matrix, Vector

# Far more than a useful fit takes; a large C on correlated features may never converge.
_MAX_ITERATIONS = 1_000_000


@dataclass(frozen=True)
class KernelPath:
    """RBF regressors for every penalty of a grid.

    Attributes:
        penalties: P of them.
        training: N x D training rows.
        coefficients: ``(N, P)`` dual coefficients for standardised ratings; 0 for rows that are no
            support vectors.
        intercepts: ``(P,)`` for standardised ratings.
        gamma: width of the kernel.
        notes: warnings.
    """

    penalties: list[Penalty]
    training: ScaledRows
    coefficients: Matrix
    intercepts: Vector
    gamma: float
    notes: list[str]

    def predict(self, rows: ScaledRows) -> Matrix:
        """Return standardised predictions of every penalty, ``(rows, P)``."""
        return kernel_sums(rows, self.training, self.gamma, self.coefficients) + self.intercepts


def fit_svr(
    features: ScaledRows, ratings: Vector, penalties: list[Penalty], settings: SVRParams
) -> RegularizationPath | KernelPath:
    """Fit a support vector regressor for every penalty.

    Args:
        features: N x D training rows.
        ratings: ``(N,)``, standardised on the same rows.
        penalties: points of the grid (`ridge_path.penalty_grid`).
        settings: uses ``kernel``.
    """
    gamma = scale_gamma(features)
    linear = settings.kernel == "linear"
    kernel = features.gram() if linear else rbf_kernel(features, features, gamma)
    coefficients = np.zeros((len(ratings), len(penalties)))
    intercepts = np.empty(len(penalties))
    unconverged = 0
    for column, penalty in enumerate(penalties):
        model = SVR(
            kernel="precomputed",
            C=1 / penalty.alpha,
            epsilon=penalty.epsilon,
            max_iter=_MAX_ITERATIONS,
        )
        with warnings.catch_warnings():
            # Counted below.
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(kernel, ratings)
        unconverged += model.fit_status_ != 0
        coefficients[model.support_, column] = model.dual_coef_[0]
        intercepts[column] = model.intercept_[0]
    notes = (
        [f"SVR: {unconverged} of {len(penalties)} points of the grid did not converge"]
        if unconverged
        else []
    )
    if linear:
        return RegularizationPath(penalties, features.rmatmul(coefficients), notes, intercepts)
    return KernelPath(penalties, features, coefficients, intercepts, gamma, notes)


def scale_gamma(features: ScaledRows) -> float:
    """Return the reciprocal of the mean squared norm, scikit-learn's ``gamma="scale"``.

    Without clipping, it is the reciprocal of the number of features that vary.
    """
    mean = float(features.squared_norms().mean())
    return 1 / mean if mean > 0 else 1.0
