"""Progress on a terminal is a bar; in a log it is a line now and then, and it counts rightly."""

import io
import re
import sys
import threading

import pytest

from reiqa import progress


class Clock:
    """A clock that moves only when told."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


def on_a_terminal(monkeypatch) -> io.StringIO:
    """Return what a terminal is sent; no fixture, for pytest takes stderr back before the test."""

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    made = Terminal()
    monkeypatch.setattr(sys, "stderr", made)
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.setenv("TERM", "xterm")
    return made


def test_short_work_is_silent_and_every_item_is_given_once(capsys):
    assert list(progress.track(range(1000), "work")) == list(range(1000))
    assert capsys.readouterr() == ("", "")


def test_a_line_every_ten_seconds_with_rate_and_time_left(clock, capsys):
    with progress.progress_bar("features", total=100) as meter:
        for _ in range(40):
            clock.now += 1
            meter.advance(note="ok")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 4
    assert lines[-1] == "features: 40/100 images, 1.0/s, 1:00 left, ok"


def test_work_done_before_counts_towards_the_whole_and_not_towards_the_rate(clock, capsys):
    with progress.progress_bar("features", total=100, done=50) as meter:
        clock.now += 10
        meter.advance(10)
    assert capsys.readouterr().err == "features: 60/100 images, 1.0/s, 0:40 left\n"


def test_a_count_of_nothing_after_a_long_while_is_no_division_by_zero(clock, capsys):
    with progress.progress_bar("slow", total=5) as meter:
        clock.now += 60
        meter.advance(0, note="still reading")
    assert capsys.readouterr().err == "slow: 0/5 images, 0.0/s, still reading\n"


def test_more_than_was_announced_leaves_no_negative_time(clock, capsys):
    with progress.progress_bar("work", total=5) as meter:
        clock.now += 10
        meter.advance(9)
    assert "9/5" in (said := capsys.readouterr().err) and "0:00 left" in said


def test_an_unknown_total_has_no_time_left(clock, capsys):
    with progress.progress_bar("work", unit="steps") as meter:
        clock.now += 20
        meter.advance(40)
    assert capsys.readouterr().err == "work: 40 steps, 2.0/s\n"


def test_nothing_goes_to_stdout(clock, capsys):
    progress.log("a word")
    for _ in progress.track([1, 2], "work"):
        clock.now += 11
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("a word\nwork: 1/2")


def test_a_consumer_may_stop_early():
    items = progress.track(range(10), "work")
    assert next(items) == 0
    items.close()


def test_on_a_terminal_it_is_a_bar_that_shows_count_and_unit(monkeypatch):
    screen = on_a_terminal(monkeypatch)
    with progress.progress_bar("fit", total=4, unit="splits", done=1) as meter:
        meter.advance(3, note="alpha 10")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    assert "fit" in text and "4/4" in text and "splits" in text and "alpha 10" in text


def test_bars_of_several_threads_share_one_display(monkeypatch):
    screen = on_a_terminal(monkeypatch)
    both = threading.Barrier(2)

    def work(name: str) -> None:
        with progress.progress_bar(f"fetch {name}", total=4, unit="MB") as meter:
            both.wait(10)
            meter.advance(4)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("koniq10k", "csiq")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue())
    last = text.replace("\r", "\n").strip().splitlines()[-2:]
    assert sorted(line.split()[1] for line in last) == ["csiq", "koniq10k"]
    assert all("4/4" in line for line in last)
    assert screen.getvalue().rstrip().endswith("\x1b[?25h"), "the cursor is given back"


def test_a_display_is_ended_from_outside_while_a_thread_still_works(monkeypatch):
    screen = on_a_terminal(monkeypatch)
    with progress.progress_bar("fetch", total=4) as meter:
        progress.close()
        assert screen.getvalue().rstrip().endswith("\x1b[?25h")
        meter.advance()


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3661, "1:01:01")]
)
def test_time_left_reads_like_a_clock(seconds, shown):
    assert progress._clock(seconds) == shown
