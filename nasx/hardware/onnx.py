"""Running modules by ONNX Runtime."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["session"]


class _Copies(nn.Module):
    """Several modules side by side, so that none can be left out."""

    def __init__(self, modules: list[nn.Module]) -> None:
        super().__init__()
        self.copies = nn.ModuleList(modules)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(module(x) for module in self.copies)


def session(modules: list[nn.Module], batch: Tensor, threads: int) -> Callable[[], object]:
    """Make a function that runs modules on a batch.

    Parameters
    ----------
    modules : list of torch.nn.Module
        All take the batch.
    batch : torch.Tensor
        On the CPU.
    threads : int
        Of ONNX Runtime.

    Returns
    -------
    callable
        Without arguments; runs all of them once.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what changes in coming versions
        path = f"{folder}/model.onnx"
        # The exporter that traces takes a quarter of the other's time, and there are hundreds of blocks.
        torch.onnx.export(_Copies(modules).eval(), (batch,), path, dynamo=False)
        made = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    # None, if the outputs do not depend on it.
    inputs: dict[str, Any] = {one.name: batch.numpy() for one in made.get_inputs()}
    return lambda: made.run(None, inputs)
