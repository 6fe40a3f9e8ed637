"""Write the report: one self-contained page, and the same tables as text."""

from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from itertools import groupby
from pathlib import Path
from statistics import fmean
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from reiqa import layout
from reiqa.distortions import resolve
from reiqa.params import EXPERTS, Params
from reiqa.report import (
    figures,
    paper_tables,
    plots,
    provenance_table,
    results,
    sections,
    story,
    tables,
    thumbnails,
)
from reiqa.report.results import CrossResult
from reiqa.report.sections import DatasetSection
from reiqa.report.tables import ResultRow
from reiqa.store import Provenance, write_json, write_text

#: Maximum number of datasets that get their own headline number.
_MAX_TILES = 4

#: What `regression.model` is called in a sentence.
_MODELS = {
    "ridge": "A ridge regression",
    "kernel_ridge": "A kernel ridge regression",
    "elasticnet": "An elastic net",
    "svr": "A support vector regressor",
}

MARKDOWN = layout.REPORT.with_suffix(".md")


def write_page(params: Params) -> Path:
    """Write the page, ``report.md``, ``summary.json``, all other tables, and ``all_srcc.csv``.

    Returns:
        The path of ``all_srcc.csv``, written last.

    Raises:
        BadInputError: a result of a dataset in the parameters is missing or damaged.
    """
    found = results.read_results(params)
    rows = tables.result_rows(found)
    crossings = results.read_cross() if layout.CROSS.exists() else []
    lineage = results.lineage([*map(layout.result, params.datasets), layout.CROSS])
    probe = results.read_probe()
    photos = params.report.thumbnails
    side = thumbnails.thumbnail_side(2 * photos * len(found))
    sets = [sections.dataset_section(*each, photos, side) for each in found.items()]
    write_text(layout.REPORT, _page(params, rows, sets, crossings, probe, lineage))
    write_text(MARKDOWN, _markdown(params, found, rows, sets, crossings, probe, lineage))
    write_json(layout.SUMMARY, tables.summary(rows, crossings, probe))
    plots.write_plot_tables(params.datasets)
    paper_tables.write_paper_tables(rows, crossings, found)
    write_text(layout.ALL_SRCC, tables.to_csv(rows))
    return layout.ALL_SRCC


def _page(
    params: Params,
    rows: Sequence[ResultRow],
    sets: Sequence[DatasetSection],
    crossings: Sequence[CrossResult],
    probe: Mapping[str, Any],
    lineage: Mapping[Path, Provenance],
) -> str:
    proxies = [each.name for each in sets if each.proxy]
    experts = [(name, facts) for name in EXPERTS if (facts := sections.expert_facts(name))]
    matrix = sections.cross_grid(rows, crossings)
    story_anchors = [
        ("chunk", "One chunk"),
        ("bank", "The bank of distortions"),
        ("pretraining", "Pretraining"),
        ("predictions", "Predicted against rated"),
        ("shares", "The two experts’ shares"),
    ]
    anchors = [
        ("results", "Results"),
        *([("cross", "Across datasets")] if matrix else []),
        ("datasets", "Dataset by dataset"),
        *([("experts", "The two experts")] if experts else []),
        ("tables", "Tables for a paper"),
        ("provenance", "What was run"),
    ]
    cross_head, cross_lines = tables.cross_table(crossings)
    style = (resources.files("reiqa.report") / "style.css").read_text(encoding="utf-8")
    text = _environment().get_template("page.html").render(
        style=Markup(style),
        preset=params.preset,
        proxies=proxies,
        tiles=_tiles(rows, crossings),
        story=story_anchors,
        sections=anchors,
        chunk=story.chunk_section(lineage),
        bank=thumbnails.gallery(resolve(story.bank_of(lineage))),
        original=thumbnails.original(),
        pretraining=[story.pretraining_section(name, lineage) for name in reversed(EXPERTS)],
        model=_MODELS[params.regression.model],
        shares=[each.shares for each in sets if each.shares],
        overview=figures.overview(rows, proxies),
        rows=rows,
        paper=tables.has_paper(rows),
        matrix=matrix,
        cross_head=cross_head,
        cross_lines=cross_lines,
        paper_tables=_paper_tables(),
        sets=sets,
        experts=experts,
        probe_head=tables.PROBE_HEAD,
        probe_rows=tables.probe_rows(probe),
        probe_note=tables.probe_note(probe) if probe else "",
        artifacts=provenance_table.artifact_rows(lineage),
        parameters=provenance_table.parameters_yaml(lineage),
    )  # fmt: skip
    return text + "\n"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("reiqa.report", "."), autoescape=True, undefined=StrictUndefined
    )
    environment.filters["number"] = _number
    environment.filters["groupby_first"] = _by_dataset
    return environment


