"""Decoding of untrusted image files and of Pillow images: upright, sRGB, eight bits.

The one way a picture enters the project. Nothing here imports torch; tensors are made in
`reiqa.tensors`. Pillow decodes; it is given files without their metadata (`png`, `jpeg`, `tiff`,
`avif`), of which orientation and ICC profile are read here. Pillow's global state stays as it is.
"""

import os
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TypeAlias

import numpy as np
from PIL import (
    AvifImagePlugin,  # noqa: F401  (each registers itself)
    BmpImagePlugin,  # noqa: F401
    GifImagePlugin,  # noqa: F401
    Image,
    Jpeg2KImagePlugin,  # noqa: F401
    JpegImagePlugin,  # noqa: F401
    PngImagePlugin,  # noqa: F401
    PpmImagePlugin,  # noqa: F401
    TiffImagePlugin,  # noqa: F401
    WebPImagePlugin,  # noqa: F401
)

from reiqa.errors import BadInputError
from reiqa.images import avif, jpeg, metadata, png, tiff
from reiqa.images.color import to_srgb
from reiqa.images.parts import Stripped

Pixels: TypeAlias = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]

#: What is read: a path, or a seekable binary file, which is read from its beginning.
Source: TypeAlias = str | os.PathLike[str] | IO[bytes]

#: An image of more is refused before its pixels are decoded: 20,000 x 20,000, or 1.2 GB as RGB.
MAX_PIXELS = 400_000_000

#: Pillow's names of the formats that are read; of an MPO the first JPEG. Content decides which of
#: them a file has, so this list is what keeps other kinds from a decoder that runs programs (EPS).
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "PPM", "WEBP", "AVIF", "JPEG2000")

# Formats whose metadata Pillow parses, and what takes it away: metadata must not decide whether
# pixels are read, nor warn anybody (`python -W error`).
_STRIPPED: dict[str, Callable[[IO[bytes]], Stripped]] = {
    "JPEG": jpeg.stripped,
    "PNG": png.stripped,
    "TIFF": tiff.stripped,
    "AVIF": avif.stripped,
}

# What Pillow's parsers raise on files whose numbers, or the kinds of them, make no sense;
# RuntimeError: those of newer formats, AVIF among them; Warning: those of pixels, as errors.
_DAMAGED = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, AttributeError,
    ArithmeticError, AssertionError, RuntimeError, Warning, struct.error,
)  # fmt: skip


def read_rgb(
    source: Source, least: tuple[int, int] | None = None, most: int = MAX_PIXELS
) -> Pixels:
    """Decode an image as a viewer shows it: upright, sRGB, on white where transparent.

    An embedded ICC profile is converted to sRGB (see `reiqa.images.color`); one that cannot be
    read counts as sRGB. Sixteen-bit greys are scaled to eight by rounding (of sixteen-bit colour
    Pillow gives the upper byte), floats from 0 to 1 likewise; of an animation the first frame is
    taken.

    Args:
        source: the file.
        least: (height, width) that is enough: a JPEG then comes at a half, a quarter or an eighth
            of its size, whichever is the smallest that is not below this, and no more of it is
            ever decoded. Other formats come as they are.
        most: pixels that may be decoded.

    Returns:
        ``(H, W, 3)`` uint8.

    Raises:
        BadInputError: the file is missing, empty, cut off, too large or not an image; its first
            page is a reduced copy of the photograph, as in a camera's raw file; or nothing tells
            which of its numbers is white.
    """
    with _opened(source) as (opened, orientation, profile):
        if least is not None:
            turned = orientation in metadata.TURNED
            opened.draft(None, (least[0], least[1]) if turned else (least[1], least[0]))
        if opened.width * opened.height > most:
            raise BadInputError(
                f"{_name(source)}: {opened.width} x {opened.height} pixels would have to be"
                f" decoded, over {most:,}; scale it down first"
            )
        with _unbounded(opened.width * opened.height):
            opened.load()
        return _shown(opened, orientation, profile)


def read_size(source: Source) -> tuple[int, int]:
    """Return (height, width) as shown upright, from the header alone: no pixel is decoded.

    Raises:
        BadInputError: the header cannot be read, the image is too large, or the first page a
            reduced copy.
    """
    with _opened(source) as (opened, orientation, _):
        width, height = opened.size
        return (width, height) if orientation in metadata.TURNED else (height, width)


def to_rgb(image: Image.Image) -> Pixels:
    """Return a Pillow image as a viewer shows it: ``(H, W, 3)`` uint8 (see `read_rgb`).

    Its orientation and profile are those that Pillow read from a file, in ``image.info``.

    Raises:
        BadInputError: it is empty, closed, cut off or of a mode that has no colours.
    """
    try:
        if 0 in image.size:
            raise BadInputError(f"image in memory: {image.width} x {image.height} has no pixels")
        image.load()
        return _shown(image, *_told(image))
    except _UnknownRangeError as error:
        raise BadInputError(f"image in memory: {error}") from None
    except _DAMAGED as error:
        raise BadInputError(f"image in memory: cannot be read ({error})") from None


