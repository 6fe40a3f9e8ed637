"""One split of one variant: fit on train, choose the penalty on validation, predict test.

The regressor that is judged is the one that was validated: it is not refitted on train and
validation together. (Neither paper nor slides say; the penalty suits the size it was chosen at,
and one factorisation serves the split.)
"""

from dataclasses import dataclass

import numpy as np

from reiqa.errors import BadInputError
from reiqa.params import RegressionParams
from reiqa.regression import metrics
from reiqa.regression.calibration import (
    IDENTITY,
    PiecewiseLinearCalibration,
    fit_calibration,
    normal_scores,
)
from reiqa.regression.ranking import RankedPairs
from reiqa.regression.regressor import Regressor
from reiqa.regression.ridge_path import Penalty, RegularizationPath, fit_path
from reiqa.regression.scaler import (
    FeatureScaler,
    Matrix,
    RawFeatures,
    RowNumbers,
    ScaledRows,
    Vector,
)
from reiqa.regression.splits import Split

#: Validation images below which a rank correlation says too little to choose by.
LEAST_FOR_RANKS = 3

#: The paper's: ratings as they are, features as far as they reach.
PLAIN = RegressionParams()


@dataclass(frozen=True)
class AlphaChoice:
    """A point of the grid.

    Attributes:
        at: its number.
        scores: validation SRCC of every point; NaN where there is none.
        note: why the choice was not made by SRCC, else empty.
    """

    at: int
    scores: Vector
    note: str = ""


@dataclass(frozen=True)
class SplitResult:
    """What one split gave for one variant.

    Attributes:
        penalty: chosen on the validation part.
        scores: validation SRCC of every penalty.
        predictions: for the test rows, in the order of ``split.test``, on the rating scale.
        notes: what was not as it should be.
        in_order: share of pairs of worse and better copies of the test part's photographs whose
            scores fall; None where there are none.
    """

    penalty: Penalty
    scores: Vector
    predictions: Vector
    notes: list[str]
    in_order: float | None = None


def run_split(
    values: RawFeatures,
    ratings: Vector,
    split: Split,
    penalties: list[Penalty],
    settings: RegressionParams = PLAIN,
    pairs: RankedPairs | None = None,
) -> SplitResult:
    """Run one split.

    Args:
        values: ``(N, D)`` features.
        ratings: ``(N,)``.
        split: row numbers of train, val and test.
        penalties: to choose from.
        settings: ``clip``, ``target`` and ``order`` matter.
        pairs: copies whose order is to be held, of photographs of any part.
    """
    goal = _target(ratings[split.train], settings)
    scaling = FeatureScaler.fit(values, split.train, settings.clip)
    path = _path(values, split.train, scaling, goal, penalties, settings, pairs)
    fitted = ScaledRows(values, split.val, scaling).matmul(path.weights)
    predicted = goal.link(fitted * goal.deviation + goal.mean)
    choice = choose_alpha(predicted, ratings[split.val], penalties)
    regressor = goal.regressor(scaling, path.weights[:, choice.at], penalties[choice.at])
    notes = path.notes + ([choice.note] if choice.note else [])
    if not scaling.inverse.any():
        notes.append("no feature varies in the training part")
    predictions = regressor.predict(values, split.test)
    held = pairs.restrict_to(split.test) if pairs else None
    in_order = held.fraction_ordered(regressor.predict(held.values)) if held else None
    return SplitResult(regressor.penalty, choice.scores, predictions, notes, in_order)


def refit_all(
    values: RawFeatures,
    ratings: Vector,
    penalty: Penalty,
    settings: RegressionParams = PLAIN,
    pairs: RankedPairs | None = None,
) -> Regressor:
    """Fit the regressor that is kept: all rows, one penalty."""
    rows: RowNumbers = np.arange(len(values))
    goal = _target(ratings, settings)
    scaling = FeatureScaler.fit(values, rows, settings.clip)
    path = _path(values, rows, scaling, goal, [penalty], settings, pairs)
    return goal.regressor(scaling, path.weights[:, 0], penalty)


def choose_alpha(predicted: Matrix, ratings: Vector, penalties: list[Penalty]) -> AlphaChoice:
    """Choose the penalty by validation SRCC; of equals, the greatest.

    Where SRCC cannot decide, for the validation part is too small or all predictions are
    constant, the least squared error decides.

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
            "regression.alphas: too small for these features, nothing can be solved"
        )
    scores = np.array(
        [
            metrics.srcc(column, ratings) if sound else np.nan
            for column, sound in zip(predicted.T, finite, strict=True)
        ]
    )
    if len(ratings) >= LEAST_FOR_RANKS and not np.isnan(scores).all():
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
    if len(ratings) >= LEAST_FOR_RANKS:
        note = "no validation SRCC exists: alpha chosen by squared error"
    return AlphaChoice(_best(errors, penalties), scores, note)


def _best(scores: Vector, penalties: list[Penalty]) -> int:
    """Number of the greatest score that is not NaN; differences of rounding count as none."""
    rounded = np.round(scores, 9)
    there = np.flatnonzero(~np.isnan(scores)).tolist()
    return max(there, key=lambda at: (rounded[at], penalties[at]))


def _path(
    values: RawFeatures,
    rows: RowNumbers,
    scaling: FeatureScaler,
    goal: "Target",
    penalties: list[Penalty],
    settings: RegressionParams,
    pairs: RankedPairs | None,
) -> RegularizationPath:
    """Fit the rated photographs of some rows and, if asked, the order of their copies."""
    order = settings.ranking
    if order is None or pairs is None:
        return fit_path(ScaledRows(values, rows, scaling), goal.standardised, penalties)
    known = pairs.restrict_to(rows)
    both = np.concatenate([values[rows], known.values])
    step = order.margin * np.sqrt(order.weight)
    target = np.concatenate([goal.standardised, np.full(len(known.better), -step)])
    training = ScaledRows(both, np.arange(len(both)), scaling)
    return fit_path(training, target, penalties, known.difference_matrix(len(rows), order.weight))


@dataclass(frozen=True)
class Target:
    """What is fitted: ratings or their normal scores, brought to mean 0 and deviation 1."""

    standardised: Vector
    mean: float
    deviation: float
    link: PiecewiseLinearCalibration

    def regressor(self, scaling: FeatureScaler, weights: Vector, penalty: Penalty) -> Regressor:
        """Return the regressor that standardised weights make."""
        return Regressor(scaling, weights * self.deviation, self.mean, penalty, self.link)


def _target(ratings: Vector, settings: RegressionParams) -> Target:
    """Take the training ratings.

    Raises:
        BadInputError: there are fewer than two, or all are equal.
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
