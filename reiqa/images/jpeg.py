"""Remove segments from JPEG files that do not affect the pixels.

When opening a file, Pillow parses EXIF, the list of further images (MPO) and other segments, and
warns or fails if they are invalid. Of several images in one file, the first is used, as in viewers.
"""

import io
from typing import IO

from reiqa.images.metadata import parse_orientation
from reiqa.images.parts import Part, Stripped, joined, tail

_COMMENT = 0xFE
_SCAN = 0xDA
_END = b"\xff\xd9"
#: Codes that end the parsing: start and end of an image, start of a scan.
_LAST = frozenset({0xD8, 0xD9, 0xDA})
#: Codes without a length field: stuffing, TEM, RST0 to RST7.
_BARE = frozenset({0x00, 0x01, *range(0xD0, 0xD8)})
#: Application segments that specify the colour encoding, and their minimum length.
_COLOR = {0xE0: (b"JFIF\0", 16), 0xEE: (b"Adobe", 14)}
_EXIF, _PROFILE = b"Exif\0\0", b"ICC_PROFILE\0"
#: Maximum number of 64 KiB pieces of a profile, stored in one byte; longer profiles are ignored.
_MAX_PIECES = 255
#: Maximum number of parsed segments; the rest of the file is kept unchanged.
_MAX_SEGMENTS = 10_000


def stripped(file: IO[bytes]) -> Stripped:
    """Keep only the segments that affect the pixels."""
    parts: list[Part] = [(0, 2)]
    exif = b""
    pieces: list[bytes] = []
    end = file.seek(0, io.SEEK_END)
    at = file.seek(2)
    for _ in range(_MAX_SEGMENTS):
        code = _next_marker(file)
        if code in _BARE:
            continue
        at = max(2, file.tell() - 2)
        length = int.from_bytes(file.read(2), "big")
        if code is None or code in _LAST or length < 2:
            break
        stop = min(at + 2 + length, end)
        if not 0xE0 <= code <= 0xEF and code != _COMMENT:
            parts.append((at, stop))
        else:
            mark, least = _COLOR.get(code, (b"", 0))
            body = file.read(length - 2)
            if mark and body.startswith(mark) and length >= least:
                parts.append((at, stop))
            elif code == 0xE1 and body.startswith(_EXIF) and not exif:
                exif = body
            elif code == 0xE2 and body.startswith(_PROFILE) and len(pieces) <= _MAX_PIECES:
                pieces.append(body[len(_PROFILE) :])
        at = file.seek(stop)
    parts.append((at, end))
    return Stripped(joined(file, parts), parse_orientation(exif), _profile(pieces))


def is_ended(file: IO[bytes]) -> bool:
    """Return whether a file has an end marker, which pixels cannot contain.

    Bytes may follow it, such as a film or padding. Segments before the scan are skipped: a preview
    in EXIF has an end marker of its own.
    """
    # Almost all files end with it; the others are read to find it.
    if tail(file, 2) == _END:
        return True
    file.seek(2)
    code: int | None = None
    for _ in range(_MAX_SEGMENTS):
        code = _next_marker(file)
        if code is None or code in _LAST:
            break
        if code not in _BARE:
            length = int.from_bytes(file.read(2), "big")
            file.seek(max(0, length - 2), io.SEEK_CUR)
    return code == _SCAN and _END in file.read()


def _next_marker(file: IO[bytes]) -> int | None:
    """Return the code of the next marker, skipping fill bytes and garbage as decoders do."""
    byte = file.read(1)
    while byte and byte != b"\xff":
        byte = file.read(1)
    while byte == b"\xff":
        byte = file.read(1)
    return byte[0] if byte else None


def _profile(pieces: list[bytes]) -> bytes:
    """Join the pieces of a profile by number; empty if one is missing."""
    pieces.sort(key=lambda piece: piece[:1])
    if not 0 < len(pieces) <= _MAX_PIECES or pieces[0][1:2] != bytes([len(pieces)]):
        return b""
    return b"".join(piece[2:] for piece in pieces)
