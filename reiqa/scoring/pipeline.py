"""Score many images in parallel, one image per thread, with ordered results."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from reiqa import images, store
from reiqa.errors import BadInputError
from reiqa.progress import log
from reiqa.scoring.find_images import ImageItem
from reiqa.scoring.inputs import PreparedImage
from reiqa.scoring.output import Record
from reiqa.scoring.scorer import Score, Scorer

# Number of images in progress or waiting to be yielded, per thread.
_QUEUE_FACTOR = 4

#: Number of digits of a file's SHA-256 in a row.
DIGEST_LENGTH = 16

ScoreCallback = Callable[[ImageItem, PreparedImage, Score, str], None]
PreviewCallback = Callable[[ImageItem, PreparedImage], None]


def score_images(
    scorer: Scorer,
    items: Sequence[ImageItem],
    threads: int,
    known: Mapping[str, Record] | None = None,
    callback: ScoreCallback | None = None,
    preview: PreviewCallback | None = None,
) -> Iterator[Record]:
    """Yield a row for each image, in order; the row of an unusable image contains an error.

    Scoring several images in parallel uses processors better than several threads per image, and
    the result does not depend on the number of threads.

    Args:
        scorer: scorer to use.
        items: images to score.
        threads: number of images in parallel.
        known: earlier rows; a row with the same file and bundle is reused.
        callback: called with each scored image and the digest of its file, on its thread.
        preview: called with each image that has a score, on its thread and after `callback`; an
            image whose row is reused is decoded for it.
    """
    earlier = known or {}

    def one(item: ImageItem) -> Record:
        return _record(scorer, item, earlier.get(item.name), callback, preview)

    with ThreadPoolExecutor(threads) as pool:
        running: deque[Future[Record]] = deque()
        try:
            for item in items:
                running.append(pool.submit(one, item))
                if len(running) >= threads * _QUEUE_FACTOR:
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        finally:
            for future in running:
                future.cancel()


def _record(
    scorer: Scorer,
    item: ImageItem,
    earlier: Record | None,
    callback: ScoreCallback | None,
    preview: PreviewCallback | None,
) -> Record:
    identity, digest = scorer.identity, ""
    try:
        if item.error:
            raise BadInputError(item.error)
        digest = _digest(item.path)
        if earlier and not earlier.error and (earlier.sha256, earlier.bundle) == (digest, identity):
            if preview:
                _preview_reused(scorer, item, preview)
            return earlier
        height, width = images.read_size(item.path)
    except BadInputError as error:
        return Record.failed(item.name, digest, identity, _reason(item, error))
    # Not caught: experts that cannot be loaded are no fault of the image.
    scorer.load_experts()
    try:
        with scorer.budget.reserve(height * width):
            prepared = scorer.prepare(item.path)
            score = scorer.score_prepared(prepared)
            if callback:
                callback(item, prepared, score, digest)
            if preview:
                preview(item, prepared)
    except BadInputError as error:
        return Record.failed(item.name, digest, identity, _reason(item, error))
    return Record.scored(item.name, score, digest, identity)


def _preview_reused(scorer: Scorer, item: ImageItem, preview: PreviewCallback) -> None:
    """Decode an image again for its preview; its row stays valid if that fails."""
    try:
        height, width = images.read_size(item.path)
        with scorer.budget.reserve(height * width):
            preview(item, scorer.prepare(item.path))
    except BadInputError as error:
        log(f"{item.name}: no preview: {_reason(item, error)}")


def _reason(item: ImageItem, error: BadInputError) -> str:
    """Return an error as one line without the path, which has its own column."""
    return " ".join(str(error).removeprefix(f"{item.path}: ").split())


def _digest(path: Path) -> str:
    try:
        return store.file_digest(path)[:DIGEST_LENGTH]
    except OSError as error:
        raise BadInputError(f"{path}: {error.strerror}") from None
