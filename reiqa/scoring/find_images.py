"""Find images from files, folders, patterns, or a list on standard input."""

import codecs
import glob
import os
import re
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from reiqa import text
from reiqa.errors import BadInputError
from reiqa.images.unsupported import RAW_SUFFIXES
from reiqa.layout import IMAGE_SUFFIXES, is_hidden
from reiqa.progress import log

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)

#: Suffixes of images to report. HEIC cannot be read, but an error is better than skipping an image
#: silently.
REPORTED_SUFFIXES = IMAGE_SUFFIXES | {".heic", ".heif"}


#: Suffixes of images that are never read. In a folder they are counted instead of reported one by
#: one, because a raw file often lies beside its JPEG.
UNREAD_SUFFIXES = RAW_SUFFIXES | {".exr", ".hdr", ".jxl", ".psd", ".svg"}


@dataclass(frozen=True)
class ImageItem:
    """One image to score.

    Attributes:
        path: path to open.
        inside: path relative to the folder argument; the file name for a file argument.
        error: why there is nothing to open, or empty.
    """

    path: Path
    inside: PurePath
    error: str = ""

    @property
    def name(self) -> str:
        """The path for printing; see `printable_path`."""
        return printable_path(self.path)


def printable_path(path: str | os.PathLike[str]) -> str:
    """Return a path for printing, with control characters and invalid bytes escaped."""
    return text.escape_control_characters(os.fsencode(path).decode("utf-8", "backslashreplace"))


def read_list(content: bytes) -> list[str]:
    """Return the paths of a list, one per line or separated by NUL as by ``find -print0``.

    A byte order mark determines the encoding. Without one, it is UTF-8, and invalid bytes are kept
    as in file names.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        listed = content.decode("utf-16", "replace")
    else:
        listed = os.fsdecode(content.removeprefix(codecs.BOM_UTF8))
    lines = listed.split("\0" if "\0" in listed else "\n")
    return [line.strip("\r\n") for line in lines]


def find_images(
    arguments: Iterable[str], lines: Iterable[str], recursive: bool = True
) -> list[ImageItem]:
    """Return all images of the arguments without duplicates.

    Args:
        arguments: paths of files or folders, patterns such as ``**/*.jpg``, or ``-`` for `lines`.
        lines: paths from standard input.
        recursive: search subfolders.

    Raises:
        BadInputError: no image was found, or none that can be opened.
    """
    arguments = list(arguments)
    found: dict[Path, ImageItem] = {}
    skipped: Counter[str] = Counter()
    for argument in arguments:
        named = lines if argument == "-" else (argument,)
        for one in filter(None, named):
            for item in _expand(one, recursive, skipped):
                found.setdefault(item.path, item)
    kinds = ", ".join(f"{count} {suffix}" for suffix, count in sorted(skipped.items()))
    if not found:
        unread = f" (files that cannot be read: {kinds})" if kinds else ""
        raise BadInputError(f"{', '.join(arguments)}: no image found{unread}")
    if all(item.error for item in found.values()):
        first, *others = found.values()
        also = f"; {len(others)} more argument(s) name no image either" if others else ""
        raise BadInputError(f"{first.name}: {first.error}{also}")
    if kinds:
        log(f"{skipped.total()} files of unsupported formats skipped: {kinds}")
    return list(found.values())


def _expand(argument: str, recursive: bool, skipped: Counter[str]) -> Iterator[ImageItem]:
    path = Path(argument)
    if _URL.match(argument) and not os.path.lexists(path):
        yield ImageItem(path, PurePath(path.name), "is an address; download the image first")
        return
    if glob.has_magic(argument) and not os.path.lexists(path):
        matches = sorted(glob.glob(argument, recursive=True))  # noqa: PTH207
        if not matches:
            yield ImageItem(path, PurePath(path.name), "no file matches this pattern")
        for match in matches:
            yield from _items_at(Path(match), recursive, skipped)
        return
    yield from _items_at(path, recursive, skipped)


def _items_at(path: Path, recursive: bool, skipped: Counter[str]) -> Iterator[ImageItem]:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        if (other := _spelled_otherwise(path)) is not None:
            yield from _items_at(other, recursive, skipped)
        else:
            yield ImageItem(path, PurePath(path.name), "no such file")
    except (OSError, ValueError) as error:
        # An invalid file name: too long, or with a NUL character.
        reason = getattr(error, "strerror", None) or str(error)
        yield ImageItem(path, PurePath("unnamed"), f"cannot be opened ({reason})")
    else:
        if stat.S_ISDIR(mode):
            yield from _walk(path, PurePath(), recursive, set(), skipped)
        else:
            kind = "" if stat.S_ISREG(mode) else "not a regular file"
            yield ImageItem(path, PurePath(path.name), kind)


def _spelled_otherwise(path: Path) -> Path | None:
    """Return an existing path with the same letters, composed or decomposed as macOS does it."""
    forms = (Path(unicodedata.normalize(form, str(path))) for form in ("NFC", "NFD"))
    return next((other for other in forms if os.path.lexists(other) and other.exists()), None)


def _walk(
    folder: Path,
    inside: PurePath,
    recursive: bool,
    seen: set[tuple[int, int]],
    skipped: Counter[str],
) -> Iterator[ImageItem]:
    """Yield the images of a folder, then of its subfolders, by name; each real folder once."""
    try:
        status = folder.stat()
        if (status.st_dev, status.st_ino) in seen:
            return
        seen.add((status.st_dev, status.st_ino))
        entries = sorted(
            (entry for entry in os.scandir(folder) if not is_hidden(entry.name)),
            key=lambda entry: entry.name,
        )
    except OSError as error:
        yield ImageItem(folder, inside, f"folder not readable: {error.strerror}")
        return
    folders = [entry for entry in entries if _is_folder(entry)]
    for entry in entries:
        suffix = Path(entry.name).suffix.lower()
        if entry not in folders and suffix in REPORTED_SUFFIXES:
            yield ImageItem(folder / entry.name, inside / entry.name)
        elif entry not in folders and suffix in UNREAD_SUFFIXES:
            skipped[suffix] += 1
    for entry in folders if recursive else ():
        yield from _walk(folder / entry.name, inside / entry.name, recursive, seen, skipped)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A circular symlink; reading it as an image reports the error.
        return False
