"""What an engine plans after a change, a cut, a way there and back: nothing stale passes for done.

A stub in place of the verbs writes digests and true provenance (`support.stub`), so the engines
are real and only the work is not.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from faults.ledger import Ledger
from support import nodes, stub
from support.project import Project

from reiqa import layout, params, store
from reiqa.stages import lookup

pytestmark = [pytest.mark.engine, pytest.mark.xdist_group("staleness")]

TABLE = "results/all_srcc.csv"


@dataclass
class Stubbed:
    """A project whose verbs are the stub."""

    project: Project
    environment: dict[str, str]

    @property
    def folder(self) -> Path:
        return self.project.folder

    def must(self, *command: str, **more: str) -> str:
        return self.project.must(*command, **{**self.environment, **more})

    def planned(self, target: str = TABLE) -> set[str]:
        """The artifacts that Snakemake would make, by the inputs that name them."""
        printed = self.must("snakemake", "-n", "--quiet", "progress", "--", target)
        lines = (line.strip() for line in printed.splitlines())
        made = [line for line in lines if line.startswith("output: ")]
        return {line.removeprefix("output: ").split(", ")[0] for line in made}

    @contextlib.contextmanager
    def here(self) -> Iterator[params.Params]:
        with contextlib.chdir(self.folder):
            yield params.load_params(layout.PARAMS)

    def stale(self) -> list[stub.Job]:
        """Jobs whose artifact is not what today's parameters and inputs make, inputs first."""
        with self.here() as tree:
            freshness = store.Freshness(lookup(tree))
            return [job for job in stub.jobs(tree) if not freshness.is_fresh(job.path)]

    def make(self, jobs: list[stub.Job]) -> None:
        with self.here() as tree:
            for job in jobs:
                stub.run(job, tree)

    def run_all(self) -> None:
        with self.here() as tree:
            self.make(list(stub.jobs(tree)))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Stubbed:
    folder = tmp_path_factory.mktemp("stubbed")
    made = Stubbed(Project.new(folder / "project"), stub.install(folder / "environment"))
    made.run_all()
    assert made.planned() == set(), "a finished project has nothing to do"
    return made


@pytest.fixture
def stubbed(finished: Stubbed, tmp_path: Path) -> Stubbed:
    shutil.copytree(finished.folder, tmp_path / "copy", symlinks=True)
    return Stubbed(Project(tmp_path / "copy"), finished.environment)


def other_bytes(path: Path, stage: str, item: str) -> Callable[[Stubbed], None]:
    """An artifact made again by force, with another result."""

    def change(stubbed: Stubbed) -> None:
        with stubbed.here() as tree:
            source = store.read_provenance(path)
            assert source is not None
            inputs = [Path(name) for name in source.inputs]
            beside = [Path(name) for name in source.companions]
            store.make_artifact(
                path, stage, item, lookup(tree), inputs, lambda: store.write_text(path, "other"),
                force=True, companions=beside,
            )  # fmt: skip

    return change


def parameter(section: str, key: str, value: object) -> Callable[[Stubbed], None]:
    return lambda stubbed: stubbed.project.set_parameter(section, key, value)


def epochs(count: int) -> Callable[[Stubbed], None]:
    def change(stubbed: Stubbed) -> None:
        with stubbed.here() as tree:
            training = tree.content.training
            assert training is not None
            told = training.model_dump(mode="json") | {"epochs": count}
        stubbed.project.set_parameter("content", "training", told)

    return change


