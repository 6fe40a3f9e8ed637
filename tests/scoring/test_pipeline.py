"""Many images: the same rows whatever order and threads, and few images at hand at a time."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reiqa.scoring import Scorer, pipeline
from reiqa.scoring.budget import PixelBudget
from reiqa.scoring.find_images import ImageItem
from reiqa.scoring.output import Record


def items(paths: list[Path]) -> list[ImageItem]:
    return [ImageItem(path, Path(path.name)) for path in paths]


@pytest.fixture
def judged(scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each image that is encoded."""
    counted: list[int] = []
    judge = Scorer.score_prepared

    def counting(self: Scorer, seen: object) -> object:
        counted.append(1)
        return judge(self, seen)

    monkeypatch.setattr(Scorer, "score_prepared", counting)
    return counted


def test_neither_order_nor_threads_change_a_row(run, scorer: Scorer) -> None:
    paths = run.photographs
    expected = {row.image: row for row in pipeline.score_images(scorer, items(paths), 1)}
    assert len(expected) == len(paths)
    for threads in (2, 3, 8):
        random.Random(threads).shuffle(paths := list(paths))
        found = list(pipeline.score_images(scorer, items(paths), threads))
        assert [row.image for row in found] == [str(path) for path in paths]
        assert {row.image: row for row in found} == expected


def test_a_row_holds_what_the_scorer_says(run, scorer: Scorer) -> None:
    path = run.photographs[2]
    (row,) = pipeline.score_images(scorer, items([path]), 1)
    score = scorer(path)
    for name in ("low", "high", "content", "quality"):
        assert getattr(row, name) == pytest.approx(getattr(score, name), abs=6e-4)
    assert row.score == pytest.approx(score, abs=6e-4)
    assert row.bundle == scorer.bundle.identity


def test_rows_known_of_the_same_bytes_are_not_made_again(run, scorer, tmp_path, judged) -> None:
    paths = [tmp_path / f"{number}.png" for number in range(4)]
    for path, photograph in zip(paths, run.photographs, strict=False):
        path.write_bytes(photograph.read_bytes())
    known = {row.image: row for row in pipeline.score_images(scorer, items(paths), 2)}
    paths[1].write_bytes(run.photographs[9].read_bytes())
    judged.clear()
    again = list(pipeline.score_images(scorer, items(paths), 2, known))
    assert len(judged) == 1
    changed = [row.image for row in again if row != known[row.image]]
    assert changed == [str(paths[1])]


@pytest.mark.parametrize("change", [{"bundle": "other-1"}, {"error": "was away", "score": None}])
def test_rows_of_another_bundle_and_errors_are_made_again(run, scorer, judged, change) -> None:
    path = run.photographs[0]
    (row,) = pipeline.score_images(scorer, items([path]), 1)
    old = Record(**{**row.__dict__, **change})
    judged.clear()
    assert list(pipeline.score_images(scorer, items([path]), 1, {row.image: old})) == [row]
    assert len(judged) == 1


def test_few_images_are_at_hand_however_long_the_list(run, scorer, judged) -> None:
    several = items(run.photographs * 4)
    rows = pipeline.score_images(scorer, several, 2)
    next(rows)
    time.sleep(0.3)
    assert len(judged) <= 2 * pipeline._QUEUE_FACTOR
    rows.close()
    assert len(judged) < len(several) // 4


def test_an_unexpected_fault_is_not_swallowed(run, scorer, monkeypatch) -> None:
    def broken(self: Scorer, seen: object) -> None:
        raise RuntimeError("a fault of the program")

    monkeypatch.setattr(Scorer, "score_prepared", broken)
    with pytest.raises(RuntimeError, match="a fault of the program"):
        list(pipeline.score_images(scorer, items(run.photographs), 2))


def test_room_is_never_exceeded_but_by_one_alone() -> None:
    room = PixelBudget(100)
    lock, within, most = threading.Lock(), [0], []

    def work(pixels: int) -> None:
        with room.reserve(pixels):
            with lock:
                within[0] += pixels
                most.append((within[0], pixels))
            time.sleep(0.001)
            with lock:
                within[0] -= pixels

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, [30, 40, 250, 60, 10, 90, 250, 5] * 5))
    assert all(total <= 100 or total == pixels for total, pixels in most)
    assert max(total for total, _ in most) == 250


def test_a_block_within_a_block_of_the_same_thread_takes_no_room() -> None:
    room, entered = PixelBudget(100), threading.Event()

    def work() -> None:
        with room.reserve(80), room.reserve(80):
            entered.set()

    threading.Thread(target=work, daemon=True).start()
    assert entered.wait(60)
