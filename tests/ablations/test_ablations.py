"""A whole matrix with the smallest of everything, through the verb itself."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from reiqa import images, layout, params, store
from reiqa.ablations import Matrix, running
from reiqa.ablations import table as table_of
from reiqa.cli import project
from reiqa.errors import BadInputError, WorkFailedError
from reiqa.identity import parameters_of
from reiqa.pretrain import loop
from reiqa.probe import run

PROBED = {"type_accuracy": 0.25, "level_srcc": 0.5, "distance_srcc": 0.75}

BASE: dict[str, Any] = {
    "preset": "test",
    "datasets": ["clive"],
    "compute": {"device": "cpu"},
    "chunks": {"corpora": ["kodak"], "n_aug": 2, "patch": 32, "images_per_shard": 100},
    "content": {"source": "package", "backbone": "efficientnet_lite0"},
    "quality": {
        "source": "pretrain",
        "backbone": "mobilenet_v3_small",
        "training": {"epochs": 1, "images": 2, "optimiser": "adamw", "queue": 16, "width": 8},
    },
    "features": {"scales": [0.5]},
    "regression": {"alphas": [0.1, 10.0, 3], "splits": 2},
}

MATRIX = {
    "images": 12,
    "base": {"quality.training.negatives": "queue+chunk"},
    "vary": {
        "chunks.swap": [True, False],
        "quality.training.negatives": ["queue", "queue+chunk"],
    },
}


def photograph(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(seed).integers(0, 256, size=(10, 10, 3), dtype=np.uint8)
    Image.fromarray(coarse).resize((100, 100), Image.Resampling.BICUBIC).save(path)


def write_index(name: str, columns: str, rows: list[str], base: params.Params) -> None:
    path = layout.index(name)
    header = ["# name: " + json.dumps(name), "# listed: 20", "# missing: 0"]
    store.write_text(path, "\n".join([*header, columns, *rows]) + "\n")
    store.sign_sidecar(path, "index", name, parameters_of(base, "index", name), {})


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> params.Params:
    """A project with a corpus of four photographs and twenty rated ones, in which we stand."""
    monkeypatch.chdir(tmp_path)
    made = params.Params.model_validate(BASE)
    store.write_text(layout.PARAMS, yaml.safe_dump(BASE))
    store.write_text(Path("matrix.yaml"), yaml.safe_dump(MATRIX))
    rows = []
    for number in range(4):
        path = layout.raw("kodak") / f"{number}.png"
        photograph(path, number)
        rows.append(f"{number}.png,100,100,{store.file_digest(path)}")
    write_index("kodak", "image,width,height,digest", rows, made)
    rows = []
    for number in range(20):
        photograph(layout.raw("clive") / f"{number:02}.png", 100 + number)
        rows.append(f"{number:02}.png,{number},{number:02}.png,,,0")
    write_index("clive", "image,mos,reference,split,distortion,level", rows, made)
    return made


class Work:
    """Counts shards written, steps taken and photographs decoded; the probe is left out."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: Counter[str] = Counter()
        probed = {"quality": PROBED, "quality_random": dict.fromkeys(PROBED, 0.125)}
        monkeypatch.setattr(run, "distorted", lambda bank: None)
        monkeypatch.setattr(run, "beside_random", lambda expert, seen: probed)
        self._count(monkeypatch, loop.PretrainingRun, "learn", "step")
        self._count(monkeypatch, images, "read_rgb", "decode")

    def _count(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, what: str) -> None:
        plain = getattr(owner, name)

        def counted(*arguments: Any, **named: Any) -> Any:
            self.done[what] += 1
            return plain(*arguments, **named)

        monkeypatch.setattr(owner, name, counted)


@pytest.fixture
def work(base: params.Params, monkeypatch: pytest.MonkeyPatch) -> Work:
    return Work(monkeypatch)


def table() -> list[dict[str, str]]:
    with layout.ABLATIONS.open() as lines:
        return list(csv.DictReader(lines))


def test_a_matrix_runs_each_cell_once_and_shares_what_cells_have_in_common(base, work, capsys):
    project.ablate(matrix="matrix.yaml", write=Path("page.md"))
    rows = table()
    assert [(row["factor"], row["value"]) for row in rows] == [
        ("base", ""),
        ("chunks.swap", "false"),
        ("quality.training.negatives", '"queue"'),
    ]
    for row in rows:
        assert {name: float(row[name]) for name in PROBED} == PROBED
        assert -1 <= float(row["srcc"]) <= 1
        assert (row["images"], row["splits"], row["steps"]) == ("12", "2", "2")
    # Two steps a cell. Two kinds of chunks, each of four photographs, and twelve rated ones a cell.
    assert work.done == {"step": 6, "decode": 2 * 4 + 3 * 12}
    assert len(list(Path("work/ablations/chunks").iterdir())) == 2
    shown = capsys.readouterr().out
    assert Path("page.md").read_text() == shown.removesuffix("\n")
    assert "`chunks.swap: false`" in shown
    # The project itself is as it was.
    assert not Path("models").exists() and not Path("features").exists()

    work.done.clear()
    project.ablate(matrix="matrix.yaml")
    assert not work.done
    assert table() == rows


