"""Extract features of images with the frozen experts and cache them as HDF5.

The public names are imported on first use, because reading a cache does not need torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reiqa.features.cache import FeatureTable, has_errors, read_features
    from reiqa.features.extraction import extract, extract_folder, extract_rows

__all__ = [
    "FeatureTable",
    "extract",
    "extract_folder",
    "extract_rows",
    "has_errors",
    "read_features",
]

_MODULES = {"FeatureTable": "cache", "has_errors": "cache", "read_features": "cache"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'extraction')}"), name)
