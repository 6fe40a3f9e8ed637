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
