"""The rated images of a dataset with the features of both experts, ready to be regressed on."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reiqa import features, layout
from reiqa.data import index as indices
from reiqa.errors import BadInputError
from reiqa.features import FeatureTable
from reiqa.params import EXPERTS, ExpertName, Variant
from reiqa.regression.regressor import EXPERTS_OF
from reiqa.regression.scaler import RawFeatures, RowNumbers, Vector
from reiqa.regression.splits import Split


@dataclass(frozen=True)
class RatedFeatures:
    """What is known of a dataset's N usable images: those with a rating and with features.

    Attributes:
        dataset: its name.
        index: the whole table, dropped rows included.
        rows: which rows of the table are used, ascending.
        images: their names.
        ratings: ``(N,)``, higher is better.
        groups: ``(N,)`` reference numbers from 0.
        values: ``(N, D)`` float32, content then quality.
        widths: features of each expert.
        recipes: weights and preprocessing of each expert, as JSON data.
        digests: of each image file.
        errors: one entry for each image dropped because of its features.
        unrated: images dropped because they have no rating.
        scaled: images that were over ``features.max_pixels``.
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
        """Return the features of a variant, a view."""
        start = 0 if "content" in EXPERTS_OF[variant] else self.widths.get("content", 0)
        length = sum(self.widths[expert] for expert in EXPERTS_OF[variant])
        return self.values[:, start : start + length]

    def to_local_rows(self, split: Split) -> Split:
        """Return a split of the table's rows as one of the rows used.

        Raises:
            BadInputError: nothing is left to train on or to test.
        """
        place = np.full(len(self.index), -1, dtype=np.int64)
        place[self.rows] = np.arange(len(self.rows))
        parts = {}
        for name in ("train", "val", "test"):
            there = place[getattr(split, name)]
            parts[name] = there[there >= 0]
            if name != "val" and not len(parts[name]):
                raise BadInputError(f"{self.dataset}: a split's {name} part holds no usable image")
        return Split(**parts, left_out=np.empty(0, dtype=np.int64))


def load_rated_features(dataset: str, experts: Sequence[ExpertName] = EXPERTS) -> RatedFeatures:
    """Read a dataset's index and the features of the experts, and drop what cannot be used.

    An image that failed in one expert is dropped for all variants, so that they are compared on
    the same images.

    Raises:
        BadInputError: a file is missing or damaged, an image is listed twice or lacks features,
            or nothing usable is left.
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
            f"{dataset}: none of {len(table.images)} images has rating and features"
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
    """Read a cache that must hold exactly the images of the index, in its order."""
    path = layout.features(dataset, expert)
    cache = features.read_features(path)
    if list(cache.recipe.weights) != [expert]:
        raise BadInputError(f"{path}: features of {', '.join(cache.recipe.weights)}, not {expert}")
    if list(cache.images) != names:
        raise BadInputError(
            f"{path}: made of another index; run: reiqa features --dataset {dataset}"
        )
    return cache
