"""Codecs and quantisers: JPEG, JPEG 2000, level and colour quantisation.

Each type is a `Distortion.apply` (see the registry).
"""

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from reiqa.distortions.colourspace import look_up_each
from reiqa.distortions.frame import Frame, align, unalign

#: With 4:2:0 the codec's blocks are 16 pixels wide.
JPEG_GRID = 16


def jpeg(
    images: Tensor, qualities: Sequence[int], seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Code and decode as JPEG of ``qualities`` (libjpeg's scale), chroma 4:2:0.

    The codec is Pillow's libjpeg on the CPU for images on any device, so that results are equal on
    all devices. nvJPEG (torchvision's codec on a GPU, deprecated since 0.29) rounds otherwise.
    """
    height, width = images.shape[-2:]
    blocks = align(images, frames, JPEG_GRID)
    coded = _through_pillow(blocks, _through_jpeg, qualities)
    return unalign(coded, frames, JPEG_GRID, height, width)


def jpeg2000(
    images: Tensor, ratios: Sequence[float], seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Code and decode as JPEG 2000 (irreversible) at compression ``ratios``.

    Not local: the codec allocates its bytes over the complete window.
    """
    return _through_pillow(images, _through_jpeg2000, ratios)


def colour_quantisation(
    images: Tensor, colours: Sequence[int], seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Reduce to ``colours`` colours with median cut, without dithering.

    Not local: the palette is computed for the window.
    """
    return _through_pillow(images, _through_palette, colours)


def quantisation(
    images: Tensor, steps: Sequence[int], seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Round each channel to ``steps`` equally spaced values."""
    greys = np.arange(256) / 255
    tables = [np.rint(np.rint(greys * (n - 1)) / (n - 1) * 255).astype(np.uint8) for n in steps]
    return look_up_each(np.stack(tables), images)


def _through_jpeg(image: Image.Image, quality: int) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality, subsampling="4:2:0")
    return Image.open(stream, formats=["JPEG"])


def _through_jpeg2000(image: Image.Image, ratio: float) -> Image.Image:
    stream = io.BytesIO()
    # Number of wavelet levels, limited by the size of the image.
    levels = min(6, min(image.size).bit_length())
    image.save(
        stream,
        "JPEG2000",
        quality_mode="rates",
        quality_layers=[ratio],
        irreversible=True,
        num_resolutions=levels,
    )
    return Image.open(stream, formats=["JPEG2000"]).convert("RGB")


def _through_palette(image: Image.Image, colours: int) -> Image.Image:
    method, dither = Image.Quantize.MEDIANCUT, Image.Dither.NONE
    return image.quantize(colours, method=method, dither=dither).convert("RGB")


def _through_pillow(
    images: Tensor, change: Callable[[Image.Image, Any], Image.Image], parameters: Sequence[Any]
) -> Tensor:
    """Apply a Pillow function to each image on the CPU; Pillow releases the GIL."""
    pixels = images.permute(0, 2, 3, 1).contiguous().numpy()
    done = [
        np.array(change(Image.fromarray(image), parameter))
        for image, parameter in zip(pixels, parameters, strict=True)
    ]
    return torch.from_numpy(np.stack(done)).permute(0, 3, 1, 2).contiguous()
