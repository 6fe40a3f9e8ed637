"""What a pretraining step costs, and what of it is contrast, rendering and waiting for the disk.

Run it in a project folder whose shards (or content corpora) are there:

    python benchmarks/pretrain.py --expert quality --steps 20

It prints one JSON object. `ratio` is the time of a whole step (optimiser, queue, momentum and
measures included) over that of the bare encoders on the same batch: query forward and backward,
key forward. On a GPU read `pairs_per_s`, the shares and `peak_memory_gib`.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from reiqa import devices, params
from reiqa.pretrain import loop, parallel
from reiqa.pretrain.views import views

Result = TypeVar("Result")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--params", type=Path, default=Path("params.yaml"))
    options.add_argument("--expert", choices=params.EXPERTS, default="quality")
    options.add_argument("--steps", type=int, default=20)
    chosen = options.parse_args()
    settings = params.load(chosen.params)
    with devices.device(settings.compute) as device:
        source = views(chosen.expert, settings)
        run = loop.Run(chosen.expert, settings, source, device, parallel.Ranks())
        print(json.dumps(measured(run, chosen.steps), indent=2))


def measured(run: loop.Run, steps: int) -> dict[str, object]:
    """Take ``steps`` steps after three to warm up, and tell where the time went."""
    waits, renders, learns, bares = [], [], [], []
    loaded = iter(run.loaded())
    for number in range(steps + 3):
        wait, read = timed(lambda: next(loaded), run.device)
        render, (query, key) = timed(
            lambda read=read: run.source.render(read, run.device), run.device
        )
        bare, _ = timed(lambda q=query, k=key: encoders_alone(run, q, k), run.device)
        learn, _ = timed(lambda q=query, k=key: run.learn(q, k), run.device)
        if number >= 3:
            waits.append(wait)
            renders.append(render)
            learns.append(learn)
            bares.append(bare)
    parts = {"wait": sum(waits), "render": sum(renders), "step": sum(learns)}
    whole = sum(parts.values())
    pairs = run.settings.images * run.source.pairs
    gpu = run.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name()
        if gpu
        else f"CPU, {torch.get_num_threads()} threads",
        "backbone": run.moco.query.encoder.backbone,
        "pairs_per_step": pairs,
        "pairs_per_s": round(steps * pairs / whole, 1),
        "share": {name: round(seconds / whole, 3) for name, seconds in parts.items()},
        "step_s": round(statistics.median(learns), 4),
        "bare_s": round(statistics.median(bares), 4),
        "ratio": round(statistics.median(a / b for a, b in zip(learns, bares, strict=True)), 3),
        "peak_memory_gib": round(torch.cuda.max_memory_allocated() / 2**30, 2) if gpu else None,
    }


def encoders_alone(run: loop.Run, query: Tensor, key: Tensor) -> None:
    """Do what no contrastive step can do without; leaves no gradient behind."""
    with run.precision():
        run.query(run.laid_out(query)).sum().backward()
        with torch.no_grad():
            run.moco.key(run.laid_out(key))
    run.optimiser.zero_grad(set_to_none=True)


def timed(work: Callable[[], Result], device: torch.device) -> tuple[float, Result]:
    start = time.perf_counter()
    result = work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start, result


if __name__ == "__main__":
    main()
