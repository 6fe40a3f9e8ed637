"""Shares of the two experts in a score that is a nonlinear function of their sum."""

from reiqa.regression.scaler import Vector


def shapley_values(
    mean: Vector, content: Vector, quality: Vector, both: Vector
) -> tuple[Vector, Vector]:
    """Return the shares of content and quality: means over both orders of adding the experts.

    An expert that is absent contributes its mean. Both shares and ``mean`` sum to ``both``.

    Args:
        mean: score without either expert, broadcast to the others.
        content, quality: ``(N,)`` scores with one expert alone.
        both: ``(N,)`` scores with both.
    """
    return (content - mean + both - quality) / 2, (quality - mean + both - content) / 2
