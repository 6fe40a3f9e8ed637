"""Progress that a person sees as a bar and a log file sees as plain lines."""

import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

Item = TypeVar("Item")

_PLAIN_EVERY_S = 10.0


class Meter(Protocol):
    """What a running task reports to: how far it is, and a few words on how it goes."""

    def advance(self, count: int = 1, note: str = "") -> None:
        """Count ``count`` more units as done; ``note`` replaces the words beside the bar."""


class _PlainMeter:
    """Lines on stderr: the first after ten seconds, so that short work stays silent."""

    def __init__(self, label: str, total: int | None, unit: str, before: int) -> None:
        self._label, self._total, self._unit, self._before = label, total, unit, before
        self._done = 0
        self._start = self._last = time.monotonic()

    def advance(self, count: int = 1, note: str = "") -> None:
        self._done += count
        now = time.monotonic()
        if now - self._last < _PLAIN_EVERY_S:
            return
        self._last = now
        rate = self._done / (now - self._start)
        reached = self._before + self._done
        of = f"/{self._total}" if self._total else ""
        left = f", {_clock((self._total - reached) / rate)} left" if self._total and rate else ""
        words = f", {note}" if note else ""
        log(f"{self._label}: {reached}{of} {self._unit}, {rate:.1f}/s{left}{words}")


class _BarMeter:
    """A bar among those of the terminal."""

    def __init__(self, bars: "Progress", task: "TaskID") -> None:
        self._bars, self._task = bars, task
        self._done, self._start, self._note = 0, time.monotonic(), ""

    def advance(self, count: int = 1, note: str = "") -> None:
        self._done += count
        rate = f"{self._done / max(time.monotonic() - self._start, 1e-9):.1f}/s"
        self._note = note or self._note
        self._bars.update(self._task, advance=count, rate=rate, note=self._note)


class _Terminal:
    """The terminal's one live display, which bars of several threads share."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bars: Progress | None = None
        self._running = 0

    @contextmanager
    def shared(self) -> Iterator["Progress"]:
        """Give the display, begun with the first bar and ended with the last."""
        with self._lock:
            bars = self._bars = self._bars or _display()
            self._running += 1
        try:
            yield bars
        finally:
            with self._lock:
                self._running -= 1
                if not self._running:
                    self._end()

    def close(self) -> None:
        """Give the terminal back, whatever still runs."""
        with self._lock:
            self._end()

    def _end(self) -> None:
        if self._bars is not None:
            self._bars.stop()
        self._bars = None


_terminal = _Terminal()


def close() -> None:
    """End any live display; for a program that is about to end while threads still work."""
    _terminal.close()


@contextmanager
def progress_bar(
    label: str, total: int | None = None, unit: str = "images", done: int = 0
) -> Iterator[Meter]:
    """Show progress on stderr: a bar with rate and time left, or lines when not a terminal.

    Args:
        label: what is being done.
        total: how many units there are, if known.
        unit: what one unit is called.
        done: units finished in an earlier run; counted in the bar, not in the rate.
    """
    if not sys.stderr.isatty():
        yield _PlainMeter(label, total, unit, done)
        return
    with _terminal.shared() as bars:
        task = bars.add_task(label, total=total, completed=done, unit=unit, rate="", note="")
        yield _BarMeter(bars, task)


def _display() -> "Progress":
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    bars = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[unit]}  {task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
    )
    bars.start()
    return bars


def track(
    items: Iterable[Item], label: str, total: int | None = None, unit: str = "images"
) -> Iterator[Item]:
    """Yield ``items`` one by one while showing progress (see `meter`)."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with progress_bar(label, total, unit) as shown:
        for item in items:
            yield item
            shown.advance()


def log(text: str) -> None:
    """Print one line for a person to stderr, where it never mixes with results."""
    # In one piece: lines of several threads must not run into each other.
    print(f"{text}\n", end="", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
