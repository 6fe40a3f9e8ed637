"""The scorer as a metric of TorchMetrics, with the interface of its ARNIQA metric."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

from reiqa.scoring import Scorer

try:
    import torch
    from torch import Tensor
    from torchmetrics import Metric
    from torchmetrics.utilities import dim_zero_cat
except ModuleNotFoundError as error:
    raise ImportError(
        f"reiqa.torchmetrics: needs the package {error.name}; run: pip install 'reiqa[metrics]'"
    ) from None

# Mean and standard deviation that `normalize=False` undoes.
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ReIQA(Metric):
    """Quality of images without references, from 0 to 100 points, higher is better.

    As input to ``forward`` and ``update`` the metric accepts

    - ``img``: floats of shape ``(N, 3, H, W)``, in [0, 1] if ``normalize`` is True, else normalised
      with ImageNet's mean and standard deviation. Images of different sizes need separate calls.

    As output of ``forward`` and ``compute`` the metric returns a scalar, or points of shape
    ``(N,)`` if ``reduction`` is ``none``. Images that are worse or better than all rated images are
    outside 0 to 100. The output of ``forward`` is differentiable with respect to the images.

    Example:
        >>> import torch
        >>> from reiqa.torchmetrics import ReIQA
        >>> _ = torch.manual_seed(0)
        >>> metric = ReIQA()                            # doctest: +SKIP
        >>> metric.update(torch.rand(8, 3, 224, 224))   # doctest: +SKIP
        >>> metric.compute()                            # doctest: +SKIP
        tensor(17.2937)
    """

    is_differentiable: bool = True
    higher_is_better: bool = True
    full_state_update: bool = False
    plot_lower_bound: float = 0.0
    plot_upper_bound: float = 100.0

    feature_network: str = "model"

    sum_scores: Tensor
    num_scores: Tensor
    scores: list[Tensor]

    def __init__(
        self,
        bundle: str | Path = "lite",
        reduction: Literal["sum", "mean", "none"] = "mean",
        normalize: bool = True,
        autocast: bool = False,
        **kwargs: Any,
    ) -> None:
        """Load a bundle.

        Args:
            bundle: name of an installed bundle, path of a folder, or ``hf://USER/REPO[@REVISION]``.
            reduction: how the points of all images are reduced.
            normalize: the images are in [0, 1] and not yet normalised.
            autocast: run the experts in mixed precision.
            kwargs: arguments of `torchmetrics.Metric`.

        Raises:
            ValueError: ``reduction`` or ``normalize`` is none of the allowed values.
            BadInputError: the bundle does not exist or is damaged.
        """
        super().__init__(**kwargs)
        if reduction not in ("mean", "sum", "none"):
            raise ValueError(f"reduction: must be mean, sum or none, but got {reduction!r}")
        if not isinstance(normalize, bool):
            raise ValueError(f"normalize: must be a bool, but got {normalize!r}")
        self.reduction, self.normalize, self.autocast = reduction, normalize, autocast
        self.model = Scorer.load(bundle).as_module()
        if reduction == "none":
            self.add_state("scores", default=[], dist_reduce_fx="cat")
        else:
            # In float64, so that the mean over millions of images is exact.
            zero = torch.zeros((), dtype=torch.float64)
            self.add_state("sum_scores", default=zero, dist_reduce_fx="sum")
            self.add_state("num_scores", default=torch.tensor(0), dist_reduce_fx="sum")

    def update(self, img: Tensor) -> None:
        """Score images ``(N, 3, H, W)`` and add their points to the state.

        Raises:
            ValueError: shape, dtype or range of values is wrong.
        """
        points = self._points(img)
        if self.reduction == "none":
            self.scores.append(points)
        else:
            self.sum_scores = self.sum_scores + points.double().sum()
            self.num_scores = self.num_scores + len(points)

    def compute(self) -> Tensor:
        """Return the mean or sum of the points of all images so far, or all points ``(N,)``."""
        if self.reduction == "none":
            return dim_zero_cat(self.scores)
        mean = self.reduction == "mean"
        return (self.sum_scores / self.num_scores if mean else self.sum_scores).float()

    def plot(self, val: Tensor | Sequence[Tensor] | None = None, ax: Any = None) -> Any:
        """Plot one value or several.

        Args:
            val: a result of ``forward`` or ``compute``, or a list of results; default: the current
                result of ``compute``.
            ax: matplotlib axis to plot on.

        Returns:
            Figure and axis.

        Raises:
            ModuleNotFoundError: matplotlib is not installed.
        """
        return self._plot(val, ax)

    def _points(self, img: Tensor) -> Tensor:
        if img.ndim != 4 or img.shape[1] != 3 or 0 in img.shape or not img.is_floating_point():
            raise ValueError(
                f"img: must be floats of shape (N, 3, H, W), but got {img.dtype} of shape"
                f" {tuple(img.shape)}"
            )
        # Half types would round the points to whole or tenth ones.
        img = img.to(torch.promote_types(img.dtype, torch.float32))
        if not self.normalize:
            mean, std = (img.new_tensor(values)[:, None, None] for values in (_MEAN, _STD))
            img = img * std + mean
        elif not (img.min() >= 0 and img.max() <= 1):
            raise ValueError(
                f"img: must be in [0, 1] with normalize=True, but got {img.min():g} to"
                f" {img.max():g}"
            )
        with torch.autocast(img.device.type) if self.autocast else nullcontext():
            points: Tensor = self.model(img)
        return points
