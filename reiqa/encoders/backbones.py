"""Encoders: classification networks without classifier, preceded by input normalisation.

One rule finds and removes the classifier of all torchvision families. The width of the pooled
features is measured by running the network, so no table of backbones is needed.
"""

from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn

from reiqa.backbone_names import PACKAGED, TIMM_PREFIX
from reiqa.devices import default_torch_state
from reiqa.errors import BadInputError
from reiqa.params import ExpertName


@dataclass(frozen=True)
class Normalization:
    """Input normalisation of [0, 1] pixels: ``(x - mean) / std`` per channel."""

    name: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


#: Supported normalisations by name.
NORMALIZATIONS = {
    rule.name: rule
    for rule in (
        Normalization("imagenet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        Normalization("none", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    )
}

#: Normalisation of each expert with random initial weights. The experts differ on purpose, as in
#: the published code (trap D13). ImageNet weights need that of ImageNet for either expert.
NORMALIZATION: dict[ExpertName, Normalization] = {
    "content": NORMALIZATIONS["imagenet"],
    "quality": NORMALIZATIONS["none"],
}


def find_normalization(name: object, origin: str) -> Normalization:
    """Return a normalisation by the name that a file states.

    Raises:
        BadInputError: the name is unknown; ``origin`` names the file.
    """
    if not isinstance(name, str) or name not in NORMALIZATIONS:
        allowed = ", ".join(NORMALIZATIONS)
        raise BadInputError(f"{origin}: unknown normalisation {name!r}; allowed: {allowed}")
    return NORMALIZATIONS[name]


# Attribute names of the classifier in torchvision's families.
_HEADS = ("fc", "classifier", "head")

#: Two input shapes to detect networks with a fixed input size, and those that only take multiples
#: of some length; large enough for all others.
TRIAL_SHAPES = ((192, 192), (225, 161))

# timm's options for images of any size, which differ between families and versions of timm. A
# constructor refuses those that it does not have.
_ANY_SIZE: tuple[dict[str, Any], ...] = (
    {"dynamic_img_size": True, "dynamic_img_pad": True},
    {"dynamic_img_size": True},
    {"strict_img_size": False},
    {},
)


class Encoder(nn.Module):
    """A backbone that returns one pooled feature vector per image.

    Attributes:
        backbone: name of the network.
        expert: name of the expert.
        normalization: input normalisation of the weights.
        width: length of a feature vector.
        body: the network without classifier, with torchvision's keys.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        backbone: str,
        expert: ExpertName,
        body: nn.Module,
        width: int,
        normalization: Normalization,
    ) -> None:
        """Wrap a network that returns ``(N, width)``."""
        super().__init__()
        self.backbone = backbone
        self.expert: ExpertName = expert
        self.width = width
        self.body = body
        self.normalization = normalization
        # Not persistent, because the file contains the name of the normalisation.
        for name in ("mean", "std"):
            channels = torch.tensor(getattr(normalization, name)).view(3, 1, 1)
            self.register_buffer(name, channels, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        """Return the global average of the last stage, without L2 normalisation.

        Args:
            images: ``(N, 3, H, W)`` float in [0, 1], any size that the backbone supports.

        Returns:
            ``(N, width)``.
        """
        pooled: Tensor = self.body(self.normalize(images))
        return pooled.flatten(1)

    def normalize(self, images: Tensor) -> Tensor:
        """Return normalised images in the dtype of the network."""
        images = images.to(self.mean.dtype)
        if self.normalization.name == "none":
            return images
        return (images - self.mean) / self.std


def build_encoder(
    backbone: str, expert: ExpertName, seed: int = 0, normalization: Normalization | None = None
) -> Encoder:
    """Return an encoder with random weights that depend only on ``seed``.

    Args:
        backbone: name of a torchvision classification model, a key of `PACKAGED`, or ``timm/NAME``.
        expert: name of the expert.
        seed: seed of the weights; the global random state is not changed.
        normalization: input normalisation; None for that of the expert (`NORMALIZATION`).

    Raises:
        BadInputError: the backbone is unknown, or does not take images of any size.
    """
    with default_torch_state(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        body = build_body(backbone)
        width = pooled_width(backbone, body)
        return Encoder(backbone, expert, body, width, normalization or NORMALIZATION[expert])


def build_body(backbone: str) -> nn.Module:
    """Return the network without classifier, with random weights.

    Raises:
        BadInputError: the backbone is unknown, or its classifier cannot be removed.
    """
    if backbone in PACKAGED:
        return _timm(f"tf_{backbone}")
    if backbone.startswith(TIMM_PREFIX):
        return _timm(backbone.removeprefix(TIMM_PREFIX))
    return _torchvision(backbone)


def _timm(name: str) -> nn.Module:
    import timm
    from timm.layers.patch_embed import PatchEmbed

    # create_model also takes names of the Hugging Face hub and of pretrained weights.
    known = timm.list_models()
    if name not in known:
        near = "".join(f"did you mean {each}? " for each in get_close_matches(name, known, 1))
        raise BadInputError(
            f"backbone: unknown timm model {name!r}; {near}"
            'to list them: python -c "import timm; print(*timm.list_models())"'
        )
    for options in _ANY_SIZE:
        try:
            body: nn.Module = timm.create_model(name, num_classes=0, pretrained=False, **options)
        except TypeError:
            if not options:
                raise
        else:
            break
    # Swin takes images of any size, but asks for multiples of the patch.
    if isinstance(embedding := getattr(body, "patch_embed", None), PatchEmbed):
        embedding.dynamic_img_pad = True
    return body


def _torchvision(backbone: str) -> nn.Module:
    from torchvision import models

    known = models.list_models(module=models)
    if backbone not in known:
        raise BadInputError(
            f"backbone: unknown name {backbone!r}; allowed: {', '.join(PACKAGED)}, "
            f"{TIMM_PREFIX}NAME, and torchvision's classification models, such as resnet50, "
            f"convnext_tiny, swin_t ({len(known)} in all)"
        )
    body: nn.Module = models.get_model(backbone, weights=None)
    head = next((name for name in _HEADS if isinstance(getattr(body, name, None), nn.Module)), None)
    if head is None:
        raise BadInputError(f"backbone: {backbone} has a fixed input size; choose another backbone")
    setattr(body, head, nn.Identity())
    # VGG and AlexNet pool to a grid for their classifier; the feature is the global mean.
    if isinstance(getattr(body, "avgpool", None), nn.AdaptiveAvgPool2d):
        body.avgpool = nn.AdaptiveAvgPool2d(1)
    # Inception and GoogLeNet return a tuple in training unless auxiliary outputs are disabled.
    if hasattr(body, "aux_logits"):
        setattr(body, "aux_logits", False)  # noqa: B010
    return body


@torch.no_grad()
def pooled_width(backbone: str, body: nn.Module) -> int:
    """Return the feature width, after checking that it does not depend on the input shape.

    Raises:
        BadInputError: the network does not take images of any size, or its width depends on it.
    """
    body.eval()
    try:
        shapes = {body(torch.zeros(1, 3, *size)).flatten(1).shape[1] for size in TRIAL_SHAPES}
    except (RuntimeError, AssertionError, ValueError, TypeError) as error:
        raise BadInputError(
            f"backbone: {backbone} does not take images of any size; choose another backbone"
        ) from error
    finally:
        body.train()
    if len(shapes) != 1:
        raise BadInputError(
            f"backbone: the feature width of {backbone} depends on the image size; choose another "
            "backbone"
        )
    return int(shapes.pop())
