"""List the files of a dataset folder and resolve listed paths to files."""

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
    """The file that a listed path resolves to.

    Attributes:
        path: relative to the dataset folder; None if no file matches.
        rivals: other files that match equally well.
    """

    path: str | None
    rivals: tuple[str, ...] = ()


class ImageFiles:
    """The files of a folder, looked up case-insensitively by the tail of their path.

    Archives of one dataset differ in their outer folders and in letter case, but not in the tail.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        """Create from a mapping of POSIX paths, relative to the folder, to file sizes."""
        self.sizes = dict(sorted(sizes.items()))
        self._by_name: dict[str, list[str]] = {}
        for path in self.sizes:
            self._by_name.setdefault(path.rpartition("/")[2].lower(), []).append(path)

    @classmethod
    def under(cls, folder: Path) -> "ImageFiles":
        """List a folder recursively without following symlinks to folders.

        Raises:
            BadInputError: the folder does not exist.
        """
        if not folder.is_dir():
            raise BadInputError(f"{folder}: not found; run: reiqa fetch --dataset {folder.name}")
        return cls(dict(_walk(folder)))

    def images(self) -> list[str]:
        """Return the sorted paths of the images."""
        return [path for path in self.sizes if is_image(path)]

    def named(self, name: str) -> str | None:
        """Return the first file with this name in any folder, ignoring case."""
        return next(iter(self._by_name.get(name.lower(), ())), None)

    def find(self, listed: str, tail: int) -> FoundFile:
        """Return the file whose path shares the longest tail with ``listed``.

        Args:
            listed: a path as it appears in a table.
            tail: minimum number of matching components, counted from the file name.
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
    """Return whether a file name has an image suffix."""
    return "." + path.rpartition(".")[2].lower() in IMAGE_SUFFIXES


def matches_any(path: str, patterns: tuple[str, ...]) -> bool:
    """Return whether the tail of a path matches one of the patterns, ignoring case."""
    lower = "/" + path.lower()
    return any(fnmatchcase(lower, f"*/{pattern}") for pattern in patterns)


def extras(all_images: list[str], used: set[str], known: frozenset[str]) -> list[str]:
    """Return unlisted images from folders that contain listed images.

    Args:
        all_images: every image of the dataset folder.
        used: images that the table lists.
        known: lower-case names of unlisted images that are expected.
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
