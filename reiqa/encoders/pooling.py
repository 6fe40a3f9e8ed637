"""What of an encoder becomes features: its pooled last stage, or every stage's mean and deviation.

The paper takes the last stage's mean (section 3.4). Early stages of a small encoder see what its
last one has learnt to ignore; with few rated photographs a linear regressor makes use of both.
"""

import copy
from collections.abc import Iterator, Sequence
from contextvars import ContextVar

import torch
from torch import Tensor, nn

from reiqa.encoders.backbones import TRIAL_SHAPES, Encoder
from reiqa.errors import BadInputError
from reiqa.params import Pooling

# Names under which families keep the sequence of their stages; others have them side by side.
_TRUNKS = ("features", "blocks", "trunk_output", "layers")

# Under the root of a variance: keeps the gradient finite where a map is constant.
_TINY = 1e-12


# Maps of the forward pass that runs in this thread. Hooks write here and not into their module,
# so that one module serves several threads and survives copy.deepcopy, pickle and torch.save.
_maps: ContextVar[dict[str, Tensor] | None] = ContextVar("maps of a forward pass", default=None)


class _Recorder:
    """A forward hook that records what a stage returns."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __call__(self, _module: nn.Module, _inputs: object, output: Tensor) -> None:
        if (maps := _maps.get()) is not None:
            maps[self._name] = output


class StagePooledEncoder(nn.Module):
    """A frozen copy of an encoder that gives mean and deviation of every stage, then its output.

    A stage is a child of the network's trunk that has layers of its own and gives a map.

    Attributes:
        encoder: whose weights these are.
        width: length of a feature vector.
    """

    def __init__(self, encoder: Encoder) -> None:
        """Copy the encoder, and find the stages by a trial run.

        Raises:
            BadInputError: the backbone has none that can be told apart.
        """
        super().__init__()
        self.encoder = copy.deepcopy(encoder).eval()
        shapes = _shapes(self.encoder.body)
        if not shapes:
            raise BadInputError(
                f"features.pooling: the stages of {encoder.backbone} cannot be told apart; use last"
            )
        self._axes = {name: _channel_axis(seen) for name, seen in shapes.items()}
        for name, stage in _stages(self.encoder.body):
            if name in self._axes:
                stage.register_forward_hook(_Recorder(name))
        self._beyond = True
        self.width = self._measure()

    def forward(self, images: Tensor) -> Tensor:
        """Return ``(N, width)`` float32 of ``(N, 3, H, W)`` float images in [0, 1]."""
        maps: dict[str, Tensor] = {}
        before = _maps.set(maps)
        try:
            last = self.encoder(images)
        finally:
            _maps.reset(before)
        parts = [
            part for name, axis in self._axes.items() for part in _moments(maps[name].float(), axis)
        ]
        if self._beyond:
            parts.append(last.float())
        return torch.cat(parts, dim=1)

    @torch.no_grad()
    def _measure(self) -> int:
        """Return the width; where the pooled features are the last stage's mean, leave them out."""
        count = self.encoder.width
        trial = torch.arange(3 * 64 * 64, dtype=torch.float32, device="cpu") / (3 * 64 * 64 - 1)
        row = self(trial.view(1, 3, 64, 64))[0]
        mean, last = row[-3 * count : -2 * count], row[-count:]
        self._beyond = not (len(mean) == count and torch.allclose(mean, last, atol=1e-5))
        return len(row) if self._beyond else len(row) - count


def with_pooling(encoder: Encoder, pooling: Pooling) -> Encoder | StagePooledEncoder:
    """Return what turns images into feature vectors: the encoder as it is, or all its stages."""
    return encoder if pooling == "last" else StagePooledEncoder(encoder)


def _moments(maps: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Return mean and deviation over the positions of ``(N, ...)`` maps, each ``(N, C)``."""
    positions = [place for place in range(1, maps.ndim) if place != axis]
    mean = maps.mean(positions, keepdim=True)
    # Over such axes torch's own var_mean takes two to seventeen times as long.
    variance = (maps - mean).square().mean(positions)
    return mean.flatten(1), (variance + _TINY).sqrt()


def _stages(body: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    trunk = next((name for name in _TRUNKS if isinstance(getattr(body, name, None), nn.Module)), "")
    for name, child in body.get_submodule(trunk).named_children():
        if any(True for _ in child.children()):
            yield f"{trunk}.{name}" if trunk else name, child


@torch.no_grad()
def _shapes(body: nn.Module) -> dict[str, list[torch.Size]]:
    """Return the shapes of each stage's map, one a trial; only of those that give maps."""
    seen: dict[str, list[torch.Size]] = {name: [] for name, _ in _stages(body)}
    hooks = [
        stage.register_forward_hook(
            lambda _module, _given, out, shapes=seen[name]: shapes.append(_shape(out))
        )
        for name, stage in _stages(body)
    ]
    body.eval()
    for size in TRIAL_SHAPES:
        body(torch.zeros(1, 3, *size, dtype=torch.float32, device="cpu"))
    for hook in hooks:
        hook.remove()
    return {name: shapes for name, shapes in seen.items() if _is_map(shapes)}


def _shape(out: object) -> torch.Size:
    return out.shape if isinstance(out, Tensor) else torch.Size()


def _is_map(shapes: Sequence[torch.Size]) -> bool:
    """A stage that ran once a trial, and whose result follows the image's shape."""
    return len(shapes) == len(TRIAL_SHAPES) and len(shapes[0]) == 4 and shapes[0] != shapes[1]


def _channel_axis(shapes: Sequence[torch.Size]) -> int:
    """Return which axis is the same for images of other shapes: transformers have it last."""
    first, second = shapes
    return next(axis for axis in (1, 3) if first[axis] == second[axis])
