"""Python API: ``Scorer.load("lite")(photo)``.

Every image is encoded separately, so that its score does not depend on the rest of the batch.
"""

import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, cast, overload

from reiqa import devices, extras
from reiqa.errors import BadInputError
from reiqa.features.batching import ResizePolicy
from reiqa.images.resize import FloatImages, half
from reiqa.layout import LEAST_SIDE
from reiqa.params import EXPERTS, ExpertName
from reiqa.regression.scaler import Vector
from reiqa.scoring import bundle as bundles
from reiqa.scoring import inputs
from reiqa.scoring.budget import PixelBudget
from reiqa.scoring.bundle import Bundle
from reiqa.scoring.experts import Experts, OnnxExperts
from reiqa.scoring.head import read_head
from reiqa.scoring.inputs import Picture, PreparedImage

if TYPE_CHECKING:
    from reiqa.scoring.module import ScorerModule

#: Maximum number of pixels in flight, except for a single image.
_IN_FLIGHT = 4_000_000

_DEVICE = re.compile(r"cpu|cuda(:\d+)?")


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

    On the CPU the experts run in onnxruntime, without PyTorch. Each image is computed on one
    thread, and a list of images uses as many threads as there are processors, so the score of an
    image depends neither on its company nor on the number of threads. On a GPU the experts run in
    PyTorch, without TF32. A scorer supports copying and pickling; a copy loads the bundle again.

    Attributes:
        bundle: bundle of the scorer.
        resize: length to which the shorter side is scaled down; None keeps the size.
        budget: limits the pixels in flight over all threads.

    Example:
        >>> scorer = Scorer.load("lite")            # doctest: +SKIP
        >>> scorer("photo.jpg")                     # doctest: +SKIP
        61.3
        >>> scorer(["a.jpg", image, tensor])        # doctest: +SKIP
        [61.3, 44.0, 58.1]
    """

    def __init__(
        self,
        bundle: Bundle,
        device: object = "cpu",
        resize: int | None = None,
        lazy: bool = False,
    ) -> None:
        """Load the networks of a bundle.

        Args:
            bundle: see `load`.
            device: see `load`.
            resize: see `load`.
            lazy: load the experts at the first image that needs them instead.

        Raises:
            BadInputError: a part does not match the manifest, or the device does not exist.
        """
        self.bundle = bundle
        self.budget = PixelBudget(_IN_FLIGHT)
        self._device = _checked_device(device)
        recipe = bundle.manifest.recipe
        self.resize = recipe.resize if resize is None else _checked_resize(resize)
        self._policy = ResizePolicy(self.resize, recipe.max_pixels, batch=1)
        self._head = read_head(bundle)
        self._loading = threading.Lock()
        self._loaded: Experts | None = None
        if not lazy:
            self.load_experts()

    @classmethod
    def load(
        cls, name: str | Path = "lite", device: object = "cpu", resize: int | None = None
    ) -> Self:
        """Load an installed bundle, or a bundle from a folder or from the Hugging Face Hub.

        Args:
            name: ``lite``, a path, or ``hf://USER/REPO[@REVISION]``.
            device: device of the experts: ``cpu``, ``cuda``, or ``auto`` for a GPU if there is one,
                as for ``reiqa score``; also ``cuda:N`` or a torch device.
            resize: scale images down to this length of the shorter side, to compare photographs
                of different sizes; None for the bundle's own rule.

        Raises:
            BadInputError: the bundle does not exist or is damaged.
            WorkFailedError: the download from the hub failed.
        """
        return cls(bundles.load_bundle(name), device, resize)

    def load_experts(self) -> Experts:
        """Load the experts unless they are loaded.

        Raises:
            BadInputError: a part does not match the manifest, or the device does not exist.
        """
        with self._loading:
            if self._loaded is None:
                self._loaded = _open_experts(self.bundle, self._device)
            return self._loaded

    @property
    def identity(self) -> str:
        """Identity of the bundle, with the length if images are resized by choice."""
        own = self.bundle.manifest.recipe.resize
        return f"{self.bundle.identity}{'' if self.resize == own else f'/{self.resize}'}"

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
        if inputs.is_tensor(picture) and picture.ndim == 4:
            inputs.check_tensor(picture)
            return self._score_all(picture.unbind())
        if isinstance(picture, list | tuple):
            return self._score_all(picture)
        return self._score_one(cast("Picture", picture))

    def __reduce__(self) -> tuple[Any, tuple[Bundle, str, int | None]]:
        """Support pickling and copying; the copy loads the bundle again."""
        return _reloaded, (self.bundle, self._device, self.resize)

    def _score_one(self, picture: Picture) -> Score:
        with self.budget.reserve(inputs.pixel_count(picture)):
            return self.score_prepared(self.prepare(picture))

    def _score_all(self, pictures: Sequence[Picture]) -> list[Score]:
        # An object that occurs several times is read once, as file objects are not thread-safe.
        unique = {id(picture): picture for picture in pictures}
        with ThreadPoolExecutor(devices.cpu_count()) as pool:
            scores = list(pool.map(self._score_one, unique.values()))
        score_of = dict(zip(unique, scores, strict=True))
        return [score_of[id(picture)] for picture in pictures]

    def prepare(self, picture: Picture) -> PreparedImage:
        """Decode or convert one image and resize it."""
        return inputs.prepare_image(picture, self._policy)

    def score_prepared(self, prepared: PreparedImage) -> Score:
        """Score a prepared image."""
        with self.budget.reserve(prepared.height * prepared.width):
            views = self._views(prepared.batch)
            outputs = {name: self._output(name, views) for name in EXPERTS}
        points, shares = float(self._head.points(outputs)[0]), self._head.shares(outputs)
        return Score(
            points,
            self.bundle.manifest.residuals.expected_range(points),
            (float(shares["content"][0]), float(shares["quality"][0])),
            (prepared.height, prepared.width),
        )

    def as_module(self) -> "ScorerModule":
        """Return the scorer as a differentiable torch module, for example for use as a loss.

        It maps ``(N, 3, H, W)`` floats in [0, 1] to ``(N,)`` points, which equal the scores to
        1e-3. The weights are frozen and the module stays in evaluation mode. Moving it to a device
        does not move the scorer. It supports copying, pickling and saving. Threads, autocast and
        TF32 follow the caller's settings.

        Raises:
            BadInputError: PyTorch is not installed.
        """
        with extras.explain_missing("Scorer.as_module"):
            from reiqa.scoring.module import build_module

        return build_module(self.bundle, self._head, self._policy)

    def expert_points(self, expert: ExpertName, batch: FloatImages) -> Vector:
        """Return the points that an expert alone adds to the mean photograph's, ``(N,)``.

        Args:
            expert: name of the expert.
            batch: ``(N, 3, H, W)`` in [0, 1], after resizing.
        """
        with self.budget.reserve(batch.size // batch.shape[1]):
            output = self._output(expert, self._views(batch))
        added: Vector = self._head.points({expert: output}) - self._head.points({})
        return added

    def _views(self, batch: FloatImages) -> list[FloatImages]:
        """Return images at each scale of the recipe, which both experts share."""
        return [
            batch if scale == 1 else half(batch) for scale in self.bundle.manifest.recipe.scales
        ]

    def _output(self, expert: ExpertName, views: Sequence[FloatImages]) -> Vector:
        return self._head.expert_output(expert, self.load_experts().features(expert, views))


def _open_experts(bundle: Bundle, device: str) -> Experts:
    if device == "cpu":
        return OnnxExperts(bundle)
    with extras.explain_missing(f"device {device!r}"):
        from reiqa.scoring.module import TorchExperts

    return TorchExperts(bundle, device)


def _reloaded(bundle: Bundle, device: str, resize: int | None) -> Scorer:
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
    return Scorer(found, device, resize)


def _checked_resize(side: int) -> int:
    if side < LEAST_SIDE:
        raise BadInputError(f"resize {side}: must be at least {LEAST_SIDE} pixels")
    return side


def _checked_device(device: object) -> str:
    """Return the name of a device: ``cpu``, ``cuda`` or ``cuda:N``; ``auto`` becomes one of them.

    Raises:
        BadInputError: it is something else.
    """
    name = str(device)
    if name == "auto":
        return "cuda" if find_spec("torch") and devices.visible_gpus() else "cpu"
    if not _DEVICE.fullmatch(name):
        raise BadInputError(f"device {name!r}: not supported; allowed: auto, cpu, cuda, cuda:N")
    return name
