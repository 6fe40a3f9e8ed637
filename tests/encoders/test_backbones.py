import pytest
import torch
from torch import nn

from reiqa.encoders import NORMALIZATION, build_encoder
from reiqa.errors import BadInputError

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(
    ("backbone", "width"),
    [
        ("resnet18", 512),
        ("mobilenet_v3_small", 576),
        ("shufflenet_v2_x0_5", 1024),
        ("efficientnet_b0", 1280),
        ("efficientnet_lite0", 1280),
        ("efficientnet_lite2", 1280),
        ("densenet121", 1024),
        ("convnext_tiny", 768),
        ("swin_t", 768),
        ("timm/mobilenetv3_small_050", 1024),
        ("timm/resnet18", 512),
        ("timm/convnext_atto", 320),
        ("timm/vit_tiny_patch16_224", 192),
        ("timm/vit_small_patch14_dinov2", 384),
        ("timm/eva02_tiny_patch14_224", 192),
        ("timm/swin_tiny_patch4_window7_224", 768),
        ("timm/swinv2_cr_tiny_224", 768),
        ("timm/xcit_nano_12_p16_224", 128),
    ],
)
def test_every_family_gives_one_pooled_vector_at_two_sizes(backbone, width):
    encoder = build_encoder(backbone, "quality").eval()
    assert encoder.width == width
    with torch.no_grad():
        for size in ((64, 96), (97, 65)):
            assert encoder(torch.rand(2, 3, *size)).shape == (2, width)


@pytest.mark.parametrize(
    "backbone",
    [
        *("vit_b_16", "maxvit_t", "squeezenet1_1"),
        *("timm/mixer_s16_224", "timm/beit_base_patch16_224", "timm/levit_128s"),
        # These take multiples of some length only.
        *("timm/dla34", "timm/csatv2"),
    ],
)
def test_a_backbone_that_cannot_take_any_size_is_refused_by_name(backbone):
    with pytest.raises(BadInputError, match=backbone):
        build_encoder(backbone, "quality")


@pytest.mark.parametrize(
    ("name", "side"), [("vit_tiny_patch16_224", 224), ("swin_tiny_patch4_window7_224", 224)]
)
def test_a_transformer_for_any_size_is_timms_at_the_size_of_its_name(name, side):
    import timm

    encoder = build_encoder(f"timm/{name}", "quality", seed=4).eval()
    theirs = timm.create_model(name, num_classes=0).eval()
    # Published weights have the same keys.
    theirs.load_state_dict(encoder.body.state_dict())
    images = torch.rand(1, 3, side, side)
    with torch.no_grad():
        torch.testing.assert_close(encoder(images), theirs(images), atol=1e-4, rtol=1e-4)


def test_a_side_that_is_no_multiple_of_the_patch_is_padded_on_the_right_and_below():
    encoder = build_encoder("timm/swin_tiny_patch4_window7_224", "quality").eval()
    images = torch.rand(1, 3, 61, 90)
    padded = torch.nn.functional.pad(images, (0, 2, 0, 3))
    with torch.no_grad():
        torch.testing.assert_close(encoder(images), encoder(padded))


def test_an_unknown_backbone_is_refused_with_examples():
    with pytest.raises(BadInputError, match=r"'resnet51'.*resnet50"):
        build_encoder("resnet51", "quality")


@pytest.mark.parametrize("name", ["resnet", "resnet18.a1_in1k", "hf-hub:timm/resnet18", ""])
def test_an_unknown_timm_model_is_refused_with_the_command_that_lists_them(name):
    with pytest.raises(BadInputError, match=rf"^backbone: .* '{name}'; .*list_models\(.*$"):
        build_encoder(f"timm/{name}", "quality")


def test_a_timm_model_is_that_of_torchvision_where_both_have_it():
    ours, theirs = (build_encoder(b, "content").eval() for b in ("timm/resnet18", "resnet18"))
    ours.body.load_state_dict(theirs.body.state_dict())
    images = torch.rand(2, 3, 64, 96)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images))


def test_features_are_the_global_mean_of_the_last_stage():
    encoder = build_encoder("resnet18", "quality", seed=3).eval()
    net = encoder.body
    stages = nn.Sequential(
        net.conv1, net.bn1, net.relu, net.maxpool, net.layer1, net.layer2, net.layer3, net.layer4
    )
    images = torch.rand(2, 3, 70, 90)
    with torch.no_grad():
        torch.testing.assert_close(encoder(images), stages(images).mean((2, 3)))


def test_only_the_content_expert_normalises():
    images = torch.rand(2, 3, 64, 64)
    rule = NORMALIZATION["content"]
    content, quality = (build_encoder("resnet18", e, seed=1).eval() for e in ("content", "quality"))
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (rule.mean, rule.std))
    with torch.no_grad():
        torch.testing.assert_close(content(images), quality((images - mean) / std))
        torch.testing.assert_close(quality(images), quality.body(images))


@pytest.mark.parametrize("backbone", ["mobilenet_v3_small", "swin_t"])
def test_an_images_features_do_not_depend_on_its_batch(backbone):
    encoder = build_encoder(backbone, "content", seed=2).eval()
    images = torch.rand(5, 3, 64, 64)
    with torch.no_grad():
        together = encoder(images)
        alone = torch.cat([encoder(image[None]) for image in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def test_weights_depend_on_the_seed_alone_and_leave_the_callers_randomness():
    torch.manual_seed(11)
    first = build_encoder("shufflenet_v2_x0_5", "quality", seed=5)
    drawn = torch.rand(1)
    torch.manual_seed(11)
    assert torch.equal(torch.rand(1), drawn)
    same, other = (build_encoder("shufflenet_v2_x0_5", "quality", seed=s) for s in (5, 6))
    weights = [e.body.conv1[0].weight for e in (first, same, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
