"""Regularisation paths: ridge from one factorisation, or elastic net."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy import linalg, sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import enet_path

from reiqa.params import RegressionParams
from reiqa.regression.scaler import (
    FeatureScaler,
    Matrix,
    RawFeatures,
    RowNumbers,
    Vector,
    row_blocks,
)

_MAX_ITERATIONS = 2000

#: Half bandwidth: a trade-off between fast matrix products and cheap banded solves.
BANDWIDTH = 128

#: Number of rows updated per block, so that the result of a product stays in the cache.
_ROWS = 768


class Penalty(NamedTuple):
    """One point of the grid.

    The objective is ``|y - Xw|² + alpha (1 - l1_ratio) |w|² + 2 alpha l1_ratio |w|₁`` with y and
    X standardised, so that ``l1_ratio`` 0 is ridge regression with the same alpha. For a support
    vector regressor, alpha is 1 / C and ``epsilon`` the half width of the tube.
    """

    alpha: float
    l1_ratio: float
    epsilon: float = 0.0


@dataclass(frozen=True)
class ScaledRows:
    """Rows of a feature matrix that are standardised lazily in blocks.

    Attributes:
        values: ``(N, D)`` float32 features of all images.
        rows: selected rows.
        scaling: scaler fitted on the training part.
    """

    values: RawFeatures
    rows: RowNumbers
    scaling: FeatureScaler

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and features."""
        return len(self.rows), self.values.shape[1]

    def blocks(self) -> Iterator[tuple[slice, Matrix]]:
        """Yield the matrix in slices of rows."""
        for block in row_blocks(*self.shape):
            yield block, self.scaling.transform(self.values[self.rows[block]])

    def dense(self) -> Matrix:
        """Return the full standardised matrix."""
        return self.scaling.transform(self.values[self.rows])

    def matmul(self, weights: Matrix) -> Matrix:
        """Return ``X @ weights``, ``(rows, P)``."""
        product = np.empty((len(self.rows), weights.shape[1]))
        for block, part in self.blocks():
            product[block] = part @ weights
        return product

    def rmatmul(self, right: Matrix) -> Matrix:
        """Return ``Xᵀ @ right``, ``(D, P)``."""
        product = np.zeros((self.values.shape[1], right.shape[1]))
        for block, part in self.blocks():
            product += part.T @ right[block]
        return product

    def covariance(self) -> Matrix:
        """Return ``Xᵀ X``, ``(D, D)``."""
        total = np.zeros((self.values.shape[1],) * 2)
        for _, part in self.blocks():
            total += part.T @ part
        return total

    def gram(self) -> Matrix:
        """Return ``X Xᵀ``, ``(rows, rows)``."""
        rows, width = self.shape
        total = np.zeros((rows, rows))
        for block in row_blocks(width, rows):
            part = self.scaling.transform(self.values[self.rows, block], block)
            total += part @ part.T
        return total

    def inner_products(self, other: "ScaledRows") -> Matrix:
        """Return ``X Yᵀ``, ``(rows, rows of other)``, which has equally many features."""
        rows, width = self.shape
        total = np.zeros((rows, len(other.rows)))
        for block in row_blocks(width, rows + len(other.rows)):
            part = self.scaling.transform(self.values[self.rows, block], block)
            total += part @ other.scaling.transform(other.values[other.rows, block], block).T
        return total

    def squared_norms(self) -> Vector:
        """Return ``|x|²`` of each row, ``(rows,)``."""
        norms = np.empty(len(self.rows))
        for block, part in self.blocks():
            norms[block] = np.square(part).sum(axis=1)
        return norms

    def columns(self, columns: slice) -> "ScaledRows":
        """Return the same rows of some features."""
        scaling = FeatureScaler(
            self.scaling.mean[columns], self.scaling.inverse[columns], self.scaling.clip
        )
        return ScaledRows(self.values[:, columns], self.rows, scaling)


@dataclass(frozen=True)
class RegularizationPath:
    """Weights for every penalty of a grid.

    Attributes:
        penalties: P of them.
        weights: ``(D, P)`` for standardised features and ratings; a column is NaN if its penalty
            is too small to solve the system.
        notes: warnings.
        intercepts: ``(P,)`` for standardised ratings; None if all are 0.
    """

    penalties: list[Penalty]
    weights: Matrix
    notes: list[str]
    intercepts: Vector | None = None

    def predict(self, rows: ScaledRows) -> Matrix:
        """Return standardised predictions of every penalty, ``(rows, P)``."""
        predicted = rows.matmul(self.weights)
        return predicted if self.intercepts is None else predicted + self.intercepts


def alpha_grid(settings: RegressionParams) -> list[float]:
    """Return the alphas of params.yaml, ascending and logarithmically spaced; 1 / C for svr."""
    if settings.model == "svr":
        least, greatest, count = settings.svr.C
        return [1 / float(cost) for cost in np.geomspace(greatest, least, count)]
    least, greatest, count = settings.alphas
    return [float(alpha) for alpha in np.geomspace(least, greatest, count)]


