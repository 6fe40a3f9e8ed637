"""Limit memory by limiting the number of pixels in flight."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class PixelBudget:
    """A limit on the pixels in flight; a single image may exceed it."""

    def __init__(self, pixels: int) -> None:
        self._pixels = pixels
        self._reserved = 0
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, pixels: int) -> Iterator[None]:
        """Wait until the pixels fit into the budget and reserve them while the block runs."""
        with self._changed:
            self._changed.wait_for(
                lambda: not self._reserved or self._reserved + pixels <= self._pixels
            )
            self._reserved += pixels
        try:
            yield
        finally:
            with self._changed:
                self._reserved -= pixels
                self._changed.notify_all()
