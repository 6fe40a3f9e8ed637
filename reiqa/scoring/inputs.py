"""What a caller may hand over, as one kind of batch: floats in [0, 1], one image at a time."""

import io
import math
import os
from dataclasses import dataclass
from typing import IO, Any, TypeAlias, TypeGuard

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from reiqa import images, tensors
from reiqa.errors import BadInputError
from reiqa.features.batching import Pixels, ResizePolicy

#: One image: a path, a binary file, a Pillow image, ``(H, W, 3)`` or ``(H, W)`` numpy,
#: ``(3, H, W)`` torch.
Picture: TypeAlias = (
    str | os.PathLike[str] | IO[bytes] | Image.Image | np.ndarray[Any, Any] | Tensor
)

# Floats a little outside [0, 1] come of resizing; 255 comes of a forgotten division.
_SLACK = 0.1


@dataclass(frozen=True)
class PreparedImage:
    """An image as the experts see it.

    Attributes:
        batch: ``(1, 3, h, w)`` float32 in [0, 1].
        height: of the image as it came.
        width: of the image as it came.
    """

    batch: Tensor
    height: int
    width: int


def prepare_image(picture: Picture, viewing: ResizePolicy) -> PreparedImage:
    """Turn one image into what the experts see.

    Raises:
        BadInputError: the file cannot be read, or what is given is no RGB image.
    """
    if _is_file(picture):
        return prepare_pixels(images.read_rgb(picture), viewing)
    if isinstance(picture, Image.Image):
        return prepare_pixels(images.to_rgb(picture), viewing)
    if isinstance(picture, np.ndarray):
        return _of_array(picture, viewing)
    if isinstance(picture, Tensor):
        return _of_tensor(picture, viewing)
    raise BadInputError(
        f"{type(picture).__name__} is no image: give a path, a binary file, a Pillow image, a numpy"
        " array or a torch tensor"
    )


def pixel_count(picture: Picture) -> int:
    """Return how many pixels an image has, of a file by its header; 0 of what is no image.

    Raises:
        BadInputError: the file cannot be read.
    """
    if _is_file(picture):
        height, width = images.read_size(picture)
        return height * width
    if isinstance(picture, Image.Image):
        return picture.width * picture.height
    if isinstance(picture, np.ndarray | Tensor):
        return math.prod(picture.shape) // (3 if picture.ndim == 3 else 1)
    return 0


def _is_file(picture: object) -> TypeGuard[str | os.PathLike[str] | IO[bytes]]:
    """Tell paths and seekable binary files: what a text file gives is no bytes."""
    if isinstance(picture, str):
        return True
    if isinstance(picture, os.PathLike):
        return isinstance(os.fspath(picture), str)
    readable = hasattr(picture, "read") and hasattr(picture, "seek")
    return readable and not isinstance(picture, io.TextIOBase | Image.Image)


def prepare_pixels(pixels: Pixels, viewing: ResizePolicy) -> PreparedImage:
    """Turn ``(H, W, 3)`` uint8 into what the experts see."""
    height, width = pixels.shape[:2]
    resized, _ = viewing.apply(pixels)
    return PreparedImage(tensors.to_tensor(resized)[None], height, width)


def _of_array(array: np.ndarray[Any, Any], viewing: ResizePolicy) -> PreparedImage:
    if array.ndim == 2:
        array = np.repeat(array[:, :, None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise BadInputError(f"array of shape {array.shape}: an image is (H, W, 3), or (H, W) grey")
    if array.dtype == np.uint8:
        return prepare_pixels(np.ascontiguousarray(array), viewing)
    if not np.issubdtype(array.dtype, np.floating):
        raise BadInputError(f"array of {array.dtype}: give uint8, or floats in [0, 1]")
    planes = np.ascontiguousarray(array.transpose(2, 0, 1), dtype=np.float32)
    return _of_tensor(torch.from_numpy(planes), viewing)


def check_tensor(tensor: Tensor) -> None:
    """Refuse a tensor that holds no numbers, or not all of them.

    Raises:
        BadInputError: it is sparse, quantised or on the meta device.
    """
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
        kind = "meta" if tensor.is_meta else str(tensor.layout).removeprefix("torch.")
        raise BadInputError(f"{kind} tensor: give a dense one that holds the pixels")


def _of_tensor(tensor: Tensor, viewing: ResizePolicy) -> PreparedImage:
    check_tensor(tensor)
    if tensor.ndim != 3 or tensor.shape[0] != 3 or 0 in tensor.shape:
        raise BadInputError(
            f"tensor of shape {tuple(tensor.shape)}: an image is (3, H, W), a batch (N, 3, H, W)"
        )
    tensor = tensor.detach()
    if tensor.dtype == torch.uint8:
        return prepare_pixels(tensor.permute(1, 2, 0).cpu().contiguous().numpy(), viewing)
    if not tensor.is_floating_point():
        raise BadInputError(f"tensor of {tensor.dtype}: give uint8, or floats in [0, 1]")
    floats = tensor.float()
    low, high = (float(end) for end in floats.aminmax())
    if not (low >= -_SLACK and high <= 1 + _SLACK):
        raise BadInputError(f"values from {low:g} to {high:g}: floats are to lie in [0, 1]")
    height, width = floats.shape[1:]
    return PreparedImage(resize_batch(floats.clamp(0, 1)[None], viewing), height, width)


def resize_batch(batch: Tensor, viewing: ResizePolicy) -> Tensor:
    """Scale a batch to the size the experts see; differentiable.

    On floats this is torch's antialiased bicubic, on bytes Pillow's: the same but for rounding.
    """
    height, width = batch.shape[-2:]
    target_size = viewing.target_size(height, width)[:2]
    if target_size == (height, width):
        return batch
    scaled = torch.nn.functional.interpolate(
        batch, size=target_size, mode="bicubic", antialias=True
    )
    return scaled.clamp(0, 1)
