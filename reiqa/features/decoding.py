"""Decode batches in threads, ahead of the encoder."""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from reiqa.errors import BadInputError
from reiqa.features.batching import EncodeJob, Pixels, ResizePolicy

#: Number of batches to decode ahead.
_PREFETCH = 2


@dataclass(frozen=True)
class DecodedImage:
    """A decoded and resized file, or the error that prevented it."""

    job: EncodeJob
    pixels: Pixels | None
    shrunk: float = 1.0
    error: str = ""


def decode_batches(
    planned: Sequence[Sequence[EncodeJob]], policy: ResizePolicy, pool: ThreadPoolExecutor
) -> Iterator[list[DecodedImage]]:
    """Yield decoded batches while the pool decodes the next ones."""

    def decode(job: EncodeJob) -> DecodedImage:
        try:
            pixels, shrunk = policy.load(job.path)
        except BadInputError as reason:
            return DecodedImage(job, None, error=str(reason))
        return DecodedImage(job, pixels, shrunk)

    running: deque[list[Future[DecodedImage]]] = deque()
    for batch in planned:
        running.append([pool.submit(decode, job) for job in batch])
        if len(running) > _PREFETCH:
            yield [future.result() for future in running.popleft()]
    while running:
        yield [future.result() for future in running.popleft()]
