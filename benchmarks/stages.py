"""What each stage of the experts encodes: the probe's metrics, stage by stage.

    python benchmarks/stages.py PROJECT            prints the tables
    python benchmarks/stages.py PROJECT --write    writes docs/results/biq2021/stages.{csv,md,svg}
                                                   and curve.svg

PROJECT is a finished project folder. The features of a stage are the mean and deviation of each
channel, as in ``features.pooling: stages``. The metrics are those of `reiqa.probe` on its windows
and photographs, and one more: ``row_srcc``, how well a linear regression finds the vertical
position of a crop in its photograph. Compared are the network of the quality expert with random
weights, the content expert, the initial weights of the quality expert, and the quality expert.
"""

import argparse
import contextlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
import torch
from chart_files import write_chart
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor

from reiqa import devices, encoders, layout, params, progress, seeds, store, text
from reiqa.distortions import LEVELS
from reiqa.encoders import Encoder, StagePooledEncoder
from reiqa.errors import BadInputError
from reiqa.params import Params
from reiqa.probe import linear, retrieval
from reiqa.probe import run as probe
from reiqa.regression import metrics
from reiqa.report import chart_style, figures, results, tables

OUT = Path(__file__).parents[1] / "docs" / "results" / "biq2021"

Floats = npt.NDArray[np.float64]
#: Metrics of each stage, from input to output.
Stages = dict[str, dict[str, float]]

RANDOM, INITIAL = "random weights", "initial weights"

#: Title of each metric.
METRICS = {
    "type_accuracy": "Type of distortion, accuracy",
    "level_srcc": "Level within a type, SRCC",
    "distance_srcc": "Level and distance, SRCC",
    "retrieval": "Crop of the same photograph found",
    "row_srcc": "Row of a crop, SRCC",
}

#: Undistorted crops of each photograph for ``row_srcc``.
_CROPS = 4

#: Colour, marker and line of each encoder in the figure.
_LINES: dict[str, dict[str, Any]] = {
    RANDOM: {"color": chart_style.SOFT, "marker": "x", "linestyle": ":"},
    "content": {"color": chart_style.SERIES["content"], "marker": "o"},
    INITIAL: {
        "color": chart_style.SERIES["quality"], "marker": "s", "linestyle": "--",
        "markerfacecolor": "none",
    },
    "quality": {"color": chart_style.SERIES["quality"], "marker": "s"},
}  # fmt: skip


@dataclass(frozen=True)
class ProbeImages:
    """Images of all probes.

    Attributes:
        windows: distorted windows.
        pairs: ``(N, 2, 3, S, S)`` uint8 crops for retrieval.
        crops: ``(M, K, 3, S, S)`` uint8 crops of photographs that are high enough.
        rows: ``(M, K)`` vertical position of each crop, from 0 (top) to 1 (bottom).
    """

    windows: linear.ProbeWindows
    pairs: Tensor
    crops: Tensor
    rows: Floats


def cut_images(settings: Params) -> ProbeImages:
    photographs = list(probe.retrieval_photographs(settings))
    return ProbeImages(
        probe.probe_windows(settings.bank),
        retrieval.cut_crop_pairs(photographs, probe.SIDE),
        *cut_crops(photographs, probe.SIDE),
    )


def cut_crops(photographs: Iterable[Tensor], side: int) -> tuple[Tensor, Floats]:
    """Return crops and their vertical positions (see `ProbeImages`).

    Args:
        photographs: each ``(3, H, W)`` uint8; those that are not at least twice as high as a crop
            and as wide as one are left out.
        side: side of a crop in pixels.
    """
    crops, rows = [], []
    for number, pixels in enumerate(photographs):
        height, width = pixels.shape[1:]
        if height < 2 * side or width < side:
            continue
        draw = seeds.generator("row of a crop", number)
        tops = draw.integers(0, height - side, _CROPS, endpoint=True)
        lefts = draw.integers(0, width - side, _CROPS, endpoint=True)
        crops.append(
            torch.stack(
                [
                    pixels[:, top : top + side, left : left + side]
                    for top, left in zip(tops.tolist(), lefts.tolist(), strict=True)
                ]
            )
        )
        rows.append(tops / (height - side))
    return torch.stack(crops), np.stack(rows)


