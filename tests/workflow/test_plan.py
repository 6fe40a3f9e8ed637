"""What the engines would do, without doing it: every preset plans, every stage has its target."""

from pathlib import Path

import pytest
import yaml
from support.project import ROOT, Project

from reiqa import catalog, layout, params
from reiqa.stages import STAGES, artifacts, stage_parameters


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.new(tmp_path / "project")


def test_the_committed_parameters_are_the_demo_preset() -> None:
    committed = (ROOT / "params.yaml").read_text()
    assert committed == (ROOT / "reiqa" / "presets" / "demo.yaml").read_text()


@pytest.mark.parametrize("name", ["demo", "biq2021", "paper"])
def test_every_preset_is_sound(name: str) -> None:
    file = ROOT / "reiqa" / "presets" / f"{name}.yaml"
    tree = params.load_params(file, datasets=catalog.rated_names(), corpora=catalog.corpus_names())
    assert tree.preset == name


@pytest.mark.parametrize("name", ["demo", "biq2021", "paper"])
def test_every_preset_plans_from_nothing(name: str, project: Project) -> None:
    project.must("reiqa", "preset", name, "--force")
    jobs = project.planned()
    tree = params.load_params(project.folder / "params.yaml")
    assert jobs["fit_dataset"] == len(tree.datasets)
    assert jobs["extract_features"] == 2 * len(tree.feature_datasets())
    assert jobs["make_expert"] == 2
    assert jobs["probe_experts"] == 1
    assert jobs["cross_datasets"] == jobs["write_report"] == 1
    assert (
        jobs["index_dataset"]
        == jobs["fetch_dataset"]
        == len({*tree.feature_datasets(), *tree.corpora()})
    )


@pytest.mark.parametrize("profile", ["default", "slurm"])
def test_each_job_asks_for_memory_and_minutes(profile: str, project: Project) -> None:
    project.must("reiqa", "preset", "paper", "--force")
    plan = ("snakemake", "-n", "--workflow-profile", f"profiles/{profile}", "--quiet", "host")
    printed = project.must(*plan, "--", "results/all_srcc.csv")
    asked = [line for line in printed.splitlines() if line.strip().startswith("resources:")]
    assert len(asked) > 200
    assert all("mem_mb=" in line and "runtime=" in line for line in asked)
    assert sum("gpu=1" in line for line in asked) == 2 + 16


def _launched(project: Project, *config: str) -> str:
    plan = ("snakemake", "-n", "-p", "--workflow-profile", "profiles/slurm", "--config", *config)
    printed = project.must(*plan, "--", "models/quality.safetensors")
    return printed[printed.index("rule make_expert:") :].partition("\nrule ")[0]


def test_several_gpus_are_as_many_processes_and_several_nodes_one_launcher_each(
    project: Project,
) -> None:
    project.must("reiqa", "preset", "paper", "--force")
    one = _launched(project, "gpus=1")
    assert "gpu=1" in one and "torchrun" not in one and "nodes" not in one
    four = _launched(project, "gpus=4")
    assert "gpu=4" in four and "torchrun --standalone --nproc-per-node 4 -m reiqa pretrain" in four
    paper = _launched(project, "gpus=3", "nodes=6")
    for asked in ("gpu=18", "nodes=6", "tasks=6", "mpi=srun", "--gpus-per-node=3"):
        assert asked in paper
    assert "srun --nodes 6 --ntasks 6 --ntasks-per-node 1" in paper
    assert "torchrun --nnodes 6 --nproc-per-node 3 --rdzv-backend c10d" in paper


def test_several_nodes_without_a_gpu_are_refused_in_one_line(project: Project) -> None:
    refused = project.run("snakemake", "-n", "--config", "nodes=2")
    assert refused.returncode != 0
    assert "nodes: several are for GPUs; params.yaml has compute.device: cpu" in refused.stdout


def test_an_expert_from_a_package_needs_neither_chunks_nor_corpora(project: Project) -> None:
    for expert in ("content", "quality"):
        project.set_parameter(expert, "init", "random")
        project.set_parameter(expert, "source", "package")
        project.set_parameter(expert, "backbone", "efficientnet_lite0")
    jobs = project.planned()
    assert "cut_chunks" not in jobs
    assert jobs["index_dataset"] == 2


def test_several_artifacts_of_a_folder_can_be_named(project: Project) -> None:
    models = [f"models/{name}.safetensors" for name in params.EXPERTS]
    assert "Nothing to be done" not in (planned := project.must("snakemake", "-n", "--", *models))
    assert all(f"output: {model}" in planned for model in models)


def test_a_bad_parameter_stops_the_engine_with_the_line_that_reiqa_prints(project: Project) -> None:
    project.set_parameter("chunks", "n_agu", 3)
    refused = project.run("snakemake", "-n")
    assert refused.returncode != 0
    assert "params.yaml: chunks.n_agu: unknown key; allowed here: corpora, n_aug" in refused.stdout


def test_each_dvc_stage_is_a_snakemake_target(project: Project) -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    rules = set(project.must("snakemake", "--list-rules").split())
    targets = {stage["cmd"].rpartition("snakemake ")[2] for stage in stages.values()}
    assert targets <= rules and len(targets) == len(stages)
    assert list(stages) == list(dict.fromkeys(stage.target for stage in STAGES.values()))


def test_each_dvc_stage_depends_on_every_parameter_that_decides_what_it_makes() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for name in ("demo", "biq2021", "paper"):
        tree = params.load_params(ROOT / "reiqa" / "presets" / f"{name}.yaml")
        for stage, item in artifacts(tree):
            watched = set(stages[stage.target]["params"])
            assert set(stage_parameters(tree, stage.name, item)) <= watched | {"catalog"}, stage


def test_each_dvc_stage_depends_on_every_artifact_that_it_reads() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for name in ("demo", "biq2021", "paper"):
        tree = params.load_params(ROOT / "reiqa" / "presets" / f"{name}.yaml")
        for stage, item in artifacts(tree):
            declared = stages[stage.target]
            outs = [next(iter(out)) for out in declared["outs"]]
            known = [*declared.get("deps", []), *outs]
            for path in stage.reads(tree, item):
                assert any(path.is_relative_to(place) for place in known), (stage.name, path)


def test_no_output_of_a_stage_is_tracked_by_git(project: Project) -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    made = [stage.get("outs", []) + stage.get("metrics", []) for stage in stages.values()]
    outs = [next(iter(out)) for stage in made for out in stage]
    ignored = project.must("git", "check-ignore", *outs).split()
    assert ignored == outs
    assert str(layout.ALL_SRCC) in outs


def test_a_bundle_of_ones_own_is_ignored_and_dvc_may_track_it(project: Project) -> None:
    """DVC refuses to write a .dvc file that git ignores."""
    files = ["bundles/mine/bundle.json", "bundles/mine.dvc", "bundles/lite/bundle.json"]
    assert project.run("git", "check-ignore", *files).stdout.split() == files[:1]
