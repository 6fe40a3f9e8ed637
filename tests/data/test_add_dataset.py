"""`reiqa datasets add` sees columns, scale and direction, and changes nothing else in the files."""

from pathlib import Path

import pytest
import yaml
from support.archive_server import picture
from support.project import ROOT

from reiqa import catalog
from reiqa.data import add_dataset, index
from reiqa.errors import BadInputError

RATINGS = {"file": "My photos/r.csv", "image": "image", "score": "mos"}
ENTRY = {"folder": "My photos", "ratings": RATINGS}


@pytest.fixture
def photos(project: Path) -> Path:
    folder = project / "My photos"
    (folder / "sub").mkdir(parents=True)
    for number in range(4):
        (folder / f"{number}.png").write_bytes(picture("a.png", number))
    (folder / "sub" / "4.png").write_bytes(picture("a.png", 4))
    return folder


def described(text: str, **options: str) -> add_dataset.NewDataset:
    Path("My photos/r.csv").write_text(text)
    return add_dataset.describe_folder(Path("My photos"), Path("My photos/r.csv"), **options)


def ratings_of(text: str, **options: str) -> dict[str, object]:
    ratings: dict[str, object] = described(text, **options).fields["ratings"]
    return ratings


def table(heads: str, *rows: str) -> str:
    return "\n".join([heads, *rows]) + "\n"


def rated(*numbers: float, heads: str = "image,mos") -> str:
    return table(heads, *(f"{at}.png,{number}" for at, number in enumerate(numbers)))


def test_a_folder_and_a_table_are_an_entry_that_indexes(photos: Path) -> None:
    new = described(rated(1.2, 2, 3, 4.8))
    assert (new.name, new.fields["folder"]) == ("my_photos", "My photos")
    assert new.fields["ratings"] == {
        "file": "My photos/r.csv", "image": "image", "score": "mos", "low": 1, "high": 5,
    }  # fmt: skip
    assert "1.2 to 4.8: a scale of 1 to 5, higher is better" in new.findings["ratings"]
    assert new.findings["images"].startswith("5 in")
    assert new.findings["matched"] == "4 of 4 rows; 1 images without a rating will be left out"
    add_dataset.add_entry(new)
    assert len(catalog.PROJECT_FILE.read_text().splitlines()) == 4
    made = index.read_index(index.build_index("my_photos"))
    assert made.mos.tolist() == [1.2, 2.0, 3.0, 4.8]


def test_a_scale_taken_from_the_ratings_is_said_to_be(photos: Path) -> None:
    assert (
        "3.1 to 3.4 (of these ratings; if it is wider, edit datasets.yaml)"
        in (described(rated(3.1, 3.2, 3.4)).findings["ratings"])
    )
    assert "(" not in described(rated(1, 3, 5)).findings["ratings"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        # As KonIQ-10k, SPAQ and KADID-10k write it.
        (
            table("image_name,c1,c2,MOS,SD,MOS_zscore", "0.png,1,2,3.5,1,60", "1.png,2,2,3,1,40"),
            {"image": "image_name", "score": "MOS"},
        ),
        (
            table("Image name,MOS,Brightness", "0.png,52,6", "1.png,91,70"),
            {"image": "Image name", "score": "MOS"},
        ),
        (
            table("dist_img,ref_img,dmos,var", "0.png,3.png,4.5,1", "1.png,3.png,2.5,1"),
            {"image": "dist_img", "score": "dmos", "reference": "ref_img"},
        ),
        (
            table("photo,dis_type,mean_score", "0.png,blur,4.5", "1.png,,2.5"),
            {"image": "photo", "score": "mean_score", "distortion": "dis_type"},
        ),
        (table("x,y", "0.png,4.5", "1.png,2.5"), {"image": "x", "score": "y"}),
    ],
)  # fmt: skip
def test_columns_are_found_by_their_content_and_their_names(
    photos: Path, text: str, found: dict[str, str]
) -> None:
    roles = ("image", "score", "reference", "distortion")
    assert {k: v for k, v in ratings_of(text).items() if k in roles} == found


