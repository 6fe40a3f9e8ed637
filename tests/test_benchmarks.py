"""``benchmarks/run`` does every benchmark; the estimate is arithmetic on parameters."""

import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

from reiqa import params

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
#: None of them measures by itself: the baseline's code, forms, a reckoning, a judge.
NO_BENCHMARK = {"plain", "ratios", "usage", "pretended", "estimate", "course"}


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


def test_a_ratio_comes_back_as_it_was_put_and_stands_in_a_row(load, tmp_path: Path) -> None:
    run = load("run")
    ratios = sys.modules["ratios"]
    file = tmp_path / "ratios.json"
    one = ratios.Ratio("ours", 2.0, "theirs", "at least 3", False)
    ratios.put(type("Given", (), {"ratios": file}), [one])
    assert ratios.read(file) == [one]
    shown = "| `bank --chunks 3` | ours | **2.00** | theirs | at least 3 | **no** |"
    assert run.row("bank", "--chunks 3", one) == shown


def test_the_estimate_in_the_docs_is_what_the_script_makes_today(load) -> None:
    estimate = load("estimate.py")
    preset = params.load_params(ROOT / "reiqa" / "presets" / "paper.yaml")
    text = (ROOT / "docs" / "cluster.md").read_text()
    assert estimate.work(preset) in text
    assert estimate.disk(preset) in text
    assert estimate.rest(preset) in text


def test_twice_the_rate_is_half_the_hours(load) -> None:
    estimate = load("estimate.py")
    preset = params.load_params(ROOT / "reiqa" / "presets" / "paper.yaml")
    lines = estimate.pretraining(preset, 100.0).splitlines()
    hours = {
        tuple(cells[1:3]): float(cells[3])
        for cells in ([cell.strip() for cell in line.split("|")] for line in lines)
        if len(cells) > 4 and " x " in cells[1] and cells[2][:1].isdigit()
    }
    assert hours["1 x 4", "500"] == pytest.approx(2 * hours["1 x 4", "1,000"], abs=0.2)
    assert hours["1 x 4", "500"] == pytest.approx(4.5 * hours["6 x 3", "500"], abs=0.4)
