"""Every fault of a source ends in a resumed download, the next source, or one clear line."""

import errno
import hashlib
import json
import os
import random
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest
from support.archive_server import SMALL, Server, picture, tgz, zipped

from reiqa import catalog, layout, store
from reiqa.catalog import DatasetEntry, Source, SourceFile
from reiqa.data import fetch, file_tree, receipts, sources, status
from reiqa.data.sources import RetryPolicy
from reiqa.data.unpack import unpack
from reiqa.errors import BadInputError, WorkFailedError

ARCHIVE = "/a/small.tgz"
OTHER = "/b/small.zip"

MakeSet = Callable[..., DatasetEntry]


@pytest.fixture
def archives(project: Path, server: Server) -> Server:
    noise = {"Small/readme.bin": random.Random(0).randbytes(60_000)}
    server.files[ARCHIVE] = tgz({**SMALL, **noise})
    server.files[OTHER] = zipped({**SMALL, **noise})
    return server


def whole() -> bool:
    """Whether the set stands in data/raw, byte by byte as it was packed."""
    raw = layout.raw("small")
    return layout.receipt("small").exists() and all(
        (raw / name).read_bytes() == data for name, data in SMALL.items()
    )


def nothing_there() -> bool:
    return not layout.receipt("small").exists() and not layout.raw("small").exists()


def test_a_set_is_downloaded_unpacked_and_vouched_for(
    archives: Server, small_set: MakeSet, patience: RetryPolicy
) -> None:
    small_set(ARCHIVE)
    receipt = json.loads(fetch.fetch("small", patience=patience).read_text())
    assert whole()
    assert receipt["images"] == 3
    assert receipt["files"][0]["bytes"] == len(archives.files[ARCHIVE])
    assert not list(sources.DOWNLOADS.rglob("*.tgz")), "the archive is not kept beside the files"


def test_the_receipt_of_the_same_files_is_the_same_file(
    archives: Server, small_set: MakeSet, patience: RetryPolicy
) -> None:
    small_set(ARCHIVE)
    first = fetch.fetch("small", patience=patience).read_bytes()
    assert fetch.fetch("small", force=True, patience=patience).read_bytes() == first


def test_a_complete_dataset_is_not_fetched_again_but_a_damaged_one_is(
    archives: Server, small_set: MakeSet, patience: RetryPolicy
) -> None:
    small_set(ARCHIVE)
    layout_before = fetch.fetch("small", patience=patience)
    layout_before.unlink()
    fetch.fetch("small", patience=patience)
    assert len(archives.asked) == 1
    (layout.raw("small") / "Small/images/1.png").unlink()
    fetch.fetch("small", patience=patience)
    assert len(archives.asked) == 2 and whole()


@pytest.mark.parametrize(
    ("fault", "resumed"),
    [
        ("cut 30000", True),
        ("cut 0", False),
        ("stall", True),
        ("stall before", False),
        ("says more", True),
        ("503", False),
        ("429", False),
    ],
)
def test_a_passing_fault_is_overcome_at_the_same_source(
    fault: str, resumed: bool, archives: Server, small_set: MakeSet, patience: RetryPolicy
) -> None:
    small_set(ARCHIVE)
    archives.faults[ARCHIVE] = [fault]
    fetch.fetch("small", patience=patience)
    assert whole()
    second = archives.ranges(ARCHIVE)[1]
    assert second.startswith("bytes=") is resumed


def test_many_cuts_in_a_row_are_overcome_while_each_brings_something(
    archives: Server, small_set: MakeSet, patience: RetryPolicy
) -> None:
    small_set(ARCHIVE)
    archives.faults[ARCHIVE] = ["cut 9000"] * 5
    fetch.fetch("small", patience=patience)
    assert whole()
    starts = [int(text[6:-1]) for text in archives.ranges(ARCHIVE)[1:]]
    assert starts == [9000, 18000, 27000, 36000, 45000]


def test_a_download_goes_on_after_the_process_was_killed(
    archives: Server, small_set: MakeSet, patience: RetryPolicy
) -> None:
    small_set(ARCHIVE)
    archives.faults[ARCHIVE] = ["cut 30000", "500", "500"]
    with pytest.raises(WorkFailedError):
        fetch.fetch("small", patience=patience)
    assert nothing_there()
    fetch.fetch("small", patience=patience)
    assert whole() and archives.ranges(ARCHIVE)[-1] == "bytes=30000-"


