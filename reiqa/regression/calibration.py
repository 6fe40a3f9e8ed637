"""Map between the scale that a regressor is fitted on and the rating scale.

Human ratings are often concentrated in the middle or at the ends of their scale. A linear regressor
can be fitted to their normal scores instead. A monotone curve then maps its predictions to ratings,
which preserves their order and therefore SRCC.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy import stats

from reiqa.regression.scaler import Matrix, Vector

Values = TypeVar("Values", Matrix, Vector)

#: Knots of the curve in normal scores, a quarter of a standard deviation apart. The curve is
#: extrapolated linearly, as the few ratings beyond the last knot would only add noise.
_KNOTS = np.arange(-9, 10) / 4


@dataclass(frozen=True)
class PiecewiseLinearCalibration:
    """An increasing piecewise linear curve with linear extrapolation.

    Attributes:
        at: ``(K,)`` ascending knots on the fitted scale.
        to: ``(K,)`` ascending values on the rating scale.
    """

    at: Vector
    to: Vector

    def __call__(self, fitted: Values) -> Values:
        """Map predictions of any shape to the rating scale."""
        slopes = np.diff(self.to) / np.diff(self.at)
        below = np.minimum(fitted - self.at[0], 0) * slopes[0]
        above = np.maximum(fitted - self.at[-1], 0) * slopes[-1]
        mapped: Values = np.interp(fitted, self.at, self.to) + below + above
        return mapped


#: Calibration of a regressor that is fitted on the rating scale.
IDENTITY = PiecewiseLinearCalibration(np.array([0.0, 1.0]), np.array([0.0, 1.0]))


def normal_scores(ratings: Vector) -> Vector:
    """Return the normal quantile of the rank of each rating; ties share their mean rank."""
    shares = (stats.rankdata(ratings) - 0.5) / len(ratings)
    scores: Vector = stats.norm.ppf(shares)
    return scores


def fit_calibration(ratings: Vector) -> PiecewiseLinearCalibration:
    """Fit the curve that maps `normal_scores` of the ratings back to the ratings.

    Args:
        ratings: ratings of the training part, with at least two distinct values.
    """
    distinct, first = np.unique(ratings, return_index=True)
    scores = normal_scores(ratings)[first]
    inside = _KNOTS[(scores[0] < _KNOTS) & (scores[-1] > _KNOTS)]
    at = inside if len(inside) > 1 else scores[[0, -1]]
    return PiecewiseLinearCalibration(at, np.interp(at, scores, distinct))
