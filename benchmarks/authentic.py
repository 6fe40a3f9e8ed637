"""What the experts encode of authentic distortions: linear probes of MMP-2K's annotations.

    python benchmarks/authentic.py PROJECT            prints the tables
    python benchmarks/authentic.py PROJECT --write    writes docs/results/biq2021/authentic.md

PROJECT is a project folder with the dataset, the index and the features of ``mmp2k``. Its table of
ratings also lists the distortions of each photograph: a factor, a magnitude and a position.
"""

import argparse
import contextlib
import csv
import json
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from reiqa import catalog, layout, store
from reiqa.errors import BadInputError
from reiqa.params import VARIANTS, Variant
from reiqa.regression import metrics, statistics
from reiqa.regression.dataset import RatedFeatures, load_rated_features
from reiqa.report import tables

DATASET = "mmp2k"
OUT = Path(__file__).parents[1] / "docs" / "results" / "biq2021" / "authentic.md"

MAGNITUDES = {"mild": 1, "medium": 2, "strong": 3}
#: Column of the annotation: a JSON list of objects with ``factor`` and ``magnitude``.
COLUMN = "distortion annotation"

FOLDS, SEEDS = 5, range(5)
#: A factor is probed if at least this many photographs have it, alone if it has to be named.
LEAST = 30
#: Number of the most frequent factors whose magnitude is predicted.
MAGNITUDE_FACTORS = 4
#: Penalties of the ridge; chosen by leave-one-out error on the training photographs of a fold.
ALPHAS = np.logspace(1, 7, 13)

Floats = npt.NDArray[np.float64]
#: Magnitude (1 to 3) of each factor of a photograph.
Distortions = dict[str, int]
#: Returns a metric of targets and predictions, both ``(n, T)``.
Metric = Callable[[Floats, Floats], float]


@dataclass(frozen=True)
class Result:
    """One line of a table.

    Attributes:
        name: what is predicted.
        count: number of photographs.
        chance: value without any information.
        values: one value per fold and seed, by variant.
    """

    name: str
    count: int
    chance: float
    values: Mapping[Variant, Sequence[float]]


def parse_annotation(cell: str) -> Distortions:
    """Return the distortions of a photograph.

    Upper case and white space are ignored, as are entries without a factor. A factor that is
    listed for several positions has its greatest magnitude.

    Raises:
        ValueError: the cell is not JSON of the expected form, or a magnitude is unknown.
    """
    found: Distortions = {}
    for entry in json.loads(cell):
        words = (entry["factor"], entry["magnitude"])
        factor, magnitude = (" ".join(word.lower().split()) for word in words)
        if not factor:
            continue
        if magnitude not in MAGNITUDES:
            raise ValueError(f"magnitude {magnitude!r}; allowed: {', '.join(MAGNITUDES)}")
        found[factor] = max(found.get(factor, 0), MAGNITUDES[magnitude])
    return found


def read_annotations(images: Sequence[str]) -> list[Distortions]:
    """Return the distortions of images of the current project's index.

    Raises:
        BadInputError: the table is missing or damaged, or does not contain an image.
    """
    ratings = catalog.get_entry(DATASET).ratings
    assert ratings is not None  # the catalog entry has them
    path = layout.raw(DATASET) / ratings.file
    found: dict[str, Distortions] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            for row in csv.DictReader(stream):
                name = row[ratings.image]
                found[_tail(name, ratings.tail)] = parse_annotation(row[COLUMN])
    except FileNotFoundError:
        raise BadInputError(f"{path}: not found; run: reiqa fetch --dataset {DATASET}") from None
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise BadInputError(f"{path}: invalid annotation ({error!r}); fetch it again") from None
    try:
        return [found[_tail(image, ratings.tail)] for image in images]
    except KeyError as error:
        raise BadInputError(f"{path}: no annotation of {error}; fetch it again") from None


def _tail(name: str, count: int) -> str:
    return "/".join(PurePosixPath(name).parts[-count:])


