"""bf16 against float32 on a processor: SRCC of every variant, and the speed of features.

    python benchmarks/precision.py --mirror DIR --write               all images of BIQ2021
    python benchmarks/precision.py --mirror DIR --images 800 --scale 0.5 --write
                                                                      some of them, scaled down

SRCC: features of the experts of the bundle ``lite`` in both precisions, each fitted and evaluated
on the same splits by ridge without ranking term. Speed: `features.py` in bf16
against its plain loop in float32, for two pairs of backbones. A processor without bfloat16
instructions has no speed to measure; there the convolutions of the SRCC part multiply rounded
values in float32, as the instructions do, because torch's own emulation takes ten to thirty times
as long. The page says how far the two differ.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from contextlib import AbstractContextManager, chdir, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ratios
import torch
import torch.nn.functional as F
import yaml
from PIL import Image
from ratios import Ratio, add_option, put
from torch import Tensor
from torch.overrides import TorchFunctionMode
from usage import processor

from reiqa import catalog, devices, layout, pipeline, store
from reiqa.features.encoding import FrozenEncoder
from reiqa.params import VARIANTS, Params
from reiqa.presets import bundle_preset
from reiqa.scoring.bundle import load_bundle
from reiqa.scoring.module import read_experts

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "log" / "benchmarks" / "precision.md"
DATASET = "biq2021"

#: Backbones of both experts, and how many times as fast as the plain loop they are asked to be.
PAIRS = {"efficientnet_lite0": 3.0, "resnet50": 2.4}

#: SRCC may differ by this much.
ALLOWED = 0.002


class RoundedProducts(TorchFunctionMode):
    """Convolutions under autocast as bfloat16 instructions compute them.

    Products of rounded values are exact in float32, sums are in float32, and the result is rounded.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func not in (F.conv2d, F.linear) or not torch.is_autocast_enabled("cpu"):
            return func(*args, **(kwargs or {}))
        values = [a.bfloat16().float() if isinstance(a, Tensor) else a for a in args]
        with torch.autocast("cpu", enabled=False):
            return func(*values, **(kwargs or {})).bfloat16()


def kernels() -> AbstractContextManager[object]:
    """The processor's own kernels if it has the instructions, else `RoundedProducts`."""
    return nullcontext() if devices.bf16_instructions() else RoundedProducts()


def emulation_difference() -> float:
    """Relative difference of features between `RoundedProducts` and torch's own emulation."""
    experts = read_experts(load_bundle("lite"))
    draw = torch.Generator().manual_seed(0)
    view = F.interpolate(torch.rand(1, 3, 12, 12, generator=draw), size=(96, 96), mode="bicubic")
    differences = []
    for expert in experts.values():
        encoder = FrozenEncoder(expert, [1.0], torch.device("cpu"), "bf16", "stages")
        expected = encoder.encode([view.clamp(0, 1)])
        with RoundedProducts():
            found = encoder.encode([view.clamp(0, 1)])
        differences.append(relative(found, expected))
    return max(differences)


def relative(found: np.ndarray, expected: np.ndarray) -> float:
    """Return the norm of the difference, relative to that of ``expected``."""
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def offer(mirror: Path, count: int, scale: float, folder: Path) -> None:
    """Lay out images of BIQ2021, evenly spaced by name, as a mirror of their own."""
    images = sorted((mirror / "BIQ2021" / "Images").iterdir())
    out = folder / "BIQ2021" / "Images"
    out.mkdir(parents=True)
    for place in np.linspace(0, len(images) - 1, min(count, len(images))).astype(int):
        if scale == 1:
            shutil.copy(images[place], out)
            continue
        with Image.open(images[place], formats=["JPEG"]) as image:
            size = (round(image.width * scale), round(image.height * scale))
            image.resize(size).save(out / images[place].name, quality=95)
    for path in (mirror / "BIQ2021").glob("*.csv"):
        shutil.copy(path, folder / "BIQ2021")


def parameters(precision: str) -> Params:
    tree = yaml.safe_load(bundle_preset(load_bundle("lite"), [DATASET]))
    tree["compute"]["device"] = "cpu"
    tree["data"]["allow_missing"] = True
    tree["features"]["precision"] = precision
    tree["regression"] |= {"model": "ridge", "ranking": None}
    return Params.model_validate(tree)


@dataclass(frozen=True)
class Compared:
    """Correlations in both precisions.

    Attributes:
        images: number of images.
        srcc: SRCC of every split by variant, ``(2, splits)``: in float32 and in bf16.
        difference: relative difference of the features of both experts.
    """

    images: int
    srcc: dict[str, np.ndarray]
    difference: dict[str, float]


