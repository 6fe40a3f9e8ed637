"""A score against no-reference metrics of pyiqa, by processor time per image.

    python benchmarks/metrics.py --mirror DIR

Each metric scores the same files from the path on, one at a time on one thread, in turn with
`Scorer`; medians of the ratios of the images. Only metrics that pyiqa builds without a download are
measured: PIQE, which has no weights, and CNNIQA and MUSIQ with random weights, which take as long
as trained ones. BRISQUE, NIQE, HyperIQA, DBCNN, MANIQA, TOPIQ and CLIP-IQA download weights when
they are built, and so does CLIP-IQA of TorchMetrics. pyiqa is not a dependency
(benchmarks/peers.txt); without it there is nothing to compare.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ratios import Ratio, add_option, put

from reiqa import Scorer, images

#: Names in pyiqa, and options under which they are built without a download.
METRICS: dict[str, dict[str, Any]] = {
    "piqe": {},
    "cnniqa": {"pretrained": None},
    "musiq": {"pretrained": False},
}


def peers() -> dict[str, Callable[[str], object]]:
    """Return the metrics of pyiqa; none if it is not installed."""
    try:
        import pyiqa
    except ImportError:
        return {}
    return {
        name: pyiqa.create_metric(name, device="cpu", **options)
        for name, options in METRICS.items()
    }


def seconds(work: Callable[[str], object], path: str) -> float:
    """Processor time, which other work on the machine disturbs little."""
    start = time.process_time()
    work(path)
    return time.process_time() - start


def measure(
    scorer: Callable[[str], object],
    metrics: dict[str, Callable[[str], object]],
    paths: list[Path],
    rounds: int,
) -> tuple[list[float], dict[str, list[float]]]:
    """Return seconds of our score, and ratios of the time of each metric over it."""
    own: list[float] = []
    found: dict[str, list[float]] = {name: [] for name in metrics}
    for metric in (scorer, *metrics.values()):
        metric(str(paths[0]))  # the first call loads and allocates
    for _ in range(rounds):
        for path in map(str, paths):
            for name, metric in metrics.items():
                ours = seconds(scorer, path)
                own.append(ours)
                found[name].append(seconds(metric, path) / ours)
    return own, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mirror", type=Path, required=True, help="holds BIQ2021/")
    parser.add_argument("--images", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=2)
    add_option(parser)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    metrics = peers()
    if not metrics:
        print("pyiqa is not installed (benchmarks/peers.txt): nothing to compare with")
        put(given, [])
        return
    files = sorted((given.mirror / "BIQ2021" / "Images").iterdir())
    paths = [files[at] for at in np.linspace(0, len(files) - 1, given.images).astype(int)]
    sizes = sorted({f"{width}x{height}" for height, width in map(images.read_size, paths)})
    own, found = measure(Scorer.load("lite"), metrics, paths, given.rounds)
    print(f"Scorer.load('lite'): {statistics.median(own):.3f} s, median; {', '.join(sizes)}")
    for name, times in found.items():
        middle = statistics.median(times)
        print(f"{name}: {middle:.2f} times as long ({min(times):.2f} to {max(times):.2f})")
    what = f"scores a second, bundle lite, {', '.join(sizes)}, one thread"
    medians = {name: statistics.median(times) for name, times in found.items()}
    peer = f"pyiqa {version('pyiqa')}'s"
    put(given, [Ratio(what, each, f"{peer} {name.upper()}") for name, each in medians.items()])


if __name__ == "__main__":
    main()
