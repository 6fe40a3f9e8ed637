"""Many images at once: each encoded alone on one thread, the rows in the order of the list."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

from reiqa import devices, images, store
from reiqa.errors import BadInputError
from reiqa.scoring.find_images import ImageItem
from reiqa.scoring.inputs import PreparedImage
from reiqa.scoring.record import Record
from reiqa.scoring.scorer import Score, Scorer

# Images begun or waiting to be told of, for each thread.
_AHEAD = 4

#: How a file's SHA-256 is shortened in a row.
DIGEST_LENGTH = 16

Also = Callable[[ImageItem, PreparedImage, Score], None]


def score_images(
    scorer: Scorer,
    items: Sequence[ImageItem],
    threads: int,
    known: Mapping[str, Record] | None = None,
    also: Also | None = None,
) -> Iterator[Record]:
    """Yield a row for each image, in order; an image that cannot be scored has an error there.

    Several images at a time make better use of processors than several threads on one image, and
    the arithmetic of an image is then the same however many threads there are.

    Args:
        scorer: what to score with.
        items: which images.
        threads: images at a time.
        known: earlier rows; one of the same file and the same bundle is given again as it is.
        also: called with each image that is scored, on its thread.
    """
    earlier = known or {}

    def one(item: ImageItem) -> Record:
        return _record(scorer, item, earlier.get(item.name), also)

    with devices.one_thread_workers(threads) as pool:
        running: deque[Future[Record]] = deque()
        try:
            for item in items:
                running.append(pool.submit(one, item))
                if len(running) >= threads * _AHEAD:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()


def _record(scorer: Scorer, item: ImageItem, earlier: Record | None, also: Also | None) -> Record:
    identity, digest = scorer.bundle.identity, ""
    try:
        if item.error:
            raise BadInputError(item.error)
        digest = _digest(item.path)
        if earlier and not earlier.error and (earlier.sha256, earlier.bundle) == (digest, identity):
            return earlier
        height, width = images.read_size(item.path)
        with scorer.budget.hold(height * width):
            seen = scorer.prepare(item.path)
            score = scorer.score_prepared(seen)
            if also:
                also(item, seen, score)
    except BadInputError as error:
        reason = str(error).removeprefix(f"{item.path}: ")
        return Record.failed(item.name, digest, identity, " ".join(reason.split()))
    return Record.scored(item.name, score, digest, identity)


def _digest(path: Path) -> str:
    try:
        return store.file_digest(path)[:DIGEST_LENGTH]
    except OSError as error:
        raise BadInputError(f"{path}: {error.strerror}") from None
