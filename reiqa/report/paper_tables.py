"""Tables for a paper, as LaTeX and Markdown: published results with ours, and all of ours."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, NamedTuple

from reiqa import layout, text
from reiqa.params import VARIANTS, Variant
from reiqa.regression.paper import PublishedTable, across, published, within
from reiqa.report.results import CrossResult
from reiqa.report.tables import HUMAN, PROXY, ResultRow, number, to_markdown
from reiqa.store import write_text

_EXPERTS: dict[Variant, str] = {
    "content": "content expert",
    "quality": "quality expert",
    "both": "both experts",
}

#: What the files in `layout.TABLES` show, by their name without suffix.
CONTENTS = {
    "authentic": "datasets of authentic distortions, published results and ours",
    "synthetic": "datasets of synthetic distortions, published results and ours",
    "cross": "across datasets, published results and ours",
    "results": "every dataset and variant of this run",
    "by_distortion": "SRCC within each type of distortion",
}

_LATEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"–": "--", "±": r"$\pm$"},
}


class Cell(NamedTuple):
    """A cell of a table."""

    text: str
    bold: bool = False


Line = tuple[Cell, ...]


@dataclass(frozen=True)
class PaperTable:
    """A table that can be written as LaTeX and as Markdown.

    Attributes:
        name: name of its files, and of its label in LaTeX.
        caption: caption without the final period.
        head: column heads.
        texts: number of leading columns that contain text.
        groups: rows in groups that are separated by rules.
        notes: sources and protocols, which LaTeX contains as comments.
    """

    name: str
    caption: str
    head: tuple[str, ...]
    texts: int
    groups: Sequence[Sequence[Line]]
    notes: Sequence[str]


class _Method(NamedTuple):
    """A row of a comparison: SRCC for each test, None if unknown."""

    label: str
    values: Sequence[float | None]


def write_paper_tables(
    rows: Sequence[ResultRow],
    crossings: Sequence[CrossResult],
    found: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write `layout.TABLE_FILES`.

    Args:
        rows: rows of the results table.
        crossings: cross-dataset results.
        found: result of each dataset, by name.
    """
    for table in (*comparisons(rows, crossings), results_table(rows)):
        write_text(layout.TABLES / f"{table.name}.tex", to_latex(table))
        write_text(layout.TABLES / f"{table.name}.md", _as_markdown(table))
    csv, markdown = by_distortion(found)
    write_text(layout.TABLES / "by_distortion.csv", csv)
    write_text(layout.TABLES / "by_distortion.md", markdown)


def comparisons(
    rows: Sequence[ResultRow], crossings: Sequence[CrossResult]
) -> Iterator[PaperTable]:
    """Yield the tables of the slides, with ours where we have results for one of their tests."""
    for name, spec in published().tables.items():
        yield _comparison(name, spec, rows, crossings)


def _comparison(
    name: str,
    spec: PublishedTable,
    rows: Sequence[ResultRow],
    crossings: Sequence[CrossResult],
) -> PaperTable:
    pairs = [(test, test) if isinstance(test, str) else test for test in spec.tests]
    known = {(row.dataset, row.dataset, row.variant): row.srcc for row in rows}
    known |= {(each.train, each.test, each.variant): each.srcc for each in crossings}
    others = [_Method(label, values) for label, values in spec.competitors.items()]
    others += [
        _Method(f"Re-IQA ({_EXPERTS[variant]})", [_published(*pair, variant) for pair in pairs])
        for variant in spec.variants
    ]
    ours = [
        _Method(f"Ours ({_EXPERTS[variant]})", [known.get((*pair, variant)) for pair in pairs])
        for variant in spec.variants
    ]
    ours = [method for method in ours if any(value is not None for value in method.values)]
    used = [pair for pair in pairs if (*pair, spec.variants[-1]) in known]
    caption = f"{spec.caption}; the best of each test in bold. Published values from {spec.source}"
    if incomplete := _incomplete(used, rows):
        caption += f". Ours: {'; '.join(incomplete)}"
    methods = [*others, *ours]
    lines = [[_cells(method.values, methods) for method in group] for group in (others, ours)]
    notes = [*([spec.note] if spec.note else []), *_protocols(used, rows, crossings)]
    if isinstance(spec.tests[0], str):
        head = ("Method", *(_name(test) for _, test in pairs))
        labelled = [
            [(Cell(method.label), *cells) for method, cells in zip(group, part, strict=True)]
            for group, part in zip((others, ours), lines, strict=True)
        ]
        return PaperTable(name, caption, head, 1, [part for part in labelled if part], notes)
    head = ("Trained on", "Tested on", *(method.label for method in methods))
    columns = [cells for part in lines for cells in part]
    body = [
        (Cell(_name(train)), Cell(_name(test)), *(cells[place] for cells in columns))
        for place, (train, test) in enumerate(pairs)
    ]
    return PaperTable(name, caption, head, 2, [body], notes)


