"""Photographs that installed packages contain."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from reiqa.errors import WorkFailedError
from reiqa.images import Pixels, read_rgb


def read_photograph(package: str, name: str) -> Pixels:
    """Return the ``(H, W, 3)`` uint8 pixels of a photograph.

    Args:
        package: ``skimage``, ``sklearn`` or ``matplotlib``.
        name: name of the photograph in that package.
    """
    if package == "skimage":
        from skimage import data

        return np.asarray(getattr(data, name)())
    if package == "sklearn":
        from sklearn.datasets import load_sample_image

        return np.asarray(load_sample_image(name))
    from matplotlib.cbook import get_sample_data

    return read_rgb(get_sample_data(name, asfileobj=False))


@contextmanager
def absence_named(photograph: str, packages: str) -> Iterator[None]:
    """Raise `WorkFailedError` with the remedy if a package does not contain its photograph."""
    try:
        yield
    except (OSError, AttributeError, ImportError, ValueError) as error:
        raise WorkFailedError(
            f"{photograph}: not found in the installed {packages} ({error})."
            " Install the versions pinned in requirements.lock."
        ) from None
