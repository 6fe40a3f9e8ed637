"""Score photographs with a bundle of two experts and a regressor.

The public names are imported on first use, because finding a bundle does not need torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reiqa.scoring.bundle import Bundle
    from reiqa.scoring.scorer import Score, Scorer

__all__ = ["Bundle", "Score", "Scorer"]

_MODULES = {"Bundle": "bundle"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'scorer')}"), name)
