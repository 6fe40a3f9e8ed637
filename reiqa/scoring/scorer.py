"""From Python: ``Scorer.load("lite")(photo)``.

Every image is encoded alone, so that its score cannot depend on the company it comes in.
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

#: Pixels that are encoded at one time, unless they are of one image: some 200 bytes a pixel.
_IN_FLIGHT = 16_000_000


class Score(float):
    """Points, 0 to 100, higher is better: a number, with what else is known of it.

    Attributes:
        low, high: expected range: where nine tenths of people's mean ratings lie.
        content: points that the content expert adds to the mean photograph's.
        quality: the same of the quality expert; the mean photograph's points and both shares make
            the score.
        height, width: of the image as it came.
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
        """Make one of points, expected range, shares (content, quality) and (height, width)."""
        score = super().__new__(cls, points)
        score.low, score.high = expected
        score.content, score.quality = shares
        score.height, score.width = size
        return score

    def __reduce__(
        self,
    ) -> tuple[type[Self], tuple[float, tuple[float, float], tuple[float, float], tuple[int, int]]]:
        """Let it pass between processes whole."""
        parts = (self.low, self.high), (self.content, self.quality), (self.height, self.width)
        return type(self), (float(self), *parts)


class Scorer:
    """Scores images with a bundle. One scorer may be used by many threads at once.

    Each image is computed on one thread, whatever ``torch.set_num_threads`` says, and a list of
    images on as many threads as there are processors. These are threads of its own: torch's
    settings in the caller's threads neither count nor change. On a GPU float32 is multiplied as
    float32 (no TF32). It may be copied and pickled; a copy reads the bundle's folder again.

    Attributes:
        bundle: what it scores with.
        budget: bounds the pixels in work at one time, over all threads.

    Example:
        >>> scorer = Scorer.load("lite")            # doctest: +SKIP
        >>> scorer("photo.jpg")                     # doctest: +SKIP
        61.3
        >>> scorer(["a.jpg", image, tensor])        # doctest: +SKIP
        [61.3, 44.0, 58.1]
    """

    def __init__(self, bundle: Bundle, device: str | torch.device = "cpu") -> None:
        """Read a bundle's networks.

        Args:
            bundle: see `load`.
            device: where the experts compute: ``cpu``, ``cuda`` or ``cuda:N``.

        Raises:
            BadInputError: a part is not what the bundle tells of, or there is no such device.
        """
        self.bundle = bundle
        self.budget = PixelBudget(_IN_FLIGHT)
        self._device = _checked_device(device)
        recipe = bundle.manifest.recipe
        self._viewing = ResizePolicy(recipe.resize, recipe.max_pixels, batch=1)
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
                    f" the bundle tells of {self._head.widths[name]}"
                )

    @classmethod
    def load(cls, name: str | Path = "lite", device: str | torch.device = "cpu") -> Self:
        """Read a bundle that is installed, or a folder.

        Args:
            name: ``lite``, or a path.
            device: where the experts compute, such as ``cuda``.

        Raises:
            BadInputError: there is no such bundle, or it is damaged.
        """
        return cls(bundles.load_bundle(name), device)

    @overload
    def __call__(self, picture: Picture) -> Score: ...  # type: ignore[overload-overlap]

    @overload
    def __call__(self, picture: Sequence[Picture]) -> list[Score]: ...

    def __call__(self, picture: Picture | Sequence[Picture]) -> Score | list[Score]:
        """Score an image, or each of several.

        Args:
            picture: a path; a binary file, read from its beginning; a Pillow image; numpy
                ``(H, W, 3)`` or grey ``(H, W)``, uint8 or floats in [0, 1]; torch ``(3, H, W)``,
                likewise; or a list or tuple of any of these. A torch batch ``(N, 3, H, W)`` counts
                as a list of N.

        Returns:
            A score, or a list of them where a list or a batch was given.

        Raises:
            BadInputError: a file cannot be read, or what is given is no image.
        """
        if isinstance(picture, Tensor) and picture.ndim == 4:
            inputs.check_tensor(picture)
            return self._score_all(picture.unbind())
        if isinstance(picture, list | tuple):
            return self._score_all(picture)
        return self._score_one(cast("Picture", picture))

    def __reduce__(self) -> tuple[Any, tuple[Bundle, str]]:
        """Pass between processes, and be copied, as the name of what to read."""
        return _reloaded, (self.bundle, str(self._device))

    def _score_one(self, picture: Picture) -> Score:
        picture = self._in_reach(picture)
        return self._isolated(lambda: self._score_here(picture))

    def _score_here(self, picture: Picture) -> Score:
        with self.budget.hold(inputs.pixel_count(picture)):
            return self.score_prepared(self.prepare(picture))

    def _score_all(self, pictures: Sequence[Picture]) -> list[Score]:
        # An object that is given several times is read once: two threads must not read one file.
        unique = {id(picture): self._in_reach(picture) for picture in pictures}
        workers = min(len(unique), devices.cpu_count()) if self._device.type == "cpu" else 1
        if workers <= 1:
            scores = [self._score_one(picture) for picture in unique.values()]
        else:
            with devices.one_thread_workers(workers) as pool:
                scores = list(pool.map(self._score_here, unique.values()))
        score_of = dict(zip(unique, scores, strict=True))
        return [score_of[id(picture)] for picture in pictures]

    def _in_reach(self, picture: Picture) -> Picture:
        """Fetch a tensor from a GPU on the caller's thread, whose CUDA stream made it."""
        if isinstance(picture, Tensor) and picture.is_cuda and self._device.type == "cpu":
            return picture.cpu()
        return picture

    def _isolated(self, work: Callable[[], Result]) -> Result:
        """Compute away from the caller's settings; on a GPU in its thread, whose stream counts."""
        return devices.on_one_thread(work) if self._device.type == "cpu" else work()

    def prepare(self, picture: Picture) -> PreparedImage:
        """Read or convert one image, and bring it to the size that the experts see."""
        return self._isolated(lambda: inputs.prepare_image(picture, self._viewing))

    def score_prepared(self, seen: PreparedImage) -> Score:
        """Score an image that has been read."""
        with devices.ieee_float32(self._device):
            points, content, quality = self._isolated(lambda: self._points_and_shares(seen.batch))
        expected = self.bundle.manifest.residuals.expected_range(points)
        return Score(points, expected, (content, quality), (seen.height, seen.width))

    def as_module(self) -> ScorerModule:
        """Return the scorer as a torch module: differentiable, usable as a loss.

        It takes ``(N, 3, H, W)`` floats in [0, 1] and gives ``(N,)`` points. Its weights are
        frozen and it stays in evaluation mode; it is a copy, so moving it to a device leaves the
        scorer where it is. It may be copied, pickled and saved like any module. Threads, autocast
        and TF32 are the caller's.
        """
        pooling = self.bundle.manifest.recipe.pooling
        with devices.default_torch_state():
            experts = {
                name: with_pooling(expert, pooling) for name, expert in self._experts.items()
            }
            return copy.deepcopy(ScorerModule(experts, self._scales, self._head, self._viewing))

    def expert_points(self, expert: ExpertName, batch: Tensor) -> Tensor:
        """Return the points that an expert alone adds to the mean photograph's, ``(N,)`` float64.

        Args:
            expert: which.
            batch: ``(N, 3, H, W)`` float32 in [0, 1], of the size that the experts see.
        """
        with devices.ieee_float32(self._device):
            return self._isolated(lambda: self._share(expert, batch))

    @torch.inference_mode()
    def _share(self, expert: ExpertName, batch: Tensor) -> Tensor:
        answer = self._expert_output(expert, scaled_views(batch.to(self._device), self._scales))
        added: Tensor = self._head({expert: answer}) - self._head({})
        return added

    @torch.inference_mode()
    def _points_and_shares(self, batch: Tensor) -> tuple[float, float, float]:
        """Return points and both shares of one image, which is halved once for both experts."""
        seen = scaled_views(batch.to(self._device), self._scales)
        answers = {name: self._expert_output(name, seen) for name in EXPERTS}
        shares = self._head.shares(answers)
        return float(self._head(answers)), float(shares["content"]), float(shares["quality"])

    def _expert_output(self, expert: ExpertName, seen: list[Tensor]) -> Tensor:
        rows = torch.from_numpy(self._encodings[expert].encode(seen))
        return self._head.answer(expert, rows)


def _reloaded(bundle: Bundle, device: str) -> Scorer:
    """Read a bundle again.

    Raises:
        BadInputError: it is no longer there, or another one is.
    """
    found = bundles.load_bundle(bundle.folder)
    if found.digest != bundle.digest:
        raise BadInputError(
            f"{bundle.folder}: another bundle ({found.identity}) than the copied scorer's"
            f" ({bundle.identity}); load it again"
        )
    return Scorer(found, device)


def _checked_device(device: str | torch.device) -> torch.device:
    """Return a device that this process can compute on.

    Raises:
        BadInputError: there is none of this name.
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
