"""``benchmarks/run`` runs every benchmark."""

import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
BENCHMARKS = ROOT / "benchmarks"
#: Scripts that measure nothing by themselves.
NO_BENCHMARK = {"plain", "ratios", "usage", "pretended", "course", "control"}


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
