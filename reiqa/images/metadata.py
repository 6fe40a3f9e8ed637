"""The two facts of a file's metadata that concern its pixels: orientation, and what page one is.

Each is read by itself, bounded and tolerant: a damaged tag elsewhere must not refuse a photograph.
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

_ORIENTATION, _NEW_SUBFILE_TYPE, _DNG_VERSION = 0x0112, 254, 50706
#: Entries of a directory that are looked at, at most.
_ENTRIES = 512


class ReducedCopyError(ValueError):
    """The page that would be decoded is a preview of the photograph."""


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an opened file, 1 to 8; 1 where it cannot be read.

    Pillow brings a TIFF upright by itself.
    """
    return 1 if image.format == "TIFF" else parse_orientation(image.info.get("exif"))


def orientation_in_memory(image: Image.Image) -> int:
    """Return the EXIF orientation of a loaded Pillow image, which its user may have set."""
    try:
        found = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # Pillow's EXIF parser raises whatever its struct calls do
        return orientation(image)
    return found if found in UPRIGHT else 1


def parse_orientation(exif: object) -> int:
    """Return the orientation in a block of EXIF bytes; 1 where there is none to be read."""
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


def refuse_reduced_copy(image: Image.Image) -> None:
    """Refuse a TIFF whose first page is a preview, as in the raw files of cameras.

    Raises:
        ReducedCopyError: it is.
    """
    tags = getattr(image, "tag_v2", None)
    if image.format != "TIFF" or tags is None:
        return
    subfile = tags.get(_NEW_SUBFILE_TYPE, 0)
    if (isinstance(subfile, int) and subfile & 1) or _DNG_VERSION in tags:
        raise ReducedCopyError(
            "its first page is a reduced copy, as in a camera's raw file; export the photograph"
            " as TIFF or JPEG first"
        )
