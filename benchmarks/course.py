"""What a pretraining was worth on its way: the quality expert alone on rated photographs.

    cd PROJECT && python .../course.py random=start.pt half=work/pretrain/.../step-N.pt

Each checkpoint (or model file) becomes an expert by the verbs of reiqa in a folder of its own below
``work/course``, with the parameters of the project; then the protocol's splits judge its features.
"""

import argparse
import contextlib
import os
import subprocess
import sys
from pathlib import Path

import yaml

from reiqa import layout, params, store
from reiqa.regression import splits, statistics
from reiqa.regression.dataset import load_rated_features
from reiqa.regression.evaluation import cross_validate
from reiqa.regression.summary import split_metrics

SHARED = ("data/raw", "data/index")


def lay_out(folder: Path, file: Path) -> None:
    """Make a folder in which the quality expert is what a checkpoint holds."""
    tree = yaml.safe_load(layout.PARAMS.read_text(encoding="utf-8"))
    backbone = tree["quality"]["backbone"]
    tree["quality"] = {"source": "import", "backbone": backbone, "file": str(file.absolute())}
    tree["regression"]["ranking"] = None
    store.write_text(folder / layout.PARAMS, yaml.safe_dump(tree, sort_keys=False))
    (folder / "data").mkdir(exist_ok=True)
    for name in SHARED:
        if not (folder / name).exists():
            (folder / name).symlink_to(os.path.relpath(name, (folder / name).parent))


def judged(folder: Path, dataset: str) -> dict[str, float]:
    """Make the expert and its features; return SRCC over the splits."""
    for verb in (
        ("weights", "import", "--expert", "quality"),
        ("features", "--dataset", dataset, "--expert", "quality"),
    ):
        subprocess.run([sys.executable, "-m", "reiqa", *verb], cwd=folder, check=True)
    with contextlib.chdir(folder):
        settings = params.load_params(layout.PARAMS)
        sample = load_rated_features(dataset, ["quality"])
        how = settings.regression
        parts = splits.make_splits(
            sample.index, how.protocol, how.splits, how.fractions, settings.seed
        )
        found = cross_validate(sample, parts, how, settings.compute.threads, ["quality"])
        return statistics.summary_statistics(
            split_metrics(found, sample.ratings, "quality").values["srcc"]
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", nargs="+", metavar="NAME=FILE")
    parser.add_argument("--dataset", default="biq2021")
    given = parser.parse_args()
    print("| quality expert | SRCC, median | standard deviation over splits |\n|---|---|---|")
    for each in given.checkpoints:
        name, _, file = each.partition("=")
        folder = Path("work/course") / name
        lay_out(folder, Path(file))
        srcc = judged(folder, given.dataset)
        print(f"| {name} | {srcc['median']:.3f} | {srcc['std']:.3f} |", flush=True)


if __name__ == "__main__":
    main()
