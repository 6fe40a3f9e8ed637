"""From the scale a regressor is fitted on to the scale of the ratings, and back.

Ratings crowd in the middle of their scale or at its ends, as raters are. A linear regressor may be
fitted to their normal scores instead, and its answers led back to ratings by a monotone curve: the
order of its answers, and so SRCC, is its own.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy import stats

from reiqa.regression.scaler import Matrix, Vector

Values = TypeVar("Values", Matrix, Vector)

#: Normal scores at which the curve bends: a quarter of a deviation apart. Beyond, it goes on as
#: straight as it came: the few ratings out there would only bend it to their own noise.
_KNOTS = np.arange(-9, 10) / 4


@dataclass(frozen=True)
class PiecewiseLinearCalibration:
    """A rising curve of straight pieces, the outermost of which go on for ever.

    Attributes:
        at: ``(K,)`` ascending, on the scale fitted on.
        to: ``(K,)`` ascending, on the rating scale.
    """

    at: Vector
    to: Vector

    def __call__(self, fitted: Values) -> Values:
        """Return answers of any shape on the rating scale."""
        slopes = np.diff(self.to) / np.diff(self.at)
        below = np.minimum(fitted - self.at[0], 0) * slopes[0]
        above = np.maximum(fitted - self.at[-1], 0) * slopes[-1]
        mapped: Values = np.interp(fitted, self.at, self.to) + below + above
        return mapped


#: The rating scale is the one fitted on.
IDENTITY = PiecewiseLinearCalibration(np.array([0.0, 1.0]), np.array([0.0, 1.0]))


def normal_scores(ratings: Vector) -> Vector:
    """Return, for each rating, the normal quantile of its rank; equal ratings share theirs."""
    shares = (stats.rankdata(ratings) - 0.5) / len(ratings)
    scores: Vector = stats.norm.ppf(shares)
    return scores


def fit_calibration(ratings: Vector) -> PiecewiseLinearCalibration:
    """Return the curve that leads `normal_scores` of these ratings back to them.

    Args:
        ratings: of a training part; two of them at least differ.
    """
    distinct, first = np.unique(ratings, return_index=True)
    scores = normal_scores(ratings)[first]
    inside = _KNOTS[(scores[0] < _KNOTS) & (scores[-1] > _KNOTS)]
    at = inside if len(inside) > 1 else scores[[0, -1]]
    return PiecewiseLinearCalibration(at, np.interp(at, scores, distinct))
