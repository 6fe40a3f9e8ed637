"""The page: whole in itself, the same every time, and sound for a reader without eyes or mouse."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest

from reiqa import layout, params
from reiqa.report import figures
from reiqa.report.page import write_page

# One worker writes the report that these read.
pytestmark = pytest.mark.xdist_group("report")

VOID = {"meta", "link", "img", "br", "use", "path", "image", "rect", "circle", "line", "stop"}
MADE = (
    *("report.html", "report.md", "all_srcc.csv", "summary.json", "plots/predictions.csv"),
    *("tables/authentic.tex", "tables/results.tex", "tables/by_distortion.csv"),
)


class Tree(HTMLParser):
    """Every tag with its attributes, and whether each that was opened was closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def page(written) -> Tree:
    return Tree(layout.REPORT.read_text(encoding="utf-8"))


def test_the_page_asks_for_nothing_but_itself(page):
    for tag, attributes in page.tags:
        for name in ("src", "href", "xlink:href", "srcset", "action"):
            value = attributes.get(name, "#")
            # A link to a table beside the page loads nothing until it is followed.
            beside = tag == "a" and (layout.REPORT.parent / value) in layout.TABLE_FILES
            assert beside or value.startswith(("#", "data:")), (tag, name, value[:80])
    assert not page.all("script")
    text = layout.REPORT.read_text(encoding="utf-8")
    assert "@import" not in text and not re.search(r"url\((?!#)", text)


def test_every_element_is_closed_and_every_id_is_its_own(page):
    assert page.open == []
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [a["href"] for a in page.all("a")] + [use["xlink:href"] for use in page.all("use")]
    assert {link[1:] for link in links if link.startswith("#")} <= set(ids)


def test_every_table_for_a_paper_is_linked_and_there(page):
    links = {a["href"] for a in page.all("a") if not a["href"].startswith("#")}
    assert {layout.REPORT.parent / link for link in links} == set(layout.TABLE_FILES)
    assert all(path.is_file() for path in layout.TABLE_FILES)


def test_headings_step_down_one_at_a_time(page):
    levels = [int(tag[1]) for tag, _ in page.tags if re.fullmatch(r"h\d", tag)]
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_tables_have_captions_and_scopes_and_pictures_have_words(page):
    assert len(page.all("caption")) == len(page.all("table")) == 6
    assert all(cell.get("scope") in {"col", "row", "rowgroup"} for cell in page.all("th"))
    assert all(image["alt"].strip() for image in page.all("img"))
    drawings = page.all("svg")
    assert {svg["class"] for svg in drawings} == {"chart", "plate", "version"}
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in drawings)


def test_whatever_scrolls_can_be_reached_by_keyboard_and_has_a_name(page):
    regions = [a for tag, a in page.tags if "scroll" in a.get("class", "").split() or tag == "pre"]
    assert regions and all(a["tabindex"] == "0" and a["aria-label"] for a in regions)


def test_every_chart_that_the_issue_asks_for_is_there(page):
    ids = {attributes.get("id") for attributes in page.all("figure")}
    for name in ("demo", "clive"):
        wanted = {f"{name}-scatter-{v}" for v in ("content", "quality", "both")}
        assert wanted | {f"{name}-splits", f"{name}-alphas"} <= ids
    assert {
        "overview",
        "demo-by-distortion",
        "demo-by-level",
        "quality-curve",
        "demo-shares",
    } <= ids
    assert "clive-by-distortion" not in ids
    shown = [image["alt"] for image in page.all("img")]
    assert len([name for name in shown if name.endswith(".png")]) == 2 * 2 * 3
    assert len([name for name in shown if name.endswith("levels 1 to 5")]) == 25


def test_proxy_ratings_are_labelled_and_human_ones_are_not(page):
    text = " ".join(page.words)
    for part, end, labels in (
        ("All images below", "The two experts’ shares", 3),
        ("Dataset by dataset", "The two experts", 2),
    ):
        demo, clive = text.rpartition(part)[2].split("LIVE In the Wild", 1)
        assert demo.count("proxy ratings, not human") == labels
        assert "proxy" not in clive.split(end)[0]


def test_a_group_of_a_few_rows_has_no_bar(project):
    path = layout.result("demo")
    tree = json.loads(path.read_text())
    for variant in tree["variants"].values():
        variant["by_distortion"]["jpeg"] = {"srcc": 1.0, "n": 3}
        variant["by_level"] = {"1": {"srcc": None, "n": 30}}
    path.write_text(json.dumps(tree))
    write_page(project.params)
    charts = {svg["aria-label"] for svg in Tree(layout.REPORT.read_text()).all("svg")}
    (bars,) = [label for label in charts if label.startswith("By distortion")]
    assert "jpeg" not in bars and "pixelate" in bars
    assert not any(label.startswith("By level") for label in charts)


def test_words_from_outside_are_text_and_never_markup(page):
    assert "2 <listed> images are missing" in page.words


def test_what_was_run_is_read_from_the_provenance(page):
    text = " ".join(page.words)
    for path in (layout.model("quality"), layout.result("demo"), layout.CROSS):
        assert str(path) in text
    assert "shufflenet_v2_x0_5" in text and "bootstrap: 1000" in text


def test_photographs_that_are_not_here_are_named_instead(project):
    next(Path(layout.raw("demo")).rglob("*.png")).parent.rename("elsewhere")
    write_page(project.params)
    text = layout.REPORT.read_text(encoding="utf-8")
    assert text.count("photograph not on this machine") == 6


def test_a_single_dataset_has_no_matrix(project):
    lone = project.params.model_copy(update={"datasets": ["clive"]})
    layout.CROSS.write_text(layout.CROSS.read_text().splitlines()[0] + "\n")
    write_page(lone)
    tree = Tree(layout.REPORT.read_text(encoding="utf-8"))
    assert "Across datasets" not in " ".join(tree.words)
    assert "proxy" not in " ".join(tree.words)


def test_the_same_results_give_the_same_bytes_in_another_process(written):
    first = {name: Path("results", name).read_bytes() for name in MADE}
    Path("params.json").write_text(written.params.model_dump_json())
    again = (
        "from pathlib import Path; from reiqa import params; from reiqa.report import page;"
        "page.write_page(params.Params.model_validate_json(Path('params.json').read_text()))"
    )
    seed = {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo"}
    subprocess.run([sys.executable, "-c", again], check=True, env={**os.environ, **seed})
    for name, old in first.items():
        assert Path("results", name).read_bytes() == old, name


def test_a_large_scatter_is_a_picture_inside_the_drawing_not_ten_thousand_marks():
    import numpy as np

    draw = np.random.default_rng(0)
    rated = draw.uniform(size=5000)
    chart = figures.scatter("big", "both", rated + draw.normal(0, 0.1, 5000), rated, None, "rated")
    assert "data:image/png" in chart.svg and len(chart.svg) < 200_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_colour_has_contrast_of_at_least_4_5_to_1(scheme):
    css = (Path(params.__file__).parent / "report" / "style.css").read_text()
    light, dark = css.split("@media (prefers-color-scheme: dark)")
    block = light if scheme == "light" else dark.split("\n}\n")[0]
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block))
    for ink in ("ink", "soft", "accent", "content", "quality", "both", "paper"):
        for ground in ("page", "card"):
            assert contrast(colours[ink], colours[ground]) >= 4.5, (ink, ground)
    assert contrast(colours["ink"], colours["note"]) >= 4.5


def contrast(one: str, other: str) -> float:
    """WCAG 2 contrast ratio of two #rrggbb colours."""
    bright, dim = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
