"""How much memory a network's tensors take at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

__all__ = ["peak_bytes"]


def peak_bytes(model: nn.Module, input_shape: tuple[int, ...]) -> int:
    """Run a network without values and find the most bytes that its tensors take at once, weights apart.

    Parameters
    ----------
    model : torch.nn.Module
        On the "meta" device, in evaluation mode.
    input_shape : tuple of int
        Shape of a batch; its own memory counts.

    Returns
    -------
    int
        The peak, in bytes; views share their tensor's memory.
    """
    weights = {t.untyped_storage()._cdata for t in (*model.parameters(), *model.buffers())}
    watch = _Watch(weights)
    with torch.no_grad(), watch:
        model(watch.add(torch.empty(input_shape, device="meta")))
    return watch.peak


class _Watch(TorchDispatchMode):
    """Counts the bytes of all storages that are made and still referred to."""

    def __init__(self, known: set[int]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak: int = 0
        self._known = known
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
        return result