def test_of_several_columns_of_numbers_the_user_names_one(photos: Path) -> None:
    text = table("n,photo,stars", "1,0.png,4.5", "2,1.png,x", "3,2.png,2")
    with pytest.raises(BadInputError, match=r"may be the ratings: n, stars; name one with --score"):
        described(text)
    with pytest.raises(BadInputError, match=r"--score star: not a column of numbers; .*n, stars"):
        described(text, score="star")
    with pytest.raises(BadInputError, match=r"line 3: 1\.png: 'x' is not a rating"):
        described(text, score="stars")
    assert ratings_of(text.replace("x", "1"), score="stars")["score"] == "stars"


@pytest.mark.parametrize(
    ("numbers", "scale"),
    [
        ((0.2, 0.9), (0, 1)),
        ((1.2, 4.7), (1, 5)),
        ((0.5, 4.7), (0, 5)),
        ((2, 9.5), (1, 10)),
        ((20, 90), (0, 100)),
        ((1, 1000), (1, 1000)),
        ((-1.5, 1.2), (-1.5, 1.2)),
        ((3, 18), (3, 18)),
    ],
)
def test_the_scale_is_the_usual_one_that_the_ratings_span(
    photos: Path, numbers: tuple[float, float], scale: tuple[float, float]
) -> None:
    found = ratings_of(rated(*numbers))
    assert (found["low"], found["high"]) == scale


@pytest.mark.parametrize(("column", "lower"), [("dmos", True), ("DMOS", True), ("mos", False)])
def test_lower_is_better_only_where_the_name_of_the_column_says_so(
    photos: Path, column: str, lower: bool
) -> None:
    found = ratings_of(rated(1, 5, heads=f"image,{column}"))
    assert found.get("higher_is_better", True) is not lower
    assert found.get("measure", "MOS") == ("DMOS" if lower else "MOS")


def test_a_folder_without_ratings_is_a_corpus_of_its_images(photos: Path) -> None:
    new = add_dataset.describe_folder(photos, None, "corpus")
    assert new.fields == {"folder": "My photos", "images": 5}
    add_dataset.add_entry(new)
    assert catalog.corpus_names()[-1] == "corpus"


def test_paths_outside_the_project_stay_as_they_are_given(photos: Path) -> None:
    outside = photos.parent.with_name("outside")
    photos.rename(outside)
    (outside / "r.csv").write_text(rated(1, 5))
    absolute = add_dataset.describe_folder(outside, outside / "r.csv")
    assert absolute.fields["folder"] == outside.as_posix()
    relative = add_dataset.describe_folder(Path("../outside"), Path("../outside/r.csv"))
    assert relative.fields["folder"] == "../outside"


