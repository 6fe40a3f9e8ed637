"""A made-up rated set on disk: index and features of both experts, without any image."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reiqa import layout, store
from reiqa.features import cache
from reiqa.params import EXPERTS, Params
from reiqa.store import hdf5

BASE: dict[str, Any] = {
    "preset": "test",
    "datasets": ["clive"],
    "chunks": {"corpora": ["demo_corpus"]},
    "content": {"source": "package", "backbone": "efficientnet_lite0"},
    "quality": {"source": "package", "backbone": "efficientnet_lite0"},
    "regression": {"alphas": [1e-2, 1e4, 7], "splits": 3, "bootstrap": 50},
}


@dataclass
class Made:
    """What stands on disk."""

    dataset: str
    images: list[str]
    ratings: np.ndarray
    values: dict[str, np.ndarray]


@pytest.fixture(autouse=True)
def own_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process reads each cache first: tests/store and tests/features have that."""
    monkeypatch.setattr(hdf5, "find_fault", lambda _path: "")


@pytest.fixture
def params() -> Params:
    return Params.model_validate(BASE)


def regression(params: Params, **changes: Any) -> Params:
    """The same parameters but for some of the regression's."""
    return params.model_copy(update={"regression": params.regression.model_copy(update=changes)})


@pytest.fixture
def changed() -> Callable[..., Params]:
    return regression


@pytest.fixture
def make_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Made]:
    """Write a set whose ratings follow both experts' features, with some noise."""
    monkeypatch.chdir(tmp_path)

    def make(
        dataset: str = "clive",
        count: int = 60,
        references: int | None = None,
        width: int = 12,
        noise: float = 0.3,
        official: Sequence[str] | None = None,
        edit: Callable[[Made], None] = lambda made: None,
        errors: dict[str, dict[int, str]] | None = None,
        listed: Sequence[tuple[str, str, str, int]] = (),
    ) -> Made:
        rng = np.random.default_rng(len(dataset) * 1000 + count)
        values = {
            expert: rng.normal(3, 2, size=(count, width)).astype(np.float32) for expert in EXPERTS
        }
        signal = sum(values[expert] @ rng.normal(size=width) for expert in EXPERTS)
        ratings = 50 + 5 * (signal - signal.mean()) / signal.std() + noise * rng.normal(size=count)
        images = [f"Images/{number:04d}.png" for number in range(count)]
        made = Made(dataset, images, ratings, values)
        edit(made)
        groups = [f"r{n % references}" for n in range(count)] if references else made.images
        kinds = [("jpeg", "blur")[n // references % 2] if references else "" for n in range(count)]
        levels = [1 + n % 3 if references else 0 for n in range(count)]
        if listed:
            made.images, groups, kinds, levels = map(list, zip(*listed, strict=True))
        header = {
            "name": dataset,
            "listed": count,
            "missing": 0,
            "rating_low": 0,
            "rating_high": 100,
            "official_split": "complete" if official else "none published",
        }
        lines = [f"# {key}: {json.dumps(value)}" for key, value in header.items()]
        lines.append("image,mos,reference,split,distortion,level")
        for number, image in enumerate(made.images):
            part = official[number] if official else ""
            lines.append(
                f"{image},{float(made.ratings[number])!r},{groups[number]},{part},"
                f"{kinds[number]},{levels[number]}"
            )
        store.write_text(layout.index(dataset), "\n".join(lines) + "\n")
        for expert in EXPERTS:
            faults = (errors or {}).get(expert, {})
            content = cache.FeatureTable(
                made.images,
                made.values[expert],
                [f"{dataset}{number:060d}"[-64:] for number in range(count)],
                [faults.get(number, "") for number in range(count)],
                np.ones(count, dtype=np.float32),
                cache.FeatureRecipe({expert: f"weights of {expert}"}, {"scales": [1.0]}),
                "an index",
            )
            for number in faults:
                content.values[number] = np.nan
            cache.write_features(layout.features(dataset, expert), content)
        return made

    return make
