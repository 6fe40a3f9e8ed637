"""What of a file's metadata concerns its pixels: how the image is turned.

It is read by itself, bounded and tolerant: a damaged tag elsewhere must not refuse a photograph.
"""

import struct

from PIL import Image

#: Orientations of EXIF that exchange height and width.
TURNED = frozenset({5, 6, 7, 8})

#: What brings an image upright, by its EXIF orientation.
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
#: Entries of a directory that are looked at, at most.
_ENTRIES = 512


def parse_orientation(exif: object) -> int:
    """Return the orientation in a block of EXIF bytes; 1 where there is none to be read.

    Only EXIF counts, as in browsers: not what XMP or a text of a PNG says.
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
        # A directory that goes on beyond the end of the block.
        return 1
    return 1
