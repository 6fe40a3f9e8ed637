"""Tables for a paper: published numbers, ours only where we have them, and sound LaTeX."""

import csv
import io
import re

import pytest

from reiqa import layout
from reiqa.regression import paper
from reiqa.report import paper_tables
from reiqa.report.paper_tables import Cell, PaperTable, comparisons, results_table, to_latex
from reiqa.report.results import CrossResult
from reiqa.report.tables import HUMAN, PROXY, ResultRow

#: Written down from the authors' slides a second time, row by row: method, then numbers.
SLIDES = {
    "authentic": """
        HyperIQA 0.535 0.916
        CONTRIQUE 0.580 0.914
        MUSIQ 0.646 0.917
        Re-IQA (both experts) 0.645 0.918
    """,
    "synthetic": """
        HyperIQA 0.962 0.923
        CONTRIQUE 0.960 0.942
        Re-IQA (quality expert) 0.971 0.944
        Re-IQA (both experts) 0.970 0.947
    """,
    # PQR, HyperIQA, CONTRIQUE, Re-IQA.
    "cross": """
        CLIVE KonIQ 0.757 0.772 0.676 0.769
        KonIQ CLIVE 0.770 0.785 0.731 0.791
        LIVE-IQA CSIQ-IQA 0.719 0.744 0.823 0.808
        CSIQ-IQA LIVE-IQA 0.922 0.926 0.925 0.929
    """,
}


def row(dataset: str, variant: str, srcc: float | None, **changed: object) -> ResultRow:
    fields = {
        **dict.fromkeys(("srcc_low", "srcc_high", "plcc_raw", "plcc_raw_std", "krcc_std")),
        **{"srcc_std": 0.01, "plcc": 0.5, "plcc_std": 0.02, "krcc": 0.4, "rmse": 0.3},
        **{"rmse_std": None, "n": 800, "missing": 0, "splits": 10, "protocol": "ten splits"},
        **{"ratings": HUMAN, "paper_srcc": None, "difference": None},
    }
    return ResultRow(**{**fields, "dataset": dataset, "variant": variant, "srcc": srcc, **changed})


def crossing(train: str, test: str, variant: str, srcc: float) -> CrossResult:
    return CrossResult(train, test, variant, srcc, None, 1162, 3, None)


def lines_of(table: PaperTable) -> list[str]:
    return [" ".join(cell.text for cell in line) for group in table.groups for line in group]


def bold_of(table: PaperTable) -> set[str]:
    """Name each bold cell by the first cell of its line and the head of its column."""
    return {
        f"{line[0].text} / {head}"
        for group in table.groups
        for line in group
        for head, cell in zip(table.head, line, strict=True)
        if cell.bold
    }


@pytest.mark.parametrize("name", SLIDES)
def test_without_results_a_table_holds_the_numbers_of_the_slides_alone(name):
    table = {each.name: each for each in comparisons([], [])}[name]
    expected = [" ".join(line.split()) for line in SLIDES[name].strip().splitlines()]
    assert lines_of(table) == expected
    assert "Ours" not in to_latex(table)


def test_every_number_that_is_not_in_a_table_is_that_of_the_reprints():
    reprinted = {
        "koniq10k": (0.914, 0.923),
        "clive": (0.840, 0.854),
        "flive": (0.645, 0.733),
        "spaq": (0.918, 0.925),
        "live": (0.970, 0.971),
        "csiq": (0.947, 0.960),
        "tid2013": (0.804, 0.861),
        "kadid10k": (0.872, 0.885),
    }
    assert {name: paper.within(name, "both") for name in paper.published().within} == reprinted
    assert paper.within("live", "quality") == (0.971, None)
    assert paper.within("koniq10k", "quality") is None and paper.across("live", "clive") is None


def test_ours_is_a_row_below_with_a_dash_for_what_was_not_run():
    rows = [row("spaq", "both", 0.9251), row("spaq", "quality", 0.8), row("live", "both", 0.97)]
    tables = {each.name: each for each in comparisons(rows, [])}
    assert lines_of(tables["authentic"])[-1] == "Ours (both experts) – 0.925"
    assert len(tables["authentic"].groups) == 2
    assert lines_of(tables["synthetic"])[-1] == "Ours (both experts) 0.970 –"
    assert "Ours" not in "".join(tables["cross"].head)
    assert tables["authentic"].notes[-1] == "Ours on SPAQ: 800 images, ten splits."


