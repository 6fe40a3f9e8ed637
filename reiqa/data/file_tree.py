"""Copy, merge and remove directory trees."""

import shutil
from collections.abc import Callable
from pathlib import Path

from reiqa.data.image_files import ImageFiles
from reiqa.errors import WorkFailedError
from reiqa.progress import track


def copy_tree(source: Path, target: Path, place: Callable[[Path, Path], object]) -> None:
    """Copy a directory tree to ``target`` with ``place``, or by plain copies where that fails."""
    for path in track(list(ImageFiles.under(source).sizes), f"copy {source}", unit="files"):
        into = target / path
        into.parent.mkdir(parents=True, exist_ok=True)
        try:
            place(source / path, into)
        except OSError:
            shutil.copyfile(source / path, into)


def merge_tree(folder: Path, into: Path) -> None:
    """Move the content of ``folder`` into a folder that may already contain files.

    Raises:
        WorkFailedError: a file exists in both folders.
    """
    if not folder.exists():
        return
    into.mkdir(parents=True, exist_ok=True)
    for item in sorted(folder.iterdir()):
        if item.is_dir() and (into / item.name).is_dir():
            merge_tree(item, into / item.name)
        elif (into / item.name).exists():
            raise WorkFailedError(f"{item.name}: found in two archives of the dataset; refused")
        else:
            item.replace(into / item.name)
    folder.rmdir()


def remove_tree(path: Path) -> None:
    """Remove a file, a folder or a symlink, but never the target of a symlink."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.exists():
        shutil.rmtree(path)