@pytest.mark.parametrize("fault", ["no range", "changed", "416"])
def test_a_partial_download_that_cannot_resume_is_restarted(
    fault: str, archives: Server, small_set: MakeSet, patience: RetryPolicy
) -> None:
    small_set(ARCHIVE)
    archives.faults[ARCHIVE] = ["cut 30000", fault]
    fetch.fetch("small", patience=patience)
    assert whole()


@pytest.mark.parametrize("fault", ["404", "403", "wrong", "says less", "web page"])
def test_a_source_that_gives_something_else_is_left_for_the_next(
    fault: str, archives: Server, small_set: MakeSet, patience: RetryPolicy
) -> None:
    small_set(ARCHIVE, OTHER)
    archives.faults[ARCHIVE] = [fault] * 9
    fetch.fetch("small", patience=patience)
    assert whole()
    assert archives.ranges(OTHER) == [""]
    assert len(archives.ranges(ARCHIVE)) == 1, "what is wrong is not asked for again"


@pytest.mark.parametrize(
    "fault", ["404", "403", "416", "500", "wrong", "says less", "web page", "cut 0", "stall"]
)
def test_without_another_source_there_is_one_line_and_no_set(
    fault: str, archives: Server, small_set: MakeSet, patience: RetryPolicy
) -> None:
    small_set(ARCHIVE)
    # A stalling source that brings half of the rest each time is progress; here it brings nothing.
    archives.faults[ARCHIVE] = (["stall before"] if fault == "stall" else [fault]) * 9
    with pytest.raises(WorkFailedError) as failure:
        fetch.fetch("small", patience=patience)
    line = str(failure.value)
    assert "\n" not in line and "small.tgz" in line and "127.0.0.1" in line
    assert nothing_there()


def test_a_slow_source_is_left_while_there_is_another(
    archives: Server, small_set: MakeSet, patience: RetryPolicy
) -> None:
    small_set(ARCHIVE, OTHER)
    archives.faults[ARCHIVE] = ["trickle"] * 9
    fetch.fetch("small", patience=patience)
    assert whole() and archives.ranges(OTHER) == [""]


def test_a_slow_source_is_better_than_none(
    archives: Server, small_set: MakeSet, patience: RetryPolicy
) -> None:
    small_set(ARCHIVE, OTHER)
    archives.faults[ARCHIVE] = ["trickle"]
    archives.faults[OTHER] = ["404"]
    fetch.fetch("small", patience=patience)
    first, second = archives.ranges(ARCHIVE)
    assert whole() and first == "" and second.startswith("bytes=")


def test_a_dead_address_is_left_for_the_next(
    archives: Server,
    small_set: MakeSet,
    patience: RetryPolicy,
    change_catalog: Callable[..., DatasetEntry],
) -> None:
    entry = small_set(OTHER)
    dead = Source(url="http://127.0.0.1:9/small.tgz")
    pieces = (SourceFile(sources=(dead, *entry.parts[0].sources)),)
    change_catalog(entry.model_copy(update={"parts": pieces}))
    fetch.fetch("small", patience=patience)
    assert whole()


def test_bytes_unlike_the_known_digest_are_never_taken(
    archives: Server,
    small_set: MakeSet,
    patience: RetryPolicy,
    change_catalog: Callable[..., DatasetEntry],
) -> None:
    entry = small_set(ARCHIVE)
    known = entry.parts[0].sources[0].model_copy(update={"sha256": "0" * 64})
    change_catalog(entry.model_copy(update={"parts": (SourceFile(sources=(known,)),)}))
    with pytest.raises(WorkFailedError, match="checksum mismatch"):
        fetch.fetch("small", patience=patience)
    assert nothing_there()


def test_a_digest_seen_first_is_held_ever_after(
    archives: Server, small_set: MakeSet, patience: RetryPolicy
) -> None:
    small_set(ARCHIVE)
    fetch.fetch("small", patience=patience)
    recorded = json.loads(receipts.DIGESTS.read_text())["small/small.tgz"]
    assert recorded["bytes"] == len(archives.files[ARCHIVE])
    # A sound archive of other content, as after a silent change at the source.
    archives.files[ARCHIVE] = tgz({"Small/images/0.png": picture("a.png", 99)})
    with pytest.raises(WorkFailedError, match=r"remove small/small.tgz from data/digests.json"):
        fetch.fetch("small", force=True, patience=patience)
    assert whole(), "what was there stays"


