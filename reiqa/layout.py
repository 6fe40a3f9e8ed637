"""Where each artifact lies, relative to the project's folder. The one place that spells paths."""

from pathlib import Path

from reiqa.params import ExpertName


def raw(name: str) -> Path:
    """Folder of a dataset's or corpus's files as published."""
    return Path("data/raw") / name


def receipt(name: str) -> Path:
    """What was fetched of a set: written last, so its presence means that the set is whole."""
    return Path("data/raw") / f"{name}.json"


def index(name: str) -> Path:
    """Checked table of a set's images."""
    return Path("data/index") / f"{name}.csv"


def shard(corpus: str, number: int) -> Path:
    """One file of windows and recipes."""
    return Path("data/chunks") / corpus / f"shard-{number:05d}.h5"


def model(expert: ExpertName) -> Path:
    """Weights of an expert; its card lies beside it as ``.json``."""
    return Path("models") / f"{expert}.safetensors"


def features(dataset: str, expert: ExpertName) -> Path:
    """Feature cache of one dataset through one expert."""
    return Path("features") / dataset / f"{expert}.h5"


def result(dataset: str) -> Path:
    """Metrics of one dataset, all variants."""
    return Path("results/datasets") / f"{dataset}.json"


CROSS = Path("results/cross.csv")
ALL_SRCC = Path("results/all_srcc.csv")
SUMMARY = Path("results/summary.json")
REPORT = Path("results/report.html")
PLOTS = Path("results/plots")
PARAMS = Path("params.yaml")
