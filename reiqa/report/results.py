"""Read the outputs of earlier stages for tables and charts."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reiqa import layout
from reiqa.errors import BadInputError
from reiqa.params import EXPERTS, VARIANTS, ExpertName, Params, Variant
from reiqa.store import Provenance, read_json, read_provenance

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Predictions:
    """Predictions for all test images, averaged over splits.

    Attributes:
        images: sorted paths relative to the raw folder of the dataset.
        rated: ``(N,)`` ratings.
        predicted: ``(N,)`` by variant: mean over the splits with the image in the test part.
        shares: ``(N,)`` by expert: points by which it moves the prediction of both; None for
            an SVR with RBF kernel.
    """

    images: list[str]
    rated: Floats
    predicted: Mapping[Variant, Floats]
    shares: Mapping[ExpertName, Floats] | None


@dataclass(frozen=True)
class CrossResult:
    """Result of a regressor fitted on one dataset and tested on another.

    Attributes:
        shared: number of references that both datasets contain.
    """

    train: str
    test: str
    variant: Variant
    srcc: float | None
    plcc: float | None
    n: int
    shared: int
    paper_srcc: float | None


def read_results(params: Params) -> dict[str, Mapping[str, Any]]:
    """Return ``results/datasets/D.json`` of every dataset, in the order of the parameters.

    Raises:
        BadInputError: a file is missing or damaged.
    """
    found: dict[str, Mapping[str, Any]] = {}
    for name in params.datasets:
        path = layout.result(name)
        tree = read_json(path)
        if not isinstance(tree, dict) or not set(VARIANTS) <= set(tree.get("variants", ())):
            raise BadInputError(
                f"{path}: not a valid result; run: reiqa fit --dataset {name} --force"
            )
        found[name] = tree
    return found


def read_predictions(dataset: str) -> Predictions:
    """Read ``D.predictions.csv`` and average the predictions of each image over splits.

    Raises:
        BadInputError: the file is missing.
    """
    path = layout.companion(layout.result(dataset), "predictions.csv")
    sums: dict[str, list[Floats]] = {}
    keys = ["mos", *VARIANTS]
    for row in _rows(path):
        if f"{EXPERTS[0]}_share" in row:
            keys = ["mos", *VARIANTS, *(f"{expert}_share" for expert in EXPERTS)]
        sums.setdefault(row["image"], []).append(np.array([float(row[key]) for key in keys]))
    images = sorted(sums)
    means = np.array([np.mean(sums[image], axis=0) for image in images]).reshape(-1, len(keys))
    columns = dict(zip(keys, means.T, strict=True))
    known = len(keys) > 1 + len(VARIANTS)
    return Predictions(
        images,
        columns["mos"],
        {variant: columns[variant] for variant in VARIANTS},
        {expert: columns[f"{expert}_share"] for expert in EXPERTS} if known else None,
    )


def read_alphas(dataset: str) -> dict[Variant, tuple[Floats, Floats]]:
    """Read penalties and mean validation SRCC by variant from ``D.alphas.csv``.

    The best of several L1 ratios is used; an undefined value is NaN. Both arrays of a variant are
    ``(A,)``, with ascending penalties.

    Raises:
        BadInputError: the file is missing.
    """
    best: dict[Variant, dict[float, float]] = {variant: {} for variant in VARIANTS}
    for row in _rows(layout.companion(layout.result(dataset), "alphas.csv")):
        alpha = float(row["alpha"])
        for variant in VARIANTS:
            value = float(row[variant]) if row[variant] else np.nan
            best[variant][alpha] = float(np.fmax(best[variant].get(alpha, np.nan), value))
    return {
        variant: (np.array(sorted(path)), np.array([path[alpha] for alpha in sorted(path)]))
        for variant, path in best.items()
    }


def read_cross() -> list[CrossResult]:
    """Read ``results/cross.csv``; empty for a single dataset."""
    return [
        CrossResult(
            row["train"],
            row["test"],
            next(variant for variant in VARIANTS if variant == row["variant"]),
            _number(row["srcc"]),
            _number(row["plcc"]),
            int(row["n"]),
            int(row["shared_references"]),
            _number(row["paper_srcc"]),
        )
        for row in _rows(layout.CROSS)
    ]


def read_card(expert: ExpertName) -> dict[str, Any]:
    """Read the card of an expert; empty if it does not exist."""
    path = layout.companion(layout.model(expert), "json")
    return dict(read_json(path)) if path.exists() else {}


def read_curve(expert: ExpertName) -> dict[str, Floats]:
    """Read the training curve of an expert by column; empty if it does not exist."""
    path = layout.companion(layout.model(expert), "curve.csv")
    rows = list(_rows(path)) if path.exists() else []
    if not rows:
        return {}
    return {key: np.array([float(row[key] or "nan") for row in rows]) for key in rows[0]}


def read_probe() -> dict[str, Any]:
    """Read the result of `reiqa probe`; empty if it does not exist."""
    return dict(read_json(layout.PROBE)) if layout.PROBE.exists() else {}


def lineage(paths: Sequence[Path]) -> dict[Path, Provenance]:
    """Return the provenance of artifacts and all their inputs in topological order.

    Artifacts without a sidecar are omitted.
    """
    found: dict[Path, Provenance] = {}

    def visit(path: Path) -> None:
        provenance = read_provenance(path)
        if provenance is None or path in found:
            return
        for source in provenance.inputs:
            visit(Path(source))
        found[path] = provenance

    for path in paths:
        visit(path)
    return found


def _rows(path: Path) -> Iterator[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            yield from csv.DictReader(stream)
    except FileNotFoundError:
        raise BadInputError(f"{path}: not found; run reiqa fit and reiqa cross first") from None


def _number(text: str) -> float | None:
    return float(text) if text else None
