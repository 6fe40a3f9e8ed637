"""A contact sheet of scored images: one HTML page with thumbnails, scores and maps.

The page is self-contained: style, script and pictures are in the file, and its content security
policy allows nothing else. Pictures are encoded while scoring and kept in a temporary file, so that
memory does not grow with the number of images.
"""

import base64
import hashlib
import html
import io
import json
import os
import re
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from PIL import Image

from reiqa import images, store
from reiqa.errors import BadInputError
from reiqa.images import Pixels
from reiqa.progress import log
from reiqa.scoring.find_images import ImageItem, printable_path
from reiqa.scoring.output import Order, Record

#: Longer side of a thumbnail in pixels, and its JPEG quality.
_THUMBNAIL = 256, 76

#: Longer side of a map as drawn, with the photograph next to it.
_MAP = 1280, 80

#: Number of pictures per block of the page. The script splits a block when it needs one of them.
_BLOCK = 50

#: Found at the start of each page; a file without it is not overwritten.
_SIGNATURE = b'<meta name="generator" content="reiqa score">'
_START = 256

_PLACEHOLDER = re.compile(r"\{\{(\w+)\}\}")


@dataclass(frozen=True, slots=True)
class _Span:
    """Position of a picture in the temporary file."""

    start: int
    length: int


class ContactSheet:
    """Collects the pictures and rows of a run and writes the page at its end.

    `add` is thread-safe. Closing the sheet removes the temporary file; a run that is interrupted
    before `write` leaves an existing page as it was.
    """

    def __init__(self, path: Path, items: Sequence[ImageItem]) -> None:
        """Check that the page can be written, and create the temporary file next to it.

        Args:
            path: path of the page; a symbolic link is followed.
            items: all images of the run, in the order of the rows.

        Raises:
            BadInputError: the page cannot be written, or the file is not a page of reiqa score.
        """
        self._target = store.link_target(path)
        _check_page(self._target)
        self._items = items
        self._records: list[Record] = []
        self._photos: dict[Path, _Span] = {}
        self._maps: dict[Path, _Span] = {}
        self._lock = threading.Lock()
        try:
            self._target.parent.mkdir(parents=True, exist_ok=True)
            # Without a name: it disappears with the process, even after a crash.
            self._spool = tempfile.TemporaryFile(dir=self._target.parent)  # noqa: SIM115
        except OSError as error:
            raise store.unwritable(path, error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._spool.close()

    def add(self, item: ImageItem, pixels: Pixels, map_file: Path | None = None) -> None:
        """Keep the thumbnail of an image, and its map if there is one.

        Args:
            item: the image.
            pixels: ``(h, w, 3)`` uint8, of any size.
            map_file: the map as drawn, an image file.
        """
        self._photos[item.path] = self._append(_to_jpeg(pixels, *_THUMBNAIL))
        if map_file is None:
            return
        try:
            drawn = images.read_rgb(map_file)
        except BadInputError as error:
            log(f"{error}; the page is without this map")
        else:
            self._maps[item.path] = self._append(_to_jpeg(drawn, *_MAP))

    def keep(self, rows: Iterable[Record]) -> Iterator[Record]:
        """Yield rows and keep them for the page."""
        for record in rows:
            self._records.append(record)
            yield record

    def write(self, title: str, order: Order) -> None:
        """Write the page.

        Args:
            title: heading of the page.
            order: initial order of the images; the page can change it.

        Raises:
            OSError: the disk is full.
        """
        with (
            store.atomic(self._target) as temporary,
            temporary.open("w", encoding="utf-8") as stream,
        ):
            stream.writelines(self._parts(title, order))
        failed = sum(bool(record.error) for record in self._records)
        size = self._target.stat().st_size / 1e6
        log(f"{self._target}: {len(self._records)} images ({failed} failed), {size:.1f} MB")

    def _append(self, picture: bytes) -> _Span:
        with self._lock:
            start = self._spool.seek(0, os.SEEK_END)
            try:
                self._spool.write(picture)
                self._spool.flush()
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(self._target)) from None
        return _Span(start, len(picture))

    def _parts(self, title: str, order: Order) -> Iterator[str]:
        style, script = _read("contact_sheet.css"), _read("contact_sheet.js")
        values = {
            "TITLE": html.escape(title),
            "POLICY": _policy(style, script),
            "STYLE": style,
            "SCRIPT": script,
            "DATA": _to_script_json(
                {
                    "order": order,
                    "bundle": self._records[0].bundle if self._records else "",
                    "block": _BLOCK,
                    "images": self._rows(),
                }
            ),
        }
        before, after = _read("contact_sheet.html").split("{{PICTURES}}")
        yield _fill(before, values)
        yield from self._blocks("photos", self._photos)
        if self._maps:
            yield from self._blocks("maps", self._maps)
        yield _fill(after, values)

    def _rows(self) -> list[dict[str, Any]]:
        folder = os.path.realpath(self._target.parent)
        return [
            {
                "name": record.image,
                "link": _link(item.path, folder),
                "score": record.score,
                "low": record.low,
                "high": record.high,
                "content": record.content,
                "quality": record.quality,
                "width": record.width,
                "height": record.height,
                "error": record.error,
                "photo": item.path in self._photos,
                "map": item.path in self._maps,
            }
            for item, record in zip(self._items, self._records, strict=True)
        ]

    def _blocks(self, kind: str, spans: Mapping[Path, _Span]) -> Iterator[str]:
        """Yield script elements that contain one picture per line; a missing one is empty."""
        for number, start in enumerate(range(0, len(self._items), _BLOCK)):
            yield f'<script type="text/plain" id="{kind}-{number}">'
            for position, item in enumerate(self._items[start : start + _BLOCK]):
                yield "\n" * bool(position)
                if span := spans.get(item.path):
                    self._spool.seek(span.start)
                    yield base64.b64encode(self._spool.read(span.length)).decode("ascii")
            yield "</script>\n"


