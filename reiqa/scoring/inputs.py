"""Convert all supported image types to batches of one image with floats in [0, 1]."""

import io
import math
import os
import sys
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, TypeAlias, TypeGuard, Union

import numpy as np
from PIL import Image

from reiqa import images
from reiqa.errors import BadInputError
from reiqa.features.batching import Pixels, ResizePolicy
from reiqa.images.resize import FloatImages, resize
from reiqa.layout import LEAST_SIDE

if TYPE_CHECKING:
    from torch import Tensor

#: One image: a path, a binary file, a Pillow image, a numpy array ``(H, W, 3)`` or ``(H, W)``, or a
#: torch tensor ``(3, H, W)``.
# A Union, because the name of a class that is not imported cannot be combined with a bar.
Picture: TypeAlias = Union[
    str, os.PathLike[str], IO[bytes], Image.Image, np.ndarray[Any, Any], "Tensor"
]

# Resizing gives floats slightly outside [0, 1]; larger values mean a missing division by 255.
_TOLERANCE = 0.1


@dataclass(frozen=True)
class PreparedImage:
    """An image after decoding and resizing.

    Attributes:
        batch: ``(1, 3, h, w)`` float32 in [0, 1].
        height: original height.
        width: original width.
    """

    batch: FloatImages
    height: int
    width: int

    def pixels(self) -> Pixels:
        """Return the image as displayed, ``(h, w, 3)`` uint8."""
        rounded = np.rint(self.batch[0] * 255).astype(np.uint8)
        return np.ascontiguousarray(rounded.transpose(1, 2, 0))


def prepare_image(picture: Picture, policy: ResizePolicy) -> PreparedImage:
    """Decode and resize one image.

    Raises:
        BadInputError: the file cannot be read, the argument is not an RGB image, or a side is
            shorter than `layout.LEAST_SIDE`.
    """
    prepared = _prepared(picture, policy)
    if min(prepared.batch.shape[-2:]) < LEAST_SIDE:
        height, width = prepared.height, prepared.width
        name = f"{picture}: " if isinstance(picture, str | os.PathLike) else ""
        raise BadInputError(
            f"{name}{width}x{height} pixels: too small to be scored; both sides must have at least"
            f" {LEAST_SIDE}"
        )
    return prepared


def _prepared(picture: Picture, policy: ResizePolicy) -> PreparedImage:
    if _is_file(picture):
        return prepare_pixels(images.read_rgb(picture), policy)
    if isinstance(picture, Image.Image):
        return prepare_pixels(images.to_rgb(picture), policy)
    if isinstance(picture, np.ndarray):
        return _of_array(picture, policy)
    if is_tensor(picture):
        return _of_array(_from_tensor(picture), policy)
    raise BadInputError(
        f"{type(picture).__name__} is not an image: pass a path, a binary file, a Pillow image,"
        " a numpy array or a torch tensor"
    )


def is_tensor(picture: object) -> "TypeGuard[Tensor]":
    """Return whether this is a torch tensor, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(picture, torch.Tensor)


def pixel_count(picture: Picture) -> int:
    """Return the number of pixels of an image, read from the header of a file; 0 for non-images.

    Raises:
        BadInputError: the file cannot be read.
    """
    if _is_file(picture):
        height, width = images.read_size(picture)
        return height * width
    if isinstance(picture, Image.Image):
        return picture.width * picture.height
    if isinstance(picture, np.ndarray) or is_tensor(picture):
        return math.prod(picture.shape) // (3 if picture.ndim == 3 else 1)
    return 0


def _is_file(picture: object) -> TypeGuard[str | os.PathLike[str] | IO[bytes]]:
    """Return whether this is a path or a seekable binary file."""
    if isinstance(picture, str):
        return True
    if isinstance(picture, os.PathLike):
        return isinstance(os.fspath(picture), str)
    readable = hasattr(picture, "read") and hasattr(picture, "seek")
    return readable and not isinstance(picture, io.TextIOBase | Image.Image)


def prepare_pixels(pixels: Pixels, policy: ResizePolicy) -> PreparedImage:
    """Resize ``(H, W, 3)`` uint8 pixels."""
    height, width = pixels.shape[:2]
    resized, _ = policy.apply(pixels)
    planes = np.ascontiguousarray(resized.transpose(2, 0, 1)[None], dtype=np.float32)
    planes /= 255
    return PreparedImage(planes, height, width)


def _of_array(array: np.ndarray[Any, Any], policy: ResizePolicy) -> PreparedImage:
    if array.ndim == 2:
        array = np.repeat(array[:, :, None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise BadInputError(f"array of shape {array.shape}: expected (H, W, 3), or (H, W) for grey")
    if array.dtype == np.uint8:
        return prepare_pixels(np.ascontiguousarray(array), policy)
    if not np.issubdtype(array.dtype, np.floating):
        raise BadInputError(f"array of {array.dtype}: expected uint8, or floats in [0, 1]")
    low, high = float(array.min()), float(array.max())
    if not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):
        raise BadInputError(f"values from {low:g} to {high:g}: expected floats in [0, 1]")
    planes = array.transpose(2, 0, 1)[None].astype(np.float32, order="C").clip(0, 1)
    height, width = array.shape[:2]
    return PreparedImage(resize(planes, *policy.target_size(height, width)[:2]), height, width)


def check_tensor(tensor: "Tensor") -> None:
    """Check that a tensor is dense.

    Raises:
        BadInputError: it is sparse, quantised or on the meta device.
    """
    kind = str(tensor.layout).removeprefix("torch.")
    if kind != "strided" or tensor.is_meta or tensor.is_quantized:
        raise BadInputError(
            f"{'meta' if tensor.is_meta else kind} tensor: expected a dense tensor with the pixels"
        )


def _from_tensor(tensor: "Tensor") -> np.ndarray[Any, Any]:
    """Return the pixels of a tensor ``(3, H, W)`` as an array ``(H, W, 3)``."""
    check_tensor(tensor)
    if tensor.ndim != 3 or tensor.shape[0] != 3 or 0 in tensor.shape:
        raise BadInputError(
            f"tensor of shape {tuple(tensor.shape)}: expected (3, H, W), or a batch (N, 3, H, W)"
        )
    tensor = tensor.detach().permute(1, 2, 0).cpu()
    kind = str(tensor.dtype).removeprefix("torch.")
    if not (tensor.is_floating_point() or kind == "uint8"):
        raise BadInputError(f"tensor of {tensor.dtype}: expected uint8, or floats in [0, 1]")
    # numpy has no bfloat16.
    return tensor.numpy() if kind == "uint8" else tensor.float().numpy()
