"""Where each artifact lies, relative to the project's folder. The one place that spells paths."""

from pathlib import Path

from reiqa.params import EXPERTS, ExpertName

#: How the name of an image file ends, in lower case.
IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)


def is_hidden(name: str) -> bool:
    """Say whether folders of images are read without this entry: hidden, or macOS's resource forks.

    macOS puts a ``._NAME`` next to each file it copies to a foreign disk, and a ``__MACOSX`` folder
    of them into archives.
    """
    return name.startswith((".", "__MACOSX"))


def raw(name: str) -> Path:
    """Folder of a dataset's or corpus's files as published."""
    return Path("data/raw") / name


def receipt(name: str) -> Path:
    """What was fetched of a set: written last, so its presence means that the set is whole."""
    return Path("data/raw") / f"{name}.json"


def index(name: str) -> Path:
    """Checked table of a set's images."""
    return Path("data/index") / f"{name}.csv"


def shard(corpus: str, number: int | str) -> Path:
    """One file of windows and recipes."""
    return Path("data/chunks") / corpus / f"shard-{number:0>5}.h5"


def model(expert: ExpertName) -> Path:
    """Weights of an expert; its card lies beside it as ``.json``."""
    return Path("models") / f"{expert}.safetensors"


def features(dataset: str, expert: ExpertName) -> Path:
    """Feature cache of one dataset through one expert."""
    return Path("features") / dataset / f"{expert}.h5"


def regression_inputs(*sets: str) -> list[Path]:
    """What a regressor reads of sets: the index of each, and its features through both experts."""
    return [
        path
        for name in sets
        for path in (index(name), *(features(name, expert) for expert in EXPERTS))
    ]


def result(dataset: str) -> Path:
    """Metrics of one dataset, all variants."""
    return Path("results/datasets") / f"{dataset}.json"


PROBE = Path("models/probe.json")
CROSS = Path("results/cross.csv")
ALL_SRCC = Path("results/all_srcc.csv")
SUMMARY = Path("results/summary.json")
REPORT = Path("results/report.html")
PLOTS = Path("results/plots")
PARAMS = Path("params.yaml")


def companion(path: Path, kind: str) -> Path:
    """A file next to an artifact: ``demo.json`` and ``splits.csv`` give ``demo.splits.csv``."""
    return path.with_name(f"{path.stem}.{kind}")