def cross_validate(
    features: npt.NDArray[np.float32], targets: Floats, scores: Sequence[Metric]
) -> list[list[float]]:
    """Return metrics of ridge regressions on test folds.

    Args:
        features: ``(n, D)``; standardised on the training photographs of each fold.
        targets: ``(n, T)``; each has its own penalty.
        scores: metrics of the targets and predictions of a fold.

    Returns:
        One list per metric, with a value for each fold of each seed.
    """
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import KFold
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    found: list[list[float]] = [[] for _ in scores]
    for seed in SEEDS:
        for train, test in KFold(FOLDS, shuffle=True, random_state=seed).split(features):
            model = make_pipeline(StandardScaler(), RidgeCV(ALPHAS, alpha_per_target=True))
            model.fit(features[train].astype(np.float64), targets[train])
            predicted = model.predict(features[test].astype(np.float64)).reshape(len(test), -1)
            for values, score in zip(found, scores, strict=True):
                values.append(score(targets[test], predicted))
    return found


def accuracy(targets: Floats, predicted: Floats) -> float:
    return float(np.mean(targets.argmax(1) == predicted.argmax(1)))


def balanced_accuracy(targets: Floats, predicted: Floats) -> float:
    """Return the mean over classes of the fraction of their photographs that are recognised."""
    truth, hit = targets.argmax(1), targets.argmax(1) == predicted.argmax(1)
    return float(np.mean([hit[truth == kind].mean() for kind in np.unique(truth)]))


def auc(column: int) -> Metric:
    """Return the metric: area under the ROC curve of a 0/1 target; NaN if all are equal."""

    def score(targets: Floats, predicted: Floats) -> float:
        from sklearn.metrics import roc_auc_score

        truth = targets[:, column]
        return float(roc_auc_score(truth, predicted[:, column])) if np.ptp(truth) else float("nan")

    return score


def srcc(targets: Floats, predicted: Floats) -> float:
    return metrics.srcc(targets[:, 0], predicted[:, 0])


def only_factors(distortions: Sequence[Distortions]) -> list[str]:
    """Return the factor of photographs that have exactly one, and empty text for the others."""
    return [next(iter(found)) if len(found) == 1 else "" for found in distortions]


def class_counts(distortions: Sequence[Distortions]) -> dict[str, int]:
    """Return the classes of `name_factor` and how many photographs have nothing else."""
    counts = Counter(filter(None, only_factors(distortions)))
    return {factor: counts[factor] for factor in sorted(counts) if counts[factor] >= LEAST}


def name_factor(sample: RatedFeatures, distortions: Sequence[Distortions]) -> list[Result]:
    """Classify the factor of photographs that have exactly one."""
    only = only_factors(distortions)
    classes = list(class_counts(distortions))
    rows = np.flatnonzero([factor in classes for factor in only])
    targets = np.array([[float(only[row] == kind) for kind in classes] for row in rows.tolist()])
    scores = (accuracy, balanced_accuracy)
    found = {
        variant: cross_validate(sample.features_of(variant)[rows], targets, scores)
        for variant in VARIANTS
    }
    return [
        Result(
            name,
            len(rows),
            chance,
            {variant: values[place] for variant, values in found.items()},
        )
        for place, (name, chance) in enumerate(
            [("accuracy", float(targets.mean(0).max())), ("balanced accuracy", 1 / len(classes))]
        )
    ]


def detect_factors(sample: RatedFeatures, distortions: Sequence[Distortions]) -> list[Result]:
    """Detect each factor, whatever else a photograph has."""
    counts = Counter(factor for found in distortions for factor in found)
    factors = [factor for factor, count in counts.most_common() if count >= LEAST]
    targets = np.array([[float(factor in found) for factor in factors] for found in distortions])
    scores = [auc(column) for column in range(len(factors))]
    found = {
        variant: cross_validate(sample.features_of(variant), targets, scores)
        for variant in VARIANTS
    }
    return [
        Result(
            factor, counts[factor], 0.5, {variant: values[at] for variant, values in found.items()}
        )
        for at, factor in enumerate(factors)
    ]


