"""Which proxy measure and which distortions the experts of a bundle can predict.

    python benchmarks/demo_proxy.py --mirror DIR                    photographs of cid22
    python benchmarks/demo_proxy.py --mirror DIR --table proxy.md   and writes the tables

The demo's measure and types are chosen by these tables, on photographs that the demo does not have.
Each photograph is distorted by every type at two levels and rated against its original by every
measure. The demo's regressor is tested on photographs that it was not fitted to, in six folds.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import piq
import torch
from torch import Tensor
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as ms_ssim

from reiqa import encoders, layout, params, seeds, store
from reiqa.data.demo import STRUCTURAL, levels_in_turn, shrink
from reiqa.distortions import distort
from reiqa.distortions.registry import published
from reiqa.features.encoding import FrozenEncoder, scaled_views
from reiqa.images import read_rgb
from reiqa.params import EXPERTS, VARIANTS, Variant
from reiqa.progress import track
from reiqa.regression import metrics
from reiqa.regression.protocol import run_split
from reiqa.regression.regressor import EXPERTS_OF
from reiqa.regression.ridge_path import penalty_grid
from reiqa.regression.splits import Split
from reiqa.report.tables import to_markdown
from reiqa.tensors import to_tensor

Values = npt.NDArray[np.float64]
Rows = dict[str, npt.NDArray[np.generic]]

#: Higher is better.
MEASURES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "MS-SSIM": partial(ms_ssim, data_range=1.0),
    "HaarPSI": partial(piq.haarpsi, data_range=1.0),
    "1 - GMSD": lambda one, two: 1 - piq.gmsd(one, two, data_range=1.0),
    "1 - MDSI": lambda one, two: 1 - piq.mdsi(one, two, data_range=1.0),
}
#: The types of the demo before this measurement.
BEFORE = (
    *("gaussian_blur", "lens_blur", "jpeg", "white_noise", "impulse_noise", "multiplicative_noise"),
    *("denoise", "resize_bicubic", "resize_nearest", "pixelate", "displaced_patches", "jitter"),
)
FOLDS = 6


def measure_photographs(photographs: Sequence[Path], types: Sequence[str], bundle: str) -> Rows:
    """Return name, type, level, ratings and features of two levels of every type."""
    experts = {
        name: FrozenEncoder(
            encoders.load_encoder(layout.checkpoint(f"bundles/{bundle}/{name}.safetensors")),
            (1, 0.5), torch.device("cpu"), pooling="stages",
        )
        for name in EXPERTS
    }  # fmt: skip
    features: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in EXPERTS}
    rows: list[tuple[str, str, int]] = []
    ratings: list[list[float]] = []
    for place, photograph in enumerate(track(photographs, "photographs", unit="photographs")):
        reference = to_tensor(shrink(read_rgb(photograph)))[None]
        for number, kind in enumerate(types):
            levels = levels_in_turn(place + number, 2)
            drawn = [seeds.derive("proxy", photograph.name, kind, level) for level in levels]
            images = distort(
                reference.expand(len(levels), -1, -1, -1), [kind] * len(levels), levels, drawn
            ).clamp(0, 1)
            for level, image in zip(levels, images, strict=True):
                rows.append((photograph.name, kind, level))
                with torch.inference_mode():
                    ratings.append([float(m(image[None], reference)) for m in MEASURES.values()])
            for name, expert in experts.items():
                features[name].append(expert.encode(scaled_views(images, (1, 0.5))))
    names, kinds, levels_of = map(np.array, zip(*rows, strict=True))
    return {
        "photograph": names, "kind": kinds, "level": levels_of, "ratings": np.array(ratings),
        **{name: np.concatenate(blocks) for name, blocks in features.items()},
    }  # fmt: skip


def predict(
    rows: Rows, types: Sequence[str], measure: int, variant: Variant
) -> tuple[Values, Values, npt.NDArray[np.intp], npt.NDArray[np.generic]]:
    """Return prediction, rating, fold and type of each row of some types.

    A prediction is by the demo's regressor, fitted without the photographs of the row's fold.
    """
    used = np.flatnonzero(np.isin(rows["kind"], types))
    settings = params.load_params(Path(params.__file__).parent / "presets/demo.yaml").regression
    _, number = np.unique(rows["photograph"][used], return_inverse=True)
    fold, at = number % FOLDS, np.arange(len(used))
    ratings = rows["ratings"][used, measure].astype(np.float64)
    values = np.concatenate([rows[name][used] for name in EXPERTS_OF[variant]], axis=1)
    values, predicted = values.astype(np.float32), np.empty(len(used))
    for test in range(FOLDS):
        val = (test + 1) % FOLDS
        train = at[(fold != test) & (fold != val)]
        split = Split(train, at[fold == val], at[fold == test], at[:0])
        result = run_split(values, ratings, split, penalty_grid(settings), settings)
        predicted[split.test] = result.predictions
    return predicted, ratings, fold, rows["kind"][used]


def fold_srcc(rows: Rows, types: Sequence[str], measure: int) -> list[str]:
    """Return the median SRCC over the folds for each variant."""
    cells = []
    for variant in VARIANTS:
        predicted, ratings, fold, _ = predict(rows, types, measure, variant)
        found = [metrics.srcc(predicted[fold == n], ratings[fold == n]) for n in range(FOLDS)]
        cells.append(f"{np.median(found):.2f}")
    return cells


def type_srcc(rows: Rows, measure: int) -> dict[str, str]:
    """Return the SRCC within each type, of both experts fitted to all types."""
    predicted, ratings, _, kind = predict(rows, published(), measure, "both")
    return {
        name: f"{metrics.srcc(predicted[kind == name], ratings[kind == name]):.2f}"
        for name in published()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mirror", type=Path, required=True)
    parser.add_argument("--folder", default="pristine/cid22", help="folder of the mirror")
    parser.add_argument("--photographs", type=int, default=12)
    parser.add_argument("--bundle", default="lite")
    parser.add_argument("--table", type=Path, help="Markdown file to write")
    parser.add_argument("--rows", type=Path, help=".npz of rows: read if it exists, else written")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.rows and given.rows.exists():
        rows: Rows = dict(np.load(given.rows))
    else:
        found = [
            path
            for path in sorted((given.mirror / given.folder).iterdir())
            if path.suffix in layout.IMAGE_SUFFIXES
        ]
        order = sorted(found, key=lambda path: seeds.derive("proxy", path.name))
        rows = measure_photographs(order[: given.photographs], published(), given.bundle)
        if given.rows:
            np.savez(given.rows, **rows)
    sets = {"all 25": published(), "the twelve before": BEFORE, "the demo's six": STRUCTURAL}
    lines = [
        [label, measure, *fold_srcc(rows, types, at)]
        for label, types in sets.items()
        for at, measure in enumerate(MEASURES)
    ]
    within = [type_srcc(rows, at) for at in range(len(MEASURES))]
    by_type = [[kind, *(cells[kind] for cells in within)] for kind in published()]
    text = "\n\n".join(
        [
            to_markdown(["types", "measure", *VARIANTS], lines),
            to_markdown(["type", *MEASURES], by_type),
        ]
    )
    print(text)
    if given.table:
        store.write_text(given.table, text + "\n")


if __name__ == "__main__":
    main()
