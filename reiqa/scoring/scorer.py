"""Python API: ``Scorer.load("lite")(photo)``.

Every image is encoded separately, so that its score does not depend on the rest of the batch.
"""

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar, cast, overload

import torch
from torch import Tensor

from reiqa import devices
from reiqa.encoders import with_pooling
from reiqa.errors import BadInputError
from reiqa.features.batching import ResizePolicy
from reiqa.features.encoding import FrozenEncoder, scaled_views
from reiqa.params import EXPERTS, ExpertName
from reiqa.scoring import bundle as bundles
from reiqa.scoring import inputs
from reiqa.scoring.budget import PixelBudget
from reiqa.scoring.bundle import Bundle
from reiqa.scoring.inputs import Picture, PreparedImage
from reiqa.scoring.module import ScorerModule, read_experts, read_head

Result = TypeVar("Result")

#: Maximum number of pixels in flight, except for a single image; about 200 bytes per pixel.
_IN_FLIGHT = 16_000_000


class Score(float):
    """Points from 0 to 100, higher is better: a float with attributes.

    Attributes:
        low, high: expected range, which contains 90 % of mean opinion scores.
        content: contribution of the content expert in points, relative to the mean photograph.
        quality: contribution of the quality expert. The points of the mean photograph and both
            contributions sum to the score.
        height, width: size of the original image.
    """

    __slots__ = ("content", "height", "high", "low", "quality", "width")

    low: float
    high: float
    content: float
    quality: float
    height: int
    width: int

    def __new__(
        cls,
        points: float,
        expected: tuple[float, float],
        shares: tuple[float, float],
        size: tuple[int, int],
    ) -> Self:
        """Create from points, expected range, (content, quality) and (height, width)."""
        score = super().__new__(cls, points)
        score.low, score.high = expected
        score.content, score.quality = shares
        score.height, score.width = size
        return score

    def __reduce__(
        self,
    ) -> tuple[type[Self], tuple[float, tuple[float, float], tuple[float, float], tuple[int, int]]]:
        """Support pickling with all attributes."""
        parts = (self.low, self.high), (self.content, self.quality), (self.height, self.width)
        return type(self), (float(self), *parts)


