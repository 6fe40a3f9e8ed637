"""Parse the EXIF orientation.

The parser is bounded and tolerant, so that other damaged tags do not cause errors.
"""

import struct

from PIL import Image

#: EXIF orientations that swap height and width.
TURNED = frozenset({5, 6, 7, 8})

#: Transposition to the upright image, by EXIF orientation.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_ORIENTATION = 0x0112
#: Maximum number of parsed entries of a directory.
_ENTRIES = 512


def parse_orientation(exif: object) -> int:
    """Return the orientation in a block of EXIF bytes, or 1 if there is none.

    As in browsers, orientation in XMP or in a text chunk of a PNG is ignored.
    """
    if not isinstance(exif, bytes):
        return 1
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for entry in range(min(count, _ENTRIES)):
            tag, kind, _ = struct.unpack_from(f"{order}HHI", tiff, start + 2 + 12 * entry)
            if tag == _ORIENTATION:
                form = {1: "B", 3: "H", 4: "I"}.get(kind)
                if form is None:
                    return 1
                (value,) = struct.unpack_from(f"{order}{form}", tiff, start + 10 + 12 * entry)
                return value if value in UPRIGHT else 1
    except struct.error:
        # A directory that extends beyond the end of the block.
        return 1
    return 1
