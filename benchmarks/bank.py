"""Chunks a second: the bank per window against whole photographs in the usual style.

    python benchmarks/bank.py                 print
    python benchmarks/bank.py --write         and put the result into docs/log/benchmarks/bank.md
    python benchmarks/bank.py --processes 2   and the rate of two processes side by side

A chunk is 11 distinct types at drawn levels of one photograph of 1024 x 768, and the photograph
undistorted, at full and at half scale. (a) distorts the photograph with Pillow, SciPy and
scikit-image (plain.py), halves it and crops; (b) renders the chunk's recipe from its window; (c)
renders several recipes at once; (d) is (c) on CUDA. Times are of the processor, not of the clock,
on one thread, so that a busy machine disturbs them less; (d) goes by the clock.
"""

import argparse
import platform
import sys
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from ratios import Ratio, add_option, put
from skimage import data
from torch import Tensor

from reiqa import params, store
from reiqa.chunks.recipe import ChunkRecipe, draw_recipe
from reiqa.chunks.render import render
from reiqa.distortions import TYPES, Frame, distort, resolve

sys.path.insert(0, str(Path(__file__).parent))
from plain import PLAIN, Photo

WIDTH, HEIGHT = 1024, 768
CORE = 608
#: Where the window of the table by type lies: on no grid line of any type.
TOP, LEFT = 81, 203
BATCH = 8
CHUNKS = params.ChunkParams(corpora=["benchmark"])
NAMES = resolve(params.BankParams())
UNMEASURED = (
    "Not measured, because no GPU was available: 600 images/s and under 8 GiB on one, which were"
    " required;"
    " that CUDA and CPU agree has tests (`pytest -m gpu`), which have never run."
)
REPORT = Path(__file__).parents[1] / "docs" / "log" / "benchmarks" / "bank.md"


def photographs() -> list[Photo]:
    """Return photographs that scikit-image ships, at the size of the benchmark."""
    found = (data.astronaut(), data.coffee(), data.chelsea(), data.rocket())
    size = (WIDTH, HEIGHT)
    return [
        np.asarray(Image.fromarray(each).resize(size, Image.Resampling.LANCZOS)) for each in found
    ]


def recipes(count: int) -> list[ChunkRecipe]:
    """Draw what to do in ``count`` chunks."""
    drawn = [
        draw_recipe(CHUNKS, NAMES, 0, "benchmark", f"photograph {number}", 0, HEIGHT, WIDTH)
        for number in range(count)
    ]
    return [recipe for recipe in drawn if recipe is not None]


