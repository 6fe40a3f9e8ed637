"""Copies of photographs of which one is known to be worse than the other, though nobody rated them.

Ratings say little of what raters hardly saw: photographs blurred beyond use, say. A regressor may
be held to the order of such copies beside its ratings (``regression.order``): for every pair of
neighbours in level a row is added to the least squares, which asks that the score falls by a step.
"""

from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
from scipy import sparse

from reiqa import layout
from reiqa.errors import BadInputError
from reiqa.params import Variant
from reiqa.regression.dataset import RatedFeatures, load_rated_features
from reiqa.regression.scaler import RawFeatures, RowNumbers, Vector


@dataclass(frozen=True)
class RankedPairs:
    """Pairs of copies, seen through some experts.

    Attributes:
        values: ``(M, D)`` float32 features of all copies.
        better: ``(P,)`` rows of ``values``.
        worse: ``(P,)``, one level further under the same distortion.
        photograph: ``(P,)`` row, in the rated sample, of the photograph that both are made of;
            -1 where it is not there.
    """

    values: RawFeatures
    better: RowNumbers
    worse: RowNumbers
    photograph: RowNumbers

    def restrict_to(self, photographs: RowNumbers) -> "RankedPairs":
        """Return the pairs of these photographs, and no other copies."""
        used = np.isin(self.photograph, photographs)
        better, worse = self.better[used], self.worse[used]
        rows, places = np.unique(np.concatenate([better, worse]), return_inverse=True)
        return RankedPairs(
            self.values[rows], places[: len(better)], places[len(better) :], self.photograph[used]
        )

    def difference_matrix(self, first: int, weight: float) -> sparse.csr_array:
        """Return what makes rows to be fitted of the rows of photographs and copies.

        Args:
            first: rated photographs, which stay as they are; the copies' rows follow theirs.
            weight: of a pair beside a photograph.

        Returns:
            ``(first + P, first + M)``: an identity, then worse less better.
        """
        count, root = len(self.better), np.sqrt(weight)
        pair = np.arange(count)
        signs = np.repeat([root, -root], count)
        places = np.concatenate([self.worse, self.better])
        shape = (count, len(self.values))
        falls = sparse.csr_array((signs, (np.tile(pair, 2), places)), shape=shape)
        return sparse.block_diag([sparse.eye_array(first), falls], format="csr")

    def fraction_ordered(self, scores: Vector) -> float | None:
        """Return the share of pairs whose scores fall; None where there is no pair.

        Args:
            scores: ``(M,)`` of all copies.
        """
        if not len(self.better):
            return None
        return float((scores[self.worse] < scores[self.better]).mean())


@dataclass(frozen=True)
class DegradedDataset:
    """A set of copies beside the rated sample whose photographs they are made of."""

    copies: RatedFeatures
    better: RowNumbers
    worse: RowNumbers
    photograph: RowNumbers

    def pairs_of(self, variant: Variant) -> RankedPairs:
        """Return the pairs as a variant sees them."""
        return RankedPairs(
            self.copies.features_of(variant), self.better, self.worse, self.photograph
        )


def load_degraded(sample: RatedFeatures, dataset: str) -> DegradedDataset:
    """Read a set of copies and pair neighbours in level.

    Args:
        sample: the rated photographs.
        dataset: the copies; an original counts as level 0 of each of its distortions.

    Raises:
        BadInputError: a file is missing or damaged, other experts saw the copies, or they are not
            of this sample's photographs.
    """
    copies = load_rated_features(dataset, list(sample.widths))
    for expert, recipe in sample.recipes.items():
        if copies.recipes[expert] != recipe:
            raise BadInputError(
                f"{layout.features(dataset, expert)}: other weights or preprocessing than in"
                f" {layout.features(sample.dataset, expert)};"
                f" run: reiqa features --dataset {dataset}"
            )
    table, place = copies.index, {row: at for at, row in enumerate(copies.rows.tolist())}
    steps = {
        (table.reference[row], table.distortion[row], table.level[row]): at
        for row, at in place.items()
    }
    # A reference is its original's name without suffix, in lower case (data.matching).
    known = {PurePath(name).stem.lower(): row for row, name in enumerate(sample.images)}
    found = [
        (better, at, known.get(original, -1))
        for (original, kind, level), at in sorted(steps.items())
        if (better := steps.get((original, kind if level > 1 else "", level - 1))) is not None
    ]
    if all(row < 0 for _, _, row in found):
        raise BadInputError(
            f"regression.order.dataset: no copy in {dataset} is of a photograph of {sample.dataset}"
        )
    better, worse, photograph = np.array(found, dtype=np.int64).T
    return DegradedDataset(copies, better, worse, photograph)
