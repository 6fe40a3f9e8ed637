"""Each engine runs the whole job, and then again only what a change touches."""

import csv
import json
from collections.abc import Callable

import pytest
from support.project import Project

from reiqa.params import EXPERTS

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("engines")]

TABLE = "results/all_srcc.csv"
Copied = Callable[[Project], Project]

AFTER_ALPHA = {"fit_dataset": 2, "cross_datasets": 1, "write_report": 1}
AFTER_BANK = {"cut_chunks": 3, "make_expert": 1, "probe_experts": 1, "extract_features": 2}
AFTER_BANK |= AFTER_ALPHA


def _stages_run(printed: str) -> set[str]:
    return {line.split("'")[1] for line in printed.splitlines() if line.startswith("Running stage")}


def test_the_table_has_a_row_for_each_dataset_and_variant(by_snakemake: Project) -> None:
    with (by_snakemake.folder / TABLE).open() as stream:
        rows = list(csv.DictReader(stream))
    found = [(row["dataset"], row["variant"]) for row in rows]
    variants = ("content", "quality", "both")
    assert found == [(name, variant) for name in ("demo", "demo_mixed") for variant in variants]
    assert {row["ratings"] for row in rows} == {"proxy ratings, not human"}
    assert all(-1 <= float(row["srcc"]) <= 1 for row in rows)


def test_both_engines_make_the_same_bytes(by_snakemake: Project, by_dvc: Project) -> None:
    for name in (TABLE, "results/cross.csv", "results/datasets/demo.predictions.csv"):
        ours = (by_snakemake.folder / name).read_bytes()
        assert ours == (by_dvc.folder / name).read_bytes(), name


def test_a_second_run_has_nothing_to_do(by_snakemake: Project, by_dvc: Project) -> None:
    assert by_snakemake.planned() == {}
    assert "Data and pipelines are up to date" in by_dvc.must("dvc", "repro")


def test_every_link_from_the_results_to_the_photographs_holds(by_snakemake: Project) -> None:
    printed = by_snakemake.must("reiqa", "doctor", "--results")
    assert "data/raw/demo_corpus.json" in printed
    assert "BAD" not in printed


def test_a_regression_parameter_touches_fit_cross_and_report_alone(
    by_snakemake: Project, copied: Copied
) -> None:
    project = copied(by_snakemake)
    project.set_parameter("regression", "alphas", [0.1, 10.0, 2])
    assert project.planned() == AFTER_ALPHA


def test_two_jobs_at_once_lease_two_gpus(by_snakemake: Project, copied: Copied) -> None:
    project = copied(by_snakemake)
    # Under auto what the CPU has made would be fresh.
    project.set_parameter("compute", "device", "cuda")
    leases = {"REIQA_FAKE_GPUS": "0,1", "REIQA_LEASES": str(project.folder / "work")}
    command = ("snakemake", "--cores", "2", "--resources", "gpu=2", "--")
    project.must(*command, *(f"models/{name}.safetensors" for name in EXPERTS), **leases)
    logs = [(project.folder / f"work/logs/pretrain/{e}.log").read_text() for e in EXPERTS]
    leased = {line for log in logs for line in log.splitlines() if line.startswith("GPU")}
    assert leased == {"GPU 0 leased", "GPU 1 leased"}


def test_a_job_that_is_given_two_gpus_is_two_processes_with_one_each(
    by_snakemake: Project, copied: Copied
) -> None:
    project = copied(by_snakemake)
    # Under auto what the CPU has made would be fresh.
    project.set_parameter("compute", "device", "cuda")
    leases = {"REIQA_FAKE_GPUS": "0,1", "REIQA_LEASES": str(project.folder / "work")}
    command = ("snakemake", "--cores", "2", "--resources", "gpu=2", "--config", "gpus=2")
    command += ("--", "models/quality.safetensors")
    project.must(*command, **leases)
    log = (project.folder / "work/logs/pretrain/quality.log").read_text()
    leased = sorted(line for line in log.splitlines() if line.startswith("GPU"))
    assert leased == ["GPU 0 leased", "GPU 1 leased"]
    assert project.must("reiqa", "pretrain", "--expert", "quality").count("up to date") == 1


def test_a_change_of_the_bank_touches_everything_from_the_chunks_on(
    by_snakemake: Project, copied: Copied
) -> None:
    project = copied(by_snakemake)
    project.set_parameter("bank", "extras", ["motion_blur"])
    assert project.planned() == AFTER_BANK


def test_the_metrics_and_plots_say_something(by_dvc: Project) -> None:
    metrics = json.loads(by_dvc.must("dvc", "metrics", "show", "--json"))
    summary = next(iter(metrics.values()))["data"]["results/summary.json"]["data"]
    assert set(summary["datasets"]) == {"demo", "demo_mixed"}
    by_dvc.must("dvc", "plots", "show", "--out", "work/plots")
    page = (by_dvc.folder / "work" / "plots" / "index.html").read_text()
    for title in ("Predicted against rated", "Alpha path", "Pretraining loss"):
        assert title in page


def test_a_clone_with_its_outputs_pulled_has_nothing_to_do(pulled: Project) -> None:
    assert "Data and pipelines are up to date" in pulled.must("dvc", "status")
    assert pulled.planned() == {}
    assert _stages_run(pulled.must("dvc", "repro")) == set()


def test_a_pulled_clone_sees_a_changed_regression_parameter(pulled: Project) -> None:
    before = (pulled.folder / "results/datasets/demo.json").read_text()
    models = {path: path.read_bytes() for path in (pulled.folder / "models").iterdir()}
    pulled.set_parameter("regression", "alphas", [0.1, 10.0, 2])
    assert pulled.planned() == AFTER_ALPHA
    # DVC watches sections: two stages that read the section's ranking find nothing to do.
    run = _stages_run(pulled.must("dvc", "repro"))
    assert run == {"data", "features", "fit", "report"}
    assert (pulled.folder / "results/datasets/demo.json").read_text() != before
    assert {path: path.read_bytes() for path in (pulled.folder / "models").iterdir()} == models
    assert pulled.planned() == {}


def test_a_pulled_clone_sees_a_changed_bank(pulled: Project) -> None:
    pulled.set_parameter("bank", "extras", ["motion_blur"])
    assert pulled.planned() == AFTER_BANK
