import json

import pytest
import torch

from reiqa.encoders import build_encoder, load_encoder, save_encoder
from reiqa.encoders.serialization import load_checkpoint
from reiqa.errors import BadInputError


@pytest.fixture
def encoder():
    return build_encoder("shufflenet_v2_x0_5", "content", seed=4)


@pytest.mark.parametrize("backbone", ["shufflenet_v2_x0_5", "timm/mobilenetv3_small_050"])
def test_a_saved_encoder_gives_the_same_features_and_describes_itself(tmp_path, backbone):
    encoder = build_encoder(backbone, "content", seed=4)
    path = tmp_path / "content.safetensors"
    save_encoder(encoder, path, {"source": "test", "steps": 3})
    again = load_encoder(path)
    assert (again.backbone, again.expert, again.width) == (backbone, "content", 1024)
    assert not again.training
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(again(images), encoder.eval()(images))
    card = json.loads((tmp_path / "content.json").read_text())
    assert card["width"] == 1024
    assert card["normalisation"]["name"] == "imagenet"
    assert card["steps"] == 3


def test_the_same_weights_make_the_same_bytes(tmp_path, encoder):
    save_encoder(encoder, tmp_path / "a.safetensors", {})
    save_encoder(load_encoder(tmp_path / "a.safetensors"), tmp_path / "b.safetensors", {})
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


@pytest.mark.parametrize("keep", [0, 100, 5000, -1])
def test_a_cut_off_file_is_refused_by_name(tmp_path, encoder, keep):
    path = tmp_path / "content.safetensors"
    save_encoder(encoder, path, {})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(BadInputError, match=r"content\.safetensors"):
        load_encoder(path)


def test_a_missing_or_foreign_file_is_refused_by_name(tmp_path):
    from safetensors.torch import save_file

    with pytest.raises(BadInputError, match="model not found"):
        load_encoder(tmp_path / "none.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(
        BadInputError, match=r"not an encoder of reiqa\. .* with torch\.save and import"
    ):
        load_encoder(tmp_path / "foreign.safetensors")


def test_a_flipped_byte_among_a_checkpoints_numbers_is_found(tmp_path):
    path = tmp_path / "step.pt"
    weights = torch.arange(5000, dtype=torch.float32)
    torch.save({"model": weights}, path)
    assert torch.equal(load_checkpoint(path)["model"], weights)
    spoilt = bytearray(path.read_bytes())
    spoilt[spoilt.index(weights[2000:2010].numpy().tobytes())] ^= 1
    path.write_bytes(spoilt)
    # torch itself takes it as it is.
    assert not torch.equal(torch.load(path, weights_only=True)["model"], weights)
    with pytest.raises(BadInputError, match=r"step\.pt: damaged"):
        load_checkpoint(path)
