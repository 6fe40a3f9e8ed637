"""The linear regressor from features to scores on the rating scale, and its file format."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as to_bytes
from scipy import stats

from reiqa import store
from reiqa.errors import BadInputError
from reiqa.params import ExpertName, Variant
from reiqa.regression.ridge_path import Penalty, ScaledRows
from reiqa.regression.scaler import FeatureScaler, Matrix, RawFeatures, RowNumbers, Vector

Values = TypeVar("Values", Matrix, Vector)

#: Knots of the curve in normal scores, a quarter of a standard deviation apart. The curve is
#: extrapolated linearly, as the few ratings beyond the last knot would only add noise.
_KNOTS = np.arange(-9, 10) / 4


@dataclass(frozen=True)
class PiecewiseLinearCalibration:
    """An increasing piecewise linear curve with linear extrapolation.

    Attributes:
        at: ``(K,)`` ascending knots on the fitted scale.
        to: ``(K,)`` ascending values on the rating scale.
    """

    at: Vector
    to: Vector

    def __call__(self, fitted: Values) -> Values:
        """Map predictions of any shape to the rating scale."""
        slopes = np.diff(self.to) / np.diff(self.at)
        below = np.minimum(fitted - self.at[0], 0) * slopes[0]
        above = np.maximum(fitted - self.at[-1], 0) * slopes[-1]
        mapped: Values = np.interp(fitted, self.at, self.to) + below + above
        return mapped


#: Calibration of a regressor that is fitted on the rating scale.
IDENTITY = PiecewiseLinearCalibration(np.array([0.0, 1.0]), np.array([0.0, 1.0]))


def normal_scores(ratings: Vector) -> Vector:
    """Return the normal quantile of the rank of each rating; ties share their mean rank."""
    shares = (stats.rankdata(ratings) - 0.5) / len(ratings)
    scores: Vector = stats.norm.ppf(shares)
    return scores


def fit_calibration(ratings: Vector) -> PiecewiseLinearCalibration:
    """Fit the curve that maps `normal_scores` of the ratings back to the ratings.

    Args:
        ratings: ratings of the training part, with at least two distinct values.
    """
    distinct, first = np.unique(ratings, return_index=True)
    scores = normal_scores(ratings)[first]
    inside = _KNOTS[(scores[0] < _KNOTS) & (scores[-1] > _KNOTS)]
    at = inside if len(inside) > 1 else scores[[0, -1]]
    return PiecewiseLinearCalibration(at, np.interp(at, scores, distinct))


EXPERTS_OF: dict[Variant, tuple[ExpertName, ...]] = {
    "content": ("content",),
    "quality": ("quality",),
    "both": ("content", "quality"),
}


@dataclass(frozen=True)
class Regressor:
    """A linear model on standardised features.

    Attributes:
        scaling: standardisation of the features, ``(D,)`` each.
        weights: ``(D,)`` for standardised features, on the fitted scale.
        intercept: mean of the training target on the fitted scale.
        penalty: chosen on the validation part.
        link: maps the fitted scale to the rating scale.
    """

    scaling: FeatureScaler
    weights: Vector
    intercept: float
    penalty: Penalty
    link: PiecewiseLinearCalibration = IDENTITY

    def predict(self, values: RawFeatures, rows: RowNumbers | None = None) -> Vector:
        """Return scores ``(N,)`` float64, higher is better.

        Args:
            values: ``(N, D)`` float32; for both experts, content first.
            rows: rows to score; None for all.

        Raises:
            BadInputError: the number of features does not match.
        """
        if values.shape[1] != len(self.weights):
            raise BadInputError(
                f"got {values.shape[1]} features, but the regressor expects {len(self.weights)}"
            )
        chosen = np.arange(len(values)) if rows is None else rows
        part = ScaledRows(values, chosen, self.scaling)
        fitted = part.matmul(self.weights[:, None])[:, 0] + self.intercept
        return self.link(fitted)


def save_regressors(
    path: Path, regressors: Mapping[Variant, Regressor], card: Mapping[str, Any]
) -> None:
    """Write the regressors of all variants to one safetensors file, with a JSON card next to it.

    Args:
        path: ``*.safetensors``; the card has the same name with ``.json``.
        regressors: regressors by variant.
        card: metadata such as the rating scale and the weights of the experts.
    """
    tensors = {}
    for variant, regressor in regressors.items():
        tensors[f"{variant}.weights"] = regressor.weights
        tensors[f"{variant}.mean"] = regressor.scaling.mean
        tensors[f"{variant}.inverse_deviation"] = regressor.scaling.inverse
        tensors[f"{variant}.link_at"] = regressor.link.at
        tensors[f"{variant}.link_to"] = regressor.link.to
    variants = {
        variant: {
            "intercept": regressor.intercept,
            "alpha": regressor.penalty.alpha,
            "l1_ratio": regressor.penalty.l1_ratio,
            "experts": EXPERTS_OF[variant],
            "width": len(regressor.weights),
            "clip": None if math.isinf(regressor.scaling.clip) else regressor.scaling.clip,
        }
        for variant, regressor in regressors.items()
    }
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    with store.atomic(path) as temporary:
        temporary.write_bytes(to_bytes(contiguous))
    digest = store.file_digest(path)
    store.write_json(
        path.with_suffix(".json"), {**card, "variants": variants, "safetensors_sha256": digest}
    )


def load_regressor(path: Path, variant: Variant) -> Regressor:
    """Load the regressor of one variant.

    Raises:
        BadInputError: the file or its card is missing or damaged, or they do not match.
    """
    card = read_card(path)
    try:
        tensors = load_file(path)
        fields = card["variants"][variant]
        return Regressor(
            FeatureScaler(
                tensors[f"{variant}.mean"],
                tensors[f"{variant}.inverse_deviation"],
                math.inf if fields["clip"] is None else float(fields["clip"]),
            ),
            tensors[f"{variant}.weights"],
            float(fields["intercept"]),
            Penalty(float(fields["alpha"]), float(fields["l1_ratio"])),
            PiecewiseLinearCalibration(
                tensors[f"{variant}.link_at"], tensors[f"{variant}.link_to"]
            ),
        )
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise BadInputError(f"{path}: not a regressor of {variant} ({error})") from None


def load_saved(path: Path, key: str) -> dict[Variant, Regressor] | None:
    """Load all regressors if the files are valid and their key is ``key``; else return None.

    Args:
        path: ``*.safetensors``.
        key: digest of everything they depend on (`fitting.regressor_key`).
    """
    try:
        if read_card(path).get("key") != key:
            return None
        return {variant: load_regressor(path, variant) for variant in EXPERTS_OF}
    except BadInputError:
        return None


def read_card(path: Path) -> dict[str, Any]:
    """Read the card of a regressor file and verify that it matches the file.

    Raises:
        BadInputError: a file is missing, or the digest in the card does not match.
    """
    card = store.read_json(path.with_suffix(".json"))
    if not path.exists():
        raise BadInputError(f"{path}: not found; run: reiqa fit")
    if not isinstance(card, dict) or card.get("safetensors_sha256") != store.file_digest(path):
        raise BadInputError(
            f"{path}: does not match its card (checksum mismatch); run reiqa fit again"
        )
    return card
