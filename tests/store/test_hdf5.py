"""An HDF5 file of unknown origin is read by another process first; its own are held to digests."""

import subprocess
import sys

import h5py
import numpy as np
import pytest

from reiqa import store
from reiqa.errors import BadInputError
from reiqa.store import hdf5


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as opened:
        opened["group/numbers"] = np.arange(10)
        opened.attrs["told"] = "text"
    return path


@pytest.fixture
def reader(tmp_path, monkeypatch):
    """Puts another program in the place of the one that tries a file."""

    def put(program: str) -> None:
        script = tmp_path / "reader.py"
        script.write_text(program)
        monkeypatch.setattr(hdf5, "_READER", script)

    return put


def test_a_sound_file_of_unknown_origin_may_be_opened(file):
    assert hdf5.find_fault(file) == ""


def test_a_process_of_limited_memory_may_open_it_too(file):
    program = (
        "import resource, pathlib; from reiqa.store import hdf5;"
        " resource.setrlimit(resource.RLIMIT_AS, (2**33, 2**33));"
        f" print(repr(hdf5.find_fault(pathlib.Path({str(file)!r}))))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "''\n", done.stderr


def test_a_file_that_is_no_hdf5_is_refused_with_the_librarys_words(tmp_path):
    path = tmp_path / "x.h5"
    path.write_bytes(b"none" * 100)
    assert "file signature not found" in hdf5.find_fault(path)


def test_damage_anywhere_in_the_data_is_found_not_only_at_the_head(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as opened:
        data = np.arange(1000, dtype=np.int64)
        opened.create_dataset("deep/numbers", data=data, chunks=(100,), fletcher32=True)
    spoilt = bytearray(path.read_bytes())
    spoilt[spoilt.index(data[900:950].tobytes())] ^= 1
    path.write_bytes(spoilt)
    assert "OSError" in hdf5.find_fault(path)


def test_a_file_on_which_the_library_crashes_costs_this_process_nothing(file, reader):
    reader("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)")
    assert hdf5.find_fault(file) == "the HDF5 library crashes on it (signal 11)"


def test_a_file_without_end_is_given_up(file, reader, monkeypatch):
    monkeypatch.setattr(hdf5, "_BASE_TIMEOUT", 0.2)
    reader("import time; time.sleep(60)")
    assert hdf5.find_fault(file) == "read timed out"


def test_a_file_that_claims_more_than_memory_holds_is_refused(tmp_path):
    path = tmp_path / "x.h5"
    with h5py.File(path, "w") as opened:
        opened.create_dataset("vast", shape=(2**40,), dtype="f8", chunks=(1024,))
    assert "memory" in hdf5.find_fault(path).lower()


def test_a_file_with_provenance_is_held_to_its_digest_and_not_tried(file, reader):
    reader("raise SystemExit(1)")
    store.sign_sidecar(file, "features", "demo/content", {}, {})
    assert hdf5.find_fault(file) == ""
    spoilt = bytearray(file.read_bytes())
    spoilt[-1] ^= 1
    file.write_bytes(spoilt)
    with pytest.raises(BadInputError, match=r"x\.h5: corrupted \(checksum mismatch"):
        hdf5.find_fault(file)
