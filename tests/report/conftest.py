"""A finished run in miniature, made up from a seed: what `reiqa report` reads, and nothing else."""

import contextlib
import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from reiqa import layout, params, stages, store
from reiqa.report.page import write_page

VARIANTS = ("content", "quality", "both")
NOISE = {"content": 0.22, "quality": 0.14, "both": 0.1}
SPLITS = 5
KINDS = ("jpeg", "lens_blur", "white_noise", "pixelate")

TREE = {
    "preset": "made-up",
    "datasets": ["demo", "clive"],
    "chunks": {"corpora": ["kodak"], "n_aug": 3, "patch": 32},
    "content": {"source": "package", "backbone": "efficientnet_lite0"},
    "quality": {
        "source": "pretrain",
        "backbone": "shufflenet_v2_x0_5",
        "training": {"epochs": 2, "batch_size": 4},
    },
    "report": {"thumbnails": 3},
}


PARAMS = params.Params.model_validate(TREE)


@dataclass
class Project:
    """A project folder that is the current folder, and its parameters."""

    folder: Path
    params: params.Params


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """A folder in which the report has been written; nobody writes to it again."""
    folder = tmp_path_factory.mktemp("finished")
    with contextlib.chdir(folder):
        build(PARAMS)
        write_page(PARAMS)
    return folder


@pytest.fixture
def written(finished, monkeypatch) -> Project:
    """A project with its report, to be read only."""
    monkeypatch.chdir(finished)
    return Project(finished, PARAMS)


@pytest.fixture
def project(tmp_path, monkeypatch) -> Project:
    """A project of one's own, its report not yet written."""
    monkeypatch.chdir(tmp_path)
    build(PARAMS)
    return Project(tmp_path, PARAMS)


def build(settings) -> None:
    for name in settings.datasets:
        write_dataset(settings, name, proxy=name == "demo")
    write_cross(settings)
    write_corpus()
    write_experts(settings)
    for name in settings.datasets:
        inputs = [layout.model(expert) for expert in ("content", "quality")]
        seal(settings, layout.result(name), "fit", name, inputs)
    seal(settings, layout.CROSS, "cross", "", [])


