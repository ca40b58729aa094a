"""What tests of kernels share: tensors of any size are taken, and calls are recorded."""

import pytest
import torch

import nasx
from nasx.nn import kernels
from nasx.nn.kernels import tensors


@pytest.fixture(autouse=True)
def small_tensors(monkeypatch):
    """Kernels take tensors of any size here, and nothing that a test sets stays."""
    monkeypatch.setattr(tensors, "LEAST", dict.fromkeys(tensors.LEAST, 0))
    threads = nasx.get_num_threads()
    torch.manual_seed(0)
    kernels.use_kernels(True)
    yield
    kernels.use_kernels(True)
    nasx.set_num_threads(threads)


@pytest.fixture
def calls(monkeypatch):
    """Names of the native functions that were called."""
    names = []

    def recorded(name, function):
        def call(*arguments):
            names.append(name)
            return function(*arguments)

        return call

    table = {
        dtype: {name: recorded(name, function) for name, function in functions.items()}
        for dtype, functions in tensors.NATIVE.items()
    }
    monkeypatch.setattr(tensors, "NATIVE", table)
    return names
