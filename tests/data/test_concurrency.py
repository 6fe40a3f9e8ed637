"""Several sets at once: side by side, each to its own end, stopped together and gone on with."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
from support.archive_server import SMALL, Server, tgz
from typer.testing import CliRunner, Result

from reiqa import layout
from reiqa.catalog import DatasetEntry
from reiqa.cli import app
from reiqa.data import fetch, sources
from reiqa.data.concurrency import run_each

NAMES = ("one", "two", "three", "four", "five")

#: The program with sets of a test in its catalog: names and archives' addresses are arguments.
PROGRAM = """
import sys
from reiqa import catalog
from reiqa.catalog import DatasetEntry, Source, SourceFile

entries = dict(catalog.load_catalog())
for address in sys.argv.pop(1).split():
    name = address.rpartition("/")[2].removesuffix(".tgz")
    entries[name] = DatasetEntry(
        name=name, title=name, kind="corpus", authentic=True, images=3, citation="none",
        licence="none", parts=(SourceFile(sources=(Source(url=address),)),),
    )
catalog.load_catalog = lambda: entries

from reiqa.cli import main
main()
"""


@pytest.fixture
def sets(
    project: Path,
    server: Server,
    small_set: Callable[..., DatasetEntry],
    change_catalog: Callable[[DatasetEntry], DatasetEntry],
) -> Server:
    """Five sets, one archive each, and params.yaml."""
    noise = {"Small/readme.bin": os.urandom(30_000)}
    for name in NAMES:
        server.files[path_of(name)] = tgz({**SMALL, **noise})
        change_catalog(small_set(path_of(name)).model_copy(update={"name": name}))
    assert CliRunner().invoke(app, ["preset", "demo"]).exit_code == 0
    return server


def path_of(name: str) -> str:
    return f"/a/{name}.tgz"


def reiqa_fetch(names: Iterable[str]) -> Result:
    return CliRunner().invoke(app, ["fetch", *(f"--dataset={name}" for name in names)])


def whole(name: str) -> bool:
    raw = layout.raw(name)
    return layout.receipt(name).exists() and all(
        (raw / path).read_bytes() == data for path, data in SMALL.items()
    )


def test_datasets_are_fetched_in_parallel_up_to_a_limit(
    sets: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in NAMES:
        sets.faults[path_of(name)] = ["trickle"]
    # Counted here: the server is done with a request only after the client has gone on.
    running: list[object] = []
    seen: list[int] = []
    download = sources.download

    def counted(*given: object, **named: object) -> Path:
        running.append(given)
        seen.append(len(running))
        try:
            return download(*given, **named)  # type: ignore[arg-type]
        finally:
            running.pop()

    monkeypatch.setattr(sources, "download", counted)
    done = reiqa_fetch(NAMES)
    assert done.exit_code == 0, done.stderr
    assert all(map(whole, NAMES))
    assert sets.most >= 2
    assert len(seen) == len(NAMES)
    assert max(seen) <= fetch.AT_ONCE


def test_one_that_fails_stops_no_other_and_each_failure_is_one_line_at_the_end(
    sets: Server,
) -> None:
    for name in ("one", "four"):
        sets.faults[path_of(name)] = ["404"]
    done = reiqa_fetch(NAMES)
    assert done.exit_code == 1
    assert [name for name in NAMES if whole(name)] == ["two", "three", "five"]
    assert [line.split(": download of")[0] for line in done.stderr.splitlines()] == [
        "reiqa: one",
        "reiqa: four",
    ]
    sets.asked.clear()
    assert reiqa_fetch(NAMES).exit_code == 0, "the same command brings what is lacking"
    assert sorted(path for path, _ in sets.asked) == [path_of("four"), path_of("one")]


def test_an_unknown_name_is_refused_before_any_download(sets: Server) -> None:
    done = reiqa_fetch(["one", "noone"])
    assert "noone: no such dataset" in str(done.exception)
    assert not sets.asked


def test_a_set_behind_a_wall_and_a_broken_one_end_in_the_code_of_failed_work(sets: Server) -> None:
    assert reiqa_fetch(["imagenet"]).exit_code == 2
    sets.faults[path_of("one")] = ["404"]
    done = reiqa_fetch(["imagenet", "one", "two"])
    assert done.exit_code == 1 and whole("two")
    assert sum(line.startswith("reiqa: ") for line in done.stderr.splitlines()) == 2


def test_a_common_error_is_reported_once(sets: Server) -> None:
    done = CliRunner().invoke(
        app, ["fetch", "--dataset=one", "--dataset=two", "--mirror", "nowhere"]
    )
    assert done.exit_code == 2
    assert done.stderr == "reiqa: nowhere: the mirror is not a folder\n"


def test_a_duplicate_name_is_fetched_once(sets: Server) -> None:
    assert reiqa_fetch(["one", "one"]).exit_code == 0
    assert len(sets.asked) == 1


def test_two_transfers_never_count_on_the_same_room(
    sets: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(sets.files[path_of("one")])
    usage = type("Usage", (), {"free": size * 3 // 2})()
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    sets.faults = {path_of(name): ["trickle"] for name in ("one", "two")}
    done = reiqa_fetch(["one", "two"])
    assert done.exit_code == 1
    assert sum(map(whole, ("one", "two"))) == 1
    assert len(done.stderr.splitlines()) == 1 and "MB free). Free disk space" in done.stderr
    assert reiqa_fetch(["one", "two"]).exit_code == 0, "what the other took is claimed no more"


@pytest.mark.parametrize(
    ("how", "code", "lines"), [(signal.SIGINT, 130, 1), (signal.SIGKILL, -signal.SIGKILL, 0)]
)
def test_what_is_stopped_stops_at_once_and_the_same_command_goes_on(
    how: signal.Signals, code: int, lines: int, sets: Server
) -> None:
    chosen = NAMES[:3]
    for name in chosen:
        sets.faults[path_of(name)] = ["hang"]
    addresses = " ".join(sets.url + path_of(name) for name in chosen)
    command = [sys.executable, "-c", PROGRAM, addresses, "fetch"]
    command += [f"--dataset={name}" for name in chosen]
    running = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    half = len(sets.files[path_of("one")]) // 2
    until = time.monotonic() + 60
    while sum(part.stat().st_size for part in sources.DOWNLOADS.rglob("*.part")) < 3 * half:
        assert running.poll() is None and time.monotonic() < until, running.communicate()
        time.sleep(0.05)
    stopped = time.monotonic()
    running.send_signal(how)
    _, said = running.communicate(timeout=30)
    assert time.monotonic() - stopped < 10, "nothing waits for a server that is silent"
    assert running.returncode == code
    assert len(said.splitlines()) == said.count("interrupted; finished work is kept") == lines
    assert not any(map(whole, chosen))

    sets.asked.clear()
    assert subprocess.run(command, check=True).returncode == 0
    assert all(map(whole, chosen))
    assert sorted(sets.asked) == sorted((path_of(name), f"bytes={half}-") for name in chosen)


def test_each_ends_as_it_ends_in_the_order_asked_for() -> None:
    def work(number: int) -> int:
        time.sleep(0.01 * (3 - number))
        return 1 // number

    zero, one, two = run_each(work, [0, 1, 2], 3)
    assert isinstance(zero.exception(), ZeroDivisionError)
    assert (one.result(), two.result()) == (1, 0)


def test_an_interruption_waits_for_nothing_and_lets_nothing_new_begin(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun: list[int] = []
    held = threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        held.wait(30)

    def interrupted(_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("reiqa.data.concurrency.wait", interrupted)
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_each(work, range(9), 2)
    assert time.monotonic() - start < 10
    held.set()
    time.sleep(0.1)
    assert len(begun) <= 2
