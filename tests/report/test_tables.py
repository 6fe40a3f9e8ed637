"""The results table says what the results say: in CSV, in Markdown, in a terminal."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.tables import rows_of

from reiqa import layout, store
from reiqa.errors import BadInputError
from reiqa.params import VARIANTS
from reiqa.report import results, tables
from reiqa.report.page import write_page

# One worker writes the report that these read.
pytestmark = pytest.mark.xdist_group("report")

METRICS = ("srcc", "plcc", "plcc_raw", "krcc", "rmse")
NUMBERS = (
    *METRICS,
    *(f"{metric}_std" for metric in METRICS),
    *("srcc_low", "srcc_high", "paper_srcc", "difference"),
)
maybe = st.one_of(st.none(), st.floats(-1, 1).map(lambda value: round(value, 4)))
row = st.builds(
    tables.ResultRow,
    dataset=st.sampled_from(["demo", "clive"]),
    variant=st.sampled_from(VARIANTS),
    **dict.fromkeys(NUMBERS, maybe),
    n=st.integers(0, 10**6),
    missing=st.integers(0, 9),
    splits=st.integers(1, 10),
    protocol=st.sampled_from(['10 splits, "by reference"', "official"]),
    ratings=st.sampled_from([tables.HUMAN, tables.PROXY]),
)


def tables_of(project):
    return tables.result_rows(results.read_results(project.params))


@given(st.lists(row, max_size=6))
def test_a_table_read_back_is_the_table_written(tmp_path_factory, body):
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    path.write_text(tables.to_csv(body), encoding="utf-8")
    assert tables.read_results_csv(path) == body


def test_rows_follow_the_parameters_order_and_hold_the_medians(project):
    body = tables_of(project)
    assert [(r.dataset, r.variant) for r in body] == [
        (name, v) for name in ("demo", "clive") for v in ("content", "quality", "both")
    ]
    for line in body:
        found = json.loads(layout.result(line.dataset).read_text())["variants"][line.variant]
        for metric in METRICS:
            assert getattr(line, metric) == found[metric]["median"]
            assert getattr(line, f"{metric}_std") == found[metric]["std"]


def test_paper_value_and_difference_are_shown_only_if_published(project):
    for line in tables_of(project):
        if (line.dataset, line.variant) == ("clive", "both"):
            assert line.paper_srcc == 0.84
            assert line.difference == pytest.approx(line.srcc - 0.84)
        else:
            assert line.paper_srcc is None and line.difference is None


def test_proxy_ratings_are_named_in_every_table(written):
    said = {line["dataset"]: line["ratings"] for line in rows_of(layout.ALL_SRCC)}
    assert said == {"demo": "proxy ratings, not human", "clive": "human"}
    terminal = tables.table_text(False).splitlines()
    assert all(("proxy" in line) == line.startswith("demo ") for line in terminal[1:])
    markdown = layout.REPORT.with_suffix(".md").read_text().splitlines()
    lines = [line for line in markdown if line.startswith("| demo")]
    assert lines and all("not human" in line for line in lines if "| clive |" not in line)


def test_page_and_text_show_both_tests_of_both_pairs_and_the_warnings(written):
    page = layout.REPORT.read_text()
    text = layout.REPORT.with_suffix(".md").read_text().splitlines()
    words = "+0.040 SRCC (+0.010 to +0.070), Wilcoxon p = 0.03, corrected t-test p = 0.1"
    for expert in ("content", "quality"):
        assert page.count(f"<dt>both less {expert}</dt><dd>{words}</dd>") == 2
        for name in ("demo", "clive"):
            assert f"- {name}: both less {expert}: {words}" in text
    assert "- clive: 2 <listed> images are missing" in text
    assert "- clive: 5 random splits 70/10/20" in text


def test_page_csv_and_terminal_round_a_number_alike(project):
    path = layout.result("demo")
    tree = json.loads(path.read_text())
    tree["variants"]["both"]["srcc"]["median"] = 0.884504
    store.write_json(path, tree)
    write_page(project.params)
    assert "0.885" in layout.REPORT.read_text() and "0.885" in tables.table_text(False)


def test_an_undefined_metric_is_an_empty_cell_and_a_dash(project):
    path = layout.result("demo")
    tree = json.loads(path.read_text())
    tree["variants"]["content"]["srcc"].update(
        median=None, mean=None, std=None, low=None, high=None, splits=[None] * 5
    )
    store.write_json(path, tree)
    write_page(project.params)
    assert layout.ALL_SRCC.read_text().splitlines()[1].startswith("demo,content,,,,,0.")
    assert tables.table_text(False).splitlines()[1].split()[2:4] == ["–", "–"]


def test_the_summary_holds_the_medians_and_the_probe(written):
    tree = json.loads(layout.SUMMARY.read_text())
    assert "cross_mean_srcc" not in tree, "one dataset has human ratings, the other a proxy"
    assert tree["probe"]["quality"]["type_accuracy"] == 0.71
    page = layout.REPORT.with_suffix(".md").read_text()
    assert "| quality | 0.710 | 0.480 | 0.620 | 0.400 |" in page
    first = tables_of(written)[0]
    assert tree["datasets"]["demo"]["content"]["srcc"] == round(first.srcc, 4)


def crossing(train, test, variant, srcc, paper=None):
    return results.CrossResult(train, test, variant, srcc, 0.5, 40, 0, paper)


def test_a_mean_across_datasets_is_over_ratings_of_one_kind(project):
    body = tables_of(project)
    (line,) = [each for each in body if (each.dataset, each.variant) == ("clive", "both")]
    body.append(replace(line, dataset="live"))
    body.append(replace(line, dataset="demo_mixed", ratings=tables.PROXY))
    crossings = [
        crossing("clive", "live", "both", 0.5),
        crossing("live", "clive", "both", 0.7),
        crossing("live", "clive", "content", None),
        crossing("demo", "demo_mixed", "both", 0.9),
        *(crossing(*pair, "both", 0.1) for pair in (("demo", "live"), ("live", "demo"))),
    ]
    assert tables.cross_means(body, crossings) == {
        tables.HUMAN: {"both": pytest.approx(0.6)},
        tables.PROXY: {"both": 0.9},
    }
    summary = tables.summary(body, crossings, {})
    assert summary["cross_mean_srcc"] == {"human": {"both": 0.6}, "proxy": {"both": 0.9}}


def test_a_column_of_the_paper_is_there_only_if_it_has_numbers(project):
    body = tables_of(project)
    head, lines = tables.result_table(body)
    assert head[-3:] == ("paper's SRCC", "difference", "ratings")
    head, lines = tables.result_table([line for line in body if line.dataset == "demo"])
    assert head[-2:] == ("missing", "ratings") and {len(line) for line in lines} == {len(head)}
    both = crossing("clive", "koniq10k", "both", 0.7, 0.769)
    assert tables.cross_table([both])[0][-1] == "paper's SRCC"
    head, lines = tables.cross_table([crossing("clive", "demo", "both", 0.7)])
    assert head[-1] == "shared references" and {len(line) for line in lines} == {len(head)}


@pytest.mark.parametrize(("lone", "shown"), [("clive", True), ("demo", False)])
def test_page_text_and_terminal_are_beside_the_papers_only_where_it_has_numbers(
    project, lone, shown
):
    write_page(project.params.model_copy(update={"datasets": [lone]}))
    page, text = layout.REPORT.read_text(), layout.REPORT.with_suffix(".md").read_text()
    assert ("Results beside the paper" in page) is shown
    assert ('<th scope="col">Paper</th>' in page) is shown
    assert ("paper's SRCC" in text.split("## Across")[0]) is shown
    assert ("paper" in tables.table_text(False).splitlines()[0]) is shown


def test_plain_text_has_no_escape_codes_and_coloured_text_the_same_numbers(written):
    plain, coloured = tables.table_text(False), tables.table_text(True)
    assert "\x1b" not in plain and "\x1b" in coloured
    for line in tables_of(written):
        assert f"{line.srcc:.3f}" in plain and f"{line.srcc:.3f}" in coloured


@pytest.mark.parametrize("spoil", ["missing", "cut", "empty"])
def test_a_corrupted_result_error_names_the_file(project, spoil):
    path = layout.result("clive")
    if spoil == "missing":
        path.unlink()
    else:
        path.write_text(path.read_text()[:100] if spoil == "cut" else "{}")
    with pytest.raises(BadInputError) as fault:
        write_page(project.params)
    assert str(path) in str(fault.value) and "\n" not in str(fault.value)
    assert not layout.ALL_SRCC.exists()


def test_the_table_of_a_folder_without_results_says_what_to_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInputError, match="reiqa report"):
        tables.table_text(False)


def test_a_foreign_csv_is_refused_by_name(project):
    layout.ALL_SRCC.write_text("a,b\n1,2\n")
    with pytest.raises(BadInputError, match=r"all_srcc\.csv: not a valid results table"):
        tables.table_text(False)


def test_a_measure_of_zero_is_a_point_of_the_curve_and_an_empty_field_is_none(project):
    path = layout.model("quality").with_suffix(".curve.csv")
    path.write_text("step,loss,top1\n1,3.5,0\n2,3.0,\n")
    curve = results.read_curve("quality")
    assert curve["top1"][0] == 0 and np.isnan(curve["top1"][1])


def test_plot_data_hold_every_image_once_and_every_alpha(written):
    folder = Path("results/plots")
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["alphas.csv", "predictions.csv", "pretraining.csv"]
    lines = rows_of(folder / "predictions.csv")
    assert len(lines) == 80 == len({(line["dataset"], line["image"]) for line in lines})
    powers = [float(line["log10_alpha"]) for line in rows_of(folder / "alphas.csv")]
    assert powers == [*range(-3, 7)] * 2
    assert {line["content"] for line in rows_of(folder / "pretraining.csv")} == {""}
