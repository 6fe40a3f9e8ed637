"""Unpack an untrusted archive: write only plain files, and only inside the target folder.

The extraction filter of `tarfile` rejects paths and links that leave the folder. It does not limit
the expansion or reject duplicate entries, so this module writes the entries one by one.
"""

import bz2
import errno
import gzip
import lzma
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Protocol, cast

from reiqa.data.disk_space import Advance

#: Limit of unpacked bytes: EXPANSION times the size of the archive plus ALLOWANCE.
EXPANSION = 20
ALLOWANCE = 64 << 20

#: Maximum number of entries; the largest dataset archive has less than a million.
ENTRIES = 4_000_000

_PIECE = 1 << 20

#: Maximum length of a link target in bytes (PATH_MAX on Linux).
_TARGET = 4096

#: System errors. Other errors while writing are caused by the archive.
_SYSTEM_ERRORS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EIO,
    errno.EMFILE,
    errno.ENFILE,
    errno.ENOMEM,
}

# Exceptions that the readers raise for a corrupted archive: zipfile raises IndexError for an empty
# name, py7zr raises the last five for a corrupted table of contents.
_CORRUPTION_ERRORS = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    lzma.LZMAError,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    LookupError,
    ArithmeticError,
    AssertionError,
    AttributeError,
    TypeError,
)


class ArchiveError(Exception):
    """An archive is damaged or unsafe; the message names the archive, the entry and the reason."""


