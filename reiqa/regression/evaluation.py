"""The protocol over all splits of a dataset: trials of every variant, and what they amount to."""

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median_low
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from reiqa.params import VARIANTS, Params, RegressionParams, Variant
from reiqa.progress import progress_bar
from reiqa.regression import metrics, paper, statistics
from reiqa.regression.dataset import RatedFeatures
from reiqa.regression.metrics import Logistic
from reiqa.regression.protocol import SplitResult, run_split
from reiqa.regression.ranking import DegradedDataset
from reiqa.regression.ridge_path import Penalty, penalty_grid
from reiqa.regression.scaler import Vector
from reiqa.regression.splits import Split
from reiqa.seeds import generator

_METRICS = ("srcc", "plcc", "plcc_raw", "krcc", "rmse")


class SplitWarnings:
    """Warnings of single trials, gathered so that one reason makes one line."""

    def __init__(self) -> None:
        """Start with none."""
        self._places: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))

    def add(self, reason: str, variant: Variant, split: int) -> None:
        """Note what happened in one split of one variant."""
        self._places[reason][variant].append(split)

    def lines(self) -> list[str]:
        """Return a line for each reason, with where it held."""
        return [
            f"{reason} ("
            + "; ".join(f"{name}, split {', '.join(map(str, s))}" for name, s in places.items())
            + ")"
            for reason, places in self._places.items()
        ]


@dataclass(frozen=True)
class CVResult:
    """All trials of a dataset.

    Attributes:
        splits: of the sample's rows.
        trials: one a split, by variant.
        notes: what was not as it should be.
    """

    splits: list[Split]
    results: dict[Variant, list[SplitResult]]
    notes: SplitWarnings

    def kept_penalty(self, variant: Variant) -> Penalty:
        """Return the lower median of the penalties chosen: that of the regressor that is kept."""
        return median_low([trial.penalty for trial in self.results[variant]])


def cross_validate(
    sample: RatedFeatures,
    splits: Sequence[Split],
    settings: RegressionParams,
    threads: int = 1,
    variants: Sequence[Variant] = VARIANTS,
    ladder: DegradedDataset | None = None,
) -> CVResult:
    """Run every split of every variant.

    Each trial is for one thread, its linear algebra included: so the numbers do not depend on how
    many there are, and no thread of a product waits for another.

    Raises:
        BadInputError: a part of a split is empty, or ratings do not vary.
    """
    local = [sample.to_local_rows(split) for split in splits]
    penalties = penalty_grid(settings)
    places = [(number, variant) for number in range(len(local)) for variant in variants]

    def run(place: tuple[int, Variant]) -> SplitResult:
        number, variant = place
        pairs = ladder.pairs_of(variant) if ladder else None
        values, ratings = sample.features_of(variant), sample.ratings
        return run_split(values, ratings, local[number], penalties, settings, pairs)

    notes = SplitWarnings()
    trials: dict[Variant, list[SplitResult]] = {variant: [] for variant in variants}
    with (
        threadpool_limits(1),
        ThreadPoolExecutor(threads) as pool,
        progress_bar(f"fit {sample.dataset}", len(places), unit="fits") as shown,
    ):
        for (number, variant), trial in zip(places, pool.map(run, places), strict=True):
            for note in trial.notes:
                notes.add(note, variant, number)
            trials[variant].append(trial)
            shown.update()
    return CVResult(local, trials, notes)


@dataclass(frozen=True)
class SplitMetrics:
    """Metrics of one variant, a list each with one value a split, and the curve of each split."""

    values: dict[str, list[float]]
    curves: list[Logistic | None]


def split_metrics(evaluation: CVResult, ratings: Vector, variant: Variant) -> SplitMetrics:
    """Compare each split's test predictions with the ``(N,)`` ratings of the sample."""
    values: dict[str, list[float]] = {name: [] for name in _METRICS}
    curves = []
    for number, (split, trial) in enumerate(
        zip(evaluation.splits, evaluation.results[variant], strict=True)
    ):
        found = metrics.compare(trial.predictions, ratings[split.test])
        for name in _METRICS:
            values[name].append(getattr(found, name))
        curves.append(found.curve)
        if np.isnan(found.srcc):
            reason = "no correlation exists: test ratings or predictions are constant"
            evaluation.notes.add(reason, variant, number)
        elif found.curve is None:
            reason = "no logistic curve could be fitted: PLCC and RMSE after a straight line"
            evaluation.notes.add(reason, variant, number)
    return SplitMetrics(values, curves)


