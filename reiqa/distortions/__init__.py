"""The distortion bank: `distort` a batch by any of `TYPES`, at any of five levels.

The names below are imported on first use, because they import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reiqa.distortions.batch import distort
    from reiqa.distortions.frame import Frame
    from reiqa.distortions.registry import TYPES, VERSION, Distortion, resolve

__all__ = ["LEVELS", "TYPES", "VERSION", "Distortion", "Frame", "distort", "resolve"]

#: Number of severity levels of every type; levels start at 1.
LEVELS = 5

_MODULES = {
    "distort": "batch",
    "Frame": "frame",
    "TYPES": "registry",
    "VERSION": "registry",
    "Distortion": "registry",
    "resolve": "registry",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