def plain_chunk(photo: Photo, recipe: ChunkRecipe) -> None:
    """(a): the whole photograph, one type at a time, then halved, then cropped."""
    versions = [photo]
    for name, level, seed in zip(recipe.types, recipe.levels, recipe.seeds, strict=True):
        random = np.random.default_rng(seed)
        versions.append(PLAIN[name](photo, TYPES[name].levels[level - 1], random))
    side = recipe.plan.patch
    for version in versions:
        image = Image.fromarray(version)
        halved = image.resize((WIDTH // 2, HEIGHT // 2), Image.Resampling.BICUBIC)
        for scaled, pair in zip((image, halved), recipe.pairs, strict=True):
            for top, left in pair:
                np.asarray(scaled.crop((left, top, left + side, top + side))) / np.float32(255)


def window(photo: Photo, recipe: ChunkRecipe) -> Tensor:
    """Cut what a shard would store: ``(3, H, W)`` uint8."""
    frame = recipe.frame
    rows = slice(frame.top, frame.top + recipe.height)
    columns = slice(frame.left, frame.left + recipe.width)
    return torch.from_numpy(photo[rows, columns].transpose(2, 0, 1).copy())


def seconds(work: Callable[[], object], repeats: int = 3) -> float:
    """Return the least processor time of several runs."""
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
    return best


def by_type(photo: Photo) -> list[tuple[str, float, float]]:
    """Return name, seconds of (a) and of (b) for the distortion alone, means over the levels."""
    pixels = torch.from_numpy(photo.transpose(2, 0, 1).copy())[None]
    random = np.random.default_rng(0)
    rows = []
    for name in NAMES:
        margin = TYPES[name].margin
        top, left = max(0, TOP - margin), max(0, LEFT - margin)
        part = pixels[..., top : TOP + CORE + margin, left : LEFT + CORE + margin].contiguous()
        frame = Frame(HEIGHT, WIDTH, top, left)
        plain, ours = [], []
        for level, parameter in enumerate(TYPES[name].levels, 1):
            plain.append(seconds(partial(PLAIN[name], photo, parameter, random), 1))
            ours.append(seconds(partial(distort, part, [name], [level], [0], [frame])))
        rows.append((name, float(np.mean(plain)), float(np.mean(ours))))
    return rows


def single_rate(count: int) -> float:
    """Return chunks a second of processor time of one process on one thread."""
    torch.set_num_threads(1)
    photo = photographs()[0]
    drawn = recipes(count)
    windows = [window(photo, recipe) for recipe in drawn]
    render(windows[:1], drawn[:1])
    start = time.process_time()
    for own, recipe in zip(windows, drawn, strict=True):
        render([own], [recipe])
    return count / (time.process_time() - start)


def cuda_row(photo: Photo, plain: float, count: int = 96) -> str:
    """Return the line of (d): chunks a second of wall time on the first CUDA device."""
    drawn = recipes(count)
    windows = [window(photo, recipe).pin_memory() for recipe in drawn]
    render(windows, drawn, "cuda")
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(3):
        render(windows, drawn, "cuda")
    torch.cuda.synchronize()
    rate = 3 * count / (time.perf_counter() - start)
    memory = torch.cuda.max_memory_allocated() / 2**30
    label = f"(d) bank on {torch.cuda.get_device_name()}, {memory:.1f} GiB, by the clock"
    return f"| {label} | {1 / rate:.4f} | {rate:.1f} | {rate * plain:.1f} |"


def rates(photos: Sequence[Photo], chunks: int) -> tuple[list[str], list[Ratio]]:
    """Measure (a) to (d) over the same recipes; return the lines of the table and the ratios."""
    drawn = recipes(chunks)
    chosen = [photos[number % len(photos)] for number in range(chunks)]
    windows = [window(photo, recipe) for photo, recipe in zip(chosen, drawn, strict=True)]
    # Once unmeasured: the allocator learns what sizes to keep.
    render(windows, drawn)
    whole = zip(chosen, drawn, strict=True)
    plain = np.mean([seconds(partial(plain_chunk, *each), 1) for each in whole])
    pairs = zip(windows, drawn, strict=True)
    single = np.mean([seconds(partial(render, [own], [recipe])) for own, recipe in pairs])
    batched = seconds(partial(render, windows, drawn)) / chunks
    lines = ["| | seconds a chunk | chunks a second | times (a) |", "|---|---|---|---|"]
    for label, cost in (
        ("(a) whole photograph, Pillow, SciPy, scikit-image", plain),
        ("(b) bank, one window at a time", single),
        (f"(c) bank, {chunks} windows at once", batched),
    ):
        lines.append(f"| {label} | {cost:.3f} | {1 / cost:.2f} | {plain / cost:.1f} |")
    aim = f"Required were 10 times (a) on one core, the aim was 20: (b) is {plain / single:.1f}."
    whole_photograph = "whole photographs by Pillow, SciPy, scikit-image"
    ratios = [
        Ratio(
            "chunks a second, one window at a time",
            float(plain / single),
            whole_photograph,
            "at least 10",
            bool(plain / single >= 10),
        ),
        Ratio(f"chunks a second, {chunks} windows at once", plain / batched, whole_photograph),
    ]
    if torch.cuda.is_available():
        return [*lines, cuda_row(photos[0], float(plain)), "", aim], ratios
    nothing = "| (d) bank on CUDA | not measured: no GPU here | | |"
    return [*lines, nothing, "", f"{aim} {UNMEASURED}"], ratios


def side_by_side(processes: int) -> list[str]:
    """Compare the rate of each of several processes with that of one alone."""
    alone = single_rate(12)
    with ProcessPoolExecutor(processes) as pool:
        together = list(pool.map(single_rate, [12] * processes))
    share = sum(together) / processes / alone
    return [f"{processes} processes side by side: each at {share:.2f} of one alone."]


def report(chunks: int, processes: int) -> tuple[str, list[Ratio]]:
    """Measure everything and return it as Markdown, and the ratios."""
    photos = photographs()
    measured, ratios = rates(photos, chunks)
    lines = [
        "# The bank's speed",
        "",
        f"`python benchmarks/bank.py --write --chunks {chunks} --processes {processes}`,"
        f" {platform.machine()}, torch {torch.__version__}, one thread, processor time;"
        f" chunks of {CHUNKS.n_aug} types of a {WIDTH} x {HEIGHT} photograph, both scales.",
        "",
        *measured,
        "",
        *(side_by_side(processes) if processes > 1 else []),
        "",
        f"The distortion alone, the mean of five levels: (a) the photograph, (b) a window of {CORE}"
        " px and the type's margin.",
        "",
        "| type | (a), ms | (b), ms | ratio | share of (b) |",
        "|---|---|---|---|---|",
    ]
    rows = by_type(photos[0])
    total = sum(ours for _, _, ours in rows)
    for name, plain, ours in sorted(rows, key=lambda row: -row[2]):
        lines.append(
            f"| {name} | {1e3 * plain:.1f} | {1e3 * ours:.1f} | {plain / ours:.1f} |"
            f" {ours / total:.0%} |"
        )
    return "\n".join([*lines, ""]), ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--chunks", type=int, default=BATCH, help="chunks timed")
    parser.add_argument("--processes", type=int, default=1, help="also time this many at once")
    parser.add_argument("--write", action="store_true", help="write docs/log/benchmarks/bank.md")
    add_option(parser)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    text, ratios = report(arguments.chunks, arguments.processes)
    print(text)
    put(arguments, ratios)
    if arguments.write:
        store.write_text(REPORT, text)


if __name__ == "__main__":
    main()
