import pytest

from reiqa import store
from reiqa.data import sources
from reiqa.encoders import download
from reiqa.errors import BadInputError, WorkFailedError


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A source that gives ``served["bytes"]``, and counts how often it is asked."""
    monkeypatch.chdir(tmp_path)
    state = {"bytes": b"weights", "asked": 0}

    def give(source, **_):
        state["asked"] += 1
        if state["bytes"] is None:
            raise sources.SourceError("no route")
        path = tmp_path / "brought"
        path.write_bytes(state["bytes"])
        return path

    monkeypatch.setattr(sources, "download", give)
    return state


def test_a_checkpoint_is_downloaded_once_and_its_digest_recorded(served):
    path = download.fetch_checkpoint("reiqa_quality")
    assert path.read_bytes() == b"weights"
    assert store.read_json(path.with_suffix(".json"))["sha256"] == store.file_digest(path)
    assert download.fetch_checkpoint("reiqa_quality") == path
    assert served["asked"] == 1


def test_a_file_that_changed_since_it_was_recorded_is_refused(served):
    download.fetch_checkpoint("reiqa_quality").write_bytes(b"other")
    with pytest.raises(BadInputError, match=r"digest in .*reiqa_quality\.json"):
        download.fetch_checkpoint("reiqa_quality")


def test_a_file_that_is_not_the_published_one_is_deleted(served):
    with pytest.raises(WorkFailedError, match="published a04e12f8"):
        download.fetch_checkpoint("moco_v2_800ep")
    assert not (download.PLACE / "moco_v2_800ep.pth").exists()


def test_without_a_network_the_message_says_where_the_file_may_be_put(served):
    served["bytes"] = None
    with pytest.raises(WorkFailedError, match=r"no route.*data/weights/reiqa_content\.pth"):
        download.fetch_checkpoint("reiqa_content")


def test_an_unknown_name_is_refused_with_those_known(served):
    with pytest.raises(BadInputError, match="moco_v2_800ep, reiqa_content, reiqa_quality"):
        download.fetch_checkpoint("resnet")
