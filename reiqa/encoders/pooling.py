"""Pooling: features from the last stage, or mean and deviation of every stage.

The paper uses the mean of the last stage (section 3.4). Early stages contain information that later
stages discard, which helps small encoders on small rated datasets.
"""

import copy
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar

import torch
from torch import Tensor, nn

from reiqa.devices import default_torch_state
from reiqa.encoders.backbones import TRIAL_SHAPES, Encoder, build_body, pooled_width
from reiqa.errors import BadInputError
from reiqa.params import Pooling

# Attribute names of the sequence of stages; other families have the stages as direct children.
_TRUNKS = ("features", "blocks", "stages", "trunk_output", "layers")

# Of the image that shows whether the output equals a mean; Inception needs 75 pixels.
_TRIAL_SIDE = 96

#: Name of the encoder's output among the stages.
OUTPUT = "output"

# Added to a variance before the square root, to keep the gradient of a constant map finite.
_EPSILON = 1e-12


# Feature maps of the forward pass in this thread. Hooks do not store them in their module, so that
# the module is thread-safe and supports copy.deepcopy, pickle and torch.save.
_maps: ContextVar[dict[str, Tensor] | None] = ContextVar("maps of a forward pass", default=None)


class _Recorder:
    """A forward hook that records the output of a stage."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        if (maps := _maps.get()) is not None:
            maps[self._name] = output


class StagePooledEncoder(nn.Module):
    """A frozen copy of an encoder that returns mean and deviation of every stage, then its output.

    A stage is a child of the network's trunk that has child layers and returns a feature map.

    Attributes:
        encoder: the copied encoder.
        width: length of a feature vector.
        columns: columns of each stage by its name, then of the output if it is a part of its own
            (`OUTPUT`).
    """

    def __init__(self, encoder: Encoder) -> None:
        """Copy the encoder and detect its stages with a trial run.

        Raises:
            BadInputError: the stages of the backbone cannot be identified.
        """
        super().__init__()
        self.encoder = copy.deepcopy(encoder).eval()
        shapes = _shapes(self.encoder.body)
        if not shapes:
            raise _without_stages(encoder.backbone)
        self._axes = {name: _channel_axis(stage_shapes) for name, stage_shapes in shapes.items()}
        for name, stage in _stages(self.encoder.body):
            if name in self._axes:
                stage.register_forward_hook(_Recorder(name))
        self._append_output = True
        self.columns = self._measure()
        self.width = max(columns.stop for columns in self.columns.values())

    def forward(self, images: Tensor) -> Tensor:
        """Return features ``(N, width)`` float32 of ``(N, 3, H, W)`` float images in [0, 1]."""
        return torch.cat(list(itertools.chain(*self._parts(images).values())), dim=1)

    def _parts(self, images: Tensor) -> Mapping[str, Sequence[Tensor]]:
        """Return mean and deviation of each stage by its name, then the output."""
        maps: dict[str, Tensor] = {}
        before = _maps.set(maps)
        try:
            last = self.encoder(images)
        finally:
            _maps.reset(before)
        parts: dict[str, Sequence[Tensor]] = {
            name: _moments(maps[name].float(), axis) for name, axis in self._axes.items()
        }
        if self._append_output:
            parts[OUTPUT] = [last.float()]
        return parts

    @torch.no_grad()
    def _measure(self) -> dict[str, slice]:
        """Return the columns of each part, and omit the output if it is the last stage's mean."""
        trial = torch.linspace(0, 1, 3 * _TRIAL_SIDE**2, dtype=torch.float32, device="cpu")
        parts = dict(self._parts(trial.view(1, 3, _TRIAL_SIDE, _TRIAL_SIDE)))
        (*_, (mean, _deviation), (last,)) = parts.values()
        if mean.shape == last.shape and torch.allclose(mean, last, atol=1e-5):
            self._append_output = False
            del parts[OUTPUT]
        widths = [sum(part.shape[1] for part in found) for found in parts.values()]
        ends = itertools.accumulate(widths)
        return {
            name: slice(end - width, end)
            for name, width, end in zip(parts, widths, ends, strict=True)
        }


def with_pooling(encoder: Encoder, pooling: Pooling) -> Encoder | StagePooledEncoder:
    """Return the encoder itself, or the encoder with pooling of all stages."""
    return encoder if pooling == "last" else StagePooledEncoder(encoder)


def check_backbone(backbone: str, pooling: Pooling) -> None:
    """Check a backbone on torch's meta device, which computes shapes but no values.

    Raises:
        BadInputError: the backbone is unknown, does not take images of any size, or has no stages
            that ``pooling`` needs. The message begins with the parameter.
    """
    with default_torch_state(), torch.random.fork_rng(devices=[]), torch.device("meta"):
        body = build_body(backbone)
        pooled_width(backbone, body)
        if pooling == "stages" and not _shapes(body):
            raise _without_stages(backbone)


def _without_stages(backbone: str) -> BadInputError:
    return BadInputError(
        f"features.pooling: the stages of {backbone} cannot be identified; use last"
    )


def _moments(maps: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Return mean and deviation over the positions of ``(N, ...)`` maps, each ``(N, C)``."""
    positions = [place for place in range(1, maps.ndim) if place != axis]
    mean = maps.mean(positions, keepdim=True)
    # torch.var_mean over these axes is two to seventeen times slower.
    variance = (maps - mean).square().mean(positions)
    return mean.flatten(1), (variance + _EPSILON).sqrt()


def _stages(body: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    trunk = next((name for name in _TRUNKS if isinstance(getattr(body, name, None), nn.Module)), "")
    for name, child in body.get_submodule(trunk).named_children():
        if any(True for _ in child.children()):
            yield f"{trunk}.{name}" if trunk else name, child


@torch.no_grad()
def _shapes(body: nn.Module) -> dict[str, list[torch.Size]]:
    """Return the output shapes of each stage that returns feature maps, one per trial shape."""
    stage_shapes: dict[str, list[torch.Size]] = {name: [] for name, _ in _stages(body)}
    hooks = [
        stage.register_forward_hook(
            lambda _module, _given, out, shapes=stage_shapes[name]: shapes.append(_shape(out))
        )
        for name, stage in _stages(body)
    ]
    body.eval()
    device = next(body.parameters()).device
    for size in TRIAL_SHAPES:
        body(torch.zeros(1, 3, *size, dtype=torch.float32, device=device))
    for hook in hooks:
        hook.remove()
    return {name: shapes for name, shapes in stage_shapes.items() if _is_map(shapes)}


def _shape(out: object) -> torch.Size:
    return out.shape if isinstance(out, Tensor) else torch.Size()


def _is_map(shapes: Sequence[torch.Size]) -> bool:
    """Return whether a stage ran once per trial and its output shape depends on the input."""
    return len(shapes) == len(TRIAL_SHAPES) and len(shapes[0]) == 4 and shapes[0] != shapes[1]


def _channel_axis(shapes: Sequence[torch.Size]) -> int:
    """Return the channel axis, which does not depend on the input shape; 3 for transformers."""
    first, second = shapes
    return next(axis for axis in (1, 3) if first[axis] == second[axis])
