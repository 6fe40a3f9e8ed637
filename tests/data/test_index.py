"""Each of the nine sets, in its true shape, becomes a table that says what it is."""

import random
from collections import Counter
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.archive_layouts import SHAPES, labels_of, miniature, rows_of
from support.archive_server import Server, picture, spreadsheet, tgz, zipped

from reiqa import catalog, layout
from reiqa.catalog import DatasetEntry, SourceFile
from reiqa.data import fetch, index
from reiqa.data.image_files import ImageFiles
from reiqa.data.sources import RetryPolicy, file_name
from reiqa.errors import BadInputError

#: Images left out of a miniature: the archive holds one of so many.
EVERY = {"koniq10k": 900, "spaq": 1000, "clive": 100, "flive": 4000, "biq2021": 1000}

MISSING = "missing"


def put(name: str, files: dict[str, bytes]) -> None:
    """Lay files out as if fetched."""
    for path, data in files.items():
        place = layout.raw(name) / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)


def offered(
    name: str, server: Server, change_catalog: Callable[[DatasetEntry], DatasetEntry]
) -> dict[str, bytes]:
    """Let the server offer a set's files under its catalog's names; digests are not known."""
    files = miniature(name, EVERY.get(name, 90))
    labels = labels_of(name)
    pieces = []
    for piece in catalog.get_entry(name).parts:
        changed = []
        for source in piece.sources[:1]:
            title = file_name(source)
            path = f"/{name}/{title.replace(' ', '%20')}"
            if title.endswith(".csv"):
                server.files[path] = labels[title].encode()
            elif name == "biq2021":
                inside = {f"BIQ2021-main/{title}": text.encode() for title, text in labels.items()}
                server.files[path] = zipped(files | inside)
            else:
                server.files[path] = tgz(files)
            update = {"url": server.url + path, "sha256": None, "file": title}
            changed.append(source.model_copy(update=update))
        pieces.append(SourceFile(sources=tuple(changed), into=piece.into))
    change_catalog(catalog.get_entry(name).model_copy(update={"parts": tuple(pieces)}))
    return files


@pytest.mark.parametrize("name", SHAPES)
def test_a_miniature_of_the_true_shape_goes_from_server_to_index(
    name: str,
    project: Path,
    server: Server,
    change_catalog: Callable[[DatasetEntry], DatasetEntry],
    patience: RetryPolicy,
) -> None:
    offered(name, server, change_catalog)
    for path in list(server.files):
        server.faults[path] = ["cut 100"]
    fetch.fetch(name, patience=patience)
    with pytest.raises(BadInputError, match=rf"{MISSING} \(first: .*--allow-missing"):
        index.build_index(name)
    made = index.read_index(index.build_index(name, allow_missing=True, verify=True))

    expected = [row for n, row in enumerate(rows_of(name)) if n % EVERY.get(name, 90) == 0]
    assert len(made) == len(expected)
    assert made.header["missing"] == catalog.get_entry(name).images - len(expected)
    assert made.header["extra"] == made.header["unreadable"] == made.header["duplicate"] == 0
    ratings = catalog.get_entry(name).ratings
    assert ratings is not None
    by_place = {SHAPES[name].place(row["dis_img_path"]): row for row in expected}
    for image, mos, reference in zip(made.images, made.mos, made.reference, strict=True):
        row = by_place[image]
        score = float(row["score"])
        assert mos == (score if ratings.higher_is_better else ratings.low + ratings.high - score)
        assert (layout.raw(name) / image).exists()
        if catalog.get_entry(name).grouped:
            assert reference == Path(row["ref_img_path"]).stem.lower()
        else:
            assert reference == image


def pretend(name: str, monkeypatch: pytest.MonkeyPatch, seed: int = 0) -> None:
    """Let a whole set seem to lie on disk: every listed name, shuffled, and no pixels."""
    labels = {title: text.encode() for title, text in labels_of(name).items()}
    put(name, labels)
    layout.raw(name).mkdir(parents=True, exist_ok=True)
    shape = SHAPES[name]
    paths = [shape.place(row["dis_img_path"]) for row in rows_of(name)]
    paths += [*shape.beside, *labels]
    random.Random(seed).shuffle(paths)
    monkeypatch.setattr(ImageFiles, "under", lambda _: ImageFiles(dict.fromkeys(paths, 1)))


