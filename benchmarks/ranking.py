"""Whether a bundle's scores fall with the level of each distortion.

    python benchmarks/ranking.py                                 in a project with both datasets
    python benchmarks/ranking.py --mirror DIR                    makes those that are absent
    python benchmarks/ranking.py --photographs 2 --out rank.json

Scores the copies of datasets of degraded copies; an original is level 0 of each distortion. The
datasets are indexed in the current folder.
"""

import argparse
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from reiqa import layout, store
from reiqa.data import fetch, index
from reiqa.distortions import LEVELS
from reiqa.progress import track
from reiqa.regression import metrics
from reiqa.scoring import Scorer

DATASETS = ("kodak_degraded", "gb82_degraded")

Values = npt.NDArray[np.float64]
#: ``(LEVELS + 1,)`` scores of levels 0, 1, ... by photograph and distortion.
Series = dict[tuple[str, str], Values]


def score_dataset(scorer: Scorer, name: str, count: int | None) -> Series:
    """Score the copies of the first ``count`` photographs of a dataset, by name; None for all."""
    table = index.read_index(layout.index(name))
    copies: dict[str, list[int]] = defaultdict(list)
    for row, reference in enumerate(table.reference):
        copies[reference].append(row)
    series: Series = {}
    for reference in track(sorted(copies)[:count], name, unit="photographs"):
        rows = copies[reference]
        scores = scorer([layout.raw(name) / table.images[row] for row in rows])
        places = [(table.distortion[row], table.level[row]) for row in rows]
        score_of = dict(zip(places, map(float, scores), strict=True))
        for kind in sorted({kind for kind, level in places if level}):
            levels = [score_of[kind, level] for level in range(1, LEVELS + 1)]
            series[f"{name}/{reference}", kind] = np.array([score_of["", 0], *levels])
    return series


def summarise(series: Mapping[tuple[str, str], Values]) -> dict[str, Any]:
    """Return the statistics of each distortion, and the distortion with the lowest median SRCC.

    ``median_srcc`` is over photographs, of level and negative score; ``in_order`` is the fraction
    of adjacent levels of which the higher has the lower score.
    """
    of_type: dict[str, list[Values]] = defaultdict(list)
    for (_, kind), scores in series.items():
        of_type[kind].append(scores)
    types = {
        kind: {"median_srcc": float(np.median([*map(srcc, found)])), "in_order": in_order(found)}
        for kind, found in sorted(of_type.items())
    }
    lowest = min(types, key=lambda kind: types[kind]["median_srcc"])
    return {
        "photographs": len({photograph for photograph, _ in series}),
        "in_order": in_order(list(series.values())),
        "lowest": {"type": lowest, **types[lowest]},
        "types": types,
    }


def srcc(scores: Values) -> float:
    """Rank correlation of level and negative score; 0 if all scores are equal."""
    return float(np.nan_to_num(metrics.srcc(np.arange(len(scores)), -scores)))


def in_order(scores: list[Values]) -> float:
    return float(np.mean(np.diff(scores, axis=1) < 0))


def lines(name: str, summary: Mapping[str, Any]) -> list[str]:
    return [
        f"| {name} | {kind} | {found['median_srcc']:.3f} | {found['in_order']:.1%} |"
        for kind, found in summary["types"].items()
    ] + [f"| {name} | all | {summary['lowest']['median_srcc']:.3f} | {summary['in_order']:.1%} |"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="lite")
    parser.add_argument("--datasets", nargs="+", default=DATASETS, metavar="NAME")
    parser.add_argument("--photographs", type=int, metavar="N", help="of each dataset; default all")
    parser.add_argument("--mirror", type=Path, help="fetch and index absent datasets from there")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the statistics as JSON")
    given = parser.parse_args()
    for name in given.datasets:
        if given.mirror and not layout.index(name).exists():
            fetch.fetch(name, given.mirror)
            index.build_index(name)
    scorer = Scorer.load(given.bundle)
    series = {name: score_dataset(scorer, name, given.photographs) for name in given.datasets}
    summaries = {name: summarise(found) for name, found in series.items()}
    whole = summarise({key: one for found in series.values() for key, one in found.items()})
    print("| dataset | distortion | median SRCC (all: lowest) | in order |\n|---|---|---|---|")
    for name, summary in (*summaries.items(), ("together", whole)):
        print(*lines(name, summary), sep="\n")
    if given.out:
        tree = {"bundle": scorer.bundle.identity, "together": whole, "datasets": summaries}
        store.write_json(given.out, tree)


if __name__ == "__main__":
    main()
