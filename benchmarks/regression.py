"""The ridge path against scikit-learn's Ridge and RidgeCV, and the whole of ten splits.

    python benchmarks/regression.py --images 10000 --width 8192 --write

Both sides run in one process with one thread a factorisation; ours runs as many splits at once as
there are threads. scikit-learn's Ridge is fitted for a few of the alphas of one split, and its
time for all is reckoned from that: every alpha costs it the same. Ratios are of processor seconds,
so that neither other work on the machine nor the number of threads enters.
"""

import argparse
import os
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from ratios import Ratio, add_option, put
from sklearn.linear_model import Ridge, RidgeCV
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from reiqa.params import RegressionParams
from reiqa.regression.protocol import run_split
from reiqa.regression.ridge_path import ScaledRows, alpha_grid, penalty_grid, ridge
from reiqa.regression.scaler import FeatureScaler
from reiqa.regression.splits import Split

PAGE = Path(__file__).parents[1] / "docs" / "log" / "benchmarks" / "regression.md"


def seconds(work: Callable[[], object]) -> float:
    """Processor seconds, over all threads."""
    start = time.process_time()
    work()
    return time.process_time() - start


def made_up(images: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Features with a falling spectrum, like pooled ones, and ratings that follow them."""
    rng = np.random.default_rng(0)
    values = np.empty((images, width), dtype=np.float32)
    mixing = rng.normal(size=(64, width)).astype(np.float32)
    hidden = rng.normal(size=(images, 64)).astype(np.float32)
    for start in range(0, images, 1000):
        part = slice(start, start + 1000)
        rows = hidden[part] @ mixing
        values[part] = rows + 4 * rng.standard_normal(rows.shape, dtype=np.float32)
    return values, hidden[:, :8].sum(axis=1) + rng.normal(size=images)


def split(images: int, number: int) -> Split:
    order = np.random.default_rng(number).permutation(images)
    cuts = np.split(order, [int(0.7 * images), int(0.8 * images)])
    return Split(*(np.sort(part) for part in cuts), left_out=order[:0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--splits", type=int, default=10)
    parser.add_argument("--fits", type=int, default=3, help="Ridge fits measured")
    parser.add_argument("--cv", action="store_true", help="measure RidgeCV as well, which is slow")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--write", action="store_true", help=f"add to {PAGE}")
    add_option(parser)
    given = parser.parse_args()
    settings = RegressionParams()
    values, ratings = made_up(given.images, given.width)
    splits = [split(given.images, number) for number in range(given.splits)]
    tried = alpha_grid(settings)

    # Ours: everything a split needs, all splits.
    def ours() -> None:
        with threadpool_limits(1), ThreadPoolExecutor(given.threads) as pool:
            list(
                pool.map(
                    lambda part: run_split(values, ratings, part, penalty_grid(settings)), splits
                )
            )

    start = time.perf_counter()
    whole = seconds(ours)
    wall = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20

    # Theirs: the same split, an alpha at a time.
    part = splits[0]
    scaled = StandardScaler().fit_transform(values[part.train].astype(np.float64))
    target = ratings[part.train] - ratings[part.train].mean()
    fits: list[float] = []
    worst = 0.0
    some = tried[:: max(1, len(tried) // given.fits)][: given.fits]
    with threadpool_limits(1):
        features = ScaledRows(values, part.train, FeatureScaler.fit(values, part.train))
        own = ridge(features, target / target.std(), some) * target.std()
        for column, alpha in enumerate(some):
            model = Ridge(alpha, fit_intercept=False)
            fits.append(seconds(lambda model=model: model.fit(scaled, target)))
            expected = scaled[:500] @ model.coef_
            difference = np.abs(scaled[:500] @ own[:, column] - expected).max()
            worst = max(worst, float(difference / np.abs(expected).max()))
        cv = float("nan")
        if given.cv:
            cv = seconds(lambda: RidgeCV(tried, fit_intercept=False).fit(scaled, target))
    each = statistics.median(fits)
    reckoned = each * len(tried) * given.splits
    theirs_cv = cv * given.splits
    beside = [
        f"| scikit-learn RidgeCV: all alphas of one split | {cv:.1f} |",
        f"| reckoned from it: {given.splits} splits | {theirs_cv:.0f} |",
    ]
    lines = [
        f"## {given.images:,} images x {given.width:,} features",
        "",
        f"`python benchmarks/regression.py --images {given.images} --width {given.width} "
        f"--splits {given.splits} --fits {given.fits} --threads {given.threads}"
        f"{' --cv' if given.cv else ''}`",
        "",
        f"{given.splits} splits 70/10/20, {len(tried)} alphas, one thread a factorisation, "
        f"{given.threads} splits at once.",
        "",
        "| what | processor seconds |",
        "|---|---|",
        f"| reiqa: all splits and alphas, standardising, choosing and predicting | {whole:.1f} |",
        f"| scikit-learn Ridge: one alpha of one split (median of "
        f"{', '.join(f'{value:.2f}' for value in fits)}) | {each:.2f} |",
        f"| reckoned from it: {len(tried)} alphas x {given.splits} splits | {reckoned:.0f} |",
        *(beside if given.cv else []),
        "",
        f"Ridge / reiqa: **{reckoned / whole:.1f}**. "
        + (f"RidgeCV / reiqa: **{theirs_cv / whole:.1f}**. " if given.cv else "")
        + f"Greatest difference of a prediction, relative to the greatest prediction: "
        f"{worst:.1e}. The reiqa part took {wall / 60:.1f} minutes of wall time beside other work "
        f"on the machine, and {peak:.2f} GiB at its peak.",
        "",
    ]
    text = "\n".join(lines)
    print(text)
    at = f"{given.images:,} x {given.width:,}, {len(tried)} alphas"
    asked, reached = "", None
    if given.images >= 10_000:
        asked, reached = "at least 10", reckoned / whole >= 10
    ridge_alone = "scikit-learn's Ridge, an alpha and split at a time"
    found = [Ratio(f"ridge path, {at}", reckoned / whole, ridge_alone, asked, reached)]
    if given.cv:
        every_alpha = "scikit-learn's RidgeCV, a split at a time"
        found.append(Ratio(f"ridge path, {at}", theirs_cv / whole, every_alpha))
    put(given, found)
    if given.write:
        PAGE.parent.mkdir(parents=True, exist_ok=True)
        head = "# Regression: one factorisation a split\n\n"
        before = PAGE.read_text(encoding="utf-8") if PAGE.exists() else head
        PAGE.write_text(before + text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
