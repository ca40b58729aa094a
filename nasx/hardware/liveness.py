"""How much memory a network's tensors take at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["peak_bytes"]


_BLOCK = 8


def peak_bytes(
    build: Callable[[], nn.Module],
    input_shape: tuple[int, ...],
    *,
    dtype: torch.dtype = torch.float32,
    reorders: bool,
) -> int:
    """Find the most bytes that a network's weights and tensors take at once; it is run without values.

    Parameters
    ----------
    build : callable
        Makes the network.
    input_shape : tuple of int
        Shape of a batch; its own memory counts.
    dtype : torch.dtype, default torch.float32
        Type of what it holds.
    reorders : bool
        Whether convolutions copy images that are not in the "channels last" layout, into theirs and back, as
        oneDNN does.

    Returns
    -------
    int
        Weights and peak, in bytes; views share their tensor's memory.
    """
    # Not the "meta" device: layouts, and what networks do by device, are as on the CPU.
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    with torch.random.fork_rng(devices=[]):
        try:
            with mode:
                model = build()
        except Exception:  # its constructor looks at values, which these tensors lack
            model = build()
        model.eval()
        with mode, torch.no_grad():
            weights = [tensor.untyped_storage() for tensor in (*model.parameters(), *model.buffers())]
            watch = _Watch({storage._cdata for storage in weights}, reorders)
            with watch:
                model(watch.add(torch.empty(input_shape, dtype=dtype)))
    return watch.peak + sum({storage._cdata: storage.nbytes() for storage in weights}.values())


class _Watch(TorchDispatchMode):
    """Counts the bytes of all storages that are made and still referred to."""

    def __init__(self, known: set[int], reorders: bool) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak: int = 0
        self._known, self._reorders = known, reorders
        self._alive: dict[int, tuple[StorageWeakRef, int]] = {}

    def add(self, tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key not in self._known and key not in self._alive:
            self._alive[key] = StorageWeakRef(storage), storage.nbytes()  # type: ignore[no-untyped-call]
            self.peak = max(self.peak, sum(size for _, size in self._alive.values()))
        return tensor

    def __torch_dispatch__(
        self, function: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        gone = [key for key, (storage, _) in self._alive.items() if storage.expired()]  # type: ignore[no-untyped-call]
        for key in gone:
            del self._alive[key]
        result = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor):
                self.add(leaf)
        if function is torch.ops.aten.convolution.default and self._reorders:
            alive = sum(size for _, size in self._alive.values())
            self.peak = max(self.peak, alive + _blocked(args[0]) + _blocked(result))
        return result


def _blocked(images: torch.Tensor) -> int:
    """Bytes of a copy with the channels in blocks, unless the images are in a layout that needs none."""
    if images.dim() != 4 or images.is_contiguous(memory_format=torch.channels_last):
        return 0
    batch, channels, *sizes = images.shape
    return batch * -(-channels // _BLOCK) * _BLOCK * math.prod(sizes) * images.element_size()