def test_a_damaged_first_sight_does_not_become_the_measure(
    archives: Server, small_set: MakeSet, patience: RetryPolicy
) -> None:
    small_set(ARCHIVE)
    archives.faults[ARCHIVE] = ["says less"]
    with pytest.raises(WorkFailedError, match="truncated"):
        fetch.fetch("small", patience=patience)
    fetch.fetch("small", patience=patience)
    assert whole()


def test_the_digest_that_a_hub_promises_on_the_way_is_held(
    archives: Server, small_set: MakeSet, patience: RetryPolicy
) -> None:
    small_set(ARCHIVE)
    archives.faults[ARCHIVE] = [f'redirect "{"1" * 64}"']
    with pytest.raises(WorkFailedError, match="checksum mismatch"):
        fetch.fetch("small", patience=patience)
    assert nothing_there()
    right = hashlib.sha256(archives.files[ARCHIVE]).hexdigest()
    archives.faults[ARCHIVE] = [f'redirect "{right}"']
    fetch.fetch("small", patience=patience)
    assert whole()


def test_a_promised_digest_outlives_a_process_killed_after_the_last_byte(
    archives: Server, small_set: MakeSet, patience: RetryPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_set(ARCHIVE)
    right = hashlib.sha256(archives.files[ARCHIVE]).hexdigest()
    archives.faults[ARCHIVE] = [f'redirect "{right}"']

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(sources, "_check", killed)
        fetch.fetch("small", patience=patience)
    (part,) = sources.DOWNLOADS.rglob("*.part")
    spoilt = bytearray(part.read_bytes())
    spoilt[-9] ^= 1
    part.write_bytes(spoilt)
    with pytest.raises(WorkFailedError, match="checksum mismatch"):
        fetch.fetch("small", patience=patience)
    assert nothing_there()


def test_hub_and_drive_addresses_are_spelled_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:1")
    spelled = sources.address("hf://datasets/someone/things/deep/x.tgz")
    assert spelled == "http://127.0.0.1:1/datasets/someone/things/resolve/main/deep/x.tgz"
    assert sources.address("gdrive://abc").endswith("id=abc")
    assert sources.file_name(Source(url="https://a/labels%3D640_padded.csv?x=1")) == (
        "labels=640_padded.csv"
    )


def test_a_drive_file_is_downloaded_under_its_name(
    archives: Server, small_set: MakeSet, patience: RetryPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = small_set(ARCHIVE)
    monkeypatch.setattr(sources, "GOOGLE_DRIVE", archives.url + "/a/")
    source = Source(url="gdrive://small.tgz", file="small.tgz")
    pieces = (SourceFile(sources=(source,)),)
    monkeypatch.setitem(catalog.load_catalog(), "small", entry.model_copy(update={"parts": pieces}))
    fetch.fetch("small", patience=patience)
    assert whole()


def test_pieces_are_put_together_and_none_may_fail(
    archives: Server,
    small_set: MakeSet,
    patience: RetryPolicy,
    change_catalog: Callable[..., DatasetEntry],
) -> None:
    entry = small_set(ARCHIVE)
    archives.files["/c/labels.csv"] = b"image,set\n0.png,training\n"
    label = SourceFile(sources=(Source(url=archives.url + "/c/labels.csv"),), into="metadata")
    change_catalog(entry.model_copy(update={"parts": (*entry.parts, label)}))
    archives.faults["/c/labels.csv"] = ["404"]
    with pytest.raises(WorkFailedError, match=r"labels.csv"):
        fetch.fetch("small", patience=patience)
    assert nothing_there()
    fetch.fetch("small", patience=patience)
    assert whole()
    assert (layout.raw("small") / "metadata/labels.csv").exists()
    assert len(archives.ranges(ARCHIVE)) == 1, "what had come is not brought anew"


def test_skipped_links_are_reported_and_recorded_in_the_receipt(
    archives: Server, small_set: MakeSet, patience: RetryPolicy, capsys: pytest.CaptureFixture[str]
) -> None:
    small_set(ARCHIVE)
    assert "links_left_out" not in fetch.fetch("small", patience=patience).read_text()
    assert "skipped" not in capsys.readouterr().err
    links = {f"Small/images/copy{number}.png": "0.png" for number in range(2)}
    archives.files[ARCHIVE] = tgz(SMALL, links=links)
    receipts.DIGESTS.unlink()
    receipt = json.loads(fetch.fetch("small", force=True, patience=patience).read_text())
    assert whole() and receipt["files"][0]["links_left_out"] == 2
    told = capsys.readouterr().err.splitlines()
    assert told == ["small: small.tgz: skipped 2 links, only files are extracted"]


LABELS = "/c/labels.csv"


@pytest.fixture
def labelled(
    archives: Server, small_set: MakeSet, change_catalog: Callable[..., DatasetEntry]
) -> DatasetEntry:
    """A set with a plain file beside its archive, offered at two places."""
    entry = small_set(ARCHIVE)
    archives.files[LABELS] = archives.files["/d/labels.csv"] = b"image,set\n" + b"0.png,test\n" * 9
    places = tuple(Source(url=archives.url + path) for path in (LABELS, "/d/labels.csv"))
    parts = (*entry.parts, SourceFile(sources=places))
    return change_catalog(entry.model_copy(update={"parts": parts}))


def test_two_versions_of_a_file_are_never_joined(
    archives: Server, labelled: DatasetEntry, patience: RetryPolicy
) -> None:
    archives.faults[LABELS] = ["weak old", "weak new"]
    fetch.fetch("small", patience=patience)
    assert archives.ranges(LABELS) == ["", "bytes=60-", ""]
    assert (layout.raw("small") / "labels.csv").read_bytes() == archives.files[LABELS]


def test_a_web_page_is_not_taken_for_a_plain_file(
    archives: Server, labelled: DatasetEntry, patience: RetryPolicy
) -> None:
    archives.faults[LABELS] = ["web page"]
    fetch.fetch("small", patience=patience)
    assert (layout.raw("small") / "labels.csv").read_bytes() == archives.files[LABELS]
    assert archives.ranges("/d/labels.csv") == [""]


def test_the_digest_of_an_unverified_file_is_not_recorded(
    archives: Server, labelled: DatasetEntry, patience: RetryPolicy
) -> None:
    archives.faults[LABELS] = ["unsized"]
    fetch.fetch("small", patience=patience)
    assert list(json.loads(receipts.DIGESTS.read_text())) == ["small/small.tgz"]
    fetch.fetch("small", force=True, patience=patience)
    assert (layout.raw("small") / "labels.csv").read_bytes() == archives.files[LABELS]
    assert "small/labels.csv" in json.loads(receipts.DIGESTS.read_text())


@pytest.mark.parametrize("place", ["small.tgz", "Small/small.tgz", "small/small.tgz"])
def test_an_archive_in_the_mirror_comes_before_any_download(
    place: str, archives: Server, small_set: MakeSet, tmp_path: Path
) -> None:
    small_set(ARCHIVE)
    archive = tmp_path / "mirror" / place
    archive.parent.mkdir(parents=True)
    archive.write_bytes(archives.files[ARCHIVE])
    fetch.fetch("small", tmp_path / "mirror")
    assert whole() and not archives.asked


def test_an_archive_in_the_mirror_is_held_to_the_digest_of_the_catalog(
    archives: Server,
    small_set: MakeSet,
    change_catalog: Callable[..., DatasetEntry],
    tmp_path: Path,
    patience: RetryPolicy,
) -> None:
    entry = small_set(ARCHIVE)
    known = entry.parts[0].sources[0].model_copy(update={"sha256": "0" * 64})
    change_catalog(entry.model_copy(update={"parts": (SourceFile(sources=(known,)),)}))
    (tmp_path / "small.tgz").write_bytes(archives.files[ARCHIVE])
    with pytest.raises(WorkFailedError, match=r"expected 0{12}\); it is not the file in the cat"):
        fetch.fetch("small", tmp_path, patience=patience)
    assert nothing_there()


def test_an_unpacked_folder_in_the_mirror_is_copied(
    archives: Server, small_set: MakeSet, tmp_path: Path
) -> None:
    small_set(ARCHIVE)
    for name, data in SMALL.items():
        (tmp_path / "mirror" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "mirror" / name).write_bytes(data)
    fetch.fetch("small", tmp_path / "mirror")
    copy = layout.raw("small") / "images/0.png"
    assert not archives.asked and copy.read_bytes() == SMALL["Small/images/0.png"]
    assert copy.stat().st_nlink == 1, "a copy of its own: the mirror is never written through"


def test_a_broken_archive_in_the_mirror_is_passed_over(
    archives: Server, small_set: MakeSet, tmp_path: Path, patience: RetryPolicy
) -> None:
    small_set(ARCHIVE)
    (tmp_path / "small.tgz").write_bytes(archives.files[ARCHIVE][:20_000])
    fetch.fetch("small", tmp_path, patience=patience)
    assert whole() and archives.ranges(ARCHIVE) == [""]


def test_a_walled_set_says_what_to_do_and_is_then_taken_from_there(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(BadInputError, match=r"work/by-hand/imagenet") as failure:
        fetch.fetch("imagenet")
    assert "\n" not in str(failure.value)
    assert "1. register at https" in capsys.readouterr().err
    image = fetch.BY_HAND / "imagenet/n01440764/n01440764_1.JPEG"
    image.parent.mkdir(parents=True)
    image.write_bytes(picture("a.jpg"))
    fetch.fetch("imagenet")
    assert layout.raw("imagenet").is_symlink(), "a set this large is used where it lies"
    fetch.fetch("imagenet", force=True)
    assert image.exists(), "to fetch again removes the link, never what it leads to"


def test_manual_steps_are_logged_if_all_sources_fail(
    archives: Server,
    small_set: MakeSet,
    patience: RetryPolicy,
    capsys: pytest.CaptureFixture[str],
) -> None:
    small_set(ARCHIVE, steps=("fill in the form", "unpack it"), registration=True)
    archives.faults[ARCHIVE] = ["404"] * 9
    with pytest.raises(WorkFailedError, match=r"HTTP 404\)\. .*steps above.*work/by-hand/small"):
        fetch.fetch("small", patience=patience)
    assert capsys.readouterr().err.splitlines() == ["1. fill in the form", "2. unpack it"]
    for name, data in SMALL.items():
        place = fetch.BY_HAND / name.replace("Small", "small")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    archives.asked.clear()
    assert json.loads(fetch.fetch("small").read_text())["images"] == 3
    assert not archives.asked


def test_a_full_disk_is_one_line_before_anything_is_written(
    archives: Server, small_set: MakeSet, patience: RetryPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_set(ARCHIVE)
    usage = type("Usage", (), {"free": 1000})()
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(WorkFailedError, match="MB free"):
        fetch.fetch("small", patience=patience)
    assert nothing_there()


def test_a_disk_that_fills_while_it_is_unpacked_is_one_line_and_left_empty(
    archives: Server, small_set: MakeSet, patience: RetryPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_set(ARCHIVE)

    def full(_archive: Path, folder: Path, _advance: object) -> int:
        folder.mkdir(parents=True)
        (folder / "half").write_bytes(bytes(1000))
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder / "other"))

    monkeypatch.setattr(fetch, "unpack", full)
    with pytest.raises(WorkFailedError, match=r"small: No space left on device. Free disk space"):
        fetch.fetch("small", patience=patience)
    assert nothing_there() and not list((store.WORK / "unpack").iterdir())
    monkeypatch.setattr(fetch, "unpack", unpack)
    fetch.fetch("small", patience=patience)
    assert whole() and len(archives.asked) == 1, "the archive itself is kept"


@pytest.mark.parametrize("broken", ["[]", '{"small/small.tgz": 3}', "{"])
def test_a_broken_table_of_digests_is_one_line(
    broken: str, archives: Server, small_set: MakeSet, patience: RetryPolicy
) -> None:
    small_set(ARCHIVE)
    store.write_text(receipts.DIGESTS, broken)
    with pytest.raises(BadInputError, match=r"data/digests.json: not .*Delete it and rerun"):
        fetch.fetch("small", patience=patience)
    assert nothing_there()


@pytest.mark.parametrize("broken", ["[]", '{"images": 3}', "{"])
def test_a_broken_receipt_is_not_trusted(
    broken: str, archives: Server, small_set: MakeSet, patience: RetryPolicy
) -> None:
    small_set(ARCHIVE)
    receipt = fetch.fetch("small", patience=patience)
    receipt.write_text(broken)
    assert not fetch.is_complete("small")
    with pytest.raises(BadInputError, match=r"data/raw/small.json: not .*Delete it and rerun"):
        status.status_table()
    (store.WORK / "fetched/small.json").write_text(broken)
    fetch.fetch("small", patience=patience)
    assert whole() and fetch.is_complete("small")


def test_a_mirror_without_the_archive_is_named_among_what_was_tried(
    archives: Server, small_set: MakeSet, patience: RetryPolicy, tmp_path: Path
) -> None:
    small_set(ARCHIVE)
    archives.faults[ARCHIVE] = ["404"]
    (tmp_path / "mirror").mkdir()
    with pytest.raises(WorkFailedError, match=r"small.tgz failed \(not in .*mirror; 127.0.0.1"):
        fetch.fetch("small", tmp_path / "mirror", patience=patience)


def test_a_corpus_of_a_rated_sets_photographs_takes_no_second_room(
    project: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mirror/BIQ2021/Images"
    folder.mkdir(parents=True)
    (folder / "ss01 (1).jpg").write_bytes(picture("a.jpg"))
    fetch.fetch("biq2021_photos", tmp_path / "mirror")
    fetch.fetch("biq2021", tmp_path / "mirror")
    first, second = (
        layout.raw(name) / "Images/ss01 (1).jpg" for name in ("biq2021", "biq2021_photos")
    )
    assert first.samefile(second)


def test_two_processes_that_want_one_set_bring_it_once(
    archives: Server, small_set: MakeSet, patience: RetryPolicy
) -> None:
    small_set(ARCHIVE)
    archives.faults[ARCHIVE] = ["trickle"]
    slow = RetryPolicy(silence=5, tries=2, pause=0, floor=0, window=60)
    both = [threading.Thread(target=fetch.fetch, args=("small", None, False, slow)) for _ in "ab"]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert whole() and len(archives.asked) == 1


def test_no_receipt_exists_while_the_folder_is_replaced(
    archives: Server, small_set: MakeSet, patience: RetryPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_set(ARCHIVE)
    fetch.fetch("small", patience=patience)
    removed = file_tree.remove_tree

    def cut(path: Path) -> None:
        if path == layout.raw("small"):
            raise KeyboardInterrupt
        removed(path)

    monkeypatch.setattr(file_tree, "remove_tree", cut)
    with pytest.raises(KeyboardInterrupt):
        fetch.fetch("small", force=True, patience=patience)
    assert not layout.receipt("small").exists()
    monkeypatch.setattr(file_tree, "remove_tree", removed)
    fetch.fetch("small", patience=patience)
    assert whole()


def test_after_an_interruption_no_thread_goes_on_writing(
    archives: Server, small_set: MakeSet, patience: RetryPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    small_set(ARCHIVE)
    archives.faults[ARCHIVE] = ["trickle"]

    def interrupted(jobs: list[Future[object]]) -> None:
        while not list(sources.DOWNLOADS.rglob("*.part")):
            time.sleep(0.01)
        seen.extend(jobs)
        raise KeyboardInterrupt

    seen: list[Future[object]] = []
    monkeypatch.setattr("reiqa.data.concurrency.wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch.fetch("small", patience=RetryPolicy(floor=0))
    assert "interrupted" in str(seen[0].exception(timeout=10))
    assert nothing_there()
    monkeypatch.undo()


def test_an_unknown_set_and_an_absent_mirror_are_named(project: Path) -> None:
    with pytest.raises(BadInputError, match=r"nosuch.*koniq10k"):
        fetch.fetch("nosuch")
    with pytest.raises(BadInputError, match="nowhere"):
        fetch.fetch("demo", Path("nowhere"))


def test_files_from_a_clone_are_not_downloaded_again(
    archives: Server, small_set: MakeSet, patience: RetryPolicy
) -> None:
    small_set(ARCHIVE)
    receipt = fetch.fetch("small", patience=patience).read_bytes()
    shutil.rmtree(store.WORK)
    assert fetch.fetch("small", patience=patience).read_bytes() == receipt
    assert len(archives.asked) == 1


def test_the_mark_of_a_whole_set_lies_outside_what_an_engine_deletes(
    archives: Server, small_set: MakeSet, patience: RetryPolicy
) -> None:
    small_set(ARCHIVE)
    fetch.fetch("small", patience=patience)
    assert (store.WORK / "fetched/small.json").exists()
