"""A dataset of degraded copies: photographs of another dataset at increasing severity.

The copies need no human ratings: of two copies of one photograph under one distortion, the one
with the higher level has the lower quality. The ranking term of the regressor uses this order
(``regression.ranking``).
"""

from pathlib import Path
from typing import Any

import torch
from PIL import Image

from reiqa import images, seeds, store, tensors, text
from reiqa.data import image_files
from reiqa.data.demo import COLUMNS
from reiqa.distortions import LEVELS, VERSION, distort
from reiqa.errors import BadInputError
from reiqa.progress import track

#: The most common degradations of photographs: defocus, compression, sensor noise.
TYPES = ("gaussian_blur", "jpeg", "white_noise")


def make_degraded(source: Path, count: int, folder: Path) -> dict[str, Any]:
    """Write the originals, every level of every type in `TYPES`, and ``ratings.csv``.

    The selection of photographs depends only on their names.

    Args:
        source: folder of the photographs.
        count: number of images to write, originals included.
        folder: an empty folder.

    Returns:
        Entries for the receipt.

    Raises:
        BadInputError: the folder holds too few photographs.
    """
    wanted = count // (1 + len(TYPES) * LEVELS)
    found = sorted(
        image_files.ImageFiles.under(source).images(), key=lambda name: seeds.derive("ladder", name)
    )
    if len(found) < wanted:
        raise BadInputError(f"{source}: found {len(found)} photographs, need {wanted}")
    (folder / "images").mkdir()
    rows = [
        row
        for name in track(sorted(found[:wanted]), "degrade", unit="photographs")
        for row in _degrade(source / name, folder)
    ]
    store.write_text(folder / "ratings.csv", text.format_csv(COLUMNS, rows))
    return {"photographs": wanted, "bank_version": VERSION}


def _degrade(photograph: Path, folder: Path) -> list[tuple[str, str, str, str]]:
    """Write one photograph and its degraded copies; return a table row for each."""
    original = images.read_rgb(photograph)
    reference = f"images/{photograph.stem}.png"
    Image.fromarray(original).save(folder / reference, compress_level=1)
    rows = [(reference, "", reference, str(LEVELS))]
    pixels = tensors.to_tensor(original)[None]
    for kind in TYPES:
        seed = seeds.derive("ladder", photograph.name, kind)
        for level in range(1, LEVELS + 1):
            path = f"images/{photograph.stem}_{kind}_l{level}.png"
            with torch.inference_mode():
                copy = tensors.to_uint8(distort(pixels, [kind], [level], [seed]))[0]
            Image.fromarray(copy.permute(1, 2, 0).numpy()).save(folder / path, compress_level=1)
            rows.append((path, kind, reference, str(LEVELS - level)))
    return rows