class Scorer:
    """Scores images with a bundle. A scorer is thread-safe.

    Each image is computed on one thread, independently of ``torch.set_num_threads``. A list of
    images uses as many threads as there are processors. The scorer uses its own threads and neither
    depends on nor changes torch's settings in the calling thread. On a GPU, TF32 is not used. A
    scorer supports copying and pickling; a copy loads the bundle again.

    Attributes:
        bundle: bundle of the scorer.
        budget: limits the pixels in flight over all threads.

    Example:
        >>> scorer = Scorer.load("lite")            # doctest: +SKIP
        >>> scorer("photo.jpg")                     # doctest: +SKIP
        61.3
        >>> scorer(["a.jpg", image, tensor])        # doctest: +SKIP
        [61.3, 44.0, 58.1]
    """

    def __init__(self, bundle: Bundle, device: str | torch.device = "cpu") -> None:
        """Load the networks of a bundle.

        Args:
            bundle: see `load`.
            device: device of the experts: ``cpu``, ``cuda`` or ``cuda:N``.

        Raises:
            BadInputError: a part does not match the manifest, or the device does not exist.
        """
        self.bundle = bundle
        self.budget = PixelBudget(_IN_FLIGHT)
        self._device = _checked_device(device)
        recipe = bundle.manifest.recipe
        self._policy = ResizePolicy(recipe.resize, recipe.max_pixels, batch=1)
        self._scales = recipe.scales
        with devices.default_torch_state():
            self._experts, self._head = read_experts(bundle), read_head(bundle)
            self._encodings = {
                name: FrozenEncoder(
                    self._experts[name],
                    recipe.scales,
                    self._device,
                    recipe.precision,
                    recipe.pooling,
                )
                for name in EXPERTS
            }
        for name, encoding in self._encodings.items():
            if encoding.width != self._head.widths[name]:
                raise BadInputError(
                    f"{bundle.folder}: {name} expert: {encoding.width} features;"
                    f" the manifest says {self._head.widths[name]}"
                )

    @classmethod
    def load(cls, name: str | Path = "lite", device: str | torch.device = "cpu") -> Self:
        """Load an installed bundle, or a bundle from a folder or from the Hugging Face Hub.

        Args:
            name: ``lite``, a path, or ``hf://USER/REPO[@REVISION]``.
            device: device of the experts, such as ``cuda``.

        Raises:
            BadInputError: the bundle does not exist or is damaged.
            WorkFailedError: the download from the hub failed.
        """
        return cls(bundles.load_bundle(name), device)

    @overload
    def __call__(self, picture: Picture) -> Score: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, picture: Sequence[Picture]) -> list[Score]: ...

    def __call__(self, picture: Picture | Sequence[Picture]) -> Score | list[Score]:
        """Score one image or several.

        Args:
            picture: a path; a binary file, read from its beginning; a Pillow image; a numpy array
                ``(H, W, 3)`` or grey ``(H, W)``, uint8 or floats in [0, 1]; a torch tensor
                ``(3, H, W)`` likewise; or a list or tuple of these. A torch batch
                ``(N, 3, H, W)`` counts as a list of N images.

        Returns:
            A score, or a list of scores for a list or batch.

        Raises:
            BadInputError: a file cannot be read, or the argument is not an image.
        """
        if isinstance(picture, Tensor) and picture.ndim == 4:
            inputs.check_tensor(picture)
            return self._score_all(picture.unbind())
        if isinstance(picture, list | tuple):
            return self._score_all(picture)
        return self._score_one(cast("Picture", picture))

    def __reduce__(self) -> tuple[Any, tuple[Bundle, str]]:
        """Support pickling and copying; the copy loads the bundle again."""
        return _reloaded, (self.bundle, str(self._device))

    def _score_one(self, picture: Picture) -> Score:
        picture = self._to_cpu_if_needed(picture)
        return self._isolated(lambda: self._score_here(picture))

    def _score_here(self, picture: Picture) -> Score:
        with self.budget.reserve(inputs.pixel_count(picture)):
            return self.score_prepared(self.prepare(picture))

    def _score_all(self, pictures: Sequence[Picture]) -> list[Score]:
        # An object that occurs several times is read once, as file objects are not thread-safe.
        unique = {id(picture): self._to_cpu_if_needed(picture) for picture in pictures}
        workers = min(len(unique), devices.cpu_count()) if self._device.type == "cpu" else 1
        if workers <= 1:
            scores = [self._score_one(picture) for picture in unique.values()]
        else:
            with devices.one_thread_workers(workers) as pool:
                scores = list(pool.map(self._score_here, unique.values()))
        score_of = dict(zip(unique, scores, strict=True))
        return [score_of[id(picture)] for picture in pictures]

    def _to_cpu_if_needed(self, picture: Picture) -> Picture:
        """Copy a GPU tensor to the CPU on the calling thread, because of its CUDA stream."""
        if isinstance(picture, Tensor) and picture.is_cuda and self._device.type == "cpu":
            return picture.cpu()
        return picture

    def _isolated(self, work: Callable[[], Result]) -> Result:
        """Run on a separate thread on the CPU; on a GPU, on the calling thread and its stream."""
        return devices.on_one_thread(work) if self._device.type == "cpu" else work()

    def prepare(self, picture: Picture) -> PreparedImage:
        """Decode or convert one image and resize it."""
        return self._isolated(lambda: inputs.prepare_image(picture, self._policy))

    def score_prepared(self, prepared: PreparedImage) -> Score:
        """Score a prepared image."""
        with devices.ieee_float32(self._device):
            points, content, quality = self._isolated(
                lambda: self._points_and_shares(prepared.batch)
            )
        expected = self.bundle.manifest.residuals.expected_range(points)
        return Score(points, expected, (content, quality), (prepared.height, prepared.width))

    def as_module(self) -> ScorerModule:
        """Return the scorer as a differentiable torch module, for example for use as a loss.

        It maps ``(N, 3, H, W)`` floats in [0, 1] to ``(N,)`` points. The weights are frozen and the
        module stays in evaluation mode. It is a copy, so moving it to a device does not move the
        scorer. It supports copying, pickling and saving. Threads, autocast and TF32 follow the
        caller's settings.
        """
        pooling = self.bundle.manifest.recipe.pooling
        with devices.default_torch_state():
            experts = {
                name: with_pooling(expert, pooling) for name, expert in self._experts.items()
            }
            return copy.deepcopy(ScorerModule(experts, self._scales, self._head, self._policy))

    def expert_points(self, expert: ExpertName, batch: Tensor) -> Tensor:
        """Return the points that an expert alone adds to the mean photograph's, ``(N,)`` float64.

        Args:
            expert: name of the expert.
            batch: ``(N, 3, H, W)`` float32 in [0, 1], after resizing.
        """
        with devices.ieee_float32(self._device):
            return self._isolated(lambda: self._share(expert, batch))

    @torch.inference_mode()
    def _share(self, expert: ExpertName, batch: Tensor) -> Tensor:
        output = self._expert_output(expert, scaled_views(batch.to(self._device), self._scales))
        added: Tensor = self._head({expert: output}) - self._head({})
        return added

    @torch.inference_mode()
    def _points_and_shares(self, batch: Tensor) -> tuple[float, float, float]:
        """Return points and both contributions of one image; experts share the half scale."""
        prepared = scaled_views(batch.to(self._device), self._scales)
        outputs = {name: self._expert_output(name, prepared) for name in EXPERTS}
        shares = self._head.shares(outputs)
        return float(self._head(outputs)), float(shares["content"]), float(shares["quality"])

    def _expert_output(self, expert: ExpertName, prepared: list[Tensor]) -> Tensor:
        rows = torch.from_numpy(self._encodings[expert].encode(prepared))
        return self._head.expert_output(expert, rows)


def _reloaded(bundle: Bundle, device: str) -> Scorer:
    """Load the bundle of a pickled scorer.

    Raises:
        BadInputError: the bundle no longer exists or has changed.
    """
    found = bundles.load_bundle(bundle.folder)
    if found.digest != bundle.digest:
        raise BadInputError(
            f"{bundle.folder}: the bundle has changed from {bundle.identity} to {found.identity}."
            " Create the scorer again."
        )
    return Scorer(found, device)


def _checked_device(device: str | torch.device) -> torch.device:
    """Return a device that is available to this process.

    Raises:
        BadInputError: the device does not exist.
    """
    allowed = "allowed: cpu, cuda, cuda:N"
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError):
        raise BadInputError(f"device {device!r}: no such device; {allowed}") from None
    if chosen.type not in {"cpu", "cuda"}:
        raise BadInputError(f"device {device!r}: not supported; {allowed}")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise BadInputError(
            f"device {device!r}: {torch.cuda.device_count()} GPU(s) visible here; use cpu"
        )
    return chosen
