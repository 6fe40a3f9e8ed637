"""``reiqa fit``: one dataset by the protocol, from features to results/datasets/D.json."""

from pathlib import Path
from typing import Any

import numpy as np

from reiqa import catalog, layout, store, text
from reiqa.params import EXPERTS, VARIANTS, Params
from reiqa.regression import regressor, splits
from reiqa.regression.dataset import load_rated_features
from reiqa.regression.evaluation import EvaluatedDataset, evaluate_dataset, fit_final
from reiqa.regression.ridge_path import penalty_grid
from reiqa.regression.summary import describe, rating_range, summarise


def fit(dataset: str, params: Params, splits_file: Path | None = None) -> Path:
    """Fit, evaluate and save the regressors of a dataset.

    Predictions, splits and the alpha path are written as CSV next to the result, together with the
    regressors of all variants. These are refitted on all usable images with the lower median of
    the penalties chosen by the splits. The result is written last.

    Args:
        dataset: name of the dataset; its index and the features of both experts must exist.
        params: uses ``regression``, ``seed`` and ``compute.threads``.
        splits_file: a table of splits that replaces those of the protocol.

    Returns:
        ``layout.result(dataset)``.

    Raises:
        BadInputError: an input is missing, damaged or too small for the protocol.
    """
    path = layout.result(dataset)
    evaluated = evaluate_dataset(load_rated_features(dataset), params, splits_file)
    sections = summarise(evaluated.evaluation, evaluated.sample, params)
    final = fit_final(evaluated)
    files = {
        name: layout.companion(path, f"{name}.csv") for name in ("predictions", "splits", "alphas")
    }
    splits.write_splits(files["splits"], evaluated.sample.index, evaluated.splits)
    store.write_text(files["predictions"], _predictions(evaluated))
    store.write_text(files["alphas"], _alphas(evaluated, params))
    files["regressor"] = regressor_path(dataset)
    regressor.save_regressors(files["regressor"], final, _card(evaluated, params))
    result = {
        **describe(evaluated, params),
        **sections,
        "warnings": [*_without_ranking(evaluated, params), *evaluated.evaluation.notes.lines()],
        "files": {name: file.name for name, file in files.items()}
        | {"regressor_sha256": store.file_digest(files["regressor"])},
    }
    store.write_json(path, result)
    return path


def regressor_path(dataset: str) -> Path:
    """Return the path of the saved regressors of a dataset."""
    return layout.companion(layout.result(dataset), "regressor.safetensors")


def _without_ranking(evaluated: EvaluatedDataset, params: Params) -> list[str]:
    """Return a warning if the ranking term was not used because the copies are of other images."""
    ranking = params.regression.ranking
    if ranking is None or evaluated.settings.ranking:
        return []
    owner = catalog.get_entry(ranking.dataset).shares
    return [f"fitted without the ranking term: {ranking.dataset} holds copies of {owner}"]


def _card(evaluated: EvaluatedDataset, params: Params) -> dict[str, Any]:
    sample = evaluated.sample
    return {
        "dataset": sample.dataset,
        "key": evaluated.key,
        "n": len(sample.rows),
        "model": params.regression.model,
        "rating": {**rating_range(sample), "direction": "higher is better"},
        "proxy": catalog.get_entry(sample.dataset).proxy,
        "experts": sample.recipes,
    }


def _predictions(evaluated: EvaluatedDataset) -> str:
    sample, evaluation = evaluated.sample, evaluated.evaluation
    lines: list[list[str]] = []
    for trial, split in enumerate(evaluation.splits):
        columns = [evaluation.results[variant][trial].predictions for variant in VARIANTS]
        residual = columns[-1] - sample.ratings[split.test]
        shares = evaluation.results["both"][trial].shares
        for place, row in enumerate(split.test):
            values = [sample.ratings[row], *(c[place] for c in columns), residual[place]]
            values += [] if shares is None else shares[place].tolist()
            lines.append([str(trial), sample.images[row], *(f"{value:.9g}" for value in values)])
    head = ["split", "image", "mos", *VARIANTS, "residual"]
    head += [] if shares is None else [f"{expert}_share" for expert in EXPERTS]
    return text.format_csv(head, lines)


def _alphas(evaluated: EvaluatedDataset, params: Params) -> str:
    """Return a CSV of the mean validation SRCC of each penalty over splits that have one.

    The second number of a penalty is the L1 ratio, for svr epsilon; its alpha is 1 / C.
    """
    means = []
    for variant in VARIANTS:
        scores = np.array([trial.scores for trial in evaluated.evaluation.results[variant]])
        defined = np.isfinite(scores)
        total = np.where(defined, scores, 0).sum(axis=0)
        means.append(
            np.divide(
                total, defined.sum(axis=0), out=np.full(len(total), np.nan), where=defined.any(0)
            )
        )
    svr = params.regression.model == "svr"
    lines = [
        [
            f"{penalty.epsilon if svr else penalty.l1_ratio:g}",
            f"{penalty.alpha:.6g}",
            *("" if np.isnan(mean[at]) else f"{mean[at]:.6g}" for mean in means),
        ]
        for at, penalty in enumerate(penalty_grid(params.regression))
    ]
    return text.format_csv(["epsilon" if svr else "l1_ratio", "alpha", *VARIANTS], lines)