CHANGES: dict[str, tuple[Callable[[Stubbed], None], str]] = {
    "what may be missing": (parameter("data", "allow_missing", True), "data/index/demo.csv"),
    "the bank": (parameter("bank", "extras", ["motion_blur"]), "models/quality.safetensors"),
    "epochs of an expert": (epochs(2), "models/content.safetensors"),
    "features": (parameter("features", "max_pixels", 70_000), "features/demo/content.h5"),
    "a penalty": (parameter("regression", "alphas", [0.1, 10.0, 2]), "results/datasets/demo.json"),
    "the report": (parameter("report", "thumbnails", 0), TABLE),
    "bytes of a fetched set": (
        other_bytes(layout.receipt("demo"), "fetch", "demo"), "data/index/demo.csv",
    ),
    "bytes of an index": (
        other_bytes(layout.index("demo"), "index", "demo"), "features/demo/quality.h5",
    ),
    "bytes of a cache": (
        other_bytes(layout.features("demo", "content"), "features", "demo/content"),
        "results/datasets/demo.json",
    ),
}  # fmt: skip


def seed(number: int) -> Callable[[Stubbed], None]:
    def change(stubbed: Stubbed) -> None:
        with stubbed.here():
            tree = params.read_yaml(layout.PARAMS)
        stubbed.project.write_parameters(tree | {"seed": number})

    return change


SHARD = Path("data/chunks/demo_corpus/shard-00001.h5")

#: What differs from the above in its place in the graph alone.
FURTHER: dict[str, tuple[Callable[[Stubbed], None], str]] = {
    "the seed": (seed(1), SHARD.as_posix()),
    "chunks": (parameter("chunks", "swap", False), SHARD.as_posix()),
    "precision": (parameter("compute", "precision", "bf16"), "models/content.safetensors"),
    "precision of features": (
        parameter("features", "precision", "bf16"), "features/demo/content.h5",
    ),
    "bytes of a corpus's index": (
        other_bytes(layout.index("demo_corpus"), "index", "demo_corpus"), SHARD.as_posix(),
    ),
    "bytes of a shard": (
        other_bytes(SHARD, "chunks", "demo_corpus"), "models/quality.safetensors",
    ),
    "bytes of a model": (
        other_bytes(layout.model("quality"), "model", "quality"), "features/demo/quality.h5",
    ),
    "bytes of the probe": (other_bytes(layout.PROBE, "probe", ""), TABLE),
    "bytes of a fit": (other_bytes(layout.result("demo"), "fit", "demo"), "results/cross.csv"),
    "bytes of the cross test": (other_bytes(layout.CROSS, "cross", ""), TABLE),
}  # fmt: skip


#: The fault of the tests in which an engine finds part of its work done.
CUT = "an engine's run, cut after a job"


# One of each kind: of what is indexed, of an expert, of bytes. The slow test below has them all.
@pytest.mark.parametrize("what", ["what may be missing", "epochs of an expert", "bytes of a cache"])
def test_whatever_was_made_before_a_cut_the_rest_is_planned(
    stubbed: Stubbed, fault: Ledger, what: str
) -> None:
    change, _ = CHANGES[what]
    change(stubbed)
    stale = stubbed.stale()
    assert stale
    # Right away, after the first job, and before the last: what is in between is made of these.
    done = 0
    for cut in sorted({0, 1, len(stale) - 1}):
        stubbed.make(stale[done:cut])
        done = cut
        with fault(CUT, "snakemake"):
            assert stubbed.planned() == {job.path.as_posix() for job in stale[cut:]}, cut
    stubbed.make(stale[done:])
    assert stubbed.planned() == set()


@pytest.mark.slow
@pytest.mark.parametrize("what", CHANGES | FURTHER)
def test_whatever_job_a_cut_comes_after_the_rest_is_planned(
    stubbed: Stubbed, fault: Ledger, what: str
) -> None:
    change, _ = (CHANGES | FURTHER)[what]
    change(stubbed)
    stale = stubbed.stale()
    assert stale
    for cut, job in enumerate(stale):
        with fault(CUT, "snakemake"):
            assert stubbed.planned() == {left.path.as_posix() for left in stale[cut:]}, cut
        stubbed.make([job])
    assert stubbed.planned() == set()


