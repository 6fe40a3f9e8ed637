"""Name the formats that are not read, so that a refusal says what a file is and what to do."""

import os
import re

_CONVERT = "convert it to JPEG, PNG or TIFF"
_DEVELOP = "a camera's raw file; develop it, or use the JPEG of the camera"

#: What a file is and what to do, by its first bytes. The first match counts.
_SIGNATURES: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern, re.DOTALL | re.IGNORECASE), message)
    for pattern, message in (
        (rb"....ftypavi[fs]", f"AVIF, which this build of Pillow cannot read; {_CONVERT}"),
        (rb"....ftyp(hei|hev|mif|msf)", f"HEIC, as phones save it; {_CONVERT}"),
        (rb"....ftypcrx", _DEVELOP),
        (rb"....ftyp", "a video; extract its frames as images"),
        (rb"\xff\x0a|\0\0\0\x0cJXL ", f"JPEG XL; {_CONVERT}"),
        (rb"FUJIFILMCCD-RAW|II(RO|RS|U\0)|MMOR|\0MRM|FOVb|(II\*\0|MM\0\*)....CR", _DEVELOP),
        (rb"\s*(<\?xml[^>]*>|<!--.*?-->|<!DOCTYPE svg[^>]*>|\s)*<svg", f"SVG; {_CONVERT}"),
        (rb"\s*<(!doctype )?html", "a web page, as after a failed download; download it again"),
        (rb"version https://git-lfs", "a pointer of Git LFS; run: git lfs pull"),
        (rb"8BPS", f"a Photoshop document; {_CONVERT}"),
        (rb"v/1\x01|#\?RADIANCE", f"a high dynamic range image; {_CONVERT}"),
        (rb"%PDF|%!PS", f"a document; {_CONVERT}"),
        (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!", "an archive; unpack it"),
    )
)  # fmt: skip

#: Bytes that `describe` needs.
HEAD = 512

#: Suffixes of raw files. Many are TIFF whose first page is a preview.
RAW_SUFFIXES = frozenset(
    {
        *(".3fr", ".arw", ".cr2", ".cr3", ".dng", ".erf", ".kdc", ".mrw", ".nef", ".nrw", ".orf"),
        *(".pef", ".raf", ".raw", ".rw2", ".sr2", ".srw"),
    }
)


def describe(start: bytes, name: str) -> str:
    """Return what a file is and what to do, or "" if it is not known.

    Args:
        start: its first `HEAD` bytes.
        name: its path, whose suffix counts if the bytes say nothing.
    """
    if not start:
        return "empty file"
    for pattern, message in _SIGNATURES:
        if pattern.match(start):
            return message
    return _DEVELOP if is_raw(name) else ""


def is_raw(name: str) -> bool:
    """Return whether a file has the suffix of a camera's raw file."""
    return os.path.splitext(name)[1].lower() in RAW_SUFFIXES  # noqa: PTH122
