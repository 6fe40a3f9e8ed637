"""Blind image quality assessment with two self-supervised experts (Re-IQA, CVPR 2023).

``from reiqa import Scorer`` loads torch; ``import reiqa`` does not.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reiqa.scoring import Score, Scorer

__version__ = "0.1.0"
__all__ = ["Score", "Scorer", "__version__"]


def __getattr__(name: str) -> object:
    if name in ("Score", "Scorer"):
        from reiqa import scoring

        return getattr(scoring, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