def row_srcc(features: Floats, rows: Floats) -> float:
    """Return the rank correlation of the rows of crops and a linear regression.

    The regression is fitted on every other photograph and tested on the rest, in both directions.

    Args:
        features: ``(M, K, D)``.
        rows: ``(M, K)``.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    found = []
    even = np.arange(len(rows)) % 2 == 0
    for train in (even, ~even):
        model = make_pipeline(StandardScaler(), RidgeCV(linear.ALPHAS))
        model.fit(np.concatenate(features[train]), rows[train].ravel())
        predicted = model.predict(np.concatenate(features[~train]))
        found.append(metrics.srcc(predicted, rows[~train].ravel()))
    return float(np.nan_to_num(np.mean(found)))


def probe_stages(encoder: Encoder, images: ProbeImages) -> Stages:
    """Return the metrics of each stage, and of the output, of an encoder."""
    windows, pairs, crops = (
        probe.encode(encoder, pixels, pooling="stages")
        for pixels in (images.windows.pixels, images.pairs, images.crops)
    )
    found: Stages = {}
    for name, columns in StagePooledEncoder(encoder).columns.items():
        values = linear.probe_features(
            windows[..., columns].double().numpy(), images.windows.photograph
        )
        values["retrieval"] = retrieval.retrieval_accuracy(pairs[..., columns])
        values["row_srcc"] = row_srcc(crops[..., columns].double().numpy(), images.rows)
        found[name] = {metric: round(values[metric], 4) for metric in METRICS}
    return found


def load_encoders(settings: Params) -> dict[str, Encoder]:
    """Return the encoders to compare, in the current project.

    Raises:
        BadInputError: an expert or its initial weights are missing or damaged.
    """
    content, quality = (encoders.load_encoder(layout.model(name)) for name in params.EXPERTS)
    found = {RANDOM: probe.random_encoder(quality), "content": content}
    if settings.quality.source == "pretrain" and settings.quality.init != "random":
        initial = encoders.initial_encoder("quality", settings, settings.seed)
        found[INITIAL] = initial.eval()
    return {**found, "quality": quality}


def to_csv(found: Mapping[str, Stages]) -> str:
    rows = [
        (encoder, stage, *(f"{value:.4f}" for value in values.values()))
        for encoder, stages in found.items()
        for stage, values in stages.items()
    ]
    return text.format_csv(("encoder", "stage", *METRICS), rows)


def to_markdown(found: Mapping[str, Stages], metric: str) -> str:
    """Return the table of one metric, with a column per encoder."""
    names = list(dict.fromkeys(stage for stages in found.values() for stage in stages))
    rows = [
        (name, *(tables.number(stages.get(name, {}).get(metric)) for stages in found.values()))
        for name in names
    ]
    return tables.to_markdown(("stage", *found), rows)


def describe(found: Mapping[str, Stages], images: ProbeImages) -> str:
    """Return the Markdown of all metrics."""
    count, copies = images.windows.pixels.shape[:2]
    lines = [
        f"Linear probes of {count} windows of {len({*images.windows.photograph.tolist()})}"
        f" photographs, each undistorted and in {copies - 1} distorted copies"
        f" ({len(images.windows.types)} types at {LEVELS} levels), retrieval among two crops"
        f" of each of {len(images.pairs)} photographs, and the row of {images.crops.shape[1]} crops"
        f" of each of {len(images.crops)} photographs; windows and crops are {probe.SIDE} px wide."
        " Nothing is subsampled: these are the probe's own windows and crops, so the row `output`"
        " is what `reiqa probe` measures. A stage is described by the mean and deviation of its"
        f" channels. {RANDOM.capitalize()}: the network and normalization of the quality expert."
        + (f" {INITIAL.capitalize()}: the quality expert before training." * (INITIAL in found))
    ]
    chance = {"type_accuracy": 1 / len(images.windows.types), "retrieval": 1 / len(images.pairs)}
    for metric, title in METRICS.items():
        level = f"Chance level: {tables.number(chance.get(metric, 0.0))}."
        lines += [f"## {title}", level, to_markdown(found, metric)]
    return "\n\n".join(lines)


def draw(found: Mapping[str, Stages]) -> str:
    """Return the figure as SVG: one panel per metric, one line per encoder, from input to output.

    Encoders may have different numbers of stages, so they are drawn by relative depth. The labels
    are the stages of the quality expert.
    """
    labels = [name.rpartition(".")[2] for name in found["quality"]]
    with mpl.rc_context(chart_style.STYLE):
        figure = Figure(figsize=(7.0, 4.2), layout="constrained")
        panels = figure.subplots(2, 3).ravel()
        for panel, (metric, title) in zip(panels, METRICS.items(), strict=False):
            _draw_panel(panel, found, metric)
            panel.set_title(title, loc="left")
            panel.set_xticks(np.linspace(0, 1, len(labels)), labels, fontsize=7)
        figure.supxlabel("stage of the quality expert", fontsize=8, color=chart_style.SOFT)
        panels[-1].axis("off")
        panels[-1].legend(*panels[0].get_legend_handles_labels(), loc="center")
    ends = (
        f"{encoder} {[*stages.values()][-1]['type_accuracy']}" for encoder, stages in found.items()
    )
    label = f"Metrics of each stage. Accuracy of the type at the last one: {', '.join(ends)}"
    return chart_style.svg(figure, "stages", label)


def _draw_panel(panel: Axes, found: Mapping[str, Stages], metric: str) -> None:
    for encoder, stages in found.items():
        values = [stage[metric] for stage in stages.values()]
        panel.plot(
            np.linspace(0, 1, len(values)), values, label=encoder, linewidth=1.2, markersize=3.5,
            **_LINES[encoder],
        )  # fmt: skip
    panel.grid(visible=False, axis="x")


def draw_curve(curve: Mapping[str, Floats]) -> str:
    """Return the figure of a training curve: every metric in it against the step."""
    series = {
        name: values
        for name, values in curve.items()
        if name not in {"step", "epoch", "learning_rate"}
    }
    return figures.curves("curve", "Training", curve["step"], series, "quality").svg


def heading() -> str:
    """Return the title, and of which code and weights the numbers are."""
    digests = ", ".join(
        f"`{layout.model(name)}` {store.file_digest(layout.model(name))[:16]}"
        for name in params.EXPERTS
    )
    return (
        "# What each stage encodes\n\n"
        f"Written by `benchmarks/stages.py PROJECT --write` at revision {store.revision()}."
        f" SHA-256 of the weights: {digests}. [Figure](stages.svg), [numbers](stages.csv)."
    )


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", metavar="PROJECT", type=Path)
    parser.add_argument("--write", action="store_true", help=f"write the results to {OUT}")
    options = parser.parse_args(given)
    try:
        with contextlib.chdir(options.project):
            settings = params.load_params(layout.PARAMS)
            experts = load_encoders(settings)
            with devices.device(settings.compute.model_copy(update={"device": "cpu"})):
                images = cut_images(settings)
                every = progress.track([*experts.items()], "stages", unit="encoders")
                found = {name: probe_stages(encoder, images) for name, encoder in every}
            page = f"{heading()}\n\n{describe(found, images)}\n"
            curve = results.read_curve("quality")
    except (BadInputError, OSError) as error:
        parser.exit(2, f"{options.project}: {error}\n")
    if not options.write:
        sys.stdout.write(page)
        return
    store.write_text(OUT / "stages.md", page)
    store.write_text(OUT / "stages.csv", to_csv(found))
    write_chart(OUT / "stages.svg", draw(found))
    if curve:
        write_chart(OUT / "curve.svg", draw_curve(curve))


if __name__ == "__main__":
    main()
