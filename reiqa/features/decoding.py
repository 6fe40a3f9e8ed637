"""Batches decoded in threads that run ahead of the encoders."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from reiqa.errors import BadInputError
from reiqa.features.plan import Job, Pixels, Viewing

#: Batches decoded ahead of the encoders.
_AHEAD = 2


@dataclass(frozen=True)
class Decoded:
    """A file as the encoders see it, or why it cannot be seen."""

    job: Job
    pixels: Pixels | None
    shrunk: float = 1.0
    fault: str = ""


def decoded(
    planned: Sequence[Sequence[Job]], viewing: Viewing, pool: ThreadPoolExecutor
) -> Iterator[list[Decoded]]:
    """Yield each batch decoded, while the pool works on the next ones."""

    def decode(job: Job) -> Decoded:
        try:
            pixels, shrunk = viewing.load(job.path)
        except BadInputError as error:
            return Decoded(job, None, fault=str(error))
        return Decoded(job, pixels, shrunk)

    running: deque[list[Future[Decoded]]] = deque()
    for batch in planned:
        running.append([pool.submit(decode, job) for job in batch])
        if len(running) > _AHEAD:
            yield [future.result() for future in running.popleft()]
    while running:
        yield [future.result() for future in running.popleft()]
