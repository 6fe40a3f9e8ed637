"""Compare the results of projects that were fitted on the same splits, for example with a control.

    python benchmarks/control.py PROJECT CONTROL...

Each folder holds what ``reiqa fit --dataset D`` wrote. Printed are SRCC over the splits, paired
tests of both experts of the first project against both of each other project, and SRCC across
datasets where the projects have ``results/cross.csv``.
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reiqa import layout, store
from reiqa.errors import BadInputError
from reiqa.params import VARIANTS, Variant
from reiqa.regression import statistics
from reiqa.report import results, tables
from reiqa.report.results import CrossResult

#: Split, image and rating of each prediction: equal for projects that can be compared.
Tested = list[tuple[str, str, str]]


@dataclass(frozen=True)
class Fitted:
    """Results of a project on one dataset.

    Attributes:
        name: the folder, as it was given.
        srcc: one value per split, by variant; NaN if undefined.
        tested: the rated images of each test part.
        test_share: number of test images divided by number of training images, mean over splits.
        across: results across datasets; empty without ``results/cross.csv``.
    """

    name: str
    srcc: dict[Variant, list[float]]
    tested: Tested
    test_share: float
    across: list[CrossResult]


def read(name: str, dataset: str) -> Fitted:
    """Read the results of a project.

    Raises:
        BadInputError: a file is missing or not what ``reiqa fit`` writes.
    """
    path = layout.result(dataset)
    try:
        with chdir(name):
            variants = store.read_json(path)["variants"]
            return Fitted(
                name,
                {
                    variant: np.array(variants[variant]["srcc"]["splits"], dtype=float).tolist()
                    for variant in VARIANTS
                },
                [
                    (row["split"], row["image"], row["mos"])
                    for row in _rows(layout.companion(path, "predictions.csv"))
                ],
                _test_share(_rows(layout.companion(path, "splits.csv"))),
                results.read_cross() if layout.CROSS.exists() else [],
            )
    except (BadInputError, OSError) as error:
        raise BadInputError(f"{name}: {error}; run there: reiqa fit --dataset {dataset}") from None
    except (KeyError, TypeError, ValueError) as error:
        raise BadInputError(
            f"{name}/{path}: not a valid result ({error!r}); run there: reiqa fit --dataset"
            f" {dataset} --force"
        ) from None


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def _test_share(rows: Sequence[dict[str, str]]) -> float:
    columns = [[row[key] for row in rows] for key in rows[0] if key.startswith("split_")]
    return float(np.mean([parts.count("test") / parts.count("train") for parts in columns]))


def check_same_splits(first: Fitted, other: Fitted) -> None:
    """Check that two projects were tested on the same images in each split.

    Raises:
        BadInputError: they were not, so that their splits are no pairs.
    """
    if first.tested != other.tested:
        raise BadInputError(
            f"{other.name}: not the same splits, images or ratings as in {first.name}; fit both"
            " with the same index, seed and regression.protocol"
        )


def srcc_rows(projects: Sequence[Fitted]) -> list[tuple[str, ...]]:
    rows = []
    for project in projects:
        for variant in VARIANTS:
            found = statistics.summary_statistics(project.srcc[variant])
            rows.append((project.name, variant, _number(found["median"]), _number(found["mean"])))
    return rows


def test_rows(projects: Sequence[Fitted]) -> list[tuple[str, ...]]:
    first = projects[0]
    rows = []
    for other in projects[1:]:
        found = statistics.paired_tests(first.srcc["both"], other.srcc["both"], first.test_share)
        p_values = (_p_value(found[key]) for key in ("wilcoxon_p", "corrected_t_p"))
        rows.append((first.name, other.name, _number(found["difference"], sign=True), *p_values))
    return rows


def cross_rows(projects: Sequence[Fitted]) -> list[tuple[str, ...]]:
    """Return a row for each pair of datasets and variant, with one column per project."""
    by_project = [{(c.train, c.test, c.variant): c.srcc for c in p.across} for p in projects]
    places = dict.fromkeys(place for found in by_project for place in found)
    return [(*place, *(_number(found.get(place)) for found in by_project)) for place in places]


def _number(value: float | None, sign: bool = False) -> str:
    return "–" if value is None else f"{value:{'+' if sign else ''}.4f}"


def _p_value(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("first", metavar="PROJECT")
    parser.add_argument("others", metavar="CONTROL", nargs="+")
    parser.add_argument("--dataset", default="biq2021")
    given = parser.parse_args()
    try:
        projects = [read(name, given.dataset) for name in (given.first, *given.others)]
        for other in projects[1:]:
            check_same_splits(projects[0], other)
    except BadInputError as error:
        sys.exit(str(error))
    count = len(projects[0].srcc["both"])
    print(f"SRCC on {given.dataset}, {count} splits:\n")
    print(tables.to_markdown(("project", "variant", "median", "mean"), srcc_rows(projects)))
    print("\nBoth experts of the first project less both of the other, over the same splits:\n")
    head = ("first", "other", "SRCC, median difference", "Wilcoxon p", "corrected t-test p")
    print(tables.to_markdown(head, test_rows(projects)))
    if rows := cross_rows(projects):
        print("\nSRCC across datasets:\n")
        names = (project.name for project in projects)
        print(tables.to_markdown(("trained on", "tested on", "variant", *names), rows))


if __name__ == "__main__":
    main()
