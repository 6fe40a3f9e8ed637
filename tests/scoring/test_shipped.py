"""The bundle that is installed with the package."""

import pytest
from PIL import Image, ImageFilter
from skimage import data

from reiqa.scoring import Scorer, bundle
from reiqa.scoring.build import LIMIT_BYTES


@pytest.fixture(scope="module")
def lite() -> Scorer:
    return Scorer.load("lite")


def test_it_is_whole_and_small_enough_to_ship() -> None:
    lite = bundle.load_bundle("lite")
    assert sum(path.stat().st_size for path in lite.folder.iterdir()) <= LIMIT_BYTES
    assert {"CARD.md", "NOTICE.txt"} <= {path.name for path in lite.folder.iterdir()}


def test_its_card_tells_the_correlations_that_its_manifest_holds() -> None:
    lite = bundle.load_bundle("lite")
    told = (lite.folder / bundle.CARD).read_text(encoding="utf-8")
    for variant in ("content", "quality", "both"):
        assert f"| {lite.manifest.metrics[0]['variants'][variant]['srcc']['median']:.3f} |" in told


def test_a_photograph_scores_above_its_degraded_copies(lite: Scorer) -> None:
    photograph = Image.fromarray(data.coffee())
    small = photograph.resize((photograph.width // 8, photograph.height // 8))
    spoilt = [
        photograph.filter(ImageFilter.GaussianBlur(3)),
        small.resize(photograph.size, Image.Resampling.NEAREST),
    ]
    best, *worse = lite([photograph, *spoilt])
    assert 60 < best < 100
    assert all(score < best - 10 for score in worse), worse
