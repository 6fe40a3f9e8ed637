"""Build the sections of the page as records for the template."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reiqa import catalog, layout
from reiqa.params import VARIANTS, ExpertName
from reiqa.regression import metrics
from reiqa.report import figures, results, thumbnails
from reiqa.report.chart_style import Chart
from reiqa.report.results import CrossResult, Predictions
from reiqa.report.story import SharesSection, shares_section
from reiqa.report.tables import PROXY, ResultRow

Floats = NDArray[np.float64]
Facts = list[tuple[str, str]]

#: Length of a digest, which is abbreviated for display.
_SHA256 = 64
#: Minimum number of rows of a group in a chart.
_MIN_ROWS = 8


@dataclass(frozen=True)
class Photo:
    """A photograph with its rating and prediction.

    Attributes:
        image: path relative to the folder of the dataset.
        name: file name.
        shares: points of each expert in the prediction; empty for an SVR with RBF kernel.
        uri: thumbnail as a data URI; None if the file does not exist.
    """

    image: str
    name: str
    rated: str
    predicted: str
    shares: Facts
    uri: str | None


@dataclass(frozen=True)
class DatasetSection:
    """What the page shows of one dataset.

    Attributes:
        scatter: predicted against rated, both experts.
        charts: all other charts.
        shares: shares of the two experts; None if they are undefined.
    """

    name: str
    title: str
    proxy: bool
    facts: Facts
    warnings: list[str]
    scatter: Chart
    charts: list[Chart]
    shares: SharesSection | None
    best: list[Photo]
    worst: list[Photo]

    @property
    def suffix(self) -> str:
        """Suffix that marks proxy ratings."""
        return f" ({PROXY})" if self.proxy else ""


@dataclass(frozen=True)
class GridCell:
    """One cell of the cross-dataset grid.

    Attributes:
        srcc: SRCC of both experts.
        paper: published SRCC, for four pairs.
        within: whether this is a diagonal cell, with the median over splits of one dataset.
        tint: strength of the background colour in per cent.
    """

    srcc: float
    paper: float | None
    within: bool
    tint: int


@dataclass(frozen=True)
class CrossGrid:
    """Grid with a row per training dataset and a column per test dataset."""

    names: list[str]
    lines: list[list[GridCell | None]]


def dataset_section(name: str, tree: Mapping[str, Any], photos: int, side: int) -> DatasetSection:
    """Build the section of one dataset.

    Args:
        name: name of the dataset.
        tree: content of ``results/datasets/D.json``.
        photos: number of best and of worst predictions to show.
        side: maximum side of their thumbnails in pixels.
    """
    entry = catalog.get_entry(name)
    predictions = results.read_predictions(name)
    error = np.abs(predictions.predicted["both"] - predictions.rated)
    order = np.argsort(error, kind="stable")
    shown = min(photos, len(order) // 2)
    # Three significant digits on any rating scale.
    width = float(np.ptp(predictions.rated)) or 1.0
    places = max(0, 3 - round(np.log10(width)))
    scatter, *charts = _dataset_charts(name, tree, predictions)
    best, worst = (
        [_photo(name, predictions, int(row), places, side) for row in rows[:shown]]
        for rows in (order, order[::-1])
    )
    return DatasetSection(
        name=name,
        title=entry.title,
        proxy=tree["proxy"],
        facts=_dataset_facts(tree),
        warnings=list(tree["warnings"]),
        scatter=scatter,
        charts=charts,
        shares=shares_section(name, predictions),
        best=best,
        worst=worst,
    )


def _dataset_facts(tree: Mapping[str, Any]) -> Facts:
    excluded = {
        "missing": tree["missing"],
        "unrated": tree["unrated"],
        "unreadable": len(tree["errors"]),
    }
    absent = ", ".join(f"{count:,} {word}" for word, count in excluded.items() if count)
    bounds = [f"{end:g}" for end in tree["rating"].values() if end is not None]
    scale = " to ".join(sorted(bounds, key=float)) + ", " if len(bounds) == 2 else ""
    mark = f"; {PROXY}" if tree["proxy"] else ""
    references = tree["references"]
    facts = [
        ("images", f"{tree['n']:,}" + (f" ({absent})" if absent else "")),
        ("ratings", f"{scale}higher is better{mark}"),
        ("protocol", tree["protocol"]["text"]),
    ]
    if references:
        facts.insert(1, ("references", f"{references:,}"))
    return facts + test_facts(tree)


def test_facts(tree: Mapping[str, Any]) -> Facts:
    """Return the paired tests of both experts against each one, with their names."""
    return [_test_fact(pair, test) for pair, test in sorted(tree["tests"].items())]


def _test_fact(pair: str, test: Mapping[str, Any]) -> tuple[str, str]:
    if test["difference"] is None:
        return pair.replace("-", " less "), "undefined"
    interval = f" ({test['low']:+.3f} to {test['high']:+.3f})" if test["low"] is not None else ""
    words = [f"{test['difference']:+.3f} SRCC{interval}"]
    for key, label in (("wilcoxon_p", "Wilcoxon p"), ("corrected_t_p", "corrected t-test p")):
        if test.get(key) is not None:
            words.append(f"{label} = {test[key]:.2g}")
    return pair.replace("-", " less "), ", ".join(words)


def _dataset_charts(name: str, tree: Mapping[str, Any], found: Predictions) -> list[Chart]:
    """Return the charts of a dataset; the first is the scatter of both experts."""
    axis = "proxy rating (not human)" if tree["proxy"] else "rated"
    charts = [
        figures.scatter(
            f"{name}-scatter-{variant}",
            variant,
            found.predicted[variant],
            found.rated,
            _logistic(found.predicted[variant], found.rated),
            axis,
        )
        for variant in reversed(VARIANTS)
    ]
    over_splits = {
        variant: np.array(tree["variants"][variant]["srcc"]["splits"], dtype=np.float64)
        for variant in VARIANTS
    }
    paper = (tree["variants"]["both"]["paper"] or {}).get("srcc")
    charts.append(figures.splits(f"{name}-splits", over_splits, paper))
    charts.append(figures.alphas(f"{name}-alphas", results.read_alphas(name)))
    for key, title in (("by_distortion", "By distortion"), ("by_level", "By level")):
        names = _groups(tree["variants"]["both"][key])
        if names:
            charts.append(_categories(name, tree, key, title, names))
    return charts


def _groups(both: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return the groups that are large enough for a meaningful rank correlation."""
    return [kind for kind, one in both.items() if one["n"] >= _MIN_ROWS and one["srcc"] is not None]


