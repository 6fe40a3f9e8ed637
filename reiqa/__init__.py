"""Blind image quality assessment with two self-supervised experts (Re-IQA, CVPR 2023).

`Scorer` is imported on first use, with numpy, Pillow and onnxruntime; nothing here imports torch.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reiqa.scoring import Score, Scorer

__version__ = "0.2.0"
__all__ = ["Score", "Scorer", "__version__"]


def __getattr__(name: str) -> object:
    if name in ("Score", "Scorer"):
        from reiqa import scoring

        return getattr(scoring, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