def penalty_grid(settings: RegressionParams) -> list[Penalty]:
    """Return all penalties to try."""
    if settings.model == "svr":
        widths = sorted(settings.svr.epsilon)
        return [Penalty(alpha, 0.0, width) for width in widths for alpha in alpha_grid(settings)]
    ratios = sorted(settings.l1_ratios) if settings.model == "elasticnet" else [0.0]
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


class _Reflection(NamedTuple):
    """``H = I - V T Vᵀ`` on the rows from ``start``."""

    start: int
    v: Matrix
    t: Matrix

    def apply(self, x: Matrix, transposed: bool) -> None:
        part = x[self.start :]
        inner = self.v.T @ part
        part -= self.v @ ((self.t.T if transposed else self.t) @ inner)


class ShiftedSystem:
    """A symmetric matrix A, factored once to solve ``(A + alpha I) x = b`` for many alphas.

    ``A = Q B Qᵀ`` with B banded. The factorisation costs 4/3 n³ multiplications, nearly all of
    them in matrix products. A shift changes only the diagonal of B, so each alpha costs one banded
    solve. An eigendecomposition would also work, but its tridiagonal reduction is memory bound,
    and it computes eigenvectors, which are not needed here, at several times n³. The reduction is
    the first stage of LAPACK's two-stage eigensolvers (Bischof, Lang and Sun, 2000).
    """

    def __init__(self, matrix: Matrix, bandwidth: int = BANDWIDTH) -> None:
        """Factor a symmetric matrix.

        Args:
            matrix: ``(n, n)`` float64, symmetric and positive semidefinite; overwritten.
            bandwidth: subdiagonals that B keeps.
        """
        self._reflections = _reduce(matrix, bandwidth)
        n = len(matrix)
        self._band = np.zeros((min(bandwidth, n - 1) + 1, n))
        for offset in range(len(self._band)):
            self._band[offset, : n - offset] = matrix.diagonal(-offset)

    def solve(self, right: Matrix, shifts: Sequence[float]) -> Matrix:
        """Return ``(A + alpha I)^-1 b`` for each alpha, as columns ``(n, len(shifts))``.

        Args:
            right: b, ``(n, 1)``.
            shifts: the alphas. The column is NaN if an alpha is so small that the matrix is
                singular to machine precision.
        """
        rotated = right.copy()
        for reflection in self._reflections:
            reflection.apply(rotated, transposed=True)
        solutions = np.empty((len(right), len(shifts)))
        for column, shift in enumerate(shifts):
            band = self._band.copy()
            band[0] += shift
            try:
                solutions[:, column] = linalg.solveh_banded(
                    band, rotated[:, 0], overwrite_ab=True, lower=True, check_finite=False
                )
            except linalg.LinAlgError:
                solutions[:, column] = np.nan
        for reflection in reversed(self._reflections):
            reflection.apply(solutions, transposed=False)
        return solutions


def _reduce(a: Matrix, bandwidth: int) -> list[_Reflection]:
    """Reduce the lower triangle of ``a`` to banded form in place and return the reflections."""
    reflections = []
    for first in range(0, len(a) - bandwidth - 1, bandwidth):
        start = first + bandwidth
        panel = a[start:, first:start]
        (packed, tau), r = linalg.qr(panel, mode="raw", check_finite=False)
        v = np.tril(packed[:, : len(tau)], -1)
        np.fill_diagonal(v, 1)
        reflection = _Reflection(start, v, _block_factor(v, tau))
        panel[:] = 0
        panel[: len(r)] = r[:, : panel.shape[1]]
        _two_sided(a, start, reflection)
        reflections.append(reflection)
    return reflections


def _block_factor(v: Matrix, tau: Vector) -> Matrix:
    """Return upper triangular T such that the product of the reflectors is ``I - V T Vᵀ``."""
    inner = v.T @ v
    t = np.diag(tau)
    for column in range(1, len(tau)):
        t[:column, column] = -tau[column] * (t[:column, :column] @ inner[:column, column])
    return t


def _two_sided(a: Matrix, start: int, reflection: _Reflection) -> None:
    """Replace the trailing part of ``a`` by ``Hᵀ a H``, in blocks on and below the diagonal.

    Block boundaries are the same in each call, so that diagonal blocks are never split.
    """
    v, t = reflection.v, reflection.t
    cuts = [0, *range(_ROWS - start % _ROWS, len(v), _ROWS), len(v)]
    blocks = list(pairwise(cuts))
    trailing = a[start:, start:]
    scaled = v @ t
    y = np.zeros_like(v)
    for top, end in blocks:
        y[top:end] += trailing[top:end, :end] @ scaled[:end]
        y[:top] += trailing[top:end, :top].T @ scaled[top:end]
    w = y - v @ (0.5 * (t.T @ (v.T @ y)))
    left, right = np.hstack([v, w]), np.ascontiguousarray(np.hstack([w, v]).T)
    for top, end in blocks:
        trailing[top:end, :end] -= left[top:end] @ right[:, :end]
