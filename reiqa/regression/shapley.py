"""Shares of the two experts in a score that is a nonlinear function of their sum."""

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]


def shapley_values(
    mean: Scores, content: Scores, quality: Scores, both: Scores
) -> tuple[Scores, Scores]:
    """Return the shares of content and quality: means over both orders of adding the experts.

    An expert that is absent contributes its mean. Both shares and ``mean`` sum to ``both``.

    Args:
        mean: score without either expert, broadcast to the others.
        content, quality: ``(N,)`` scores with one expert alone.
        both: ``(N,)`` scores with both.
    """
    return (content - mean + both - quality) / 2, (quality - mean + both - content) / 2
