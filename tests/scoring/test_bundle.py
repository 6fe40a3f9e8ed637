"""The bundle: all parts of one run, whole and unchanged, or a line that says what is wrong."""

import contextlib
import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reiqa import layout, store
from reiqa.errors import BadInputError
from reiqa.scoring import build, bundle
from reiqa.scoring.bundle import RatingScale, ResidualQuantiles
from reiqa.scoring.scorer import Scorer


@pytest.fixture
def copy(run, tmp_path: Path) -> Path:
    """A bundle to do harm to."""
    shutil.copytree(run.bundle, tmp_path / "tiny")
    return tmp_path / "tiny"


def rewrite(folder: Path, change: Callable[[dict], None]) -> None:
    tree = store.verify_checksum(json.loads((folder / "bundle.json").read_text()))
    change(tree)
    (folder / "bundle.json").write_text(json.dumps(store.add_checksum(tree)))


def put(folder: Path, part: str, content: bytes) -> None:
    """Replace a part by other bytes, and the digest that the manifest names."""
    (folder / part).write_bytes(content)

    def change(tree: dict) -> None:
        tree["parts"][part] = hashlib.sha256(content).hexdigest()

    rewrite(folder, change)


def test_the_same_run_makes_the_same_bytes(in_run, tmp_path: Path) -> None:
    build.build_bundle("clive", tmp_path / "tiny")
    for path in in_run.bundle.iterdir():
        assert (tmp_path / "tiny" / path.name).read_bytes() == path.read_bytes(), path.name


def test_identity_changes_with_any_part(copy: Path) -> None:
    before = bundle.load_bundle(copy).identity
    put(copy, "quality.safetensors", (copy / "content.safetensors").read_bytes())
    assert bundle.load_bundle(copy).identity != before


@pytest.mark.parametrize("part", bundle.PARTS)
def test_one_changed_byte_is_refused_by_name(copy: Path, part: str) -> None:
    content = bytearray((copy / part).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / part).write_bytes(content)
    with pytest.raises(BadInputError, match=rf"{part}: checksum mismatch"):
        bundle.load_bundle(copy)


@pytest.mark.parametrize("part", bundle.PARTS)
def test_a_missing_part_is_refused_by_name(copy: Path, part: str) -> None:
    (copy / part).unlink()
    with pytest.raises(BadInputError, match=rf"{part}: missing"):
        bundle.load_bundle(copy)


def test_a_changed_number_of_the_manifest_is_refused(copy: Path) -> None:
    text = (copy / "bundle.json").read_text()
    changed = text.replace('"intercept": ', '"intercept": 1', 1)
    assert changed != text
    (copy / "bundle.json").write_text(changed)
    with pytest.raises(BadInputError, match=r"bundle\.json: .*checksum mismatch"):
        bundle.load_bundle(copy)


def test_a_manifest_from_before_manifests_had_seals_is_read(copy: Path) -> None:
    tree = store.verify_checksum(json.loads((copy / "bundle.json").read_text()))
    (copy / "bundle.json").write_text(json.dumps(tree))
    assert bundle.load_bundle(copy).manifest.name == "tiny"


class _Harm:
    ran = False

    def __reduce__(self) -> tuple:
        return setattr, (_Harm, "ran", True)


@pytest.mark.parametrize("part", bundle.PARTS)
def test_a_pickle_in_place_of_a_part_is_never_run(copy: Path, part: str) -> None:
    put(copy, part, pickle.dumps(_Harm()))
    with pytest.raises(BadInputError, match=Path(part).stem):
        Scorer.load(copy)
    assert not _Harm.ran


def test_a_file_that_is_no_part_is_refused(copy: Path) -> None:
    (copy / "extra.pkl").write_bytes(pickle.dumps(_Harm()))
    with pytest.raises(BadInputError, match=r"extra\.pkl: not part of a bundle"):
        bundle.load_bundle(copy)
    assert not _Harm.ran


