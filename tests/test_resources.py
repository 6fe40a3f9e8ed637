"""What jobs ask a scheduler for follows from the parameters, and grows with what decides it."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reiqa import params, resources, stages
from reiqa.params import Params

PRESETS = Path(params.__file__).parent / "presets"
DAY = 24 * 60


def preset(name: str = "paper", **changed: Any) -> Params:
    tree = params.load_params(PRESETS / f"{name}.yaml").model_dump(exclude_none=True)
    for section, values in changed.items():
        if isinstance(values, dict):
            tree[section].update(values)
        else:
            tree[section] = values
    return Params.model_validate(tree)


def test_the_papers_step_is_of_15120_pairs() -> None:
    paper = preset()
    assert resources.pairs_per_step("quality", paper) == 630 * 2 * 12
    assert resources.pairs_per_step("content", paper) == 256


def test_memory_of_pretraining_on_gpus_grows_with_the_processes() -> None:
    paper = preset()
    one, many = resources.model(paper, "quality", 1), resources.model(paper, "quality", 3)
    assert one.minutes == many.minutes == DAY
    assert many.mem_mb == 3 * one.mem_mb


def test_an_expert_that_is_not_trained_asks_for_little() -> None:
    imported = preset(content={"source": "import", "file": "a.pth", "training": None})
    assert resources.model(imported, "content") == resources.Needs(3000, 60)


def test_a_cpu_holds_in_memory_what_a_step_keeps_for_its_gradients() -> None:
    # docs/log/benchmarks/pretrain.md: 41.8 MiB a pair of ResNet-50 at 160 pixels.
    paper = preset(compute={"device": "cpu"})
    asked = resources.model(paper, "quality").mem_mb
    assert 15_120 * 41.8 < asked < 15_120 * 41.8 * 1.2


def test_the_largest_fit_was_measured_within_what_it_asks_for() -> None:
    # docs/log/benchmarks/regression.md: 10,000 x 8,192, two splits at once: 2.26 GiB.
    measured = preset(compute={"threads": 2}, regression={"splits": 2})
    needs = resources.fit(measured, "koniq10k")
    assert 2.26 * 1024 < needs.mem_mb < 3 * 2.26 * 1024


def test_degraded_copies_make_the_system_one_of_all_rows() -> None:
    # Measured of one fit: three matrices of rows by rows; see `_regression`.
    ranked = preset("biq2021")
    rows = 12_000 + 5_040
    assert resources.fit(ranked, "biq2021").mem_mb > 3 * 8 * rows**2 / 1e6
    tree = ranked.model_dump()
    tree["regression"]["ranking"] = None
    plain = Params.model_validate(tree)
    assert resources.fit(plain, "biq2021").mem_mb < resources.fit(ranked, "biq2021").mem_mb


@pytest.mark.parametrize("pooling", ["last", "stages"])
def test_the_width_is_that_of_the_widest_encoder(pooling: params.Pooling) -> None:
    from reiqa import encoders

    encoder = encoders.with_pooling(encoders.build_encoder("resnet50", "quality"), pooling)
    assert encoder.width == resources._WIDTH[pooling]


@given(st.sampled_from(["flive", "spaq", "csiq"]), st.integers(1, 8))
def test_no_job_asks_for_less_than_a_process_takes_or_more_than_a_day(
    dataset: str, threads: int
) -> None:
    tree = preset(compute={"threads": threads}, datasets=[dataset])
    for stage, item in stages.artifacts(tree):
        needs = stage.needs(tree, *stage.values(item))
        assert needs.mem_mb >= resources.BASE_MB
        assert 10 <= needs.minutes <= DAY