def test_the_best_of_each_test_is_bold_as_printed_with_ties():
    tables = {each.name: each for each in comparisons([row("spaq", "both", 0.9178)], [])}
    assert bold_of(tables["authentic"]) == {
        "MUSIQ / FLIVE",
        "Re-IQA (both experts) / SPAQ",
        "Ours (both experts) / SPAQ",
    }
    assert bold_of(tables["synthetic"]) == {
        "Re-IQA (quality expert) / LIVE-IQA",
        "Re-IQA (both experts) / CSIQ-IQA",
    }
    tables = {
        each.name: each for each in comparisons([], [crossing("clive", "koniq10k", "both", 0.8)])
    }
    assert bold_of(tables["cross"]) == {
        "CLIVE / Ours (both experts)",
        "KonIQ / Re-IQA (both experts)",
        "LIVE-IQA / CONTRIQUE",
        "CSIQ-IQA / Re-IQA (both experts)",
    }


def test_across_datasets_ours_is_a_column_of_the_pairs_that_were_run():
    crossings = [
        crossing("koniq10k", "clive", "both", 0.75),
        crossing("koniq10k", "clive", "content", 0.99),
        crossing("koniq10k", "demo", "both", 0.99),
    ]
    table = {each.name: each for each in comparisons([], crossings)}["cross"]
    assert table.head[-1] == "Ours (both experts)"
    assert [line.split()[-1] for line in lines_of(table)] == ["–", "0.750", "–", "–"]
    assert "tested on 1,162, 3 references in both" in table.notes[-1]


def test_images_that_were_missing_are_told_in_the_caption():
    rows = [row("spaq", "both", 0.9, n=9000, missing=2125), row("clive", "both", 0.8, missing=9)]
    tables = {each.name: each for each in comparisons(rows, [])}
    assert tables["authentic"].caption.endswith("Ours: 9,000 of the 11,125 images of SPAQ")
    assert "Ours:" not in tables["cross"].caption


def test_an_undefined_result_of_ours_is_no_row():
    table = next(comparisons([row("spaq", "both", None)], []))
    assert len(table.groups) == 1


def test_all_results_are_one_group_a_dataset_with_its_best_in_bold():
    rows = [
        *(row("spaq", v, s) for v, s in (("content", 0.7), ("quality", 0.8), ("both", 0.9))),
        *(row("demo_mixed", v, 0.5, ratings=PROXY, rmse=r)
          for v, r in (("content", 3.0), ("quality", 2.0), ("both", 2.5))),
    ]  # fmt: skip
    table = results_table(rows)
    assert [len(group) for group in table.groups] == [3, 3]
    assert table.groups[0][2][2] == Cell("0.900 ± 0.010", True)
    assert [line[5].bold for line in table.groups[1]] == [False, True, False]
    assert table.groups[1][0][0].text == "demo_mixed*"
    assert "* proxy ratings, not human" in table.caption
    assert "proxy" not in results_table(rows[:3]).caption


# LaTeX: no compiler is needed to see that brackets, columns and commands are sound.

#: Commands of LaTeX itself and of booktabs; nothing else is used.
COMMANDS = {
    *("begin", "end", "centering", "caption", "label", "textbf", "pm", "usepackage"),
    *("toprule", "midrule", "bottomrule"),
    *("textbackslash", "textasciitilde", "textasciicircum"),
}


def check_latex(text: str) -> None:
    """Check that environments nest, braces balance, and every line has every column."""
    code = re.sub(r"(?<!\\)%.*", "", text)
    assert set(re.findall(r"\\([a-zA-Z]+)", code)) <= COMMANDS
    assert code.isascii()
    stack = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", code):
        if kind == "begin":
            stack.append(name)
        else:
            assert stack.pop() == name
    assert not stack
    depth = 0
    for character in re.sub(r"\\[{}]", "", code):
        depth += {"{": 1, "}": -1}.get(character, 0)
        assert depth >= 0
    assert depth == 0
    (columns,) = re.findall(r"\\begin\{tabular\}\{([lc]+)\}", code)
    body = code.partition("\\toprule")[2].partition("\\bottomrule")[0]
    lines = [line for line in body.splitlines() if line.strip() and "midrule" not in line]
    for line in lines:
        assert line.endswith(" \\\\")
        assert len(re.split(r"(?<!\\)&", line)) == len(columns)
    # Special characters stand escaped, or not at all.
    assert not re.search(r"(?<!\\)[#_^~]", re.sub(r"\\label\{.*\}", "", code))
    assert code.replace("\\$", "").count("$") % 2 == 0


