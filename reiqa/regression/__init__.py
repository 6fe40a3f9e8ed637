"""Fit regressors from features to ratings and evaluate them on held-out images.

The public names are imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reiqa.regression.cross_dataset import evaluate_across
    from reiqa.regression.fitting import fit

__all__ = ["evaluate_across", "fit"]

_MODULES = {"evaluate_across": "cross_dataset", "fit": "fitting"}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
