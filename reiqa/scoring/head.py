"""The regression head of a bundle in numpy: features of both experts to points."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from reiqa.errors import BadInputError
from reiqa.params import EXPERTS, ExpertName
from reiqa.regression.scaler import Matrix, Vector
from reiqa.regression.shapley import shapley_values
from reiqa.scoring.bundle import REGRESSOR, Bundle

#: Features ``(N, D)`` float32.
Features: TypeAlias = np.ndarray[tuple[int, int], np.dtype[np.float32]]


@dataclass(frozen=True)
class HeadKernel:
    """The RBF of one expert, for a regressor with kernel terms.

    Attributes:
        axes: ``(d, k)`` axes that map deviations from the mean features to principal components.
        centres: ``(S, k)`` principal components of training images.
        coefficients: ``(S,)`` weights of their kernels.
        gamma: width of the kernel.
    """

    axes: Matrix
    centres: Matrix
    coefficients: Vector
    gamma: float

    @cached_property
    def at_mean(self) -> float:
        """The weighted sum of kernels for mean features."""
        return self._sum(np.zeros(self.axes.shape[1]))

    def output(self, deviation: Vector) -> float:
        """Return the sum for the features of one image, relative to mean features."""
        # einsum, as the order of summation of a matrix product depends on the number of threads.
        return self._sum(np.einsum("d,dk->k", deviation, self.axes)) - self.at_mean

    def _sum(self, components: Vector) -> float:
        products = np.einsum("sk,k->s", self.centres, components)
        distances = self._norms - 2 * products + np.square(components).sum()
        return float((np.exp(-self.gamma * distances) * self.coefficients).sum())

    @cached_property
    def _norms(self) -> Vector:
        norms: Vector = np.square(self.centres).sum(axis=1)
        return norms


@dataclass(frozen=True)
class RegressionHead:
    """The regressor with separate contributions of the experts.

    It computes in float64, so that sums of thousands of terms do not depend on their order.

    Attributes:
        origin: output for the mean photograph, on the fitted scale.
        curve_at: ``(K,)`` ascending knots of the calibration curve on the fitted scale.
        curve_to: ``(K,)`` points at the knots; the curve is extrapolated linearly.
        slope: ``(D,)`` weight of each feature, content features first.
        mean: ``(D,)`` features of the mean photograph.
        reach: ``(D,)`` maximum deviation from the mean; larger deviations are clipped.
        widths: number of features of each expert over all scales.
        kernels: kernel term of each expert; empty for a linear regressor.
    """

    origin: float
    curve_at: Vector
    curve_to: Vector
    slope: Vector
    mean: Vector
    reach: Vector
    widths: Mapping[ExpertName, int]
    kernels: Mapping[ExpertName, HeadKernel] = field(default_factory=dict)

    def points(self, outputs: Mapping[ExpertName, Vector]) -> Vector:
        """Return points from outputs ``(N,)`` of experts; missing experts contribute their mean."""
        fitted = sum(outputs.values(), np.full(1, self.origin))
        slopes = np.diff(self.curve_to) / np.diff(self.curve_at)
        bent = np.maximum(fitted[:, None] - self.curve_at[1:-1], 0) @ np.diff(slopes)
        points: Vector = self.curve_to[0] + (fitted - self.curve_at[0]) * slopes[0] + bent
        return points

    def expert_output(self, expert: ExpertName, rows: Features) -> Vector:
        """Return the contribution of one expert on the fitted scale, ``(N,)``.

        Args:
            expert: name of the expert.
            rows: features ``(N, D)`` of all scales.
        """
        own = self.columns(expert)
        reach = self.reach[own]
        deviation = np.clip(rows.astype(np.float64) - self.mean[own], -reach, reach)
        # Not a matrix product, whose order of summation depends on the number of rows.
        output: Vector = (deviation * self.slope[own]).sum(axis=1)
        if expert in self.kernels:
            output += [self.kernels[expert].output(row) for row in deviation]
        return output

    def columns(self, expert: ExpertName) -> slice:
        """Return the columns of an expert's features."""
        start = 0 if expert == EXPERTS[0] else self.widths[EXPERTS[0]]
        return slice(start, start + self.widths[expert])

    def shares(self, outputs: Mapping[ExpertName, Vector]) -> dict[ExpertName, Vector]:
        """Return the contribution of each expert in points, ``(N,)``.

        The curve is nonlinear, so these are `shapley_values`. The contributions and the points of
        the mean photograph sum to the score.
        """
        both, mean = self.points(outputs), self.points({})
        content, quality = (self.points({name: outputs[name]}) for name in EXPERTS)
        shares = shapley_values(mean, content, quality, both)
        return dict(zip(EXPERTS, shares, strict=True))


def read_head(bundle: Bundle) -> RegressionHead:
    """Load the regressor of a bundle.

    Raises:
        BadInputError: the file is invalid, or its width does not match the experts.
    """
    path, manifest = bundle.part(REGRESSOR), bundle.manifest
    widths = {
        expert: len(manifest.recipe.scales) * manifest.experts[expert].width for expert in EXPERTS
    }
    try:
        tensors = {name: value.astype(np.float64) for name, value in load_file(path).items()}
        head = RegressionHead(
            float(tensors["origin"][0]),
            tensors["curve_at"],
            tensors["curve_to"],
            tensors["slope"],
            tensors["mean"],
            tensors["reach"],
            widths,
            {expert: _kernel(tensors, expert) for expert in EXPERTS if f"{expert}.axes" in tensors},
        )
    except (SafetensorError, OSError, ValueError, KeyError, IndexError) as error:
        raise BadInputError(f"{path}: not a regressor ({error})") from None
    if {head.slope.shape, head.mean.shape, head.reach.shape} != {(sum(widths.values()),)}:
        raise BadInputError(f"{path}: has shape {head.slope.shape}, but the features have {widths}")
    if (
        head.curve_at.shape != head.curve_to.shape
        or head.curve_at.ndim != 1
        or len(head.curve_at) < 2
    ):
        raise BadInputError(f"{path}: not a regressor (the calibration curve has no two knots)")
    for expert, kernel in head.kernels.items():
        count, components = kernel.centres.shape
        shapes = kernel.axes.shape, kernel.coefficients.shape
        if shapes != ((widths[expert], components), (count,)):
            raise BadInputError(f"{path}: {expert}: shapes {shapes} of the kernel do not match")
    return head


def _kernel(tensors: Mapping[str, np.ndarray], expert: ExpertName) -> HeadKernel:
    axes, centres, coefficients, gamma, inverse = (
        tensors[f"{expert}.{name}"]
        for name in ("axes", "centres", "coefficients", "gamma", "inverse")
    )
    return HeadKernel(axes * inverse[:, None], centres, coefficients, float(gamma[0]))
