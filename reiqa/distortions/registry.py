"""The bank: all distortion types with their levels, sources and requirements."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from torch import Tensor

from reiqa.distortions import blur, colour, compression, noise, resize, spatial, tone
from reiqa.errors import BadInputError
from reiqa.params import BankParams

#: Version of the bank; increased when the same input, type, level and seed give different pixels.
VERSION = 2

Apply: TypeAlias = Callable[..., Tensor]


@dataclass(frozen=True)
class Distortion:
    """One type of distortion.

    Attributes:
        name: name in params.yaml.
        title: display name.
        family: blur, colour, compression, noise, brightness, resolution, contrast or spatial.
        apply: function of ``(N, 3, H, W)`` uint8 on any device, and a parameter (of one of the
            levels), a seed and a `Frame` for each of N windows; returns uint8 of the same shape.
            Deterministic types ignore the seeds, pointwise types ignore the frames.
        levels: parameter at levels 1 to 5.
        parameter: meaning and unit of the parameter.
        source: source of the type and its levels.
        random: whether the seed matters.
        margin: required context on each side, in pixels, to match a render of the full photograph.
        local: False if no margin is sufficient.
        on_host: whether ``apply`` is a codec that takes images on the CPU only.
        published: one of the paper's 25, or an extra.
    """

    name: str
    title: str
    family: str
    apply: Apply = field(repr=False, compare=False)
    levels: tuple[Any, Any, Any, Any, Any]
    parameter: str
    source: str
    random: bool = False
    margin: int = 0
    local: bool = True
    on_host: bool = False
    published: bool = True


_CODE = "published code"
_FIXED = "published code, corrected"

_BANK = (
    Distortion("gaussian_blur", "Gaussian blur", "blur", blur.gaussian_blur,
               (0.5, 0.75, 1.0, 2.0, 5.0), "sigma, px", _FIXED, margin=18),
    Distortion("lens_blur", "Lens blur", "blur", blur.lens_blur,
               (1.0, 2.0, 4.0, 6.0, 8.0), "radius, px", _CODE, margin=8),
    Distortion("colour_diffusion", "Colour diffusion", "colour", colour.colour_diffusion,
               (1.0, 3.0, 6.0, 8.0, 12.0), "amount; sigma = 1.5 amount + 2 px", _CODE,
               margin=colour.DIFFUSION_MARGIN),
    Distortion("colour_shift", "Colour shift", "colour", colour.colour_shift,
               (1.0, 3.0, 6.0, 8.0, 12.0), "shift of green, px", _FIXED, random=True, margin=16),
    Distortion("desaturation", "Desaturation", "colour", colour.desaturation,
               (0.6, 0.4, 0.2, 0.1, 0.0), "share of HSV saturation kept", _FIXED),
    Distortion("saturation", "Saturation", "colour", colour.saturation,
               (1.5, 2.0, 3.0, 6.0, 9.0), "factor on a and b of Lab", _FIXED),
    Distortion("jpeg", "JPEG", "compression", compression.jpeg,
               (70, 43, 36, 24, 7), "quality", _CODE, margin=32, on_host=True),
    Distortion("white_noise", "White noise", "noise", noise.white_noise,
               (0.001, 0.002, 0.003, 0.005, 0.01), "variance", _CODE, random=True),
    Distortion("colour_noise", "Noise in YCbCr", "noise", noise.colour_noise,
               (0.0001, 0.0005, 0.001, 0.002, 0.003), "variance", _CODE, random=True),
    Distortion("impulse_noise", "Impulse noise", "noise", noise.impulse_noise,
               (0.001, 0.005, 0.01, 0.02, 0.03), "share of pixels", _CODE, random=True),
    Distortion("multiplicative_noise", "Multiplicative noise", "noise", noise.multiplicative_noise,
               (0.001, 0.005, 0.01, 0.02, 0.05), "variance", _CODE, random=True),
    Distortion("denoise", "Noise, then smoothing", "noise", noise.denoise,
               ((0.001, 0.6), (0.002, 0.9), (0.003, 1.3), (0.005, 2.0), (0.01, 3.0)),
               "variance; sigma, px", _FIXED, random=True, margin=11),
    Distortion("brighten", "Brighten", "brightness", tone.brighten,
               (0.1, 0.2, 0.4, 0.7, 1.1), "lift of the mid-tones", _CODE),
    Distortion("darken", "Darken", "brightness", tone.darken,
               (0.05, 0.1, 0.2, 0.4, 0.8), "fall of the mid-tones", _CODE),
    Distortion("mean_shift", "Mean shift", "brightness", tone.mean_shift,
               (0.05, 0.08, 0.11, 0.15, 0.2), "shift up or down, share of the range", _FIXED,
               random=True),
    Distortion("resize_bicubic", "Resize, bicubic", "resolution", resize.resize_bicubic,
               (2, 3, 4, 8, 16), "factor", _CODE, margin=64),
    Distortion("sharpen", "Sharpen", "contrast", tone.sharpen,
               (1.0, 2.0, 3.0, 6.0, 12.0), "amount", _FIXED, margin=2),
    Distortion("contrast", "Contrast", "contrast", tone.contrast,
               (0.1, 0.2, 0.3, 0.4, 0.5), "steepening or flattening", _FIXED, random=True),
    Distortion("colour_blocks", "Colour blocks", "spatial", spatial.colour_blocks,
               (8, 11, 14, 16, 18), "side of the block in each 80 px cell, px",
               _FIXED, random=True),
    Distortion("pixelate", "Pixelate", "resolution", resize.pixelate,
               (0.887, 0.784, 0.699, 0.569, 0.290), "share of rows and columns kept", _CODE,
               margin=4),
    Distortion("displaced_patches", "Displaced patches", "spatial", spatial.displaced_patches,
               (1, 2, 3, 4, 5), "16 px patches in each 80 px cell", _FIXED, random=True, margin=8),
    Distortion("jitter", "Jitter", "spatial", spatial.jitter,
               (0.142, 0.203, 0.387, 0.864, 1.483), "sigma of the displacement, px", _FIXED,
               random=True, margin=9),
    Distortion("resize_bilinear", "Resize, bilinear", "resolution", resize.resize_bilinear,
               (2, 3, 4, 8, 16), "factor", _CODE, margin=48),
    Distortion("resize_nearest", "Resize, nearest", "resolution", resize.resize_nearest,
               (2, 3, 4, 5, 6), "factor", _CODE, margin=6),
    Distortion("resize_lanczos", "Resize, Lanczos", "resolution", resize.resize_lanczos,
               (2, 3, 4, 8, 16), "factor", _CODE, margin=64),
    Distortion("motion_blur", "Motion blur", "blur", blur.motion_blur,
               (3.0, 6.0, 10.0, 15.0, 22.0), "length, px; any angle", "ours", random=True,
               margin=12, published=False),
    Distortion("jpeg2000", "JPEG 2000", "compression", compression.jpeg2000,
               (16.0, 32.0, 45.0, 120.0, 170.0), "compression ratio", "KADID-10k", local=False,
               on_host=True, published=False),
    Distortion("colour_quantisation", "Colour quantisation", "colour",
               compression.colour_quantisation, (64, 48, 32, 16, 8), "colours", "KADID-10k",
               local=False, on_host=True, published=False),
    Distortion("quantisation", "Quantisation", "contrast", compression.quantisation,
               (20, 16, 13, 10, 7), "levels a channel", "KADID-10k", published=False),
)  # fmt: skip

#: Every type by name: the 25 of the paper in the published order, then the extras.
TYPES: dict[str, Distortion] = {distortion.name: distortion for distortion in _BANK}


def resolve(bank: BankParams) -> tuple[str, ...]:
    """Return the names of the types that ``bank`` selects, in registry order.

    Raises:
        BadInputError: a name is not in the registry.
    """
    listed = bank.types if bank.types != "published" else published()
    wanted = {*listed, *bank.extras}
    if unknown := sorted(wanted - set(TYPES)):
        raise BadInputError(
            f"bank: unknown distortion {', '.join(unknown)}; list them with: reiqa distort --list"
        )
    return tuple(name for name in TYPES if name in wanted)


def published() -> list[str]:
    """Return the names of the paper's 25 types."""
    return [name for name, distortion in TYPES.items() if distortion.published]
