"""What a bundle must reach: time to the first score, time of each further one, a folder's rate,
and scores that fall as an image gets worse.

    python benchmarks/score.py --pristine ../shared/data/pristine --write

Times are taken in processes of their own, on the processors given by ``taskset``; let nothing else
run on them. ``--order`` alone measures the order of scores, which no other work disturbs.
"""

import argparse
import io
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter
from ratios import Ratio, add_option, put

from reiqa.images import read_rgb
from reiqa.layout import IMAGE_SUFFIXES
from reiqa.scoring import Scorer
from reiqa.scoring.find_images import find_images
from reiqa.scoring.pipeline import score_images

PAGE = Path(__file__).parents[1] / "docs" / "log" / "benchmarks" / "score.md"

HEAD = """# Scoring: how fast, and in what order

`python benchmarks/score.py --write`. First score: a process from its start to its end, photograph
of 1024x768, median of the runs. Further: a call of the scorer with a path in that process. Ratio:
`reiqa score FOLDER`'s rate over that of such calls one after the other, same processors, in turn.

| bundle | processors | first score, s | each further, s | folder, images/s | ratio |
|---|---|---|---|---|---|
"""

ORDER_HEAD = """
## Scores of ever worse copies

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


def first_seconds(photo: Path, bundle: str) -> float:
    command = [sys.executable, "-m", "reiqa", "score", str(photo), "--bundle", bundle]
    start = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - start


def rates(scorer: Scorer, folder: Path, paths: Sequence[Path]) -> tuple[float, float]:
    """Return images a second: one call after the other, and the folder at once."""
    threads = len(os.sched_getaffinity(0))
    start = time.perf_counter()
    for path in paths:
        scorer(path)
    between = time.perf_counter()
    rows = list(score_images(scorer, find_images([str(folder)], ()), threads))
    end = time.perf_counter()
    return len(paths) / (between - start), len(rows) / (end - between)


def speed(scorer: Scorer, paths: Sequence[Path], count: int, runs: int) -> tuple[str, list[Ratio]]:
    """Measure the times; return the line of the table, and the ratio."""
    threads = len(os.sched_getaffinity(0))
    bundle = str(scorer.bundle.folder.absolute())
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        made = enlarged(paths, folder, count)
        firsts = [first_seconds(made[0], bundle) for _ in range(runs)]
        scorer(made[0])
        pairs = [rates(scorer, folder, made) for _ in range(runs)]
    alone = statistics.median(1 / one for one, _ in pairs)
    rate = statistics.median(whole for _, whole in pairs)
    ratio = statistics.median(whole / one for one, whole in pairs)
    calls = f"such calls one after the other, {threads} processors"
    asked = Ratio("`reiqa score FOLDER`", ratio, calls, "at least 1.5", ratio >= 1.5)
    line = (
        f"| {scorer.bundle.identity} | {threads} | **{statistics.median(firsts):.1f}**"
        f" | **{alone:.2f}** | {rate:.1f} | **{ratio:.2f}** |\n"
    )
    return line, [asked]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="lite")
    parser.add_argument("--pristine", type=Path, required=True, help="undistorted photographs")
    parser.add_argument("--images", type=int, help="of them, for the order; all if not given")
    parser.add_argument("--count", type=int, default=24, help="photographs in the folder")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--order", action="store_true", help="the order of scores alone")
    parser.add_argument("--speed", action="store_true", help="the times alone")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE}")
    add_option(parser)
    given = parser.parse_args()
    scorer = Scorer.load(given.bundle)
    paths = photographs(given.pristine, given.images)
    line, ratios = ("", []) if given.order else speed(scorer, paths, given.count, given.runs)
    print(line, end="")
    order = [] if given.speed else order_lines(scorer, paths)
    put(given, ratios)
    if given.write:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        PAGE.write_text(HEAD + line + ORDER_HEAD + "".join(order), encoding="utf-8")


if __name__ == "__main__":
    main()
