"""The ranking term: keep degraded copies of photographs in order of their level.

Rated datasets contain few images of very low quality, for example extreme blur. The ranking term
(``regression.ranking``) teaches a regressor the order of unrated degraded copies. For each pair of
adjacent levels, it adds a row to the least-squares problem that asks the score to drop by a margin.
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
    """Pairs of degraded copies with the features of some experts.

    Attributes:
        values: ``(M, D)`` float32 features of all copies.
        better: ``(P,)`` rows of ``values``.
        worse: ``(P,)`` rows of ``values``, one level higher under the same distortion.
        photograph: ``(P,)`` row of the original photograph in the rated sample; -1 if it is not
            in the sample.
    """

    values: RawFeatures
    better: RowNumbers
    worse: RowNumbers
    photograph: RowNumbers

    def restrict_to(self, photographs: RowNumbers) -> "RankedPairs":
        """Return only the pairs and copies of the given photographs."""
        used = np.isin(self.photograph, photographs)
        better, worse = self.better[used], self.worse[used]
        rows, places = np.unique(np.concatenate([better, worse]), return_inverse=True)
        return RankedPairs(
            self.values[rows], places[: len(better)], places[len(better) :], self.photograph[used]
        )

    def difference_matrix(self, first: int, weight: float) -> sparse.csr_array:
        """Return the matrix that maps rows of photographs and copies to fitted rows.

        Args:
            first: number of rated photographs, which precede the copies and are unchanged.
            weight: weight of a pair relative to a photograph.

        Returns:
            ``(first + P, first + M)``: an identity block, then differences worse - better.
        """
        count, root = len(self.better), np.sqrt(weight)
        pair = np.arange(count)
        signs = np.repeat([root, -root], count)
        places = np.concatenate([self.worse, self.better])
        shape = (count, len(self.values))
        differences = sparse.csr_array((signs, (np.tile(pair, 2), places)), shape=shape)
        return sparse.block_diag([sparse.eye_array(first), differences], format="csr")

    def fraction_ordered(self, scores: Vector) -> float | None:
        """Return the fraction of pairs with scores in the right order; None without pairs.

        Args:
            scores: ``(M,)`` scores of all copies.
        """
        if not len(self.better):
            return None
        return float((scores[self.worse] < scores[self.better]).mean())


@dataclass(frozen=True)
class DegradedDataset:
    """Degraded copies of photographs of a rated sample, paired by level."""

    copies: RatedFeatures
    better: RowNumbers
    worse: RowNumbers
    photograph: RowNumbers

    def pairs_of(self, variant: Variant) -> RankedPairs:
        """Return the pairs with the features of a variant."""
        return RankedPairs(
            self.copies.features_of(variant), self.better, self.worse, self.photograph
        )


def load_degraded(sample: RatedFeatures, dataset: str) -> DegradedDataset:
    """Load a dataset of degraded copies and pair adjacent levels.

    Args:
        sample: the rated photographs.
        dataset: name of the dataset of copies; an original is level 0 of each distortion.

    Raises:
        BadInputError: a file is missing or damaged, the features are from different experts, or
            no copy belongs to a photograph of the sample.
    """
    copies = load_rated_features(dataset, list(sample.widths))
    for expert, recipe in sample.recipes.items():
        if copies.recipes[expert] != recipe:
            raise BadInputError(
                f"{layout.features(dataset, expert)}: not the same weights or preprocessing as in"
                f" {layout.features(sample.dataset, expert)}."
                f" Run: reiqa features --dataset {dataset}"
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
            f"regression.ranking.dataset: {dataset} has no copy of a photograph of {sample.dataset}"
        )
    better, worse, photograph = np.array(found, dtype=np.int64).T
    return DegradedDataset(copies, better, worse, photograph)
