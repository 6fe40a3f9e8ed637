"""Statistics over splits: summary, bootstrap interval and paired tests.

Test parts of random splits overlap, and so do their training parts. The splits are therefore not an
independent sample, and a test that assumes independence is too liberal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from reiqa.params import Variant
from reiqa.regression.scaler import RowNumbers, Vector

_LEVEL = 0.95


def json_number(value: float) -> float | None:
    """Return a float rounded to six significant digits for JSON; None if not finite."""
    return float(f"{value:.6g}") if np.isfinite(value) else None


def summary_statistics(values: Sequence[float]) -> dict[str, Any]:
    """Return median, mean, standard deviation (None for one split) and the values.

    Undefined values are ignored in the first three.
    """
    defined = np.array([value for value in values if np.isfinite(value)])
    return {
        "median": json_number(float(np.median(defined))) if len(defined) else None,
        "mean": json_number(float(defined.mean())) if len(defined) else None,
        "std": json_number(float(defined.std(ddof=1))) if len(defined) > 1 else None,
        "splits": [json_number(value) for value in values],
    }


def percentile_interval(draws: Vector) -> tuple[float | None, float | None]:
    """Return the 95 % percentile interval of bootstrap draws."""
    defined = draws[np.isfinite(draws)]
    if not len(defined):
        return None, None
    tail = (1 - _LEVEL) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return json_number(float(low)), json_number(float(high))


@dataclass(frozen=True)
class Ranked:
    """Dense ranks of values, ascending from 0."""

    places: RowNumbers
    count: int

    @classmethod
    def of(cls, values: Vector) -> "Ranked":
        """Rank values; equal values share a rank."""
        distinct, places = np.unique(values, return_inverse=True)
        return cls(places, len(distinct))

    def weighted(self, weights: Vector) -> Vector:
        """Return the mean rank of each value if it is repeated ``weights`` times."""
        at_place = np.bincount(self.places, weights, minlength=self.count)
        ranks: Vector = (np.cumsum(at_place) - (at_place - 1) / 2)[self.places]
        return ranks


def weighted_srcc(first: Ranked, second: Ranked, weights: Vector) -> float:
    """Return SRCC of pairs that are repeated ``weights`` times each."""
    total = weights.sum()
    if total == 0:
        return float("nan")
    a, b = first.weighted(weights), second.weighted(weights)
    a, b = a - weights @ a / total, b - weights @ b / total
    scale = float((weights @ (a * a)) * (weights @ (b * b)))
    return float(weights @ (a * b)) / np.sqrt(scale) if scale > 0 else float("nan")


def bootstrap(
    tests: Sequence[RowNumbers],
    ratings: Vector,
    predictions: Mapping[Variant, Sequence[Vector]],
    groups: RowNumbers,
    count: int,
    generator: np.random.Generator,
) -> dict[Variant, Vector]:
    """Resample test images and return the median SRCC over splits for each resample.

    Groups (a reference and its distorted versions) are drawn with replacement, the same groups for
    all splits and variants. The regressors are not refitted.

    Args:
        tests: test rows of each split.
        ratings: ``(N,)`` ratings of all images.
        predictions: predictions for the test rows of each split, by variant.
        groups: ``(N,)`` group numbers from 0.
        count: number of resamples.
        generator: random generator for the groups.
    """
    rated = [Ranked.of(ratings[rows]) for rows in tests]
    predicted = {name: [Ranked.of(p) for p in parts] for name, parts in predictions.items()}
    total = int(groups.max()) + 1
    draws = {name: np.full(count, np.nan) for name in predictions}
    for draw in range(count):
        times = np.bincount(generator.integers(total, size=total), minlength=total).astype(float)
        weights = [times[groups[rows]] for rows in tests]
        for name, parts in predicted.items():
            values = [weighted_srcc(*each) for each in zip(rated, parts, weights, strict=True)]
            defined = [value for value in values if np.isfinite(value)]
            if defined:
                draws[name][draw] = np.median(defined)
    return draws


def paired_tests(
    first: Sequence[float], second: Sequence[float], test_share: float
) -> dict[str, float | None]:
    """Compare two variants over the same splits.

    Args:
        first: a metric of one variant, one value per split.
        second: the metric of the other variant.
        test_share: number of test images divided by number of training images.

    Returns:
        ``difference`` (median of first minus second), ``wilcoxon_p`` (two-sided signed-rank test,
        which assumes independent splits) and ``corrected_t_p`` (the corrected resampled t-test of
        Nadeau and Bengio, 2003, which accounts for their overlap). A value is None if there are
        too few splits.
    """
    differences = np.array(first, dtype=np.float64) - np.array(second, dtype=np.float64)
    differences = differences[np.isfinite(differences)]
    count = len(differences)
    result: dict[str, float | None] = {
        "difference": json_number(float(np.median(differences))) if count else None,
        "wilcoxon_p": None,
        "corrected_t_p": None,
    }
    if count > 1 and np.any(differences):
        result["wilcoxon_p"] = json_number(float(stats.wilcoxon(differences).pvalue))
        variance = differences.var(ddof=1) * (1 / count + test_share)
        if variance > 0:
            t = abs(differences.mean()) / np.sqrt(variance)
            result["corrected_t_p"] = json_number(float(2 * stats.t.sf(t, count - 1)))
    return result
