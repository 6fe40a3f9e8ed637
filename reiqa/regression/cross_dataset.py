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
from reiqa.regression.evaluation import evaluate_dataset, fit_final, regressor_key
from reiqa.regression.fitting import regressor_path
from reiqa.regression.regressor import AnyRegressor

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
    """The regressors of a training dataset.

    Its features, which may be large, are kept only by regressors with RBF kernel.
    """

    dataset: str
    regressors: Mapping[Variant, AnyRegressor]
    weights: Mapping[ExpertName, str]
    digests: frozenset[str]


def evaluate_across(params: Params) -> Path:
    """Evaluate the regressor of each dataset on every other dataset.

    Each regressor is fitted on its full dataset with the penalty chosen by cross-validation. The
    regressors saved by ``reiqa fit`` are used if they match the current parameters and features.
    PLCC and RMSE are computed after the logistic mapping, so rating scales may differ.

    Returns:
        ``layout.CROSS``: a row for each ordered pair and variant. ``paper_srcc`` and
        ``difference`` are filled for the four pairs in the authors' slides.

    Raises:
        BadInputError: an input is missing or damaged, or datasets have features of different
            weights.
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
    key = regressor_key(sample, params)
    kept = regressor.load_saved(regressor_path(dataset), key, sample.features_of)
    regressors = kept or fit_final(evaluate_dataset(sample, params))
    weights = {expert: recipe["weights"] for expert, recipe in sample.recipes.items()}
    return _TrainedDataset(dataset, regressors, weights, frozenset(sample.digests))


def _rows(trained: _TrainedDataset, tested: RatedFeatures) -> list[list[str]]:
    """Return one row per variant."""
    for expert, weights in trained.weights.items():
        if tested.recipes[expert]["weights"] != weights:
            raise BadInputError(
                f"{layout.features(tested.dataset, expert)}: not the same weights as in "
                f"{layout.features(trained.dataset, expert)}. Run reiqa features again."
            )
    shared = _shared_references(trained, tested)
    lines = []
    for variant in VARIANTS:
        predicted = trained.regressors[variant].predict(tested.features_of(variant))
        agreement = metrics.compare(predicted, tested.ratings)
        if np.isnan(agreement.srcc):
            log(
                f"cross: {trained.dataset} on {tested.dataset}, {variant}: ratings or predictions "
                f"are constant, so no correlation exists"
            )
        published = paper.across(trained.dataset, tested.dataset)
        paper_columns = ["", ""]
        if variant == "both" and published is not None:
            paper_columns = [f"{published:g}", _text(agreement.srcc - published)]
        lines.append(
            [
                *(trained.dataset, tested.dataset, variant),
                *(
                    _text(value)
                    for value in (agreement.srcc, agreement.plcc, agreement.krcc, agreement.rmse)
                ),
                *(str(len(tested.rows)), str(shared)),
                *paper_columns,
            ]
        )
    return lines


def _shared_references(trained: _TrainedDataset, tested: RatedFeatures) -> int:
    """Count test references that have a byte-identical image in the training dataset.

    Copies with a different encoding or size are not detected.
    """
    common = np.array([digest in trained.digests for digest in tested.digests])
    return len(set(tested.groups[common].tolist()))


def _text(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6g}"
