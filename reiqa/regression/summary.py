"""The sections of a result: its description, and the metrics of all splits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reiqa import catalog
from reiqa.params import EXPERTS, VARIANTS, Params, RegressionParams, Variant
from reiqa.regression import metrics, paper, splits, statistics
from reiqa.regression.dataset import RatedFeatures
from reiqa.regression.evaluation import CVResult, EvaluatedDataset
from reiqa.regression.metrics import Logistic
from reiqa.regression.ridge_path import alpha_grid
from reiqa.regression.scaler import Vector
from reiqa.regression.statistics import json_number
from reiqa.seeds import generator

_METRICS = ("srcc", "plcc", "plcc_raw", "krcc", "rmse")


def describe(evaluated: EvaluatedDataset, params: Params) -> dict[str, Any]:
    """Return the description of dataset, protocol and settings in a result."""
    sample, settings = evaluated.sample, evaluated.settings
    entry = catalog.get_entry(sample.dataset)
    # The index of a local dataset knows whether its table has references.
    grouped = entry.grouped or bool(sample.index.header.get("references"))
    return {
        "dataset": sample.dataset,
        "title": entry.title,
        "n": len(sample.rows),
        "listed": sample.index.header["listed"],
        "indexed": len(sample.index.images),
        "missing": sample.index.header["missing"],
        "unrated": sample.unrated,
        "errors": sample.errors,
        "scaled": sample.scaled,
        "proxy": entry.proxy,
        "rating": rating_range(sample),
        "references": int(sample.groups.max()) + 1 if grouped else None,
        "protocol": _protocol(evaluated, params, grouped),
        "regression": {
            "model": settings.model,
            "alphas": [json_number(alpha) for alpha in alpha_grid(settings)],
            "l1_ratios": list(settings.l1_ratios) if settings.model == "elasticnet" else None,
            "target": settings.target,
            "clip": settings.clip,
            "ranking": settings.ranking.model_dump() if settings.ranking else None,
            **({"svr": settings.svr.model_dump(mode="json")} if settings.model == "svr" else {}),
        },
        "experts": {
            expert: {
                "weights": sample.recipes[expert]["weights"],
                "width": sample.widths[expert],
            }
            for expert in EXPERTS
        },
    }


def _protocol(evaluated: EvaluatedDataset, params: Params, grouped: bool) -> dict[str, Any]:
    settings, count = params.regression, len(evaluated.splits)
    resolved = splits.resolve_protocol(evaluated.sample.index, settings.protocol)
    used, note = (resolved.name, resolved.note) if not evaluated.custom_splits else ("given", "")
    shares = "/".join(f"{100 * share:g}" for share in settings.fractions)
    unit = "reference" if grouped else "image"
    words = {
        "official": "the official split",
        "random": f"{count} random splits {shares} by {unit}",
        "given": f"{count} splits from a file",
    }[used]
    return {
        "asked": settings.protocol,
        "used": used,
        "splits": count,
        "fractions": list(settings.fractions),
        "seed": params.seed,
        "text": words + (f" ({note})" if note else ""),
    }


def rating_range(sample: RatedFeatures) -> dict[str, float | None]:
    """Return the ends of the rating scale."""
    header = sample.index.header
    return {"low": header["rating_low"], "high": header["rating_high"]}


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
    if settings.model == "svr":
        widths = [statistics.json_number(penalty.epsilon) for penalty in chosen]
        result["epsilon"] = {"kept": statistics.json_number(kept.epsilon), "splits": widths}
    return result


def _in_order(evaluation: CVResult, variant: Variant) -> float | None:
    """Return the mean fraction of held-out pairs in the right order, over splits with pairs."""
    shares = [
        result.in_order for result in evaluation.results[variant] if result.in_order is not None
    ]
    return statistics.json_number(float(np.mean(shares))) if shares else None


def _published(dataset: str, variant: Variant) -> dict[str, float | None] | None:
    found = paper.within(dataset, variant)
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
