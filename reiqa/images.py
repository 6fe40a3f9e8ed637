"""The one way an image file becomes a tensor, and the one way a tensor is halved."""

import warnings
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional

from reiqa.errors import BadInputError

#: Above this an image is refused before its pixels are decoded.
MAX_PIXELS = 1_000_000_000

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})


def read_rgb(path: Path) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    """Decode an image file as a viewer shows it: upright, RGB, on white where transparent.

    Sixteen-bit images are scaled to eight by rounding; of an animation the first frame is taken.

    Returns:
        ``(H, W, 3)`` uint8.

    Raises:
        BadInputError: the file is missing, empty, cut off, too large or not an image.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as opened:
                if opened.width * opened.height > MAX_PIXELS:
                    raise BadInputError(
                        f"{path}: {opened.width}x{opened.height} pixels is over the bound"
                    )
                upright = ImageOps.exif_transpose(opened)
                return np.asarray(_to_rgb(upright), dtype=np.uint8)
    except FileNotFoundError:
        raise BadInputError(f"{path}: no such file") from None
    except Image.DecompressionBombError:
        raise BadInputError(f"{path}: too many pixels to be read safely") from None
    except UnidentifiedImageError:
        raise BadInputError(f"{path}: not an image of a kind that can be read") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise BadInputError(f"{path}: damaged or cut off ({error})") from None


def read_size(path: Path) -> tuple[int, int]:
    """Return (height, width) as shown upright, from the header alone.

    Raises:
        BadInputError: the header cannot be read.
    """
    try:
        with Image.open(path) as opened:
            width, height = opened.size
            turned = opened.getexif().get(0x0112, 1) in {5, 6, 7, 8}
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise BadInputError(f"{path}: header not readable ({error})") from None
    return (width, height) if turned else (height, width)


def to_tensor(pixels: np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]) -> Tensor:
    """Turn ``(H, W, 3)`` uint8 into ``(3, H, W)`` float32 in [0, 1]."""
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float().div_(255)


def read_tensor(path: Path) -> Tensor:
    """Decode an image file to ``(3, H, W)`` float32 in [0, 1] (see `read_rgb`)."""
    return to_tensor(read_rgb(path))


def to_uint8(images: Tensor) -> Tensor:
    """Turn floats in [0, 1] into uint8 by rounding: truncation would darken the mean."""
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
        images: ``(N, 3, H, W)``.
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
        wide = np.asarray(image, dtype=np.float64)
        # Mode I and F do not say how many bits they hold; I;16 does.
        top = 65535.0 if "16" in image.mode or wide.max(initial=0) > 255 else 255.0
        image = Image.fromarray(np.rint(wide.clip(0, top) * (255 / top)).astype(np.uint8))
    if image.mode in {"RGBA", "LA", "PA"} or "transparency" in image.info:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")