@pytest.mark.slow
@pytest.mark.parametrize("what", CHANGES | FURTHER)
def test_dvc_ends_a_run_that_was_cut_half_way(stubbed: Stubbed, fault: Ledger, what: str) -> None:
    stubbed.must("dvc", "repro")
    change, _ = (CHANGES | FURTHER)[what]
    change(stubbed)
    stale = stubbed.stale()
    stubbed.make(stale[: len(stale) // 2])
    with fault(CUT, "dvc"):
        stubbed.must("dvc", "repro")
        assert stubbed.stale() == []
        assert stubbed.planned() == set()


@pytest.mark.parametrize(
    "what",
    [
        pytest.param("epochs of an expert", marks=pytest.mark.slow),
        "bytes of an index",
        pytest.param("a penalty", marks=pytest.mark.slow),
    ],
)
def test_one_target_by_name_leaves_the_rest_planned(
    stubbed: Stubbed, fault: Ledger, what: str
) -> None:
    change, target = CHANGES[what]
    change(stubbed)
    before = {job.path.as_posix() for job in stubbed.stale()}
    with fault("a single target by name", "snakemake"):
        stubbed.must("snakemake", "--cores", "1", "--", target)
        left = {job.path.as_posix() for job in stubbed.stale()}
        assert target in before - left
        assert stubbed.planned() == left != set()
        stubbed.must("snakemake", "--cores", "2", "--", TABLE)
        assert stubbed.planned() == set()


def test_there_and_back_again_ends_where_it_began(stubbed: Stubbed) -> None:
    wanted = stub.contents(stubbed.folder)
    model = "models/content.safetensors"
    for count in (2, 1):
        epochs(count)(stubbed)
        stubbed.must("snakemake", "--cores", "1", "--", model)
    # The model is A again; what was made of B's, or is still A's, is told apart by content.
    assert stubbed.planned() == {job.path.as_posix() for job in stubbed.stale()}
    epochs(2)(stubbed)
    stubbed.must("snakemake", "--cores", "2", "--", TABLE)
    assert stub.contents(stubbed.folder) != wanted
    epochs(1)(stubbed)
    stubbed.must("snakemake", "--cores", "1", "--", model)
    assert "features/demo/content.h5" in stubbed.planned()
    stubbed.must("snakemake", "--cores", "2", "--", TABLE)
    assert stub.contents(stubbed.folder) == wanted


def test_a_dry_run_writes_nothing_and_leaves_nothing(stubbed: Stubbed, tmp_path: Path) -> None:
    def files() -> dict[str, int]:
        return {
            path.as_posix(): path.stat().st_mtime_ns
            for path in stubbed.folder.rglob("*")
            if ".snakemake" not in path.parts and ".git" not in path.parts
        }

    parameter("features", "max_pixels", 70_000)(stubbed)
    before, scratch = files(), tmp_path / "scratch"
    scratch.mkdir()
    stubbed.must("snakemake", "-n", "--", TABLE, TMPDIR=str(scratch))
    assert files() == before
    assert not list(scratch.rglob("*.stamp"))
    assert not list((stubbed.folder / ".snakemake").rglob("*.stamp"))


def test_a_job_on_another_node_needs_the_shared_folder_alone(
    stubbed: Stubbed, tmp_path: Path
) -> None:
    epochs(2)(stubbed)
    slurm = nodes.install(tmp_path / "slurm")
    scripts = os.pathsep.join([slurm["PATH"].split(os.pathsep)[0], stubbed.environment["PATH"]])
    options = ("--latency-wait", "2", "--retries", "0", "--slurm-status-command", "squeue")
    options += ("--slurm-init-seconds-before-status-checks", "1")
    stubbed.must(
        *("snakemake", "models/content.safetensors", "--workflow-profile", "profiles/slurm"),
        *options,
        **{**slurm, "PATH": scripts},
    )
    assert "models/content.safetensors" not in {job.path.as_posix() for job in stubbed.stale()}
    assert stubbed.planned() == {job.path.as_posix() for job in stubbed.stale()} != set()


# Each engine and each signal once; test_interruption kills Snakemake as well.
SIGNALS = [
    ("snakemake", signal.SIGINT),
    pytest.param("snakemake", signal.SIGKILL, marks=pytest.mark.slow),
    pytest.param("dvc", signal.SIGINT, marks=pytest.mark.slow),
    ("dvc", signal.SIGKILL),
]


@pytest.mark.parametrize(("engine", "number"), SIGNALS)
def test_an_engine_that_is_stopped_half_way_ends_in_the_same_bytes(
    finished: Stubbed, fault: Ledger, tmp_path: Path, engine: str, number: signal.Signals
) -> None:
    project = Stubbed(Project.new(tmp_path / "project"), finished.environment)
    command = {"snakemake": ("snakemake", "--cores", "2", "--", TABLE), "dvc": ("dvc", "repro")}
    environment = project.project.environment(**project.environment, **{stub.SLEEP: "0.5"})
    running = subprocess.Popen(
        command[engine],
        cwd=project.folder,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    reached = project.folder / "data/index/demo_corpus.csv"
    deadline = time.monotonic() + 60
    while not reached.exists() and running.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
    assert running.poll() is None, "the engine ended before it was stopped"
    os.killpg(running.pid, number)
    running.wait(60)
    assert project.stale(), "it was stopped too late to show anything"
    with fault(f"{number.name} to an engine half way", engine):
        project.must(*command[engine])
        assert project.stale() == []
        assert stub.contents(project.folder) == stub.contents(finished.folder)


@pytest.mark.slow
def test_dvc_takes_up_what_one_stage_by_name_has_left(finished: Stubbed, tmp_path: Path) -> None:
    project = Stubbed(Project.new(tmp_path / "project"), finished.environment)
    project.run_all()
    project.must("dvc", "repro")
    assert "up to date" in project.must("dvc", "repro")
    epochs(2)(project)
    project.must("dvc", "repro", "pretrain")
    assert project.stale()
    project.must("dvc", "repro")
    assert project.stale() == []
    epochs(1)(project)
    project.must("dvc", "repro", "pretrain")
    project.must("dvc", "repro")
    assert stub.contents(project.folder) == stub.contents(finished.folder)


def preset(name: str) -> dict:
    path = Path(params.__file__).parent / "presets" / f"{name}.yaml"
    tree: dict = params.read_yaml(path)
    return tree


def imported() -> dict:
    tree = preset("demo")
    for expert in ("content", "quality"):
        tree[expert] = {"source": "import", "backbone": "resnet18", "file": f"{expert}.pth"}
    return tree


def packaged(expert: str) -> dict:
    return preset("demo") | {expert: {"source": "package", "backbone": "efficientnet_lite0"}}


# Each source of either expert: the demo itself, which pretrains both, is run above. Imported
# experts are one further source that is always run; the others are slow.
PROJECTS: dict[str, Callable[[], dict]] = {
    "biq2021, content packaged": lambda: preset("biq2021"),
    "paper": lambda: preset("paper"),
    "both imported": imported,
    "quality packaged": lambda: packaged("quality"),
}


@pytest.mark.parametrize(
    "what",
    [
        pytest.param(what, marks=[] if what == "both imported" else pytest.mark.slow)
        for what in PROJECTS
    ],
)
def test_every_preset_and_source_runs_under_both_engines(
    finished: Stubbed, tmp_path: Path, what: str
) -> None:
    project = Stubbed(Project.new(tmp_path / "project", PROJECTS[what]()), finished.environment)
    for expert in ("content", "quality"):
        (project.folder / f"{expert}.pth").write_text("weights")
    # Most of hundreds of jobs are made beforehand.
    with project.here() as tree:
        jobs = list(stub.jobs(tree))
    by_engine = {"report", "probe"} | ({"model"} if what != "paper" else set())
    project.make([job for job in jobs if job.stage in {"fetch", "index", "chunks"}])
    if not by_engine & {"model"}:
        project.make([job for job in jobs if job.stage not in by_engine])
    project.must("dvc", "repro")
    assert project.stale() == []
    assert project.planned() == set()
    assert json.loads((project.folder / "models/quality.safetensors.prov.json").read_text())
