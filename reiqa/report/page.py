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
from reiqa.params import EXPERTS, BankParams, Params
from reiqa.report import figures, plots, provenance_table, results, sections, tables, thumbnails
from reiqa.report.results import CrossResult
from reiqa.report.tables import ResultRow
from reiqa.store import Provenance, write_json, write_text

#: Maximum number of datasets that get their own headline number.
_MAX_TILES = 4

MARKDOWN = layout.REPORT.with_suffix(".md")


def write_page(params: Params) -> Path:
    """Write the page, ``report.md``, ``summary.json``, the plot tables, and ``all_srcc.csv``.

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
    write_text(layout.REPORT, _page(params, found, rows, crossings, probe, lineage))
    write_text(MARKDOWN, _markdown(params, found, rows, crossings, probe, lineage))
    write_json(layout.SUMMARY, tables.summary(rows, crossings, probe))
    plots.write_plot_tables(params.datasets)
    write_text(layout.ALL_SRCC, tables.to_csv(rows))
    return layout.ALL_SRCC


def _page(
    params: Params,
    found: Mapping[str, Mapping[str, Any]],
    rows: Sequence[ResultRow],
    crossings: Sequence[CrossResult],
    probe: Mapping[str, Any],
    lineage: Mapping[Path, Provenance],
) -> str:
    proxies = [name for name, tree in found.items() if tree["proxy"]]
    experts = [part for name in EXPERTS if (part := sections.expert_section(name, lineage))]
    matrix = sections.cross_grid(rows, crossings)
    anchors = [
        ("results", "Results"),
        *([("cross", "Across datasets")] if matrix else []),
        ("datasets", "Dataset by dataset"),
        *([("experts", "The two experts")] if experts else []),
        ("bank", "The bank"),
        ("provenance", "What was run"),
    ]
    sets = [
        sections.dataset_section(name, tree, params.report.thumbnails)
        for name, tree in found.items()
    ]
    text = _environment().get_template("page.html").render(
        style=Markup(_style()),
        preset=params.preset,
        proxies=proxies,
        tiles=_tiles(rows, crossings),
        sections=anchors,
        overview=figures.overview(rows, proxies),
        rows=rows,
        matrix=matrix,
        cross_head=tables.CROSS_HEAD,
        cross_lines=[tables.cross_cells(crossing) for crossing in crossings],
        sets=sets,
        experts=experts,
        probe_head=tables.PROBE_HEAD,
        probe_rows=tables.probe_rows(probe),
        probe_note=tables.probe_note(probe) if probe else "",
        bank=thumbnails.gallery(resolve(_bank(lineage))),
        original=thumbnails.original(),
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


def _style() -> str:
    return (resources.files("reiqa.report") / "style.css").read_text(encoding="utf-8")


def _by_dataset(rows: Sequence[ResultRow]) -> Iterator[tuple[str, list[ResultRow]]]:
    for name, group in groupby(rows, key=lambda row: row.dataset):
        yield name, list(group)


def _bank(lineage: Mapping[Path, Provenance]) -> BankParams:
    """Return the bank that the quality expert was trained with, or else the published bank."""
    quality = lineage.get(layout.model("quality"))
    return (
        BankParams.model_validate(quality.parameters.get("bank", {})) if quality else BankParams()
    )


def _tiles(rows: Sequence[ResultRow], crossings: Sequence[CrossResult]) -> list[tuple[str, str]]:
    """Return the headline numbers and their labels."""
    both = [row for row in rows if row.variant == "both"]
    tiles = []
    if len(both) <= _MAX_TILES:
        for row in both:
            mark = f" ({tables.PROXY})" if row.ratings == tables.PROXY else ""
            tiles.append((_number(row.srcc), f"SRCC on {row.dataset}{mark}"))
    else:
        within = [row.srcc for row in both if row.srcc is not None]
        tiles.append((_mean(within), f"mean SRCC within {len(within)} datasets"))
    differences = [row.difference for row in both if row.difference is not None]
    if differences:
        tiles.append((_mean(differences, sign=True), "mean difference from the paper's SRCC"))
    across = [c.srcc for c in crossings if c.variant == "both" and c.srcc is not None]
    if across:
        tiles.append((_mean(across), "mean SRCC across datasets"))
    return [*tiles, (f"{sum(row.n for row in both):,}", "rated images")]


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
    crossings: Sequence[CrossResult],
    probe: Mapping[str, Any],
    lineage: Mapping[Path, Provenance],
) -> str:
    parts = [
        f"# Results of the preset {params.preset}",
        "Medians over splits; ± is the standard deviation over splits. PLCC and RMSE are taken "
        "after the four-parameter logistic.",
        tables.to_markdown(tables.RESULT_HEAD, [tables.result_cells(row) for row in rows]),
        "\n".join(
            f"- {name}: {line}" for name, tree in found.items() for line in _dataset_lines(tree)
        ),
    ]
    if crossings:
        ratings = {row.dataset: row.ratings for row in rows}
        lines = [(*tables.cross_cells(c), ratings.get(c.test, "")) for c in crossings]
        parts += [
            "## Across datasets",
            tables.to_markdown((*tables.CROSS_HEAD, "ratings"), lines),
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
