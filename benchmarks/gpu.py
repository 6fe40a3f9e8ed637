"""Everything that is to be measured on a card, in one run of ten minutes.

    python benchmarks/gpu.py --write                  on a GPU; writes docs/log/benchmarks/gpu.md
    python benchmarks/gpu.py --device cpu --quick     the same code at toy sizes, anywhere

Printed as JSON and as a table: agreement of the bank with the CPU, by type; chunks/s of rendering,
and the milliseconds until its last call is launched; pairs/s of a quality step and views/s of a
content step with rendering in turn, as the training loop does it; photographs/s of features; peak
memory of each; the loss of 200 steps on the same views on the device and on the CPU. Photographs
are those that scikit-image ships. Every part is timed by the clock, between synchronisations.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from bank import photographs, window
from torch import Tensor

from reiqa import devices, encoders, store
from reiqa.chunks.recipe import ChunkRecipe, draw_recipe, redraw_recipe
from reiqa.chunks.render import render
from reiqa.distortions import TYPES, distort, resolve
from reiqa.features.encoding import FrozenEncoder, scaled_views, to_batch
from reiqa.params import BankParams, ChunkParams, ExpertName, Params
from reiqa.pretrain import augmentation, distributed, loop
from reiqa.pretrain.views import Views

PAGE = Path(__file__).parents[1] / "docs" / "log" / "benchmarks" / "gpu.md"
NAMES = resolve(BankParams())

# Sizes of a run: on a card, and at toy sizes for a test of the script.
FULL = {
    "backbone": "resnet50", "patch": 160, "view": 224, "side": (768, 1024), "chunks": 35,
    "photographs": 256, "batch": 16, "steps": 20, "curve_backbone": "resnet18", "curve_patch": 32,
    "curve_steps": 200,
}  # fmt: skip
QUICK = {
    "backbone": "mobilenet_v3_small", "patch": 16, "view": 32, "side": (96, 128), "chunks": 2,
    "photographs": 4, "batch": 2, "steps": 2, "curve_backbone": "mobilenet_v3_small",
    "curve_patch": 16, "curve_steps": 3,
}  # fmt: skip

Step = Callable[[int], object]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    options.add_argument("--precision", choices=["float32", "bf16"], default="bf16")
    options.add_argument("--quick", action="store_true", help="toy sizes")
    options.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    given = options.parse_args()
    if given.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("gpu.py: no GPU is visible; try --device cpu --quick")
    device, sizes = torch.device(given.device), SimpleNamespace(**(QUICK if given.quick else FULL))
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, chdir(folder), devices.ieee_float32(device):
        found = {
            "device": torch.cuda.get_device_name() if device.type == "cuda" else "CPU",
            "torch": torch.__version__,
            "revision": store.revision(),
            "precision": given.precision,
            "sizes": vars(sizes),
            "bank": agreement(device),
            "render": rendering(sizes, device),
            "quality": quality(sizes, device, given.precision),
            "content": content(sizes, device, given.precision),
            "features": features(sizes, device, given.precision),
            "curve": curve(sizes, device),
        }
    found["minutes"] = round((time.perf_counter() - started) / 60, 1)
    print(json.dumps(found, indent=1))
    if given.write:
        store.write_text(PAGE, page(found))
        print(PAGE.read_text(encoding="utf-8"))


def measured(step: Step, count: int, items: int, device: torch.device) -> dict[str, float | None]:
    """Time ``count`` steps of ``items`` after two to warm up; the peak of memory is of all."""
    gpu = device.type == "cuda"
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    for number in range(2):
        step(number)
    wait(device)
    start = time.perf_counter()
    for number in range(2, count + 2):
        step(number)
    launched = time.perf_counter() - start
    wait(device)
    seconds = time.perf_counter() - start
    return {
        "per_s": round(count * items / seconds, 1),
        "ms_a_step": round(1e3 * seconds / count, 2),
        "ms_until_launched": round(1e3 * launched / count, 2),
        "peak_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if gpu else None,
    }


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def agreement(device: torch.device) -> dict[str, Any]:
    """Compare each type with the CPU: shares of values that are equal and within a grey level."""
    photo = torch.from_numpy(photographs()[0][:300, :400].transpose(2, 0, 1).copy())
    images = photo.expand(5, -1, -1, -1)
    rows = {}
    for name in TYPES:
        levels, seeds = [1, 2, 3, 4, 5], [3, 4, 5, 6, 7]
        here = distort(images, [name] * 5, levels, seeds).int()
        there = distort(images.to(device), [name] * 5, levels, seeds).cpu().int()
        apart = (here - there).abs()
        rows[name] = {
            "equal": float((apart == 0).float().mean()),
            "within_one": float((apart <= 1).float().mean()),
        }
    return rows


def chunks(
    sizes: SimpleNamespace, count: int, patch: int
) -> tuple[list[Tensor], list[ChunkRecipe]]:
    """Return windows of the photographs, and a recipe for each."""
    photos, (height, width) = photographs(), sizes.side
    known = ChunkParams(corpora=["benchmark"], patch=patch)
    recipes = [
        recipe
        for number in range(count)
        if (recipe := draw_recipe(known, NAMES, 0, "benchmark", f"{number}", 0, height, width))
    ]
    windows = [window(photos[at % len(photos)], recipe) for at, recipe in enumerate(recipes)]
    return windows, recipes


def pinned(tensors: list[Tensor], device: torch.device) -> list[Tensor]:
    return [tensor.pin_memory() for tensor in tensors] if device.type == "cuda" else tensors


def rendering(sizes: SimpleNamespace, device: torch.device) -> dict[str, Any]:
    windows, recipes = chunks(sizes, sizes.chunks, sizes.patch)
    windows = pinned(windows, device)

    def step(number: int) -> object:
        return render(windows, [redraw_recipe(recipe, number) for recipe in recipes], device)

    return measured(step, sizes.steps, len(recipes), device)


def settings(
    expert: ExpertName, backbone: str, device: torch.device, precision: str, **training: Any
) -> Params:
    other = {"source": "package", "backbone": "efficientnet_lite0"}
    own = {
        "source": "pretrain",
        "backbone": backbone,
        "training": {"epochs": 100, "warmup_epochs": 1, "queue_size": 4096, **training},
    }
    tree = {"preset": "benchmark", "datasets": ["none"], "content": other, "quality": other}
    return Params.model_validate(
        {
            **tree,
            "compute": {"device": device.type, "precision": precision},
            "chunks": {"corpora": ["none"]},
            expert: {**own, "corpora": ["none"]} if expert == "content" else own,
        }
    )


class Source:
    """What a run asks of a view source; the views are rendered outside."""

    inputs: tuple[()] = ()
    types = len(NAMES)

    def __init__(self, items: int, pairs: int) -> None:
        self.items, self.pairs = items, pairs

    def __len__(self) -> int:
        return self.items


def start(
    expert: ExpertName, known: Params, source: Source, device: torch.device
) -> loop.PretrainingRun:
    return loop.PretrainingRun(expert, known, source, device, distributed.DistContext())


def in_turn(run: loop.PretrainingRun, views: Callable[[int], Views]) -> Step:
    """Return a step as the training loop takes it: metrics are read after the next rendering."""
    last: list[Any] = []

    def step(number: int) -> None:
        rendered = views(number)
        if last:
            run.read_metrics(last.pop())
        last.append(run.launch_step(rendered))

    return step


def quality(sizes: SimpleNamespace, device: torch.device, precision: str) -> dict[str, Any]:
    windows, recipes = chunks(sizes, sizes.chunks, sizes.patch)
    windows, pairs = pinned(windows, device), 2 * recipes[0].plan.versions
    known = settings("quality", sizes.backbone, device, precision, batch_size=len(recipes))
    run = start("quality", known, Source(len(recipes), pairs), device)

    def views(number: int) -> Views:
        rendered = render(windows, [redraw_recipe(recipe, number) for recipe in recipes], device)
        return Views(rendered.query.flatten(0, 1), rendered.key.flatten(0, 1))

    return measured(in_turn(run, views), sizes.steps, len(recipes) * pairs, device)


def content(sizes: SimpleNamespace, device: torch.device, precision: str) -> dict[str, Any]:
    count = sizes.photographs
    photos = [torch.from_numpy(photo.transpose(2, 0, 1).copy()) for photo in photographs()]
    pixels = pinned([photos[at % len(photos)] for at in range(count)], device)
    known = settings("content", sizes.backbone, device, precision, batch_size=count)
    run = start("content", known, Source(count, 1), device)
    torch.manual_seed(0)
    draws = [
        [
            (augmentation.draw_view(p, sizes.view), augmentation.draw_view(p, sizes.view))
            for p in pixels
        ]
        for _ in range(4)
    ]

    def views(number: int) -> Views:
        made = augmentation.make_views(pixels, draws[number % 4], sizes.view, device)
        query, key = made.clamp_(0, 1).unbind(1)
        return Views(query[:, None], key[:, None])

    return measured(in_turn(run, views), sizes.steps, count, device)


def features(sizes: SimpleNamespace, device: torch.device, precision: str) -> dict[str, Any]:
    """Both scales of one expert, from decoded photographs to rows on the host."""
    encoder = encoders.build_encoder(sizes.backbone, "quality")
    frozen = FrozenEncoder(encoder, (1.0, 0.5), device, precision)
    photos, (height, width) = photographs(), sizes.side
    pixels = [photos[at % len(photos)][:height, :width] for at in range(sizes.batch)]

    def step(number: int) -> object:
        return frozen.encode(scaled_views(to_batch(pixels, device), (1.0, 0.5)))

    return measured(step, sizes.steps, sizes.batch, device)


def curve(sizes: SimpleNamespace, device: torch.device) -> dict[str, Any]:
    """The loss of the same steps on the device and on the CPU, in float32."""
    losses = {
        name: [*run_curve(sizes, torch.device(name))]
        for name in dict.fromkeys(["cpu", device.type])
    }
    pairs = zip(losses["cpu"], losses[device.type], strict=True)
    return {**losses, "largest_difference": max(abs(one - other) for one, other in pairs)}


def run_curve(sizes: SimpleNamespace, device: torch.device) -> Iterator[float]:
    windows, recipes = chunks(sizes, 4, sizes.curve_patch)
    known = settings(
        "quality", sizes.curve_backbone, device, "float32",
        batch_size=4, optimizer="sgd", queue_size=1024,
    )  # fmt: skip
    run = start("quality", known, Source(4, 2 * recipes[0].plan.versions), device)
    for number in range(sizes.curve_steps):
        drawn = [redraw_recipe(recipe, number) for recipe in recipes]
        rendered = render(windows, drawn, device)
        views = Views(rendered.query.flatten(0, 1), rendered.key.flatten(0, 1))
        yield run.read_metrics(run.launch_step(views))["loss"]


def page(found: dict[str, Any]) -> str:
    """Return the results as Markdown."""
    losses = found["curve"]
    device = next((losses[name] for name in ("cuda", "cpu") if name in losses), [])
    lines = [
        "# On a GPU",
        "",
        f"`python benchmarks/gpu.py --write`: {found['device']}, torch {found['torch']},"
        f" {found['precision']}, revision {found['revision']}, {found['minutes']} minutes;"
        f" sizes: {json.dumps(found['sizes'])}.",
        "",
        "| what | per second | ms a step | ms until launched | peak, GiB |",
        "|---|---|---|---|---|",
    ]
    for label, key in (
        ("rendering, chunks", "render"),
        ("quality, pairs", "quality"),
        ("content, pairs", "content"),
        ("features of one expert, photographs", "features"),
    ):
        own = found[key]
        cells = (own["per_s"], own["ms_a_step"], own["ms_until_launched"], own["peak_gib"])
        lines.append(f"| {label} | {' | '.join(map(str, cells))} |")
    lines += [
        "",
        f"Loss of {len(device)} steps in float32: last {device[-1]:.4f}, on the CPU"
        f" {losses['cpu'][-1]:.4f}; the largest difference of a step is"
        f" {losses['largest_difference']:.2g}.",
        "",
        "| type | equal to the CPU | within a grey level |",
        "|---|---|---|",
        *(
            f"| {name} | {row['equal']:.5f} | {row['within_one']:.5f} |"
            for name, row in found["bank"].items()
        ),
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