class _Readable(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


@dataclass(frozen=True)
class _Entry:
    """One entry of an archive.

    Attributes:
        name: name in the archive.
        kind: ``file``, ``folder``, ``link`` or ``device``.
        target: target of a link.
        open: returns a stream of the file's content.
    """

    name: str
    kind: str
    target: str
    open: Callable[[], _Readable | None]


def is_archive(name: str) -> bool:
    """Return whether `unpack` supports a file, judging by its name."""
    return _reader(name) is not None


def unpack(archive: Path, folder: Path, advance: Advance = lambda count: None) -> int:
    """Extract the files of an archive into a folder and return the number of skipped links.

    Links are skipped. File modes, owners and times are not restored.

    Args:
        archive: a .zip, .7z, .tar, .tgz or otherwise compressed tar.
        folder: an empty folder; its content is incomplete after an error.
        advance: called with the number of bytes written.

    Raises:
        ArchiveError: an entry leaves the folder, is a device, a duplicate or encrypted; the
            unpacked size exceeds `EXPANSION`; or the archive is damaged or truncated.
    """
    reader = _reader(archive.name)
    if reader is None:
        raise ArchiveError(f"{archive.name}: unsupported archive format")
    folder.mkdir(parents=True, exist_ok=True)
    left = EXPANSION * archive.stat().st_size + ALLOWANCE
    seen: set[str] = set()
    name, links = "", 0
    try:
        for number, entry in enumerate(reader(archive, folder, left)):
            if number >= ENTRIES:
                raise ArchiveError(
                    f"{archive.name}: more than {ENTRIES:,} entries (archive bomb); refused"
                )
            name = entry.name
            path = _safe_path(name, archive)
            if entry.kind == "device":
                raise ArchiveError(f"{archive.name}: {entry.name}: a device, not a file; refused")
            if entry.kind == "link":
                _safe_path(str(PurePosixPath(path).parent / entry.target), archive, f"{path} -> ")
                links += 1
                continue
            if entry.kind == "folder":
                (folder / path).mkdir(parents=True, exist_ok=True)
                continue
            if path in seen:
                raise ArchiveError(f"{archive.name}: {entry.name}: duplicate entry; refused")
            seen.add(path)
            stream = entry.open()
            if stream is not None:
                left -= _write_file(stream, folder / path, left, archive, advance)
    except _CORRUPTION_ERRORS as error:
        if isinstance(error, OSError) and error.errno is not None:
            if error.errno in _SYSTEM_ERRORS:
                raise
            raise ArchiveError(
                f"{archive.name}: {name[:80]}: cannot write ({error.strerror}); refused"
            ) from None
        reason = str(error) or type(error).__name__
        raise ArchiveError(f"{archive.name}: damaged or truncated ({reason})") from None
    return links


def _write_file(stream: _Readable, path: Path, left: int, archive: Path, advance: Advance) -> int:
    written = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as out:
        while piece := stream.read(_PIECE):
            written += len(piece)
            if written > left:
                raise _bomb(archive)
            out.write(piece)
            advance(len(piece))
    return written


def _bomb(archive: Path) -> ArchiveError:
    return ArchiveError(
        f"{archive.name}: unpacks to more than {EXPANSION} times its size (archive bomb); refused"
    )


def _safe_path(name: str, archive: Path, link: str = "") -> str:
    """Return the normalised path of an entry inside the folder."""
    spelled = name.replace("\\", "/")
    outside = ArchiveError(f"{archive.name}: {link}{name}: path leaves the folder; refused")
    if spelled.startswith("/") or spelled[1:2] == ":" or "\0" in spelled:
        raise outside
    parts: list[str] = []
    for part in PurePosixPath(spelled).parts:
        if part != "..":
            parts.append(part)
        elif link and parts:
            parts.pop()
        else:
            raise outside
    return "/".join(parts)


def _reader(name: str) -> Callable[[Path, Path, int], Iterator[_Entry]] | None:
    lower = name.lower()
    if lower.endswith(".zip"):
        return _zip
    if lower.endswith(".7z"):
        return _seven
    suffixes = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tbz2", ".txz")
    return _tar if lower.endswith(suffixes) else None


def _zip(archive: Path, folder: Path, left: int) -> Iterator[_Entry]:
    del folder, left
    with zipfile.ZipFile(archive) as opened:
        for info in opened.infolist():
            mode = info.external_attr >> 16
            kind = "folder" if info.is_dir() else _kind(mode)
            target = ""
            if kind == "link":
                with opened.open(info) as stream:
                    spelled = stream.read(_TARGET + 1)
                if len(spelled) > _TARGET:
                    raise ArchiveError(
                        f"{archive.name}: {info.filename}: link target too long; refused"
                    )
                target = spelled.decode("utf-8", "replace")
            yield _Entry(info.filename, kind, target, _opener(opened, info))


def _opener(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    return lambda: opened.open(info)


def _tar(archive: Path, folder: Path, left: int) -> Iterator[_Entry]:
    del folder
    # tarfile's own decompression does not verify the checksum at the end of the stream.
    with _decompressed(archive) as bare:
        stream = _LimitedStream(bare, left, archive)
        opened = tarfile.open(fileobj=cast(BinaryIO, stream), mode="r|")  # noqa: SIM115
        for info in opened:
            yield _Entry(info.name, _tar_kind(info), _tar_target(info), _extractor(opened, info))
        # tarfile treats a truncation between members, or an invalid header, as the end.
        padding = stream.seen - opened.offset
        terminated = padding >= tarfile.BLOCKSIZE and not stream.tail[-padding:].strip(b"\0")
        while piece := stream.read(_PIECE):
            terminated = terminated and not piece.strip(b"\0")
        if not terminated:
            raise ArchiveError(f"{archive.name}: damaged or truncated (no end marker)")


class _LimitedStream:
    """A stream with a limit on the bytes read; it keeps the most recent ones.

    Attributes:
        seen: number of bytes read.
        tail: the most recent bytes; more than tarfile reads ahead of its last member.
    """

    def __init__(self, stream: BinaryIO, left: int, archive: Path) -> None:
        self._stream, self._left, self._archive = stream, left, archive
        self.seen, self.tail = 0, b""

    def read(self, size: int = -1, /) -> bytes:
        piece = self._stream.read(size)
        self.seen += len(piece)
        self.tail = (self.tail + piece)[-4 * tarfile.RECORDSIZE :]
        if self.seen > self._left:
            raise _bomb(self._archive)
        return piece


def _decompressed(archive: Path) -> BinaryIO:
    with archive.open("rb") as opened:
        start = opened.read(6)
    if start.startswith(b"\x1f\x8b"):
        return cast(BinaryIO, gzip.open(archive))
    if start.startswith(b"BZh"):
        return cast(BinaryIO, bz2.open(archive))
    if start == b"\xfd7zXZ\0":
        return cast(BinaryIO, lzma.open(archive))
    return archive.open("rb")


def _tar_kind(info: tarfile.TarInfo) -> str:
    if info.issym() or info.islnk():
        return "link"
    if info.isfile():
        return "file"
    return "folder" if info.isdir() else "device"


def _tar_target(info: tarfile.TarInfo) -> str:
    """Return the target relative to the folder of the link; hard links are relative to the root."""
    if info.islnk() and not info.linkname.startswith("/"):
        return "../" * (len(PurePosixPath(info.name).parts) - 1) + info.linkname
    return info.linkname


def _extractor(opened: tarfile.TarFile, info: tarfile.TarInfo) -> Callable[[], IO[bytes] | None]:
    return lambda: opened.extractfile(info)


def _seven(archive: Path, folder: Path, left: int) -> Iterator[_Entry]:
    """Check the table of contents of a 7z archive, then extract it: py7zr has no streaming API."""
    import py7zr

    try:
        with py7zr.SevenZipFile(archive) as opened:
            infos = list(opened.files)
            if sum(info.uncompressed for info in infos) > left:
                raise _bomb(archive)
            for info in infos:
                kind = "link" if info.is_symlink or info.is_junction else "file"
                kind = "folder" if info.is_directory else kind
                if kind == "link":
                    raise ArchiveError(f"{archive.name}: {info.filename}: a link; refused")
                # The caller checks the path and rejects duplicates; extractall writes the file.
                yield _Entry(info.filename, kind, "", lambda: None)
            opened.extractall(folder)
    except py7zr.exceptions.ArchiveError as error:
        raise ArchiveError(f"{archive.name}: damaged or truncated ({error})") from None


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "link"
    if stat.S_IFMT(mode) in (0, stat.S_IFREG):
        return "file"
    return "folder" if stat.S_ISDIR(mode) else "device"
