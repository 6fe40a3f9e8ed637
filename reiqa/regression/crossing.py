"""``reiqa cross``: train on each dataset, test on each other."""

import csv
import io
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from reiqa import layout, store
from reiqa.errors import BadInputError
from reiqa.params import VARIANTS, Params, Variant
from reiqa.regression import metrics, paper, regressor
from reiqa.regression.fitting import judge, key_of, regressor_path, retrain
from reiqa.regression.regressor import Regressor
from reiqa.regression.sample import Sample, gather

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


def cross(params: Params) -> Path:
    """Judge the regressor of every dataset on every other one.

    Each regressor is fitted on the whole of its dataset with the penalty chosen inside it; what
    ``reiqa fit`` kept is used where it is of today's parameters and features. PLCC and RMSE are
    taken after the logistic curve, so ratings of different scales do not matter.

    Returns:
        ``layout.CROSS``: a row for every ordered pair and variant; ``paper_srcc`` and
        ``difference`` are filled for the four pairs of the slides.

    Raises:
        BadInputError: an input is missing or damaged, or two sets have features of other widths.
    """
    lines: list[list[str]] = []
    with threadpool_limits(params.compute.threads):
        samples = {name: gather(name) for name in params.datasets}
        for trained in params.datasets:
            regressors = _regressors(samples[trained], params)
            for tested in params.datasets:
                if trained != tested:
                    lines += _rows(samples[trained], samples[tested], regressors)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEAD)
    writer.writerows(lines)
    store.write_text(layout.CROSS, text.getvalue())
    return layout.CROSS


def _regressors(sample: Sample, params: Params) -> dict[Variant, Regressor]:
    path = regressor_path(sample.dataset)
    try:
        if regressor.read_card(path).get("key") == key_of(sample, params):
            return {variant: regressor.load(path, variant) for variant in VARIANTS}
    except BadInputError:
        # Not there, or not whole: what is kept is only a saving of time.
        pass
    return retrain(judge(sample.dataset, params))


def _rows(trained: Sample, tested: Sample, regressors: dict[Variant, Regressor]) -> list[list[str]]:
    if trained.recipes != tested.recipes:
        _check_comparable(trained, tested)
    shared = _shared_references(trained, tested)
    lines = []
    for variant in VARIANTS:
        predicted = regressors[variant].predict(tested.of(variant))
        curve = metrics.fit_logistic(predicted, tested.ratings)
        mapped = curve(predicted) if curve else metrics.fit_line(predicted, tested.ratings)
        srcc = metrics.srcc(predicted, tested.ratings)
        published = paper.ACROSS.get((trained.dataset, tested.dataset))
        known = published if variant == "both" else None
        values = [
            srcc,
            metrics.plcc(mapped, tested.ratings),
            metrics.krcc(predicted, tested.ratings),
            metrics.rmse(mapped, tested.ratings),
        ]
        lines.append(
            [
                trained.dataset,
                tested.dataset,
                variant,
                *(_text(value) for value in values),
                str(len(tested.rows)),
                str(shared),
                "" if known is None else f"{known:g}",
                "" if known is None else _text(srcc - known),
            ]
        )
    return lines


def _check_comparable(trained: Sample, tested: Sample) -> None:
    for expert, recipe in trained.recipes.items():
        if recipe["weights"] != tested.recipes[expert]["weights"]:
            raise BadInputError(
                f"{layout.features(tested.dataset, expert)}: made with other weights than "
                f"{layout.features(trained.dataset, expert)}; run reiqa features again"
            )


def _shared_references(trained: Sample, tested: Sample) -> int:
    """Count references of the tested set of which an image stands, byte for byte, in the other.

    Copies in another encoding or of another size are not found.
    """
    seen = set(trained.digests)
    common = np.array([digest in seen for digest in tested.digests])
    return len(set(tested.groups[common].tolist()))


def _text(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6g}"
