"""What the host spends on a step of chunks along the path that a GPU takes, without a GPU.

    python benchmarks/feed.py

Crops and photographs are so small that hardly any time goes to pixels, and the calls are those of a
GPU. Printed are milliseconds of processor time a chunk at 32 chunks a step (the least of five
steps), operations dispatched, and milliseconds to draw a recipe anew. `tests/test_fake_cuda.py`
holds the number of operations.
"""

import argparse
import json
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from reiqa.chunks.recipe import draw_recipe, redraw_recipe
from reiqa.chunks.render import render
from reiqa.distortions import bulk, resolve
from reiqa.params import BankParams, ChunkParams


class Operations(TorchDispatchMode):
    """Counts operations, views included."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def milliseconds(work: Callable[[], object], count: int, repeats: int = 5) -> float:
    """Return the least processor time of several runs over ``count``."""
    found = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return round(1e3 * min(found) / count, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chunks", type=int, default=32)
    parser.add_argument("--patch", type=int, default=16, help="side of a crop")
    parser.add_argument("--side", type=int, default=64, help="side of a photograph")
    given = parser.parse_args()
    torch.set_num_threads(1)
    bulk.is_bulk = lambda device: True
    known, types = ChunkParams(corpora=["c"], patch=given.patch), resolve(BankParams())
    recipes = [
        recipe
        for number in range(given.chunks)
        if (recipe := draw_recipe(known, types, 0, "c", f"{number}", 0, given.side, given.side))
    ]
    draw = torch.Generator().manual_seed(0)
    windows = [
        torch.randint(0, 256, (3, r.height, r.width), dtype=torch.uint8, generator=draw)
        for r in recipes
    ]
    render(windows, recipes)
    with Operations() as operations:
        render(windows, recipes)
    found = {
        "ms a chunk": milliseconds(lambda: render(windows, recipes), len(recipes)),
        "operations a step": operations.count,
        "ms a recipe": milliseconds(lambda: [redraw_recipe(r, 1) for r in recipes], len(recipes)),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
