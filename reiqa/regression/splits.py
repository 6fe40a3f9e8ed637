"""Split images into training, validation and test parts, grouped by reference.

A split never assigns one reference to two parts. Otherwise a regressor could memorise content
instead of learning quality.
"""

import csv
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reiqa import store, text
from reiqa.data.index import Index
from reiqa.errors import BadInputError
from reiqa.seeds import generator

PARTS = ("train", "val", "test")

Rows = NDArray[np.int64]
Fractions = tuple[float, float, float]


@dataclass(frozen=True)
class Split:
    """Row numbers of an index by part; the arrays are ascending and cover all rows.

    Attributes:
        train: rows to fit on.
        val: rows to choose the penalty on.
        test: rows to evaluate on.
        left_out: rows that the official split omits.
    """

    train: Rows
    val: Rows
    test: Rows
    left_out: Rows


@dataclass(frozen=True)
class Protocol:
    """How a dataset is split.

    Attributes:
        name: ``official`` or ``random``.
        note: remark to show with the results, or empty.
    """

    name: str
    note: str


def resolve_protocol(index: Index, wanted: str) -> Protocol:
    """Return the protocol to use for an index.

    A dataset without an official split, or with missing training or test images, is split at
    random. The note explains why an existing official split is not used.

    Args:
        index: index of the dataset.
        wanted: ``official`` or ``random``.
    """
    if wanted != "official":
        return Protocol("random", "")
    state = str(index.header.get("official_split", "none published"))
    if state == "none published":
        return Protocol("random", "")
    if state != "complete":
        return Protocol("random", f"random splits, for the official one is {state}")
    missing = [part for part in ("train", "test") if part not in index.split]
    if missing:
        return Protocol(
            "random", f"random splits, for none of the official {missing[0]} images are here"
        )
    left = index.split.count("")
    note = f"{left} images in no part of the official split" if left else ""
    return Protocol("official", note)


def make_splits(
    index: Index, protocol: str, count: int, fractions: Fractions, seed: int
) -> list[Split]:
    """Split a dataset.

    Args:
        index: index of the dataset.
        protocol: ``official`` (with the fallback of `resolve_protocol`) or ``random``.
        count: number of random splits.
        fractions: fractions of the references for training, validation and test.
        seed: seed of all splits.

    Returns:
        ``count`` splits, or the official one.

    Raises:
        BadInputError: there are fewer references than parts.
    """
    if resolve_protocol(index, protocol).name == "official":
        return [_from_names(index, index.split, fractions, seed, "official")]
    return [_random(index, fractions, seed, number) for number in range(count)]


def write_splits(path: Path, index: Index, splits: Sequence[Split]) -> None:
    """Write splits as a CSV with a row per image and a column ``split_K`` per split.

    The values are train, val, test, or empty for an image that is left out.
    """
    names = [_names(split, len(index)) for split in splits]
    heads = ["image", "reference", *(f"split_{number}" for number in range(len(splits)))]
    rows = zip(index.images, index.reference, *names, strict=True)
    store.write_text(path, text.format_csv(heads, rows))


