"""Which images a command line means: files, folders, patterns, or a list on standard input."""

import codecs
import glob
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath

from reiqa import text
from reiqa.errors import BadInputError
from reiqa.layout import IMAGE_SUFFIXES, is_hidden

#: Taken from folders though not every machine can read them: an image that is passed over in
#: silence is worse than one that is told of.
TOLD_OF = IMAGE_SUFFIXES | {".avif", ".heic", ".heif", ".jfif", ".jp2", ".jpe"}


@dataclass(frozen=True)
class ImageItem:
    """One image to score.

    Attributes:
        path: to open it by.
        inside: where it lies below the folder that was named; its file name if it was named itself.
        error: why there is nothing to open; empty where there may be.
    """

    path: Path
    inside: PurePath
    error: str = ""

    @property
    def name(self) -> str:
        """The path as it is printed: in one line, whatever bytes it is made of."""
        return text.escape_control_characters(
            os.fsencode(self.path).decode("utf-8", "backslashreplace")
        )


def read_list(content: bytes) -> list[str]:
    """Return the paths of a list: one a line, or separated by NUL as by ``find -print0``.

    Any encoding that a byte order mark announces; without one UTF-8, where bytes that are none
    stand for themselves, as in file names.
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
    """Return every image that the arguments name, each once.

    Args:
        arguments: paths of files or folders, patterns such as ``**/*.jpg``, or ``-`` for `lines`.
        lines: a path each.
        recursive: look into the folders of a folder.

    Raises:
        BadInputError: there is no image at all.
    """
    arguments = list(arguments)
    found: dict[Path, ImageItem] = {}
    for argument in arguments:
        named = lines if argument == "-" else (argument,)
        for one in filter(None, named):
            for item in _meant(one, recursive):
                found.setdefault(item.path, item)
    if not found:
        raise BadInputError(f"{', '.join(arguments)}: no image here")
    return list(found.values())


def _meant(argument: str, recursive: bool) -> Iterator[ImageItem]:
    path = Path(argument)
    if glob.has_magic(argument) and not os.path.lexists(path):
        matches = sorted(glob.glob(argument, recursive=True))  # noqa: PTH207
        if not matches:
            yield ImageItem(path, PurePath(path.name), "no file matches this pattern")
        for match in matches:
            yield from _at(Path(match), recursive)
        return
    yield from _at(path, recursive)


def _at(path: Path, recursive: bool) -> Iterator[ImageItem]:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        yield ImageItem(path, PurePath(path.name), "no such file")
    except (OSError, ValueError) as error:
        # A name that no file can have: too long, or with a NUL in it.
        reason = getattr(error, "strerror", None) or str(error)
        yield ImageItem(path, PurePath("unnamed"), f"cannot be opened ({reason})")
    else:
        if stat.S_ISDIR(mode):
            yield from _walk(path, PurePath(), recursive, set())
        else:
            kind = "" if stat.S_ISREG(mode) else "not a regular file"
            yield ImageItem(path, PurePath(path.name), kind)


def _walk(
    folder: Path, inside: PurePath, recursive: bool, seen: set[tuple[int, int]]
) -> Iterator[ImageItem]:
    """Yield the images of a folder, then those of its folders, by name; each real folder once."""
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
        if entry not in folders and Path(entry.name).suffix.lower() in TOLD_OF:
            yield ImageItem(folder / entry.name, inside / entry.name)
    for entry in folders if recursive else ():
        yield from _walk(folder / entry.name, inside / entry.name, recursive, seen)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link that leads round to itself: reading it as an image says so.
        return False
