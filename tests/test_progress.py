"""Progress on a terminal is a bar; in a log it is a line now and then, and the counts are right."""

import errno
import io
import sys
import threading
from collections.abc import Callable

import pytest

from reiqa import progress


@pytest.fixture
def wait(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets seconds pass on the clock of the bars."""
    now = [100.0]

    def passes(seconds: float) -> None:
        now[0] += seconds

    monkeypatch.setattr("tqdm.std.time", lambda: now[0])
    return passes


def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Return what a terminal is sent; no fixture, for pytest takes stderr back before the test."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    made = Terminal()
    monkeypatch.setattr(sys, "stderr", made)
    return made


def test_short_work_is_silent_and_every_item_is_given_once(capsys):
    assert list(progress.track(range(1000), "work")) == list(range(1000))
    assert capsys.readouterr() == ("", "")


def test_a_line_every_ten_seconds_with_rate_and_time_left(wait, capsys):
    with progress.progress_bar("features", total=100) as bar:
        for _ in range(45):
            wait(1)
            bar.set_postfix_str("ok", refresh=False)
            bar.update()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert lines[3] == "features: 40/100 images, 1.00 images/s, 01:00 left, ok"
    assert lines[4].startswith("features: 45/100 images")


def test_work_done_before_counts_towards_the_whole_and_not_towards_the_rate(wait, capsys):
    with progress.progress_bar("features", total=100, done=50) as bar:
        wait(10)
        bar.update(10)
    said = capsys.readouterr().err
    assert said.startswith("features: 60/100 images, 1.00 images/s, 00:40 left\n")


def test_a_count_of_nothing_after_a_long_while_is_no_division_by_zero(wait, capsys):
    with progress.progress_bar("slow", total=5) as bar:
        wait(60)
        bar.update(0)
    assert "slow: 0/5 images" in capsys.readouterr().err


def test_an_unknown_total_is_a_question_mark(wait, capsys):
    with progress.progress_bar("work", unit="steps") as bar:
        wait(20)
        bar.update(40)
    assert capsys.readouterr().err.startswith("work: 40/? steps, 2.00 steps/s, 00:00 left\n")


def test_nothing_goes_to_stdout(wait, capsys):
    progress.log("a word")
    for _ in progress.track([1, 2], "work"):
        wait(11)
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("a word\nwork: 1/2")


def test_a_message_that_cannot_be_printed_does_not_end_the_work(monkeypatch):
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(sys, "stderr", Full())
    progress.log("a message")
    assert list(progress.track(range(3), "count")) == [0, 1, 2]


def test_a_consumer_may_stop_early():
    items = progress.track(range(10), "work")
    assert next(items) == 0
    items.close()


def test_on_a_terminal_it_is_a_bar_that_shows_count_and_unit(monkeypatch):
    screen = on_a_terminal(monkeypatch)
    with progress.progress_bar("fit", total=4, unit="splits", done=1) as bar:
        bar.set_postfix_str("alpha 10")
        bar.update(3)
    text = screen.getvalue()
    assert "fit" in text and "4/4" in text and "splits" in text and "alpha 10" in text


def test_bars_of_several_threads_and_a_line_share_the_terminal(monkeypatch):
    screen = on_a_terminal(monkeypatch)
    both = threading.Barrier(2)

    def work(name: str) -> None:
        with progress.progress_bar(f"fetch {name}", total=4, unit="MB") as bar:
            both.wait(10)
            bar.update(4)
            progress.log(f"{name}: downloaded")

    threads = [threading.Thread(target=work, args=(name,)) for name in ("koniq10k", "csiq")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    text = screen.getvalue()
    for name in ("csiq", "koniq10k"):
        assert f"{name}: downloaded\n" in text and f"fetch {name}: 100%" in text
