"""One split of one variant: fit on train, choose the penalty on validation, predict test.

The regressor is not refitted on training and validation parts together before testing. The paper
does not specify this. The penalty suits the training size that it was chosen for, and each split
needs only one factorisation.
"""

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from reiqa.errors import BadInputError
from reiqa.params import RegressionParams
from reiqa.regression import metrics
from reiqa.regression.kernel_ridge import KernelRidgePath, fit_kernel_ridge
from reiqa.regression.ranking import RankedPairs
from reiqa.regression.regressor import (
    IDENTITY,
    AnyRegressor,
    KernelRegressor,
    PiecewiseLinearCalibration,
    Regressor,
    fit_calibration,
    normal_scores,
)
from reiqa.regression.ridge_path import Penalty, RegularizationPath, ScaledRows, fit_path
from reiqa.regression.scaler import FeatureScaler, Matrix, RawFeatures, RowNumbers, Vector
from reiqa.regression.splits import Split
from reiqa.regression.svr import KernelPath, fit_svr

#: Minimum number of validation images to choose the penalty by rank correlation.
MIN_FOR_RANKS = 3

#: Settings of the paper: untransformed ratings, features without clipping.
DEFAULT_SETTINGS = RegressionParams()


@dataclass(frozen=True)
class AlphaChoice:
    """The chosen point of the penalty grid.

    Attributes:
        at: index of the point.
        scores: validation SRCC of every point; NaN if undefined.
        note: why the choice was not made by SRCC, or empty.
    """

    at: int
    scores: Vector
    note: str = ""


@dataclass(frozen=True)
class SplitResult:
    """Result of one split and variant.

    Attributes:
        penalty: chosen on the validation part.
        scores: validation SRCC of every penalty.
        predictions: for the test rows, in the order of ``split.test``, on the rating scale.
        notes: warnings.
        in_order: fraction of pairs of degraded test copies with scores in the right order; None
            without pairs.
        shares: points of each expert in the predictions (`Regressor.expert_shares`); None for one
            expert alone, and for an SVR with RBF kernel.
    """

    penalty: Penalty
    scores: Vector
    predictions: Vector
    notes: list[str]
    in_order: float | None = None
    shares: Matrix | None = None


def run_split(
    values: RawFeatures,
    ratings: Vector,
    split: Split,
    penalties: list[Penalty],
    settings: RegressionParams = DEFAULT_SETTINGS,
    pairs: RankedPairs | None = None,
    content: int | None = None,
) -> SplitResult:
    """Run one split.

    Args:
        values: ``(N, D)`` features.
        ratings: ``(N,)``.
        split: row numbers of train, val and test.
        penalties: penalties to choose from.
        settings: uses ``model``, ``svr``, ``components``, ``clip``, ``target`` and ``ranking``.
        pairs: pairs of degraded copies, from photographs of any part.
        content: number of features of the content expert, which come first; None if ``values`` are
            of one expert.
    """
    target = _target(ratings[split.train], settings)
    scaling = FeatureScaler.fit(values, split.train, settings.clip)
    path = _path(values, split.train, scaling, target, penalties, settings, pairs, content)
    fitted = path.predict(ScaledRows(values, split.val, scaling))
    predicted = target.link(fitted * target.deviation + target.mean)
    choice = choose_alpha(predicted, ratings[split.val], penalties)
    regressor = target.regressor(path, choice.at, scaling)
    notes = path.notes + ([choice.note] if choice.note else [])
    if not scaling.inverse.any():
        notes.append("no feature varies in the training part")
    predictions = regressor.predict(values, split.test)
    test_pairs = pairs.restrict_to(split.test) if pairs else None
    in_order = (
        test_pairs.fraction_ordered(regressor.predict(test_pairs.values)) if test_pairs else None
    )
    shares = None
    if content is not None and isinstance(regressor, Regressor):
        shares = regressor.expert_shares(values, split.test, content)
    return SplitResult(regressor.penalty, choice.scores, predictions, notes, in_order, shares)


def refit_all(
    values: RawFeatures,
    ratings: Vector,
    penalty: Penalty,
    settings: RegressionParams = DEFAULT_SETTINGS,
    pairs: RankedPairs | None = None,
    content: int | None = None,
) -> AnyRegressor:
    """Fit the final regressor on all rows with one penalty; see `run_split`."""
    rows: RowNumbers = np.arange(len(values))
    target = _target(ratings, settings)
    scaling = FeatureScaler.fit(values, rows, settings.clip)
    path = _path(values, rows, scaling, target, [penalty], settings, pairs, content)
    return target.regressor(path, 0, scaling)


