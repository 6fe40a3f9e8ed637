"""``reiqa fit``: one dataset by the protocol, from features to results/datasets/D.json."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from reiqa import catalog, layout, store, text
from reiqa import params as parameters
from reiqa.params import EXPERTS, VARIANTS, Params, RegressionParams, Variant
from reiqa.regression import regressor, splits
from reiqa.regression.dataset import RatedFeatures, load_rated_features
from reiqa.regression.evaluation import CVResult, cross_validate, summarise
from reiqa.regression.protocol import refit_all
from reiqa.regression.ranking import DegradedDataset, load_degraded
from reiqa.regression.regressor import Regressor
from reiqa.regression.ridge_path import alpha_grid, penalty_grid
from reiqa.regression.splits import Split
from reiqa.regression.statistics import json_number
from reiqa.stages import stage_parameters


def fit(dataset: str, params: Params, splits_file: Path | None = None) -> Path:
    """Fit and judge the regressors of a dataset, and keep them.

    Beside the result stand its predictions, splits and alpha path as CSV, and the regressors of
    all variants, refitted on every usable image with the lower median of the penalties that the
    splits chose. The result is written last.

    Args:
        dataset: its index and the features of both experts must be there.
        params: ``regression``, ``seed`` and ``compute.threads`` matter.
        splits_file: a table of splits to use instead of the protocol's.

    Returns:
        ``layout.result(dataset)``.

    Raises:
        BadInputError: an input is missing, damaged or too small for the protocol.
    """
    path = layout.result(dataset)
    judged = evaluate_dataset(load_rated_features(dataset), params, splits_file)
    sections = summarise(judged.evaluation, judged.sample, params)
    kept = fit_final(judged)
    files = {
        name: layout.companion(path, f"{name}.csv") for name in ("predictions", "splits", "alphas")
    }
    splits.write_splits(files["splits"], judged.sample.index, judged.splits)
    store.write_text(files["predictions"], _predictions(judged))
    store.write_text(files["alphas"], _alphas(judged, params))
    files["regressor"] = regressor_path(dataset)
    regressor.save_regressors(files["regressor"], kept, _card(judged, params))
    result = {
        **describe(judged, params),
        **sections,
        "warnings": judged.evaluation.notes.lines(),
        "files": {name: file.name for name, file in files.items()}
        | {"regressor_sha256": store.file_digest(files["regressor"])},
    }
    store.write_json(path, result)
    return path


def regressor_path(dataset: str) -> Path:
    """Return where the regressors of a dataset are kept."""
    return layout.companion(layout.result(dataset), "regressor.safetensors")


@dataclass(frozen=True)
class EvaluatedDataset:
    """A dataset that went through the protocol.

    Attributes:
        sample: its usable images.
        splits: of the index's rows.
        evaluation: the trials.
        given: whether the splits are a person's own.
        settings: of the regression.
        ladder: copies whose order is held beside the ratings, if asked.
        key: digest of all that decides the regressors: what is kept under another key is not it.
    """

    sample: RatedFeatures
    splits: Sequence[Split]
    evaluation: CVResult
    given: bool
    settings: RegressionParams
    ladder: DegradedDataset | None
    key: str


def evaluate_dataset(
    sample: RatedFeatures, params: Params, splits_file: Path | None = None
) -> EvaluatedDataset:
    """Run the protocol on a dataset.

    Args:
        sample: its usable images.
        params: ``regression``, ``seed`` and ``compute.threads`` matter.
        splits_file: a table of splits to use instead of the protocol's.

    Raises:
        BadInputError: splits or copies do not fit the sample, or it is too small.
    """
    parts = _splits(sample, params, splits_file)
    settings = params.regression
    ladder = load_degraded(sample, settings.ranking.dataset) if settings.ranking else None
    threads = params.compute.threads
    evaluation = cross_validate(sample, parts, settings, threads, ladder=ladder)
    key = regressor_key(sample, params, splits_file)
    return EvaluatedDataset(
        sample, parts, evaluation, splits_file is not None, settings, ladder, key
    )


def fit_final(judged: EvaluatedDataset) -> dict[Variant, Regressor]:
    """Fit the regressors that are kept: every usable image, the middle one of the penalties."""
    with threadpool_limits(1):
        return {variant: _retrained(judged, variant) for variant in VARIANTS}


def _retrained(judged: EvaluatedDataset, variant: Variant) -> Regressor:
    sample, penalty = judged.sample, judged.evaluation.kept_penalty(variant)
    pairs = judged.ladder.pairs_of(variant) if judged.ladder else None
    return refit_all(sample.features_of(variant), sample.ratings, penalty, judged.settings, pairs)


def regressor_key(sample: RatedFeatures, params: Params, splits_file: Path | None = None) -> str:
    """Return the digest of everything that decides a dataset's regressors."""
    return parameters.tree_digest(
        {
            "parameters": stage_parameters(params, "fit", sample.dataset),
            "recipes": sample.recipes,
            "index": store.file_digest(layout.index(sample.dataset)),
            "images": sample.digests,
            "copies": [
                store.file_digest(path)
                for path in layout.regression_inputs(*params.degraded_datasets())
            ],
            "splits": store.file_digest(splits_file) if splits_file else None,
        }
    )


