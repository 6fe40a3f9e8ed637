"""The regressors from features to scores on the rating scale, and their file format."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file
from safetensors.numpy import save as to_bytes
from scipy import stats

from reiqa import store
from reiqa.errors import BadInputError
from reiqa.params import ExpertName, Variant
from reiqa.regression.kernel import kernel_sums
from reiqa.regression.kernel_ridge import KernelTerm
from reiqa.regression.ridge_path import Penalty, ScaledRows
from reiqa.regression.scaler import FeatureScaler, Matrix, RawFeatures, RowNumbers, Vector
from reiqa.regression.shapley import shapley_values

Values = TypeVar("Values", Matrix, Vector)

#: Arrays of a kernel term in the file.
_TERM_TENSORS = ("axes", "centres", "coefficients")

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
    """A linear model on standardised features, and kernel terms if it is of ``kernel_ridge``.

    Attributes:
        scaling: standardisation of the features, ``(D,)`` each.
        weights: ``(D,)`` for standardised features, on the fitted scale.
        intercept: value for mean features on the fitted scale.
        penalty: chosen on the validation part.
        link: maps the fitted scale to the rating scale.
        terms: kernel term of each expert, with one column of coefficients.
    """

    scaling: FeatureScaler
    weights: Vector
    intercept: float
    penalty: Penalty
    link: PiecewiseLinearCalibration = IDENTITY
    terms: Sequence[KernelTerm] = ()

    def predict(self, values: RawFeatures, rows: RowNumbers | None = None) -> Vector:
        """Return scores ``(N,)`` float64, higher is better.

        Args:
            values: ``(N, D)`` float32; for both experts, content first.
            rows: rows to score; None for all.

        Raises:
            BadInputError: the number of features does not match.
        """
        part = _scaled(values, rows, self.scaling)
        fitted = part.matmul(self.weights[:, None])[:, 0] + self.intercept
        return self.link(sum((_bend(term, part) for term in self.terms), fitted))

    def expert_shares(self, values: RawFeatures, rows: RowNumbers, content: int) -> Matrix:
        """Return the points by which each expert moves the scores, ``(N, 2)``: content, quality.

        The calibration is nonlinear, so these are `shapley_values`, as in a bundle. Both shares and
        the score of mean features sum to the score.

        Args:
            values: ``(N, D)`` float32, content first.
            rows: rows to explain.
            content: number of features of the content expert.

        Raises:
            BadInputError: the number of features does not match.
        """
        apart = np.zeros((len(self.weights), 2))
        apart[:content, 0], apart[content:, 1] = self.weights[:content], self.weights[content:]
        part = _scaled(values, rows, self.scaling)
        parts = part.matmul(apart)
        for term in self.terms:
            parts[:, int(term.columns.start >= content)] += _bend(term, part)
        mean = self.link(np.array([self.intercept]))
        content_alone = self.link(parts[:, 0] + self.intercept)
        quality_alone = self.link(parts[:, 1] + self.intercept)
        both = self.link(parts.sum(axis=1) + self.intercept)
        return np.stack(shapley_values(mean, content_alone, quality_alone, both), axis=1)


@dataclass(frozen=True)
class KernelRegressor:
    """A support vector regressor with RBF kernel.

    Attributes:
        support: ``(S, D)`` support vectors: rows of the features that it was fitted to.
        coefficients: ``(S,)`` weights of their kernels, on the fitted scale.
        intercept: constant of the sum, on the fitted scale.
        gamma: width of the kernel.
        penalty: chosen on the validation part.
        link: maps the fitted scale to the rating scale.
    """

    support: ScaledRows
    coefficients: Vector
    intercept: float
    gamma: float
    penalty: Penalty
    link: PiecewiseLinearCalibration = IDENTITY

    @property
    def scaling(self) -> FeatureScaler:
        """Standardisation of the features."""
        return self.support.scaling

    def predict(self, values: RawFeatures, rows: RowNumbers | None = None) -> Vector:
        """Return scores ``(N,)`` float64, higher is better; see `Regressor.predict`.

        Raises:
            BadInputError: the number of features does not match.
        """
        part = _scaled(values, rows, self.scaling)
        sums = kernel_sums(part, self.support, self.gamma, self.coefficients[:, None])
        return self.link(sums[:, 0] + self.intercept)


AnyRegressor: TypeAlias = Regressor | KernelRegressor


def _bend(term: KernelTerm, rows: ScaledRows) -> Vector:
    """Return what a kernel term adds relative to mean features, ``(rows,)``."""
    added: Vector = (term(rows) - term.at_mean())[:, 0]
    return added


def _scaled(values: RawFeatures, rows: RowNumbers | None, scaling: FeatureScaler) -> ScaledRows:
    """Return some rows of features, or all, in the units of a regressor.

    Raises:
        BadInputError: the number of features does not match.
    """
    if values.shape[1] != len(scaling.mean):
        raise BadInputError(
            f"got {values.shape[1]} features, but the regressor expects {len(scaling.mean)}"
        )
    return ScaledRows(values, np.arange(len(values)) if rows is None else rows, scaling)


def save_regressors(
    path: Path, regressors: Mapping[Variant, AnyRegressor], card: Mapping[str, Any]
) -> None:
    """Write the regressors of all variants to one safetensors file, with a JSON card next to it.

    A regressor with RBF kernel is written as the numbers of its support vectors among the usable
    images of its dataset, whose features may be gigabytes.

    Args:
        path: ``*.safetensors``; the card has the same name with ``.json``.
        regressors: regressors by variant.
        card: metadata such as the rating scale and the weights of the experts.
    """
    tensors: dict[str, np.ndarray] = {}
    for variant, regressor in regressors.items():
        if isinstance(regressor, KernelRegressor):
            tensors[f"{variant}.support"] = regressor.support.rows
            tensors[f"{variant}.coefficients"] = regressor.coefficients
        else:
            tensors[f"{variant}.weights"] = regressor.weights
            for at, term in enumerate(regressor.terms):
                for name in _TERM_TENSORS:
                    tensors[f"{variant}.{at}.{name}"] = getattr(term, name)
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
            "width": len(regressor.scaling.mean),
            "clip": None if math.isinf(regressor.scaling.clip) else regressor.scaling.clip,
            **_kernel_fields(regressor),
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


def _kernel_fields(regressor: AnyRegressor) -> dict[str, Any]:
    """Return the fields of a card that only regressors with a kernel or SVR have."""
    fields: dict[str, Any] = {}
    if regressor.penalty.epsilon:
        fields["epsilon"] = regressor.penalty.epsilon
    if isinstance(regressor, KernelRegressor):
        fields |= {"kernel": "rbf", "gamma": regressor.gamma}
    elif regressor.terms:
        fields["terms"] = [
            {"columns": [term.columns.start, term.columns.stop], "gamma": term.gamma}
            for term in regressor.terms
        ]
    return fields


def load_regressor(path: Path, variant: Variant) -> Regressor:
    """Load the regressor of one variant, to be part of a bundle.

    Raises:
        BadInputError: the file or its card is missing or damaged, they do not match, or the
            regressor is an SVR with RBF kernel.
    """
    loaded = _load(path, variant, None)
    if isinstance(loaded, KernelRegressor):
        raise BadInputError(
            f"{path}: a bundle cannot hold an SVR with RBF kernel. Set regression.model to ridge"
            " or kernel_ridge, or regression.svr.kernel to linear, and run: reiqa fit"
        )
    return loaded


def load_saved(
    path: Path, key: str, features_of: Callable[[Variant], RawFeatures]
) -> dict[Variant, AnyRegressor] | None:
    """Load all regressors if the files are valid and their key is ``key``; else return None.

    Args:
        path: ``*.safetensors``.
        key: digest of everything they depend on (`evaluation.regressor_key`).
        features_of: returns the features that the regressors of a variant were fitted to.
    """
    try:
        if read_card(path).get("key") != key:
            return None
        return {variant: _load(path, variant, features_of) for variant in EXPERTS_OF}
    except BadInputError:
        return None


def _load(
    path: Path, variant: Variant, features_of: Callable[[Variant], RawFeatures] | None
) -> AnyRegressor:
    """Load the regressor of one variant; an RBF kernel needs the features for predictions."""
    card = read_card(path)
    try:
        tensors = {
            name.removeprefix(f"{variant}."): tensor
            for name, tensor in load_file(path).items()
            if name.startswith(f"{variant}.")
        }
        fields = card["variants"][variant]
        clip = math.inf if fields["clip"] is None else float(fields["clip"])
        scaling = FeatureScaler(tensors["mean"], tensors["inverse_deviation"], clip)
        alpha, ratio = float(fields["alpha"]), float(fields["l1_ratio"])
        penalty = Penalty(alpha, ratio, float(fields.get("epsilon", 0)))
        link = PiecewiseLinearCalibration(tensors["link_at"], tensors["link_to"])
        intercept = float(fields["intercept"])
        if "weights" in tensors:
            terms = [
                KernelTerm(
                    columns=slice(*each["columns"]),
                    gamma=float(each["gamma"]),
                    **{name: tensors[f"{at}.{name}"] for name in _TERM_TENSORS},
                )
                for at, each in enumerate(fields.get("terms", []))
            ]
            return Regressor(scaling, tensors["weights"], intercept, penalty, link, terms)
        none = np.empty((0, len(scaling.mean)), dtype=np.float32)
        values = features_of(variant) if features_of else none
        support = ScaledRows(values, tensors["support"], scaling)
        gamma = float(fields["gamma"])
        return KernelRegressor(support, tensors["coefficients"], intercept, gamma, penalty, link)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise BadInputError(f"{path}: not a regressor of {variant} ({error})") from None


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
