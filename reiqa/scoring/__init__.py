"""How good is a photograph: a bundle of two experts and a regressor, and all that is asked of it.

The names below are loaded when first used: to look for a bundle needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reiqa.scoring.bundle import Bundle
    from reiqa.scoring.scorer import Score, Scorer

__all__ = ["Bundle", "Score", "Scorer"]

_HOMES = {"Bundle": "bundle"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'scorer')}"), name)
