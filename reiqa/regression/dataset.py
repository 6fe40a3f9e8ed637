"""Load the rated images of a dataset with the features of both experts."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reiqa import layout
from reiqa.data import index as indices
from reiqa.errors import BadInputError
from reiqa.features.cache import FeatureTable, read_features
from reiqa.params import EXPERTS, ExpertName, Variant
from reiqa.regression.regressor import EXPERTS_OF
from reiqa.regression.scaler import RawFeatures, RowNumbers, Vector
from reiqa.regression.splits import Split


@dataclass(frozen=True)
class RatedFeatures:
    """Ratings and features of the N usable images of a dataset.

    Attributes:
        dataset: name of the dataset.
        index: the complete index, including rows that are not used.
        rows: used rows of the index, ascending.
        images: names of the images.
        ratings: ``(N,)``, higher is better.
        groups: ``(N,)`` reference numbers from 0.
        values: ``(N, D)`` float32, content then quality.
        widths: number of features of each expert.
        recipes: weights and preprocessing of each expert, as JSON data.
        digests: digest of each image file.
        errors: one entry for each image that was dropped because its features failed.
        unrated: number of images dropped because they have no rating.
        scaled: number of images larger than ``features.max_pixels``.
    """

    dataset: str
    index: indices.Index
    rows: RowNumbers
    images: list[str]
    ratings: Vector
    groups: RowNumbers
    values: RawFeatures
    widths: dict[ExpertName, int]
    recipes: dict[ExpertName, Any]
    digests: list[str]
    errors: list[dict[str, str]]
    unrated: int
    scaled: int

    def features_of(self, variant: Variant) -> RawFeatures:
        """Return a view of the features of a variant."""
        start = 0 if "content" in EXPERTS_OF[variant] else self.widths.get("content", 0)
        length = sum(self.widths[expert] for expert in EXPERTS_OF[variant])
        return self.values[:, start : start + length]

    def to_local_rows(self, split: Split) -> Split:
        """Convert a split of index rows into a split of the used rows.

        Raises:
            BadInputError: the training or test part has no usable image.
        """
        place = np.full(len(self.index), -1, dtype=np.int64)
        place[self.rows] = np.arange(len(self.rows))
        parts = {}
        for name in ("train", "val", "test"):
            usable = place[getattr(split, name)]
            parts[name] = usable[usable >= 0]
            if name != "val" and not len(parts[name]):
                raise BadInputError(
                    f"{self.dataset}: the {name} part of a split has no usable image"
                )
        return Split(**parts, left_out=np.empty(0, dtype=np.int64))


def load_rated_features(dataset: str, experts: Sequence[ExpertName] = EXPERTS) -> RatedFeatures:
    """Load the index and features of a dataset, and drop images without rating or features.

    An image that failed for one expert is dropped for all variants, so that the variants are
    compared on the same images.

    Raises:
        BadInputError: a file is missing or damaged, an image is listed twice or has no features,
            or no usable image is left.
    """
    table = indices.read_index(layout.index(dataset))
    twice = [name for name, count in Counter(table.images).items() if count > 1]
    if twice:
        raise BadInputError(f"{layout.index(dataset)}: {twice[0]} is listed twice")
    caches = {expert: _aligned(dataset, expert, list(table.images)) for expert in experts}
    errors = [
        {"image": name, "expert": expert, "error": line}
        for expert, cache in caches.items()
        for name, line in zip(cache.images, cache.errors, strict=True)
        if line
    ]
    failed = {error["image"] for error in errors}
    readable = np.array([name not in failed for name in table.images], dtype=bool)
    rated = np.isfinite(table.mos)
    rows = np.flatnonzero(readable & rated)
    if not len(rows):
        raise BadInputError(
            f"{dataset}: none of {len(table.images)} images has a rating and features"
        )
    _, groups = np.unique(np.array(table.reference)[rows], return_inverse=True)
    first = caches[experts[0]]
    return RatedFeatures(
        dataset=dataset,
        index=table,
        rows=rows,
        images=[table.images[row] for row in rows.tolist()],
        ratings=np.asarray(table.mos, dtype=np.float64)[rows],
        groups=groups,
        values=np.hstack([caches[expert].values[rows] for expert in experts]),
        widths={expert: cache.values.shape[1] for expert, cache in caches.items()},
        recipes={
            expert: {"weights": cache.recipe.weights[expert], **cache.recipe.preprocessing}
            for expert, cache in caches.items()
        },
        digests=[first.digests[row] for row in rows.tolist()],
        errors=errors,
        unrated=int((~rated & readable).sum()),
        scaled=int((first.shrunk < 1).sum()),
    )


def _aligned(dataset: str, expert: ExpertName, names: list[str]) -> FeatureTable:
    """Read a feature cache that must contain exactly the images of the index, in order."""
    path = layout.features(dataset, expert)
    cache = read_features(path)
    if list(cache.recipe.weights) != [expert]:
        raise BadInputError(
            f"{path}: contains features of {', '.join(cache.recipe.weights)}, not of {expert}"
        )
    if list(cache.images) != names:
        raise BadInputError(
            f"{path}: made from a different index; run: reiqa features --dataset {dataset}"
        )
    return cache
