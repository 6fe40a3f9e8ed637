"""Kernel ridge regression: the linear regressor and an RBF kernel of the features of each expert.

A ridge regressor is a kernel method with inner products as kernel. To these, this one adds for each
expert a radial basis function (RBF) of the distance between two images. Near the rated images the
function that it fits can bend; far from them the RBF vanishes and the linear regressor remains. The
kernels of the experts are added, not multiplied, so that every score is still a sum of one part per
expert.

The RBF sees the first principal components of an expert's features. All training rows are kept, but
only these components of them, so that a bundle stays small.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from scipy import sparse
from sklearn.utils.extmath import randomized_svd

from reiqa.errors import BadInputError
from reiqa.regression.kernel import rbf_from_products
from reiqa.regression.ridge_path import Penalty, RegularizationPath, ScaledRows, ShiftedSystem
from reiqa.regression.scaler import Matrix, Vector, row_blocks

HalfMatrix: TypeAlias = np.ndarray[tuple[int, int], np.dtype[np.float16]]

#: Maximum number of training rows: their kernel matrix has 8 bytes for each pair, here 3.2 GB.
MAX_ROWS = 20_000

# Power iterations of the randomised SVD; more do not change the components of features.
_ITERATIONS = 4


@dataclass(frozen=True)
class KernelTerm:
    """The RBF part of a regressor from one expert: ``sum_s c_s exp(-gamma |y - y_s|²)``.

    Attributes:
        columns: columns of the expert's features.
        axes: ``(d, k)`` principal axes of its standardised features.
        centres: ``(S, k)`` training rows y_s on these axes.
        coefficients: ``(S, P)`` weights c_s for P regressors.
        gamma: width of the kernel.
    """

    columns: slice
    axes: HalfMatrix
    centres: HalfMatrix
    coefficients: Matrix
    gamma: float

    def __call__(self, rows: ScaledRows) -> Matrix:
        """Return the sums for rows of features of all experts, ``(rows, P)``."""
        own = rows.columns(self.columns)
        return self._sums(own.matmul(self.axes.astype(np.float64)))

    def at_mean(self) -> Vector:
        """Return the sums for mean features, ``(P,)``."""
        values: Vector = self._sums(np.zeros((1, self.axes.shape[1])))[0]
        return values

    def _sums(self, projected: Matrix) -> Matrix:
        sums = np.empty((len(projected), self.coefficients.shape[1]))
        for block in row_blocks(len(projected), len(self.centres)):
            sums[block] = _rbf(projected[block], self.centres, self.gamma) @ self.coefficients
        return sums


@dataclass(frozen=True)
class KernelRidgePath(RegularizationPath):
    """Weights and kernel terms for every penalty of a grid.

    Attributes:
        terms: one per expert, with coefficients for every penalty.
    """

    terms: Sequence[KernelTerm] = ()

    def predict(self, rows: ScaledRows) -> Matrix:
        """Return standardised predictions of every penalty, ``(rows, P)``."""
        return sum((term(rows) for term in self.terms), super().predict(rows))


def fit_kernel_ridge(
    features: ScaledRows,
    experts: Sequence[slice],
    rated: int,
    targets: Vector,
    penalties: list[Penalty],
    components: int,
    mixing: sparse.csr_array | None = None,
) -> KernelRidgePath:
    """Fit a kernel ridge regressor for every penalty from one factorisation.

    Args:
        features: N x D training rows, rated images first.
        experts: columns of each expert.
        rated: number of rated images, which the principal components are computed from.
        targets: ``(N,)``, standardised; with ``mixing`` ``(R,)``.
        penalties: ridge penalties.
        components: principal components of each expert; fewer if there are fewer rows or features.
        mixing: see `ridge_path.fit_path`.

    Raises:
        BadInputError: there are more than `MAX_ROWS` rows.
    """
    rows, _ = features.shape
    if rows > MAX_ROWS:
        raise BadInputError(
            f"regression.model kernel_ridge: {rows:,} training images and copies; its matrix has"
            f" 8 bytes for each pair, so it takes at most {MAX_ROWS:,}. Use model ridge"
        )
    gram, terms = features.gram(), []
    for columns in experts:
        term, weight = _unfitted(features.columns(columns), columns, rated, components)
        kernel = _rbf(term.centres.astype(np.float64), term.centres, term.gamma)
        kernel *= weight
        gram += kernel
        terms.append((term, weight))
    if mixing is not None:
        gram = mixing @ (mixing @ gram).T
    alphas = [penalty.alpha for penalty in penalties]
    dual = ShiftedSystem(gram).solve(targets[:, None], alphas)
    if mixing is not None:
        dual = mixing.T @ dual
    return KernelRidgePath(
        penalties,
        features.rmatmul(dual),
        [],
        terms=[replace(term, coefficients=weight * dual) for term, weight in terms],
    )


def _unfitted(
    features: ScaledRows, columns: slice, rated: int, components: int
) -> tuple[KernelTerm, float]:
    """Return the term of one expert for no regressor yet, and the weight of its kernel.

    The weight is the mean squared norm of a rated image, which makes the kernel as large as the
    inner products. The width is one over that of its components, as scikit-learn's
    ``gamma="scale"``.
    """
    images = replace(features, rows=features.rows[:rated]).dense()
    count = min(components, *images.shape)
    _, _, axes = randomized_svd(images, count, n_iter=_ITERATIONS, random_state=0)
    # Rounded here and not in the bundle, so that a bundle scores as the regressor predicts.
    rounded = axes.T.astype(np.float16)
    projected = features.matmul(rounded.astype(np.float64))
    gamma = 1 / _mean_norm(projected[:rated])
    none = np.empty((len(projected), 0))
    term = KernelTerm(columns, rounded, projected.astype(np.float16), none, gamma)
    return term, _mean_norm(images)


def _mean_norm(rows: Matrix) -> float:
    """Return the mean squared norm of rows; 1 if they are all 0."""
    mean = float(np.square(rows).sum(axis=1).mean())
    return mean if mean > 0 else 1.0


def _rbf(projected: Matrix, centres: HalfMatrix, gamma: float) -> Matrix:
    exact = centres.astype(np.float64)
    first, second = (np.square(each).sum(axis=1) for each in (projected, exact))
    return rbf_from_products(projected @ exact.T, first, second, gamma)
