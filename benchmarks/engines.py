"""What Snakemake and DVC cost on a finished graph of the paper preset, where nothing is to be done.

    python benchmarks/engines.py --write

The graph is whole, its files are a few bytes each with their true provenance; --photographs spreads
further files over the sets' folders, which DVC looks at one by one. Each command runs in turn with
its engine's bare ``--version``, bytecode compiled; the medians of their differences are told, by
the clock and by the processor, for on a busy machine only the second is the command's own.
"""

import argparse
import resource
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import yaml

from reiqa import store

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "log" / "benchmarks" / "engines.md"
PRESET = ROOT / "reiqa" / "presets" / "paper.yaml"
BOUND = 2.0

sys.path.append(str(ROOT / "tests"))
from support.finished import finish  # noqa: E402
from support.project import Project  # noqa: E402

COMMANDS = {
    "snakemake -n": (("snakemake", "-n", "results/all_srcc.csv"), ("snakemake", "--version")),
    "dvc status": (("dvc", "status"), ("dvc", "--version")),
}


@dataclass(frozen=True)
class Seconds:
    """What a run took by the clock and by the processor."""

    wall: float
    processor: float

    def __sub__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.wall - other.wall, self.processor - other.processor)


def timed(project: Project, command: tuple[str, ...]) -> Seconds:
    used, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    project.must(*command)
    wall, now = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return Seconds(wall, now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime)


def median(runs: list[Seconds]) -> Seconds:
    return Seconds(
        statistics.median(run.wall for run in runs),
        statistics.median(run.processor for run in runs),
    )


def fill(project: Project, photographs: int) -> int:
    """Let both engines hold the project for finished; return the count of its jobs."""
    jobs = finish(project, photographs)
    project.must("snakemake", "--touch", "--cores", "1", "results/all_srcc.csv")
    project.must("dvc", "commit", "--force")
    if project.planned() or "up to date" not in project.must("dvc", "status"):
        raise SystemExit("the made-up graph is not what the engines call finished")
    return jobs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--photographs", type=int, nargs="+", default=[1000], metavar="N")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE}")
    given = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        project = Project.new(Path(folder) / "project", yaml.safe_load(PRESET.read_text()))
        for count in given.photographs:
            jobs = fill(project, count)
            for name, (command, bare) in COMMANDS.items():
                pairs = [(timed(project, command), timed(project, bare)) for _ in range(given.runs)]
                whole, version = (median(list(side)) for side in zip(*pairs, strict=True))
                more = median([ours - theirs for ours, theirs in pairs])
                rows.append(
                    f"| `{name}` | {count:,} "
                    f"| {whole.wall:.2f} | {version.wall:.2f} | **{more.wall:.2f}** "
                    f"| {whole.processor:.2f} | {version.processor:.2f} "
                    f"| **{more.processor:.2f}** |\n"
                )
    counts = " ".join(str(count) for count in given.photographs)
    text = (
        "# Overhead of the engines on a finished graph\n\n"
        f"`python benchmarks/engines.py --runs {given.runs} --photographs {counts} --write`: the"
        f" paper preset, {jobs} jobs, all finished. Medians of {given.runs} runs in seconds; other"
        " work ran on the machine.\n\n"
        "| command | files in data/raw "
        "| wall | `--version` | more | processor | `--version` | more |\n"
        + "|---" * 8
        + "|\n"
        + "".join(rows)
        + f"\nAllowed: {BOUND:g} s more. Snakemake reads the provenance of each artifact and the"
        " sizes of its files, never their bytes (a test counts them). DVC looks at each photograph,"
        " in the first stage alone: `dvc status features fit report` leaves them out.\n"
    )
    print(text)
    if given.write:
        store.write_text(PAGE, text)


if __name__ == "__main__":
    main()
