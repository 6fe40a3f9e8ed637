"""Which images a command line means."""

import os
import unicodedata
from pathlib import Path

import pytest

from reiqa.errors import BadInputError
from reiqa.scoring.find_images import ImageItem, find_images, read_list


def touch(*paths: str) -> None:
    for path in map(Path, paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


pytestmark = pytest.mark.usefixtures("project")


def paths(*arguments: str, lines: tuple[str, ...] = (), recursive: bool = True) -> list[str]:
    return [item.path.as_posix() for item in find_images(arguments, lines, recursive)]


def test_a_folder_gives_its_images_by_name_then_those_of_its_folders() -> None:
    touch("d/b.JPG", "d/a.png", "d/notes.txt", "d/c/z.webp", "d/a_folder/y.tif")
    expected = ["d/a.png", "d/b.JPG", "d/a_folder/y.tif", "d/c/z.webp"]
    assert paths("d") == expected
    assert paths("d", recursive=False) == expected[:2]


def test_a_kind_that_may_be_unreadable_is_not_passed_over() -> None:
    touch("d/phone.heic", "d/new.AVIF")
    assert paths("d") == ["d/new.AVIF", "d/phone.heic"]


def test_a_file_that_is_named_is_taken_whatever_its_suffix() -> None:
    touch("photo", "b.xyz")
    assert paths("photo", "b.xyz", "absent.jpg") == ["photo", "b.xyz", "absent.jpg"]


def test_each_image_once_however_often_it_is_named() -> None:
    touch("d/a.png", "d/b.png")
    assert paths("d/b.png", "d", "d/*.png") == ["d/b.png", "d/a.png"]


def test_patterns_look_into_folders() -> None:
    touch("d/a.png", "d/e/f/b.png", "d/e/c.jpg")
    assert paths("d/**/*.png") == ["d/a.png", "d/e/f/b.png"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file() -> None:
    touch("d/a[1].png", "d/a1.png")
    assert paths("d/a[1].png") == ["d/a[1].png"]


def test_a_pattern_without_matches_is_reported() -> None:
    touch("a.png")
    (none, _) = find_images(["x*.png", "a.png"], ())
    assert none.error == "no file matches this pattern"


def test_a_list_on_standard_input_is_lines_of_paths() -> None:
    touch("d/a b.png", "c.png")
    assert paths("-", lines=("c.png", "", "d")) == ["c.png", "d/a b.png"]


def test_folders_that_lead_round_are_entered_once() -> None:
    touch("d/a.png", "d/e/b.png")
    Path("d/e/up").symlink_to(Path("..").absolute() / Path.cwd().name / "d")
    Path("d/again").symlink_to("e")
    Path("d/self.png").symlink_to("self.png")
    assert paths("d") == ["d/a.png", "d/self.png", "d/again/b.png"]


def test_a_folder_that_may_not_be_entered_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    touch("d/a.png", "d/closed/b.png", "d/open/c.png")
    scan = os.scandir

    def guarded(folder: Path) -> object:
        if Path(folder).name == "closed":
            raise PermissionError(13, "Permission denied", str(folder))
        return scan(folder)

    monkeypatch.setattr(os, "scandir", guarded)
    items = find_images(["d"], ())
    assert [(item.path.as_posix(), item.error) for item in items] == [
        ("d/a.png", ""),
        ("d/closed", "folder not readable: Permission denied"),
        ("d/open/c.png", ""),
    ]


def test_what_is_no_file_is_not_waited_for() -> None:
    touch("a.png")
    os.mkfifo("pipe.png")
    assert find_images(["pipe.png", "a.png"], ())[0].error == "not a regular file"


def test_twins_in_case_are_two_images_and_composition_does_not_matter() -> None:
    composed, decomposed = (unicodedata.normalize(form, "é.png") for form in ("NFC", "NFD"))
    touch("d/A.png", "d/a.png", f"d/{decomposed}")
    assert paths("d") == ["d/A.png", "d/a.png", f"d/{decomposed}"]
    assert paths(f"d/{composed}", f"d/{decomposed}") == [f"d/{decomposed}"]
    touch(f"d/{composed}")
    assert paths(f"d/{composed}", f"d/{decomposed}") == [f"d/{composed}", f"d/{decomposed}"]


def test_no_image_at_all_is_bad_input() -> None:
    Path("empty").mkdir()
    with pytest.raises(BadInputError, match="empty: no image found"):
        find_images(["empty"], ())


def test_a_name_is_one_line_whatever_bytes_it_has() -> None:
    broken = ImageItem(Path(os.fsdecode(b"a\xff\nb.png")), Path("x"))
    assert broken.name == "a\\xff\\nb.png"
    assert ImageItem(Path("Bär 写真.png"), Path("x")).name == "Bär 写真.png"


def test_hidden_files_and_resource_forks_are_passed_over() -> None:
    touch("d/a.jpg", "d/._a.jpg", "d/.hidden.jpg", "d/__MACOSX/._a.jpg", "d/.cache/b.jpg")
    assert paths("d") == ["d/a.jpg"]
    # One that is named is meant.
    assert paths("d/.hidden.jpg") == ["d/.hidden.jpg"]


@pytest.mark.parametrize(
    ("content", "meant"),
    [
        (b"a.jpg\nb c.jpg\r\n", ["a.jpg", "b c.jpg", ""]),
        (b"a.jpg\0b\nc.jpg\0", ["a.jpg", "b\nc.jpg", ""]),
        ("ä.jpg\n".encode("utf-16"), ["ä.jpg", ""]),
        (b"\xef\xbb\xbfa.jpg", ["a.jpg"]),
        (b"caf\xe9.jpg", ["caf\udce9.jpg"]),
    ],
)
def test_lists_of_every_spelling(content: bytes, meant: list[str]) -> None:
    assert read_list(content) == meant


def test_kinds_that_are_never_read_are_counted(tmp_path: Path, capsys) -> None:
    for name in ("a.jpg", "a.NEF", "b.nef", "logo.svg", "notes.txt"):
        (tmp_path / name).touch()
    assert [item.path.name for item in find_images([str(tmp_path)], ())] == ["a.jpg"]
    assert "3 files of unsupported formats skipped: 2 .nef, 1 .svg" in capsys.readouterr().err
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(BadInputError, match=r"no image found \(files .*2 \.nef, 1 \.svg\)"):
        find_images([str(tmp_path)], ())


def test_an_address_is_called_one() -> None:
    with pytest.raises(BadInputError, match=r"^https:.*a\.jpg: is an address; download"):
        find_images(["https://example.org/a.jpg"], ())


def test_arguments_none_of_which_can_be_opened_are_bad_input() -> None:
    with pytest.raises(BadInputError, match=r"^a\.jpg: no such file$"):
        find_images(["a.jpg"], ())
    with pytest.raises(BadInputError, match=r"^a\.jpg: no such file; 1 more argument"):
        find_images(["a.jpg", "b*.jpg"], ())
    touch("c.jpg")
    assert paths("a.jpg", "c.jpg") == ["a.jpg", "c.jpg"]
