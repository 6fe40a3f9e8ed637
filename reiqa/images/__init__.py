"""Decode untrusted image files and Pillow images to upright, 8-bit sRGB pixels.

All images enter the project here. This package does not import torch; see `reiqa.tensors` for
tensors. Pillow decodes files from which metadata has been removed (`png`, `jpeg`, `tiff`, `avif`).
Orientation and ICC profile are parsed here. Pillow's global state is not changed.
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
from reiqa.images import avif, jpeg, metadata, png, tiff, unsupported
from reiqa.images.color import to_srgb
from reiqa.images.parts import Stripped

Pixels: TypeAlias = np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]

#: A path, or a seekable binary file, which is read from its beginning.
Source: TypeAlias = str | os.PathLike[str] | IO[bytes]

#: Maximum number of pixels, checked before decoding: 20,000 x 20,000, or 1.2 GB as RGB.
MAX_PIXELS = 400_000_000

#: Pillow's names of the supported formats; of an MPO the first JPEG is read. The format is detected
#: from the content, so this list excludes unsafe decoders that run programs (EPS).
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "TIFF", "PPM", "WEBP", "AVIF", "JPEG2000")

# Functions that remove the metadata that Pillow would parse. Invalid metadata must not cause errors
# or warnings (`python -W error`).
_STRIPPED: dict[str, Callable[[IO[bytes]], Stripped]] = {
    "JPEG": jpeg.stripped,
    "PNG": png.stripped,
    "TIFF": tiff.stripped,
    "AVIF": avif.stripped,
}

# Exceptions that Pillow's parsers raise for corrupted files. RuntimeError: newer formats such as
# AVIF; Warning: warnings about pixels that are turned into errors.
_CORRUPTION_ERRORS = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, AttributeError,
    ArithmeticError, AssertionError, RuntimeError, Warning, struct.error,
)  # fmt: skip


def read_rgb(
    source: Source, least: tuple[int, int] | None = None, most: int = MAX_PIXELS
) -> Pixels:
    """Decode an image as a viewer displays it: upright, sRGB, transparency on white.

    Colours with an embedded ICC profile are converted to sRGB (see `reiqa.images.color`); an
    invalid profile is ignored. 16-bit greys, and floats from 0 to 1, are scaled to 8 bits with
    rounding. For 16-bit colour, Pillow returns the upper byte. Of an animation, the first frame is
    used.

    Args:
        source: the file.
        least: sufficient (height, width): a JPEG is decoded at the smallest of a half, a quarter or
            an eighth of its size that is not below this. Other formats are decoded at full size.
        most: maximum number of pixels to decode.

    Returns:
        ``(H, W, 3)`` uint8.

    Raises:
        BadInputError: the file is missing, empty, truncated, too large or not an image; its first
            page is a preview, as in a camera's raw file; or the range of its values is unknown.
    """
    with _open_image(source) as (opened, orientation, profile):
        if least is not None:
            turned = orientation in metadata.TURNED
            opened.draft(None, (least[0], least[1]) if turned else (least[1], least[0]))
        if opened.width * opened.height > most:
            raise BadInputError(
                f"{_name(source)}: {opened.width} x {opened.height} pixels exceed the limit of"
                f" {most:,}; downscale the image first"
            )
        with _without_pixel_limit(opened.width * opened.height):
            opened.load()
        return _to_pixels(opened, orientation, profile)


def read_size(source: Source) -> tuple[int, int]:
    """Return (height, width) after orientation, read from the header without decoding pixels.

    Raises:
        BadInputError: the header cannot be read, the image is too large, or the first page is a
            preview.
    """
    with _open_image(source) as (opened, orientation, _):
        width, height = opened.size
        return (width, height) if orientation in metadata.TURNED else (height, width)


def check_complete(path: Path) -> None:
    """Decode a JPEG or PNG that lacks its end, to find out whether pixels are missing.

    `read_size` accepts such a file, `read_rgb` only if all pixels can be decoded.

    Raises:
        BadInputError: the image cannot be read.
    """
    if _missing_end(path):
        read_rgb(path)


def to_rgb(image: Image.Image) -> Pixels:
    """Convert a Pillow image like `read_rgb` to ``(H, W, 3)`` uint8.

    Orientation and profile are taken from ``image.info``.

    Raises:
        BadInputError: the image is empty, closed, truncated or has an unsupported mode.
    """
    try:
        if 0 in image.size:
            raise BadInputError(f"image in memory: {image.width} x {image.height} has no pixels")
        image.load()
        return _to_pixels(image, *_pillow_metadata(image))
    except _UnknownRangeError as error:
        raise BadInputError(f"image in memory: {error}") from None
    except _CORRUPTION_ERRORS as error:
        raise BadInputError(f"image in memory: cannot be read ({error})") from None


def _name(source: Source) -> str:
    return os.fspath(source) if isinstance(source, str | os.PathLike) else "file object"


@contextmanager
def _open_image(source: Source) -> Iterator[tuple[Image.Image, int, bytes]]:
    """Open an image with its orientation and profile; convert all errors to `BadInputError`."""
    name = _name(source)
    try:
        with _open_binary(source) as stream:
            start = _start(stream)
            kind = _detect_format(start)
            known = unsupported.describe(start, name) if kind in (None, "TIFF") else ""
            if kind is None or known:
                what = f": {known}" if known else ""
                raise BadInputError(f"{name}: not an image in a supported format{what}")
            file = _STRIPPED.get(kind, Stripped)(stream)
            with _open_format(kind, file.pixels) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise BadInputError(
                        f"{name}: {opened.width} x {opened.height} is over"
                        f" {MAX_PIXELS // 10**6} million pixels; downscale the image first"
                    )
                orientation, profile = _pillow_metadata(opened)
                yield opened, file.orientation or orientation, file.profile or profile
    except FileNotFoundError:
        raise BadInputError(f"{name}: no such file") from None
    except (IsADirectoryError, PermissionError) as error:
        raise BadInputError(f"{name}: {error.strerror}; expected an image file") from None
    except (_UnknownRangeError, tiff.ReducedCopyError) as error:
        raise BadInputError(f"{name}: {error}") from None
    except MemoryError:
        # A damaged file may request any amount of memory.
        raise BadInputError(f"{name}: not enough memory") from None
    except _CORRUPTION_ERRORS as error:
        kind = _missing_end(source)
        reason = (
            f"no end of the {kind}, as after an interrupted copy; copy it again" if kind else error
        )
        raise BadInputError(f"{name}: damaged or truncated ({reason})") from None


# Functions that tell whether a file has an end marker. Pixels may be missing if it has none.
_IS_ENDED: dict[str, Callable[[IO[bytes]], bool]] = {"JPEG": jpeg.is_ended, "PNG": png.is_ended}


def _missing_end(source: Source) -> str:
    """Return the format of a file that lacks its end marker, or ""."""
    try:
        with _open_binary(source) as stream:
            kind = _detect_format(_start(stream)) or ""
            return kind if kind in _IS_ENDED and not _IS_ENDED[kind](stream) else ""
    except (OSError, ValueError):
        return ""  # a file that cannot be read again has another fault


@contextmanager
def _open_binary(source: Source) -> Iterator[IO[bytes]]:
    if not isinstance(source, str | os.PathLike):
        source.seek(0)
        yield source
        return
    try:
        stream = Path(source).open("rb")  # noqa: SIM115  (closed below; its errors are told apart)
    except (FileNotFoundError, IsADirectoryError, PermissionError):
        raise
    except (OSError, ValueError) as error:
        # An invalid file name: too long, or with a NUL character.
        reason = getattr(error, "strerror", None) or error
        raise BadInputError(f"{os.fspath(source)}: cannot be opened ({reason})") from None
    with stream:
        yield stream


def _start(stream: IO[bytes]) -> bytes:
    stream.seek(0)
    return stream.read(unsupported.HEAD)


def _detect_format(start: bytes) -> str | None:
    """Return the format according to the first bytes of a file; None if it is not supported."""
    for kind in FORMATS:
        _, accept = Image.OPEN[kind]
        # A string means that this build of Pillow does not support the format.
        if accept is not None and accept(start) is True:
            return kind
    return None


def _open_format(kind: str, pixels: IO[bytes]) -> Image.Image:
    """Open a file in one format, like `Image.open` but without its pixel limit.

    Pillow's limit is lower than `MAX_PIXELS`, warns at half of it, and is global.
    """
    factory, _ = Image.OPEN[kind]
    pixels.seek(0)
    try:
        return factory(pixels, "")
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        # Some formats check the limit themselves when opened.
        pixels.seek(0)
        with _without_pixel_limit(MAX_PIXELS):
            return factory(pixels, "")


_PIXEL_LIMIT_LOCK = threading.Lock()


@contextmanager
def _without_pixel_limit(pixels: int) -> Iterator[None]:
    """Disable Pillow's global pixel limit while reading a larger image, under a lock."""
    with _PIXEL_LIMIT_LOCK:
        bound = Image.MAX_IMAGE_PIXELS
        if bound is not None and pixels > bound:
            Image.MAX_IMAGE_PIXELS = None
            try:
                yield
            finally:
                Image.MAX_IMAGE_PIXELS = bound
            return
    yield


