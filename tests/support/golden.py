"""Every stage run once on a miniature project, and the numbers that its outputs hold.

The photographs are computed from a formula and stored without loss, so nothing depends on a
decoder or on what another package ships. `tests/golden` compares the numbers with the pinned ones.

Run as a program (``make golden``) it pins today's numbers. It refuses where a stage computes other
numbers under an unchanged format number: raise the format in `reiqa.stages` first, or artifacts
that users have would pass for up to date.
"""

import contextlib
import csv
import json
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import yaml
from PIL import ExifTags, Image

import reiqa.probe.run
from reiqa import catalog, layout, pipeline, seeds
from reiqa.catalog import DatasetEntry, RatingsSpec, Source, SourceFile
from reiqa.scoring import bundle as bundles
from reiqa.stages import STAGES

#: Numbers of each stage's output, by name.
Values = dict[str, dict[str, list[float]]]

PINNED = Path(__file__).parents[1] / "golden" / "values.json"

#: Relative tolerance: between instruction sets of processors the numbers differ by up to 1e-4
#: (an SSE4 and an AVX-512 run), those of a training step by more.
TOLERANCE, TRAINED_TOLERANCE = 1e-3, 2e-2

_TRAINING = {
    "epochs": 1,
    "batch_size": 4,
    "optimizer": "sgd",
    "learning_rate": 0.01,
    "queue_size": 32,
    "warmup_epochs": 0,
    "momentum": 0.9,
    "projection_dim": 16,
    "checkpoint_every": 100,
}

PARAMETERS: dict[str, Any] = {
    "preset": "golden",
    "seed": 7,
    "datasets": ["views", "walls"],
    "compute": {"device": "cpu", "threads": 1},
    "chunks": {
        "corpora": ["plants"],
        "n_aug": 3,
        "patch": 48,
        "windows_per_image": 2,
        "images_per_shard": 4,
    },
    "content": {
        "source": "pretrain",
        "backbone": "resnet18",
        "corpora": ["plants"],
        "view": 64,
        "training": _TRAINING,
    },
    "quality": {
        "source": "pretrain",
        "backbone": "resnet18",
        "training": {**_TRAINING, "negatives": "queue+chunk"},
    },
    "features": {"pooling": "stages", "max_pixels": 65_536},
    "regression": {
        "alphas": [100.0, 100.0, 1],
        "target": "normal_scores",
        "clip": 4.0,
        "ranking": {"dataset": "views_degraded"},
        "splits": 2,
        "fractions": [0.5, 0.25, 0.25],
        "bootstrap": 20,
    },
    "report": {"thumbnails": 1},
}

#: What stands in place of the pretrained experts from the probe on: the rounding errors of a
#: training grow from step to step, and must not reach the stages after it.
_IMPORTED = {
    expert: {"source": "import", "backbone": "shufflenet_v2_x0_5", "file": f"{expert}.pt"}
    for expert in ("content", "quality")
}


def _entry(name: str, **fields: Any) -> DatasetEntry:
    source = Source(url=f"https://example.org/{name}.zip")
    parts = () if "shares" in fields else (SourceFile(sources=(source,)),)
    return DatasetEntry(
        **{"name": name, "title": name, "citation": "none", "licence": "none", "parts": parts},
        **fields,
    )


def _rated(name: str, **fields: Any) -> DatasetEntry:
    ratings = RatingsSpec(file="ratings.csv", low=0, high=10, tail=2)
    return _entry(name, kind="rated", authentic=False, ratings=ratings, **fields)


#: References of each rated set; each comes in three further versions.
_REFERENCES = {"views": 6, "walls": 5}
_VERSIONS = 4

ENTRIES = {
    entry.name: entry
    for entry in (
        _entry("plants", kind="corpus", authentic=True, images=4, folders=("plants",)),
        *(
            _rated(name, images=count * _VERSIONS, references=count, folders=(name,))
            for name, count in _REFERENCES.items()
        ),
        _rated(
            "views_degraded",
            images=2 * 16,
            references=2,
            made_by="degraded",
            types=("gaussian_blur", "jpeg", "white_noise"),
            shares="views",
            level=r"_l(\d)\.png$",
        ),
    )
}


