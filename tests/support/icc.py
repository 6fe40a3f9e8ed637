"""The smallest ICC profiles that mean something, built from their definition (ICC.1:2001-04)."""

import struct
from collections.abc import Sequence

#: Adobe RGB (1998): its primaries adapted to D50, and its gamma.
ADOBE_RGB = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
GAMMA = 2.19921875

_D50 = (0.9642, 1.0, 0.8249)


def rgb_profile(primaries: Sequence[Sequence[float]] = ADOBE_RGB, gamma: float = GAMMA) -> bytes:
    """Return a display profile of three primaries and one curve."""
    tags = [
        (name + b"XYZ", _xyz(primary))
        for name, primary in zip((b"r", b"g", b"b"), primaries, strict=True)
    ]
    tags += [(name + b"TRC", _curve(gamma)) for name in (b"r", b"g", b"b")]
    return _profile(b"RGB ", tags)


def grey_profile(gamma: float) -> bytes:
    """Return a profile of greys."""
    return _profile(b"GRAY", [(b"kTRC", _curve(gamma))])


def cmyk_profile() -> bytes:
    """Return a printer's profile whose lightness is (1 - K) (1 - (C + M + Y) / 3), without hue."""
    corners = [[(number >> bit) & 1 for bit in (3, 2, 1, 0)] for number in range(16)]
    grid = b"".join(
        bytes([round(255 * (1 - k) * (1 - (c + m + y) / 3)), 128, 128]) for c, m, y, k in corners
    )
    unit = b"".join(struct.pack(">i", 65536 * (number % 4 == 0)) for number in range(9))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + unit
    table += bytes(range(256)) * 4 + grid + bytes(range(256)) * 3
    return _profile(b"CMYK", [(b"A2B0", table)], b"prtr", b"Lab ")


def _xyz(values: Sequence[float]) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(struct.pack(">i", round(v * 65536)) for v in values)


def _curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(gamma * 256)) + bytes(2)


def _profile(
    space: bytes,
    tags: list[tuple[bytes, bytes]],
    kind: bytes = b"mntr",
    connection: bytes = b"XYZ ",
) -> bytes:
    text = b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78)
    tags = [(b"desc", text + bytes(-len(text) % 4)), (b"wtpt", _xyz(_D50)), *tags]
    table, body, at = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags:
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data
    size = at + len(body)
    head = struct.pack(">I4xI", size, 0x02100000) + kind + space + connection
    head += bytes(12) + b"acsp"
    head += bytes(28) + b"".join(struct.pack(">i", round(v * 65536)) for v in _D50)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body
