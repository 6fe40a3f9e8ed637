"""The one way an image file becomes a tensor, and the one way a tensor is halved."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional

from reiqa.errors import BadInputError

#: An image of more is refused before its pixels are decoded: 20,000 x 20,000, or 1.2 GB as RGB.
MAX_PIXELS = 400_000_000

# Pillow's own bound is lower, and half-way to it Pillow warns. `_opened` looks instead.
Image.MAX_IMAGE_PIXELS = None

# What Pillow's parsers raise of files whose numbers, or the kinds of them, make no sense;
# RuntimeError: those of newer formats, AVIF among them.
_DAMAGED = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, AttributeError,
    ArithmeticError, RuntimeError, struct.error,
)  # fmt: skip


def read_rgb(
    path: Path, least: tuple[int, int] | None = None, most: int = MAX_PIXELS
) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    """Decode an image file as a viewer shows it: upright, RGB, on white where transparent.

    Sixteen-bit greys are scaled to eight by rounding (of sixteen-bit colour Pillow gives the upper
    byte), floats from 0 to 1 likewise; of an animation the first frame is taken.

    Args:
        path: the file.
        least: (height, width) that is enough: a JPEG then comes at a half, a quarter or an eighth
            of its size, whichever is the smallest that is not below this, and no more of it is
            ever decoded. Other formats come as they are.
        most: pixels that may be decoded.

    Returns:
        ``(H, W, 3)`` uint8.

    Raises:
        BadInputError: the file is missing, empty, cut off, too large or not an image, or holds
            numbers of which no viewer knows what white is.
    """
    with _opened(path) as opened:
        if least is not None:
            opened.draft(None, (least[0], least[1]) if _turned(opened) else (least[1], least[0]))
        if opened.width * opened.height > most:
            raise BadInputError(
                f"{path}: {opened.width} x {opened.height} pixels would have to be decoded, over"
                f" {most:,}; scale it down first"
            )
        return _shown(opened)


def shown(
    image: Image.Image,
) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    """Return an image in memory as a viewer shows it: ``(H, W, 3)`` uint8 (see `read_rgb`).

    Raises:
        BadInputError: its greys have a range that no viewer could know.
    """
    try:
        return _shown(image)
    except _UnknownRangeError as error:
        raise BadInputError(f"image in memory: {error}") from None


def _shown(image: Image.Image) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    return np.asarray(_to_rgb(ImageOps.exif_transpose(image)), dtype=np.uint8)


def read_size(path: Path) -> tuple[int, int]:
    """Return (height, width) as shown upright, from the header alone.

    Raises:
        BadInputError: the header cannot be read, or the image is too large.
    """
    with _opened(path) as opened:
        width, height = opened.size
        return (width, height) if _turned(opened) else (height, width)


def _turned(image: Image.Image) -> bool:
    """Say whether an image is shown with its sides exchanged."""
    return image.getexif().get(0x0112, 1) in {5, 6, 7, 8}


@contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open an image; whatever is wrong with it, also while it is decoded, becomes one line."""
    try:
        with Image.open(path) as opened:
            if opened.width * opened.height > MAX_PIXELS:
                raise BadInputError(
                    f"{path}: {opened.width} x {opened.height} is over"
                    f" {MAX_PIXELS // 10**6} million pixels; scale it down first"
                )
            yield opened
    except FileNotFoundError:
        raise BadInputError(f"{path}: no such file") from None
    except (IsADirectoryError, PermissionError) as error:
        raise BadInputError(f"{path}: {error.strerror}; an image file is needed") from None
    except UnidentifiedImageError:
        raise BadInputError(f"{path}: not an image of a kind that can be read") from None
    except _UnknownRangeError as error:
        raise BadInputError(f"{path}: {error}; save it with 8 or 16 bits a channel") from None
    except _DAMAGED as error:
        raise BadInputError(f"{path}: damaged or cut off ({error})") from None


def to_tensor(pixels: np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]) -> Tensor:
    """Turn ``(H, W, 3)`` uint8 into ``(3, H, W)`` float32 in [0, 1]."""
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float().div_(255)


def read_tensor(path: Path) -> Tensor:
    """Decode an image file to ``(3, H, W)`` float32 in [0, 1].

    Raises:
        BadInputError: as `read_rgb`.
    """
    return to_tensor(read_rgb(path))


def to_uint8(images: Tensor) -> Tensor:
    """Turn floats in [0, 1] of any shape into uint8 by rounding: truncation would darken them."""
    return images.clamp(0, 1).mul(255).round().to(torch.uint8)


def half(images: Tensor) -> Tensor:
    """Return images at half scale: antialiased bicubic, clipped to [0, 1].

    The same in training, features and scoring (DESIGN decision 4).

    Args:
        images: ``(N, 3, H, W)`` float in [0, 1].

    Returns:
        ``(N, 3, max(1, H // 2), max(1, W // 2))``.
    """
    height, width = images.shape[-2:]
    size = (max(1, height // 2), max(1, width // 2))
    halved = functional.interpolate(images, size=size, mode="bicubic", antialias=True)
    return halved.clamp(0, 1)


def reflect(images: Tensor, height: int, width: int) -> Tensor:
    """Grow images at bottom and right to at least ``height x width`` by reflection.

    Reflection repeats as often as needed, so any size down to one pixel works.

    Args:
        images: ``(N, 3, H, W)``, any type.
        height: least, in pixels.
        width: least, in pixels.

    Returns:
        ``(N, 3, max(H, height), max(W, width))``.
    """
    rows = _reflected(images.shape[-2], height, images.device)
    columns = _reflected(images.shape[-1], width, images.device)
    return images.index_select(-2, rows).index_select(-1, columns)


def _reflected(length: int, wanted: int, device: torch.device) -> Tensor:
    """Indices 0 .. wanted-1 folded back at the borders of ``length`` (edge pixel not repeated)."""
    index = torch.arange(max(length, wanted), device=device)
    period = max(1, 2 * (length - 1))
    folded = index % period
    return torch.minimum(folded, period - folded) if length > 1 else torch.zeros_like(index)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I") or image.mode == "F":
        image = _eight_bits(image)
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Scale greys of more than eight bits: integers are of sixteen, floats from 0 to 1."""
    values = np.asarray(image, dtype=np.float32)
    top = 1.0 if image.mode == "F" else 65535.0
    # Not a number is in no range either.
    if not ((values >= 0) & (values <= top)).all():
        raise _UnknownRangeError(f"holds greys that are not from 0 to {top:g}")
    return Image.fromarray(np.rint(values * (255 / top)).astype(np.uint8))


class _UnknownRangeError(ValueError):
    """Nothing says which numbers are black and white."""
