"""Batches decoded in threads that run ahead of the encoders."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from reiqa.errors import BadInputError
from reiqa.features.batching import EncodeJob, Pixels, ResizePolicy

#: Batches decoded ahead of the encoders.
_AHEAD = 2


@dataclass(frozen=True)
class DecodedImage:
    """A file as the encoders see it, or why it cannot be seen."""

    job: EncodeJob
    pixels: Pixels | None
    shrunk: float = 1.0
    fault: str = ""


def decode_batches(
    planned: Sequence[Sequence[EncodeJob]], viewing: ResizePolicy, pool: ThreadPoolExecutor
) -> Iterator[list[DecodedImage]]:
    """Yield each batch decoded, while the pool works on the next ones."""

    def decode(job: EncodeJob) -> DecodedImage:
        try:
            pixels, shrunk = viewing.load(job.path)
        except BadInputError as error:
            return DecodedImage(job, None, fault=str(error))
        return DecodedImage(job, pixels, shrunk)

    running: deque[list[Future[DecodedImage]]] = deque()
    for batch in planned:
        running.append([pool.submit(decode, job) for job in batch])
        if len(running) > _AHEAD:
            yield [future.result() for future in running.popleft()]
    while running:
        yield [future.result() for future in running.popleft()]
