"""Charts of the report's style as files of their own, which follow a light or dark theme."""

import re
from pathlib import Path

import reiqa.report
from reiqa import store

_CSS = Path(reiqa.report.__file__).with_name("style.css")


def write_chart(path: Path, svg: str) -> None:
    """Write a chart as an SVG file.

    Args:
        path: the file.
        svg: what `reiqa.report.chart_style.svg` returned.
    """
    store.write_text(path, standalone(svg) + "\n")


def standalone(svg: str) -> str:
    """Return a chart with the namespace, size, colours and background that its page would give.

    A page cannot style an image. The background is necessary because a viewer may follow the
    theme of the system on a page that does not.
    """
    svg = str(svg)  # Markup would escape what is inserted.
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert size  # chart_style.svg checks it
    width, height = size.groups()
    opening = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}pt" height="{height}pt" '
    style = (
        f"<style>{theme(_CSS.read_text(encoding='utf-8'))}"
        "svg{background:var(--card)}"
        "text{font-family:system-ui,sans-serif!important}</style>"
    )
    head, _, body = svg.replace("<svg ", opening, 1).partition(">")
    return f"{head}>{style}{body}"


def theme(css: str) -> str:
    """Return the rules of a style sheet that define its colours, for light and for dark."""
    light = re.search(r"^:root \{.*?^\}", css, re.DOTALL | re.MULTILINE)
    dark = re.search(
        r"^@media \(prefers-color-scheme: dark\) \{.*?^\}", css, re.DOTALL | re.MULTILINE
    )
    if not light or not dark:
        raise ValueError("the style sheet of the report does not define two themes")
    return f"{light[0]}{dark[0]}"