REFUSED = {
    "a table that names other images": (
        table("image,mos", "a.png,3"),
        r"no column names the images of My photos: the first row has 'a\.png', '3', the first"
        r" image is '0\.png'",
    ),
    "no numbers": (table("image,mos", "0.png,good"), "no column of numbers: only image, mos"),
    "one rating": (rated(3, 3), "all ratings in column mos are 3; .*--score"),
    "no rows": ("image,mos\n", "has no rows"),
    "a bad row": (rated(3, 4, 5, "?"), r"line 5: 3\.png: '\?' is not a rating"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_table_that_does_not_fit_is_refused_in_one_line(photos: Path, what: str) -> None:
    text, says = REFUSED[what]
    with pytest.raises(BadInputError, match=says) as refusal:
        described(text)
    assert "\n" not in str(refusal.value) and not catalog.PROJECT_FILE.exists()


def test_rows_that_the_index_will_refuse_are_told(photos: Path) -> None:
    new = described(table("image,mos", "0.png,1", "gone.png,2", "1.png,5"))
    assert new.findings["matched"].startswith("2 of 3 rows")
    assert "1 missing (first: gone.png (line 3)): correct the table" in new.findings["warning"]


def test_names_and_folders_that_cannot_be_used_are_refused(photos: Path) -> None:
    for folder, name, says in (
        ("My photos", "demo", r"^demo: the name of a built-in dataset; choose another"),
        ("My photos", "Mine!", r"^Mine!: not a name of a dataset"),
        ("none", "", r"^none: no such folder"),
        (".", "", r"^\.: contains the project folder"),
        ("..", "", r"contains the project folder"),
    ):
        with pytest.raises(BadInputError, match=says):
            add_dataset.describe_folder(Path(folder), None, name)
    Path("empty").mkdir()
    with pytest.raises(BadInputError, match="empty: no image in this folder"):
        add_dataset.describe_folder(Path("empty"), None)
    add_dataset.add_entry(described(rated(1, 5)))
    with pytest.raises(BadInputError, match=r"^my_photos: already in datasets\.yaml"):
        described(rated(1, 5))


@pytest.mark.parametrize(
    "before",
    [
        "",
        "datasets:\n",
        "# mine\ndatasets: {}  # none yet\n",
        "mirrors: {a: https://a}\ndatasets:\n",
        "datasets:\n  first: {folder: x, images: 3} # kept\n",
        "datasets:\n    first:\n        folder: x\n        images: 3\n\n# the end\n",
        "mirrors: {a: https://a}",
    ],
)
def test_an_entry_is_appended_and_the_rest_of_the_file_kept(photos: Path, before: str) -> None:
    catalog.PROJECT_FILE.write_text(before)
    known = (yaml.safe_load(before) or {}).get("datasets") or {}
    add_dataset.add_entry(add_dataset.NewDataset("second", dict(ENTRY), {}))
    after = catalog.PROJECT_FILE.read_text()
    assert yaml.safe_load(after)["datasets"] == {**known, "second": ENTRY}
    for remark in ("# mine", "# none yet", "# kept", "# the end"):
        assert (remark in after) == (remark in before)


@pytest.mark.parametrize(
    "before",
    [
        "datasets: {a: {folder: x, images: 3}}\n",
        "datasets:\n  a: {folder: x, images: 3}\nmirrors: {}\n",
    ],
)
def test_a_file_that_cannot_be_extended_is_left_as_it_is(photos: Path, before: str) -> None:
    catalog.PROJECT_FILE.write_text(before)
    with pytest.raises(BadInputError, match=r"add this line to it: second: \{folder: My photos"):
        add_dataset.add_entry(add_dataset.NewDataset("second", dict(ENTRY), {}))
    assert catalog.PROJECT_FILE.read_text() == before


def test_dvc_watches_what_was_added(photos: Path) -> None:
    new = add_dataset.NewDataset("second", dict(ENTRY), {})
    assert add_dataset.watch_with_dvc(new) == "", "no DVC project"
    shipped = (ROOT / "dvc.yaml").read_text()
    Path("dvc.yaml").write_text(shipped)
    said = "dvc.yaml: the stage data now depends on My photos, My photos/r.csv"
    assert add_dataset.watch_with_dvc(new) == said
    after = Path("dvc.yaml").read_text()
    tree = yaml.safe_load(shipped)
    tree["stages"]["data"]["deps"] += ["My photos", "My photos/r.csv"]
    assert yaml.safe_load(after) == tree
    assert after.count("#") == shipped.count("#")
    assert add_dataset.watch_with_dvc(new) == "", "both are there"


@pytest.mark.parametrize(
    "other", ["stages: {}\n", "stages: [", "stages:\n  data:\n    deps: [datasets.yaml]\n"]
)
def test_a_dvc_file_of_another_form_is_left_as_it_is(photos: Path, other: str) -> None:
    Path("dvc.yaml").write_text(other)
    line = add_dataset.watch_with_dvc(add_dataset.NewDataset("second", dict(ENTRY), {}))
    assert line.startswith("dvc.yaml: add My photos, My photos/r.csv to deps of the stage data")
    assert Path("dvc.yaml").read_text() == other
