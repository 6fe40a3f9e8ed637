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
        for block in row_blocks(count, width):
            mean += values[rows[block]].sum(axis=0, dtype=np.float64)
        mean /= count
        for block in row_blocks(count, width):
            square += np.square(values[rows[block]] - mean).sum(axis=0)
        deviation = np.sqrt(square / count)
        varies = deviation > _ROUNDING * np.abs(mean)
        inverse = np.divide(1.0, deviation, out=np.zeros(width), where=varies)
        return cls(mean, inverse, math.inf if clip is None else clip)

    def transform(self, values: RawFeatures, columns: slice = slice(None)) -> Matrix:
        """Return standardised features as float64; ``columns`` selects their mean and deviation."""
        standard: Matrix = (values - self.mean[columns]) * self.inverse[columns]
        return standard if math.isinf(self.clip) else standard.clip(-self.clip, self.clip)


def row_blocks(count: int, width: int) -> Iterator[slice]:
    """Yield slices of ``count`` rows of ``width`` numbers, each of at most 64 MiB."""
    step = max(1, _BLOCK // max(1, width))
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))
