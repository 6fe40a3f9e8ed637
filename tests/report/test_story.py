"""The method's story at the top of the page: what it draws, and what it says instead."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from reiqa import distortions, layout, store
from reiqa.chunks.geometry import overlap_share
from reiqa.chunks.sample import sample_chunk
from reiqa.report import chunk_pictures, results, story, thumbnails
from reiqa.report.page import write_page
from reiqa.stages import STAGES, stage_parameters

# One worker writes the report that these read.
pytestmark = pytest.mark.xdist_group("report")

STORY = ["chunk", "bank", "pretraining", "predictions", "shares"]


def written_again(project, **changed) -> str:
    write_page(project.params.model_copy(update=changed))
    return layout.REPORT.read_text(encoding="utf-8")


def lineage(project) -> dict:
    return results.lineage([*map(layout.result, project.params.datasets)])


@pytest.fixture
def sample(written):
    chunks = written.params.chunks
    found = sample_chunk("kodak", chunks, written.params.bank, written.params.seed)
    assert found is not None
    return found


def test_the_story_comes_before_the_tables_in_order(written):
    text = layout.REPORT.read_text(encoding="utf-8")
    sections = re.findall(r'<section id="(\w+)"', text)
    tables = ["results", "cross", "datasets", "experts", "tables", "provenance"]
    assert sections == STORY + tables
    links = re.findall(r'<li><a href="#(\w+)">', text.partition("</nav>")[0])
    assert links == sections


def test_the_chunk_is_of_the_photograph_with_contrast(sample):
    assert sample.recipe.image == "stones.png"


def test_plates_show_the_photograph_and_a_pair_at_each_scale_with_its_overlap(sample):
    photograph, *pairs = chunk_pictures.plates(sample)
    (window,) = photograph.boxes
    assert (photograph.width, photograph.height) == (224, 160)
    assert window.width == window.height == sample.recipe.plan.content
    assert len(pairs) == 2
    for plate, pair in zip(pairs, sample.recipe.pairs, strict=True):
        overlap, *crops = plate.boxes
        assert [box.letter for box in crops] == ["A", "B"]
        for box in plate.boxes:
            assert box.left >= 0 and box.left + box.width <= plate.width
            assert box.top >= 0 and box.top + box.height <= plate.height
        assert overlap.width * overlap.height == pytest.approx(32**2 * overlap_share(pair, 32))
        one, two = crops
        assert overlap.left == max(one.left, two.left) and overlap.top == max(one.top, two.top)


def test_a_card_for_each_version_names_type_level_and_swap(sample):
    cards = chunk_pictures.version_cards(sample)
    titles = [distortions.TYPES[name].title for name in sample.recipe.types]
    assert [card.title for card in cards] == ["Undistorted", *titles]
    assert [card.level for card in cards] == [0, *sample.recipe.levels]
    assert [card.swapped for card in cards] == [[0], [0], [1], [1]]
    for card in cards:
        for crop in card.crops:
            is_swapped = crop.top in card.swapped
            assert crop.letter == ("AB", "BA")[is_swapped][crop.left]
    assert cards[2].label == (
        f"{titles[1]}, level {sample.recipe.levels[1]} of 5: full size query A, key B;"
        " half size query B, key A"
    )


def test_types_of_the_chunk_are_marked_in_the_bank(written, sample):
    text = layout.REPORT.read_text(encoding="utf-8")
    marked = re.findall(r"<strong>([^<]+)</strong> <span class=\"mark\"", text)
    assert sorted(marked) == sorted(distortions.TYPES[name].title for name in sample.recipe.types)


@pytest.mark.parametrize(("negatives", "told"), [("queue", False), ("queue+chunk", True)])
def test_other_versions_are_named_as_negatives_only_where_they_are(project, negatives, told):
    training = project.params.quality.training.model_copy(update={"negatives": negatives})
    quality = project.params.quality.model_copy(update={"training": training})
    seal_again(project, "quality", quality=quality)
    assert story.chunk_section(lineage(project)).hard is told


def seal_again(project, name: str, **changed) -> None:
    settings = project.params.model_copy(update=changed)
    parameters = stage_parameters(settings, "model", name)
    store.sign_sidecar(layout.model(name), "model", name, parameters, {})


def test_an_imported_quality_expert_has_neither_chunk_nor_loss_and_the_page_says_why(project):
    path = layout.model("quality").with_suffix(".json")
    card = store.read_json(path) | {"source": "import", "file": "moco.pt", "bundle": "lite"}
    store.write_json(path, card)
    text = written_again(project)
    assert 'class="plate"' not in text and 'id="quality-curve"' not in text
    words = "its weights were imported from moco.pt of the bundle lite."
    assert f"The quality expert was not pretrained here: {words}" in text
    assert f"Not pretrained here: {words} There is no loss to show." in text
    assert "Its pairs are" not in text


def test_a_content_expert_of_a_package_is_said_to_be_one(project):
    path = layout.model("content").with_suffix(".json")
    store.write_json(path, store.read_json(path) | {"source": "package"})
    facts = story.pretraining_section("content", lineage(project)).facts
    assert "it is shufflenet_v2_x0_5 with the ImageNet weights of an installed package" in facts


@pytest.mark.parametrize(
    ("init", "words"),
    [
        ("random", "It starts from random weights."),
        ("start.pt", "It starts from start.pt, and its pretraining is continued here."),
    ],
)
def test_pretraining_says_where_it_starts_and_how_the_loss_falls(project, init, words):
    seal_again(project, "quality", quality=project.params.quality.model_copy(update={"init": init}))
    found = story.pretraining_section("quality", lineage(project))
    assert words in found.facts and found.chart is not None
    # 65,536 keys at 4,096 a step: the queue is full after 16 steps.
    assert "Shaded: the queue of keys fills" in found.chart.caption
    losses = re.findall(
        r"loss is ([\d.]+) once the queue of keys is full and ([\d.]+)", found.facts
    )
    start, end = map(float, losses[0])
    assert start == pytest.approx(7 * np.exp(-16 / 80) + 1, abs=0.4)
    assert end < 2


def test_photographs_that_are_not_here_leave_a_sentence(project):
    shutil.rmtree(layout.raw("kodak"))
    found = story.chunk_section(lineage(project))
    assert found.absent == "The photographs of kodak are not on this machine."
    assert not found.plates and not found.types


def test_without_provenance_of_the_expert_no_chunk_is_guessed(project):
    store.sidecar(layout.model("quality")).unlink()
    assert "It is not recorded which chunks" in story.chunk_section(lineage(project)).absent


def test_shares_are_in_page_and_markdown_and_their_absence_is_said(written):
    text = layout.REPORT.read_text(encoding="utf-8")
    assert "<td>25 %</td><td>75 %</td>" in text
    assert "No shares for clive: they" in text
    assert "| demo | 25 % | 75 % |" in Path("results/report.md").read_text()


def test_shares_are_the_slopes_of_points_against_the_prediction():
    draw = np.random.default_rng(0)
    content, quality = draw.normal(0, 3, 500), draw.normal(0, 1, 500)
    points = {"content": content, "quality": quality}
    total = 50 + content + quality
    found = story.shares_section("x", results.Predictions([], total, {"both": total}, points))
    assert found is not None
    slope = np.polyfit(total, content, 1)[0]
    assert found.percent == {"content": round(100 * slope), "quality": 100 - round(100 * slope)}
    assert "100 of 500 images are drawn" in found.chart.caption


def test_constant_predictions_have_no_shares():
    zero = np.zeros(4)
    found = results.Predictions([], zero, {"both": zero}, {"content": zero, "quality": zero})
    assert story.shares_section("x", found) is None


def test_the_thumbnails_of_a_page_have_a_bounded_number_of_pixels():
    for count in (1, 12, 96, 800):
        side = thumbnails.thumbnail_side(count)
        assert 35 <= side <= 320 and count * side**2 <= 12 * 320**2


def test_the_report_depends_on_the_index_of_the_corpus_that_it_draws(project):
    reads = STAGES["report"].reads(project.params)
    assert layout.index("kodak") in reads
    assert not any(path.is_relative_to("data/chunks") for path in reads)
    packaged = project.params.quality.model_copy(update={"source": "package"})
    settings = project.params.model_copy(update={"quality": packaged})
    assert layout.index("kodak") not in STAGES["report"].reads(settings)
