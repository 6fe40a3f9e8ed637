"""An encoder is a classification network without its classifier, and the normalisation before it.

The classifier is found and removed by one rule for every torchvision family, and the width of the
pooled features is found by running the network: nothing is listed by name.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from reiqa.backbone_names import EFFICIENTNET_LITE0
from reiqa.devices import default_torch_state
from reiqa.errors import BadInputError
from reiqa.params import ExpertName


@dataclass(frozen=True)
class Normalization:
    """What is done to [0, 1] pixels before the first layer: ``(x - mean) / std``, a channel."""

    name: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


#: The one place that says how each expert's input is normalised, in training and ever after
#: (published code, trap D13: the two experts differ, and that is meant).
NORMALIZATION: dict[ExpertName, Normalization] = {
    "content": Normalization("imagenet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "quality": Normalization("none", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
}

# Names under which torchvision's families keep their classifier.
_HEADS = ("fc", "classifier", "head")

#: Two shapes that no fixed-size network accepts both, each large enough for every other.
TRIAL_SHAPES = ((192, 192), (224, 160))


class Encoder(nn.Module):
    """A backbone that gives one pooled feature vector an image.

    Attributes:
        backbone: the network's name.
        expert: which expert this is; decides the normalisation.
        width: length of a feature vector.
        body: the network without classifier; its keys are torchvision's own.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: str, expert: ExpertName, body: nn.Module, width: int) -> None:
        """Wrap a network that gives ``(N, width)``."""
        super().__init__()
        self.backbone = backbone
        self.expert: ExpertName = expert
        self.width = width
        self.body = body
        # Not persistent: the expert's name, kept in the file, says it all.
        rule = NORMALIZATION[expert]
        self.register_buffer("mean", torch.tensor(rule.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(rule.std).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the globally averaged last stage, not L2-normalised.

        Args:
            images: ``(N, 3, H, W)`` float in [0, 1], any size the backbone can reduce.

        Returns:
            ``(N, width)``.
        """
        pooled: Tensor = self.body(self.normalize(images))
        return pooled.flatten(1)

    def normalize(self, images: Tensor) -> Tensor:
        """Return images as the first layer takes them, in the type of the network's numbers."""
        images = images.to(self.mean.dtype)
        if NORMALIZATION[self.expert].name == "none":
            return images
        return (images - self.mean) / self.std


def build_encoder(backbone: str, expert: ExpertName, seed: int = 0) -> Encoder:
    """Return an encoder with random weights that depend on ``seed`` alone.

    Args:
        backbone: a torchvision classification model's name, or ``efficientnet_lite0``.
        expert: decides the normalisation.
        seed: of the weights; the caller's random state is left as it was.

    Raises:
        BadInputError: there is no such backbone, or it takes images of one size only.
    """
    with default_torch_state(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = _lite() if backbone == EFFICIENTNET_LITE0 else _torchvision(backbone)
        return Encoder(backbone, expert, body, _pooled_width(backbone, body))


def _lite() -> nn.Module:
    import timm

    body: nn.Module = timm.create_model("tf_efficientnet_lite0", num_classes=0)
    return body


def _torchvision(backbone: str) -> nn.Module:
    from torchvision import models

    known = models.list_models(module=models)
    if backbone not in known:
        raise BadInputError(
            f"backbone: unknown name {backbone!r}; allowed: {EFFICIENTNET_LITE0} and torchvision's "
            f"classification models, such as resnet50, convnext_tiny, swin_t ({len(known)} in all)"
        )
    body: nn.Module = models.get_model(backbone, weights=None)
    head = next((name for name in _HEADS if isinstance(getattr(body, name, None), nn.Module)), None)
    if head is None:
        raise BadInputError(f"backbone: {backbone} takes images of one size only; choose another")
    setattr(body, head, nn.Identity())
    # Some families (VGG, AlexNet) pool to a grid for their classifier; the feature is the mean.
    if isinstance(getattr(body, "avgpool", None), nn.AdaptiveAvgPool2d):
        body.avgpool = nn.AdaptiveAvgPool2d(1)
    # Inception and GoogLeNet answer with a tuple in training unless told that no one listens.
    if hasattr(body, "aux_logits"):
        setattr(body, "aux_logits", False)  # noqa: B010
    return body


@torch.no_grad()
def _pooled_width(backbone: str, body: nn.Module) -> int:
    """Run the network on two shapes: both must come out as one vector of the same length."""
    body.eval()
    try:
        shapes = {body(torch.zeros(1, 3, *size)).flatten(1).shape[1] for size in TRIAL_SHAPES}
    except (RuntimeError, AssertionError, ValueError, TypeError) as error:
        raise BadInputError(
            f"backbone: {backbone} takes images of one size only; choose another"
        ) from error
    finally:
        body.train()
    if len(shapes) != 1:
        raise BadInputError(
            f"backbone: {backbone} gives features whose number grows with the image; choose another"
        )
    return int(shapes.pop())
