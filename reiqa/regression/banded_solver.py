"""Solve ``(A + alpha I) x = b`` for many values of alpha with one orthogonal factorisation.

``A = Q B Qᵀ`` with B banded. The factorisation costs 4/3 n³ multiplications, nearly all of them in
matrix products. A shift changes only the diagonal of B, so each alpha costs one banded solve. An
eigendecomposition would also work, but its tridiagonal reduction is memory bound, and it computes
eigenvectors, which are not needed here, at several times n³. The reduction is the first stage of
LAPACK's two-stage eigensolvers (Bischof, Lang and Sun, 2000).
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy import linalg

from reiqa.regression.scaler import Matrix, Vector

#: Half bandwidth: a trade-off between fast matrix products and cheap banded solves.
BANDWIDTH = 128

#: Number of rows updated per block, so that the result of a product stays in the cache.
_ROWS = 768


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
    """A symmetric matrix that is factored once and solved for many diagonal shifts."""

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
