"""CUDA without a card: fake CUDA tensors, and a count of what would make the host wait.

Inside `fake_cuda` every operation computes shapes, types and devices only (torch's FakeTensorMode),
so an operand on the wrong device is an error as on a card. `Traffic` sees each operation before.
"""

import functools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from unittest import mock

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from reiqa import tensors

CUDA = torch.device("cuda")

Result = TypeVar("Result")

# Operations whose output has a size that only the device knows.
_SIZED_BY_VALUES = {"nonzero", "masked_select", "_unique2", "unique_dim", "unique_consecutive"}


class Traffic(TorchDispatchMode):
    """Counts operations, and copies and waits between host and device.

    Attributes:
        operations: how often each operation was called, by name.
        uploads: copies from host to device.
        downloads: copies from device to host; the host waits for each.
        waits: everything for which the host waits for the device: downloads, reads of a value,
            outputs sized by values, uploads that are not asynchronous or not from pinned memory.
    """

    def __init__(self) -> None:
        super().__init__()
        self.operations: Counter[str] = Counter()
        self.uploads = self.downloads = 0
        self.waits: list[str] = []
        # By address; the storages are kept, so that no other takes over an address.
        self._pinned: dict[int, torch.UntypedStorage] = {}

    @property
    def total(self) -> int:
        """Number of operations."""
        return self.operations.total()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if func.namespace == "prim" or name in ("is_pinned", "lift_fresh"):
            return func(*args, **kwargs)
        self.operations[name] += 1
        if name == "_pin_memory":
            copy: Tensor = args[0].clone()
            storage = copy.untyped_storage()
            self._pinned[storage._cdata] = storage
            return copy
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        if name == "_local_scalar_dense":
            if given[0].is_cuda:
                self.waits.append(name)
            return 1.0 if given[0].is_floating_point() else 1
        if name in _SIZED_BY_VALUES and given[0].is_cuda:
            self.waits.append(name)
        if name in ("index", "index_put_", "index_put") and given[0].is_cuda:
            indices = [each for each in tree_leaves(args[1]) if isinstance(each, Tensor)]
            if any(each.dtype in (torch.bool, torch.uint8) for each in indices):
                self.waits.append(f"{name} by a mask")
            if not all(each.is_cuda for each in indices):
                self.uploads += 1
                self.waits.append(f"{name} by indices on the host")
        out = func(*args, **kwargs)
        # In inference mode `to` is not taken apart into `_to_copy`.
        if name in ("_to_copy", "copy_", "to", "cpu"):
            self._count_copy(name, args, kwargs, out)
        return out

    def _count_copy(self, name: str, args: Any, kwargs: Any, out: Tensor) -> None:
        source = args[1] if name == "copy_" else args[0]
        if source.device.type == out.device.type:
            return
        asynchronous = args[2:3] == (True,) or kwargs.get("non_blocking", False)
        if source.is_cuda:
            self.downloads += 1
            self.waits.append("download")
            return
        self.uploads += 1
        if not asynchronous:
            self.waits.append("upload that blocks")
        elif source.untyped_storage()._cdata not in self._pinned:
            self.waits.append("upload from memory that is not pinned")


@contextmanager
def fake_cuda() -> Iterator[Traffic]:
    """Run a block on fake tensors; yield the count of what it does."""
    tensors.device_table.cache_clear()
    with (
        mock.patch.object(nn.Module, "_apply", _apply),
        mock.patch.object(Tensor, "numpy", _numpy),
        mock.patch.object(Tensor, "backward", _backward),
        # Otherwise autocast switches itself off without a card.
        mock.patch("torch.cuda.amp.common.amp_definitely_not_available", lambda: False),
        mock.patch("torch.cuda.is_bf16_supported", lambda: True),
        FakeTensorMode(allow_non_fake_inputs=True),
        Traffic() as traffic,
    ):
        yield traffic
    tensors.device_table.cache_clear()


def _numpy(tensor: Tensor) -> npt.NDArray[Any]:
    """Return zeros in the shape of a fake tensor, which must be on the host."""
    assert tensor.device.type == "cpu"
    with unset_fake_temporarily():
        return np.zeros(tensor.shape, str(tensor.dtype).removeprefix("torch."))


def _apply(module: nn.Module, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """Put new parameters in place of the old; torch would change the data of real ones to fake."""
    for child in module.children() if recurse else ():
        child._apply(fn)
    for name, parameter in module._parameters.items():
        if parameter is not None:
            new = fn(parameter.detach())
            module._parameters[name] = nn.Parameter(new, parameter.requires_grad)
    for name, buffer in module._buffers.items():
        if buffer is not None:
            module._buffers[name] = fn(buffer)
    return module


@torch.no_grad()
def _backward(loss: Tensor) -> None:
    """Run each node of the graph; torch's engine has a thread per card, and there is none."""
    users: Counter[Any] = Counter()
    nodes, seen = [loss.grad_fn], {loss.grad_fn}
    for node in nodes:
        for before, _ in node.next_functions:
            users[before] += 1
            if before is not None and before not in seen:
                seen.add(before)
                nodes.append(before)
    arrived: dict[Any, dict[int, Tensor]] = {loss.grad_fn: {0: torch.ones_like(loss)}}
    ready = [loss.grad_fn]
    while ready:
        node = ready.pop()
        given = arrived.pop(node, {})
        count = len(node._input_metadata)
        outputs = node(*(given.get(place) for place in range(count)))
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        for (before, place), gradient in zip(node.next_functions, outputs, strict=True):
            if before is None:
                continue
            if gradient is not None:
                wanted = before._input_metadata[place]
                gradient = gradient.sum_to_size(wanted.shape).to(wanted.dtype)
                known = arrived.setdefault(before, {})
                known[place] = known[place] + gradient if place in known else gradient
            users[before] -= 1
            if not users[before] and hasattr(before, "variable"):
                before.variable.grad = arrived[before][0]
            elif not users[before]:
                ready.append(before)


def on_the_host(function: Callable[..., Result]) -> Callable[..., Result]:
    """Return a function that runs on real tensors also inside `fake_cuda`."""

    @functools.wraps(function)
    def real(*args: Any, **kwargs: Any) -> Result:
        with unset_fake_temporarily():
            return function(*args, **kwargs)

    return real
