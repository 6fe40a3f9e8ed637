"""Colours of an image with an ICC profile, as sRGB."""

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

#: Bytes of a profile beyond which it is ignored: the largest in use, of printers, have 3 MB.
_MAX_PROFILE = 1 << 23

#: Modes that profiles of a colour space are for, and the kinds of profile that describe images.
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
_CLASSES = frozenset({"scnr", "mntr", "prtr", "spac"})

#: Grey levels by which a profile that means sRGB may differ from it, in any colour.
_ROUNDING = 1


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Return an eight-bit image as RGB in sRGB, always a new image.

    Colours go through the profile by its perceptual intent, the one that browsers use. A profile
    of another colour space than the image, or one that cannot be read, counts as sRGB. Where the
    profile is sRGB itself, pixels stay as they are to the last bit.

    Args:
        image: any mode of eight bits a channel, without alpha.
        profile: bytes of an ICC profile; empty where there is none.
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
    """Return what converts to sRGB; None where nothing is to be converted."""
    try:
        opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        mode = _MODES.get(opened.profile.xcolor_space.strip())
        if mode is None or opened.profile.device_class.strip() not in _CLASSES:
            return None
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
        # Threads share it, so it keeps nothing between calls.
        transform = ImageCms.ImageCmsTransform(
            opened, srgb, mode, "RGB", ImageCms.Intent.PERCEPTUAL, flags=ImageCms.Flags.NOCACHE
        )
        return None if _is_identity(transform) else transform
    except (OSError, ValueError, TypeError):
        return None


def _is_identity(transform: ImageCms.ImageCmsTransform) -> bool:
    """Try the transform on a grid of colours, or on every grey."""
    if transform.input_mode == "CMYK":
        return False
    steps = np.linspace(0, 255, 9).round().astype(np.uint8)
    colors = Image.fromarray(np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(1, -1, 3))
    if transform.input_mode == "L":
        colors = Image.fromarray(np.arange(256, dtype=np.uint8)[None])
    wanted = np.asarray(colors.convert("RGB"), dtype=int)
    found = np.asarray(transform.apply(colors), dtype=int)
    return bool(np.abs(found - wanted).max() <= _ROUNDING)