def page_title(arguments: Sequence[str]) -> str:
    """Return the heading of a page: what was scored."""
    first = arguments[0]
    name = "Images from a list" if first == "-" else printable_path(first)
    others = len(arguments) - 1
    return f"{name} and {others} more" if others else name


def _check_page(path: Path) -> None:
    """Check that a page can be written.

    Raises:
        BadInputError: see `store.check_target`; or the file has other content.
    """
    store.check_target(path, ".html")
    if not path.exists():
        return
    with path.open("rb") as stream:
        start = stream.read(_START)
    if start and _SIGNATURE not in start:
        raise BadInputError(
            f"{path}: contains something other than a page of reiqa score --html;"
            " choose another file"
        )


def _to_jpeg(pixels: Pixels, side: int, quality: int) -> bytes:
    """Encode an image, downscaled so that its longer side is at most ``side``."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality, optimize=True)
    return stream.getvalue()


def _link(path: Path, folder: str) -> str:
    """Return the relative URL of a file from a folder; bytes outside ASCII are escaped."""
    real = Path(os.path.realpath(path.parent), path.name)
    return quote(os.fsencode(os.path.relpath(real, folder)))


def _read(name: str) -> str:
    return (resources.files("reiqa.scoring") / name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    """Return the content security policy that allows this style, this script and no network."""
    return (
        f"default-src 'none'; img-src data:; style-src {_source(style)};"
        f" script-src {_source(script)}; base-uri 'none'; form-action 'none'"
    )


def _source(code: str) -> str:
    digest = hashlib.sha256(code.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"


def _to_script_json(tree: object) -> str:
    """Return JSON that cannot end or start an element where it is embedded in a page."""
    encoded = json.dumps(tree, allow_nan=False, separators=(",", ":"))
    for character in "<>&":
        encoded = encoded.replace(character, f"\\u{ord(character):04x}")
    return encoded


def _fill(template: str, values: Mapping[str, str]) -> str:
    """Replace ``{{NAME}}`` in one pass, so that a value may itself contain braces."""
    return _PLACEHOLDER.sub(lambda match: values[match[1]], template)
