"""What jobs ask a scheduler for follows from the parameters, and grows with what decides it."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reiqa import params, resources
from reiqa.params import EXPERTS, Params

PRESETS = Path(params.__file__).parent / "presets"
DAY = 24 * 60


def preset(name: str = "paper", **changed: dict[str, Any]) -> Params:
    tree = params.load_params(PRESETS / f"{name}.yaml").model_dump(exclude_none=True)
    for section, values in changed.items():
        tree[section].update(values)
    return Params.model_validate(tree)


def test_the_papers_step_is_of_15120_pairs_and_its_work_of_all_epochs() -> None:
    paper = preset()
    assert resources.pairs_per_step("quality", paper) == 630 * 2 * 12
    assert resources.pairs_per_step("content", paper) == 256
    photographs = 140_000 + 255_502 + 328_124 + 631 + 17_125
    forward = 4.1 * (160 / 224) ** 2
    expected = photographs * 24 * 40 * 4 * forward
    assert resources.pretraining_gmacs("quality", paper) == pytest.approx(expected)
    content = 1_281_167 * 200 * 4 * 4.1
    assert resources.pretraining_gmacs("content", paper) == pytest.approx(content)


def test_pretraining_is_asked_for_a_day_at_most_and_its_memory_goes_by_processes() -> None:
    paper = preset()
    one, many = resources.model("quality", paper, 1), resources.model("quality", paper, 3, 6)
    assert one.minutes == many.minutes == DAY
    assert many.mem_mb == 3 * one.mem_mb
    seconds = resources.pretraining_gmacs("content", paper) / (18 * resources.GPU_GMACS_PER_S)
    content = resources.model("content", paper, 3, 6)
    assert content.minutes == -(-3 * seconds // 60) < DAY


def test_an_expert_that_is_not_trained_asks_for_little() -> None:
    imported = preset(content={"source": "import", "file": "a.pth", "training": None})
    assert resources.model("content", imported) == resources.Needs(3000, 10)


def test_a_cpu_holds_in_memory_what_a_step_keeps_for_its_gradients() -> None:
    # docs/benchmarks/pretrain.md: 41.8 MiB a pair of ResNet-50 at 160 pixels.
    paper = preset(compute={"device": "cpu"})
    asked = resources.model("quality", paper, 0).mem_mb
    assert 15_120 * 41.8 < asked < 15_120 * 41.8 * 1.2


def test_the_largest_fit_was_measured_within_what_it_asks_for() -> None:
    # docs/benchmarks/regression.md: 10,000 x 8,192, two splits at once: 2.26 GiB, 53 s for two.
    measured = preset(compute={"threads": 2}, regression={"splits": 2})
    needs = resources.fit("koniq10k", measured)
    assert 2.26 * 1024 < needs.mem_mb < 3 * 2.26 * 1024
    assert 53 / 60 < needs.minutes < 60


def test_copies_make_the_system_one_of_all_rows() -> None:
    # Measured of one fit: three matrices of rows by rows; see `_regression`.
    order = preset("biq2021")
    rows = 12_000 + 2_400
    assert resources.fit("biq2021", order).mem_mb > 3 * 8 * rows**2 / 1e6
    tree = order.model_dump()
    tree["regression"]["order"] = None
    plain = Params.model_validate(tree)
    assert resources.fit("biq2021", plain).mem_mb < resources.fit("biq2021", order).mem_mb / 2


@pytest.mark.parametrize("pooling", ["last", "stages"])
@pytest.mark.parametrize("backbone", resources._WIDTHS)
def test_the_widths_are_those_of_the_encoders(backbone: str, pooling: params.Pooling) -> None:
    from reiqa import encoders

    encoder = encoders.with_pooling(encoders.build_encoder(backbone, "quality"), pooling)
    assert encoder.width == resources._WIDTHS[backbone][pooling]


@given(
    st.sampled_from(["flive", "spaq", "csiq"]),
    st.integers(1, 8),
    st.integers(1, 4),
    st.sampled_from(["resnet18", "resnet50", "swin_t"]),
)
def test_no_job_asks_for_less_than_a_process_takes_or_more_than_a_day(
    dataset: str, threads: int, gpus: int, backbone: str
) -> None:
    tree = preset(compute={"threads": threads}, quality={"backbone": backbone})
    asked = [
        resources.fetch(dataset),
        resources.index(dataset),
        resources.chunks("coco", tree),
        resources.probe(tree),
        resources.fit(dataset, tree),
        resources.cross(tree),
        resources.report(),
        *(resources.features(dataset, expert, tree, 1) for expert in EXPERTS),
        *(resources.model(expert, tree, gpus) for expert in EXPERTS),
    ]
    assert all(needs.mem_mb >= resources.BASE_MB for needs in asked)
    assert all(10 <= needs.minutes <= DAY for needs in asked)


@pytest.mark.parametrize(
    ("section", "changed"),
    [
        ("chunks", {"n_aug": 5}),
        ("chunks", {"patch": 80}),
        ("chunks", {"scales": [1.0]}),
        ("chunks", {"corpora": ["kadis"]}),
        ("quality", {"backbone": "resnet18"}),
    ],
)
def test_less_to_learn_from_is_less_work(section: str, changed: dict[str, Any]) -> None:
    less = preset(**{section: changed})
    ours, all_of_it = (resources.pretraining_gmacs("quality", each) for each in (less, preset()))
    assert ours < all_of_it
