"""From features and ratings to a regressor, and to how well it predicts ratings not seen.

The names below are loaded when first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reiqa.regression.cross_dataset import evaluate_across
    from reiqa.regression.fitting import fit

__all__ = ["evaluate_across", "fit"]

_HOMES = {"evaluate_across": "cross_dataset", "fit": "fitting"}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