def photograph(seed: int, height: int, width: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Colour waves and a few flat discs, ``(H, W, 3)`` uint8."""
    draw = np.random.Generator(np.random.PCG64(seed))
    rows, columns = np.mgrid[:height, :width].astype(np.float64)
    pixels = np.empty((height, width, 3))
    for channel in range(3):
        across, down, phase = draw.uniform(0.02, 0.6, 3)
        pixels[..., channel] = 128 + 70 * np.sin(across * columns + down * rows + 9 * phase)
    for _ in range(12):
        y, x, radius = draw.uniform(0, height), draw.uniform(0, width), draw.uniform(4, 30)
        pixels[(rows - y) ** 2 + (columns - x) ** 2 < radius**2] = draw.uniform(0, 255, 3)
    return np.rint(pixels).clip(0, 255).astype(np.uint8)


def _degraded(pixels: np.ndarray[Any, Any], version: int) -> np.ndarray[Any, Any]:
    """Coarser greys and a darker picture, in integers: the same on every machine."""
    step = (1, 16, 48, 96)[version]
    return (pixels // step * step + step // 2).clip(0, 255).astype(np.uint8)


def write_mirror(folder: Path) -> None:
    """Write the photographs and ratings from which the sets are fetched."""
    for number in range(ENTRIES["plants"].images):
        _save(folder / "plants" / f"plant{number}.png", photograph(number, 150 + 9 * number, 170))
    for place, (name, count) in enumerate(_REFERENCES.items()):
        lines = ["dis_img_path,dis_type,ref_img_path,score"]
        for number in range(count):
            width = 130 + 7 * number if number else 560
            reference = photograph(100 * (place + 1) + number, 120, width)
            for version in range(_VERSIONS):
                # Named alike in both sets, yet the degraded copies belong to views alone.
                image = f"images/view{number}_{version}.png"
                _save(folder / name / image, _degraded(reference, version), number)
                kind = "posterised" if version else ""
                score = 9.5 - 2 * version - 0.25 * number
                lines.append(f"{image},{kind},images/view{number}_0.png,{score}")
        (folder / name / "ratings.csv").write_text("\n".join(lines) + "\n")


def _save(path: Path, pixels: np.ndarray[Any, Any], kind: int = 0) -> None:
    """Store pixels without loss in one of the ways that an image file may hold them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    if kind == 1:
        image.putalpha(Image.fromarray(pixels[..., 0]))
    elif kind == 2:
        image = Image.fromarray(pixels[..., 1].astype(np.uint16) * 257)
    elif kind == 3:
        exif[ExifTags.Base.Orientation] = 6
    image.save(path, exif=exif)


@contextlib.contextmanager
def miniature(folder: Path) -> Iterator[None]:
    """Be in a new project whose catalog holds only the miniature's sets."""
    write_mirror(folder / "mirror")
    (folder / "params.yaml").write_text(yaml.safe_dump(PARAMETERS, sort_keys=False))
    with contextlib.chdir(folder), mock.patch.object(catalog, "load_catalog", lambda: ENTRIES):
        yield


def run_all() -> Values:
    """Run every stage of the project, in order; return the numbers that each output holds."""
    from reiqa.features import cache
    from reiqa.scoring import build

    params = pipeline.load_params()
    assert not pipeline.fetch(list(ENTRIES), params, Path("mirror"))
    for name in ENTRIES:
        pipeline.index(name, params)
    pipeline.chunks("plants", params)
    for expert in ("content", "quality"):
        pipeline.make_expert(expert, params)
    found = {
        "fetch": _fetched(),
        "index": {name: _csv_numbers(layout.index(name)) for name in ENTRIES},
        "chunks": _chunks(),
        "model": _models(),
    }
    for number, expert in enumerate(_IMPORTED):
        _write_checkpoint(Path(f"{expert}.pt"), number)
    layout.PARAMS.write_text(yaml.safe_dump({**PARAMETERS, **_IMPORTED}, sort_keys=False))
    params = pipeline.load_params()
    for expert in _IMPORTED:
        pipeline.make_expert(expert, params)
    photographs = {f"plant{number}": photograph(number, 200, 170) for number in range(3)}
    with mock.patch.multiple(
        reiqa.probe.run, _WINDOWS_PER_PHOTOGRAPH=1, SIDE=64, load_photographs=lambda: photographs
    ):
        pipeline.run_stage("probe", params)
    for name in ("views", "walls", "views_degraded"):
        pipeline.features(name, params)
    for name in _REFERENCES:
        pipeline.fit(name, params)
    pipeline.run_stage("cross", params)
    pipeline.run_stage("report", params)
    build.build_bundle("views", Path("bundles/views"), None, [])
    return found | {
        "probe": {"probe": _leaves(json.loads(layout.PROBE.read_text()))},
        "features": {
            f"{name}/{expert}": _rows(cache.read_features(layout.features(name, expert)).values)
            for name in ("views", "views_degraded")
            for expert in ("content", "quality")
        },
        "fit": _fitted(),
        "cross": {"cross": _csv_numbers(layout.CROSS)},
        "report": {"all_srcc": _csv_numbers(layout.ALL_SRCC)},
        "bundle": _scores(),
    }


def _write_checkpoint(path: Path, seed: int) -> None:
    """Write weights drawn by numpy, whose draws are the same on every machine."""
    import torch

    from reiqa import encoders

    draw = np.random.Generator(np.random.PCG64(seed))
    tensors = encoders.build_encoder("shufflenet_v2_x0_5", "content").body.state_dict()
    for name, tensor in tensors.items():
        if tensor.ndim > 1:
            spread = (2 / tensor[0].numel()) ** 0.5
            values = draw.normal(0, spread, tuple(tensor.shape))
            tensors[name] = torch.from_numpy(values).float()
    torch.save(tensors, path)


def _fetched() -> dict[str, list[float]]:
    """Mean and deviation of each made image: the bank's work, as it is stored."""
    folder = layout.raw("views_degraded") / "images"
    found = sorted(folder.iterdir())
    pixels = [np.asarray(Image.open(path), dtype=np.float64) for path in found]
    return {
        "mean": [each.mean() for each in pixels],
        "deviation": [each.std() for each in pixels],
    }


def _chunks() -> dict[str, list[float]]:
    from reiqa.chunks.render import render
    from reiqa.chunks.shards import ShardReader

    reader = ShardReader([layout.shard("plants", "00000")])
    windows = [reader.window(number) for number in range(len(reader))]
    pairs = render([window for window, _ in windows], [recipe for _, recipe in windows])
    return {
        "windows": [float(window.double().mean()) for window, _ in windows],
        "recipes": [
            float(number)
            for _, recipe in windows
            for number in (recipe.height, recipe.width, *recipe.content, *recipe.levels)
        ],
        "queries": pairs.query.double().mean((-1, -2, -3)).flatten().tolist(),
        "keys": pairs.key.double().std((-1, -2, -3)).flatten().tolist(),
    }


def _models() -> dict[str, list[float]]:
    """How far training moved each tensor from its random start, and the loss."""
    from safetensors.numpy import load_file

    from reiqa import encoders

    found = {}
    for expert in ("content", "quality"):
        seed = seeds.derive("weights", seeds.derive("pretrain", expert, PARAMETERS["seed"]))
        start = encoders.build_encoder("resnet18", expert, seed).body.state_dict()
        found[f"{expert} moved"] = [
            float(np.abs(tensor - start[name].numpy()).mean())
            for name, tensor in sorted(load_file(layout.model(expert)).items())
            if name.endswith("weight")
        ]
        curve = layout.companion(layout.model(expert), "curve.csv")
        found[f"{expert} loss"] = [float(row["loss"]) for row in _csv(curve)]
    return found


def _rows(features: np.ndarray[Any, Any]) -> list[float]:
    """Norm of each row, and of each block of a hundred columns."""
    blocks = np.array_split(features, range(100, features.shape[1], 100), axis=1)
    return [
        *np.linalg.norm(features, axis=1).tolist(),
        *(float(np.linalg.norm(block)) for block in blocks),
    ]


def _fitted() -> dict[str, list[float]]:
    found = {}
    for name in ("views", "walls"):
        path = layout.result(name)
        found[f"{name} predictions"] = _csv_numbers(layout.companion(path, "predictions.csv"))
        found[f"{name} splits"] = [float(len(_csv(layout.companion(path, "splits.csv"))))]
        variants = json.loads(path.read_text())["variants"]
        found[f"{name} rmse"] = [variants[key]["rmse"]["median"] for key in sorted(variants)]
    return found


def _scores() -> dict[str, list[float]]:
    from reiqa import Scorer

    scorer = Scorer.load("bundles/views")
    images = sorted((layout.raw("views") / "images").iterdir())[:6]
    return {"scores": [float(score) for score in scorer(images)]}


def _csv(path: Path) -> list[dict[str, str]]:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines))