def _published(train: str, test: str, variant: Variant) -> float | None:
    if train != test:
        return across(train, test)
    found = within(test, variant)
    return found.srcc if found else None


def _cells(values: Sequence[float | None], methods: Sequence[_Method]) -> list[Cell]:
    """Return the cells of one method, bold where no other method is better as printed."""
    return [
        Cell(number(value), value is not None and number(value) == _best(methods, place))
        for place, value in enumerate(values)
    ]


def _best(methods: Sequence[_Method], place: int) -> str:
    """Return the best value of a test as printed; a dash if there is none."""
    known = [value for method in methods if (value := method.values[place]) is not None]
    return number(max(known, default=None))


def _incomplete(pairs: Sequence[tuple[str, str]], rows: Sequence[ResultRow]) -> list[str]:
    """Say of each dataset of some tests how many listed images were not there."""
    used = {name for pair in pairs for name in pair}
    return [
        f"{row.n:,} of the {row.n + row.missing:,} images of {_name(row.dataset)}"
        for row in rows
        if row.variant == "both" and row.dataset in used and row.missing
    ]


def _protocols(
    pairs: Sequence[tuple[str, str]],
    rows: Sequence[ResultRow],
    crossings: Sequence[CrossResult],
) -> list[str]:
    """Say for each test of ours on how many images it was made, and how."""
    notes = []
    for train, test in pairs:
        if train == test:
            row = next(row for row in rows if row.dataset == test)
            notes.append(f"Ours on {_name(test)}: {row.n:,} images, {row.protocol}.")
        else:
            found = next(c for c in crossings if (c.train, c.test) == (train, test))
            shared = f", {found.shared:,} references in both" if found.shared else ""
            notes.append(
                f"Ours from {_name(train)} to {_name(test)}: fitted on all images of the first,"
                f" tested on {found.n:,}{shared}."
            )
    return notes


def results_table(rows: Sequence[ResultRow]) -> PaperTable:
    """Return the table of all datasets and variants of this run."""
    proxy = any(row.ratings == PROXY for row in rows)
    caption = (
        "Medians over splits, ± standard deviation; PLCC and RMSE after the four-parameter"
        " logistic; the best of each dataset in bold"
    )
    groups = [
        _dataset_lines(list(group)) for _, group in groupby(rows, key=lambda row: row.dataset)
    ]
    return PaperTable(
        name="results",
        caption=caption + (f". * {PROXY}" if proxy else ""),
        head=("Dataset", "Experts", "SRCC", "PLCC", "KRCC", "RMSE", "Images"),
        texts=2,
        groups=groups,
        notes=[
            f"{_name(row.dataset)}: {row.protocol}, {row.ratings} ratings."
            if row.ratings == HUMAN
            else f"{_name(row.dataset)}: {row.protocol}, {row.ratings}."
            for row in rows
            if row.variant == "both"
        ],
    )


