"""The archive and the wheel, and an environment with nothing but the wheel and its dependencies.

The environment is filled from the cache of `make setup`, so that no network is needed.
"""

import csv
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
from PIL import Image
from support.project import ROOT
from uv import find_uv_bin

from reiqa import Scorer, extras

pytestmark = pytest.mark.xdist_group("install")

#: Bytes that the packages may take in site-packages, compiled, with the bundle; 235 MB now.
LARGEST = 250_000_000

#: Gives up root's right to write what is read-only (CAP_DAC_OVERRIDE), then runs the command.
UNPRIVILEGED = (
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(24, 1, 0, 0, 0);"
    " os.execv(sys.argv[1], sys.argv[1:])"
)


def uv(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [find_uv_bin(), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def must(*arguments: str | Path) -> str:
    done = uv(*arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def tracked(folder: str = ".") -> list[str]:
    command = ["git", "ls-files", "-z", folder]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return listed.rstrip("\0").split("\0")


def build(kind: str, source: Path, out: Path) -> Path:
    """Build with the setuptools of this environment; builds in isolation would download one."""
    must(
        "build", kind, source, "--out-dir", out, "--no-build-isolation", "--python", sys.executable
    )
    (made,) = (path for path in out.iterdir() if path.suffix in {".whl", ".gz"})
    return made


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The archive, the wheel that is built from it, and the wheel of the clone."""
    folder = tmp_path_factory.mktemp("build")
    for name in tracked():
        (folder / "clone" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / "clone" / name, follow_symlinks=False)
    archive = build("--sdist", folder / "clone", folder / "archive")
    return {
        "archive": archive,
        "wheel": build("--wheel", archive, folder / "wheel"),
        "wheel of the clone": build("--wheel", folder / "clone", folder / "direct"),
    }


def contents(path: Path) -> dict[str, bytes]:
    """Files of an archive or a wheel; each name is there once."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path) as wheel:
            names, found = wheel.namelist(), {name: wheel.read(name) for name in wheel.namelist()}
    else:
        with tarfile.open(path) as archive:
            members = [member for member in archive if not member.isdir()]
            assert all(member.isfile() for member in members), "a link"
            opened = ((member.name, archive.extractfile(member)) for member in members)
            found = {name.partition("/")[2]: stream.read() for name, stream in opened if stream}
            names = [member.name for member in members]
    assert max(Counter(names).values()) == 1
    return found


@pytest.mark.parametrize("kind", ["archive", "wheel"])
def test_all_of_the_package_is_in_once(built: dict[str, Path], kind: str) -> None:
    found = contents(built[kind])
    package = {name for name in tracked("reiqa") if (ROOT / name).is_file()}
    bundles = {f"reiqa/{name}" for name in tracked("bundles")}
    assert {name for name in found if name.startswith("reiqa/")} == package | bundles
    for name in ("reiqa/py.typed", "reiqa/scoring/contact_sheet.html", "reiqa/presets/demo.yaml"):
        assert found[name] == (ROOT / name).read_bytes()
    names = Counter(PurePosixPath(name).name for name in found)
    assert names["content.safetensors"] == names["content.onnx"] == 1
    assert not {name for name in found if name.startswith(("tests/", "bundles/"))}


def test_the_archive_gives_the_same_wheel_as_the_clone(built: dict[str, Path]) -> None:
    assert contents(built["wheel"]) == contents(built["wheel of the clone"])


@pytest.fixture(scope="module")
def installed(built: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """An environment with the wheel and its dependencies, with read-only folders."""
    place = tmp_path_factory.mktemp("environment") / "venv"
    must("venv", "--python", sys.executable, place)
    pins = ("--constraints", ROOT / "requirements.lock")
    where = ("--python", place / "bin/python", "--compile-bytecode")
    command = ("pip", "install", *where, *pins, built["wheel"])
    done = uv(*command, "--offline")
    if done.returncode != 0:
        done = uv(*command)
    unreachable = re.search("Failed to fetch|error sending request|dns error", done.stderr)
    if done.returncode != 0 and unreachable:
        pytest.skip(f"neither cached nor to be downloaded: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    folders = [path for path in (place, *place.rglob("*")) if path.is_dir()]
    for folder in folders:
        folder.chmod(stat.S_IRUSR | stat.S_IXUSR)
    yield place
    for folder in folders:
        folder.chmod(stat.S_IRWXU)


def site_packages(installed: Path) -> Path:
    (found,) = installed.glob("lib/python*/site-packages")
    return found


def state(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of each file."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in files}


def run(
    installed: Path, *command: str | Path, program: str = "reiqa"
) -> subprocess.CompletedProcess[str]:
    """Run a program of the environment from the root folder, without HOME and any variable."""
    launch = [sys.executable, "-c", UNPRIVILEGED, str(installed / "bin" / program)]
    return subprocess.run(
        [*launch, *map(str, command)],
        cwd="/",
        env={},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_environment_is_small(installed: Path) -> None:
    listed = json.loads(must("pip", "list", "--format", "json", "--python", installed))
    names = {entry["name"] for entry in listed}
    assert {"reiqa", "numpy", "onnxruntime"} <= names and len(names) <= 25
    absent = "import importlib.util as u, sys; print(*filter(u.find_spec, sys.argv[1:]))"
    found = run(installed, "-c", absent, *extras.PIPELINE, program="python")
    # The command line itself uses rich.
    assert found.stdout.split() == ["rich"], found.stderr
    sizes = [size for size, _ in state(site_packages(installed)).values()]
    assert sum(sizes) < LARGEST


def test_it_scores_from_any_folder_without_a_home(installed: Path, tmp_path: Path) -> None:
    photograph, out, page = (tmp_path / name for name in ("photo.png", "a.csv", "a.html"))
    Image.effect_noise((160, 120), 60).convert("RGB").save(photograph)
    before = state(installed)
    probe = f"open({str(site_packages(installed) / 'x')!r}, 'w')"
    refused = run(installed, "-c", probe, program="python")
    # Where root cannot give up its rights, the state below still tells what was written.
    assert "PermissionError" in refused.stderr or os.geteuid() == 0
    (site_packages(installed) / "x").unlink(missing_ok=True)

    maps = tmp_path / "maps"
    done = run(installed, "score", photograph, "--out", out, "--html", page, "--map", maps)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    (row,) = csv.DictReader(out.open(newline=""))
    assert float(row["score"]) == pytest.approx(float(Scorer.load()(photograph)), abs=1e-3)
    assert page.stat().st_size > 20_000 and (maps / "photo.png.map.png").exists()

    code = f"from reiqa import Scorer; print(Scorer.load()({str(photograph)!r}))"
    done = run(installed, "-c", code, program="python")
    assert float(done.stdout) == pytest.approx(float(row["score"]), abs=1e-3), done.stderr
    assert state(installed) == before


def test_its_doctor_is_satisfied(installed: Path) -> None:
    done = run(installed, "doctor")
    assert done.returncode == 0, done.stdout
    assert "BAD" not in done.stdout and "not installed (optional" in done.stdout
    assert run(installed, "bundles", "--no-speed").stdout.count("lite (default)") == 1


def test_it_says_how_to_install_the_pipeline(installed: Path) -> None:
    done = run(installed, "pretrain", "--expert", "quality")
    assert done.returncode == 2
    assert done.stderr == f"reiqa: pretrain: package torch not installed; run: {extras.COMMAND}\n"
