"""Contact sheets made by hand, and what is read back from their pages."""

import base64
import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from PIL import Image

from reiqa.scoring.contact_sheet import ContactSheet
from reiqa.scoring.find_images import ImageItem
from reiqa.scoring.output import Record


def scored(image: str, score: float, content: float = 1.0, quality: float = -2.0) -> Record:
    return Record(
        image, score, score - 15, score + 12, content, quality, 640, 480, "ab", "lite-1", ""
    )


def failed(image: str, error: str = "not an image in a supported format") -> Record:
    return Record.failed(image, "ab", "lite-1", error)


def item(path: str | Path) -> ImageItem:
    return ImageItem(Path(path), PurePath(Path(path).name))


def flat(number: int, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """An image of one colour that tells its number."""
    colour = (number * 37 % 256, number * 101 % 256, number * 211 % 256)
    return np.full((*size, 3), colour, dtype=np.uint8)


def write_page(
    path: Path,
    records: Sequence[Record],
    drawn: Sequence[Path | None] = (),
    title: str = "photos",
    order: Any = "worst",
) -> None:
    """Write a page of records; image number i is `flat(i)`, and its map is ``drawn[i]``."""
    items = [item(record.image) for record in records]
    with ContactSheet(path, items) as sheet:
        for number, record in enumerate(records):
            if not record.error:
                chosen = drawn[number] if number < len(drawn) else None
                sheet.add(items[number], flat(number), chosen)
        assert list(sheet.keep(records)) == list(records)
        sheet.write(title, order)


@dataclass(frozen=True)
class Page:
    """Content of a page: the JSON block, and the pictures by position; None if there is none."""

    data: dict[str, Any]
    photos: list[Image.Image | None]
    maps: list[Image.Image | None]

    def __getitem__(self, name: str) -> dict[str, Any]:
        """Return the row of an image."""
        (row,) = [row for row in self.data["images"] if row["name"] == name]
        return row


def read_page(path: Path) -> Page:
    text = path.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    return Page(json.loads(found[1]), _pictures(text, "photos"), _pictures(text, "maps"))


def _pictures(text: str, kind: str) -> list[Image.Image | None]:
    pattern = rf'<script type="text/plain" id="{kind}-(\d+)">(.*?)</script>'
    blocks = re.findall(pattern, text, re.DOTALL)
    assert [int(number) for number, _ in blocks] == list(range(len(blocks)))
    lines = [line for _, block in blocks for line in block.split("\n")]
    return [Image.open(io.BytesIO(base64.b64decode(line))) if line else None for line in lines]