def summarise(evaluation: CVResult, sample: RatedFeatures, params: Params) -> dict[str, Any]:
    """Return the ``variants`` and ``tests`` sections of a result, as JSON data."""
    ratings = sample.ratings
    measured = {variant: split_metrics(evaluation, ratings, variant) for variant in VARIANTS}
    tests = [split.test for split in evaluation.splits]
    draws = statistics.bootstrap(
        tests,
        ratings,
        {v: [t.predictions for t in results] for v, results in evaluation.results.items()},
        sample.groups,
        params.regression.bootstrap,
        generator(params.seed, "bootstrap", sample.dataset),
    )
    variants = {}
    for variant in VARIANTS:
        section = {
            name: statistics.summary_statistics(measured[variant].values[name]) for name in _METRICS
        }
        low, high = statistics.percentile_interval(draws[variant])
        section["srcc"] |= {"low": low, "high": high}
        first = measured[variant].curves[0]
        variants[variant] = {
            "width": sample.features_of(variant).shape[1],
            **section,
            **_chosen(evaluation, variant, params.regression),
            "in_order": _in_order(evaluation, variant),
            "logistic": [statistics.json_number(b) for b in first] if first else None,
            "paper": _published(sample.dataset, variant),
            "by_distortion": _parts(evaluation, sample, variant, sample.index.distortion),
            "by_level": _parts(evaluation, sample, variant, sample.index.level),
        }
    share = float(np.mean([len(split.test) / len(split.train) for split in evaluation.splits]))
    compared = {}
    for expert in ("content", "quality"):
        low, high = statistics.percentile_interval(draws["both"] - draws[expert])
        compared[f"both-{expert}"] = {
            **statistics.paired_tests(
                measured["both"].values["srcc"], measured[expert].values["srcc"], share
            ),
            "low": low,
            "high": high,
        }
    return {"variants": variants, "tests": compared}


def _chosen(evaluation: CVResult, variant: Variant, settings: RegressionParams) -> dict[str, Any]:
    kept = evaluation.kept_penalty(variant)
    chosen = [trial.penalty for trial in evaluation.results[variant]]
    result: dict[str, Any] = {
        "alpha": {
            "kept": statistics.json_number(kept.alpha),
            "splits": [statistics.json_number(penalty.alpha) for penalty in chosen],
        },
        "l1_ratio": None,
    }
    if settings.model == "elasticnet":
        ratios = [statistics.json_number(penalty.l1_ratio) for penalty in chosen]
        result["l1_ratio"] = {"kept": statistics.json_number(kept.l1_ratio), "splits": ratios}
    return result


def _in_order(evaluation: CVResult, variant: Variant) -> float | None:
    """Mean share of held-out pairs of copies whose scores fall, over the splits that have some."""
    shares = [trial.in_order for trial in evaluation.results[variant] if trial.in_order is not None]
    return statistics.json_number(float(np.mean(shares))) if shares else None


def _published(dataset: str, variant: Variant) -> dict[str, float | None] | None:
    found = paper.WITHIN.get((dataset, variant))
    return dict(found._asdict()) if found else None


def _parts(
    evaluation: CVResult, sample: RatedFeatures, variant: Variant, labels: Sequence[str | int]
) -> dict[str, Any]:
    """SRCC within each distortion or level, over the test predictions of all splits together."""
    label = np.array([str(labels[row] or "") for row in sample.rows.tolist()])
    rows = np.concatenate([split.test for split in evaluation.splits])
    predictions = np.concatenate([trial.predictions for trial in evaluation.results[variant]])
    parts = {}
    for name in sorted(set(label[rows]) - {""}):
        these = label[rows] == name
        value = metrics.srcc(predictions[these], sample.ratings[rows[these]])
        parts[name] = {"srcc": statistics.json_number(value), "n": len(np.unique(rows[these]))}
    return parts
