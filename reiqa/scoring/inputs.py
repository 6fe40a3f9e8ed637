"""Convert all supported image types to batches of one image with floats in [0, 1]."""

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

#: One image: a path, a binary file, a Pillow image, a numpy array ``(H, W, 3)`` or ``(H, W)``, or a
#: torch tensor ``(3, H, W)``.
Picture: TypeAlias = (
    str | os.PathLike[str] | IO[bytes] | Image.Image | np.ndarray[Any, Any] | Tensor
)

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

    batch: Tensor
    height: int
    width: int

    def pixels(self) -> Pixels:
        """Return the image as displayed, ``(h, w, 3)`` uint8."""
        return tensors.to_uint8(self.batch[0]).permute(1, 2, 0).contiguous().numpy()


def prepare_image(picture: Picture, policy: ResizePolicy) -> PreparedImage:
    """Decode and resize one image.

    Raises:
        BadInputError: the file cannot be read, or the argument is not an RGB image.
    """
    if _is_file(picture):
        return prepare_pixels(images.read_rgb(picture), policy)
    if isinstance(picture, Image.Image):
        return prepare_pixels(images.to_rgb(picture), policy)
    if isinstance(picture, np.ndarray):
        return _of_array(picture, policy)
    if isinstance(picture, Tensor):
        return _of_tensor(picture, policy)
    raise BadInputError(
        f"{type(picture).__name__} is not an image: pass a path, a binary file, a Pillow image,"
        " a numpy array or a torch tensor"
    )


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
    if isinstance(picture, np.ndarray | Tensor):
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
    return PreparedImage(tensors.to_tensor(resized)[None], height, width)


def _of_array(array: np.ndarray[Any, Any], policy: ResizePolicy) -> PreparedImage:
    if array.ndim == 2:
        array = np.repeat(array[:, :, None], 3, axis=2)
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape:
        raise BadInputError(f"array of shape {array.shape}: expected (H, W, 3), or (H, W) for grey")
    if array.dtype == np.uint8:
        return prepare_pixels(np.ascontiguousarray(array), policy)
    if not np.issubdtype(array.dtype, np.floating):
        raise BadInputError(f"array of {array.dtype}: expected uint8, or floats in [0, 1]")
    planes = np.ascontiguousarray(array.transpose(2, 0, 1), dtype=np.float32)
    return _of_tensor(torch.from_numpy(planes), policy)


def check_tensor(tensor: Tensor) -> None:
    """Check that a tensor is dense.

    Raises:
        BadInputError: it is sparse, quantised or on the meta device.
    """
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
        kind = "meta" if tensor.is_meta else str(tensor.layout).removeprefix("torch.")
        raise BadInputError(f"{kind} tensor: expected a dense tensor with the pixels")


def _of_tensor(tensor: Tensor, policy: ResizePolicy) -> PreparedImage:
    check_tensor(tensor)
    if tensor.ndim != 3 or tensor.shape[0] != 3 or 0 in tensor.shape:
        raise BadInputError(
            f"tensor of shape {tuple(tensor.shape)}: expected (3, H, W), or a batch (N, 3, H, W)"
        )
    tensor = tensor.detach()
    if tensor.dtype == torch.uint8:
        return prepare_pixels(tensor.permute(1, 2, 0).cpu().contiguous().numpy(), policy)
    if not tensor.is_floating_point():
        raise BadInputError(f"tensor of {tensor.dtype}: expected uint8, or floats in [0, 1]")
    floats = tensor.float()
    low, high = (float(end) for end in floats.aminmax())
    if not (low >= -_TOLERANCE and high <= 1 + _TOLERANCE):
        raise BadInputError(f"values from {low:g} to {high:g}: expected floats in [0, 1]")
    height, width = floats.shape[1:]
    return PreparedImage(resize_batch(floats.clamp(0, 1)[None], policy), height, width)


def resize_batch(batch: Tensor, policy: ResizePolicy) -> Tensor:
    """Resize a batch for the experts; differentiable.

    It uses torch's antialiased bicubic filter, which equals Pillow's on uint8 up to rounding.
    """
    height, width = batch.shape[-2:]
    target_size = policy.target_size(height, width)[:2]
    if target_size == (height, width):
        return batch
    scaled = torch.nn.functional.interpolate(
        batch, size=target_size, mode="bicubic", antialias=True
    )
    return scaled.clamp(0, 1)
