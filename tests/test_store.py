"""What is on disk is whole or absent, and made again exactly when it would come out otherwise."""

import errno
import json
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

import reiqa
from reiqa import store
from reiqa.errors import BadInputError
from reiqa.params import Params
from reiqa.stages import STAGES, lookup, stage_parameters

TREE = {
    "preset": "p",
    "datasets": ["demo"],
    "chunks": {"corpora": ["kodak"]},
    "content": {"source": "package", "backbone": "efficientnet_lite0"},
    "quality": {"source": "package", "backbone": "efficientnet_lite0"},
}
PARAMS = Params.model_validate(TREE)
INDEX, CACHE, RESULT = Path("index.csv"), Path("cache.h5"), Path("result.json")
CHAIN = ((INDEX, "index"), (CACHE, "features"), (RESULT, "fit"))

pytestmark = pytest.mark.usefixtures("project")


def changed(section: str, **values) -> Params:
    part = {**PARAMS.model_dump()[section], **values}
    return Params.model_validate({**PARAMS.model_dump(), section: part})


def run_chain(params: Params = PARAMS) -> list[str]:
    """Make index, cache and result in turn; return the stages that had work to do."""
    done: list[str] = []
    before: list[Path] = []
    for path, stage in CHAIN:
        text = json.dumps(
            [stage, stage_parameters(params, stage, "demo"), [p.read_text() for p in before]]
        )

        def work(path=path, stage=stage, text=text) -> None:
            done.append(stage)
            store.write_text(path, text)

        store.make_artifact(path, stage, "demo", lookup(params), before, work)
        before = [path]
    return done


# Atomic writes


