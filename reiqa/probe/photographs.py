"""The photographs of the linear probes, shipped by installed packages.

The list is the probe's own and fixed: probe numbers of two projects are only comparable on the same
photographs. None of them is in a corpus, so no expert was trained on them.
"""

from reiqa.data.packaged import absence_named, read_photograph
from reiqa.images import Pixels

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
    with absence_named(name, package):
        return read_photograph(package, name)
