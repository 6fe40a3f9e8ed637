"""Result tables as CSV, Markdown and terminal output."""

import csv
import io
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reiqa import layout, text
from reiqa.errors import BadInputError
from reiqa.params import VARIANTS, Variant
from reiqa.report.results import CrossResult

if TYPE_CHECKING:
    from rich.table import Table

HUMAN = "human"
PROXY = "proxy ratings, not human"
#: Keys of the two kinds of ratings in ``summary.json``.
_KEYS = {HUMAN: "human", PROXY: "proxy"}


@dataclass(frozen=True)
class ResultRow:
    """Results of one dataset and variant: the columns of ``results/all_srcc.csv`` in order.

    Metrics are medians over the splits, ``_std`` their standard deviation; None if undefined.

    Attributes:
        srcc_low, srcc_high: 95 % bootstrap interval.
        plcc: after the four-parameter logistic, as in the paper; ``plcc_raw`` without it.
        rmse: on the rating scale of the dataset, after the logistic.
        n: number of images used; ``missing`` counts listed images that do not exist.
        ratings: human or proxy ratings.
        difference: SRCC minus the paper's SRCC.
    """

    dataset: str
    variant: Variant
    srcc: float | None
    srcc_std: float | None
    srcc_low: float | None
    srcc_high: float | None
    plcc: float | None
    plcc_std: float | None
    plcc_raw: float | None
    plcc_raw_std: float | None
    krcc: float | None
    krcc_std: float | None
    rmse: float | None
    rmse_std: float | None
    n: int
    missing: int
    splits: int
    protocol: str
    ratings: str
    paper_srcc: float | None
    difference: float | None


def result_rows(results: Mapping[str, Mapping[str, Any]]) -> list[ResultRow]:
    """Return the rows of the results table, with datasets in the given order."""
    return [_row(name, variant, result) for name, result in results.items() for variant in VARIANTS]


def _row(name: str, variant: Variant, result: Mapping[str, Any]) -> ResultRow:
    found = result["variants"][variant]
    paper = (found["paper"] or {}).get("srcc")
    srcc = found["srcc"]["median"]
    spread = {
        f"{metric}{suffix}": found[metric][key]
        for metric in ("srcc", "plcc", "plcc_raw", "krcc", "rmse")
        for suffix, key in (("", "median"), ("_std", "std"))
    }
    return ResultRow(
        dataset=name,
        variant=variant,
        **spread,
        srcc_low=found["srcc"]["low"],
        srcc_high=found["srcc"]["high"],
        n=result["n"],
        missing=result["missing"],
        splits=result["protocol"]["splits"],
        protocol=result["protocol"]["text"],
        ratings=PROXY if result["proxy"] else HUMAN,
        paper_srcc=paper,
        difference=None if paper is None or srcc is None else srcc - paper,
    )


def to_csv(table: Sequence[ResultRow]) -> str:
    """Return the table as CSV with six decimal places and empty cells for None."""
    heads = [field.name for field in fields(ResultRow)]
    cells = (
        [f"{value:.6f}" if isinstance(value, float) else value for value in astuple(row)]
        for row in table
    )
    return text.format_csv(heads, cells)


def read_results_csv(path: Path) -> list[ResultRow]:
    """Read a table in the format of `to_csv`.

    Raises:
        BadInputError: the file is missing or not a valid results table.
    """
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            return [_parse(row) for row in csv.DictReader(stream)]
    except FileNotFoundError:
        raise BadInputError(f"{path}: not found; run: reiqa report") from None
    except (KeyError, ValueError) as error:
        raise BadInputError(
            f"{path}: not a valid results table ({error}); run: reiqa report"
        ) from None


def _parse(row: Mapping[str, str]) -> ResultRow:
    def cell(name: str, kind: object) -> Any:
        text = row[name]
        if kind is int:
            return int(text)
        if kind == float | None:
            return float(text) if text else None
        return text

    return ResultRow(**{field.name: cell(field.name, field.type) for field in fields(ResultRow)})


