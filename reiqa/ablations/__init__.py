"""What each choice of the paper is worth: one thing changed at a time, everything run again."""

from reiqa.ablations.matrix import Matrix
from reiqa.ablations.running import run

__all__ = ["Matrix", "run"]