def _pillow_metadata(image: Image.Image) -> tuple[int, bytes]:
    """Return the orientation and profile that Pillow read."""
    profile = image.info.get("icc_profile")
    orientation = metadata.parse_orientation(image.info.get("exif"))
    return orientation, profile if isinstance(profile, bytes) else b""


def _to_pixels(image: Image.Image, orientation: int, profile: bytes) -> Pixels:
    image = _flatten(image, profile)
    upright = metadata.UPRIGHT.get(orientation)
    if upright is not None:
        image = image.transpose(upright)
    return np.asarray(image, dtype=np.uint8)


def _flatten(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert an image of any mode to RGB, with transparency on white."""
    if image.mode == "RGBa":  # Pillow's conversion of premultiplied colours to RGB ignores alpha
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
    """Scale greys to eight bits; integers have sixteen bits, floats range from 0 to 1."""
    values = np.asarray(image, dtype=np.float32)
    top = 1.0 if image.mode == "F" else 65535.0
    # The negation also catches NaN.
    if not ((values >= 0) & (values <= top)).all():
        raise _UnknownRangeError(
            f"grey values outside 0 to {top:g}; save it with 8 or 16 bits per channel"
        )
    return Image.fromarray(np.rint(values * (255 / top)).astype(np.uint8))


class _UnknownRangeError(ValueError):
    """The values of black and white are unknown."""
