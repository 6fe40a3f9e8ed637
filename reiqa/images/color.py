"""Convert images with an ICC profile to sRGB."""

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

#: Maximum size of a profile; larger ones are ignored. Printer profiles in use have up to 3 MB.
_MAX_PROFILE = 1 << 23

#: Image mode for each colour space of a profile, and profile classes that describe images.
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_CLASSES = frozenset({"scnr", "mntr", "prtr", "spac"})

#: Maximum difference in grey levels of a profile that is treated as sRGB.
_ROUNDING = 1


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Convert an 8-bit image to RGB in sRGB; always returns a new image.

    The conversion uses the perceptual intent, as browsers do. An invalid profile, or one for a
    different colour space, is ignored. If the profile is sRGB, pixels are not changed.

    Args:
        image: an image with 8 bits per channel, without alpha.
        profile: bytes of an ICC profile, or empty.
    """
    transform = _transform(profile) if 0 < len(profile) <= _MAX_PROFILE else None
    if transform is None:
        return image.convert("RGB")
    mode = transform.input_mode
    if mode == "RGB" and image.mode != "CMYK":
        image = image.convert("RGB")
    if mode != image.mode:
        return image.convert("RGB")
    return transform.apply(image)


@lru_cache(maxsize=8)
def _transform(profile: bytes) -> ImageCms.ImageCmsTransform | None:
    """Return the transform to sRGB, or None if no conversion is needed."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _MODES.get(opened.profile.xcolor_space.strip())
        if mode is None or opened.profile.device_class.strip() not in _CLASSES:
            return None
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        # NOCACHE makes the transform thread-safe.
        transform = ImageCms.ImageCmsTransform(
            opened, srgb, mode, "RGB", ImageCms.Intent.PERCEPTUAL, flags=ImageCms.Flags.NOCACHE
        )
        return None if _is_identity(transform) else transform
    except (OSError, ValueError, TypeError):
        return None


def _is_identity(transform: ImageCms.ImageCmsTransform) -> bool:
    """Return whether a transform is the identity on a grid of colours, or on all greys."""
    if transform.input_mode == "CMYK":
        return False
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    colors = Image.fromarray(np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3))
    if transform.input_mode == "L":
        colors = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    wanted = np.asarray(colors.convert("RGB"), dtype=int)
    found = np.asarray(transform.apply(colors), dtype=int)
    return bool(np.abs(found - wanted).max() <= _ROUNDING)
