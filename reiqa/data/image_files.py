"""List the files of a dataset folder and resolve listed paths to files."""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from reiqa.errors import BadInputError
from reiqa.local_files import is_image, walk


@dataclass(frozen=True)
class FoundFile:
    """The file that a listed path resolves to.

    Attributes:
        path: relative to the dataset folder; None if no file matches.
        rivals: other files that match equally well.
    """

    path: str | None
    rivals: tuple[str, ...] = ()


def folded(path: str) -> str:
    """Return a path for comparisons: lower case, composed characters, slashes.

    A table written on Windows may have backslashes, and macOS gives decomposed names to files.
    """
    return unicodedata.normalize("NFC", path).lower().replace("\\", "/")


class ImageFiles:
    """The files of a folder, looked up by the tail of their path, and spelled in any way.

    Archives of one dataset differ in their outer folders and in letter case, but not in the tail.
    See `folded` for what else may differ.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        """Create from a mapping of POSIX paths, relative to the folder, to file sizes."""
        self.sizes = dict(sorted(sizes.items()))
        self._by_name: dict[str, list[str]] = {}
        for path in self.sizes:
            self._by_name.setdefault(_file_name(path), []).append(path)

    @classmethod
    def under(cls, folder: Path) -> "ImageFiles":
        """List a folder recursively without following symlinks to folders.

        Raises:
            BadInputError: the folder does not exist.
        """
        if not folder.is_dir():
            raise BadInputError(f"{folder}: not found; run: reiqa fetch --dataset {folder.name}")
        return cls({path: state.st_size for path, state in walk(folder)})

    def images(self) -> list[str]:
        """Return the sorted paths of the images."""
        return [path for path in self.sizes if is_image(path)]

    def named(self, name: str) -> str | None:
        """Return the first file with this name in any folder, ignoring case."""
        return next(iter(self._by_name.get(_file_name(name), ())), None)

    def find(self, listed: str, tail: int | None) -> FoundFile:
        """Return the file whose path shares the longest tail with ``listed``.

        Of files whose names differ only in case, the one that is spelled like ``listed`` is chosen.

        Args:
            listed: a path as it appears in a table.
            tail: minimum number of matching components, counted from the file name; None for all
                components of the shorter path.
        """
        if tail is None and listed in self.sizes:
            return FoundFile(listed)
        wanted, spelled = folded(listed).split("/"), listed.split("/")
        ranked = []
        for path in self._by_name.get(wanted[-1], ()):
            parts = folded(path).split("/")
            needed = min(len(wanted), len(parts)) if tail is None else tail
            if (length := _agreement(wanted, parts)) >= needed:
                ranked.append(((length, _agreement(spelled, path.split("/"))), path))
        if not ranked:
            return FoundFile(None)
        best = max(rank for rank, _ in ranked)
        first, *rest = [path for rank, path in ranked if rank == best]
        return FoundFile(first, tuple(rest))


def _file_name(path: str) -> str:
    return folded(path).rpartition("/")[2]


def matches_any(path: str, patterns: tuple[str, ...]) -> bool:
    """Return whether the tail of a path matches one of the patterns, ignoring case."""
    lower = "/" + path.lower()
    return any(fnmatchcase(lower, f"*/{pattern}") for pattern in patterns)


def unlisted(all_images: list[str], used: set[str], known: frozenset[str]) -> list[str]:
    """Return unlisted images; see `extras` for the arguments."""
    return [path for path in all_images if path not in used and _file_name(path) not in known]


def extras(all_images: list[str], used: set[str], known: frozenset[str]) -> list[str]:
    """Return unlisted images from folders that contain listed images.

    Args:
        all_images: every image of the dataset folder.
        used: images that the table lists.
        known: lower-case names of unlisted images that are expected.
    """
    folders = {path.rpartition("/")[0] for path in used}
    return [
        path for path in unlisted(all_images, used, known) if path.rpartition("/")[0] in folders
    ]


def _agreement(first: list[str], second: list[str]) -> int:
    length = 0
    for one, other in zip(reversed(first), reversed(second), strict=False):
        if one != other:
            break
        length += 1
    return length
