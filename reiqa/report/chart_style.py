"""Common style of the charts: SVG that follows the light or dark theme of the page.

Matplotlib draws in placeholder colours, which become CSS variables in the SVG. Text uses the
font of the page. A chart has the width of a phone screen; the page places several side by side if
there is space. Equal data gives identical bytes.
"""

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reiqa.params import VARIANTS, Variant

INK, SOFT, LINE, PAPER = "#010101", "#020202", "#030303", "#040404"
SERIES: dict[Variant, str] = {"content": "#050505", "quality": "#060606", "both": "#070707"}
#: Markers distinguish the variants without colour.
MARKERS: dict[Variant, str] = {"content": "o", "quality": "s", "both": "D"}

_VARIABLES = {
    INK: "var(--ink)",
    SOFT: "var(--soft)",
    LINE: "var(--line)",
    PAPER: "var(--paper)",
    **{colour: f"var(--{variant})" for variant, colour in SERIES.items()},
}
_WIDTH = 3.5

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 8.0,
    "axes.labelsize": 8.0,
    "axes.titlesize": 8.5,
    "axes.edgecolor": LINE,
    "axes.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.5,
    "text.color": INK,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "xtick.major.size": 0.0,
    "ytick.major.size": 0.0,
    "legend.frameon": False,
    "legend.fontsize": 8.0,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


@dataclass(frozen=True)
class Chart:
    """One chart of the page.

    Attributes:
        key: unique in the page; prefix of all ids in the SVG.
        title: heading.
        caption: description.
        svg: the SVG element.
        tall: whether the chart is much higher than wide.
    """

    key: str
    title: str
    caption: str
    svg: Markup
    tall: bool = False


def chart(
    key: str,
    title: str,
    caption: str,
    label: str,
    plot: Callable[[Axes], None],
    height: float = 2.6,
) -> Chart:
    """Draw a chart with one panel.

    Args:
        key, title, caption: see `Chart`.
        label: accessible description.
        plot: function that draws into the panel.
        height: height in inches.
    """
    figure = blank(height)
    with mpl.rc_context(STYLE):
        plot(figure.add_subplot())
    drawing = svg(figure, key, f"{title}. {label}")
    return Chart(key, title, caption, drawing, tall=height > 1.2 * _WIDTH)


def blank(height: float) -> Figure:
    """Return an empty figure with the common width and ``height`` in inches."""
    with mpl.rc_context(STYLE):
        return Figure(figsize=(_WIDTH, height), layout="constrained")


def legend(axes: Axes, paper: bool, shown: Sequence[Variant] = VARIANTS) -> None:
    """Add a legend in one line above the plot."""
    for variant in shown:
        axes.plot([], [], MARKERS[variant], color=SERIES[variant], markersize=5, label=variant)
    if paper:
        axes.plot([], [], "|", color=PAPER, markersize=10, markeredgewidth=2, label="paper")
    named = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    axes.legend(
        named.values(), named.keys(), loc="lower left", bbox_to_anchor=(0, 1), ncols=len(named),
        borderaxespad=0.2, handletextpad=0.4, columnspacing=1.2, handlelength=1.2,
    )  # fmt: skip


def svg(figure: Figure, key: str, label: str) -> Markup:
    """Return a figure as an inline, themed SVG element with a description."""
    stream = io.StringIO()
    with mpl.rc_context({**STYLE, "svg.hashsalt": key}):
        figure.savefig(stream, format="svg", dpi=150, metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    # Several charts share a page, so ids must be unique.
    text = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{key}-", text)
    for placeholder, variable in _VARIABLES.items():
        text = text.replace(placeholder, variable)
    opening = re.match(r"<svg[^>]*viewBox=\"([^\"]+)\"[^>]*>", text)
    if opening is None:
        raise ValueError("matplotlib wrote an SVG without a viewBox")
    head = (
        f'<svg class="chart" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{opening[1]}" role="img" aria-label="{escape(label)}">'
    )
    return Markup(head + text[opening.end() :].strip())
