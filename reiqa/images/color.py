"""Colours of an image with an ICC profile, as sRGB."""

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

#: Bytes of a profile beyond which it is ignored: the largest in use, of printers, have 3 MB.
_MAX_PROFILE = 1 << 23

#: Modes that profiles of a colour space are for.
_MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}

#: Grey levels by which a profile that means sRGB may differ from it, in any colour.
_ROUNDING = 1


def to_srgb(image: Image.Image, profile: object) -> Image.Image:
    """Return an eight-bit image as RGB in sRGB.

    Colours go through the profile by its perceptual intent, the one that browsers use. A profile
    of another colour space than the image, or one that cannot be read, counts as sRGB. Where the
    profile is sRGB itself, pixels stay as they are to the last bit.

    Args:
        image: any mode of eight bits a channel, without alpha.
        profile: bytes of an ICC profile; anything else is none.
    """
    transform = None
    if isinstance(profile, bytes) and 0 < len(profile) <= _MAX_PROFILE:
        transform = _transform(profile)
    if transform is None:
        return image.convert("RGB")
    mode = transform.input_mode
    if mode == "RGB" and image.mode != "CMYK":
        image = image.convert("RGB")
    if mode != image.mode:
        return image.convert("RGB")
    converted = transform.apply(image)
    assert converted is not None
    return converted


@lru_cache(maxsize=32)
def _transform(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """Return what converts to sRGB; None where nothing is to be converted."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _MODES.get(opened.profile.xcolor_space)
        if mode is None:
            return None
        srgb = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(
            opened, srgb, mode, "RGB", renderingIntent=ImageCms.Intent.PERCEPTUAL
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None
    return None if mode == "RGB" and _is_identity(transform) else transform


def _is_identity(transform: ImageCms.ImageCmsTransform) -> bool:
    """Try the transform on a grid of colours."""
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    colors = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3)
    converted = transform.apply(Image.fromarray(colors))
    assert converted is not None
    return bool(np.abs(np.asarray(converted, dtype=int) - colors).max() <= _ROUNDING)
