"""What the host spends on a step of chunks along the path that a GPU takes, without a GPU.

    python benchmarks/feed.py

Crops and photographs are so small that little time goes to pixels, and the calls are those of a
GPU. Printed are, at 32 chunks a step, each the least of five steps:

- milliseconds of processor time a chunk, pixels included;
- milliseconds a chunk of the thread that launches: results of kernels are replayed, so that no time
  goes to pixels, and what the replay itself takes is subtracted. A GPU adds the time to launch an
  operation, which is not measured here; a hundred operations at 5 microseconds are half a
  millisecond;
- operations dispatched a step, which `tests/test_fake_cuda.py` holds;
- milliseconds to draw a recipe anew.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

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


class Recorder(TorchDispatchMode):
    """Records operations and their results, which adds calls of ``detach``."""

    def __init__(self) -> None:
        super().__init__()
        self.results: list[tuple[Any, Any]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.results.append((func, result))
        return result


class Replay(TorchDispatchMode):
    """Returns recorded results instead of running kernels; views are made."""

    def __init__(self, results: Sequence[tuple[Any, Any]]) -> None:
        super().__init__()
        self._steps = iter([(_shares(func), result) for func, result in results])

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        shares, result = next(self._steps)
        if shares is None:
            return result
        return args[0] if shares == "written" else func(*args, **(kwargs or {}))


def _shares(operation: Any) -> Literal["written", "view"] | None:
    """Return whether the result shares memory with an argument, and whether that is written."""
    aliases = [each.alias_info for each in operation._schema.returns if each.alias_info]
    if any(alias.is_write for alias in aliases):
        return "written"
    return "view" if aliases else None


def launching(work: Callable[[], object], count: int) -> float:
    """Return milliseconds of this thread over ``count`` for ``work`` without its kernels."""
    with Recorder() as recorder:
        work()
    results, number = recorder.results, torch.zeros(1)
    nothing = [(torch.ops.aten.add.Tensor, number)] * len(results)

    def calls() -> None:
        for _ in results:
            number.add(1)

    replayed = least(work, time.thread_time, lambda: Replay(results))
    return round(
        1e3 * (replayed - least(calls, time.thread_time, lambda: Replay(nothing))) / count, 3
    )


def milliseconds(work: Callable[[], object], count: int) -> float:
    """Return the processor time of ``work`` over ``count``."""
    return round(1e3 * least(work, time.process_time, nullcontext) / count, 3)


def least(
    work: Callable[[], object],
    clock: Callable[[], float],
    mode: Callable[[], AbstractContextManager[object]],
) -> float:
    """Return the least seconds of five runs, each in a new ``mode``."""
    found = []
    for _ in range(5):
        with mode():
            start = clock()
            work()
            found.append(clock() - start)
    return min(found)


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

    def step() -> object:
        return render(windows, recipes)

    step()
    with Operations() as operations:
        step()
    found = {
        "ms a chunk": milliseconds(step, len(recipes)),
        "ms a chunk, launching": launching(step, len(recipes)),
        "operations a step": operations.count,
        "ms a recipe": milliseconds(lambda: [redraw_recipe(r, 1) for r in recipes], len(recipes)),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
