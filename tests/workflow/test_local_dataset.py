"""Own images in a project: both engines see when they change, and a clone has nothing to do.

The engines are real; a stub in place of the verbs writes digests and true provenance.
"""

from pathlib import Path

import pytest
from PIL import Image
from support import stub
from support.project import Project, tiny_parameters

pytestmark = [pytest.mark.engine]

MADE = {
    *("fetch_dataset", "index_dataset", "extract_features", "fit_dataset", "cross_datasets"),
    "write_report",
}


def save(path: Path, shade: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(path)


def test_both_engines_see_a_changed_image_and_a_changed_rating(tmp_path: Path) -> None:
    parameters = tiny_parameters() | {"datasets": ["photos"]}
    for expert in ("content", "quality"):
        parameters[expert] = {"source": "package", "backbone": "efficientnet_lite0"}
    project = Project.new(tmp_path / "project", parameters)
    photos = project.folder / "photos"
    for number in range(4):
        save(photos / f"{number}.bmp", number)
    table = photos / "ratings.csv"
    table.write_text("image,mos\n" + "".join(f"{n}.bmp,{1 + n}\n" for n in range(4)))
    said = project.must("reiqa", "datasets", "add", "photos", "--ratings", "photos/ratings.csv")
    assert "dvc.yaml: the stage data now depends on photos, photos/ratings.csv" in said
    environment = stub.install(tmp_path / "environment")

    def a_change_is_seen() -> None:
        assert set(project.planned()) == MADE
        assert "modified:           photos" in project.must("dvc", "status", "data")

    project.must("dvc", "repro", **environment)
    assert project.planned() == {}
    ratings = table.read_text()
    table.write_text(ratings.replace("0.bmp,1", "0.bmp,1.5"))
    a_change_is_seen()
    table.write_text(ratings)
    assert project.planned() == {}, "it is what it was, whatever its times"
    save(photos / "0.bmp", 99)
    a_change_is_seen()
    project.must("dvc", "repro", **environment)
    assert project.planned() == {}
    assert "up to date" in project.must("dvc", "status")

    # The images are in git here; DVC has what was made of them.
    project.commit("The results")
    project.must("dvc", "remote", "add", "--local", "-d", "shelf", str(tmp_path / "shelf"))
    project.must("dvc", "push")
    clone = project.clone(tmp_path / "clone")
    clone.must("dvc", "remote", "add", "--local", "-d", "shelf", str(tmp_path / "shelf"))
    clone.must("dvc", "pull")
    assert clone.planned() == {}
    assert "up to date" in clone.must("dvc", "status")
    # What the images are elsewhere is not known here, so nothing is stale because of that.
    (clone.folder / "photos").rename(tmp_path / "away")
    assert clone.planned() == {}
