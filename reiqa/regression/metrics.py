"""How well predictions agree with ratings: SRCC, PLCC, KRCC, RMSE, and the logistic mapping.

A correlation that does not exist (fewer than two images, or all values equal) is NaN here;
whoever reports it says why. None of these functions warns.
"""

from typing import NamedTuple

import numpy as np
from scipy import optimize, stats

Vector = np.ndarray[tuple[int], np.dtype[np.float64]]

#: Images below which four parameters of a curve are not fitted.
LEAST_FOR_LOGISTIC = 6


class Logistic(NamedTuple):
    """``f(x) = b2 + (b1 - b2) / (1 + exp(-(x - b3) / b4))``, b4 > 0.

    The four-parameter curve of the VQEG reports, by which predictions are brought to the scale of
    the ratings before PLCC and RMSE are taken.
    """

    b1: float
    b2: float
    b3: float
    b4: float

    def __call__(self, predictions: Vector) -> Vector:
        """Map predictions to the rating scale."""
        # Beyond 500 the exponential overflows and the curve is flat.
        steps = np.clip((predictions - self.b3) / self.b4, -500, 500)
        mapped: Vector = self.b2 + (self.b1 - self.b2) / (1 + np.exp(-steps))
        return mapped


def srcc(first: Vector, second: Vector) -> float:
    """Return Spearman's rank correlation, ties at their mean rank."""
    return plcc(stats.rankdata(first), stats.rankdata(second))


def plcc(first: Vector, second: Vector) -> float:
    """Return Pearson's linear correlation."""
    if len(first) < 2 or _constant(first) or _constant(second):
        return float("nan")
    a, b = first - first.mean(), second - second.mean()
    value = a @ b / np.sqrt((a @ a) * (b @ b))
    return float(np.clip(value, -1, 1))


def krcc(first: Vector, second: Vector) -> float:
    """Return Kendall's tau-b."""
    if len(first) < 2 or _constant(first) or _constant(second):
        return float("nan")
    return float(stats.kendalltau(first, second).statistic)


def rmse(predictions: Vector, ratings: Vector) -> float:
    """Return the root of the mean squared difference."""
    return float(np.sqrt(np.mean((predictions - ratings) ** 2))) if len(ratings) else float("nan")


def fit_logistic(predictions: Vector, ratings: Vector) -> Logistic | None:
    """Fit the four-parameter curve by least squares; None where it cannot be fitted.

    The fit is made on standardised values, so it does not depend on either scale.
    """
    if len(ratings) < LEAST_FOR_LOGISTIC or _constant(predictions) or _constant(ratings):
        return None
    middle, spread = predictions.mean(), predictions.std()
    centre, scale = ratings.mean(), ratings.std()
    x, y = (predictions - middle) / spread, (ratings - centre) / scale
    rising = plcc(x, y) >= 0
    top, bottom = (y.max(), y.min()) if rising else (y.min(), y.max())

    def residuals(b: Vector) -> Vector:
        # The width enters by its logarithm, which keeps it positive.
        curve = Logistic(b[0], b[1], b[2], float(np.exp(np.clip(b[3], -50, 50))))
        missed: Vector = curve(x) - y
        return missed

    found = optimize.least_squares(residuals, [top, bottom, 0.0, 0.0], method="lm", max_nfev=4000)
    if not found.success or not np.isfinite(found.x).all():
        return None
    b1, b2, b3, log_b4 = (float(value) for value in found.x)
    width = float(np.exp(np.clip(log_b4, -50, 50)))
    return Logistic(
        float(centre + scale * b1),
        float(centre + scale * b2),
        float(middle + spread * b3),
        float(spread * width),
    )


def fit_line(predictions: Vector, ratings: Vector) -> Vector:
    """Return ``predictions`` brought to the ratings by the best straight line."""
    if _constant(predictions):
        return np.full_like(ratings, ratings.mean())
    slope, intercept = np.polyfit(predictions, ratings, 1)
    mapped: Vector = slope * predictions + intercept
    return mapped


def _constant(values: Vector) -> bool:
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max(initial=0))
