"""How the method works, told with what this run made: a chunk, pretraining and shares."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from reiqa import layout, text
from reiqa.chunks.sample import sample_chunk
from reiqa.errors import BadInputError
from reiqa.params import EXPERTS, BankParams, ChunkParams, ExpertName
from reiqa.report import chunk_pictures, figures, results
from reiqa.report.chart_style import Chart
from reiqa.report.chunk_pictures import Plate, VersionCard
from reiqa.report.results import Predictions
from reiqa.store import Provenance

#: Columns of a training curve to draw, with their labels.
_CURVES = {"loss": "loss", "top1": "top-1 accuracy"}

Lineage = Mapping[Path, Provenance]


@dataclass(frozen=True)
class ChunkSection:
    """One chunk of the corpus that the quality expert was pretrained on.

    Attributes:
        absent: why there is no chunk to draw, or empty.
        source: corpus and file of the photograph.
        chunks: parameters of chunks.
        types: distortion types of the drawn chunk.
        hard: whether other versions of the same chunk are among the negatives.
    """

    absent: str = ""
    source: str = ""
    chunks: ChunkParams = field(default_factory=ChunkParams)
    plates: list[Plate] = field(default_factory=list)
    versions: list[VersionCard] = field(default_factory=list)
    types: tuple[str, ...] = ()
    hard: bool = False


@dataclass(frozen=True)
class PretrainingSection:
    """The pretraining of one expert.

    Attributes:
        facts: sentences about this run, or why there is nothing to show.
        chart: the training curve; None without one.
    """

    name: ExpertName
    facts: str
    chart: Chart | None


@dataclass(frozen=True)
class SharesSection:
    """The shares of both experts in the scores of one dataset.

    Attributes:
        percent: share of each expert in the variance of the predictions, in per cent, rounded.
    """

    dataset: str
    percent: dict[ExpertName, int]
    chart: Chart


def bank_of(lineage: Lineage) -> BankParams:
    """Return the bank that the quality expert was pretrained with, or else the published bank."""
    bank = _recorded("quality", lineage).get("bank", {})
    try:
        return BankParams.model_validate(bank)
    except ValidationError:
        return BankParams()


def _recorded(name: ExpertName, lineage: Lineage) -> Mapping[str, Any]:
    """Return the parameters of an expert's provenance; empty without one."""
    provenance = lineage.get(layout.model(name))
    return provenance.parameters if provenance else {}


def chunk_section(lineage: Lineage) -> ChunkSection:
    """Draw a chunk of the corpus that the quality expert was pretrained on."""
    recorded = _recorded("quality", lineage)
    card = results.read_card("quality")
    if card.get("source", "pretrain") != "pretrain":
        return ChunkSection(f"The quality expert was not pretrained here: {_origin(card)}.")
    try:
        chunks, seed = ChunkParams.model_validate(recorded["chunks"]), int(recorded["seed"])
        corpus = chunks.corpora[0]
        sample = sample_chunk(corpus, chunks, bank_of(lineage), seed)
    except (KeyError, IndexError, ValidationError, BadInputError):
        return ChunkSection("It is not recorded which chunks the quality expert was pretrained on.")
    if sample is None:
        return ChunkSection(f"The photographs of {corpus} are not on this machine.")
    training = recorded.get("quality", {}).get("training") or {}
    return ChunkSection(
        source=f"{corpus}/{sample.recipe.image}",
        chunks=chunks,
        plates=chunk_pictures.plates(sample),
        versions=chunk_pictures.version_cards(sample),
        types=sample.recipe.types,
        hard="chunk" in training.get("negatives", ""),
    )


def pretraining_section(name: ExpertName, lineage: Lineage) -> PretrainingSection:
    """Describe the pretraining of an expert with its training curve."""
    card, curve = results.read_card(name), results.read_curve(name)
    if not card:
        return PretrainingSection(name, "This expert is not on this machine.", None)
    if card.get("source", "pretrain") != "pretrain":
        facts = f"Not pretrained here: {_origin(card)}. There is no loss to show."
        return PretrainingSection(name, facts, None)
    if not curve:
        return PretrainingSection(name, "Its training curve is not on this machine.", None)
    series = {label: curve[key] for key, label in _CURVES.items() if key in curve}
    recorded = _recorded(name, lineage).get(name, {})
    filling = _filling_steps(recorded.get("training") or {}, card)
    title = f"Pretraining, {name}"
    chart = figures.curves(f"{name}-curve", title, curve["step"], series, name, filling)
    # While the queue fills, the task becomes harder, and the loss may rise.
    rows = [min(int(np.searchsorted(curve["step"], filling)), len(curve["step"]) - 1), -1]
    ends = {label: figures.smooth(values)[rows] for label, values in series.items()}
    start = "once the queue of keys is full" if filling else "at the start"
    told = [_start(recorded.get("init", "random"))]
    told.append(
        "The loss is {:.2f} {} and {:.2f} at the end.".format(
            ends["loss"][0], start, ends["loss"][1]
        )
    )
    if np.isfinite(ends.get("top-1 accuracy", np.nan)).all():
        before, after = map(text.percent, ends["top-1 accuracy"])
        told.append(
            f"A query finds its own key in {before} of the cases {start}, {after} at the end."
        )
    return PretrainingSection(name, " ".join(told), chart)


def _filling_steps(training: Mapping[str, Any], card: Mapping[str, Any]) -> int:
    """Return the number of steps until the queue, which starts empty, is full; 0 if unknown."""
    size, pairs = training.get("queue_size"), card.get("pairs_per_step")
    return math.ceil(size / pairs) if size and pairs else 0


def _origin(card: Mapping[str, Any]) -> str:
    """Return where the weights of an expert come from that was not pretrained."""
    if card.get("source") == "package":
        return f"it is {card['backbone']} with the ImageNet weights of an installed package"
    bundle = f" of the bundle {card['bundle']}" if "bundle" in card else ""
    return f"its weights were imported from {card.get('file', 'a file')}{bundle}"


def _start(init: str) -> str:
    if init == "random":
        return "It starts from random weights."
    source = "the ImageNet weights of an installed package" if init == "package" else init
    return f"It starts from {source}, and its pretraining is continued here."


def shares_section(name: str, found: Predictions) -> SharesSection | None:
    """Return the shares of both experts in the scores of a dataset; None if they are undefined.

    The share of an expert is the covariance of its points with the sum of the points, divided by
    the variance of the sum: the slope of its points against the prediction. Both add up to 1.
    """
    if found.shares is None:
        return None
    points = np.stack([found.shares[expert] for expert in EXPERTS])
    covariance = np.cov(np.vstack([points, points.sum(axis=0)])) if points.shape[1] > 1 else None
    if covariance is None or not covariance[2, 2] > 0:
        return None
    fractions = covariance[:2, 2] / covariance[2, 2]
    first = round(100 * float(fractions[0]))
    return SharesSection(
        name,
        {"content": first, "quality": 100 - first},
        figures.shares(name, found.predicted["both"], found.shares, fractions.tolist()),
    )