def rank_magnitudes(sample: RatedFeatures, distortions: Sequence[Distortions]) -> list[Result]:
    """Predict the magnitude of a factor within the photographs that have it."""
    counts = Counter(factor for found in distortions for factor in found)
    results = []
    for factor, count in counts.most_common(MAGNITUDE_FACTORS):
        rows = np.flatnonzero([factor in found for found in distortions])
        targets = np.array([[float(distortions[row][factor])] for row in rows.tolist()])
        values = {
            variant: cross_validate(sample.features_of(variant)[rows], targets, [srcc])[0]
            for variant in VARIANTS
        }
        results.append(Result(factor, count, 0.0, values))
    return results


def to_markdown(head: str, results: Sequence[Result]) -> str:
    """Return a table: mean and standard deviation of each variant, and both against content."""
    rows = []
    for result in results:
        cells = [result.name, str(result.count), tables.number(result.chance)]
        for variant in VARIANTS:
            found = statistics.summary_statistics(result.values[variant])
            cells.append(f"{tables.number(found['mean'])} ± {tables.number(found['std'])}")
        test = statistics.paired_tests(
            result.values["both"], result.values["content"], 1 / (FOLDS - 1)
        )
        p_value = test["corrected_t_p"]
        cells += [
            tables.number(test["difference"], sign=True),
            "–" if p_value is None else f"{p_value:.2g}",
        ]
        rows.append(cells)
    columns = (head, "photographs", "chance", *VARIANTS, "both - content, median", "p")
    return tables.to_markdown(columns, rows)


def describe(sample: RatedFeatures, distortions: Sequence[Distortions]) -> str:
    """Run the probes and return the page."""
    classes = ", ".join(f"{name} {count}" for name, count in class_counts(distortions).items())
    digests = ", ".join(f"{name} {found['weights'][:16]}" for name, found in sample.recipes.items())
    parts = [
        "# Authentic distortions",
        f"Written by `benchmarks/authentic.py PROJECT --write` at revision {store.revision()}."
        f" Weights of the experts: {digests}.",
        f"Linear probes of the annotated distortions of {len(distortions)} photographs of MMP-2K,"
        " from the project's cached features. A ridge regression is fitted on standardised"
        f" features; its penalty is chosen by leave-one-out error on the training photographs."
        f" Values are mean ± standard deviation over {FOLDS} random folds with each of"
        f" {len(SEEDS)} seeds; p is of the corrected resampled t-test of both against content."
        " No expert was trained on these photographs.",
        "Annotations are lists of factor, magnitude (mild, medium, strong) and position. They are"
        " English words; upper case and white space are ignored, entries without a factor are left"
        " out, positions are not used, and a factor listed at several positions has its greatest"
        f" magnitude. {sum(not found for found in distortions)} photographs have no distortion.",
        "## Which factor",
        "Photographs with exactly one factor, and factors that at least"
        f" {LEAST} of these have: {classes}. The chance level of accuracy is the share of the"
        " majority class.",
        to_markdown("metric", name_factor(sample, distortions)),
        "## Presence of each factor",
        f"All photographs; ROC AUC of factors that at least {LEAST} have. A photograph"
        " may have several.",
        to_markdown("factor", detect_factors(sample, distortions)),
        "## Magnitude",
        "SRCC of annotated and predicted magnitude within the photographs that have the factor.",
        to_markdown("factor", rank_magnitudes(sample, distortions)),
    ]
    return "\n\n".join(parts) + "\n"


def main(given: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("project", metavar="PROJECT", type=Path)
    parser.add_argument("--write", action="store_true", help=f"write the page to {OUT}")
    options = parser.parse_args(given)
    try:
        with contextlib.chdir(options.project):
            sample = load_rated_features(DATASET)
            page = describe(sample, read_annotations(sample.images))
    except (BadInputError, OSError) as error:
        parser.exit(2, f"{options.project}: {error}\n")
    if options.write:
        store.write_text(OUT, page)
    else:
        sys.stdout.write(page)


if __name__ == "__main__":
    main()
