"""Run the protocol over all splits of a dataset and summarise the metrics."""

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
    """Warnings of single splits, grouped by reason."""

    def __init__(self) -> None:
        """Create an empty collection."""
        self._places: dict[str, dict[str, list[int]]] = defaultdict(lambda: defaultdict(list))

    def add(self, reason: str, variant: Variant, split: int) -> None:
        """Add a warning of one split and variant."""
        self._places[reason][variant].append(split)

    def lines(self) -> list[str]:
        """Return one line per reason, with the affected variants and splits."""
        return [
            f"{reason} ("
            + "; ".join(f"{name}, split {', '.join(map(str, s))}" for name, s in places.items())
            + ")"
            for reason, places in self._places.items()
        ]


@dataclass(frozen=True)
class CVResult:
    """Results of all splits of a dataset.

    Attributes:
        splits: splits of the rows of the sample.
        results: one result per split, by variant.
        notes: warnings.
    """

    splits: list[Split]
    results: dict[Variant, list[SplitResult]]
    notes: SplitWarnings

    def final_penalty(self, variant: Variant) -> Penalty:
        """Return the lower median of the chosen penalties, used for the final regressor."""
        return median_low([result.penalty for result in self.results[variant]])


def cross_validate(
    sample: RatedFeatures,
    splits: Sequence[Split],
    settings: RegressionParams,
    threads: int = 1,
    variants: Sequence[Variant] = VARIANTS,
    degraded: DegradedDataset | None = None,
) -> CVResult:
    """Run every split of every variant.

    Each split runs in a single thread, including its linear algebra. The results therefore do not
    depend on the number of threads.

    Raises:
        BadInputError: a part of a split is empty, or the ratings do not vary.
    """
    local = [sample.to_local_rows(split) for split in splits]
    penalties = penalty_grid(settings)
    places = [(number, variant) for number in range(len(local)) for variant in variants]

    def run(place: tuple[int, Variant]) -> SplitResult:
        number, variant = place
        pairs = degraded.pairs_of(variant) if degraded else None
        values, ratings = sample.features_of(variant), sample.ratings
        return run_split(values, ratings, local[number], penalties, settings, pairs)

    notes = SplitWarnings()
    results: dict[Variant, list[SplitResult]] = {variant: [] for variant in variants}
    with (
        threadpool_limits(1),
        ThreadPoolExecutor(threads) as pool,
        progress_bar(f"fit {sample.dataset}", len(places), unit="fits") as bar,
    ):
        for (number, variant), result in zip(places, pool.map(run, places), strict=True):
            for note in result.notes:
                notes.add(note, variant, number)
            results[variant].append(result)
            bar.update()
    return CVResult(local, results, notes)


@dataclass(frozen=True)
class SplitMetrics:
    """Metrics and logistic curves of one variant, with one value per split."""

    values: dict[str, list[float]]
    curves: list[Logistic | None]


def split_metrics(evaluation: CVResult, ratings: Vector, variant: Variant) -> SplitMetrics:
    """Compare the test predictions of each split with the ``(N,)`` ratings of the sample."""
    values: dict[str, list[float]] = {name: [] for name in _METRICS}
    curves = []
    for number, (split, result) in enumerate(
        zip(evaluation.splits, evaluation.results[variant], strict=True)
    ):
        found = metrics.compare(result.predictions, ratings[split.test])
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
    test_share = float(np.mean([len(split.test) / len(split.train) for split in evaluation.splits]))
    compared = {}
    for expert in ("content", "quality"):
        low, high = statistics.percentile_interval(draws["both"] - draws[expert])
        compared[f"both-{expert}"] = {
            **statistics.paired_tests(
                measured["both"].values["srcc"], measured[expert].values["srcc"], test_share
            ),
            "low": low,
            "high": high,
        }
    return {"variants": variants, "tests": compared}


def _chosen(evaluation: CVResult, variant: Variant, settings: RegressionParams) -> dict[str, Any]:
    kept = evaluation.final_penalty(variant)
    chosen = [result.penalty for result in evaluation.results[variant]]
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
    """Return the mean fraction of held-out pairs in the right order, over splits with pairs."""
    shares = [
        result.in_order for result in evaluation.results[variant] if result.in_order is not None
    ]
    return statistics.json_number(float(np.mean(shares))) if shares else None


def _published(dataset: str, variant: Variant) -> dict[str, float | None] | None:
    found = paper.WITHIN.get((dataset, variant))
    return dict(found._asdict()) if found else None


def _parts(
    evaluation: CVResult, sample: RatedFeatures, variant: Variant, labels: Sequence[str | int]
) -> dict[str, Any]:
    """Return SRCC within each distortion or level, pooling test predictions of all splits."""
    label = np.array([str(labels[row] or "") for row in sample.rows.tolist()])
    rows = np.concatenate([split.test for split in evaluation.splits])
    predictions = np.concatenate([result.predictions for result in evaluation.results[variant]])
    parts = {}
    for name in sorted(set(label[rows]) - {""}):
        selected = label[rows] == name
        value = metrics.srcc(predictions[selected], sample.ratings[rows[selected]])
        parts[name] = {"srcc": statistics.json_number(value), "n": len(np.unique(rows[selected]))}
    return parts
