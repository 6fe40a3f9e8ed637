"""A bound on the pixels that are in work at one time, which bounds memory."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class PixelBudget:
    """How many pixels may be in work at one time; one image alone may exceed it."""

    def __init__(self, pixels: int) -> None:
        self._pixels = pixels
        self._taken = 0
        self._changed = threading.Condition()

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        """Wait until there is room for so many pixels, and take it for the block."""
        with self._changed:
            self._changed.wait_for(lambda: not self._taken or self._taken + pixels <= self._pixels)
            self._taken += pixels
        try:
            yield
        finally:
            with self._changed:
                self._taken -= pixels
                self._changed.notify_all()
