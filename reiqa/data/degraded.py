"""A dataset of degraded copies: photographs of another dataset at increasing severity.

The copies need no human ratings: of two copies of one photograph under one distortion, the one
with the higher level has the lower quality. The ranking term of the regressor uses this order
(``regression.ranking``).
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import torch
from PIL import Image

from reiqa import devices, images, seeds, store, text
from reiqa.data import image_files
from reiqa.data.demo import COLUMNS
from reiqa.distortions import LEVELS, VERSION, distort, resolve
from reiqa.errors import BadInputError
from reiqa.params import BankParams
from reiqa.progress import track

# Copies of large photographs fill the memory of a job; a few photographs at once suffice.
_MAX_AT_ONCE = 4

Row = tuple[str, str, str, str]


def make_degraded(
    source: Path, types: Literal["published"] | Sequence[str], count: int, folder: Path
) -> dict[str, Any]:
    """Write the originals, every level of every type, and ``ratings.csv``.

    The selection of photographs depends only on their names.

    Args:
        source: folder of the photographs.
        types: names of distortion types, or ``published`` for the paper's 25.
        count: number of photographs.
        folder: an empty folder.

    Returns:
        Entries for the receipt.

    Raises:
        BadInputError: the folder holds too few photographs or two of one name, or a type is
            unknown.
    """
    kinds = resolve(BankParams.model_validate({"types": types}))
    found = sorted(
        image_files.ImageFiles.under(source).images(), key=lambda name: seeds.derive("ladder", name)
    )
    if len(found) < count:
        raise BadInputError(f"{source}: found {len(found)} photographs, need {count}")
    # Copies are named, and matched to their photograph, by its name without folder and suffix.
    by_stem: dict[str, str] = {}
    for name in found:
        other = by_stem.setdefault(PurePosixPath(name).stem.lower(), name)
        if other != name:
            raise BadInputError(
                f"{source}: {other} and {name} have one name; rename one to make degraded copies"
            )
    (folder / "images").mkdir()
    chosen = [source / name for name in sorted(found[:count])]
    with devices.one_thread_workers(min(_MAX_AT_ONCE, devices.cpu_count())) as pool:
        made = pool.map(partial(_degrade, kinds=kinds, folder=folder), chosen)
        each = list(track(made, "degrade", total=count, unit="photographs"))
    rows = [row for rows in each for row in rows]
    store.write_text(folder / "ratings.csv", text.format_csv(COLUMNS, rows))
    return {"photographs": count, "bank_version": VERSION}


def _degrade(photograph: Path, kinds: Sequence[str], folder: Path) -> list[Row]:
    """Write one photograph and its degraded copies; return a table row for each."""
    original = images.read_rgb(photograph)
    reference = f"images/{photograph.stem}.png"
    Image.fromarray(original).save(folder / reference, compress_level=1)
    rows = [(reference, "", reference, str(LEVELS))]
    pixels = torch.from_numpy(original.transpose(2, 0, 1).copy())
    levels = range(1, LEVELS + 1)
    for kind in kinds:
        seed = seeds.derive("ladder", photograph.name, kind)
        # One type at a time, to hold few copies of a large photograph.
        copies = distort(
            pixels.expand(LEVELS, -1, -1, -1), [kind] * LEVELS, levels, [seed] * LEVELS
        )
        for level, copy in zip(levels, copies, strict=True):
            path = f"images/{photograph.stem}_{kind}_l{level}.png"
            image = Image.fromarray(copy.permute(1, 2, 0).numpy())
            image.save(folder / path, compress_level=1)
            rows.append((path, kind, reference, str(LEVELS - level)))
    return rows