def test_latex_has_sound_braces_columns_and_commands():
    odd = r"my_set & 50% {of} #1 ~ $x^2$ \ "
    rows = [
        row("spaq", "both", 0.93), row("live", "quality", 0.98), row(odd, "both", 0.4),
        row("demo", "both", 0.4, ratings=PROXY, protocol="100 % of my_set"),
    ]  # fmt: skip
    crossings = [crossing("clive", "koniq10k", "both", 0.8)]
    found = [*comparisons(rows, crossings), results_table(rows)]
    assert len(found) == 4
    for table in found:
        check_latex(to_latex(table))
    assert r"my\_set \& 50\% \{of\} \#1 \textasciitilde{} \$x\textasciicircum{}2\$" in to_latex(
        found[-1]
    )


@pytest.mark.parametrize(
    ("broken", "by"),
    [
        ("a column", (" & ", " ", 3)),
        ("a brace", ("{SRCC", "SRCC", 1)),
        ("an end", (r"\end{table}", "", 1)),
        ("a character", ("& FLIVE", "& FL_IVE", 1)),
        ("a command", (r"\toprule", r"\hline", 1)),
    ],
)
def test_the_check_of_latex_notices(broken, by):
    text = to_latex(next(comparisons([], [])))
    check_latex(text)
    with pytest.raises((AssertionError, ValueError, IndexError)):
        check_latex(text.replace(*by))


def test_the_files_of_a_report_are_sound(written):
    for path in layout.TABLE_FILES:
        text = path.read_text(encoding="utf-8")
        assert text.endswith("\n")
        if path.suffix == ".tex":
            check_latex(text)
        if path.suffix == ".md" and path.stem != "by_distortion":
            table = [line for line in text.splitlines() if line.startswith("|")]
            assert len({len(re.split(r"(?<!\\)\|", line)) for line in table}) == 1
    text = (layout.TABLES / "results.md").read_text(encoding="utf-8")
    assert text.count("| demo\\*") + text.count("| demo*") == 3
    assert "**" in text and "- demo: 5 random splits 70/10/20 by reference, proxy" in text


def test_srcc_by_distortion_is_that_of_the_results(written):
    text = (layout.TABLES / "by_distortion.csv").read_text(encoding="utf-8")
    lines = list(csv.DictReader(io.StringIO(text)))
    assert len(lines) == 4 * 3 and {line["dataset"] for line in lines} == {"demo"}
    by_key = {(line["distortion"], line["variant"]): line for line in lines}
    assert float(by_key["jpeg", "both"]["srcc"]) == pytest.approx(0.8)
    assert float(by_key["lens_blur", "quality"]["srcc"]) == pytest.approx(0.9 - 0.14 - 0.05)
    assert by_key["jpeg", "both"]["n"] == "10"
    text = (layout.TABLES / "by_distortion.md").read_text(encoding="utf-8")
    assert "| jpeg | 10 | 0.680 | 0.760 | 0.800 |" in text
    assert "## demo (proxy ratings, not human)" in text and "CLIVE" not in text


def test_an_undefined_srcc_of_a_distortion_is_an_empty_field_and_a_dash():
    kinds = {"jpeg": {"srcc": None, "n": 1}}
    variants = {variant: {"by_distortion": kinds} for variant in ("content", "quality", "both")}
    csv_text, text = paper_tables.by_distortion({"live": {"proxy": False, "variants": variants}})
    assert csv_text.splitlines()[1] == "live,jpeg,content,,1"
    assert "| jpeg | 1 | – | – | – |" in text


def test_a_run_without_distortion_types_says_so():
    variants = {variant: {"by_distortion": {}} for variant in ("content", "quality", "both")}
    csv_text, text = paper_tables.by_distortion({"clive": {"proxy": False, "variants": variants}})
    assert csv_text == "dataset,distortion,variant,srcc,n\n"
    assert "No dataset of this run" in text