def _categories(
    name: str, tree: Mapping[str, Any], key: str, title: str, names: Sequence[str]
) -> Chart:
    both = tree["variants"]["both"][key]
    levels = key == "by_level"
    order = (
        sorted(names, key=int) if levels else sorted(names, key=lambda kind: -both[kind]["srcc"])
    )
    values = {
        (f"level {kind}" if levels else kind): {
            variant: tree["variants"][variant][key].get(kind, {}).get("srcc")
            for variant in VARIANTS
        }
        for kind in order
    }
    counts = [both[kind]["n"] for kind in order]
    rows = f"{min(counts):,}" + (f" to {max(counts):,}" if min(counts) < max(counts) else "")
    return figures.categories(
        f"{name}-{key.replace('_', '-')}",
        title,
        f"SRCC within each group, test rows of all splits together; {rows} rows a group.",
        values,
    )


def _logistic(predicted: Floats, rated: Floats) -> Floats | None:
    """Return ``(M, 2)`` points of the logistic fitted to predictions and ratings."""
    curve = metrics.fit_logistic(predicted, rated)
    if curve is None:
        return None
    points = np.linspace(predicted.min(), predicted.max(), 80)
    return np.stack([points, curve(points)], axis=1)


def _photo(name: str, found: Predictions, row: int, places: int, side: int) -> Photo:
    image = found.images[row]
    points = found.shares or {}
    return Photo(
        image=image,
        name=Path(image).name,
        rated=_number(found.rated[row], f".{places}f"),
        predicted=_number(found.predicted["both"][row], f".{places}f"),
        shares=[(expert, _number(each[row], f"+.{places}f")) for expert, each in points.items()],
        uri=thumbnails.thumbnail(layout.image_folder(name) / image, side),
    )


def _number(value: float, form: str) -> str:
    return format(value, form).replace("-", "\N{MINUS SIGN}")


def cross_grid(rows: Sequence[ResultRow], crossings: Sequence[CrossResult]) -> CrossGrid | None:
    """Build the cross-dataset grid of both experts; None for a single dataset."""
    across = {(c.train, c.test): c for c in crossings if c.variant == "both"}
    if not across:
        return None
    within = {row.dataset: row.srcc for row in rows if row.variant == "both"}
    names = [name for name in within if any(name in pair for pair in across)]
    seen = [c.srcc for c in across.values()] + [within[name] for name in names]
    known = [value for value in seen if value is not None]
    low = min(known, default=0.0)

    def cell(train: str, test: str) -> GridCell | None:
        found = across.get((train, test))
        srcc = within[train] if train == test else found.srcc if found else None
        if srcc is None:
            return None
        tint = round(4 + 52 * (srcc - low) / max(1.0 - low, 1e-9))
        return GridCell(srcc, found.paper_srcc if found else None, train == test, tint)

    return CrossGrid(names, [[cell(train, test) for test in names] for train in names])


def expert_facts(name: ExpertName) -> Facts:
    """Return the most important facts of an expert; its card contains the rest."""
    card = results.read_card(name)
    shown = ("source", "backbone", "width", "epochs", "steps", "pairs_per_step", "weights")
    return [(key.replace("_", " "), _short(card[key])) for key in shown if key in card]


def _short(value: str | int) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value[:12]}…" if len(value) == _SHA256 else value
