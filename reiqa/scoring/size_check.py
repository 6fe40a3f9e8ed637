"""Warn once if images are far from the size of the photographs that a bundle was fitted to."""

from collections.abc import Iterable, Iterator

from reiqa.progress import log
from reiqa.scoring.output import Record

#: Largest ratio of the shorter sides. The score of one scene changes by about ten points when its
#: size doubles.
_FACTOR = 2


class SizeCheck:
    """Counts images whose shorter side is far outside the sizes of the rated photographs."""

    def __init__(self, sides: tuple[int, int] | None, resize: int | None) -> None:
        """Create for the sides of the manifest and the length images are scaled down to."""
        self._sides, self._resize = sides, resize
        self._outside = self._total = 0

    def watch(self, rows: Iterable[Record]) -> Iterator[Record]:
        """Pass rows on and count them."""
        for record in rows:
            if record.width is not None and record.height is not None:
                self._total += 1
                self._outside += self._is_outside(min(record.width, record.height))
            yield record

    def _is_outside(self, side: int) -> bool:
        if self._sides is None:
            return False
        low, high = self._sides
        side = min(side, self._resize or side)
        return not low / _FACTOR <= side <= high * _FACTOR

    def report(self) -> None:
        """Log one line if there was such an image."""
        if not self._outside or self._sides is None:
            return
        low, high = self._sides
        rated = f"{low}" if low == high else f"{low} to {high}"
        log(
            f"{self._outside} of {self._total} images are far from the size of the rated"
            f" photographs (shorter side {rated} pixels). Scores depend on the size; to compare"
            f" images of different sizes, pass --resize {low}"
        )
