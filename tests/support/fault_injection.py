"""Verbs run in processes that meet with a fault: forked, so that each costs no import.

A verb runs through `reiqa.cli.main`, as from a shell, in a child of a process that has imported
everything (a fork server). The sets are miniatures of the demo's, or a hundred kills would last
hours; nothing else differs from what a user runs.
"""

import contextlib
import io
import json
import multiprocessing
import os
import resource
import signal
import sys
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image
from support.project import tiny_parameters

from reiqa.params import tree_digest
from reiqa.store import file_digest, verify_checksum

#: Of the archive that is fetched from a mirror: a corpus of three photographs.
ARCHIVE = "parcel.zip"

# What opens a file to write: reading changes nothing that a kill could leave half done.
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.truncate", "os.utime"}


@dataclass(frozen=True)
class Fault:
    """What happens to a verb.

    Attributes:
        before_change: SIGKILL before it changes the disk for the n-th time, from 1: before it
            opens a file to write, renames, removes, makes a folder.
        at_byte: SIGKILL when any file it writes reaches this length, C libraries' too.
        no_file_over: writing beyond this length fails, as on a disk that is full.
        tally: where it writes how often it changed the disk.
    """

    before_change: int | None = None
    at_byte: int | None = None
    no_file_over: int | None = None
    tally: Path | None = None


@dataclass(frozen=True)
class Ended:
    """How a verb ended.

    Attributes:
        code: exit code; minus the signal that killed it.
        seconds: how long it ran.
        said: what it wrote to the terminal.
    """

    code: int
    seconds: float
    said: str

    @property
    def killed(self) -> bool:
        return self.code in (-signal.SIGKILL, -signal.SIGXFSZ)


class Running:
    """A verb that has been started."""

    def __init__(self, folder: Path, argv: tuple[str, ...], fault: Fault) -> None:
        context = _forks()
        # No file: the disk that is full, or the limit on files, is the verb's alone to meet.
        self._said, terminal = context.Pipe(duplex=False)
        self._began = time.monotonic()
        self._process = context.Process(target=_child, args=(folder, argv, fault, terminal))
        self._process.start()
        terminal.close()

    def end(self, kill_after: float | None = None) -> Ended:
        """Wait for its end, and bring that about by SIGKILL after so many seconds."""
        self._process.join(kill_after)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        seconds = time.monotonic() - self._began
        with open(self._said.fileno(), encoding="utf-8", closefd=False) as stream:
            said = stream.read()
        self._said.close()
        code = self._process.exitcode
        assert code is not None
        return Ended(code, seconds, said)


def run(folder: Path, *argv: str, fault: Fault | None = None, after: float | None = None) -> Ended:
    """Run a verb in a project's folder; kill it after some seconds, or let it meet a fault."""
    return Running(folder, argv, fault or Fault()).end(after)


def refused(ended: Ended) -> None:
    """The verb ended with 1 or 2 and one line that says why."""
    assert ended.code in (1, 2), ended
    assert "Traceback" not in ended.said, ended.said
    assert sum(line.startswith("reiqa: ") for line in ended.said.splitlines()) == 1, ended.said


def parameters() -> dict[str, Any]:
    """The smallest project that has every stage: one shard, two steps of pretraining."""
    tree = tiny_parameters()
    tree["chunks"].update(images_per_shard=3, scales=[0.5])
    for expert in ("content", "quality"):
        tree[expert]["backbone"] = "shufflenet_v2_x0_5"
        tree[expert]["training"].update(checkpoint_every=1)
    return tree


def project(folder: Path) -> Path:
    """Make a folder with params.yaml, and the archive that is fetched, beside it."""
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(parameters(), sort_keys=False))
    mirror = folder / "mirror"
    mirror.mkdir()
    pictures = [f"{name}.png" for name in ("one", "two", "three")]
    with zipfile.ZipFile(mirror / ARCHIVE, "w") as archive:
        for number, name in enumerate(pictures):
            archive.writestr(f"parcel/{name}", _picture(number))
    return folder


def _picture(number: int) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (180, 200, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


def contents(folder: Path) -> dict[str, str]:
    """Return the digest of every file of a project but those in work/: partial work, locks.

    Of a sidecar the command does not count: a verb may be called with --force or without.
    """
    return {
        path.relative_to(folder).as_posix(): _digest(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.relative_to(folder).parts[0] != "work"
    }


def _digest(path: Path) -> str:
    if not path.name.endswith(".prov.json"):
        return file_digest(path)
    tree = verify_checksum(json.loads(path.read_text()))
    return tree_digest({key: value for key, value in tree.items() if key != "command"})


def _forks() -> Any:
    context = multiprocessing.get_context("forkserver")
    here = str(Path(__file__).parents[1])
    os.environ["PYTHONPATH"] = os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])
    os.environ.pop("REIQA_MIRROR", None)
    context.set_forkserver_preload(["pytest", "support.preload"])
    return context


def _child(folder: Path, argv: tuple[str, ...], fault: Fault, terminal: Any) -> None:
    from support import preload

    os.chdir(folder)
    os.dup2(terminal.fileno(), 1)
    os.dup2(terminal.fileno(), 2)
    terminal.close()
    os.environ["HOME"] = str(folder)
    _meet(fault, str(folder))
    preload.main(list(argv))


def _meet(fault: Fault, folder: str) -> None:
    if fault.at_byte is not None:
        # Python asks to be told by an error instead; C libraries would not notice.
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    limit = fault.at_byte if fault.at_byte is not None else fault.no_file_over
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if fault.before_change is not None or fault.tally is not None:
        sys.addaudithook(_Watch(fault, folder))


class _Watch:
    """Counts what changes the project's folder, and kills at the number that was asked for."""

    def __init__(self, fault: Fault, folder: str) -> None:
        self._fault, self._folder, self._seen = fault, folder, 0

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            changes = isinstance(flags, int) and bool(flags & _WRITES)
        else:
            path, changes = arguments[0] if arguments else None, event in _CHANGES
        if not changes or not isinstance(path, str | bytes | os.PathLike):
            return
        place = os.path.abspath(os.fsdecode(path))  # noqa: PTH100  (pathlib would recurse)
        if not place.startswith(self._folder) or "/work/locks" in place:
            return
        if self._fault.tally is not None and place == str(self._fault.tally):
            return
        self._seen += 1
        if self._seen == self._fault.before_change:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._fault.tally is not None:
            with contextlib.suppress(OSError):
                self._fault.tally.write_text(str(self._seen))
