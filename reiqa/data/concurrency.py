"""Run a function over items in a bounded thread pool that Ctrl-C stops immediately."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def run_each(
    work: Callable[[Item], Result], items: Iterable[Item], at_once: int
) -> list[Future[Result]]:
    """Call ``work`` for each item and return the futures in the order of the items.

    A failing item does not stop the others. An interruption does not wait for running items and
    cancels the items that have not started.

    Args:
        work: function to call in a worker thread.
        items: arguments of ``work``.
        at_once: maximum number of threads.
    """
    pool = ThreadPoolExecutor(at_once)
    try:
        jobs = [pool.submit(work, item) for item in items]
        wait(jobs)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
    return jobs
