"""Hostile and damaged archives are refused by name, and nothing outside the folder changes."""

import errno
import gzip
import io
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import py7zr
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.offered import SMALL, seven_of, seven_parts, tgz, zipped

from reiqa.data import unpack as unpacking
from reiqa.data.unpack import ArchiveError, unpack

Member = tuple[tarfile.TarInfo, bytes]


@pytest.fixture
def around(tmp_path: Path) -> Iterator[Path]:
    """A folder to unpack into, with neighbours that must stay as they are."""
    (tmp_path / "neighbour").mkdir()
    (tmp_path / "neighbour/precious.txt").write_text("precious")
    (tmp_path / "packed").mkdir()
    yield tmp_path
    inside = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    outside = {name for name in inside if not name.startswith(("into", "packed"))}
    assert outside == {"neighbour", "neighbour/precious.txt"}
    assert (tmp_path / "neighbour/precious.txt").read_text() == "precious"


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", data: bytes = b"") -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, target, len(data)
    return info, data


def tar_of(*members: Member) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for info, data in members:
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def zip_of(*entries: tuple[str, int, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, mode, data in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


FILE, LINK = stat.S_IFREG | 0o644, stat.S_IFLNK | 0o777

HOSTILE: dict[str, tuple[str, Callable[[Path], bytes], str]] = {
    "a path that climbs out": (
        "x.tgz",
        lambda _: tar_of(member("../neighbour/precious.txt", data=b"gone")),
        "path leaves",
    ),
    "a path that climbs out from deep": (
        "x.tar.gz",
        lambda _: tar_of(member("a/b/../../../neighbour/new.txt", data=b"gone")),
        "path leaves",
    ),
    "an absolute path": (
        "x.tgz",
        lambda outer: tar_of(member(f"{outer}/neighbour/precious.txt", data=b"gone")),
        "path leaves",
    ),
    "a symbolic link out": (
        "x.tgz",
        lambda _: tar_of(
            member("door", tarfile.SYMTYPE, "../neighbour"),
            member("door/precious.txt", data=b"gone"),
        ),
        "path leaves",
    ),
    "an absolute link": (
        "x.tgz",
        lambda outer: tar_of(member("door", tarfile.SYMTYPE, f"{outer}/neighbour")),
        "path leaves",
    ),
    "a hard link out": (
        "x.tgz",
        lambda _: tar_of(member("a/door", tarfile.LNKTYPE, "../neighbour/precious.txt")),
        "path leaves",
    ),
    "a device": ("x.tgz", lambda _: tar_of(member("null", tarfile.CHRTYPE)), "device"),
    "a pipe": ("x.tgz", lambda _: tar_of(member("pipe", tarfile.FIFOTYPE)), "device"),
    "one name twice": (
        "x.tgz",
        lambda _: tar_of(member("a.txt", data=b"1"), member("./a.txt", data=b"2")),
        "duplicate entry",
    ),
    "a file that is a folder too": (
        "x.tgz",
        lambda _: tar_of(member("a", data=b"1"), member("a/b", data=b"2")),
        "a/b: cannot write",
    ),
    "the folder itself": ("x.tgz", lambda _: tar_of(member(".", data=b"1")), "cannot write"),
    "a name too long": (
        "x.tgz",
        lambda _: tar_of(member("a" * 300 + ".png", data=b"1")),
        "aaa: cannot write",
    ),
    "a zipped file that is a folder too": (
        "x.zip",
        lambda _: zip_of(("a", FILE, b"1"), ("a/b", FILE, b"2")),
        "a/b: cannot write",
    ),
    "a bomb": ("x.tgz", lambda _: tar_of(member("a.bin", data=bytes(80 << 20))), "bomb"),
    "a zipped path that climbs out": (
        "x.zip",
        lambda _: zip_of(("../neighbour/precious.txt", FILE, b"gone")),
        "path leaves",
    ),
    "a zipped path with backslashes": (
        "x.zip",
        lambda _: zip_of(("..\\neighbour\\precious.txt", FILE, b"gone")),
        "path leaves",
    ),
    "a zipped drive letter": (
        "x.zip",
        lambda _: zip_of(("C:/x.txt", FILE, b"gone")),
        "path leaves",
    ),
    "a zipped link out": (
        "x.zip",
        lambda _: zip_of(("door", LINK, b"../neighbour")),
        "path leaves",
    ),
    "a zipped link that is a bomb": (
        "x.zip",
        lambda _: zip_of(("door", LINK, b"a" * 4097)),
        "door: link target too long",
    ),
    "a zipped device": ("x.zip", lambda _: zip_of(("null", stat.S_IFCHR, b"")), "device"),
    "a zipped name twice": (
        "x.zip",
        lambda _: zip_of(("a.txt", FILE, b"1"), ("a.txt", FILE, b"2")),
        "duplicate entry",
    ),
    "a zip bomb": ("x.zip", lambda _: zip_of(("a.bin", FILE, bytes(80 << 20))), "bomb"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_archive_is_refused_by_name(case: str, around: Path) -> None:
    name, build, word = HOSTILE[case]
    archive = around / "packed" / name
    archive.write_bytes(build(around))
    with pytest.raises(ArchiveError, match=rf"{name}: .*{word}"):
        unpack(archive, around / "into")


def seven(path: Path, names: dict[str, bytes]) -> None:
    with py7zr.SevenZipFile(path, "w") as archive:
        for name, data in names.items():
            archive.writestr(data, name)


@pytest.mark.parametrize(
    ("names", "word"),
    [
        ({"a/../../neighbour/x.txt": b"gone"}, "path leaves"),
        ({"a.bin": bytes(80 << 20)}, "bomb"),
    ],
)
def test_a_hostile_7z_is_refused_by_name(
    names: dict[str, bytes], word: str, around: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Its own library would not even write such a name.
    monkeypatch.setattr(py7zr.py7zr, "check_archive_path", lambda _: True)
    seven(around / "packed/x.7z", names)
    with pytest.raises(ArchiveError, match=word):
        unpack(around / "packed/x.7z", around / "into")


def test_a_7z_with_a_link_is_refused(around: Path) -> None:
    (around / "packed/door").symlink_to("../neighbour")
    with py7zr.SevenZipFile(around / "packed/x.7z", "w") as archive:
        archive.write(around / "packed/door", "door")
    with pytest.raises(ArchiveError, match="link"):
        unpack(around / "packed/x.7z", around / "into")


def test_a_7z_whose_table_is_spoilt_is_refused_or_unpacked_and_nothing_else(around: Path) -> None:
    packed, table = seven_parts({"d/a.bin": b"pixels" * 10})
    places, largest, refused = range(len(table)), b"\xff" * 9, 0
    flipped = [table[:at] + bytes([table[at] ^ 1 << at % 8]) + table[at + 1 :] for at in places]
    grown = [table[:at] + largest + table[at + 1 :] for at in places]
    for spoilt in flipped + grown:
        (around / "packed/x.7z").write_bytes(seven_of(packed, spoilt))
        try:
            unpack(around / "packed/x.7z", around / "into")
        except ArchiveError as error:
            refused += 1
            assert str(error).startswith("x.7z: ") and "()" not in str(error)
        shutil.rmtree(around / "into")
    assert refused > len(table)


def test_a_zip_with_a_nameless_entry_is_refused(around: Path) -> None:
    # Of a name zipfile takes what stands before its first zero.
    (around / "packed/x.zip").write_bytes(zipped({"name": b""}).replace(b"name", b"\0ame"))
    with pytest.raises(ArchiveError, match=r"x\.zip: damaged"):
        unpack(around / "packed/x.zip", around / "into")


@pytest.mark.parametrize("name", ["x.zip", "x.tgz", "x.tar", "x.tar.bz2", "x.tar.xz", "x.7z"])
def test_a_sound_archive_of_any_kind_is_unpacked(name: str, around: Path) -> None:
    archive = around / "packed" / name
    if name == "x.7z":
        seven(archive, SMALL)
    elif name == "x.zip":
        archive.write_bytes(zipped(SMALL))
    else:
        kind = {"x.tgz": "gz", "x.tar": "", "x.tar.bz2": "bz2", "x.tar.xz": "xz"}[name]
        archive.write_bytes(tgz(SMALL, kind))
    counted: list[int] = []
    assert unpack(archive, around / "into", counted.append) == 0
    for path, data in SMALL.items():
        assert (around / "into" / path).read_bytes() == data
    assert name == "x.7z" or sum(counted) == sum(map(len, SMALL.values()))


@pytest.mark.parametrize("name", ["x.zip", "x.tgz", "x.tar", "x.7z"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_an_archive_that_is_cut_off_is_refused(name: str, share: float, around: Path) -> None:
    archive = around / "packed" / name
    if name == "x.7z":
        seven(archive, SMALL)
    else:
        archive.write_bytes(zipped(SMALL) if name == "x.zip" else tgz(SMALL, name[3:5].strip("ar")))
    data = archive.read_bytes()
    # A tar ends in padding: what is cut must reach into its files.
    archive.write_bytes(data[: int(share * min(len(data), sum(map(len, SMALL.values()))))])
    with pytest.raises(ArchiveError, match="damaged or truncated"):
        unpack(archive, around / "into")


def even_tar() -> bytes:
    """Four members of 1,536 bytes each, header and padding counted, and the end."""
    return tgz({f"{number}.bin": bytes([number + 1]) * 1000 for number in range(4)}, "")


@pytest.mark.parametrize("cut", [1536, 3 * 1536, 4 * 1536, 1536 + 5, 2 * 1536 + 200, 1536 + 512])
def test_a_plain_tar_cut_between_or_in_its_headers_is_refused(cut: int, around: Path) -> None:
    (around / "packed/x.tar").write_bytes(even_tar()[:cut])
    with pytest.raises(ArchiveError, match=r"x.tar: damaged or truncated"):
        unpack(around / "packed/x.tar", around / "into")


@pytest.mark.parametrize("place", [5, 1536 + 5, 3 * 1536 + 150])
def test_a_flipped_byte_in_a_header_of_a_plain_tar_is_noticed(place: int, around: Path) -> None:
    data = bytearray(even_tar())
    data[place] ^= 0x55
    (around / "packed/x.tar").write_bytes(bytes(data))
    with pytest.raises(ArchiveError, match=r"x.tar: damaged or truncated"):
        unpack(around / "packed/x.tar", around / "into")


def test_a_long_header_that_is_a_bomb_is_refused_before_it_is_read_whole(around: Path) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = b"x", 200 << 20
    head = info.tobuf(tarfile.USTAR_FORMAT) + f"{info.size} comment=".encode()
    data = gzip.compress(head + b"a" * (info.size - len(head) + 512), 1)
    (around / "packed/x.tgz").write_bytes(data)
    with pytest.raises(ArchiveError, match="bomb"):
        unpack(around / "packed/x.tgz", around / "into")


def test_a_flipped_byte_is_noticed(around: Path) -> None:
    data = bytearray(tgz(SMALL))
    data[-6] ^= 0xFF
    (around / "packed/x.tgz").write_bytes(bytes(data))
    with pytest.raises(ArchiveError, match="damaged"):
        unpack(around / "packed/x.tgz", around / "into")


def test_a_full_disk_is_not_the_fault_of_the_archive(
    around: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (around / "packed/x.tgz").write_bytes(tgz(SMALL))

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(unpacking, "_write_file", full)
    with pytest.raises(OSError, match="No space"):
        unpack(around / "packed/x.tgz", around / "into")


@pytest.mark.parametrize("name", ["x.tgz", "x.zip"])
def test_an_archive_of_too_many_entries_is_refused(
    name: str, around: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "ENTRIES", 2)
    (around / "packed" / name).write_bytes(tgz(SMALL) if name == "x.tgz" else zipped(SMALL))
    with pytest.raises(ArchiveError, match="more than 2 entries"):
        unpack(around / "packed" / name, around / "into")


def test_links_that_stay_inside_are_left_out(around: Path) -> None:
    members = (
        member("a/one.txt", data=b"1"),
        member("a/two.txt", tarfile.SYMTYPE, "one.txt"),
        member("b/three.txt", tarfile.LNKTYPE, "a/one.txt"),
    )
    (around / "packed/x.tgz").write_bytes(tar_of(*members))
    assert unpack(around / "packed/x.tgz", around / "into") == 2
    assert [path.name for path in (around / "into").rglob("*.txt")] == ["one.txt"]


def test_modes_of_the_archive_are_not_taken_over(around: Path) -> None:
    info, data = member("run.sh", data=b"#!/bin/sh")
    info.mode = 0o6777
    (around / "packed/x.tgz").write_bytes(tar_of((info, data)))
    unpack(around / "packed/x.tgz", around / "into")
    assert not (around / "into/run.sh").stat().st_mode & 0o7111


names = st.lists(st.sampled_from(["a", "b", "..", ".", "", "c d", "\\", "/"]), min_size=1).map(
    "/".join
)


@given(names)
def test_no_name_leads_outside(name: str) -> None:
    try:
        path = unpacking._safe_path(name, Path("x.zip"))
    except ArchiveError:
        return
    root = Path("/root/into")
    assert (root / path).resolve().is_relative_to(root)