def _name(source: Source) -> str:
    return os.fspath(source) if isinstance(source, str | os.PathLike) else "file object"


@contextmanager
def _opened(source: Source) -> Iterator[tuple[Image.Image, int, bytes]]:
    """Open an image, with its orientation and profile; any fault, also later, becomes one line."""
    name = _name(source)
    try:
        with _binary(source) as stream:
            kind = _kind(stream)
            if kind is None:
                raise BadInputError(f"{name}: not an image of a kind that can be read")
            file = _STRIPPED.get(kind, Stripped)(stream)
            with _identified(kind, file.pixels) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise BadInputError(
                        f"{name}: {opened.width} x {opened.height} is over"
                        f" {MAX_PIXELS // 10**6} million pixels; scale it down first"
                    )
                orientation, profile = _told(opened)
                yield opened, file.orientation or orientation, file.profile or profile
    except FileNotFoundError:
        raise BadInputError(f"{name}: no such file") from None
    except (IsADirectoryError, PermissionError) as error:
        raise BadInputError(f"{name}: {error.strerror}; an image file is needed") from None
    except (_UnknownRangeError, tiff.ReducedCopyError) as error:
        raise BadInputError(f"{name}: {error}") from None
    except MemoryError:
        # Numbers of a damaged file may ask for any amount.
        raise BadInputError(f"{name}: needs more memory than there is") from None
    except _DAMAGED as error:
        raise BadInputError(f"{name}: damaged or cut off ({error})") from None


@contextmanager
def _binary(source: Source) -> Iterator[IO[bytes]]:
    if not isinstance(source, str | os.PathLike):
        source.seek(0)
        yield source
        return
    try:
        stream = Path(source).open("rb")  # noqa: SIM115  (closed below; its errors are told apart)
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except (OSError, ValueError) as error:
        # A name too long for the file system, or with a NUL in it.
        reason = getattr(error, "strerror", None) or error
        raise BadInputError(f"{os.fspath(source)}: cannot be opened ({reason})") from None
    with stream:
        yield stream


def _kind(stream: IO[bytes]) -> str | None:
    """Return the format that a file's first bytes are of; None where it is not read."""
    stream.seek(0)
    start = stream.read(16)
    for kind in FORMATS:
        _, accept = Image.OPEN[kind]
        # A text says that this Pillow was built without it.
        if accept is not None and accept(start) is True:
            return kind
    return None


def _identified(kind: str, pixels: IO[bytes]) -> Image.Image:
    """Open a file as one format, as `Image.open` does but without its bound on pixels.

    That one is lower than `MAX_PIXELS`, warns at half of itself, and is global.
    """
    factory, _ = Image.OPEN[kind]
    pixels.seek(0)
    try:
        return factory(pixels, "")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        # Some formats look by themselves while they are opened.
        pixels.seek(0)
        with _unbounded(MAX_PIXELS):
            return factory(pixels, "")


_UNBOUNDED = threading.Lock()


@contextmanager
def _unbounded(pixels: int) -> Iterator[None]:
    """Lift Pillow's global bound while an image over it is read; others wait meanwhile."""
    with _UNBOUNDED:
        bound = Image.MAX_IMAGE_PIXELS
        if bound is not None and pixels > bound:
            Image.MAX_IMAGE_PIXELS = None
            try:
                yield
            finally:
                Image.MAX_IMAGE_PIXELS = bound
            return
    yield


def _told(image: Image.Image) -> tuple[int, bytes]:
    """Return the orientation and the profile that Pillow read."""
    profile = image.info.get("icc_profile")
    orientation = metadata.parse_orientation(image.info.get("exif"))
    return orientation, profile if isinstance(profile, bytes) else b""


def _shown(image: Image.Image, orientation: int, profile: bytes) -> Pixels:
    image = _flattened(image, profile)
    upright = metadata.UPRIGHT.get(orientation)
    if upright is not None:
        image = image.transpose(upright)
    return np.asarray(image, dtype=np.uint8)


def _flattened(image: Image.Image, profile: bytes) -> Image.Image:
    """Bring an image of any mode to RGB, on white where it is transparent."""
    if image.mode == "RGBa":  # Pillow's own way to RGB from premultiplied colours forgets alpha
        image = image.convert("RGBA")
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bits(image)
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        layer = image.convert("RGBA")
        if profile:
            grey = image.mode in {"LA", "L", "1"}
            alpha = layer.getchannel("A")
            layer = to_srgb(layer.convert("L" if grey else "RGB"), profile)
            layer.putalpha(alpha)
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return to_srgb(image, profile)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale greys of more than eight bits: integers are of sixteen, floats from 0 to 1."""
    values = np.asarray(image, dtype=np.float32)
    top = 1.0 if image.mode == "F" else 65535.0
    # Not a number is in no range either.
    if not ((values >= 0) & (values <= top)).all():
        raise _UnknownRangeError(
            f"holds greys that are not from 0 to {top:g}; save it with 8 or 16 bits a channel"
        )
    return Image.fromarray(np.rint(values * (255 / top)).astype(np.uint8))


class _UnknownRangeError(ValueError):
    """Nothing says which numbers are black and white."""
