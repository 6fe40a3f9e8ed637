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
        self._larger = self._smaller = self._total = 0

    def watch(self, rows: Iterable[Record]) -> Iterator[Record]:
        """Pass rows on and count them."""
        for record in rows:
            if record.width is not None and record.height is not None:
                self._total += 1
                self._count(min(record.width, record.height))
            yield record

    def _count(self, side: int) -> None:
        if self._sides is not None:
            low, high = self._sides
            side = min(side, self._resize or side)
            self._larger += side > high * _FACTOR
            self._smaller += side < low / _FACTOR

    def report(self) -> None:
        """Log one line if there was such an image."""
        outside = self._larger + self._smaller
        if not outside or self._sides is None:
            return
        low, high = self._sides
        rated = f"{low}" if low == high else f"{low} to {high}"
        # Resizing never enlarges, so it does not help if all of them are smaller.
        what = (
            f"to compare images of different sizes, pass --resize {low}"
            if self._larger
            else "these are smaller, so compare them only with images of their size"
        )
        log(
            f"{outside} of {self._total} images are far from the size of the rated photographs"
            f" (shorter side {rated} pixels). Scores depend on the size; {what}"
        )
