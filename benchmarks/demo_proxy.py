"""Which proxy measure and which distortions the experts of a bundle can predict.

    python benchmarks/demo_proxy.py --mirror DIR                    every type, photographs of cid22
    python benchmarks/demo_proxy.py --mirror DIR --table proxy.md   and writes the table

The demo's measure and types are chosen by this table, on photographs that the demo does not have.
Each type and level is one row, rated against its original by every measure. A ridge regressor on
the features of both experts is tested on photographs that it was not fitted to.
"""

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import piq
import torch
from scipy.stats import spearmanr
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor
from torchmetrics.functional.image import multiscale_structural_similarity_index_measure as ms_ssim

from reiqa import encoders, layout, seeds, store
from reiqa.data.demo import levels_in_turn, shrink
from reiqa.distortions import distort
from reiqa.distortions.registry import published
from reiqa.features.encoding import FrozenEncoder, scaled_views
from reiqa.images import read_rgb
from reiqa.params import EXPERTS
from reiqa.progress import track
from reiqa.report.tables import to_markdown
from reiqa.tensors import to_tensor

Values = npt.NDArray[np.float64]

#: Higher is better.
MEASURES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "MS-SSIM": partial(ms_ssim, data_range=1.0),
    "HaarPSI": partial(piq.haarpsi, data_range=1.0),
    "1 - GMSD": lambda one, two: 1 - piq.gmsd(one, two, data_range=1.0),
    "1 - MDSI": lambda one, two: 1 - piq.mdsi(one, two, data_range=1.0),
}
FOLDS = 6


def measure_photographs(
    photographs: Sequence[Path], types: Sequence[str], bundle: str
) -> dict[str, npt.NDArray[np.generic]]:
    """Return features and ratings of every level of every type, one row each."""
    cpu = torch.device("cpu")
    experts = [
        FrozenEncoder(
            encoders.load_encoder(layout.checkpoint(f"bundles/{bundle}/{name}.safetensors")),
            (1, 0.5), cpu, pooling="stages",
        )
        for name in EXPERTS
    ]  # fmt: skip
    features: dict[str, list[Values]] = {name: [] for name in EXPERTS}
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
            views = scaled_views(images, (1, 0.5))
            for name, expert in zip(EXPERTS, experts, strict=True):
                features[name].append(expert.encode(views).astype(np.float64))
    names, kinds, levels_of = map(np.array, zip(*rows, strict=True))
    return {
        "photograph": names, "kind": kinds, "level": levels_of, "ratings": np.array(ratings),
        **{name: np.concatenate(blocks) for name, blocks in features.items()},
    }  # fmt: skip


def predict(features: Values, ratings: Values, photographs: npt.NDArray[np.generic]) -> Values:
    """Return the prediction of each row by a regressor that has not seen its photograph."""
    model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(1, 6, 11)))
    found: Values = cross_val_predict(
        model, features, ratings, groups=photographs, cv=GroupKFold(FOLDS)
    )
    return found


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
        made = dict(np.load(given.rows))
    else:
        found = [
            path
            for path in sorted((given.mirror / given.folder).iterdir())
            if path.suffix in layout.IMAGE_SUFFIXES
        ]
        order = sorted(found, key=lambda path: seeds.derive("proxy", path.name))
        made = measure_photographs(order[: given.photographs], published(), given.bundle)
        if given.rows:
            np.savez(given.rows, **made)
    blocks = {**{name: made[name] for name in EXPERTS}}
    blocks["both"] = np.concatenate([made[name] for name in EXPERTS], axis=1)
    lines = []
    best = {}
    for at, name in enumerate(MEASURES):
        ratings = made["ratings"][:, at]
        predicted = {k: predict(v, ratings, made["photograph"]) for k, v in blocks.items()}
        best[name] = predicted["both"]
        lines.append([name, *(f"{spearmanr(p, ratings)[0]:.3f}" for p in predicted.values())])
        print(lines[-1], flush=True)
    table = to_markdown(["measure", *blocks], lines)
    kinds = []
    for kind in dict.fromkeys(made["kind"]):
        own = made["kind"] == kind
        cells = [
            f"{spearmanr(best[name][own], made['ratings'][own, at])[0]:.2f}"
            for at, name in enumerate(MEASURES)
        ]
        kinds.append([kind, *cells])
    table += "\n" + to_markdown(["type", *MEASURES], kinds)
    print(table)
    if given.table:
        store.write_text(given.table, table)


if __name__ == "__main__":
    main()