def write_dataset(settings, name: str, proxy: bool, rows: int = 40) -> None:
    draw = np.random.default_rng([len(name), 7])
    rated = draw.uniform(0.05, 0.95, rows).round(4)
    images = [f"images/{name}_{i:03d}.png" for i in range(rows)]
    for image, value in zip(images, rated, strict=True):
        path = layout.raw(name) / image
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = draw.normal(128, 20 + 60 * value, (48, 64, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(path)
    folder = layout.result(name).parent
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f"{name}.predictions.csv").open("w", newline="") as stream:
        out = csv.writer(stream)
        shares = ["content_share", "quality_share"] if proxy else []
        out.writerow(["split", "image", "mos", *VARIANTS, "residual", *shares])
        for split in range(SPLITS):
            for i in range(split % 2, rows, 2):
                guesses = [rated[i] + draw.normal(0, NOISE[v]) for v in VARIANTS]
                values = [f"{x:.6g}" for x in (rated[i], *guesses, guesses[-1] - rated[i])]
                # A quarter of each deviation from the constant 0.5 is content's.
                parts = [f"{part * (guesses[-1] - 0.5):.6g}" for part in (0.25, 0.75)]
                out.writerow([split, images[i], *values, *parts[: len(shares)]])
    with (folder / f"{name}.alphas.csv").open("w", newline="") as stream:
        out = csv.writer(stream)
        out.writerow(["l1_ratio", "alpha", *VARIANTS])
        for power in range(-3, 7):
            out.writerow(["", 10.0**power, *(0.8 - NOISE[v] - 0.01 * power**2 for v in VARIANTS)])
    variants = {v: variant(draw, NOISE[v], proxy, v, name) for v in VARIANTS}
    test = {"difference": 0.04, "low": 0.01, "high": 0.07, "wilcoxon_p": 0.03, "corrected_t_p": 0.1}
    text = "5 random splits 70/10/20" + (" by reference" if proxy else "")
    tree = {
        "dataset": name,
        "n": rows,
        "listed": rows + 2,
        "missing": 2,
        "unrated": 0,
        "errors": [],
        "scaled": 0,
        "proxy": proxy,
        "rating": {"low": 0.0, "high": 1.0},
        "references": 4 if proxy else None,
        "protocol": {"asked": "random", "used": "random", "splits": SPLITS, "text": text},
        "regression": {"model": "ridge"},
        "variants": variants,
        "tests": {"both-content": test, "both-quality": test},
        "warnings": ["2 <listed> images are missing"],
        "files": {},
    }
    store.write_json(layout.result(name), tree)


def variant(draw, noise: float, grouped: bool, name: str, dataset: str) -> dict:
    def spread(middle: float) -> dict:
        values = (middle + draw.normal(0, 0.02, SPLITS)).round(6).tolist()
        return {
            "median": float(np.median(values)),
            "mean": float(np.mean(values)),
            "std": float(np.std(values)),
            "splits": values,
        }

    groups = {kind: {"srcc": 0.9 - noise - 0.05 * i, "n": 10} for i, kind in enumerate(KINDS)}
    levels = {str(level): {"srcc": 0.3 + 0.1 * level, "n": 8} for level in range(1, 6)}
    paper = {"srcc": 0.84, "plcc": 0.854, "source": "slides"}
    middle = 1 - 1.2 * noise
    return {
        "width": 100,
        "srcc": {**spread(middle), "low": middle - 0.05, "high": middle + 0.05},
        "plcc": spread(middle + 0.01),
        "plcc_raw": spread(middle),
        "krcc": spread(middle - 0.15),
        "rmse": spread(noise),
        "paper": paper if name == "both" and dataset == "clive" else None,
        "by_distortion": groups if grouped else {},
        "by_level": levels if grouped else {},
    }


def write_corpus() -> None:
    """Two photographs, of which the first is almost flat."""
    draw = np.random.default_rng(5)
    lines = ["image,width,height,digest"]
    for name, deviation in (("flat", 1), ("stones", 50)):
        path = layout.raw("kodak") / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = draw.normal(128, deviation, (20, 28, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(coarse).resize((224, 160), Image.Resampling.BICUBIC).save(path)
        lines.append(f"{path.name},224,160,{store.file_digest(path)[:16]}")
    layout.index("kodak").parent.mkdir(parents=True, exist_ok=True)
    layout.index("kodak").write_text("\n".join(lines) + "\n")


def write_cross(settings) -> None:
    with layout.CROSS.open("w", newline="") as stream:
        out = csv.writer(stream)
        head = "train,test,variant,srcc,plcc,krcc,rmse,n,shared_references,paper_srcc,difference"
        out.writerow(head.split(","))
        for train, test in (("demo", "clive"), ("clive", "demo")):
            for v in VARIANTS:
                out.writerow([train, test, v, 0.7 - NOISE[v], 0.6, 0.5, 0.2, 40, 0, "", ""])


def write_experts(settings) -> None:
    draw = np.random.default_rng(3)
    for expert in ("content", "quality"):
        path = layout.model(expert)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(expert.encode())
        store.write_json(path.with_suffix(".json"), card(expert))
        if expert == "quality":
            lines = ["step,epoch,loss,top1,learning_rate"]
            for step in range(1, 201):
                loss = 7 * np.exp(-step / 80) + 1 + draw.normal(0, 0.2)
                lines.append(f"{step},{step // 100},{loss:.6g},{1 - np.exp(-step / 90):.6g},0.001")
            path.with_suffix(".curve.csv").write_text("\n".join(lines) + "\n")
        seal(settings, path, "model", expert, [])
    known = {"type_accuracy": 0.71, "level_srcc": 0.48, "distance_srcc": 0.62, "retrieval": 0.4}
    encoders = {f"{expert}{kind}": known for expert in params.EXPERTS for kind in ("", "_random")}
    counts = {"distortions": 7, "retrieval": 156}
    store.write_json(layout.PROBE, {"encoders": encoders, "photographs": counts})


def card(expert: str) -> dict:
    return {
        "expert": expert,
        "source": "pretrain",
        "backbone": "shufflenet_v2_x0_5",
        "width": 1024,
        "steps": 200,
        "pairs_per_step": 4096,
    }


def seal(settings, path: Path, stage: str, item: str, inputs: list[Path]) -> None:
    store.sign_sidecar(
        path,
        stage,
        item,
        stages.stage_parameters(settings, stage, item),
        store.input_digests(inputs),
    )
