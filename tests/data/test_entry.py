"""What a catalog entry says is enforced, and is part of what its artifacts depend on."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support import miniature
from support.archive_server import picture

from reiqa import catalog, layout, store
from reiqa.catalog import DatasetEntry, RatingsSpec
from reiqa.data import fetch, index
from reiqa.errors import BadInputError
from reiqa.params import Params
from reiqa.stages import lookup, stage_parameters

PARAMS = Params.model_validate(miniature.TREE)


def rated(**fields: object) -> DatasetEntry:
    """A set of four images of two references, rated from 1 to 5."""
    known: dict[str, object] = {
        "name": "mine", "title": "Mine", "kind": "rated", "authentic": False, "images": 4,
        "references": 2, "citation": "none", "licence": "none", "steps": ("get it",),
        "ratings": RatingsSpec(file="ratings.csv", low=1, high=5, tail=1),
    }  # fmt: skip
    return DatasetEntry.model_validate({**known, **fields})


def lay_out(scores: list[float], references: int = 2) -> None:
    folder = layout.raw("mine")
    folder.mkdir(parents=True)
    lines = ["dis_img_path,dis_type,ref_img_path,score"]
    for number, score in enumerate(scores):
        (folder / f"{number}.png").write_bytes(picture(f"{number}.png", number))
        lines.append(f"{number}.png,blur,r{number % references}.png,{score}")
    (folder / "ratings.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"images": 999}, "mine: the table lists 4 images, the catalog says images: 999"),
        ({"images": 3}, "mine: the table lists 4 images, the catalog says images: 3"),
        ({"references": 3}, "mine: the table lists 2 references, the catalog says references: 3"),
    ],
)
def test_counts_of_an_entry_are_enforced(
    change_catalog: Callable[[DatasetEntry], DatasetEntry], change: dict[str, int], says: str
) -> None:
    change_catalog(rated(**change))
    lay_out([1, 2, 3, 4])
    with pytest.raises(BadInputError, match=says):
        index.build_index("mine")
    if change != {"images": 3}:
        header = index.read_index(index.build_index("mine", allow_missing=True)).header
        assert header["missing"] == change.get("images", 4) - 4, "the table tells what it lacks"


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("score", [0.99, 5.1, 80])
def test_a_rating_outside_the_declared_range_is_refused_by_set_and_row(
    change_catalog: Callable[[DatasetEntry], DatasetEntry], score: float
) -> None:
    change_catalog(rated())
    lay_out([1, score, 3, 5])
    with pytest.raises(
        BadInputError, match=r"^mine: .*1\.png: rating .* is outside the declared range 1"
    ):
        index.build_index("mine")
    ratings = RatingsSpec(file="ratings.csv", low=1, high=5, least=0, most=80, tail=1)
    change_catalog(rated(ratings=ratings))
    assert len(index.read_index(index.build_index("mine"))) == 4


def test_packaged_tables_lie_inside_their_declared_ranges() -> None:
    from reiqa.data import rating_tables

    for entry in catalog.load_catalog().values():
        if entry.ratings is not None and entry.ratings.table:
            assert len(rating_tables.read_ratings(entry, Path()).rows) == entry.images


CHANGES = {
    "higher_is_better": (
        {"ratings": RatingsSpec(file="ratings.csv", low=1, high=5, tail=1, higher_is_better=False)},
        {"index"},
    ),
    "images": ({"images": 5}, {"index"}),
    "references": ({"references": 3}, {"index", "fit"}),
    "resize": ({"resize": 512}, {"features"}),
    "shares": ({"shares": "clive"}, {"fetch"}),
    "proxy": ({"proxy": True}, {"fit"}),
    "title": ({"title": "Another"}, set()),
    "licence": ({"licence": "free"}, set()),
    "folders": ({"folders": ("other",)}, set()),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_changed_entry_is_seen_by_the_stages_that_depend_on_it(
    change_catalog: Callable[[DatasetEntry], DatasetEntry], what: str
) -> None:
    change, seen = CHANGES[what]
    stages = {"fetch": "mine", "index": "mine", "features": "mine/content", "fit": "mine"}
    change_catalog(rated())
    before = {stage: stage_parameters(PARAMS, stage, item) for stage, item in stages.items()}
    change_catalog(rated(**change))
    after = {stage: stage_parameters(PARAMS, stage, item) for stage, item in stages.items()}
    assert {stage for stage in stages if before[stage] != after[stage]} == seen


@pytest.mark.usefixtures("project")
def test_an_index_of_ratings_the_other_way_round_is_stale(
    change_catalog: Callable[[DatasetEntry], DatasetEntry],
) -> None:
    change_catalog(rated())
    lay_out([1, 2, 3, 4.5])
    path = layout.index("mine")

    def make() -> bool:
        return store.make_artifact(
            path, "index", "mine", lookup(PARAMS), [], lambda: index.build_index("mine")
        )

    assert make() and not make()
    first = index.read_index(path).mos.tolist()
    change_catalog(rated(**CHANGES["higher_is_better"][0]))
    assert not store.Freshness(lookup(PARAMS)).is_fresh(path)
    assert make()
    assert index.read_index(path).mos.tolist() == [6 - score for score in first]


@pytest.mark.usefixtures("project")
def test_a_fetched_set_whose_entry_changed_is_fetched_again(
    tmp_path: Path, change_catalog: Callable[[DatasetEntry], DatasetEntry]
) -> None:
    entry = DatasetEntry(
        name="mine", title="Mine", kind="corpus", authentic=True, images=1, citation="none",
        licence="none", folders=("mine",), steps=("get it",),
    )  # fmt: skip
    change_catalog(entry)
    folder = tmp_path / "mirror" / "mine"
    folder.mkdir(parents=True)
    (folder / "a.png").write_bytes(picture("a.png", 0))
    fetch.fetch("mine", tmp_path / "mirror")
    (folder / "b.png").write_bytes(picture("a.png", 1))
    fetch.fetch("mine", tmp_path / "mirror")
    assert not (layout.raw("mine") / "b.png").exists(), "what is whole is not fetched again"
    change_catalog(entry.model_copy(update={"linked": True}))
    fetch.fetch("mine", tmp_path / "mirror")
    assert layout.raw("mine").is_symlink()


WRONG = {
    "unknown key": ("{title: T, kinds: rated}", r"datasets\.bad: .*needed|unknown key"),
    "no number": (
        "{title: T, kind: corpus, authentic: true, images: many, citation: c, licence: l,"
        " steps: [s]}",
        r"datasets\.bad: images: .*integer",
    ),
    "no mapping": ("[1, 2]", r"datasets\.bad: must be a mapping"),
    "range": (
        "{title: T, kind: rated, authentic: true, images: 1, citation: c, licence: l, steps: [s],"
        " ratings: {file: r.csv, low: 5, high: 1}}",
        r"datasets\.bad: ratings: low: 5 is not below high: 1",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_entry_is_one_line_that_names_the_set(what: str) -> None:
    text, says = WRONG[what]
    with pytest.raises(BadInputError, match=says) as refusal:
        catalog.read_entries(catalog.FILE, f"mirrors: {{}}\ndatasets:\n  bad: {text}\n")
    assert "\n" not in str(refusal.value)


def test_an_entry_given_twice_is_refused() -> None:
    text = "mirrors: {}\ndatasets:\n  a: {title: A}\n  a: {title: B}\n"
    with pytest.raises(BadInputError, match="duplicate key 'a'"):
        catalog.read_entries(catalog.FILE, text)


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    "letter", ["\u2028", "\x85", "\x0c", "\x1c", "\x1e", "#", ",", '"', "\r", "\n"]
)
def test_an_index_with_odd_names_reads_back(
    change_catalog: Callable[[DatasetEntry], DatasetEntry], letter: str
) -> None:
    change_catalog(rated(images=1, references=1))
    folder = layout.raw("mine")
    folder.mkdir(parents=True)
    name = f"a{letter}b.png"
    (folder / name).write_bytes(picture("a.png", 0))
    quoted = name.replace('"', '""')
    with (folder / "ratings.csv").open("w", newline="") as table:
        table.write(f'dis_img_path,dis_type,ref_img_path,score\n"{quoted}",blur,r.png,3\n')
    assert index.read_index(index.build_index("mine")).images == [name]
