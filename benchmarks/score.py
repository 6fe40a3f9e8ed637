"""Scoring: time and memory of the scorer, and scores that fall as an image gets worse.

    python benchmarks/score.py --pristine ../shared/data/pristine --before CHECKOUT --write

Speed and memory are measured in processes of their own, in turn for this checkout and for
``--before``, a checkout of an earlier commit, with the same environment. Let nothing else run on
the processors. ``--order`` alone measures the order of scores, which no other work disturbs.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter
from ratios import Ratio, add_option, put

from reiqa.images import read_rgb
from reiqa.layout import IMAGE_SUFFIXES
from reiqa.scoring import Scorer

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "log" / "benchmarks" / "score.md"

HEAD = """# Scoring: speed, memory and ranking

`python benchmarks/score.py --before CHECKOUT --write`: both versions in one run, in turn, medians.
First score: processor time from the start of a Python process to the score of a photograph of
1024x768. Each further: processor time of a call with a path in that process. Folder: `reiqa score
FOLDER` on one and on two threads, by the clock. Memory: the peak of a process that scores such
photographs on two threads, or one large image.

| version | bundle | first score, s | each further, s | folder, images/s on 1, 2 threads | ratio\
 | peak MB, two threads | peak MB, s: 12 megapixels | 50 megapixels |
|---|---|---|---|---|---|---|---|---|
"""

# Uses the public interface alone, so that it runs in any version.
_CALLS = """
import json, sys, time
from reiqa import Scorer
scorer = Scorer.load(sys.argv[1])
scorer(sys.argv[2])
first = time.process_time()
for path in sys.argv[3:]:
    scorer(path)
print(json.dumps([first, (time.process_time() - first) / len(sys.argv[3:])]))
"""

_MEMORY = """
import json, resource, sys, time
from reiqa import Scorer
scorer = Scorer.load(sys.argv[1])
start = time.process_time()
scorer(sys.argv[2:])
taken = time.process_time() - start
print(json.dumps([resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, taken]))
"""

#: Megapixels of the large images.
LARGE = (12, 50)

ORDER_HEAD = """
## Scores of increasingly degraded copies

Share of the pristine photographs whose scores fall at every step of a series, the original not
counted, and the mean score at each step.

