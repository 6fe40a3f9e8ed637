"""``benchmarks/run`` runs every benchmark."""

import csv
import io
import json
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType, SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from reiqa import encoders, layout
from reiqa.distortions import LEVELS
from reiqa.errors import BadInputError
from reiqa.probe import linear
from reiqa.probe import run as probe
from reiqa.report import figures

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
#: Scripts that compare with nothing: helpers, limits of time and memory, and studies of experts.
NO_BENCHMARK = {
    *("plain", "ratios", "usage", "pretended", "course", "control"),
    *("engines", "index", "memory", "severity", "ranking", "feed", "gpu"),
    *("stages", "authentic", "chart_files", "demo_photographs", "demo_proxy"),
}


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch):
    """Loads a script of the folder, from where its neighbours are found."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def _load(name: str) -> ModuleType:
        loader = SourceFileLoader(f"benchmarks_{Path(name).stem}", str(BENCHMARKS / name))
        spec = spec_from_loader(loader.name, loader)
        module = module_from_spec(spec)
        monkeypatch.setitem(sys.modules, loader.name, module)
        loader.exec_module(module)
        return module

    return _load


def test_every_benchmark_is_run(load) -> None:
    scripts = {path.stem for path in BENCHMARKS.glob("*.py")} - NO_BENCHMARK
    assert set(load("run").JOBS) == scripts


def test_every_benchmark_hands_over_its_ratios() -> None:
    for path in BENCHMARKS.glob("*.py"):
        if path.stem not in NO_BENCHMARK:
            text = path.read_text()
            assert "add_option(" in text and "put(" in text, path.name


def test_a_ratio_round_trips_and_is_shown_in_a_row(load, tmp_path: Path) -> None:
    run = load("run")
    ratios = sys.modules["ratios"]
    file = tmp_path / "ratios.json"
    one = ratios.Ratio("ours", 2.0, "theirs", "at least 3", False)
    ratios.put(type("Given", (), {"ratios": file}), [one])
    assert ratios.read(file) == [one]
    shown = "| `bank --chunks 3` | ours | **2.00** | theirs | at least 3 | **no** |"
    assert run.row("bank", "--chunks 3", one) == shown


def test_ranking_is_of_levels_within_a_photograph(load) -> None:
    ranking = load("ranking.py")
    falling, swapped = np.arange(6.0)[::-1], np.array([5.0, 4, 3, 1, 2, 0])
    series = {
        ("one", "blur"): falling,
        ("two", "blur"): falling + 50,
        ("one", "noise"): swapped,
        ("two", "noise"): swapped,
        ("three", "noise"): np.zeros(6),
    }
    found = ranking.summarise(series)
    assert found["types"]["blur"] == {"median_srcc": 1.0, "in_order": 1.0}
    assert found["lowest"]["type"] == "noise"
    assert found["lowest"]["median_srcc"] == pytest.approx(1 - 12 / 210)
    assert found["lowest"]["in_order"] == pytest.approx(8 / 15)
    assert (found["photographs"], found["in_order"]) == (3, pytest.approx(18 / 25))


# ---- stages.py: what each stage encodes ---------------------------------------------------------


def test_crops_are_at_their_stated_rows(load) -> None:
    stages = load("stages.py")
    # The value of a pixel is its row.
    high = torch.arange(200, dtype=torch.uint8).view(1, -1, 1).expand(3, -1, 150)
    crops, rows = stages.cut_crops([high, torch.zeros(3, 90, 150, dtype=torch.uint8), high], 96)
    assert crops.shape == (2, 4, 3, 96, 96)  # the second is too low
    assert rows == pytest.approx(crops[:, :, 0, 0, 0].numpy() / (200 - 96))
    assert len(np.unique(rows)) > 4


def test_rows_are_found_from_features_that_hold_them(load) -> None:
    stages = load("stages.py")
    draw = np.random.default_rng(0)
    rows = draw.random((40, 4))
    noise = draw.normal(size=(40, 4, 3))
    assert stages.row_srcc(np.concatenate([noise, rows[..., None]], axis=2), rows) > 0.95
    assert abs(stages.row_srcc(noise, rows)) < 0.4
    assert stages.row_srcc(np.ones_like(noise), rows) == 0.0


def test_the_output_has_the_metrics_of_the_probe(load) -> None:
    stages = load("stages.py")
    draw = np.random.default_rng(1)

    def pixels(*shape: int) -> torch.Tensor:
        return torch.from_numpy(draw.integers(0, 256, (*shape, 3, 64, 64), dtype=np.uint8))

    windows = linear.ProbeWindows(
        pixels(4, 1 + 2 * LEVELS), np.arange(4), ("gaussian_blur", "white_noise")
    )
    images = stages.ProbeImages(windows, pixels(5, 2), pixels(6, 4), draw.random((6, 4)))
    encoder = encoders.build_encoder("efficientnet_lite0", "quality", seed=1).eval()
    found = stages.probe_stages(encoder, images)
    assert list(found) == [*(f"blocks.{number}" for number in range(7)), "output"]
    expected = probe.compare_with_random(encoder, windows, images.pairs)["quality"]
    assert {name: found["output"][name] for name in expected} == pytest.approx(expected, abs=2e-4)
    assert all(list(values) == list(stages.METRICS) for values in found.values())


def two_encoders(stages: ModuleType) -> dict[str, dict[str, dict[str, float]]]:
    """Metrics of two encoders with different stages."""
    few = {name: dict.fromkeys(stages.METRICS, 0.25) for name in ("layer1", "layer2")}
    many = {
        f"blocks.{number}": dict.fromkeys(stages.METRICS, number / 10) for number in range(1, 5)
    }
    return {"content": few, "quality": many}


def test_tables_of_stages_leave_a_dash_where_an_encoder_has_no_such_stage(load) -> None:
    stages = load("stages.py")
    lines = stages.to_markdown(two_encoders(stages), "retrieval").splitlines()
    assert lines[0] == "| stage | content | quality |"
    assert "| layer2 | 0.250 | – |" in lines and "| blocks.4 | – | 0.400 |" in lines
    rows = list(csv.DictReader(io.StringIO(stages.to_csv(two_encoders(stages)))))
    assert len(rows) == 6
    assert rows[-1] == {"encoder": "quality", "stage": "blocks.4"} | dict.fromkeys(
        stages.METRICS, "0.4000"
    )


def test_figures_are_files_of_their_own_with_both_themes(load, tmp_path: Path) -> None:
    stages = load("stages.py")
    curve = {name: np.linspace(1, 2, 9) for name in ("step", "loss", "top1", "learning_rate")}
    drawn = {"stages": stages.draw(two_encoders(stages)), "curve": stages.draw_curve(curve)}
    for name, svg in drawn.items():
        stages.write_chart(tmp_path / f"{name}.svg", svg)
        text = (tmp_path / f"{name}.svg").read_text(encoding="utf-8")
        root = ElementTree.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert float(root.get("width", "").removesuffix("pt")) > 200
        style = root.find("{http://www.w3.org/2000/svg}style")
        assert style is not None and "prefers-color-scheme: dark" in style.text
        used = {each.split(")")[0] for each in text.split("var(")[1:]}
        light, dark = style.text.split("@media")
        assert used and all(f"{name}:" in light and f"{name}:" in dark for name in used)
        assert "#010101" not in text  # a placeholder of the style
    assert "loss ends at 2; top1 ends at 2" in drawn["curve"]
    assert (
        drawn["curve"]
        == figures.curves(
            "curve", "Training", curve["step"], {k: curve[k] for k in ("loss", "top1")}, "quality"
        ).svg
    )


@pytest.mark.parametrize("script", ["stages.py", "authentic.py"])
def test_a_project_without_models_is_refused_in_one_line(
    load, script: str, tmp_path: Path, capsys
) -> None:
    with pytest.raises(SystemExit) as ended:
        load(script).main([str(tmp_path)])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(str(tmp_path)) and said.count("\n") == 1


# ---- authentic.py: annotated distortions ---------------------------------------------------------


def annotation(*entries: tuple[str, str]) -> str:
    return json.dumps(
        [{"magnitude": size, "factor": name, "position": "center"} for name, size in entries]
    )


def test_annotations_are_normalised(load) -> None:
    parse = load("authentic.py").parse_annotation
    assert parse("[]") == {}
    assert parse(annotation(("Out of  focus ", "Strong"), ("", ""))) == {"out of focus": 3}
    several = annotation(("motion blur", "medium"), ("motion blur", "mild"), ("noise", "mild"))
    assert parse(several) == {"motion blur": 2, "noise": 1}
    with pytest.raises(ValueError, match="huge"):
        parse(annotation(("noise", "huge")))


def test_annotations_follow_the_index(load, tmp_path: Path, monkeypatch) -> None:
    authentic = load("authentic.py")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInputError, match="reiqa fetch --dataset mmp2k"):
        authentic.read_annotations(["images/1.jpg"])
    table = layout.raw("mmp2k") / "MMP-2k.csv"
    table.parent.mkdir(parents=True)

    def write(*rows: tuple[str, str]) -> None:
        with table.open("w", newline="", encoding="utf-8-sig") as stream:
            csv.writer(stream).writerows([("file_name", authentic.COLUMN), *rows])

    write(("images/1.jpg", "[]"), ("images/2.jpg", annotation(("noise", "mild"))))
    found = authentic.read_annotations(["MMP-2k/images/2.jpg", "MMP-2k/images/1.jpg"])
    assert found == [{"noise": 1}, {}]
    with pytest.raises(BadInputError, match=r"no annotation of 'images/3\.jpg'"):
        authentic.read_annotations(["images/3.jpg"])
    write(("images/1.jpg", "noise"))
    with pytest.raises(BadInputError, match="invalid annotation"):
        authentic.read_annotations(["images/1.jpg"])


def test_metrics_of_classification_equal_scikit_learns(load) -> None:
    from sklearn import metrics

    authentic = load("authentic.py")
    draw = np.random.default_rng(2)
    truth = draw.choice(3, 60, p=[0.7, 0.2, 0.1])
    targets, predicted = np.eye(3)[truth], draw.normal(size=(60, 3)) + np.eye(3)[truth]
    guess = predicted.argmax(1)
    assert authentic.accuracy(targets, predicted) == metrics.accuracy_score(truth, guess)
    assert authentic.balanced_accuracy(targets, predicted) == pytest.approx(
        metrics.balanced_accuracy_score(truth, guess)
    )
    assert np.isnan(authentic.auc(0)(np.ones((5, 1)), np.arange(5.0)[:, None]))


def test_distortions_are_found_where_the_features_hold_them(load, monkeypatch) -> None:
    authentic = load("authentic.py")
    monkeypatch.setattr(authentic, "SEEDS", range(2))
    draw = np.random.default_rng(3)
    factors = ("blur", "noise", "glare")
    # Every photograph has one factor but the last thirty, which have none; a fourth is too rare.
    distortions = [{factors[i % 3]: 1 + i // 3 % 3} for i in range(150)] + [{}] * 29 + [{"rare": 1}]
    truth = np.array([[found.get(name, 0) for name in factors] for found in distortions])
    noise = draw.normal(size=(180, 5))
    features = {
        "content": noise,
        "quality": np.hstack([truth, truth > 0, noise]),
        "both": np.hstack([noise, truth, truth > 0, noise]),
    }
    sample = SimpleNamespace(features_of=lambda name: features[name].astype(np.float32))
    named = authentic.name_factor(sample, distortions)
    assert [found.count for found in named] == [150, 150]
    assert [found.chance for found in named] == pytest.approx([1 / 3, 1 / 3])
    assert authentic.class_counts(distortions) == dict.fromkeys(sorted(factors), 50)
    present = authentic.detect_factors(sample, distortions)
    assert [(found.name, found.count) for found in present] == [(name, 50) for name in factors]
    sizes = authentic.rank_magnitudes(sample, distortions[:-1])
    for result in (*named, *present, *sizes):
        assert len(result.values["both"]) == 2 * authentic.FOLDS
        blind, knowing = (float(np.nanmean(result.values[name])) for name in ("content", "both"))
        assert knowing > 0.9 and abs(blind - result.chance) < 0.25
    lines = authentic.to_markdown("factor", present).splitlines()
    assert len(lines) == 2 + len(factors)
    assert lines[2].startswith("| blur | 50 | 0.500 | 0.") and "±" in lines[2]


# ---- precision.py, metrics.py --------------------------------------------------------------------


def test_rounded_products_are_those_of_bfloat16(load) -> None:
    precision = load("precision.py")
    draw = torch.Generator().manual_seed(4)
    layer = torch.nn.Conv2d(8, 6, 3, padding=1).requires_grad_(False)
    maps = torch.rand(2, 8, 12, 10, generator=draw)
    with torch.autocast("cpu", torch.bfloat16):
        expected = layer(maps)
        with precision.RoundedProducts():
            found = layer(maps)
    assert found.dtype == expected.dtype == torch.bfloat16
    # Sums in another order may round to the next number: 2**-8 of it.
    torch.testing.assert_close(found.float(), expected.float(), rtol=2**-7, atol=1e-3)
    assert (found == expected).float().mean() > 0.98
    with precision.RoundedProducts():
        assert torch.equal(layer(maps), layer(maps)) and layer(maps).dtype == torch.float32


def test_a_processor_without_bf16_has_no_speed_to_measure(load, monkeypatch) -> None:
    precision = load("precision.py")
    srcc = np.array([[0.80, 0.81, 0.79], [0.8004, 0.8104, 0.7904]])
    compared = precision.Compared(9, {"both": srcc}, {"content": 0.01})
    monkeypatch.setattr(precision.devices, "bf16_instructions", list)
    assert precision.speeds(1) == []
    page = precision.page(compared, 1, 0.002, [])
    row = "| both | 0.8000 | 0.8004 | 0.8000 | 0.8004 | +0.0004 (+0.0004 to +0.0004) |"
    assert f"{row} 0.002: yes |" in page
    assert "Not measured: this processor has no bfloat16 instructions." in page
    # The mean alone or the median alone may be too far.
    for change in ([0, 0, -0.009], [0.003, -0.003, 0]):
        far = precision.Compared(9, {"both": np.stack([srcc[0], srcc[0] + change])}, {})
        assert " 0.002: **no** |" in precision.page(far, 1, 0.002, [])


def test_metrics_are_measured_in_turn_with_the_scorer(load, monkeypatch) -> None:
    metrics = load("metrics.py")
    calls: list[tuple[str, str]] = []
    clock = [0.0]
    monkeypatch.setattr(metrics.time, "process_time", lambda: clock[0])

    def metric(name: str, seconds: float):
        def work(path: str) -> None:
            calls.append((name, path))
            clock[0] += seconds

        return work

    own, found = metrics.measure(
        metric("ours", 2.0), {"a": metric("a", 6.0), "b": metric("b", 1.0)}, [Path("x")], 2
    )
    assert [name for name, _ in calls] == ["ours", "a", "b", *["ours", "a", "ours", "b"] * 2]
    assert own == [2.0] * 4 and found == {"a": [3.0, 3.0], "b": [0.5, 0.5]}


def test_without_pyiqa_there_is_nothing_to_compare_with(load, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    assert load("metrics.py").peers() == {}
