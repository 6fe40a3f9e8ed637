"""Paths of all artifacts, relative to the project folder."""

from pathlib import Path

from reiqa.expert_names import EXPERTS, ExpertName

#: Minimum side in pixels of an image to score: on smaller ones the encoders' last stages see
#: little but padding.
LEAST_SIDE = 32

#: Suffixes of image files, in lower case.
IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".gif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg"}
    | {".png", ".ppm", ".tif", ".tiff", ".webp"}
)


def is_hidden(name: str) -> bool:
    """Return whether a folder entry is ignored: a hidden file or a macOS resource fork.

    macOS writes ``._NAME`` files to foreign disks and ``__MACOSX`` folders into archives.
    """
    return name.startswith((".", "__MACOSX"))


def raw(name: str) -> Path:
    """Return the folder that the files of a dataset are fetched into."""
    return Path("data/raw") / name


def image_folder(name: str) -> Path:
    """Return the folder that the images of an index are relative to.

    The folder of a local dataset (``folder`` in the catalog) is the user's; never write to it.
    """
    # Imported here because the command line imports this module for its help.
    from reiqa import catalog

    entry = catalog.load_catalog().get(name)
    return Path(entry.folder) if entry is not None and entry.folder else raw(name)


def receipt(name: str) -> Path:
    """Return the receipt of a dataset; it is written last and exists only for complete datasets."""
    return Path("data/raw") / f"{name}.json"


def index(name: str) -> Path:
    """Return the index of a dataset."""
    return Path("data/index") / f"{name}.csv"


def shard(corpus: str, number: int | str) -> Path:
    """Return one shard of windows and recipes."""
    return Path("data/chunks") / corpus / f"shard-{number:0>5}.h5"


def model(expert: ExpertName) -> Path:
    """Return the weights of an expert; its card has the suffix ``.json``."""
    return Path("models") / f"{expert}.safetensors"


def checkpoint(file: str) -> Path:
    """Return the path of weights that params.yaml names.

    It is relative to the project folder, or else to the package, so that
    ``bundles/lite/quality.safetensors`` is the quality expert of the installed bundle ``lite``.
    """
    path = Path(file)
    shipped = Path(__file__).parent / path
    return shipped if not path.exists() and shipped.is_file() else path


def features(dataset: str, expert: ExpertName) -> Path:
    """Return the feature cache of a dataset and an expert."""
    return Path("features") / dataset / f"{expert}.h5"


def regression_inputs(*sets: str) -> list[Path]:
    """Return the inputs of a regressor: index and feature caches of each dataset."""
    return [
        path
        for name in sets
        for path in (index(name), *(features(name, expert) for expert in EXPERTS))
    ]


def result(dataset: str) -> Path:
    """Return the result of a dataset."""
    return Path("results/datasets") / f"{dataset}.json"


PROBE = Path("models/probe.json")
CROSS = Path("results/cross.csv")
ALL_SRCC = Path("results/all_srcc.csv")
SUMMARY = Path("results/summary.json")
REPORT = Path("results/report.html")
PLOTS = Path("results/plots")
TABLES = Path("results/tables")
#: Tables for a paper.
TABLE_FILES = (
    *(
        TABLES / f"{name}.{kind}"
        for name in ("authentic", "synthetic", "cross", "results")
        for kind in ("tex", "md")
    ),
    *(TABLES / f"by_distortion.{kind}" for kind in ("csv", "md")),
)
PARAMS = Path("params.yaml")


def companion(path: Path, kind: str) -> Path:
    """Return a file next to an artifact: ``demo.json``, ``splits.csv`` give ``demo.splits.csv``."""
    return path.with_name(f"{path.stem}.{kind}")
