"""Where the time of the three hottest paths goes: rendering, features, regression.

    python benchmarks/paths.py            print
    python benchmarks/paths.py --write    and put it into docs/log/benchmarks/paths.md

Processor time of one thread. Rendering and features by torch's profiler: operators by the time
they take themselves. Regression by its steps, which are products of matrices nearly all; they
are held against what this processor reaches in a large product of the same kind.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from bank import photographs, recipes, window
from ratios import Ratio, add_option, put
from regression import made_up
from threadpoolctl import threadpool_limits
from torch.profiler import ProfilerActivity, profile
from usage import processor

from reiqa import store
from reiqa.chunks.render import render
from reiqa.devices import device
from reiqa.encoders import build_encoder
from reiqa.features.encoding import FrozenEncoder, scaled_views, to_batch
from reiqa.params import ComputeParams
from reiqa.regression.ridge_path import ScaledRows, ShiftedSystem
from reiqa.regression.scaler import FeatureScaler

OUT = Path(__file__).parents[1] / "docs" / "log" / "benchmarks" / "paths.md"
SHOWN = 8
CHUNKS = 12
BACKBONES = ("efficientnet_lite0", "resnet50")
ROWS, WIDTH, ALPHAS = 3500, 8192, 25
PRODUCT = 4096


def operators(work: Callable[[], object]) -> list[tuple[str, float]]:
    """Return operators and their share of the processor's time, the largest first."""
    work()
    with profile(activities=[ProfilerActivity.CPU], acc_events=True) as seen:
        work()
    own = {event.key: event.self_cpu_time_total for event in seen.key_averages()}
    whole = sum(own.values())
    largest = sorted(own, key=lambda name: own[name], reverse=True)[:SHOWN]
    return [(name, own[name] / whole) for name in largest]


def rendering() -> list[tuple[str, float]]:
    photos, drawn = photographs(), recipes(CHUNKS)
    windows = [window(photos[n % len(photos)], recipe) for n, recipe in enumerate(drawn)]
    return operators(
        lambda: [render([own], [recipe]) for own, recipe in zip(windows, drawn, strict=True)]
    )


def encoding(backbone: str) -> list[tuple[str, float]]:
    encoder = FrozenEncoder(build_encoder(backbone, "content"), (1.0, 0.5), torch.device("cpu"))
    photo = photographs()[0]
    return operators(
        lambda: encoder.encode(scaled_views(to_batch([photo], torch.device("cpu")), (1.0, 0.5)))
    )


def seconds(work: Callable[[], object]) -> tuple[object, float]:
    start = time.process_time()
    made = work()
    return made, time.process_time() - start


def regression() -> list[tuple[str, float, float]]:
    """Return steps, their seconds, and how many billions of operations they need."""
    values, ratings = made_up(ROWS, WIDTH)
    rows = np.arange(ROWS)
    tried = np.geomspace(1e-3, 1e6, ALPHAS).tolist()
    scaling, scaled_s = seconds(lambda: FeatureScaler.fit(values, rows))
    features = ScaledRows(values, rows, scaling)
    gram, gram_s = seconds(features.gram)
    system, reduced_s = seconds(lambda: ShiftedSystem(gram))
    target = (ratings - ratings.mean())[:, None]
    dual, solved_s = seconds(lambda: system.solve(target, tried))
    _, back_s = seconds(lambda: features.rmatmul(dual))
    return [
        ("mean and deviation", scaled_s, 3e-9 * ROWS * WIDTH),
        ("products of all pairs of rows", gram_s, 1e-9 * ROWS**2 * WIDTH),
        ("reduction to a band", reduced_s, 8e-9 / 3 * ROWS**3),
        (f"{ALPHAS} alphas", solved_s, 2e-9 * ALPHAS * ROWS**2),
        ("back to features", back_s, 2e-9 * ALPHAS * ROWS * WIDTH),
    ]


def product_rate() -> float:
    """Return billions of float64 operations a second in one large product."""
    a = np.random.default_rng(0).normal(size=(PRODUCT, PRODUCT))
    return 2e-9 * PRODUCT**3 / min(seconds(lambda: a @ a.copy())[1] for _ in range(3))


def table(found: list[tuple[str, float]]) -> list[str]:
    rows = [f"| `{name}` | {share:.0%} |" for name, share in found]
    return ["| operator | share |", "|---|---:|", *rows, ""]


def measured() -> tuple[str, Ratio]:
    """Profile all three, in the surroundings that the verbs give them."""
    lines = [
        "# Profile",
        "",
        f"`python benchmarks/paths.py --write`, one thread of {processor()},"
        f" torch {torch.__version__}, revision {store.revision()}.",
        "",
        f"## Rendering: {CHUNKS} chunks of 1024x768, one at a time",
        "",
        *table(rendering()),
    ]
    for backbone in BACKBONES:
        lines += [f"## Features: {backbone}, 1024x768, two scales", "", *table(encoding(backbone))]
    with threadpool_limits(1):
        steps, rate = regression(), product_rate()
    whole = sum(took for _, took, _ in steps)
    lines += [
        f"## Regression: {ROWS:,} images x {WIDTH:,} features, one split",
        "",
        "| step | share | 10^9 operations a second |",
        "|---|---:|---:|",
        *(f"| {name} | {took / whole:.0%} | {work / took:.0f} |" for name, took, work in steps),
        "",
        f"One product of {PRODUCT:,} x {PRODUCT:,} reaches {rate:.0f} on the same thread.",
        "",
    ]
    reached = sum(work for _, _, work in steps) / whole
    named = f"ridge path, {ROWS:,} x {WIDTH:,}, operations a second"
    ratio = Ratio(named, reached / rate, "one large product's on the same thread")
    return "\n".join(lines), ratio


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--write", action="store_true", help=f"to {OUT.name} in docs/log/benchmarks"
    )
    add_option(parser)
    given = parser.parse_args()
    with device(ComputeParams(device="cpu", threads=1)):
        text, ratio = measured()
    print(text)
    put(given, [ratio])
    if given.write:
        store.write_text(OUT, text)


if __name__ == "__main__":
    main()
