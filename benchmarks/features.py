"""Features against a plain loop: one image at a time, both experts, both scales, torch eager.

    python benchmarks/features.py --photographs DIR --write
    python benchmarks/features.py --backbones resnet50 resnet50 --write

The images are photographs of a folder, or noise with the shapes of a collection. Both sides load
their encoders, start from files and
end with the same numbers, with the same threads, each in a process of its own (what a process does
to its memory allocator must not serve the other); they take turns, and the median ratio of the
pairs is reported. The loop computes in float32 whatever ``--precision`` is; with ``--device cuda``
both run on the GPU.
"""

import argparse
import multiprocessing
import os
import shutil
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from ratios import Ratio, add_option, put

from reiqa import images, layout, tensors
from reiqa.encoders import build_encoder, load_encoder, save_encoder
from reiqa.features import cache, extraction
from reiqa.params import EXPERTS, Params

PAGE = Path(__file__).parents[1] / "docs" / "log" / "benchmarks" / "features.md"


def make_images(folder: Path, count: int, side: int) -> list[Path]:
    """Two thirds of one shape, the rest upright, as photographs come."""
    rng = np.random.default_rng(0)
    paths = []
    for number in range(count):
        height, width = (side, side * 4 // 3) if number % 3 else (side * 4 // 3, side)
        coarse = rng.integers(0, 256, size=(height // 8, width // 8, 3), dtype=np.uint8)
        paths.append(folder / f"{number:04d}.jpg")
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(paths[-1])
    return paths


def take_images(source: Path, folder: Path, count: int) -> list[Path]:
    """The first photographs of a folder, by name."""
    found = sorted(
        path for path in source.rglob("*") if path.suffix.lower() in layout.IMAGE_SUFFIXES
    )
    return [Path(shutil.copy(path, folder)) for path in found[:count]]


def plain_loop(paths: list[Path], device: torch.device) -> np.ndarray:
    encoders = [load_encoder(layout.model(expert)).to(device) for expert in EXPERTS]
    rows = []
    with torch.no_grad():
        for path in paths:
            image = tensors.to_tensor(images.read_rgb(path))[None].to(device)
            views = [image, tensors.half(image)]
            parts = [encoder(view) for encoder in encoders for view in views]
            rows.append(torch.cat(parts, dim=1)[0].cpu().numpy())
    return np.stack(rows)


def ours(folder: Path, params: Params) -> np.ndarray:
    out = Path("features.h5")
    for path in (Path("work"), out):
        if path.exists():
            path.rename(tempfile.mkdtemp(dir=".") + "/old")
    extraction.extract_folder(folder, EXPERTS, params, out, strict=True)
    return cache.read_features(out).values


@dataclass(frozen=True)
class Job:
    """What a process measures: our way or the loop, and on which device."""

    folder: str
    device: str
    params: Params | None

    def run(self) -> tuple[float, np.ndarray]:
        """Return seconds and features; runs in the process of its own."""
        os.chdir(self.folder)
        # On the CPU the processor's seconds count, which other work on the machine disturbs little.
        clock = time.process_time if self.device == "cpu" else time.perf_counter
        start = clock()
        if self.params is not None:
            values = ours(Path("images"), self.params)
        else:
            values = plain_loop(sorted(Path("images").iterdir()), torch.device(self.device))
        return clock() - start, values


def process(threads: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(1, context, initializer=torch.set_num_threads, initargs=(threads,))


def cache_seconds(count: int, width: int) -> float:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((count, width), dtype=np.float32)
    names = [f"1024x768/{number:010d}.jpg" for number in range(count)]
    whole = cache.FeatureTable(
        names,
        values,
        [f"{number:064x}" for number in range(count)],
        [""] * count,
        np.ones(count, dtype=np.float32),
        cache.FeatureRecipe({"quality": "w"}, {}),
        "",
    )
    cache.write_features(Path("large.h5"), whole)
    start = time.perf_counter()
    cache.read_features(Path("large.h5"))
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--backbones",
        nargs=2,
        metavar=("CONTENT", "QUALITY"),
        default=["efficientnet_lite0", "efficientnet_lite0"],
    )
    parser.add_argument("--photographs", type=Path, help="a folder, instead of noise")
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--side", type=int, default=384)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", choices=["float32", "bf16"], default="float32")
    parser.add_argument("--asked", type=float, help="ratio that must be reached")
    parser.add_argument("--write", action="store_true", help=f"add to {PAGE}")
    add_option(parser)
    given = parser.parse_args()
    compute = {"device": given.device, "threads": given.threads}
    params = Params.model_validate(
        {
            "preset": "benchmark",
            "datasets": ["demo"],
            "compute": compute,
            "features": {"precision": given.precision},
            "chunks": {"corpora": ["demo_corpus"]},
            **{
                expert: {"source": "import", "file": "-", "backbone": backbone}
                for expert, backbone in zip(EXPERTS, given.backbones, strict=True)
            },
        }
    )
    home = Path.cwd()
    with (
        tempfile.TemporaryDirectory() as folder,
        process(given.threads) as loops,
        process(given.threads) as runs,
    ):
        os.chdir(folder)
        Path("images").mkdir()
        if given.photographs:
            paths = take_images(home / given.photographs, Path("images"), given.images)
        else:
            paths = make_images(Path("images"), given.images, given.side)
        sizes = sorted({f"{width}x{height}" for height, width in map(images.read_size, paths)})
        for seed, (expert, backbone) in enumerate(zip(EXPERTS, given.backbones, strict=True)):
            save_encoder(build_encoder(backbone, expert, seed=seed), layout.model(expert), {})
        loop, own = Job(folder, given.device, None), Job(folder, given.device, params)
        (_, expected), (_, found) = loops.submit(loop.run).result(), runs.submit(own.run).result()
        difference = np.abs(found - expected).max() / np.abs(expected).max()
        ratios, rates = [], []
        for _ in range(given.pairs):
            theirs, _ = loops.submit(loop.run).result()
            seconds, _ = runs.submit(own.run).result()
            ratios.append(theirs / seconds)
            rates.append(given.images / seconds)
        opened = cache_seconds(10_073, 4_096)
        os.chdir(home)
    line = (
        f"| {', '.join(given.backbones)} | {given.device}, {given.precision} | {given.threads} "
        f"| {given.images} {'photographs' if given.photographs else 'of noise'}, "
        f"{', '.join(sizes)} | **{statistics.median(ratios):.2f}** "
        f"| {min(ratios):.2f}-{max(ratios):.2f} | {statistics.median(rates):.1f} "
        f"| {difference:.1e} | {opened:.2f} |\n"
    )
    print(line)
    asked = given.asked or (1.5 if given.device == "cpu" else 6.0)
    times = statistics.median(ratios)
    named = ", ".join(dict.fromkeys(given.backbones))
    what = f"features, {named} on {given.device}, {given.precision}"
    loop_of_one = "a plain loop in float32, an image at a time"
    put(given, [Ratio(what, times, loop_of_one, f"at least {asked:g}", times >= asked)])
    if given.write:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        head = (
            "# Features against a plain loop\n\n"
            "`python benchmarks/features.py` with the options of each row. Ratio: processor "
            "seconds (on a GPU: seconds) of the loop over ours, median of pairs run in turn, and "
            "the range; each side runs in a process of its own, and loading the encoders is part "
            "of both. Difference: the greatest, relative to the greatest feature. Last column: "
            "seconds to read a whole cache of 10,073 x 4,096.\n\n"
            "| backbones (content, quality) | device | threads | images | ratio "
            "| range | images/s | difference | cache read, s |\n" + "|---" * 9 + "|\n"
        )
        text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else head
        PAGE.write_text(text + line, encoding="utf-8")


if __name__ == "__main__":
    main()