| bundle | series | in order | photographs | mean score |
|---|---|---|---|---|
"""

Worsen = Callable[[Image.Image, float, int], Image.Image]


def jpeg(image: Image.Image, quality: float, _seed: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=int(quality))
    return Image.open(stream, formats=["JPEG"]).convert("RGB")


def blur(image: Image.Image, sigma: float, _seed: int) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(sigma))


def noise(image: Image.Image, sigma: float, seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    pixels = np.asarray(image) + sigma * rng.standard_normal((image.height, image.width, 3))
    return Image.fromarray(np.rint(pixels).clip(0, 255).astype(np.uint8))


SERIES: dict[str, tuple[Worsen, tuple[float, ...]]] = {
    "JPEG, quality 90, 50, 20, 5": (jpeg, (90, 50, 20, 5)),
    "Gaussian blur, 1, 2, 4 px": (blur, (1, 2, 4)),
    "noise, 5, 15, 40 of 255": (noise, (5, 15, 40)),
}


def photographs(folder: Path, count: int | None) -> list[Path]:
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    return found[:: max(1, len(found) // count)][:count] if count else found


def order_lines(scorer: Scorer, paths: Sequence[Path]) -> list[str]:
    lines = []
    for name, (worsen, steps) in SERIES.items():
        scores = []
        for seed, path in enumerate(paths):
            image = Image.fromarray(read_rgb(path))
            scores.append([float(scorer(worsen(image, step, seed))) for step in steps])
        falling = np.mean([all(a > b for a, b in pairwise(s)) for s in scores])
        means = ", ".join(f"{mean:.1f}" for mean in np.mean(scores, axis=0))
        lines.append(
            f"| {scorer.bundle.identity} | {name} | **{falling:.1%}** | {len(paths)} | {means} |\n"
        )
        print(lines[-1], end="", flush=True)
    return lines


def enlarged(paths: Sequence[Path], folder: Path, count: int) -> list[Path]:
    """Make photographs of 1024x768 of those there are."""
    made = []
    for number in range(count):
        image = Image.fromarray(read_rgb(paths[number % len(paths)]))
        made.append(folder / f"{number:03d}.jpg")
        image.resize((1024, 768), Image.Resampling.BICUBIC).save(made[-1], quality=92)
    return made


@dataclass(frozen=True)
class Measured:
    """Medians of one version; times in seconds, memory in MB."""

    first: float
    further: float
    one_thread: float
    two_threads: float
    memory: float
    large: tuple[tuple[float, float], ...]


def run_child(checkout: Path, code: str, arguments: Sequence[object]) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        check=True,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(checkout)},
        cwd=checkout,
    )
    numbers: list[float] = json.loads(done.stdout)
    return numbers


def folder_rate(checkout: Path, bundle: Path, folder: Path, count: int, threads: int) -> float:
    """Return images per second of ``reiqa score FOLDER`` without the start of the process."""
    command = [sys.executable, "-m", "reiqa", "score", "--bundle", str(bundle), "--format", "csv"]
    environment = {**os.environ, "PYTHONPATH": str(checkout)}

    def seconds(path: Path) -> float:
        start = time.perf_counter()
        subprocess.run(
            [*command, "--threads", str(threads), str(path)],
            check=True,
            capture_output=True,
            env=environment,
            cwd=checkout,
        )
        return time.perf_counter() - start

    first = next(folder.iterdir())
    return (count - 1) / (seconds(folder) - seconds(first))


def measure(
    checkouts: Sequence[Path], name: str, paths: Sequence[Path], runs: int, count: int
) -> list[Measured]:
    """Measure each checkout with its own bundle of this name, in turn."""
    bundles = [checkout / "bundles" / name for checkout in checkouts]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "photographs")
        folder.mkdir()
        made = enlarged(paths, folder, count)
        large = []
        for megapixels in LARGE:
            width = round((megapixels * 1e6 * 4 / 3) ** 0.5)
            large.append(Path(temporary, f"{megapixels}.jpg"))
            Image.fromarray(read_rgb(made[0])).resize((width, width * 3 // 4)).save(large[-1])
        turns = [
            [
                (
                    run_child(checkout, _CALLS, [bundle, *made[:9]]),
                    folder_rate(checkout, bundle, folder, count, 1),
                    folder_rate(checkout, bundle, folder, count, 2),
                )
                for checkout, bundle in zip(checkouts, bundles, strict=True)
            ]
            for _ in range(runs)
        ]
        return [
            Measured(
                statistics.median(turn[place][0][0] for turn in turns),
                statistics.median(turn[place][0][1] for turn in turns),
                statistics.median(turn[place][1] for turn in turns),
                statistics.median(turn[place][2] for turn in turns),
                run_child(checkout, _MEMORY, [bundles[place], *made])[0],
                tuple(
                    (found[0], found[1])
                    for found in (
                        run_child(checkout, _MEMORY, [bundles[place], image]) for image in large
                    )
                ),
            )
            for place, checkout in enumerate(checkouts)
        ]


def speed_line(version: str, bundle: str, found: Measured) -> str:
    large = " | ".join(f"{memory:,.0f}, {taken:.1f}" for memory, taken in found.large)
    return (
        f"| {version} | {bundle} | **{found.first:.2f}** | **{found.further:.3f}**"
        f" | {found.one_thread:.2f}, {found.two_threads:.2f}"
        f" | **{found.two_threads / found.one_thread:.2f}** | {found.memory:,.0f} | {large} |\n"
    )


def compared(now: Measured, before: Measured | None) -> list[Ratio]:
    ratio = now.two_threads / now.one_thread
    found = [
        Ratio(
            "`reiqa score FOLDER` on two threads", ratio, "one thread", "at least 1.8", ratio >= 1.8
        )
    ]
    if before:
        for what, times, asked in (
            ("a further image of 1024x768", before.further / now.further, 1.4),
            ("the first score of a process", before.first / now.first, 3),
        ):
            found.append(
                Ratio(what, times, "the torch path", f"at least {asked:g}", times >= asked)
            )
    return found


def version_of(checkout: Path) -> str:
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="lite")
    parser.add_argument("--pristine", type=Path, required=True, help="undistorted photographs")
    parser.add_argument("--images", type=int, help="of them, for the order; all if not given")
    parser.add_argument("--count", type=int, default=24, help="photographs in the folder")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--before", type=Path, help="checkout of an earlier commit to compare with")
    parser.add_argument("--order", action="store_true", help="the order of scores alone")
    parser.add_argument("--speed", action="store_true", help="times and memory alone")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE}")
    add_option(parser)
    given = parser.parse_args()
    paths = photographs(given.pristine, given.images)
    lines, ratios = "", []
    if not given.order:
        checkouts = [ROOT, *([given.before.absolute()] if given.before else [])]
        found = measure(checkouts, given.bundle, paths, given.runs, given.count)
        for checkout, measured in zip(checkouts, found, strict=True):
            lines += speed_line(version_of(checkout), given.bundle, measured)
        print(lines, end="")
        ratios = compared(found[0], found[1] if given.before else None)
        print(*ratios, sep="\n")
    order = [] if given.speed else order_lines(Scorer.load(given.bundle), paths)
    put(given, ratios)
    if given.write:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(HEAD + lines + ORDER_HEAD + "".join(order), encoding="utf-8")


if __name__ == "__main__":
    main()
