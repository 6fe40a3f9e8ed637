"""The charts of the report, drawn from arrays and names (see `reiqa.report.chart_style`)."""

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from reiqa import text
from reiqa.params import EXPERTS, VARIANTS, ExpertName, Variant
from reiqa.report.chart_style import (
    INK,
    LINE,
    MARKERS,
    PAPER,
    SERIES,
    SOFT,
    STYLE,
    Chart,
    blank,
    chart,
    legend,
    svg,
)
from reiqa.report.tables import ResultRow

Floats = NDArray[np.float64]

#: Rasterised points cannot use a CSS variable; this colour works on light and dark backgrounds.
_PIXELS = "#4c8fc7"
_VECTOR_POINTS = 300
#: Maximum number of images in a scatter; more would only add bytes.
_SCATTER_POINTS = 1000
#: Maximum number of images in the chart of shares.
_SHARES_POINTS = 120


def overview(rows: Sequence[ResultRow], proxies: Sequence[str]) -> Chart:
    """Draw SRCC of each dataset and variant with its spread over splits, and the paper's value.

    Args:
        rows: rows of the results table.
        proxies: datasets with proxy ratings.
    """
    datasets = list(dict.fromkeys(row.dataset for row in rows))
    known = [(row, row.srcc) for row in rows if row.srcc is not None]
    offset: dict[Variant, float] = {"content": -0.24, "quality": 0.0, "both": 0.24}

    def plot(axes: Axes) -> None:
        for row, srcc in known:
            height = datasets.index(row.dataset) + offset[row.variant]
            axes.errorbar(
                srcc, height, xerr=row.srcc_std or 0.0, fmt=MARKERS[row.variant], markersize=5,
                color=SERIES[row.variant], elinewidth=1.2, capsize=0, zorder=3,
            )  # fmt: skip
            if row.paper_srcc is not None:
                axes.plot(
                    row.paper_srcc, height, marker="|", markersize=11, markeredgewidth=2,
                    color=PAPER, linestyle="none", zorder=4,
                )  # fmt: skip
        names = [f"{name}\n(proxy)" if name in proxies else name for name in datasets]
        axes.set_yticks(range(len(datasets)), names)
        axes.set_ylim(len(datasets) - 0.5, -0.5)
        axes.grid(visible=False, axis="y")
        for height in range(1, len(datasets)):
            axes.axhline(height - 0.5, color=LINE, linewidth=0.5)
        low = min((srcc - (row.srcc_std or 0.0) for row, srcc in known), default=0.0)
        axes.set_xlim(max(-1.0, np.floor(low * 10) / 10), 1.0)
        axes.set_xlabel("SRCC")
        legend(axes, paper=any(row.paper_srcc is not None for row in rows))

    return chart(
        "overview",
        "SRCC of every dataset",
        "Median over splits; whiskers span one standard deviation to each side.",
        "; ".join(f"{row.dataset} {row.variant}: SRCC {srcc:.3f}" for row, srcc in known),
        plot,
        height=0.9 + 0.62 * len(datasets),
    )


def scatter(
    key: str, variant: Variant, predicted: Floats, rated: Floats, curve: Floats | None, axis: str
) -> Chart:
    """Draw predicted against rated quality of held-out images, with the fitted logistic.

    Args:
        key: key of the chart.
        variant: variant of the regressor.
        predicted: ``(N,)`` raw predictions.
        rated: ``(N,)`` ratings.
        curve: ``(M, 2)`` points of the logistic, prediction against mapped prediction.
        axis: label of the ratings axis.
    """
    many = len(predicted) > _VECTOR_POINTS
    # Not every n-th image: names may follow references, types and levels in turn.
    drawn = np.random.default_rng(0).permutation(len(predicted))[:_SCATTER_POINTS]

    def plot(axes: Axes) -> None:
        axes.scatter(
            predicted[drawn], rated[drawn], s=3 if many else 11, linewidths=0,
            c=_PIXELS if many else SERIES[variant],
            alpha=0.25 if many else 0.55, rasterized=many, marker=MARKERS[variant],
        )  # fmt: skip
        if curve is not None:
            axes.plot(curve[:, 0], curve[:, 1], color=INK, linewidth=1.6)
        low, high = np.percentile(predicted, [0.2, 99.8])
        margin = 0.06 * (high - low or 1.0)
        axes.set_xlim(low - margin, high + margin)
        axes.set_xlabel("predicted")
        axes.set_ylabel(axis)

    return chart(
        key,
        f"Predicted against rated: {variant}",
        f"{len(predicted):,} images in test parts."
        + (f" {len(drawn):,} of them are drawn." if len(drawn) < len(predicted) else "")
        + (" The line is the fitted four-parameter logistic." if curve is not None else ""),
        f"Scatter of {len(predicted)} predictions of the variant {variant} against {axis}.",
        plot,
    )