def summary(
    table: Sequence[ResultRow], crossings: Sequence[CrossResult], probe: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the summary metrics for ``dvc metrics``."""
    tree: dict[str, Any] = {"datasets": {}}
    for row in table:
        tree["datasets"].setdefault(row.dataset, {})[row.variant] = {
            "srcc": _rounded(row.srcc),
            "plcc": _rounded(row.plcc),
        }
    if means := cross_means(table, crossings):
        tree["cross_mean_srcc"] = {
            _KEYS[kind]: {variant: round(mean, 4) for variant, mean in variants.items()}
            for kind, variants in means.items()
        }
    if probe:
        tree["probe"] = probe["encoders"]
    return tree


def cross_means(
    table: Sequence[ResultRow], crossings: Sequence[CrossResult]
) -> dict[str, dict[Variant, float]]:
    """Return the mean SRCC across datasets by kind of ratings and variant.

    A mean is over pairs of datasets whose ratings are of one kind. A proxy is far easier to predict
    than human ratings, so no mean is over both.
    """
    kinds = {row.dataset: row.ratings for row in table}
    scores: dict[str, dict[Variant, list[float]]] = {}
    for each in crossings:
        kind = kinds.get(each.test, "")
        if each.srcc is not None and kinds.get(each.train) == kind:
            scores.setdefault(kind, {}).setdefault(each.variant, []).append(each.srcc)
    return {
        kind: {variant: statistics.fmean(values) for variant, values in variants.items()}
        for kind, variants in sorted(scores.items())
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


_PAPER = "paper's SRCC"
_DIFFERENCE = "difference"
_RESULT_HEAD = (
    "dataset",
    "variant",
    "SRCC",
    "± over splits",
    "95 % interval",
    "PLCC",
    "KRCC",
    "RMSE",
    "n",
    "missing",
    _PAPER,
    _DIFFERENCE,
    "ratings",
)
_CROSS_HEAD = (
    "trained on",
    "tested on",
    "variant",
    "SRCC",
    "PLCC",
    "n",
    "shared references",
    _PAPER,
)

#: Head and lines of a table.
TextTable = tuple[tuple[str, ...], list[tuple[str, ...]]]


def has_paper(rows: Sequence[ResultRow] | Sequence[CrossResult]) -> bool:
    """Return whether the paper has a number for any row."""
    return any(row.paper_srcc is not None for row in rows)


def result_table(rows: Sequence[ResultRow]) -> TextTable:
    """Return the results table, without the paper's columns if the paper has none of them."""
    return _columns(_RESULT_HEAD, [_result_cells(row) for row in rows], has_paper(rows))


def cross_table(crossings: Sequence[CrossResult]) -> TextTable:
    """Return the cross-dataset table, without the paper's column if the paper has none of it."""
    return _columns(_CROSS_HEAD, [_cross_cells(each) for each in crossings], has_paper(crossings))


def _columns(head: tuple[str, ...], lines: list[tuple[str, ...]], paper: bool) -> TextTable:
    kept = [at for at, name in enumerate(head) if paper or name not in (_PAPER, _DIFFERENCE)]
    return tuple(head[at] for at in kept), [tuple(line[at] for at in kept) for line in lines]


def _result_cells(row: ResultRow) -> tuple[str, ...]:
    """Return the formatted cells of a row, in the order of `_RESULT_HEAD`."""
    interval = (
        f"{number(row.srcc_low)} to {number(row.srcc_high)}" if row.srcc_low is not None else "–"
    )
    return (
        row.dataset,
        row.variant,
        number(row.srcc),
        number(row.srcc_std),
        interval,
        number(row.plcc),
        number(row.krcc),
        number(row.rmse),
        str(row.n),
        str(row.missing),
        number(row.paper_srcc),
        number(row.difference, sign=True),
        row.ratings,
    )


def _cross_cells(crossing: CrossResult) -> tuple[str, ...]:
    """Return the formatted cells of a cross-dataset result, in the order of `_CROSS_HEAD`."""
    return (
        crossing.train,
        crossing.test,
        crossing.variant,
        number(crossing.srcc),
        number(crossing.plcc),
        str(crossing.n),
        str(crossing.shared),
        number(crossing.paper_srcc),
    )


PROBE_HEAD = ("encoder", "type named", "level, SRCC", "distance, SRCC", "crop found")


def probe_rows(probe: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Return the formatted rows of the probe, in the order of `PROBE_HEAD`; empty without one."""
    measures = ("type_accuracy", "level_srcc", "distance_srcc", "retrieval")
    return [
        (name.replace("_random", ", random weights"), *(number(found[key]) for key in measures))
        for name, found in probe.get("encoders", {}).items()
    ]


def probe_note(probe: Mapping[str, Any]) -> str:
    """Return an explanation of the probe metrics."""
    counts = probe["photographs"]
    return (
        f"Frozen features of distorted windows of {counts['distortions']} photographs that no"
        " expert has learnt from: how often a linear classifier names the type of distortion, the"
        " rank correlation of true level and a linear model's, and of level and distance from the"
        f" undistorted window. Of {counts['retrieval']} photographs that the content expert has not"
        " learnt from: how often the nearest neighbour of a crop is another crop of the same."
    )


def number(value: float | None, sign: bool = False) -> str:
    """Format a metric with three decimal places, or a dash for None."""
    if value is None:
        return "–"
    return f"{value:+.3f}" if sign else f"{value:.3f}"


def to_markdown(head: Sequence[str], body: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with text left-aligned and numbers right-aligned."""
    numeric = [all(_is_number(line[i]) for line in body) for i in range(len(head))]
    rule = ["---:" if right else "---" for right in numeric]
    lines = [head, rule, *body]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def _is_number(text: str) -> bool:
    return not text.strip("+-–*0123456789.") or " to " in text or " ± " in text


def table_text(coloured: bool | None = None) -> str:
    """Return the results table for a terminal.

    Args:
        coloured: use rules, bold text and colour instead of plain columns; None uses them if
            stdout is a terminal.

    Raises:
        BadInputError: ``results/all_srcc.csv`` does not exist.
    """
    from rich.console import Console

    styled = sys.stdout.isatty() if coloured is None else coloured
    stream = io.StringIO()
    console = Console(
        file=stream, force_terminal=styled, no_color=not styled, width=160, legacy_windows=False
    )
    console.print(_terminal_table(read_results_csv(layout.ALL_SRCC), styled))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())


def _terminal_table(body: Sequence[ResultRow], coloured: bool) -> "Table":
    from rich import box
    from rich.table import Table

    paper = has_paper(body)
    heads = ["dataset", "variant", "SRCC", "± splits", "PLCC", "KRCC", "RMSE", "n"]
    heads += ["paper", "diff"] if paper else []
    table = Table(box=box.SIMPLE_HEAD if coloured else None, pad_edge=False)
    for place, head in enumerate((*heads, "ratings")):
        table.add_column(head, justify="right" if 2 <= place < len(heads) else "left", no_wrap=True)
    for row in body:
        first = row.variant == VARIANTS[0]
        table.add_row(
            row.dataset if first or not coloured else "",
            row.variant,
            number(row.srcc),
            number(row.srcc_std),
            number(row.plcc),
            number(row.krcc),
            number(row.rmse),
            str(row.n),
            *((number(row.paper_srcc), number(row.difference, sign=True)) if paper else ()),
            row.ratings if first or not coloured else "",
            style="bold" if row.variant == "both" else "",
            end_section=coloured and row.variant == VARIANTS[-1],
        )
    return table
