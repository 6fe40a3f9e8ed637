"""Features against a plain loop: one image at a time, both experts, both scales, torch eager.

    python benchmarks/features.py --backbone shufflenet_v2_x0_5 --write

The images are noise with the shapes of a photograph collection. Both sides start from files and
end with the same numbers, in the same process with the same threads; they take turns, and the
median ratio of the pairs is reported. ``--device cuda --precision bf16`` runs both on the GPU, the
loop in float32.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from reiqa import features, images, layout
from reiqa.encoders import build, load, save
from reiqa.features import cache
from reiqa.params import EXPERTS, Params

PAGE = Path(__file__).parents[1] / "docs" / "benchmarks" / "features.md"


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


def plain_loop(paths: list[Path], device: torch.device) -> np.ndarray:
    encoders = [load(layout.model(expert)).to(device) for expert in EXPERTS]
    rows = []
    with torch.no_grad():
        for path in paths:
            image = images.read_tensor(path)[None].to(device)
            views = [image, images.half(image)]
            parts = [encoder(view) for encoder in encoders for view in views]
            rows.append(torch.cat(parts, dim=1)[0].cpu().numpy())
    return np.stack(rows)


def ours(folder: Path, params: Params) -> np.ndarray:
    out = Path("features.h5")
    for path in (Path("work"), out):
        if path.exists():
            path.rename(tempfile.mkdtemp(dir=".") + "/old")
    features.extract_folder(folder, EXPERTS, params, out, strict=True)
    return features.read(out).values


def cache_seconds(count: int, width: int) -> float:
    rng = np.random.default_rng(0)
    values = rng.standard_normal((count, width), dtype=np.float32)
    names = [f"1024x768/{number:010d}.jpg" for number in range(count)]
    whole = cache.Features(
        names,
        values,
        [f"{number:064x}" for number in range(count)],
        [""] * count,
        np.ones(count, dtype=np.float32),
        cache.Recipe({"quality": "w"}, {}),
        "",
    )
    cache.write(Path("large.h5"), whole)
    start = time.perf_counter()
    cache.read(Path("large.h5"))
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="shufflenet_v2_x0_5")
    parser.add_argument("--images", type=int, default=24)
    parser.add_argument("--side", type=int, default=384)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--write", action="store_true", help=f"add to {PAGE}")
    given = parser.parse_args()
    compute = {"device": given.device, "threads": given.threads, "precision": given.precision}
    params = Params.model_validate(
        {
            "preset": "benchmark",
            "datasets": ["demo"],
            "compute": compute,
            "chunks": {"corpora": ["demo_corpus"]},
            "content": {"source": "import", "file": "-", "backbone": given.backbone},
            "quality": {"source": "import", "file": "-", "backbone": given.backbone},
        }
    )
    # On the CPU the processor's seconds count, which other work on the machine disturbs little.
    clock = time.process_time if given.device == "cpu" else time.perf_counter
    home = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("images").mkdir()
        paths = make_images(Path("images"), given.images, given.side)
        for seed, expert in enumerate(EXPERTS):
            save(build(given.backbone, expert, seed=seed), layout.model(expert), {})
        torch.set_num_threads(given.threads)
        device = torch.device(given.device)
        expected, found = plain_loop(paths, device), ours(Path("images"), params)
        difference = np.abs(found - expected).max() / np.abs(expected).max()
        ratios, rates = [], []
        for _ in range(given.pairs):
            start = clock()
            plain_loop(paths, device)
            between = clock()
            ours(Path("images"), params)
            end = clock()
            ratios.append((between - start) / (end - between))
            rates.append(given.images / (end - between))
        opened = cache_seconds(10_073, 4_096)
        os.chdir(home)
    line = (
        f"| {given.backbone} | {given.device}, {given.precision} | {given.threads} "
        f"| {given.images} x {given.side} px | **{statistics.median(ratios):.2f}** "
        f"| {min(ratios):.2f}-{max(ratios):.2f} | {statistics.median(rates):.1f} "
        f"| {difference:.1e} | {opened:.2f} |\n"
    )
    print(line)
    if given.write:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        head = (
            "# Features against a plain loop\n\n"
            "`python benchmarks/features.py` with the options of each row. Ratio: processor "
            "seconds (on a GPU: seconds) of the loop over ours, median of pairs run in turn, and "
            "the range. Difference: the greatest, relative to the greatest feature. Last column: "
            "seconds to read a whole cache of 10,073 x 4,096.\n\n"
            "| backbone | device | threads | images | ratio | range | images/s | difference "
            "| cache read, s |\n|---|---|---|---|---|---|---|---|---|\n"
        )
        text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else head
        PAGE.write_text(text + line, encoding="utf-8")


if __name__ == "__main__":
    main()
