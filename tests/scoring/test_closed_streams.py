"""`reiqa score` from a shell: odd lists, odd names, closed or narrow streams."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from skimage import data

SCRIPTS = Path(sys.executable).parent


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, run) -> Path:
    """Two photographs, one named in German, and the bundle of a run as the only one used."""
    folder = tmp_path_factory.mktemp("streams")
    Image.fromarray(data.chelsea()[:60, :80]).save(folder / "a.jpg")
    shutil.copy(folder / "a.jpg", folder / "grüße.jpg")
    (folder / "bundle").symlink_to(run.bundle)
    return folder


def shell(folder: Path, line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(SCRIPTS), os.environ["PATH"]])
    return subprocess.run(
        ["bash", "-c", line.replace("score", "score --bundle bundle")],
        cwd=folder,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def rows(printed: str) -> int:
    return sum(text.rstrip().endswith(".jpg") for text in printed.splitlines())


LISTS = {
    "separated by NUL": "find . -name a.jpg -print0 | reiqa score -",
    "UTF-16": "echo a.jpg | iconv -t UTF-16 | reiqa score -",
    "byte order mark": r"printf '\xef\xbb\xbfa.jpg\n' | reiqa score -",
    "carriage returns": r"printf 'a.jpg\r\n' | reiqa score -",
    "stderr closed": "reiqa score a.jpg 2>&-",
    "stderr on a full disk": "reiqa score a.jpg 2>/dev/full",
    "ascii terminal": "PYTHONIOENCODING=ascii reiqa score a.jpg",
}


@pytest.mark.parametrize("what", LISTS)
def test_one_row_each(folder: Path, what: str) -> None:
    done = shell(folder, LISTS[what])
    assert (done.returncode, rows(done.stdout)) == (0, 1), done.stderr


def test_names_that_no_file_can_have_are_rows_with_errors(folder: Path) -> None:
    done = shell(folder, f"reiqa score a.jpg grüße.jpg {'x' * 300}.jpg", PYTHONIOENCODING="ascii")
    assert done.returncode == 1
    assert rows(done.stdout) == 2 and "cannot be opened" in done.stdout
    assert "gr\\xfc\\xdfe.jpg" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("reiqa score - <&-", "standard input is closed"),
        ("reiqa score a.jpg >&-", "standard output is closed; use --out"),
    ],
)
def test_a_required_closed_stream_is_reported_in_one_line(
    folder: Path, line: str, says: str
) -> None:
    done = shell(folder, line)
    assert done.returncode == 2
    assert says in done.stderr and len(done.stderr.splitlines()) == 1


def test_rows_lost_on_a_full_disk_are_reported(folder: Path) -> None:
    done = shell(folder, "reiqa score a.jpg >/dev/full")
    assert done.returncode == 1
    assert "No space left on device" in done.stderr and "Traceback" not in done.stderr


def test_rows_are_kept_though_all_streams_are_closed(folder: Path) -> None:
    done = shell(folder, "reiqa score a.jpg --out kept.csv <&- >&- 2>&-")
    assert done.returncode == 0
    lines = (folder / "kept.csv").read_text().splitlines()
    assert len(lines) == 2 and lines[1].startswith("a.jpg,")


def test_maps_of_files_whatever_their_names(folder: Path) -> None:
    names = [b"$\\frac{1$.jpg", b"x_$^{2$.jpg", b"caf\xe9.jpg"]
    odd = folder / "odd"
    odd.mkdir()
    for name in names:
        shutil.copy(folder / "a.jpg", os.path.join(os.fsencode(odd), name))  # noqa: PTH118
    done = shell(folder, "reiqa score odd --map maps")
    assert (done.returncode, rows(done.stdout)) == (0, 3), done.stderr
    assert len(os.listdir(folder / "maps")) == 3  # noqa: PTH208


def test_what_a_system_may_lack_is_done_without(folder: Path) -> None:
    code = (
        "import os, sys, ctypes\n"
        "del os.sched_getaffinity\n"
        "os.sysconf = lambda name: (_ for _ in ()).throw(ValueError(name))\n"
        "from reiqa import cli, doctor\n"
        "assert doctor._memory() == 'unknown'\n"
        "import reiqa.scoring.run\n"
        "sys.platform = 'darwin'\n"
        "sys.argv = ['reiqa', 'score', 'a.jpg', '--bundle', 'bundle']\n"
        "cli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert (done.returncode, rows(done.stdout)) == (0, 1), done.stderr
