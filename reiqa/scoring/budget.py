"""Limit memory by limiting the number of pixels in flight."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakSet


class PixelBudget:
    """A limit on the pixels in flight; a single image may exceed it.

    A fork waits until no pixels are in flight. Otherwise the child would inherit locks of
    onnxruntime and of this class as held by threads that it does not have.
    """

    def __init__(self, pixels: int) -> None:
        self._pixels = pixels
        self._reserved = 0
        self._paused = False
        self._changed = threading.Condition()
        self._holder = threading.local()
        _BUDGETS.add(self)

    @contextmanager
    def reserve(self, pixels: int) -> Iterator[None]:
        """Wait until the pixels fit into the budget and reserve them while the block runs.

        In a block of the same thread it does nothing: the pixels are those of the outer block.
        """
        if getattr(self._holder, "pixels", 0):
            yield
            return
        with self._changed:
            self._changed.wait_for(lambda: self._fits(pixels))
            self._reserved += pixels
        self._holder.pixels = pixels
        try:
            yield
        finally:
            self._holder.pixels = 0
            with self._changed:
                self._reserved -= pixels
                self._changed.notify_all()

    def _fits(self, pixels: int) -> bool:
        free = not self._reserved or self._reserved + pixels <= self._pixels
        return free and not self._paused

    def pause(self) -> None:
        """Wait until no other thread has pixels in flight, and let none start until `resume`."""
        own = getattr(self._holder, "pixels", 0)
        self._changed.acquire()
        self._paused = True
        self._changed.wait_for(lambda: self._reserved == own)

    def resume(self) -> None:
        """Undo `pause`, in the same thread or in its copy in a forked process."""
        self._paused = False
        self._changed.notify_all()
        self._changed.release()


_BUDGETS: WeakSet[PixelBudget] = WeakSet()
_FORK = threading.local()


def _before_fork() -> None:
    # In one order, so that two threads that fork do not wait for each other.
    _FORK.paused = sorted(_BUDGETS, key=id)
    for budget in _FORK.paused:
        budget.pause()


def _after_fork() -> None:
    for budget in _FORK.paused:
        budget.resume()
    _FORK.paused = []


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork
    )