def _dataset_lines(group: Sequence[ResultRow]) -> list[Line]:
    metrics: list[tuple[str, Callable[[Iterable[float]], float]]] = [
        *((name, max) for name in ("srcc", "plcc", "krcc")),
        ("rmse", min),
    ]
    lines = []
    for row in group:
        mark = "*" if row.ratings == PROXY else ""
        cells = [Cell(_name(row.dataset) + mark), Cell(row.variant)]
        for name, best in metrics:
            known = [value for each in group if (value := getattr(each, name)) is not None]
            value, spread = getattr(row, name), getattr(row, f"{name}_std")
            shown = number(value) + (f" ± {number(spread)}" if spread is not None else "")
            bold = value is not None and number(value) == number(best(known))
            cells.append(Cell(shown, bold))
        lines.append((*cells, Cell(f"{row.n:,}")))
    return lines


def _name(dataset: str) -> str:
    """Return the name of a dataset as papers print it."""
    return published().names.get(dataset, dataset)


def to_latex(table: PaperTable) -> str:
    r"""Return a table environment, to be included by ``\input``; needs the package booktabs."""
    rule = "    \\midrule\n"
    body = rule.join(
        "".join(f"    {_latex_line(line)} \\\\\n" for line in group) for group in table.groups
    )
    columns = "l" * table.texts + "c" * (len(table.head) - table.texts)
    comments = "".join(f"% {note}\n" for note in table.notes)
    return (
        "% Written by reiqa report. Needs \\usepackage{booktabs}.\n"
        f"{comments}"
        "\\begin{table}\n"
        "  \\centering\n"
        f"  \\caption{{{_escape_latex(table.caption)}.}}\n"
        f"  \\label{{tab:reiqa-{table.name}}}\n"
        f"  \\begin{{tabular}}{{{columns}}}\n"
        "    \\toprule\n"
        f"    {' & '.join(map(_escape_latex, table.head))} \\\\\n"
        f"{rule}{body}"
        "    \\bottomrule\n"
        "  \\end{tabular}\n"
        "\\end{table}\n"
    )


def _latex_line(line: Line) -> str:
    return " & ".join(
        f"\\textbf{{{_escape_latex(cell.text)}}}" if cell.bold else _escape_latex(cell.text)
        for cell in line
    )


def _escape_latex(words: str) -> str:
    pattern = "|".join(map(re.escape, _LATEX))
    return re.sub(pattern, lambda found: _LATEX[found.group()], words)


def _as_markdown(table: PaperTable) -> str:
    body = [
        [f"**{cell.text}**" if cell.bold else cell.text for cell in line]
        for group in table.groups
        for line in group
    ]
    parts = [f"{table.caption}.".replace("*", "\\*"), to_markdown(table.head, body)]
    if table.notes:
        parts.append("\n".join(f"- {note}" for note in table.notes))
    return "\n\n".join(parts) + "\n"


def by_distortion(found: Mapping[str, Mapping[str, Any]]) -> tuple[str, str]:
    """Return SRCC within each type of distortion as CSV and as Markdown.

    Args:
        found: result of each dataset, by name; those without types are left out.
    """
    lines: list[list[object]] = []
    parts = [
        "# SRCC by distortion",
        "Within each type of distortion, over the test parts of all splits together. A rank"
        " correlation over few images says little.",
    ]
    for name, tree in found.items():
        types = {variant: tree["variants"][variant]["by_distortion"] for variant in VARIANTS}
        kinds = sorted(types["both"])
        lines += [
            [name, kind, variant, types[variant][kind]["srcc"], types[variant][kind]["n"]]
            for kind in kinds
            for variant in VARIANTS
        ]
        if kinds:
            mark = f" ({PROXY})" if tree["proxy"] else ""
            body = [
                [
                    kind,
                    str(types["both"][kind]["n"]),
                    *(number(types[variant][kind]["srcc"]) for variant in VARIANTS),
                ]
                for kind in kinds
            ]
            parts += [
                f"## {_name(name)}{mark}",
                to_markdown(("distortion", "images", *VARIANTS), body),
            ]
    if not lines:
        parts[1:] = ["No dataset of this run has types of distortion."]
    csv = text.format_csv(("dataset", "distortion", "variant", "srcc", "n"), lines)
    return csv, "\n\n".join(parts) + "\n"