def _number(value: float | None, sign: bool = False) -> str:
    """Format a metric with a minus sign instead of a hyphen."""
    return tables.number(value, sign).replace("-", "\N{MINUS SIGN}")


def _by_dataset(rows: Sequence[ResultRow]) -> Iterator[tuple[str, list[ResultRow]]]:
    for name, group in groupby(rows, key=lambda row: row.dataset):
        yield name, list(group)


def _paper_tables() -> list[tuple[str, list[tuple[str, str]]]]:
    """Return what each table for a paper shows, with links to its files and their names."""
    links: dict[str, list[tuple[str, str]]] = {}
    for file in layout.TABLE_FILES:
        target = file.relative_to(layout.REPORT.parent).as_posix()
        links.setdefault(paper_tables.CONTENTS[file.stem], []).append((target, file.name))
    return list(links.items())


def _tiles(rows: Sequence[ResultRow], crossings: Sequence[CrossResult]) -> list[tuple[str, str]]:
    """Return the headline numbers and their labels."""
    both = [row for row in rows if row.variant == "both"]
    tiles = []
    if len(both) <= _MAX_TILES:
        for row in both:
            mark = f" ({tables.PROXY})" if row.ratings == tables.PROXY else ""
            tiles.append((_number(row.srcc), f"SRCC on {row.dataset}{mark}"))
    else:
        for kind in (tables.HUMAN, tables.PROXY):
            within = [row.srcc for row in both if row.ratings == kind and row.srcc is not None]
            if within:
                label = f"mean SRCC within {len(within)} datasets{_kind(kind)}"
                tiles.append((_mean(within), label))
    differences = [row.difference for row in both if row.difference is not None]
    if differences:
        tiles.append((_mean(differences, sign=True), "mean difference from the paper's SRCC"))
    for kind, means in tables.cross_means(rows, crossings).items():
        if "both" in means:
            tiles.append((_number(means["both"]), f"mean SRCC across datasets{_kind(kind)}"))
    return [*tiles, (f"{sum(row.n for row in both):,}", "rated images")]


def _kind(ratings: str) -> str:
    return f" ({ratings})" if ratings == tables.PROXY else ", human ratings"


def _mean(values: Sequence[float], sign: bool = False) -> str:
    return _number(fmean(values) if values else None, sign)


def _dataset_lines(tree: Mapping[str, Any]) -> list[str]:
    """Return the protocol, the paired tests and the warnings of a dataset."""
    tests = [f"{pair}: {words}" for pair, words in sections.test_facts(tree)]
    return [tree["protocol"]["text"], *tests, *tree["warnings"]]


def _markdown(
    params: Params,
    found: Mapping[str, Mapping[str, Any]],
    rows: Sequence[ResultRow],
    sets: Sequence[DatasetSection],
    crossings: Sequence[CrossResult],
    probe: Mapping[str, Any],
    lineage: Mapping[Path, Provenance],
) -> str:
    parts = [
        f"# Results of the preset {params.preset}",
        "Medians over splits; ± is the standard deviation over splits. PLCC and RMSE are taken "
        "after the four-parameter logistic.",
        tables.to_markdown(*tables.result_table(rows)),
        "\n".join(
            f"- {name}: {line}" for name, tree in found.items() for line in _dataset_lines(tree)
        ),
    ]
    ratings = {row.dataset: row.ratings for row in rows}
    if crossings:
        head, lines = tables.cross_table(crossings)
        kinds = [ratings.get(each.test, "") for each in crossings]
        parts += [
            "## Across datasets",
            tables.to_markdown(
                (*head, "ratings"),
                [(*line, kind) for line, kind in zip(lines, kinds, strict=True)],
            ),
        ]
    if shares := [each.shares for each in sets if each.shares]:
        parts += [
            "## The two experts' shares",
            "Share of each expert in the variance of the predictions of both.",
            tables.to_markdown(
                ("dataset", *EXPERTS, "ratings"),
                [
                    (
                        each.dataset,
                        *(f"{each.percent[expert]} %" for expert in EXPERTS),
                        ratings.get(each.dataset, ""),
                    )
                    for each in shares
                ],
            ),
        ]
    if probe:
        parts += [
            "## What the experts know",
            tables.probe_note(probe),
            tables.to_markdown(tables.PROBE_HEAD, tables.probe_rows(probe)),
        ]
    if lineage:
        parts += [
            "## What was run",
            tables.to_markdown(
                ("stage", "artifact", "command", "revision", "SHA-256"),
                [
                    (a.stage, a.path, a.command, a.revision, a.digest[:12])
                    for a in provenance_table.artifact_rows(lineage)
                ],
            ),
            "```yaml\n" + provenance_table.parameters_yaml(lineage) + "\n```",
        ]
    return "\n\n".join(parts) + "\n"