def _csv_numbers(path: Path) -> list[float]:
    """Every cell that is a number, row by row."""
    found = []
    for row in _csv(path):
        for cell in row.values():
            with contextlib.suppress(ValueError):
                found.append(float(cell))
    return found


def _leaves(tree: Any) -> list[float]:
    """Every number of a JSON tree, in the order of its keys."""
    if isinstance(tree, dict):
        return [leaf for key in sorted(tree) for leaf in _leaves(tree[key])]
    if isinstance(tree, list):
        return [leaf for each in tree for leaf in _leaves(each)]
    return [float(tree)] if isinstance(tree, int | float) and not isinstance(tree, bool) else []


def formats() -> dict[str, int]:
    """Format number of every stage, and of bundles."""
    return {**{name: stage.format for name, stage in STAGES.items()}, "bundle": bundles.FORMAT}


def changed(stage: str, found: Values, pinned: Values) -> list[str]:
    """Names of a stage's numbers that are not the pinned ones."""
    relative = TRAINED_TOLERANCE if stage == "model" else TOLERANCE
    return [
        name
        for name in sorted({*found[stage], *pinned.get(stage, {})})
        if not _close(found[stage].get(name, []), pinned.get(stage, {}).get(name, []), relative)
    ]


def _close(found: list[float], pinned: list[float], relative: float) -> bool:
    return len(found) == len(pinned) and np.allclose(
        found, pinned, rtol=relative, atol=relative * 0.1 * float(np.abs([*pinned, 0.0]).max())
    )


def pin() -> None:
    """Run all stages and pin their numbers."""
    with tempfile.TemporaryDirectory() as folder, miniature(Path(folder)):
        found = run_all()
    if PINNED.exists():
        pinned = json.loads(PINNED.read_text())
        raised = False
        # A raised number earlier in the pipeline may change what every later stage computes.
        for stage, number in formats().items():
            raised |= number != pinned["formats"].get(stage)
            if not raised and (names := changed(stage, found, pinned["values"])):
                sys.exit(f"{stage}: other numbers ({', '.join(names)}), but the same format number")
    rounded = {
        stage: {name: [float(f"{each:.7g}") for each in numbers] for name, numbers in named.items()}
        for stage, named in found.items()
    }
    tree = {"formats": formats(), "values": rounded}
    PINNED.write_text(
        re.sub(r"(?<=[\d.,]) *\n +(?=[-\d\]])", " ", json.dumps(tree, indent=1)) + "\n"
    )


if __name__ == "__main__":
    pin()