def choose_alpha(predicted: Matrix, ratings: Vector, penalties: list[Penalty]) -> AlphaChoice:
    """Choose the penalty by validation SRCC; of equal scores, the largest penalty.

    If the validation part is too small or all predictions are constant, the squared error is used
    instead.

    Args:
        predicted: ``(validation rows, P)``; a column may be NaN.
        ratings: ``(validation rows,)``.
        penalties: P of them.

    Raises:
        BadInputError: no penalty gives finite predictions.
    """
    finite = np.isfinite(predicted.sum(axis=0))
    if not finite.any():
        raise BadInputError(
            "regression.alphas: too small for these features (singular system); use larger ones"
        )
    scores = np.array(
        [
            metrics.srcc(column, ratings) if is_finite else np.nan
            for column, is_finite in zip(predicted.T, finite, strict=True)
        ]
    )
    if len(ratings) >= MIN_FOR_RANKS and not np.isnan(scores).all():
        return AlphaChoice(_best(scores, penalties), scores)
    if len(ratings) == 0:
        middle = sorted(np.flatnonzero(finite), key=lambda at: penalties[at])[
            int(finite.sum()) // 2
        ]
        return AlphaChoice(
            int(middle), scores, "no validation image: the middle of the grid was taken"
        )
    errors = np.where(finite, -np.mean((predicted - ratings[:, None]) ** 2, axis=0), np.nan)
    note = f"{len(ratings)} validation images: alpha chosen by squared error, not by SRCC"
    if len(ratings) >= MIN_FOR_RANKS:
        note = "no validation SRCC exists: alpha chosen by squared error"
    return AlphaChoice(_best(errors, penalties), scores, note)


def _best(scores: Vector, penalties: list[Penalty]) -> int:
    """Return the index of the highest score that is not NaN, ignoring rounding differences."""
    rounded = np.round(scores, 9)
    defined = np.flatnonzero(~np.isnan(scores)).tolist()
    return max(defined, key=lambda at: (rounded[at], penalties[at]))


def _path(
    values: RawFeatures,
    rows: RowNumbers,
    scaling: FeatureScaler,
    target: "Target",
    penalties: list[Penalty],
    settings: RegressionParams,
    pairs: RankedPairs | None,
    content: int | None,
) -> RegularizationPath | KernelPath:
    """Fit the rated photographs and, if enabled, the ranking of their degraded copies."""
    ranking = settings.ranking
    training, fitted, mixing = ScaledRows(values, rows, scaling), target.standardised, None
    if settings.model == "svr":
        return fit_svr(training, fitted, penalties, settings.svr)
    if ranking is not None and pairs is not None:
        known = pairs.restrict_to(rows)
        together = np.concatenate([values[rows], known.values])
        training = ScaledRows(together, np.arange(len(together)), scaling)
        margin = ranking.margin * np.sqrt(ranking.weight)
        fitted = np.concatenate([fitted, np.full(len(known.better), -margin)])
        mixing = known.difference_matrix(len(rows), ranking.weight)
    if settings.model == "kernel_ridge":
        cuts = [0, values.shape[1]] if content is None else [0, content, values.shape[1]]
        experts = [slice(*ends) for ends in pairwise(cuts)]
        return fit_kernel_ridge(
            training, experts, len(rows), fitted, penalties, settings.components, mixing
        )
    return fit_path(training, fitted, penalties, mixing)


@dataclass(frozen=True)
class Target:
    """The regression target: ratings or their normal scores, standardised."""

    standardised: Vector
    mean: float
    deviation: float
    link: PiecewiseLinearCalibration

    def regressor(
        self, path: RegularizationPath | KernelPath, at: int, scaling: FeatureScaler
    ) -> AnyRegressor:
        """Return the regressor of one penalty of a path for standardised features and target."""
        penalty = path.penalties[at]
        offset = 0.0 if path.intercepts is None else float(path.intercepts[at])
        intercept = self.mean + self.deviation * offset
        if isinstance(path, RegularizationPath):
            weights = path.weights[:, at] * self.deviation
            terms = [
                replace(term, coefficients=term.coefficients[:, [at]] * self.deviation)
                for term in (path.terms if isinstance(path, KernelRidgePath) else ())
            ]
            intercept += sum(float(term.at_mean()[0]) for term in terms)
            return Regressor(scaling, weights, intercept, penalty, self.link, terms)
        used = np.flatnonzero(path.coefficients[:, at])
        support = replace(path.training, rows=path.training.rows[used])
        coefficients = path.coefficients[used, at] * self.deviation
        return KernelRegressor(support, coefficients, intercept, path.gamma, penalty, self.link)


def _target(ratings: Vector, settings: RegressionParams) -> Target:
    """Return the target for the training ratings.

    Raises:
        BadInputError: there are fewer than two ratings, or all are equal.
    """
    if len(ratings) < 2 or np.ptp(ratings) == 0:
        raise BadInputError(
            f"ratings: {len(ratings)} training images with "
            f"{len(np.unique(ratings))} distinct ratings are too few to fit"
        )
    normal = settings.target == "normal_scores"
    fitted = normal_scores(ratings) if normal else ratings
    mean, deviation = float(fitted.mean()), float(fitted.std())
    link = fit_calibration(ratings) if normal else IDENTITY
    return Target((fitted - mean) / deviation, mean, deviation, link)
