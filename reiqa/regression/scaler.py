"""Standardise features block by block, without a full copy."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

Matrix: TypeAlias = np.ndarray[tuple[int, int], np.dtype[np.float64]]
Vector: TypeAlias = np.ndarray[tuple[int], np.dtype[np.float64]]
RawFeatures: TypeAlias = np.ndarray[tuple[int, int], np.dtype[np.float32]]
RowNumbers: TypeAlias = np.ndarray[tuple[int], np.dtype[np.intp]]

#: Number of float64 values in one block (64 MiB).
_BLOCK = 8_388_608

#: A feature with a smaller deviation relative to its mean is constant up to float32 rounding.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class FeatureScaler:
    """Mean and reciprocal deviation of every feature, both ``(D,)``.

    The reciprocal is 0 for a constant feature, so that it has no effect.

    Attributes:
        mean: mean of each feature.
        inverse: reciprocal of the standard deviation of each feature.
        clip: limit of a standardised feature in standard deviations. Features of an
            out-of-distribution photograph can be hundreds of standard deviations from the mean,
            and a linear regressor would extrapolate.
    """

    mean: Vector
    inverse: Vector
    clip: float = math.inf

    @classmethod
    def fit(
        cls, values: RawFeatures, rows: RowNumbers, clip: float | None = None
    ) -> "FeatureScaler":
        """Compute mean and deviation over some rows in float64; None disables clipping."""
        count, width = len(rows), values.shape[1]
        mean, square = np.zeros(width), np.zeros(width)
        for block in _slices(count, width):
            mean += values[rows[block]].sum(axis=0, dtype=np.float64)
        mean /= count
        for block in _slices(count, width):
            square += np.square(values[rows[block]] - mean).sum(axis=0)
        deviation = np.sqrt(square / count)
        varies = deviation > _ROUNDING * np.abs(mean)
        inverse = np.divide(1.0, deviation, out=np.zeros(width), where=varies)
        return cls(mean, inverse, math.inf if clip is None else clip)

    def transform(self, values: RawFeatures, columns: slice = slice(None)) -> Matrix:
        """Return standardised features as float64; ``columns`` selects their mean and deviation."""
        standard: Matrix = (values - self.mean[columns]) * self.inverse[columns]
        return standard if math.isinf(self.clip) else standard.clip(-self.clip, self.clip)


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
        for block in _slices(*self.shape):
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
        for block in _slices(width, rows):
            part = self.scaling.transform(self.values[self.rows, block], block)
            total += part @ part.T
        return total


def _slices(count: int, width: int) -> Iterator[slice]:
    step = max(1, _BLOCK // max(1, width))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))