COUNTS = {
    "koniq10k": (10_073, 0, (7_058, 1_000, 2_015)),
    "spaq": (11_125, 0, None),
    "clive": (1_161, 0, None),
    "flive": (39_810, 0, (30_253, 7_727, 1_827)),
    "biq2021": (12_000, 0, (10_000, 0, 2_000)),
    "live": (779, 29, None),
    "csiq": (866, 30, None),
    "tid2013": (3_000, 25, None),
    "kadid10k": (10_125, 81, None),
}


@pytest.mark.parametrize("name", COUNTS)
def test_the_full_table_gives_the_published_counts(
    name: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(name, monkeypatch)
    made = index.read_index(index.build_index(name))
    images, references, parts = COUNTS[name]
    assert len(made) == len(set(made.images)) == images
    assert made.images == sorted(made.images)
    assert made.header["missing"] == made.header["extra"] == made.header["duplicate"] == 0
    assert len(set(made.reference)) == (references or images)
    assert np.isfinite(made.mos).all()
    split = Counter(made.split)
    if parts is None:
        assert set(split) == {""}
    else:
        assert (split["train"], split["val"], split["test"]) == parts
        left_out = made.header.get("left_out_first", [])
        assert split[""] == images - sum(parts) == len(left_out)
        assert all("EE371R" in image for image in left_out), "FLIVE leaves out three, by name"


def test_levels_and_distortions_are_read(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, types, levels in (("tid2013", 23, 5), ("kadid10k", 25, 5), ("csiq", 6, 5)):
        pretend(name, monkeypatch)
        made = index.read_index(index.build_index(name))
        assert len(set(made.distortion)) == types
        assert set(made.level) == set(range(1, levels + 1))


def test_the_order_of_the_disk_does_not_matter(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend("csiq", monkeypatch, seed=1)
    first = index.build_index("csiq").read_bytes()
    pretend("csiq", monkeypatch, seed=2)
    assert index.build_index("csiq").read_bytes() == first


def test_dmos_is_turned_and_a_mos_called_dmos_is_not(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend("csiq", monkeypatch)
    made = index.read_index(index.build_index("csiq"))
    by_level = [np.mean(made.mos[np.array(made.level) == level]) for level in range(1, 6)]
    assert by_level == sorted(by_level, reverse=True)
    assert made.header["turned"] == "1 - DMOS"
    pretend("kadid10k", monkeypatch)
    made = index.read_index(index.build_index("kadid10k"))
    by_level = [np.mean(made.mos[np.array(made.level) == level]) for level in range(1, 6)]
    assert by_level == sorted(by_level, reverse=True)
    assert made.header["turned"] == ""


def whole_csiq(monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    sizes = {SHAPES["csiq"].place(row["dis_img_path"]): 1 for row in rows_of("csiq")}
    layout.raw("csiq").mkdir(parents=True)
    monkeypatch.setattr(ImageFiles, "under", lambda _: ImageFiles(sizes))
    return sizes


@pytest.mark.parametrize(
    ("fault", "change"),
    [
        ("1 missing", lambda sizes, path: sizes.pop(path)),
        ("1 extra", lambda sizes, path: sizes.update({path + ".png": 1})),
        ("1 unreadable", lambda sizes, path: sizes.update({path: 0})),
        ("1 duplicate", lambda sizes, path: sizes.update({path.upper(): 1})),
        ("1 duplicate", lambda sizes, path: sizes.update({"again/" + path: 1})),
    ],
)
def test_each_fault_is_counted_and_named_and_fails(
    fault: str,
    change: Callable[[dict[str, int], str], object],
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes = whole_csiq(monkeypatch)
    path = sorted(sizes)[5]
    change(sizes, path)
    with pytest.raises(BadInputError) as failure:
        index.build_index("csiq")
    assert fault in str(failure.value) and "\n" not in str(failure.value)
    assert Path(path).name.lower() in str(failure.value).lower()
    assert not layout.index("csiq").exists()
    made = index.read_index(index.build_index("csiq", allow_missing=True))
    kind = fault.split()[1]
    assert made.header[kind] == 1 and made.header[f"{kind}_first"]


def test_the_other_resolution_of_koniq_is_not_taken_for_this_one(project: Path) -> None:
    files = {
        path.replace("1024x768", "512x384"): data
        for path, data in miniature("koniq10k", 2000).items()
    }
    put("koniq10k", files)
    with pytest.raises(BadInputError, match="10,073 missing"):
        index.build_index("koniq10k")
    with pytest.raises(BadInputError, match="no image of"):
        index.build_index("koniq10k", allow_missing=True)


def test_verify_finds_images_whose_header_is_damaged(project: Path) -> None:
    files = miniature("live", 100)
    victim = sorted(path for path in files if "wn/" in path)[0]
    put("live", {**files, victim: b"not an image"})
    assert index.read_index(index.build_index("live", allow_missing=True)).header["unreadable"] == 0
    made = index.read_index(index.build_index("live", allow_missing=True, verify=True))
    assert made.header["unreadable_first"] == [victim]
    assert victim not in made.images


def test_a_split_whose_file_is_absent_is_said_to_be_so(project: Path) -> None:
    put("biq2021", miniature("biq2021", 1000))
    title = "Train (Images and MOS).csv"
    put("biq2021", {title: labels_of("biq2021")[title].encode()})
    made = index.read_index(index.build_index("biq2021", allow_missing=True))
    assert made.header["official_split"] == "not usable, absent: Test (Images and MOS).csv"


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (lambda text: "<html>log in</html>\n", "has no rows"),
        (lambda text: text.splitlines()[0] + "\n", "has no rows"),
        (lambda text: text[: len(text) // 2].rpartition("\n")[0], "images have no part"),
        (lambda text: text.rstrip().rpartition("\n")[0], "1 of 10,073 images have no part"),
    ],
)
def test_a_damaged_split_file_is_refused_with_the_remedy(
    damage: Callable[[str], str], fault: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend("koniq10k", monkeypatch)
    ((title, text),) = labels_of("koniq10k").items()
    put("koniq10k", {title: damage(text).encode()})
    for allowed in (False, True):
        with pytest.raises(BadInputError, match=f"{title}: .*{fault}.*--force"):
            index.build_index("koniq10k", allow_missing=allowed)


def test_a_truncated_split_with_missing_images_falls_back_with_a_note(project: Path) -> None:
    put("koniq10k", miniature("koniq10k", 900))
    ((title, text),) = labels_of("koniq10k").items()
    put("koniq10k", {title: text[: len(text) // 2].rpartition("\n")[0].encode()})
    made = index.read_index(index.build_index("koniq10k", allow_missing=True))
    assert made.header["official_split"] == f"not usable, cut off: {title}"


def test_flive_may_leave_out_three_images_and_no_fourth(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend("flive", monkeypatch)
    index.build_index("flive")
    text = labels_of("flive")["labels640.csv"]
    put("flive", {"labels640.csv": text.rstrip().rpartition("\n")[0].encode()})
    with pytest.raises(BadInputError, match=r"4 of 39,810 images have no part"):
        index.build_index("flive")


def test_a_split_that_contradicts_itself_is_refused(project: Path) -> None:
    put("biq2021", miniature("biq2021", 1000))
    labels = labels_of("biq2021")
    train = labels["Train (Images and MOS).csv"]
    labels["Test (Images and MOS).csv"] = train
    put("biq2021", {title: text.encode() for title, text in labels.items()})
    with pytest.raises(BadInputError, match=r"is in (test and in train|train and in test)"):
        index.build_index("biq2021", allow_missing=True)


def test_a_corpus_is_measured_and_its_copies_are_counted(project: Path) -> None:
    same = picture("a.png", 1)
    put("kodak", {f"kodim{number:02d}.png": picture("a.png", number, 20) for number in range(22)})
    put("kodak", {"kodim22.png": same, "kodim23.png": same})
    rows = index.read_corpus(index.build_index("kodak"))
    assert [(row.width, row.height) for row in rows] == [(20, 21)] * 22 + [(8, 9)] * 2
    assert len({row.digest for row in rows}) == 23
    assert index.read_header(layout.index("kodak"))["copies_first"] == ["kodim23.png = kodim22.png"]


def test_an_incomplete_corpus_fails_unless_allowed(project: Path) -> None:
    put("kodak", {"kodim01.png": picture("a.png")})
    with pytest.raises(BadInputError, match="23 missing"):
        index.build_index("kodak")
    assert index.read_header(index.build_index("kodak", allow_missing=True))["missing"] == 23


def test_only_the_pristine_images_of_kadis_are_its_corpus(project: Path) -> None:
    put(
        "kadis",
        {
            "kadis700k/ref_imgs/a.png": picture("a.png"),
            "kadis700k/dist_imgs/a_01.png": picture("a.png"),
        },
    )
    rows = index.read_corpus(index.build_index("kadis", allow_missing=True))
    assert [row.image for row in rows] == ["kadis700k/ref_imgs/a.png"]


def test_the_recipe_of_certh_keeps_the_naturally_blurred(project: Path) -> None:
    base = "CERTH_ImageBlurDataset"
    put(
        "certh_blur",
        {
            f"{base}/TrainingSet/Naturally-Blurred/n.jpg": picture("a.jpg", 1),
            f"{base}/TrainingSet/Undistorted/u.jpg": picture("a.jpg", 2),
            f"{base}/TrainingSet/Artificially-Blurred/a.jpg": picture("a.jpg", 3),
            f"{base}/EvaluationSet/NaturalBlurSet/Blurred.JPG": picture("a.jpg", 4),
            f"{base}/EvaluationSet/NaturalBlurSet/sharp.jpg": picture("a.jpg", 5),
            f"{base}/EvaluationSet/DigitalBlurSet/blurred.jpg": picture("a.jpg", 6),
            f"{base}/EvaluationSet/NaturalBlurSet.xlsx": spreadsheet(
                [["Image Name ", "Blur Label"], ["blurred.jpg", "1"], ["sharp.jpg", "-1"]]
            ),
        },
    )
    rows = index.read_corpus(index.build_index("certh_blur", allow_missing=True))
    assert [row.image.rpartition("/")[2] for row in rows] == ["Blurred.JPG", "n.jpg"]


def test_an_index_that_is_none_is_refused_in_one_line(project: Path) -> None:
    path = layout.index("csiq")
    with pytest.raises(BadInputError, match="reiqa index --dataset csiq"):
        index.read_index(path)
    path.parent.mkdir(parents=True)
    for text in ("", "image,mos\n", "# broken\nimage,mos,reference,split,distortion,level\n"):
        path.write_text(text)
        with pytest.raises(BadInputError, match=r"csiq\.csv: not a valid index"):
            index.read_header(path)
        with pytest.raises(BadInputError, match=r"csiq\.csv: not a valid index"):
            index.read_index(path)


def test_an_unfetched_dataset_error_names_the_remedy(project: Path) -> None:
    with pytest.raises(BadInputError, match="reiqa fetch --dataset spaq"):
        index.build_index("spaq")


segment = st.sampled_from(["a", "B", "images", "Images", "1024x768"])
listed = st.lists(segment, max_size=3).map(lambda folders: "/".join([*folders, "x.jpg"]))


@settings(deadline=None)
@given(st.lists(listed, min_size=1, max_size=6, unique=True), listed)
def test_the_longest_tail_wins_and_a_tie_is_reported(paths: list[str], wanted: str) -> None:
    def shared(one: str, other: str) -> int:
        pairs = zip(one.split("/")[::-1], other.split("/")[::-1], strict=False)
        return len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))

    def agreement(path: str) -> tuple[int, int]:
        return shared(path.lower(), wanted.lower()), shared(path, wanted)

    found = ImageFiles(dict.fromkeys(paths, 1)).find(wanted, 1)
    best = max(map(agreement, paths))
    winners = sorted(path for path in paths if agreement(path) == best)
    assert [found.path, *found.rivals] == winners
