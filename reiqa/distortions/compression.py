"""Codecs and quantisers: JPEG, JPEG 2000, level and colour quantisation.

Each type is a `Distortion.apply` (see the registry).
"""

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from reiqa import devices
from reiqa.distortions.colourspace import look_up
from reiqa.distortions.frame import Frame, align, unalign

#: With 4:2:0 the codec's blocks are 16 pixels wide.
JPEG_GRID = 16
#: Number of threads to encode images from a GPU.
_THREADS = min(16, devices.cpu_count())

Pixels: TypeAlias = npt.NDArray[np.uint8]


def jpeg(images: Tensor, quality: int, seeds: Sequence[int], frames: Sequence[Frame]) -> Tensor:
    """Code and decode as JPEG of ``quality`` (libjpeg's scale), chroma 4:2:0.

    The codec is Pillow's libjpeg on the CPU for images on any device, so that results are equal on
    all devices. torchvision's codecs are deprecated since 0.29.
    """
    height, width = images.shape[-2:]
    blocks = align(images, frames, JPEG_GRID)
    coded = _through_pillow(blocks, lambda image: _through_jpeg(image, quality))
    return unalign(coded, frames, JPEG_GRID, height, width)


def jpeg2000(images: Tensor, ratio: float, seeds: Sequence[int], frames: Sequence[Frame]) -> Tensor:
    """Code and decode as JPEG 2000 (irreversible) at compression ``ratio``.

    Not local: the codec allocates its bytes over the complete window.
    """
    return _through_pillow(images, lambda image: _through_jpeg2000(image, ratio))


def colour_quantisation(
    images: Tensor, colours: int, seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Reduce to ``colours`` colours with median cut, without dithering.

    Not local: the palette is computed for the window.
    """
    return _through_pillow(
        images,
        lambda image: image.quantize(
            colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
        ).convert("RGB"),
    )


def quantisation(
    images: Tensor, steps: int, seeds: Sequence[int], frames: Sequence[Frame]
) -> Tensor:
    """Round each channel to ``steps`` equally spaced values."""
    greys = np.arange(256) / 255
    table = np.rint(np.rint(greys * (steps - 1)) / (steps - 1) * 255).astype(np.uint8)
    return look_up(torch.from_numpy(table), images)


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


def _through_pillow(images: Tensor, change: Callable[[Image.Image], Image.Image]) -> Tensor:
    """Apply a Pillow function to each image; images from a GPU use several threads.

    Pillow releases the GIL. On the CPU the caller controls the number of threads.
    """
    # One copy to the host for all of them.
    pixels = images.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    done = changed([*pixels], change, _THREADS if images.is_cuda else 1)
    return torch.from_numpy(np.stack(done)).to(images.device).permute(0, 3, 1, 2).contiguous()


def changed(
    pixels: Sequence[Pixels], change: Callable[[Image.Image], Image.Image], threads: int
) -> list[Pixels]:
    """Apply ``change`` to each ``(H, W, 3)`` uint8 image, in order."""

    def one(image: Pixels) -> Pixels:
        return np.array(change(Image.fromarray(image)))

    if threads == 1 or len(pixels) == 1:
        return [one(image) for image in pixels]
    with ThreadPoolExecutor(threads) as pool:
        return [*pool.map(one, pixels)]
