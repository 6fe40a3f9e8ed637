"""The model card as the Hugging Face Hub reads it."""

import pytest

from reiqa.scoring import bundle, card

huggingface_hub = pytest.importorskip("huggingface_hub")


@pytest.fixture(params=["tiny", "lite"])
def made(request, run) -> bundle.Bundle:
    """The bundle of a run, and the shipped one."""
    return bundle.load_bundle(run.bundle if request.param == "tiny" else "lite")


def parse(made: bundle.Bundle) -> huggingface_hub.ModelCard:
    return huggingface_hub.ModelCard((made.folder / bundle.CARD).read_text(encoding="utf-8"))


def test_its_metadata_are_those_of_a_model_card(made: bundle.Bundle) -> None:
    metadata = parse(made).data
    assert metadata.library_name == "reiqa"
    assert metadata.license == "other"
    assert metadata.license_name.startswith("research-only")
    assert metadata.datasets == [made.manifest.fitted.dataset]
    assert metadata.metrics == ["spearmanr", "pearsonr"]
    assert "image-quality-assessment" in metadata.tags


def test_its_model_index_has_the_manifests_correlations(made: bundle.Bundle) -> None:
    metadata = parse(made).data
    assert metadata.model_name == made.manifest.name
    (entry,) = made.manifest.metrics
    found = {result.metric_type: result for result in metadata.eval_results}
    assert set(found) == {"spearmanr", "pearsonr"}
    for kind, name in (("spearmanr", "srcc"), ("pearsonr", "plcc")):
        median = entry["variants"]["both"][name]["median"]
        assert found[kind].metric_value == pytest.approx(median, abs=5e-5)
        assert found[kind].metric_name.endswith(f"median over {entry['splits']} splits")
        assert found[kind].dataset_type == made.manifest.fitted.dataset
        assert found[kind].dataset_name == made.manifest.fitted.title


def test_the_hubs_own_writer_writes_the_same_metadata(made: bundle.Bundle) -> None:
    metadata = parse(made).data
    again = huggingface_hub.ModelCard(f"---\n{metadata.to_yaml()}\n---\n").data
    assert again.to_dict() == metadata.to_dict()


def test_the_text_begins_after_the_metadata(made: bundle.Bundle) -> None:
    assert parse(made).text.strip().startswith(f"# Bundle {made.manifest.name}\n")


def test_a_correlation_that_is_not_defined_is_left_out(run) -> None:
    manifest = bundle.read_manifest(run.bundle)
    manifest.metrics[0]["variants"]["both"]["plcc"]["median"] = None
    found = huggingface_hub.ModelCard(card.render_card(manifest, "")).data.eval_results
    assert [result.metric_type for result in found] == ["spearmanr"]


def test_several_protocols_are_several_results(run) -> None:
    manifest = bundle.read_manifest(run.bundle)
    other = {**manifest.metrics[0], "dataset": "koniq10k", "splits": 1}
    both = manifest.model_copy(update={"metrics": (*manifest.metrics, other)})
    found = huggingface_hub.ModelCard(card.render_card(both, "")).data.eval_results
    names = [(result.dataset_type, result.metric_name) for result in found]
    assert ("koniq10k", "SRCC") in names and ("clive", "SRCC, median over 3 splits") in names


def test_limitations_are_read_back_from_a_card(run) -> None:
    manifest = bundle.read_manifest(run.bundle)
    notes = "- Line drawings.\n\n## Screens\n\nNot rated."
    assert card.read_notes(card.render_card(manifest, notes)) == notes


def test_a_card_may_change_without_changing_the_bundle(made: bundle.Bundle) -> None:
    assert bundle.CARD not in made.manifest.parts
