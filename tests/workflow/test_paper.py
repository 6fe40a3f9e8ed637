"""The paper's own commands, from nothing to the tables: paper preset, miniature archives.

    pytest -m slow tests/workflow/test_paper.py

Minutes on many cores, half an hour on two. ``REIQA_ACCEPTANCE=FILE`` keeps a log.
"""

import csv
import os
import resource
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.paper import CHANGED, offer, parameters
from support.project import Project

from reiqa import store

pytestmark = [pytest.mark.slow, pytest.mark.engine]

TABLE = "results/all_srcc.csv"
DATASETS = ["koniq10k", "clive", "flive", "spaq", "live", "csiq", "tid2013", "kadid10k"]
VARIANTS = ["content", "quality", "both"]
HEAD = f"""# The paper preset, end to end on miniature archives

The preset `paper` on miniature archives of the true layouts: 20 to 24 images of each of the eight
datasets, one photograph of each archive of the five corpora, four of ImageNet; ResNet-50 experts,
11 distortions per chunk, crops of 160 px, one step of each training, four fake GPUs. It shows that
the commands run to the end, from archives to tables; the numbers that come out mean nothing.
Recorded by `REIQA_ACCEPTANCE=docs/log/acceptance.md pytest -m slow tests/workflow/test_paper.py` at
revision {store.revision()}, on {os.cpu_count()} cores shared with other work. Processor time is
that of a command and all its jobs.

```
"""


class Log:
    """Runs commands and keeps what was run, how long it took and how it ended."""

    def __init__(self, project: Project, environment: dict[str, str]) -> None:
        self.project, self.environment = project, environment
        self.lines: list[str] = []

    def run(self, *command: str) -> str:
        start, busy = time.monotonic(), _processor_time()
        done = self.project.run(*command, **self.environment)
        printed = done.stdout + done.stderr
        took, used = time.monotonic() - start, _processor_time() - busy
        self.lines.append(f"$ {' '.join(command)}\n")
        self.lines += [f"  {line}\n" for line in printed.splitlines() if _telling(line)]
        self.lines.append(
            f"  exit {done.returncode} after {took:.0f} s, {used:.0f} s of processor time\n"
        )
        assert done.returncode == 0, printed[-6000:]
        return printed

    def say(self, text: str) -> None:
        self.lines.append(f"{text}\n")


def _processor_time() -> float:
    """Return the seconds that finished child processes have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _telling(line: str) -> bool:
    starts = ("Running stage", "Data and pipelines", "features/", "Nothing to be done")
    return line.startswith(starts) or "steps (100%) done" in line


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Log]:
    """The log of one run; what follows looks at its project."""
    folder = tmp_path_factory.mktemp("paper")
    offer(folder / "mirror")
    project = Project.new(folder / "project", parameters())
    made = Log(
        project,
        {
            "REIQA_MIRROR": str(folder / "mirror"),
            "REIQA_FAKE_GPUS": "0,1,2,3",
            "REIQA_LEASES": str(folder),
        },
    )
    for name, value in CHANGED.items():
        made.say(f"# changed in the preset: {name}: {value}")
    yield made
    if keep := os.environ.get("REIQA_ACCEPTANCE"):
        Path(keep).write_text(HEAD + "".join(made.lines) + "```\n", encoding="utf-8")


def _rows(project: Project, name: str) -> list[dict[str, str]]:
    with (project.folder / name).open() as stream:
        return list(csv.DictReader(line for line in stream if not line.startswith("#")))


def test_snakemake_makes_eight_datasets_by_three_variants_and_all_cross_pairs(log: Log) -> None:
    log.run("snakemake", TABLE, "--cores", "16", "--resources", "gpu=4")
    found = [(row["dataset"], row["variant"]) for row in _rows(log.project, TABLE)]
    assert found == [(name, variant) for name in DATASETS for variant in VARIANTS]
    pairs = _rows(log.project, "results/cross.csv")
    ways = {(row["train"], row["test"]) for row in pairs}
    assert ways == {(one, other) for one in DATASETS for other in DATASETS if one != other}
    marked = {(row["train"], row["test"]) for row in pairs if row["paper_srcc"]}
    assert len(marked) == 4
    log.say(f"# {TABLE}: {len(found)} rows, eight datasets by {', '.join(VARIANTS)}")
    log.say(f"# results/cross.csv: {len(pairs)} rows, {len(ways)} pairs;")
    log.say("#   of the slides: " + ", ".join(f"{one} -> {other}" for one, other in sorted(marked)))


def test_each_job_had_one_of_the_four_gpus(log: Log) -> None:
    leased = {
        line.split()[1]
        for path in (log.project.folder / "work/logs").rglob("*.log")
        for line in path.read_text().splitlines()
        if line.startswith("GPU ") and line.endswith("leased")
    }
    assert leased <= {"0", "1", "2", "3"}
    assert len(leased) > 1
    log.say(f"# GPUs leased: {', '.join(sorted(leased))}")


def test_one_step_was_trained_of_each_expert(log: Log) -> None:
    for expert in ("content", "quality"):
        card = store.read_json(log.project.folder / f"models/{expert}.json")
        assert (card["steps"], card["backbone"]) == (1, "resnet50")
        log.say(f"# models/{expert}.json: resnet50, {card['steps']} step")


def test_features_of_one_dataset_are_a_verb_by_itself(log: Log) -> None:
    shutil.rmtree(log.project.folder / "features/spaq")
    log.run("reiqa", "features", "--dataset", "spaq")
    assert log.project.planned() == {}


def test_dvc_runs_the_same_from_indices_to_the_report(log: Log) -> None:
    before = (log.project.folder / TABLE).read_bytes()
    # The features of the other datasets are kept: they are stale if a model differs by one byte.
    for name in ("data/index", "models", "features/live", "features/spaq", "results"):
        shutil.rmtree(log.project.folder / name)
    printed = log.run("dvc", "repro")
    for stage in ("data", "chunks", "pretrain", "features", "fit", "report"):
        assert f"Running stage '{stage}'" in printed
    assert (log.project.folder / TABLE).read_bytes() == before
    log.say("# the same bytes as before the second run")
    assert "up to date" in log.run("dvc", "status")


def test_every_link_from_the_table_to_the_archives_holds(log: Log) -> None:
    assert "BAD" not in log.run("reiqa", "doctor", "--results")
