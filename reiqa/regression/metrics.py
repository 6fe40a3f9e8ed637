"""Metrics of agreement between predictions and ratings: SRCC, PLCC, KRCC, RMSE, logistic mapping.

Predictions and ratings are ``(N,)`` float64, higher is better. An undefined correlation (fewer than
two images, or all values equal) is NaN; callers report the reason. These functions emit no
warnings.
"""

from typing import NamedTuple

import numpy as np
from scipy import optimize, stats

from reiqa.regression.scaler import Matrix, Vector

#: Minimum number of images to fit the four parameters of the curve.
MIN_FOR_LOGISTIC = 6

#: Maximum number of function evaluations; a fit that has not converged by then is accepted.
_MAX_EVALUATIONS = 300


class Logistic(NamedTuple):
    """``f(x) = b2 + (b1 - b2) / (1 + exp(-(x - b3) / b4))``, b4 > 0.

    The four-parameter curve of the VQEG reports. It maps predictions to the rating scale before
    PLCC and RMSE are computed.
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
    """Return Spearman's rank correlation; ties get their mean rank."""
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
    """Return the root mean squared error."""
    return float(np.sqrt(np.mean((predictions - ratings) ** 2))) if len(ratings) else float("nan")


def fit_logistic(predictions: Vector, ratings: Vector) -> Logistic | None:
    """Fit the four-parameter curve by least squares; return None if the fit fails.

    Values are standardised first, so the fit does not depend on either scale. It starts from two
    initial curves, a steep and a nearly straight one. The fit fails if the curve is constant over
    the predictions or worse than a straight line, which the curve can approximate.
    """
    if len(ratings) < MIN_FOR_LOGISTIC or _constant(predictions) or _constant(ratings):
        return None
    middle, spread = predictions.mean(), predictions.std()
    centre, scale = ratings.mean(), ratings.std()
    x, y = (predictions - middle) / spread, (ratings - centre) / scale
    slope = plcc(x, y)
    ends = (y.max(), y.min()) if slope >= 0 else (y.min(), y.max())

    def curve(b: Vector) -> Logistic:
        # The width is parametrised by its logarithm, which keeps logistic positive.
        width = float(np.exp(np.clip(b[3], -50, 50)))
        return Logistic(float(b[0]), float(b[1]), float(b[2]), width)

    def residuals_of(b: Vector) -> Vector:
        residuals: Vector = curve(b)(x) - y
        return residuals

    def jacobian(b: Vector) -> Matrix:
        logistic = curve(b)
        rise = 1 / (1 + np.exp(-np.clip((x - logistic.b3) / logistic.b4, -500, 500)))
        steep = (logistic.b1 - logistic.b2) * rise * (1 - rise)
        return np.stack(
            [rise, 1 - rise, -steep / logistic.b4, -steep * (x - logistic.b3) / logistic.b4], axis=1
        )

    best, error = None, (1 - slope**2) * len(y) * (1 + 1e-6)
    for start in ([*ends, 0.0, 0.0], [6 * slope, -6 * slope, 0.0, np.log(3.0)]):
        found = optimize.least_squares(
            residuals_of, start, jacobian, method="lm", max_nfev=_MAX_EVALUATIONS
        )
        if np.isfinite(found.x).all() and 2 * found.cost <= error:
            best, error = curve(found.x), 2 * found.cost
    if best is None or _constant(best(x)):
        return None
    return Logistic(
        float(centre + scale * best.b1),
        float(centre + scale * best.b2),
        float(middle + spread * best.b3),
        float(spread * best.b4),
    )


class Agreement(NamedTuple):
    """All metrics of predictions against ratings.

    Attributes:
        srcc, krcc: rank correlations.
        plcc, rmse: after the logistic mapping, or after a straight line if the fit fails.
        plcc_raw: without a mapping.
        curve: the logistic curve; None if the fit fails.
    """

    srcc: float
    plcc: float
    plcc_raw: float
    krcc: float
    rmse: float
    curve: Logistic | None


def compare(predictions: Vector, ratings: Vector) -> Agreement:
    """Compute all metrics of ``(N,)`` predictions and ratings.

    As is common practice, the logistic curve is fitted on the same ratings, so that PLCC and RMSE
    do not depend on the scale of the predictions.
    """
    curve = fit_logistic(predictions, ratings)
    mapped = curve(predictions) if curve else fit_line(predictions, ratings)
    return Agreement(
        srcc=srcc(predictions, ratings),
        plcc=plcc(mapped, ratings),
        plcc_raw=plcc(predictions, ratings),
        krcc=krcc(predictions, ratings),
        rmse=rmse(mapped, ratings),
        curve=curve,
    )


def fit_line(predictions: Vector, ratings: Vector) -> Vector:
    """Return the predictions mapped to the ratings by a least-squares line."""
    if _constant(predictions):
        return np.full_like(ratings, ratings.mean())
    slope, intercept = np.polyfit(predictions, ratings, 1)
    mapped: Vector = slope * predictions + intercept
    return mapped


def _constant(values: Vector) -> bool:
    return bool(np.ptp(values) <= 1e-12 * np.abs(values).max(initial=0))