@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=50))
def test_what_is_written_is_read_back(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("t") / "deep" / "file.txt"
    store.write_text(path, text)
    assert path.read_bytes() == text.encode()


def test_an_error_while_writing_leaves_the_old_file_and_no_other():
    path = Path("a.txt")
    store.write_text(path, "old")
    with pytest.raises(ZeroDivisionError), store.atomic(path) as temporary:
        temporary.write_text("ne")
        raise ZeroDivisionError
    assert path.read_text() == "old" and [p.name for p in Path().iterdir()] == ["a.txt"]


def test_a_written_file_has_the_permissions_of_any_other():
    Path("plain").write_text("x")
    store.write_text(Path("ours"), "x")
    with store.atomic(Path("tensors")) as temporary:
        save_file({"x": np.zeros(1)}, temporary)
    for written in ("ours", "tensors"):
        assert Path(written).stat().st_mode == Path("plain").stat().st_mode


def test_a_process_killed_while_writing_leaves_the_old_file_or_the_new_one():
    path = Path("data.txt")
    code = (
        "from pathlib import Path; from reiqa import store\n"
        "for i in range(10**9): store.write_text(Path('data.txt'), 'ab'[i % 2] * 3_000_000)"
    )
    for turn in range(6):
        child = subprocess.Popen([sys.executable, "-c", code])
        first = time.monotonic()
        while not path.exists() and time.monotonic() - first < 20:
            time.sleep(0.01)
        time.sleep(0.5 * (turn > 0) + 0.013 * turn)
        child.send_signal(signal.SIGKILL)
        child.wait()
        text = path.read_text()
        assert len(text) == 3_000_000 and len(set(text)) == 1


def test_making_an_artifact_sweeps_what_a_killed_process_left_of_it_and_nothing_else():
    killed = "import os\nfrom pathlib import Path; from reiqa import store\n" + "".join(
        f"open_{i} = store.atomic(Path('{name}')); open_{i}.__enter__()\n"
        for i, name in enumerate(["demo.json", "demo.splits.csv", "demo_mixed.json", "a/[1].csv"])
    )
    subprocess.run([sys.executable, "-c", killed + "os.kill(os.getpid(), 9)"], check=False)
    Path(".demo.mine").write_text("a person's own file")
    assert len(list(Path().rglob(".*"))) == 5
    work = lambda: store.write_text(Path("demo.json"), "{}")  # noqa: E731
    beside = [Path("a/[1].csv")]
    store.make_artifact(
        Path("demo.json"), "index", "demo", lookup(PARAMS), [], work, companions=beside
    )
    found = [
        path for path in Path().rglob("*") if path.is_file() and store.WORK not in path.parents
    ]
    left = {path.name.split(".part-")[0] for path in found}
    assert left == {"demo.json", "demo.json.prov.json", ".demo.mine", ".demo_mixed.json"}


def test_a_path_at_which_no_file_can_be_is_refused_by_name_and_nothing_is_left():
    Path("folder").mkdir()
    Path("file").write_text("x")
    for name, reason in (("folder", "is a folder"), ("file/a/b.txt", "file is a file, not a")):
        with pytest.raises(BadInputError, match=rf"^{name}: .*{reason}"):
            store.write_text(Path(name), "new")
    with pytest.raises(BadInputError, match=r"^/dev/full: is a device"):
        store.check_target(Path("/dev/full"))
    with pytest.raises(BadInputError, match=r"^a\.jpg: .* use a\.png$"):
        store.check_target(Path("a.jpg"), ".png")
    store.check_target(Path("not/yet/a.PNG"), ".png")
    assert sorted(path.name for path in Path().rglob("*")) == ["file", "folder"]


def test_a_device_and_a_file_system_without_files_are_refused_by_name():
    """Root passes every check of permissions; the error names the path, not a temporary one."""
    with pytest.raises(BadInputError, match=r"^/dev/null: is a device or a pipe"):
        store.write_text(Path("/dev/null"), "new")
    for name in ("/proc/x.onnx", "/proc/folder/x.onnx", "a" * 250):
        with pytest.raises(BadInputError, match=rf"^{name}: cannot be written \("):
            store.write_text(Path(name), "new")
    assert not list(Path().iterdir())


def test_a_link_is_replaced_and_what_it_links_to_stays_unless_it_is_asked_for():
    Path("cache").write_text("old")
    for name in ("artifact", "named"):
        Path(name).symlink_to("cache")
    store.write_text(Path("artifact"), "new")
    assert Path("cache").read_text() == "old" and not Path("artifact").is_symlink()
    store.write_text(store.link_target(Path("named")), "new")
    assert Path("cache").read_text() == "new" and Path("named").is_symlink()
    assert store.link_target(Path("cache")) == Path("cache")
    Path("round").symlink_to("round")
    with pytest.raises(BadInputError, match="round: is a circular link"):
        store.link_target(Path("round"))


def test_a_folder_that_may_not_be_written_to_is_refused(monkeypatch):
    Path("kept").mkdir()
    # Root, as whom tests may run, may write anywhere.
    monkeypatch.setattr("os.access", lambda path, mode: path.name != "kept")
    with pytest.raises(BadInputError, match="kept is not writable"):
        store.write_text(Path("kept/a.txt"), "new")


def test_json_refuses_what_json_cannot_say():
    with pytest.raises(ValueError, match="JSON compliant"):
        store.write_json(Path("x.json"), {"srcc": float("nan")})
    assert not Path("x.json").exists()


@pytest.mark.parametrize("content", [None, b"{", b"\xff\xfe"])
def test_a_damaged_json_file_is_one_line_that_names_it(content):
    if content is not None:
        Path("x.json").write_bytes(content)
    with pytest.raises(BadInputError) as fault:
        store.read_json(Path("x.json"))
    assert "x.json" in str(fault.value) and "\n" not in str(fault.value)


# Locks


def test_of_two_processes_that_make_one_artifact_the_second_finds_it_done():
    code = f"""
import json, sys, time
from pathlib import Path
from reiqa import store
from reiqa.stages import lookup
from reiqa.params import Params
def work():
    time.sleep(1)
    with open("log", "a") as log: log.write("made\\n")
    store.write_text(Path("x"), "x")
store.make_artifact(Path("x"), "index", "demo", lookup(Params.model_validate({TREE!r})), [], work)
"""
    pair = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [child.wait(60) for child in pair] == [0, 0]
    assert Path("log").read_text() == "made\n"


def test_a_lock_goes_with_the_process_that_held_it():
    code = (
        "import time\nfrom pathlib import Path; from reiqa import store\n"
        "with store.locked(Path('x')): print('held', flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None and child.stdout.readline() == "held\n"
    entered = threading.Event()

    def enter() -> None:
        with store.locked(Path("x")):
            entered.set()

    waiting = threading.Thread(target=enter)
    waiting.start()
    assert not entered.wait(0.5)
    child.kill()
    child.wait()
    assert entered.wait(10)
    waiting.join()


# Freshness


def test_a_second_run_has_nothing_to_do():
    assert run_chain() == ["index", "features", "fit"]
    assert run_chain() == []


def test_a_changed_parameter_runs_its_stage_and_those_after_it_and_no_other():
    run_chain()
    assert run_chain(changed("regression", splits=3)) == ["fit"]
    assert run_chain(changed("features", max_pixels=70_000)) == ["features", "fit"]
    assert run_chain(changed("bank", extras=["motion_blur"])) == ["features", "fit"]
    assert run_chain(changed("bank", extras=["motion_blur"])) == []


def test_an_input_made_again_with_the_same_bytes_runs_nothing():
    run_chain()
    store.make_artifact(INDEX, "index", "demo", lookup(PARAMS), [], lambda: None, force=True)
    assert run_chain() == []


def test_an_input_with_other_bytes_runs_what_follows():
    run_chain()
    other = lambda: store.write_text(INDEX, "more rows")  # noqa: E731
    store.make_artifact(INDEX, "index", "demo", lookup(PARAMS), [], other, force=True)
    assert run_chain() == ["features", "fit"]


def test_an_absent_input_does_not_count_against_an_artifact():
    run_chain()
    INDEX.unlink()
    store.sidecar(INDEX).unlink()
    assert store.Freshness(lookup(PARAMS)).is_fresh(RESULT)


def test_an_artifact_of_another_format_is_stale(monkeypatch):
    run_chain()
    newer = replace(STAGES["features"], format=STAGES["features"].format + 1)
    monkeypatch.setitem(STAGES, "features", newer)
    fresh = store.Freshness(lookup(PARAMS)).is_fresh
    assert [fresh(path) for path, _ in CHAIN] == [True, False, False]
    # It came out the same, so what follows it stands.
    assert run_chain() == ["features"]


@pytest.mark.parametrize(
    "sidecar",
    ["", "{", "[]", "{}", '"x"', "null"]
    + [
        json.dumps(
            {
                "stage": "fit", "item": "", "format": 1, "parameters": {}, "inputs": {},
                "digest": "", "command": "", "revision": "", **spoilt,
            }
        )
        for spoilt in ({"inputs": None}, {"parameters": []}, {"stage": "no such stage"})
    ],
)  # fmt: skip
def test_a_sidecar_that_says_nothing_sensible_means_stale(sidecar):
    run_chain()
    store.sidecar(RESULT).write_text(sidecar)
    assert not store.Freshness(lookup(PARAMS)).is_fresh(RESULT)
    assert run_chain() == ["fit"]


def test_an_artifact_is_stale_from_the_start_of_its_work_to_the_end():
    run_chain()

    def fails() -> None:
        assert not store.Freshness(lookup(PARAMS)).is_fresh(RESULT)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.make_artifact(RESULT, "fit", "demo", lookup(PARAMS), [CACHE], fails, force=True)
    assert run_chain() == [], "work that failed before it wrote has cost nothing"


def test_an_artifact_replaced_by_work_that_then_failed_is_stale():
    run_chain()

    def fails() -> None:
        store.write_text(RESULT, "half a thought")
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.make_artifact(RESULT, "fit", "demo", lookup(PARAMS), [CACHE], fails, force=True)
    assert run_chain() == ["fit"]


def test_an_artifact_without_its_companions_is_stale():
    run_chain()
    beside = RESULT.with_suffix(".csv")

    def work() -> None:
        store.write_text(RESULT, "r")
        store.write_text(beside, "b")

    make = partial(
        store.make_artifact,
        RESULT,
        "fit",
        "demo",
        lookup(PARAMS),
        [CACHE],
        work,
        companions=[beside],
    )
    assert make(force=True) and not make()
    beside.unlink()
    assert make()


def _flip(path: Path) -> None:
    """Change a byte and not the size, which is all that freshness looks at."""
    spoilt = bytearray(path.read_bytes())
    spoilt[len(spoilt) // 2] ^= 1
    path.write_bytes(spoilt)


def test_a_damaged_input_is_one_line_before_any_work():
    run_chain()
    _flip(CACHE)
    with pytest.raises(BadInputError, match=r"^cache\.h5: corrupted .* Delete it and run: "):
        store.make_artifact(RESULT, "fit", "demo", lookup(PARAMS), [CACHE], pytest.fail, force=True)
    assert store.Freshness(lookup(PARAMS)).is_fresh(RESULT), (
        "what was made of it before still stands"
    )


def test_a_corrupted_artifact_is_made_again_with_the_same_bytes(capsys):
    run_chain()
    before = CACHE.read_bytes(), store.sidecar(CACHE).read_bytes()
    _flip(CACHE)
    assert run_chain() == ["features"]
    assert "cache.h5: corrupted" in capsys.readouterr().err
    assert (CACHE.read_bytes(), store.sidecar(CACHE).read_bytes()) == before


def test_companions_are_verified_by_digest():
    run_chain()
    beside = RESULT.with_suffix(".csv")

    def work() -> None:
        store.write_text(RESULT, "r")
        store.write_text(beside, "predictions")

    make = partial(
        store.make_artifact,
        RESULT,
        "fit",
        "demo",
        lookup(PARAMS),
        [CACHE],
        work,
        companions=[beside],
    )
    assert make(force=True) and not make()
    _flip(beside)
    with pytest.raises(BadInputError, match=r"^result\.csv: corrupted"):
        store.verified_digest(RESULT)
    assert make() and not make()


def test_a_sidecar_of_which_a_letter_changed_is_none():
    run_chain()
    text = store.sidecar(RESULT).read_text()
    store.sidecar(RESULT).write_text(text.replace('"revision": "', '"revision": "x'))
    assert store.read_provenance(RESULT) is None
    assert run_chain() == ["fit"]


def test_a_library_that_fails_on_a_full_disk_is_an_error_of_the_system(monkeypatch):
    monkeypatch.setattr(store.files, "_write_error", lambda path: errno.ENOSPC)
    with (
        pytest.raises(OSError, match="No space left on device: 'x'"),
        store.atomic(Path("x")),
    ):
        raise RuntimeError("unexpected pos 128 vs 0")
    assert list(Path().iterdir()) == []


def test_a_sidecar_without_companion_digests_is_still_valid():
    run_chain()
    told = json.loads(store.sidecar(RESULT).read_text())
    del told["companion_digests"], told["checksum"]
    store.write_json(store.sidecar(RESULT), told)
    assert run_chain() == []


def test_a_sidecar_that_names_its_own_artifact_as_input_is_stale():
    run_chain()
    told = json.loads(store.sidecar(RESULT).read_text())
    told["inputs"][str(RESULT)] = told["digest"]
    del told["checksum"]
    store.write_json(store.sidecar(RESULT), told)
    assert not store.Freshness(lookup(PARAMS)).is_fresh(RESULT)


def test_a_large_file_is_read_once_while_nobody_writes_to_it(monkeypatch):
    run_chain()
    monkeypatch.setattr(store.files, "_CACHED_SIZE", 0)
    read: list[Path] = []
    real = store.file_digest
    monkeypatch.setattr(store.files, "file_digest", lambda path: read.append(path) or real(path))
    assert store.verified_digest(CACHE) == store.verified_digest(CACHE)
    assert len(read) == 1
    time.sleep(0.02)  # a file's times are told apart by ticks of the system's clock
    _flip(CACHE)
    with pytest.raises(BadInputError, match="corrupted"):
        store.verified_digest(CACHE)


def test_an_input_that_changes_during_the_work_leaves_the_artifact_stale():
    run_chain()

    def work() -> None:
        other = lambda: store.write_text(CACHE, "other weights")  # noqa: E731
        store.make_artifact(CACHE, "features", "demo", lookup(PARAMS), [INDEX], other, force=True)

    store.make_artifact(RESULT, "fit", "demo", lookup(PARAMS), [CACHE], work, force=True)
    assert run_chain() == ["fit"]


def test_a_stale_input_is_taken_but_said(capsys):
    run_chain()
    newer = changed("features", max_pixels=70_000)
    store.make_artifact(RESULT, "fit", "demo", lookup(newer), [CACHE], lambda: None, force=True)
    assert "cache.h5: used although it is stale" in capsys.readouterr().err
    assert not store.Freshness(lookup(newer)).is_fresh(RESULT)


@pytest.mark.parametrize("lost", ["file", "sidecar"])
def test_a_lost_input_is_one_line_before_any_work(lost):
    run_chain()
    (CACHE if lost == "file" else store.sidecar(CACHE)).unlink()
    with pytest.raises(BadInputError, match=r"cache\.h5: (not found|provenance sidecar missing)"):
        store.make_artifact(RESULT, "fit", "demo", lookup(PARAMS), [CACHE], pytest.fail, force=True)


@given(splits=st.integers(1, 50), low=st.floats(1e-6, 1), model=st.sampled_from(["ridge"]))
def test_parameters_survive_the_way_through_a_sidecar(tmp_path_factory, splits, low, model):
    path = tmp_path_factory.mktemp("t") / "x"
    path.write_text("x")
    params = changed("regression", splits=splits, alphas=(low, 1e6, 3), model=model)
    store.sign_sidecar(path, "fit", "demo", stage_parameters(params, "fit", "demo"), {})
    assert store.Freshness(lookup(params)).is_fresh(path)


# Stamps


def test_a_stamp_is_old_while_fresh_and_new_once_stale(tmp_path):
    path = Path("results/x.json")
    stamp = store.write_stamp(tmp_path, path, fresh=True)
    assert stamp.is_relative_to(tmp_path) and stamp.stat().st_mtime == 1
    assert store.write_stamp(tmp_path, path, fresh=False) == stamp
    assert abs(stamp.stat().st_mtime - time.time()) < 5
    store.write_stamp(tmp_path, path, fresh=True)
    assert stamp.stat().st_mtime == 1


def test_engines_at_once_have_a_stamp_each(tmp_path):
    path = Path("results/x.json")
    one = store.write_stamp(tmp_path / "one", path, fresh=True)
    other = store.write_stamp(tmp_path / "other", path, fresh=False)
    assert one.stat().st_mtime == 1 < other.stat().st_mtime


# Revision


def test_an_installed_package_does_not_take_its_users_repository_for_its_own(monkeypatch):
    place = Path("venv/site-packages/reiqa/__init__.py")
    place.parent.mkdir(parents=True)
    subprocess.run(["git", "init", "-q"], check=True)
    monkeypatch.setattr(reiqa, "__file__", str(place.absolute()))
    assert store.revision.__wrapped__().startswith("version ")