def test_a_notice_file_is_allowed_in_a_bundle(copy: Path) -> None:
    (copy / "NOTICE.txt").write_text("whose it is")
    assert bundle.load_bundle(copy).manifest.name == "tiny"


def test_a_bundle_of_features_in_bf16_is_refused(copy: Path) -> None:
    rewrite(copy, lambda tree: tree["recipe"].update(precision="bf16"))
    with pytest.raises(BadInputError, match=r"bundle\.json: made from features in bf16") as refusal:
        bundle.load_bundle(copy)
    assert "features.precision to float32" in str(refusal.value)


def test_no_bundle_is_built_from_features_in_bf16(in_run, tmp_path: Path, monkeypatch) -> None:
    read = build.regressor.read_card

    def rounded(path: Path) -> dict:
        card = json.loads(json.dumps(read(path)))
        card["experts"]["quality"]["precision"] = "bf16"
        return card

    monkeypatch.setattr(build.regressor, "read_card", rounded)
    with pytest.raises(BadInputError, match="fitted on features in bf16") as refusal:
        build.build_bundle("clive", tmp_path / "tiny")
    assert "features.precision to float32" in str(refusal.value)


def test_a_newer_format_is_distinguished_from_damage(copy: Path) -> None:
    rewrite(copy, lambda tree: tree.update(format=bundle.FORMAT + 1))
    with pytest.raises(BadInputError, match="newer than this version"):
        bundle.load_bundle(copy)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "one"}', "\x00\xff", '{"format": 1}'])
def test_what_is_no_manifest_is_refused(copy: Path, text: str) -> None:
    (copy / "bundle.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(BadInputError, match=r"bundle\.json"):
        bundle.load_bundle(copy)


def test_a_field_of_the_wrong_kind_is_named(copy: Path) -> None:
    rewrite(copy, lambda tree: tree["recipe"].update(max_pixels="many"))
    with pytest.raises(BadInputError, match=r"recipe\.max_pixels"):
        bundle.load_bundle(copy)


def test_an_expert_that_is_another_is_refused(copy: Path) -> None:
    put(copy, "quality.safetensors", (copy / "content.safetensors").read_bytes())
    with pytest.raises(BadInputError, match="the manifest says quality"):
        Scorer.load(copy).as_module()


def test_an_unknown_name_lists_those_installed(monkeypatch, run, tmp_path: Path) -> None:
    monkeypatch.setattr(bundle, "SHIPPED", run.bundle.parent)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadInputError, match="installed: tiny"):
        bundle.load_bundle("lihgt")
    assert bundle.load_bundle("tiny").folder == run.bundle


def test_a_folder_of_that_name_goes_before_an_installed_one(monkeypatch, run, copy: Path) -> None:
    monkeypatch.setattr(bundle, "SHIPPED", run.bundle.parent)
    monkeypatch.chdir(copy.parent)
    assert bundle.load_bundle("tiny").folder == Path("tiny")


def test_experts_of_another_run_are_not_bundled(run, tmp_path: Path) -> None:
    shutil.copytree(run.folder, tmp_path / "project")
    with contextlib.chdir(tmp_path / "project"):
        path = layout.model("quality")
        store.sidecar(path).unlink()
        shutil.copy(layout.model("content"), path)
        with pytest.raises(BadInputError, match="not the expert"):
            build.build_bundle("clive", Path("other"))
        assert not Path("other/bundle.json").exists()


def test_a_second_protocol_is_in_manifest_and_card(in_run, tmp_path: Path) -> None:
    tree = store.read_json(layout.result("clive"))
    tree["protocol"]["text"] = "the official split"
    store.write_json(tmp_path / "other.json", tree)
    made = build.build_bundle("clive", tmp_path / "tiny", others=[tmp_path / "other.json"])
    assert [entry["protocol"] for entry in made.manifest.metrics][1] == "the official split"
    assert "the official split" in (tmp_path / "tiny/CARD.md").read_text()
    tree["experts"]["quality"]["weights"] = "0" * 64
    store.write_json(tmp_path / "other.json", tree)
    with pytest.raises(BadInputError, match="different experts"):
        build.build_bundle("clive", tmp_path / "tiny", others=[tmp_path / "other.json"])


