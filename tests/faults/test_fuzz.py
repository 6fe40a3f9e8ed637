"""The fuzzing of readers in its short form, and that it would notice a fault."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from faults import fuzz
from faults.fuzz import Reader

from reiqa.errors import BadInputError

pytestmark = [pytest.mark.xdist_group("faults")]


def test_every_reader_takes_spoilt_files_or_refuses_them_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, fuzz.__file__, "--share", "0.001", "--keep", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].endswith(" inputs, 0 faults")


def _raises(error: Exception):
    def read(path: Path) -> None:
        raise error

    return read


def _dies(path: Path) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("read", "said"),
    [
        (_raises(KeyError("score")), "KeyError: 'score' at test_fuzz.py:"),
        (_raises(BadInputError("one line\nand another")), "several lines: "),
        (_dies, "the process died by signal 9"),
    ],
    ids=["another error", "an error of two lines", "a crash"],
)
def test_a_reader_that_fails_is_told_and_its_input_kept(tmp_path: Path, read, said) -> None:
    reader = Reader("a reader", 2, ".txt", (b"valid",), read)
    count = fuzz.fuzz(reader, 2, tmp_path / "kept")
    assert count.tried == 2 and count.taken == count.refused == 0
    assert len(count.faults) == 2 and all(fault.startswith(said) for fault in count.faults)
    assert list((tmp_path / "kept").iterdir())


def test_the_same_seed_gives_the_same_inputs(tmp_path: Path) -> None:
    import random

    files = [fuzz.mutated(b"a valid file", b"another", random.Random("1")) for _ in range(2)]
    assert files[0] == files[1] != b"a valid file"