def shares(
    dataset: str, predicted: Floats, points: Mapping[ExpertName, Floats], fractions: Sequence[float]
) -> Chart:
    """Draw the points of each expert in each prediction against the prediction.

    Args:
        dataset: name of the dataset.
        predicted: ``(N,)`` predictions of both experts.
        points: ``(N,)`` by expert.
        fractions: of each expert in the variance of the predictions; the slopes of the clouds.
    """
    step = -(-len(predicted) // _SHARES_POINTS)
    drawn = np.argsort(predicted, kind="stable")[::step]

    def plot(axes: Axes) -> None:
        axes.axhline(0, color=SOFT, linewidth=0.8)
        for expert in EXPERTS:
            axes.plot(
                predicted[drawn], points[expert][drawn], MARKERS[expert], color=SERIES[expert],
                markersize=3, markeredgewidth=0, alpha=0.6,
            )  # fmt: skip
        axes.set_xlabel("predicted by both experts")
        axes.set_ylabel("points of each expert")
        legend(axes, paper=False, shown=EXPERTS)

    words = ", ".join(
        f"{expert} {text.percent(share)}" for expert, share in zip(EXPERTS, fractions, strict=True)
    )
    some = f"{len(drawn):,} of {len(predicted):,} images are drawn. " if step > 1 else ""
    return chart(
        f"{dataset}-shares",
        f"Points of each expert: {dataset}",
        f"{some}Each image has two marks, one for each expert. The expert whose marks rise more"
        " steeply moves the prediction more.",
        f"Points of each expert against the prediction; shares of its variance: {words}.",
        plot,
    )


def splits(key: str, values: Mapping[Variant, Floats], paper: float | None) -> Chart:
    """Draw SRCC of every split and variant, with thin lines that connect the same split.

    Args:
        key: key of the chart.
        values: SRCC per split, by variant.
        paper: published SRCC of both experts.
    """
    shown = [variant for variant in VARIANTS if np.isfinite(values[variant]).any()]

    def plot(axes: Axes) -> None:
        if not shown:
            return
        table = np.stack([values[variant] for variant in shown])
        axes.plot(range(len(shown)), table, color=SOFT, linewidth=0.6, alpha=0.45)
        for place, variant in enumerate(shown):
            axes.plot(
                np.full(table.shape[1], place), table[place], MARKERS[variant],
                color=SERIES[variant], markersize=4.5, alpha=0.8, markeredgewidth=0,
            )  # fmt: skip
            middle = float(np.nanmedian(table[place]))
            axes.hlines(middle, place - 0.2, place + 0.2, color=SERIES[variant], linewidth=2)
            axes.annotate(
                f"{middle:.3f}", (place + 0.22, middle), va="center", fontsize=7.5, color=INK
            )
        if paper is not None:
            axes.axhline(paper, color=PAPER, linewidth=1.2, linestyle=(0, (4, 2)))
            axes.annotate(
                f"paper {paper:.3f}", (-0.35, paper), va="bottom", fontsize=7.5, color=PAPER
            )
        axes.set_xticks(range(len(shown)), shown)
        axes.set_xlim(-0.4, len(shown) - 0.3)
        axes.grid(visible=False, axis="x")
        axes.set_ylabel("SRCC")

    medians = ", ".join(f"{variant} {np.nanmedian(values[variant]):.3f}" for variant in shown)
    count = len(values["both"])
    return chart(
        key,
        "Spread over splits",
        f"{count} split{'s' if count != 1 else ''}; thin lines join the same split, "
        "bars are medians.",
        f"SRCC over {count} splits; medians: {medians}.",
        plot,
    )


def categories(
    key: str, title: str, caption: str, values: Mapping[str, Mapping[Variant, float | None]]
) -> Chart:
    """Draw SRCC within each distortion or level: bars for both experts, markers for each alone.

    Args:
        key: key of the chart.
        title: heading.
        caption: description.
        values: SRCC by category, then variant; drawn in this order.
    """
    names = list(values)

    def plot(axes: Axes) -> None:
        heights = np.arange(len(names))
        for variant in reversed(VARIANTS):
            known = [(h, values[n].get(variant)) for h, n in zip(heights, names, strict=True)]
            points = [(h, value) for h, value in known if value is not None]
            if not points:
                continue
            where, widths = np.array(points).T
            if variant == "both":
                axes.barh(where, widths, height=0.66, color=SERIES["both"], alpha=0.3)
            axes.plot(
                widths, where, MARKERS[variant], color=SERIES[variant], markersize=3.6,
                linestyle="none", zorder=3,
            )  # fmt: skip
        axes.axvline(0, color=SOFT, linewidth=0.8)
        axes.set_yticks(heights, [_display_name(name) for name in names])
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.grid(visible=False, axis="y")
        axes.set_xlim(right=1.0)
        axes.set_xlabel("SRCC")
        legend(axes, paper=False)

    description = "; ".join(
        f"{name} {value:.2f}" for name in names if (value := values[name].get("both")) is not None
    )
    return chart(
        key, title, caption, f"SRCC of both experts: {description}.", plot,
        height=0.85 + 0.17 * len(names),
    )  # fmt: skip


def alphas(key: str, paths: Mapping[Variant, tuple[Floats, Floats]]) -> Chart:
    """Draw validation SRCC against the penalty, one line per variant.

    Args:
        key: key of the chart.
        paths: penalties ``(A,)`` and SRCC ``(A,)`` by variant.
    """

    def plot(axes: Axes) -> None:
        for variant, (grid, values) in paths.items():
            axes.plot(
                grid, values, color=SERIES[variant], linewidth=1.2, marker=MARKERS[variant],
                markersize=3,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.minorticks_off()
        axes.set_xlabel("penalty alpha")
        axes.set_ylabel("SRCC, validation part")
        legend(axes, paper=False, shown=list(paths))

    return chart(
        key,
        "Choice of the penalty",
        "Mean over splits; each split takes its own best.",
        f"Validation SRCC along the penalty for {', '.join(paths)}.",
        plot,
    )


def curves(
    key: str,
    title: str,
    step: Floats,
    series: Mapping[str, Floats],
    colour: Variant,
    filling: int = 0,
) -> Chart:
    """Draw metrics of a pretraining run against the step, one panel each.

    Args:
        key: key of the chart.
        title: heading.
        step: ``(N,)`` steps.
        series: ``(N,)`` values by metric name.
        colour: expert whose colour is used.
        filling: number of steps in which the queue of negatives fills; they are shaded.
    """
    names = list(series)
    figure = blank(0.3 + 1.15 * len(names))
    with mpl.rc_context(STYLE):
        panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
        for panel, name in zip(panels, names, strict=True):
            panel.plot(step, series[name], color=SERIES[colour], linewidth=0.7, alpha=0.45)
            panel.plot(step, smooth(series[name]), color=SERIES[colour], linewidth=1.6)
            panel.set_ylabel(name)
            if filling:
                panel.axvspan(0, min(filling, step[-1]), color=LINE, alpha=0.5, linewidth=0)
        panels[-1].set_xlabel("step")
    ends = "; ".join(f"{name} ends at {series[name][-1]:.4g}" for name in names)
    return Chart(
        key,
        title,
        f"{int(step[-1]):,} steps; the bold line is smoothed. Top-1 accuracy is the fraction of"
        " queries that are closest to their own key."
        + (" Shaded: the queue of keys fills, which makes the task harder." if filling else ""),
        svg(figure, key, f"{title}: {ends}"),
    )


def smooth(values: Floats) -> Floats:
    """Return the moving average over a fiftieth of the run, shorter at both ends."""
    half = min(max(1, len(values) // 100), (len(values) - 1) // 2)
    window = np.ones(2 * half + 1)
    total = np.convolve(values, window, mode="same")
    return total / np.convolve(np.ones_like(values), window, mode="same")


def _display_name(name: str) -> str:
    """Return the display form of a key."""
    return name.replace("_", " ").replace("srcc", "SRCC")
