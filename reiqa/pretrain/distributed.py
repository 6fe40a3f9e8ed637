"""Distributed training: process context, ShuffleBN and SyncBN.

In MoCo, query and positive key come from the same images. If batch normalisation sees the same
batch for both, the shared statistics leak the positive. ShuffleBN (MoCo) encodes keys on another
process than their queries. SyncBN shares statistics over all processes, so that the result does not
depend on their number. The default is ``shuffle``, as published. With one process, both are
equivalent to plain batch normalisation over the whole step, because shuffling within one batch does
not change its statistics.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx

from reiqa.tensors import upload


@dataclass(frozen=True)
class DistContext:
    """Rank of this process and number of processes."""

    rank: int = 0
    world: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and logs."""
        return self.rank == 0

    def all_gather(self, values: Tensor) -> Tensor:
        """Concatenate the values of all processes along the first axis, without gradient."""
        if self.world == 1:
            return values
        parts = [torch.empty_like(values) for _ in range(self.world)]
        dist.all_gather(parts, values.contiguous())
        return torch.cat(parts)

    def local_shard(self, values: Tensor) -> Tensor:
        """Return the part of this process of values that all processes hold."""
        return values.chunk(self.world)[self.rank]

    def all_reduce_mean(self, values: Tensor) -> Tensor:
        """Return the mean of ``(N,)`` values over processes, without gradient."""
        return self.all_gather(values.detach()[None]).mean(0)


@contextmanager
def process_group(device: torch.device) -> Iterator[DistContext]:
    """Initialise the process group if torchrun started this process."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield DistContext()
        return
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield DistContext(dist.get_rank(), world)
    finally:
        dist.destroy_process_group()


def encode_shuffled(
    encode: Callable[[Tensor], Tensor], images: Tensor, ranks: DistContext, seed: int
) -> Tensor:
    """Encode images on randomly permuted processes (ShuffleBN).

    Args:
        encode: ``(N, 3, H, W)`` to ``(N, D)``, with batch statistics.
        images: images of this process.
        ranks: process context.
        seed: seed of the permutation; must be the same on all processes.

    Returns:
        ``(world * N, D)`` features of the images of all processes, in order.
    """
    gathered = ranks.all_gather(images)
    draw = torch.Generator().manual_seed(seed)
    permutation = upload(torch.randperm(len(gathered), generator=draw), images.device)
    encoded = ranks.all_gather(encode(ranks.local_shard(gathered[permutation])))
    return encoded[permutation.argsort()]


def convert_sync_batchnorm(module: nn.Module, device: torch.device) -> nn.Module:
    """Replace batch normalisation by one with statistics over all processes."""
    if device.type == "cuda":
        from timm.layers.norm_act import convert_sync_batchnorm as convert

        # torch's function drops the activation that timm's normalisation layers contain.
        converted: nn.Module = convert(module)
        return converted
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            shared = _SyncBatchNorm(child.num_features, child.eps, child.momentum)
            for part_name, part in child.named_children():
                shared.add_module(part_name, part)
            shared.load_state_dict(child.state_dict())
            setattr(module, name, shared)
        else:
            setattr(module, name, convert_sync_batchnorm(child, device))
    return module


class _Sum(torch.autograd.Function):
    """Sum of a tensor over processes, with the gradient summed likewise."""

    @staticmethod
    def forward(ctx: FunctionCtx, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total


class _SyncBatchNorm(nn.BatchNorm2d):
    """SyncBatchNorm for the CPU; torch supports only GPUs.

    Child layers, such as the activation in timm's normalisation layers, are applied to the output.
    """

    def forward(self, images: Tensor) -> Tensor:
        output = self._normalize(images) if self.training else super().forward(images)
        for layer in self.children():
            output = layer(output)
        return output

    def _normalize(self, images: Tensor) -> Tensor:
        count = dist.get_world_size() * images.numel() / images.shape[1]
        mean: Tensor = _Sum.apply(images.sum((0, 2, 3))) / count
        centred = images - mean.view(-1, 1, 1)
        variance: Tensor = _Sum.apply(centred.square().sum((0, 2, 3))) / count
        self._update_running_stats(mean.detach(), variance.detach() * count / (count - 1))
        scale: Tensor = self.weight * torch.rsqrt(variance + self.eps)
        return centred * scale.view(-1, 1, 1) + self.bias.view(-1, 1, 1)

    def _update_running_stats(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None
        momentum = self.momentum or 0.1
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)
        self.num_batches_tracked.add_(1)
