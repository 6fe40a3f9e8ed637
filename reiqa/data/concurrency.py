"""Several things at once, in a bounded number of threads, which Ctrl-C ends at once."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_each(
    work: Callable[[Item], Result], items: Iterable[Item], at_once: int
) -> list[Future[Result]]:
    """Do ``work`` for each item, and return how each ended, in the order of the items.

    One that fails does not stop the others. An interruption is not made to wait for what runs:
    what has not begun never does.

    Args:
        work: is called in a thread of its own.
        items: what it is given.
        at_once: how many threads there are at most.
    """
    pool = ThreadPoolExecutor(at_once)
    try:
        jobs = [pool.submit(work, item) for item in items]
        wait(jobs)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return jobs
