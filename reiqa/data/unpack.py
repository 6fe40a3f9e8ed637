"""Unpack an archive that a stranger made: nothing outside the folder, nothing but plain files.

`tarfile`'s own filter stops paths and links that lead out; it neither bounds the expansion nor
minds an entry that comes twice, so entries are written here one by one.
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

#: Unpacked bytes allowed: this many times the archive's size, and some for small ones.
EXPANSION = 20
ALLOWANCE = 64 << 20

#: Entries allowed; the largest set's archive holds under a million.
ENTRIES = 4_000_000

_PIECE = 1 << 20

#: Bytes of a path that a link may lead to, as on Linux.
_TARGET = 4096

#: Faults of this machine; any other of writing is the archive's.
_OURS = {
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

# What the readers raise of an archive whose bytes make no sense; zipfile an IndexError of an empty
# name, py7zr the last five of a table that is spoilt.
_DAMAGED = (
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
    """An archive is damaged or hostile; the message names it, the entry and the fault."""


class _Readable(Protocol):
    def read(self, size: int = ..., /) -> bytes: ...


@dataclass(frozen=True)
class _Entry:
    """One thing in an archive.

    Attributes:
        name: as the archive spells it.
        kind: ``file``, ``folder``, ``link`` or ``device``.
        target: where a link leads.
        open: gives the bytes of a file.
    """

    name: str
    kind: str
    target: str
    open: Callable[[], _Readable | None]


def is_archive(name: str) -> bool:
    """Say whether a file's name is that of an archive which `unpack` reads."""
    return _reader(name) is not None


def unpack(archive: Path, folder: Path, advance: Advance = lambda count: None) -> int:
    """Write an archive's files into a folder, and return how many links were left out.

    Links inside the archive are left out; modes, owners and times are not taken over.

    Args:
        archive: a .zip, .7z, .tar, .tgz or otherwise compressed tar.
        folder: empty; what is in it after an error is not whole.
        advance: told of bytes written.

    Raises:
        ArchiveError: an entry leads outside, is a device, comes twice or is encrypted; the whole
            is larger than `EXPANSION` allows; or the archive is damaged or cut off.
    """
    reader = _reader(archive.name)
    if reader is None:
        raise ArchiveError(f"{archive.name}: not an archive of a known kind")
    folder.mkdir(parents=True, exist_ok=True)
    left = EXPANSION * archive.stat().st_size + ALLOWANCE
    seen: set[str] = set()
    name, links = "", 0
    try:
        for number, entry in enumerate(reader(archive, folder, left)):
            if number >= ENTRIES:
                raise ArchiveError(f"{archive.name}: over {ENTRIES:,} entries; refused as a bomb")
            name = entry.name
            path = _safe(name, archive)
            if entry.kind == "device":
                raise ArchiveError(f"{archive.name}: {entry.name}: a device, not a file; refused")
            if entry.kind == "link":
                _safe(str(PurePosixPath(path).parent / entry.target), archive, f"{path} -> ")
                links += 1
                continue
            if entry.kind == "folder":
                (folder / path).mkdir(parents=True, exist_ok=True)
                continue
            if path in seen:
                raise ArchiveError(f"{archive.name}: {entry.name}: there twice; refused")
            seen.add(path)
            stream = entry.open()
            if stream is not None:
                left -= _write(stream, folder / path, left, archive, advance)
    except _DAMAGED as error:
        if isinstance(error, OSError) and error.errno is not None:
            if error.errno in _OURS:
                raise
            raise ArchiveError(
                f"{archive.name}: {name[:80]}: cannot be written ({error.strerror}); refused"
            ) from None
        said = str(error) or type(error).__name__
        raise ArchiveError(f"{archive.name}: damaged or cut off ({said})") from None
    return links


def _write(stream: _Readable, path: Path, left: int, archive: Path, advance: Advance) -> int:
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
        f"{archive.name}: unpacks to over {EXPANSION} times its size; refused as a bomb"
    )


def _safe(name: str, archive: Path, link: str = "") -> str:
    """Return the path inside the folder that an entry's name spells."""
    spelled = name.replace("\\", "/")
    outside = ArchiveError(f"{archive.name}: {link}{name}: leads outside the folder; refused")
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
                    raise ArchiveError(f"{archive.name}: {info.filename}: too long a link; refused")
                target = spelled.decode("utf-8", "replace")
            yield _Entry(info.filename, kind, target, _opener(opened, info))


def _opener(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    return lambda: opened.open(info)


def _tar(archive: Path, folder: Path, left: int) -> Iterator[_Entry]:
    del folder
    # Decompressed here, for tarfile's own streams never look at the checksum at the end.
    with _decompressed(archive) as bare:
        stream = _Counted(bare, left, archive)
        opened = tarfile.open(fileobj=cast(BinaryIO, stream), mode="r|")  # noqa: SIM115
        for info in opened:
            yield _Entry(info.name, _tar_kind(info), _tar_target(info), _extractor(opened, info))
        # tarfile takes a cut between members, or a header it cannot read, for the end.
        padding = stream.seen - opened.offset
        sound = padding >= tarfile.BLOCKSIZE and not stream.tail[-padding:].strip(b"\0")
        while piece := stream.read(_PIECE):
            sound = sound and not piece.strip(b"\0")
        if not sound:
            raise ArchiveError(f"{archive.name}: damaged or cut off (no end after its files)")


class _Counted:
    """A stream that is never read beyond a number of bytes, and keeps its latest ones.

    Attributes:
        seen: bytes read.
        tail: the latest of them; more than tarfile reads ahead of its last member.
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
    """Return where a link leads, from its own folder; a hard link is spelled from the root."""
    if info.islnk() and not info.linkname.startswith("/"):
        return "../" * (len(PurePosixPath(info.name).parts) - 1) + info.linkname
    return info.linkname


def _extractor(opened: tarfile.TarFile, info: tarfile.TarInfo) -> Callable[[], IO[bytes] | None]:
    return lambda: opened.extractfile(info)


def _seven(archive: Path, folder: Path, left: int) -> Iterator[_Entry]:
    """Check a 7z's own table first, then let its library write: it has no way to read by entry."""
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
                # Checked by the caller for its path and for coming twice; written below.
                yield _Entry(info.filename, kind, "", lambda: None)
            opened.extractall(folder)
    except py7zr.exceptions.ArchiveError as error:
        raise ArchiveError(f"{archive.name}: damaged or cut off ({error})") from None


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "link"
    if stat.S_IFMT(mode) in (0, stat.S_IFREG):
        return "file"
    return "folder" if stat.S_ISDIR(mode) else "device"
