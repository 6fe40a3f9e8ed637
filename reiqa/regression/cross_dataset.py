"""``reiqa cross``: train on each dataset, test on each other."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, permutations
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from reiqa import layout, store, text
from reiqa.errors import BadInputError
from reiqa.params import VARIANTS, ExpertName, Params, Variant
from reiqa.progress import log
from reiqa.regression import metrics, paper, regressor
from reiqa.regression.dataset import RatedFeatures, load_rated_features
from reiqa.regression.fitting import evaluate_dataset, fit_final, regressor_key, regressor_path
from reiqa.regression.regressor import Regressor

HEAD = (
    "train",
    "test",
    "variant",
    "srcc",
    "plcc",
    "krcc",
    "rmse",
    "n",
    "shared_references",
    "paper_srcc",
    "difference",
)


@dataclass(frozen=True)
class _TrainedDataset:
    """What is left of a training set once its regressors stand: its features may be large."""

    dataset: str
    regressors: Mapping[Variant, Regressor]
    weights: Mapping[ExpertName, str]
    digests: frozenset[str]


def evaluate_across(params: Params) -> Path:
    """Judge the regressor of every dataset on every other one.

    Each regressor is fitted on the whole of its dataset with the penalty chosen inside it; what
    ``reiqa fit`` kept is used where it is of today's parameters and features. PLCC and RMSE are
    taken after the logistic curve, so ratings of different scales do not matter.

    Returns:
        ``layout.CROSS``: a row for every ordered pair and variant; ``paper_srcc`` and
        ``difference`` are filled for the four pairs of the slides.

    Raises:
        BadInputError: an input is missing or damaged, or two sets were encoded with other weights.
    """
    with threadpool_limits(1):
        trained = [_train(name, params) for name in params.datasets]
        tables = {}
        for tested in params.datasets:
            sample = load_rated_features(tested)
            for source in trained:
                if source.dataset != tested:
                    tables[source.dataset, tested] = _rows(source, sample)
    rows = chain.from_iterable(tables[pair] for pair in permutations(params.datasets, 2))
    store.write_text(layout.CROSS, text.format_csv(HEAD, rows))
    return layout.CROSS


def _train(dataset: str, params: Params) -> _TrainedDataset:
    sample = load_rated_features(dataset)
    kept = regressor.load_saved(regressor_path(dataset), regressor_key(sample, params))
    regressors = kept or fit_final(evaluate_dataset(sample, params))
    weights = {expert: recipe["weights"] for expert, recipe in sample.recipes.items()}
    return _TrainedDataset(dataset, regressors, weights, frozenset(sample.digests))


def _rows(trained: _TrainedDataset, tested: RatedFeatures) -> list[list[str]]:
    """One row a variant."""
    for expert, weights in trained.weights.items():
        if tested.recipes[expert]["weights"] != weights:
            raise BadInputError(
                f"{layout.features(tested.dataset, expert)}: other weights than in "
                f"{layout.features(trained.dataset, expert)}; run reiqa features again"
            )
    shared = _shared_references(trained, tested)
    lines = []
    for variant in VARIANTS:
        predicted = trained.regressors[variant].predict(tested.features_of(variant))
        found = metrics.compare(predicted, tested.ratings)
        if np.isnan(found.srcc):
            log(
                f"cross: {trained.dataset} on {tested.dataset}, {variant}: ratings or predictions "
                f"are constant, so no correlation exists"
            )
        published = paper.ACROSS.get((trained.dataset, tested.dataset))
        beside = ["", ""]
        if variant == "both" and published is not None:
            beside = [f"{published:g}", _text(found.srcc - published)]
        lines.append(
            [
                *(trained.dataset, tested.dataset, variant),
                *(_text(value) for value in (found.srcc, found.plcc, found.krcc, found.rmse)),
                *(str(len(tested.rows)), str(shared)),
                *beside,
            ]
        )
    return lines


def _shared_references(trained: _TrainedDataset, tested: RatedFeatures) -> int:
    """Count references of the tested set of which an image stands, byte for byte, in the other.

    Copies in another encoding or of another size are not found.
    """
    common = np.array([digest in trained.digests for digest in tested.digests])
    return len(set(tested.groups[common].tolist()))


def _text(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6g}"