def describe(judged: EvaluatedDataset, params: Params) -> dict[str, Any]:
    """Return the part of a result that says what was done to what."""
    sample, settings = judged.sample, params.regression
    entry = catalog.get_entry(sample.dataset)
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
        "rating": _rating(sample),
        "references": int(sample.groups.max()) + 1 if entry.grouped else None,
        "protocol": _protocol(judged, params),
        "regression": {
            "model": settings.model,
            "alphas": [json_number(alpha) for alpha in alpha_grid(settings)],
            "l1_ratios": list(settings.l1_ratios) if settings.model == "elasticnet" else None,
            "target": settings.target,
            "clip": settings.clip,
            "order": settings.ranking.model_dump() if settings.ranking else None,
        },
        "experts": {
            expert: {
                "weights": sample.recipes[expert]["weights"],
                "width": sample.widths[expert],
            }
            for expert in EXPERTS
        },
    }


def _splits(sample: RatedFeatures, params: Params, file: Path | None) -> Sequence[Split]:
    settings, index = params.regression, sample.index
    if file:
        return splits.read_splits(file, index, settings.fractions, params.seed)
    return splits.make_splits(
        index, settings.protocol, settings.splits, settings.fractions, params.seed
    )


def _protocol(judged: EvaluatedDataset, params: Params) -> dict[str, Any]:
    settings, count = params.regression, len(judged.splits)
    resolved = splits.resolve_protocol(judged.sample.index, settings.protocol)
    used, note = (resolved.name, resolved.note) if not judged.given else ("given", "")
    shares = "/".join(f"{100 * share:g}" for share in settings.fractions)
    unit = "reference" if catalog.get_entry(judged.sample.dataset).grouped else "image"
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


def _rating(sample: RatedFeatures) -> dict[str, float | None]:
    header = sample.index.header
    return {"low": header["rating_low"], "high": header["rating_high"]}


def _card(judged: EvaluatedDataset, params: Params) -> dict[str, Any]:
    sample = judged.sample
    return {
        "dataset": sample.dataset,
        "key": judged.key,
        "n": len(sample.rows),
        "model": params.regression.model,
        "rating": {**_rating(sample), "direction": "higher is better"},
        "proxy": catalog.get_entry(sample.dataset).proxy,
        "experts": sample.recipes,
    }


def _predictions(judged: EvaluatedDataset) -> str:
    sample, evaluation = judged.sample, judged.evaluation
    lines: list[list[str]] = []
    for trial, split in enumerate(evaluation.splits):
        columns = [evaluation.results[variant][trial].predictions for variant in VARIANTS]
        residual = columns[-1] - sample.ratings[split.test]
        for place, row in enumerate(split.test):
            values = [sample.ratings[row], *(c[place] for c in columns), residual[place]]
            lines.append([str(trial), sample.images[row], *(f"{value:.9g}" for value in values)])
    return text.format_csv(["split", "image", "mos", *VARIANTS, "residual"], lines)


def _alphas(judged: EvaluatedDataset, params: Params) -> str:
    """Mean validation SRCC of every penalty over the splits where there is one."""
    means = []
    for variant in VARIANTS:
        scores = np.array([trial.scores for trial in judged.evaluation.results[variant]])
        there = np.isfinite(scores)
        total = np.where(there, scores, 0).sum(axis=0)
        means.append(
            np.divide(total, there.sum(axis=0), out=np.full(len(total), np.nan), where=there.any(0))
        )
    lines = [
        [
            f"{penalty.l1_ratio:g}",
            f"{penalty.alpha:.6g}",
            *("" if np.isnan(mean[at]) else f"{mean[at]:.6g}" for mean in means),
        ]
        for at, penalty in enumerate(penalty_grid(params.regression))
    ]
    return text.format_csv(["l1_ratio", "alpha", *VARIANTS], lines)