def test_the_card_tells_the_results_own_numbers(in_run, tmp_path: Path) -> None:
    notes = tmp_path / "notes.md"
    notes.write_text("Line drawings.\n")
    build.build_bundle("clive", tmp_path / "tiny", notes)
    card = (tmp_path / "tiny/CARD.md").read_text()
    both = store.read_json(layout.result("clive"))["variants"]["both"]
    assert f"| both experts | {both['srcc']['median']:.3f} |" in card
    assert "## What it is bad at\n\nLine drawings.\n" in card
    for part in ("content", "quality"):
        assert f"| {part} | mobilenet_v3_small" in card


def test_notes_that_are_no_text_are_refused_before_anything_is_written(in_run, tmp_path) -> None:
    notes = tmp_path / "notes.md"
    notes.write_bytes(b"caf\xe9")
    with pytest.raises(BadInputError, match=r"notes\.md: not readable as text .*UTF-8"):
        build.build_bundle("clive", tmp_path / "tiny", notes)
    assert not (tmp_path / "tiny").exists()
    notes.write_text("Line drawings, café.\n", encoding="utf-16")
    build.build_bundle("clive", tmp_path / "tiny", notes)
    assert "Line drawings, café.\n" in (tmp_path / "tiny/CARD.md").read_text(encoding="utf-8")


def test_provenance_names_every_input_of_every_part(in_run) -> None:
    told = bundle.load_bundle(in_run.bundle).manifest.provenance
    assert told["content"]["digest"] == store.file_digest(layout.model("content"))
    assert told["features/quality"]["digest"] == store.file_digest(
        layout.features("clive", "quality")
    )
    assert {"command", "revision", "parameters", "inputs"} <= set(told["regressor"])


FITTED = RatingScale(
    dataset="d", title="D", images=1, proxy=False, low=1, high=5,
    model="ridge", alpha=1, l1_ratio=0, licence="", citation="",
)  # fmt: skip


def test_nine_ratings_in_ten_lie_in_the_expected_range() -> None:
    rng = np.random.default_rng(0)
    predicted = rng.uniform(1, 5, size=4000)
    rated = (predicted + rng.normal(size=4000) * (0.1 + 0.1 * predicted)).clip(1, 5)
    known = build.residual_quantiles(predicted, rated, FITTED)
    points = 25 * (predicted - 1)
    ranges = [known.expected_range(score) for score in points.tolist()]
    inside = [low <= 25 * (r - 1) <= high for (low, high), r in zip(ranges, rated, strict=True)]
    assert np.mean(inside) == pytest.approx(0.9, abs=0.02)
    # Ratings scatter more where they are higher, and the range follows.
    for part in (points < 25, points > 75):
        assert np.mean(np.array(inside)[part]) == pytest.approx(0.9, abs=0.04)


def test_few_predictions_make_one_group() -> None:
    rng = np.random.default_rng(0)
    known = build.residual_quantiles(rng.uniform(1, 5, size=20), rng.uniform(1, 5, size=20), FITTED)
    assert len(known.at) == 1


@settings(deadline=None)
@given(
    st.lists(st.floats(0, 100), min_size=1, max_size=6, unique=True).map(sorted),
    st.floats(-50, 150),
)
def test_the_range_is_the_straight_line_between_its_knots(at: list[float], score: float) -> None:
    low, high = [-10.0 - n for n in range(len(at))], [5.0 + n for n in range(len(at))]
    known = ResidualQuantiles(coverage=0.9, count=1, at=tuple(at), low=tuple(low), high=tuple(high))
    found = known.expected_range(score)
    expected = [np.clip(score + np.interp(score, at, offsets), 0, 100) for offsets in (low, high)]
    np.testing.assert_allclose(found, expected, atol=1e-6)
