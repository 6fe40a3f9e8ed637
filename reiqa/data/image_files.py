"""What lies in a set's folder, and which file a listed path means."""

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from reiqa.errors import BadInputError
from reiqa.layout import IMAGE_SUFFIXES, is_hidden


@dataclass(frozen=True)
class FoundFile:
    """The file that a listed path means.

    Attributes:
        path: relative to the set's folder; None where nothing fits.
        rivals: other files that fit as well.
    """

    path: str | None
    rivals: tuple[str, ...] = ()


class ImageFiles:
    """All files of a folder, found by the tail of their path whatever the case of its letters.

    Archives of one set differ in their outer folders and in the case of names, never in the tail.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        """Take the size of each file by its path relative to the folder, with slashes."""
        self.sizes = dict(sorted(sizes.items()))
        self._by_name: dict[str, list[str]] = {}
        for path in self.sizes:
            self._by_name.setdefault(path.rpartition("/")[2].lower(), []).append(path)

    @classmethod
    def under(cls, folder: Path) -> "ImageFiles":
        """List a folder and all below it; links to folders inside it are not followed.

        Raises:
            BadInputError: it is not there.
        """
        if not folder.is_dir():
            raise BadInputError(f"{folder}: not there; run: reiqa fetch --dataset {folder.name}")
        return cls(dict(_walk(folder)))

    def images(self) -> list[str]:
        """Return the images by sorted path."""
        return [path for path in self.sizes if is_image(path)]

    def named(self, name: str) -> str | None:
        """Return the first file of this name, whatever its folder and case."""
        return next(iter(self._by_name.get(name.lower(), ())), None)

    def find(self, listed: str, tail: int) -> FoundFile:
        """Return the file whose path agrees longest with the end of ``listed``.

        Args:
            listed: a path as a table spells it.
            tail: parts that must agree at least, the file's name being the first.
        """
        wanted = listed.lower().split("/")
        ranked = [
            (_agreement(wanted, path.lower().split("/")), path)
            for path in self._by_name.get(wanted[-1], ())
        ]
        best = max((length for length, _ in ranked), default=0)
        if best < tail:
            return FoundFile(None)
        first, *rest = [path for length, path in ranked if length == best]
        return FoundFile(first, tuple(rest))


def is_image(path: str) -> bool:
    """Say whether a file's name is that of an image."""
    return "." + path.rpartition(".")[2].lower() in IMAGE_SUFFIXES


def matches_any(path: str, patterns: tuple[str, ...]) -> bool:
    """Say whether the tail of a path fits one of the patterns, whatever its case."""
    lower = "/" + path.lower()
    return any(fnmatchcase(lower, f"*/{pattern}") for pattern in patterns)


def extras(all_images: list[str], used: set[str], known: frozenset[str]) -> list[str]:
    """Return images that lie in a folder of listed ones without being listed.

    Args:
        all_images: every image of the set's folder.
        used: those that the table lists.
        known: names, in lower case, of images that may lie among them.
    """
    folders = Counter(path.rpartition("/")[0] for path in used)
    return [
        path
        for path in all_images
        if path not in used
        and folders[path.rpartition("/")[0]]
        and path.rpartition("/")[2].lower() not in known
    ]


def _walk(folder: Path) -> Iterator[tuple[str, int]]:
    pending = [""]
    while pending:
        inside = pending.pop()
        with os.scandir(folder / inside) as listing:
            for item in listing:
                if is_hidden(item.name):
                    continue
                path = f"{inside}/{item.name}" if inside else item.name
                if item.is_dir(follow_symlinks=False):
                    pending.append(path)
                elif item.is_file():
                    yield path, item.stat().st_size


def _agreement(first: list[str], second: list[str]) -> int:
    length = 0
    for one, other in zip(reversed(first), reversed(second), strict=False):
        if one != other:
            break
        length += 1
    return length
