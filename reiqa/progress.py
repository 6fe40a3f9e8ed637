"""Progress: tqdm's bar on a terminal, plain lines in a log file."""

import contextlib
import sys
from collections.abc import Iterable, Iterator, Sized
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from tqdm import tqdm

Item = TypeVar("Item")

_LINE = "{desc}: {n_fmt}/{total_fmt}{unit}, {rate_noinv_fmt}, {remaining} left{postfix}"
_LINE_EVERY_S = 10.0


class _LogFile:
    """File object for tqdm that prints each state of the bar as a separate line."""

    def write(self, text: str) -> None:
        if text.strip():
            log(" ".join(text.split()))

    def flush(self) -> None:
        pass


def progress_bar(
    label: str, total: int | None = None, unit: str = "images", done: int = 0
) -> "tqdm[None]":
    """Return a tqdm bar on stderr, which prints a line every ten seconds without a terminal.

    Args:
        label: description of the work.
        total: number of units, if known.
        unit: name of the unit.
        done: units finished in an earlier run; included in the bar, but not in the rate.
    """
    from tqdm import tqdm

    if sys.stderr.isatty():
        where: dict[str, Any] = {"dynamic_ncols": True}
    else:
        pace = {"mininterval": _LINE_EVERY_S, "delay": _LINE_EVERY_S}
        where = {"file": _LogFile(), "bar_format": _LINE, **pace}
    # Redraw by time alone: tqdm would otherwise skip a note between two counts.
    return tqdm(
        desc=label, total=total, unit=f" {unit}", initial=done, smoothing=0, miniters=0, **where
    )


def track(
    items: Iterable[Item], label: str, total: int | None = None, unit: str = "images"
) -> Iterator[Item]:
    """Yield ``items`` one by one while showing progress (see `progress_bar`)."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with progress_bar(label, total, unit) as bar:
        for item in items:
            yield item
            bar.update()


def log(text: str) -> None:
    """Print one line to stderr, above any progress bars."""
    if sys.stderr.isatty() and "tqdm" in sys.modules:
        from tqdm import tqdm

        tqdm.write(text, file=sys.stderr)
        return
    # A message that cannot be printed, on a full disk or a closed pipe, must not end the work.
    with contextlib.suppress(OSError):
        # A single write keeps lines of several threads apart.
        print(f"{text}\n", end="", file=sys.stderr, flush=True)
