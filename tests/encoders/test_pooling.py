"""Every stage's mean and deviation, against hooks written out by hand."""

import pytest
import torch
from torch import Tensor, nn

from reiqa import encoders
from reiqa.encoders import Encoder, StagePooledEncoder
from reiqa.errors import BadInputError
from reiqa.params import Pooling

pytestmark = pytest.mark.usefixtures("one_thread")


def by_hand(encoder: Encoder, stages: list[nn.Module], image: Tensor) -> list[Tensor]:
    """One image's stages as ``(C, positions)``."""
    maps: list[Tensor] = []
    hooks = [
        stage.register_forward_hook(lambda _m, _i, out: maps.append(out[0])) for stage in stages
    ]
    with torch.no_grad():
        encoder(image[None])
    for hook in hooks:
        hook.remove()
    return maps


def test_a_row_is_mean_and_deviation_of_every_stage_in_order() -> None:
    encoder = encoders.build_encoder("resnet18", "content").eval()
    body = encoder.body
    image = torch.rand(3, 90, 70)
    maps = by_hand(encoder, [body.layer1, body.layer2, body.layer3, body.layer4], image)
    expected = torch.cat(
        [torch.cat([m.flatten(1).mean(1), m.flatten(1).std(1, unbiased=False)]) for m in maps]
    )
    row = encoders.with_pooling(encoder, "stages")(image[None])[0]
    torch.testing.assert_close(row, expected, atol=1e-5, rtol=1e-5)


def test_the_output_is_appended_if_it_is_not_the_mean_of_a_stage() -> None:
    encoder = encoders.build_encoder("efficientnet_lite0", "content").eval()
    image = torch.rand(1, 3, 96, 64)
    whole = encoders.with_pooling(encoder, "stages")
    assert isinstance(whole, StagePooledEncoder)
    row = whole(image)
    assert row.shape == (1, whole.width) == (1, 2 * (16 + 24 + 40 + 80 + 112 + 192 + 320) + 1280)
    torch.testing.assert_close(row[:, -1280:], encoder(image))


@pytest.mark.parametrize(
    ("backbone", "trunk", "channels"),
    [
        ("timm/resnet18", "layer{}", [64, 128, 256, 512]),
        ("timm/mobilenetv3_small_050", "blocks.{}", [8, 16, 24, 24, 48, 288]),
        ("timm/convnext_atto", "stages.{}", [40, 80, 160, 320]),
        ("timm/mambaout_femto", "stages.{}", [48, 96, 192, 288]),
        ("timm/swin_tiny_patch4_window7_224", "layers.{}", [96, 192, 384, 768]),
    ],
)
def test_the_stages_of_a_timm_model_are_those_of_its_trunk(
    backbone: str, trunk: str, channels: list[int]
) -> None:
    encoder = encoders.build_encoder(backbone, "quality").eval()
    first = 1 if trunk == "layer{}" else 0
    stages = [
        encoder.body.get_submodule(trunk.format(first + number)) for number in range(len(channels))
    ]
    image = torch.rand(3, 96, 64)
    maps = by_hand(encoder, stages, image)
    flat = [
        m.flatten(1) if len(m) == count else m.flatten(0, 1).T
        for m, count in zip(maps, channels, strict=True)
    ]
    expected = torch.cat([torch.cat([m.mean(1), m.std(1, unbiased=False)]) for m in flat])
    whole = encoders.with_pooling(encoder, "stages")
    row = whole(image[None])[0]
    # All but ResNet-18 have layers between the last stage's mean and the output.
    output = torch.empty(0) if backbone == "timm/resnet18" else encoder(image[None])[0]
    torch.testing.assert_close(row, torch.cat([expected, output]), atol=1e-5, rtol=1e-5)
    assert len(row) == whole.width


def test_channels_that_come_last_are_found() -> None:
    encoder = encoders.build_encoder("swin_t", "quality").eval()
    image = torch.rand(3, 96, 64)
    first = by_hand(encoder, [encoder.body.features[0]], image)[0]
    row = encoders.with_pooling(encoder, "stages")(image[None])[0]
    torch.testing.assert_close(row[:96], first.mean((0, 1)), atol=1e-5, rtol=1e-5)


def test_last_is_the_encoder_itself() -> None:
    encoder = encoders.build_encoder("mobilenet_v3_small", "quality").eval()
    assert encoders.with_pooling(encoder, "last") is encoder


def test_a_constant_image_has_finite_gradients() -> None:
    encoder = encoders.build_encoder("mobilenet_v3_small", "quality").eval()
    image = torch.full((1, 3, 64, 64), 0.5, requires_grad=True)
    encoders.with_pooling(encoder, "stages")(image).sum().backward()
    assert image.grad is not None
    assert torch.isfinite(image.grad).all()


def test_a_backbone_without_stages_is_refused_by_name() -> None:
    encoder = encoders.build_encoder("vgg11", "quality")
    with pytest.raises(BadInputError, match=r"features\.pooling: the stages of vgg11"):
        encoders.with_pooling(encoder, "stages")


@pytest.mark.parametrize(
    ("backbone", "pooling"),
    [("timm/convnext_atto", "stages"), ("timm/vit_tiny_patch16_224", "last"), ("swin_t", "stages")],
)
def test_the_check_agrees_with_the_network(backbone: str, pooling: Pooling) -> None:
    state = torch.get_rng_state()
    encoders.check_backbone(backbone, pooling)
    assert torch.equal(state, torch.get_rng_state())
    encoders.with_pooling(encoders.build_encoder(backbone, "quality"), pooling)


@pytest.mark.parametrize(
    ("backbone", "pooling", "says"),
    [
        ("vgg11", "stages", r"^features\.pooling: the stages of vgg11 cannot"),
        ("timm/vit_tiny_patch16_224", "stages", r"^features\.pooling: the stages of timm/vit_tiny"),
        ("timm/dla34", "last", r"^backbone: timm/dla34 does not take images of any size"),
    ],
)
def test_the_check_refuses_what_the_network_would(
    backbone: str, pooling: Pooling, says: str
) -> None:
    with pytest.raises(BadInputError, match=says):
        encoders.check_backbone(backbone, pooling)
    with pytest.raises(BadInputError, match=says):
        encoders.with_pooling(encoders.build_encoder(backbone, "quality"), pooling)


def test_a_network_that_needs_larger_images_than_others_has_stages() -> None:
    encoder = encoders.build_encoder("timm/inception_v3", "quality")
    assert encoders.with_pooling(encoder, "stages").width > 2 * 2048


def test_columns_name_the_parts_of_a_row() -> None:
    encoder = encoders.build_encoder("efficientnet_lite0", "content").eval()
    image = torch.rand(1, 3, 96, 64)
    whole = StagePooledEncoder(encoder)
    row = whole(image)[0]
    assert list(whole.columns) == [*(f"blocks.{number}" for number in range(7)), "output"]
    torch.testing.assert_close(row[whole.columns["output"]], encoder(image)[0])
    (third,) = by_hand(encoder, [encoder.body.blocks[2]], image[0])
    expected = torch.cat([third.flatten(1).mean(1), third.flatten(1).std(1, unbiased=False)])
    torch.testing.assert_close(row[whole.columns["blocks.2"]], expected, atol=1e-5, rtol=1e-5)
    # ResNet's output is the mean of its last stage, so it is no part of its own.
    residual = StagePooledEncoder(encoders.build_encoder("resnet18", "content"))
    assert list(residual.columns) == [f"layer{number}" for number in range(1, 5)]
    assert residual.columns["layer4"].stop == residual.width
