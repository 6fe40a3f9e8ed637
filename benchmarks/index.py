"""What indexing FLIVE costs: the largest set, 39,810 pictures beside 119,430 patches.

Run:    python benchmarks/index.py [--write]
Needs:  160,000 free inodes below --folder; the disk space is a few megabytes.

Every path is the true one, from the canonical table. The files behind them are four photographs
that scikit-image ships, over and over, by hard links: so the headers that --verify reads are real,
and the disk's cache always holds them. Who has which part of the official split is made up, the
counts are the published ones. `reiqa index` runs as a user runs it, as a process of its own that
is kept to one core.
"""

import argparse
import csv
import io
import os
import tempfile
from contextlib import chdir
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from PIL import Image
from pretended import listed, receive
from skimage import data
from usage import Used, processor, reiqa

from reiqa import layout, store

OUT = Path(__file__).parents[1] / "docs" / "log" / "benchmarks" / "index.md"
MOST_SECONDS, MOST_MIB = 20, 1024
PHOTOGRAPHS = ("coffee", "astronaut", "chelsea", "rocket")


@dataclass(frozen=True)
class Row:
    """One way to run it, and what it took."""

    options: str
    used: Used

    @property
    def within(self) -> bool:
        return self.used.wall_s < MOST_SECONDS and self.used.peak_mib < MOST_MIB

    def __str__(self) -> str:
        return (
            f"| `reiqa index --dataset flive{self.options}` | {self.used.wall_s:.1f} "
            f"| {self.used.cpu_s:.1f} | {self.used.peak_mib:.0f} "
            f"| {'yes' if self.within else '**no**'} |"
        )


def lay_out(rows: list[dict[str, str]]) -> None:
    """Make the current folder a project into which FLIVE seems to have been fetched."""
    raw = layout.raw("flive")
    raw.mkdir(parents=True)
    seeds = []
    for name in PHOTOGRAPHS:
        seeds.append(Path(f"{name}.jpg"))
        Image.fromarray(getattr(data, name)()).save(seeds[-1], quality=90)
    for row, seed in zip(rows, cycle(seeds), strict=False):
        place = raw / "FLIVE_Database" / row["dis_img_path"].partition("/")[2]
        place.parent.mkdir(parents=True, exist_ok=True)
        os.link(seed, place)
    for title, text in labels(rows).items():
        (raw / title).write_text(text)
    reiqa("preset", "demo")
    receive("flive")


def labels(rows: list[dict[str, str]]) -> dict[str, str]:
    """The files of the official split, with the published counts."""
    pictures = [row["dis_img_path"] for row in rows if row["dis_type"].startswith("image")]
    names = ["/".join(path.split("/")[-2:]) for path in pictures if "EE371R" not in path]
    test, rest = names[:1827], names[1827:]
    valid = [[name, str(number < 7727)] for number, name in enumerate(rest)]
    return {
        "labels640.csv": table(["name_image"], [[name] for name in test]),
        "labels=640_padded.csv": table(["name_image", "is_valid"], valid),
    }


def table(columns: list[str], rows: list[list[str]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows([columns, *rows])
    return text.getvalue()


def measure(options: str) -> Row:
    """Run it once, on the one core that this process is kept to."""
    return Row(options, reiqa("index", "--dataset", "flive", *options.split(), "--force"))


def report(rows: list[Row], pictures: int, patches: int, rounds: int) -> str:
    return "\n".join(
        [
            "# The index of the largest set",
            "",
            f"Written by `python benchmarks/index.py --rounds {rounds} --write`. "
            f"FLIVE: {pictures:,} pictures beside {patches:,} patches under their true names, one "
            f"core of {processor()}, the whole command with its imports, the least of {rounds} "
            "rounds by wall time; other work ran on the machine.",
            "",
            "| command | wall, s | processor, s | peak, MiB | within the bound |",
            "|---|---:|---:|---:|---|",
            *map(str, rows),
            "",
            f"The bound is {MOST_SECONDS} s and {MOST_MIB:,} MiB on one core. `--verify` reads the "
            "header of every picture, and imports torch with what reads images.",
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where to lay it out; a temporary one if not")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument(
        "--write", action="store_true", help=f"to {OUT.name} in docs/log/benchmarks"
    )
    chosen = parser.parse_args()
    os.sched_setaffinity(0, {chosen.core})
    rows = listed("FLIVE")
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder, chdir(folder):
        lay_out(rows)
        measured = [
            min((measure(options) for _ in range(chosen.rounds)), key=lambda row: row.used.wall_s)
            for options in ("", " --verify")
        ]
    patches = sum(row["dis_type"].startswith("patch") for row in rows)
    text = report(measured, len(rows) - patches, patches, chosen.rounds)
    print(text)
    if chosen.write:
        store.write_text(OUT, text)
    if not all(row.within for row in measured):
        raise SystemExit("over the bound")


if __name__ == "__main__":
    main()
