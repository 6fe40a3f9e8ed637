"""The lineage of results: each link from an artifact back to its inputs, told and held to."""

from pathlib import Path

import pytest

from reiqa import doctor, store
from reiqa.params import Params


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A table with a page beside it, made of one result."""
    monkeypatch.chdir(tmp_path)
    result, table, page = (Path(name) for name in ("result.json", "table.csv", "page.html"))
    for path in (result, table, page):
        store.write_text(path, path.name)
    made = store.sign_sidecar(result, "fit", "demo", {}, {})
    store.sign_sidecar(table, "report", "", {}, {result.as_posix(): made.digest}, [page])
    return table


def test_a_whole_lineage_holds(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.check_lineage(table)
    assert capsys.readouterr().out.splitlines() == ["ok  table.csv", "ok    result.json"]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ("table.csv", "BAD table.csv: checksum mismatch"),
        ("page.html", "BAD table.csv: page.html: checksum mismatch"),
        ("result.json", "BAD   result.json: checksum mismatch"),
    ],
)
def test_a_changed_file_is_reported_in_its_place(
    table: Path, capsys: pytest.CaptureFixture[str], changed: str, told: str
) -> None:
    Path(changed).write_text("other")
    assert not doctor.check_lineage(table)
    assert any(line.startswith(told) for line in capsys.readouterr().out.splitlines())


def test_an_input_changed_since_breaks_the_lineage(
    table: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store.write_text(Path("result.json"), "another result")
    store.sign_sidecar(Path("result.json"), "fit", "demo", {}, {})
    assert not doctor.check_lineage(table)
    assert "result.json: changed since it was used here" in capsys.readouterr().out


def chosen(**sections: object) -> Params:
    expert = {"source": "package", "backbone": "efficientnet_lite0"}
    tree = {"preset": "t", "datasets": ["demo"], "chunks": {"corpora": ["demo_corpus"]}}
    return Params.model_validate({**tree, "content": expert, "quality": expert, **sections})


def test_the_doctor_reports_requirements_of_late_stages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "_installed", lambda name: False)
    monkeypatch.setenv("CXX", "no-such-compiler")
    imported = {"source": "import", "file": "a.pth"}
    found = list(doctor._missing_requirements(chosen(quality=imported, compute={"compile": True})))
    assert [line.partition(":")[0] for line in found] == [
        "content.source",
        "quality.file",
        "compute.compile",
    ]
    training = {"epochs": 1, "batch_size": 1}
    started = {"source": "pretrain", "init": "package", "backbone": "efficientnet_lite0"}
    found = list(doctor._missing_requirements(chosen(quality=started | {"training": training})))
    assert [line.partition(":")[0] for line in found] == ["content.source", "quality.init"]
    from_file = chosen(quality=started | {"init": "a.pth", "training": training})
    assert "quality.init: a.pth: file not found" in "\n".join(
        doctor._missing_requirements(from_file)
    )
    Path("a.pth").write_bytes(b"weights")
    monkeypatch.setattr(doctor, "_installed", lambda name: True)
    assert list(doctor._missing_requirements(chosen(quality=imported))) == []
    shipped = imported | {"file": "bundles/lite/quality.safetensors"}
    assert list(doctor._missing_requirements(chosen(quality=shipped))) == []


def test_the_doctor_fails_if_a_requirement_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(doctor, "_imports", lambda name: True)
    monkeypatch.setattr(doctor, "_installed", lambda name: True)
    file = tmp_path / "params.yaml"
    tree = chosen(quality={"source": "import", "file": str(tmp_path / "a.pth")})
    file.write_text(tree.model_dump_json())
    assert not doctor.check_environment(file)
    assert "BAD        quality.file: " in capsys.readouterr().out
    (tmp_path / "a.pth").write_bytes(b"weights")
    assert doctor.check_environment(file)
    assert f"ok         {file}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ([], "emulated by this processor"),
        (["avx512_bf16"], "avx512_bf16; to measure what it gains"),
    ],
)
def test_the_doctor_says_whether_the_processor_has_bf16(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    found: list[str],
    says: str,
) -> None:
    monkeypatch.setattr(doctor, "_imports", lambda name: True)
    monkeypatch.setattr(doctor.devices, "bf16_instructions", lambda: found)
    doctor.check_environment(tmp_path / "params.yaml")
    assert f"bf16       {says}" in capsys.readouterr().out


def test_what_bf16_gains_is_the_ratio_of_the_times(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Each reading of the clock is one second on, and a run in bf16 takes three of them.
    clock = iter(range(1000))
    monkeypatch.setattr(doctor.time, "process_time", lambda: next(clock))
    assert doctor._times_as_fast(lambda: None, lambda: [next(clock), next(clock)]) == 1 / 3
    monkeypatch.setattr(doctor, "measure_bf16", lambda: {"resnet18": (2.19, 1.83)})
    doctor.print_bf16()
    *_, heads, row = capsys.readouterr().out.splitlines()
    assert heads.split() == ["network", "features.precision", "compute.precision"]
    assert row.split() == ["resnet18", "2.19", "1.83"]


def test_bf16_is_measured_on_this_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_BF16_NETWORKS", ("mobilenet_v3_small",))
    ((name, ratios),) = doctor.measure_bf16().items()
    assert name == "mobilenet_v3_small" and all(ratio > 0 for ratio in ratios)