def test_a_cell_that_was_cut_goes_on_and_the_others_are_kept(base, work, monkeypatch):
    finish = running._judged

    def cut(dataset: str, params: params.Params) -> dict[str, Any]:
        raise KeyboardInterrupt

    project.ablate(matrix="matrix.yaml", only=["negatives"])
    monkeypatch.setattr(running, "_judged", cut)
    work.done.clear()
    with pytest.raises(KeyboardInterrupt):
        project.ablate(matrix="matrix.yaml")
    assert work.done["step"] == 2
    monkeypatch.setattr(running, "_judged", finish)
    work.done.clear()
    project.ablate(matrix="matrix.yaml")
    assert not work.done
    assert len(table()) == 3


def test_a_cell_that_diverges_does_not_stop_the_others(base, work, monkeypatch):
    learn = loop.PretrainingRun.train_step

    def failing(run: loop.PretrainingRun, *views: Any) -> Any:
        if run.settings.negatives == "queue":
            raise WorkFailedError("diverged")
        return learn(run, *views)

    store.write_text(
        Path("matrix.yaml"),
        yaml.safe_dump({**MATRIX, "vary": dict(reversed(MATRIX["vary"].items()))}),
    )
    monkeypatch.setattr(loop.PretrainingRun, "learn", failing)
    with pytest.raises(WorkFailedError, match=r"negatives.*diverged"):
        project.ablate(matrix="matrix.yaml")
    assert [row["factor"] for row in table()] == ["base", "chunks.swap"]


def test_the_list_runs_nothing_and_says_what_is_done(base, work, capsys):
    project.ablate(matrix="matrix.yaml", listing=True)
    shown = capsys.readouterr().out
    assert shown.count("to do") == 3 and "done" not in shown
    assert not work.done and not Path("work").exists()


@pytest.mark.parametrize("name", ["published", "small"])
def test_the_matrices_that_ship_differ_from_their_base_in_one_key(base, name):
    cells = Matrix.read(name, base).cells
    plain = cells[0].params.model_dump()
    for cell in cells[1:]:
        place, changed = plain, cell.params.model_dump()
        *sections, last = cell.factor.split(".")
        for section in sections:
            place, changed = place[section], changed[section]
        assert place.pop(last) != changed.pop(last)
        plain = cells[0].params.model_dump()
    assert len({cell.folder for cell in cells}) == len(cells) > 10


def test_a_key_that_is_off_and_so_not_written_down_can_be_varied(base):
    store.write_text(Path("matrix.yaml"), "vary: {quality.training.parts: [1, 2]}")
    first, second = Matrix.read("matrix.yaml", base).cells
    assert first.params.quality.training.parts == 1
    assert second.params.quality.training.parts == 2


@pytest.mark.parametrize(
    ("tree", "told"),
    [
        ({"vary": {"chunks.swop": [True]}}, r"chunks.swop: unknown key.* the cell chunks.swop"),
        ({"base": {"chunks.swop": True}, "vary": {"seed": [1]}}, r"chunks.swop: .*the cell base"),
        ({"vary": {"seed.swop": [True]}}, r"seed: .*in the cell seed.swop"),
        ({"vary": {"chunks.patch": [4]}}, r"chunks.patch: .*in the cell chunks.patch=4"),
        ({"vary": {}}, "vary"),
        ({"images": 3, "vary": {"seed": [1]}}, "images"),
        ({"vary": {"seed": [1]}, "speed": 1}, "speed: .* allowed here: images, base, vary$"),
    ],
)
def test_a_matrix_that_cannot_be_is_refused_in_one_line(base, tree, told):
    store.write_text(Path("matrix.yaml"), yaml.safe_dump(tree))
    with pytest.raises(BadInputError, match=told) as refused:
        Matrix.read("matrix.yaml", base)
    assert "\n" not in str(refused.value)


def test_a_name_that_is_none_is_answered_with_those_there_are(base):
    with pytest.raises(BadInputError, match=r"published, small"):
        Matrix.read("tiny", base)
    with pytest.raises(BadInputError, match=r"chunks\.swap"):
        Matrix.read("published", base).only(["swop"])


def test_an_expert_that_is_not_trained_cannot_be_ablated(base):
    given = base.quality.model_copy(update={"source": "package", "backbone": "efficientnet_lite0"})
    with pytest.raises(BadInputError, match=r"quality\.source is package"):
        Matrix.read("published", base.model_copy(update={"quality": given}))


def test_the_page_says_which_changes_go_beyond_chance(base):
    measures = dict.fromkeys([*table_of.PROBES, *(f"untrained_{p}" for p in table_of.PROBES)], 0.1)
    rows = [
        {
            "factor": factor,
            "value": value,
            "srcc": srcc,
            "srcc_std": 0.01,
            **measures,
            **dict.fromkeys(["steps", "pairs_per_step", "images", "splits", "seconds"], 60),
        }
        for factor, value, srcc in [
            ("base", "", 0.50),
            ("seed", "1", 0.52),
            ("chunks.swap", "false", 0.47),
            ("chunks.patch", "64", 0.54),
        ]
    ]
    page = table_of.page(Matrix.read("published", base), rows)
    assert "2 runs" in page and "lie 0.020 apart" in page and "4 minutes" in page
    assert "from all of them: `chunks.swap: false` of 2 changes" in page


def test_a_matrix_that_gives_a_key_twice_is_refused_in_one_line(base):
    store.write_text(Path("matrix.yaml"), "vary:\n  seed: [1]\nvary:\n  seed: [2]\n")
    with pytest.raises(BadInputError, match="the key 'vary' is given twice") as refusal:
        Matrix.read("matrix.yaml", base)
    assert "\n" not in str(refusal.value)
