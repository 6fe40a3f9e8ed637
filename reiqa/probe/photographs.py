"""The photographs of the linear probes, shipped by installed packages.

The list is the probe's own and fixed: probe numbers of two projects are only comparable on the same
photographs. None of them is in a corpus, so no expert was trained on them.
"""

import numpy as np

from reiqa.errors import WorkFailedError
from reiqa.images import Pixels, read_rgb

#: Package and name of each photograph.
PHOTOGRAPHS = {
    "chelsea": ("skimage", "chelsea"),
    "china": ("sklearn", "china.jpg"),
    "coffee": ("skimage", "coffee"),
    "flower": ("sklearn", "flower.jpg"),
    "astronaut": ("skimage", "astronaut"),
    "grace_hopper": ("matplotlib", "grace_hopper.jpg"),
    "rocket": ("skimage", "rocket"),
}


def load_photographs() -> dict[str, Pixels]:
    """Return the ``(H, W, 3)`` uint8 pixels of every photograph by name.

    Raises:
        WorkFailedError: an installed package does not contain its photograph.
    """
    return {title: _load(*place) for title, place in PHOTOGRAPHS.items()}


def _load(package: str, name: str) -> Pixels:
    try:
        if package == "skimage":
            from skimage import data

            return np.asarray(getattr(data, name)())
        if package == "sklearn":
            from sklearn.datasets import load_sample_image

            return np.asarray(load_sample_image(name))
        from matplotlib.cbook import get_sample_data

        return read_rgb(get_sample_data(name, asfileobj=False))
    except (OSError, AttributeError, ImportError, ValueError) as error:
        raise WorkFailedError(
            f"{name}: not found in the installed {package} ({error}). "
            "Install the versions pinned in requirements.lock."
        ) from None