def compare() -> Compared:
    """Extract features and fit in both precisions; in an empty folder, REIQA_MIRROR set."""
    results, tables = [], []
    for precision in ("float32", "bf16"):
        params = parameters(precision)
        with kernels():
            pipeline.features(DATASET, params)
        pipeline.fit(DATASET, params)
        results.append(store.read_json(layout.result(DATASET)))
        tables.append({e: read_values(layout.features(DATASET, e)) for e in ("content", "quality")})
    return Compared(
        results[0]["n"],
        {v: np.array([r["variants"][v]["srcc"]["splits"] for r in results]) for v in VARIANTS},
        {expert: relative(tables[1][expert], tables[0][expert]) for expert in tables[0]},
    )


def read_values(path: Path) -> np.ndarray:
    from reiqa.features.cache import read_features

    return read_features(path).values


def speeds(threads: int) -> list[Ratio]:
    """Run ``features.py`` in bf16 for each pair of backbones; empty without instructions."""
    if not devices.bf16_instructions():
        return []
    found = []
    for backbone, asked in PAIRS.items():
        with tempfile.NamedTemporaryFile(suffix=".json") as file:
            command = [sys.executable, str(HERE / "features.py"), "--precision", "bf16"]
            command += ["--threads", str(threads), "--asked", str(asked), "--ratios", file.name]
            subprocess.run([*command, "--backbones", backbone, backbone], check=True)
            found += ratios.read(Path(file.name))
    return found


def page(compared: Compared, scale: float, difference: float, found: list[Ratio]) -> str:
    instructions = ", ".join(devices.bf16_instructions())
    scaled = "" if scale == 1 else f", scaled down by {scale:g}"
    lines = [
        "# bf16 against float32 on a processor",
        "",
        f"Written by `python benchmarks/precision.py`. {processor()}, bfloat16 instructions:"
        f" {instructions or 'none'}, torch {torch.__version__}, revision {store.revision()}.",
        "",
        "## Rank correlation",
        "",
        f"{compared.images:,} images of BIQ2021{scaled}, experts of the bundle `lite`, the same ten"
        " random splits, ridge, no ranking term. Difference: mean over the splits of bf16 minus"
        " float32, and its range.",
        "",
        "| variant | median SRCC, float32 | bf16 | mean, float32 | bf16 | difference | allowed |",
        "|---|---|---|---|---|---|---|",
    ]
    for variant, srcc in compared.srcc.items():
        change = srcc[1] - srcc[0]
        (first, second), (mean, other) = np.median(srcc, axis=1), srcc.mean(axis=1)
        # Both: the median over ten splits alone jumps from one split to another.
        reached = "yes" if max(abs(second - first), abs(change.mean())) <= ALLOWED else "**no**"
        lines.append(
            f"| {variant} | {first:.4f} | {second:.4f} | {mean:.4f} | {other:.4f} |"
            f" {change.mean():+.4f} ({change.min():+.4f} to {change.max():+.4f}) | {ALLOWED}:"
            f" {reached} |"
        )
    both = ", ".join(f"{name} {each:.2%}" for name, each in compared.difference.items())
    lines += ["", f"Relative difference of features (norm): {both}.", ""]
    if not instructions:
        lines += [
            "This processor has no bfloat16 instructions. Convolutions multiplied rounded values in"
            f" float32; features differ from those of torch's own emulation by {difference:.2%}.",
            "",
        ]
    lines += ["## Speed of features", ""]
    if not found:
        lines += ["Not measured: this processor has no bfloat16 instructions.", ""]
        return "\n".join(lines)
    lines += ["| what | times | of | asked | reached |", "|---|---|---|---|---|"]
    for each in found:
        reached = "yes" if each.reached else "**no**"
        lines.append(
            f"| {each.what} | **{each.times:.2f}** | {each.other} | {each.asked} | {reached} |"
        )
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mirror", type=Path, required=True, help="holds BIQ2021/")
    parser.add_argument("--images", type=int, default=12_000, help="at most this many of BIQ2021")
    parser.add_argument("--scale", type=float, default=1.0, help="scale the images by this factor")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write", action="store_true", help=f"write {PAGE}")
    add_option(parser)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    difference = 0.0 if devices.bf16_instructions() else emulation_difference()
    with tempfile.TemporaryDirectory() as folder, chdir(folder):
        offer(given.mirror, given.images, given.scale, Path("mirror"))
        os.environ["REIQA_MIRROR"] = str(Path("mirror").absolute())
        catalog.load_catalog()
        compared = compare()
    found = speeds(given.threads)
    text = page(compared, given.scale, difference, found)
    print(text)
    put(given, found)
    if given.write:
        PAGE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