def read_splits(
    path: Path, index: Index, fractions: Fractions = (0.7, 0.1, 0.2), seed: int = 0
) -> list[Split]:
    """Read splits in the format of `write_splits` and check them against an index.

    Columns other than ``image`` and ``split...`` are ignored. If a split has no validation images,
    some references of its training part are moved to validation.

    Args:
        path: the CSV.
        index: index of the dataset; each image must have exactly one row.
        fractions: fractions for training, validation and test, to choose validation images.
        seed: seed to choose validation images.

    Raises:
        BadInputError: an image is unknown, missing or duplicate, a part is unknown or empty, or a
            reference is in two parts.
    """
    try:
        heads, *rows = list(csv.reader(text.lines(path.read_bytes()))) or [[]]
    except (OSError, ValueError, csv.Error) as error:
        raise BadInputError(f"{path}: not readable as a table of splits ({error})") from None
    columns = [name for name in heads if name.startswith("split")]
    if not rows or not columns or "image" not in heads:
        raise BadInputError(f"{path}: expected columns image, split_0, split_1 and so on")
    for name in ("image", *columns):
        if heads.count(name) > 1:
            raise BadInputError(f"{path}: {name}: more than one column of this name")
    for row in rows:
        if row and len(row) != len(heads):
            raise BadInputError(
                f"{path}: {','.join(row)[:80]!r}: {len(row)} fields, expected {len(heads)}"
            )
    lines = [dict(zip(heads, row, strict=True)) for row in rows if row]
    by_image = {line["image"]: line for line in lines}
    _check_images(path, index, [line["image"] for line in lines])
    splits = []
    for column in columns:
        names = [by_image[image][column].strip() for image in index.images]
        for image, name in zip(index.images, names, strict=True):
            if name not in (*PARTS, ""):
                raise BadInputError(
                    f"{path}: {column}: {image}: {name!r} is not one of {', '.join(PARTS)}"
                )
        for part in ("train", "test"):
            if part not in names:
                raise BadInputError(f"{path}: {column}: no image is in {part}")
        _check_references(f"{path}: {column}", index, names)
        splits.append(_from_names(index, names, fractions, seed, column))
    return splits


def _random(index: Index, fractions: Fractions, seed: int, number: int) -> Split:
    groups = sorted(set(index.reference))
    if len(groups) < len(PARTS):
        raise BadInputError(
            f"{index.name}: {len(groups)} references are too few for train, val and test; "
            f"at least three are needed"
        )
    order = generator("splits", index.name, seed, number).permutation(len(groups))
    # Each part gets at least one reference.
    val = min(max(1, round(fractions[1] * len(groups))), len(groups) - 2)
    test = min(max(1, round(fractions[2] * len(groups))), len(groups) - 1 - val)
    part_of = {
        groups[group]: "test" if place < test else "val" if place < test + val else "train"
        for place, group in enumerate(order.tolist())
    }
    return _split([part_of[group] for group in index.reference])


def _from_names(
    index: Index, names: list[str], fractions: Fractions, seed: int, label: str
) -> Split:
    """Return the split listed by part names; without validation images, take some from train."""
    if "val" in names:
        return _split(names)
    groups = sorted(
        {group for group, name in zip(index.reference, names, strict=True) if name == "train"}
    )
    if len(groups) < 2:
        raise BadInputError(
            f"{index.name}: {label}: a validation part needs at least two training references"
        )
    share = fractions[1] / (fractions[0] + fractions[1])
    count = min(max(1, round(share * len(groups))), len(groups) - 1)
    order = generator("validation", index.name, seed, label).permutation(len(groups))
    validation = {groups[group] for group in order[:count].tolist()}
    return _split(
        [
            "val" if name == "train" and group in validation else name
            for group, name in zip(index.reference, names, strict=True)
        ]
    )


def _split(names: list[str]) -> Split:
    column = np.array(names)
    train, val, test, left_out = (np.flatnonzero(column == part) for part in (*PARTS, ""))
    return Split(train, val, test, left_out)


def _names(split: Split, length: int) -> list[str]:
    names = [""] * length
    for part in PARTS:
        for row in getattr(split, part).tolist():
            names[row] = part
    return names


def _check_images(path: Path, index: Index, images: list[str]) -> None:
    indexed, listed = set(index.images), set(images)
    if len(listed) < len(images):
        twice = min(image for image, count in Counter(images).items() if count > 1)
        raise BadInputError(f"{path}: {twice}: more than one row")
    for problem, names in (
        ("not in the index", listed - indexed),
        ("in the index, but not in the table", indexed - listed),
    ):
        if names:
            raise BadInputError(f"{path}: {len(names):,} images {problem} (first: {min(names)})")


def _check_references(label: str, index: Index, names: list[str]) -> None:
    part_of: dict[str, str] = {}
    for reference, name in zip(index.reference, names, strict=True):
        if name and part_of.setdefault(reference, name) != name:
            raise BadInputError(
                f"{label}: images of reference {reference} are in {part_of[reference]} and in "
                f"{name}; keep them together"
            )
