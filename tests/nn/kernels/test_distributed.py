"""Kernels in processes that share their gradients: DistributedDataParallel."""

import os
import subprocess
import sys

import pytest
import torch

import nasx
from nasx.nn import kernels

# Each process has its half of the images; gradients are means over both.
PROCESS = """
import sys
import torch, torch.distributed as distributed
import nasx
from nasx.nn.kernels import tensors
from test_distributed import gradients

rank, folder = int(sys.argv[1]), sys.argv[2]
tensors.LEAST = dict.fromkeys(tensors.LEAST, 0)
assert tensors.kernels_in_use()
nasx.set_num_threads(2)
distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
found = gradients(slice(4 * rank, 4 * rank + 4), torch.nn.parallel.DistributedDataParallel)
if rank == 0:
    torch.save(found, f"{folder}/found.pt")
distributed.destroy_process_group()
"""


def gradients(part, wrapped):
    """Gradients of a supernet's parameters by some of eight images, after a step of training."""
    torch.manual_seed(0)
    space = nasx.spaces.DARTS(cells=3, channels=4, nodes=1)
    supernet = space.supernet(nasx.TaskSpec((3, 8, 8), 4, "image_classification")).double()
    images, labels = torch.randn(8, 3, 8, 8, dtype=torch.double), torch.arange(8) % 4
    network = wrapped(supernet)
    for _ in range(2):  # the second time buckets are rebuilt
        supernet.zero_grad()
        torch.nn.functional.cross_entropy(network(images[part]), labels[part]).backward()
    return {name: parameter.grad for name, parameter in supernet.named_parameters()}


@pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without torch.distributed")
def test_gradients_of_two_processes_are_means_of_both(tmp_path, calls):
    here = os.path.dirname(__file__)
    paths = os.pathsep.join([here, os.environ.get("PYTHONPATH", "")])
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(rank), str(tmp_path)],
            env=os.environ | {"PYTHONPATH": paths},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    errors = [process.communicate(timeout=240)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    found = torch.load(tmp_path / "found.pt", weights_only=True)
    kernels.use_kernels(False)
    halves = [gradients(slice(begin, begin + 4), lambda supernet: supernet) for begin in (0, 4)]
    assert calls == []
    for name, value in found.items():
        torch.testing.assert_close(
            value, (halves[0][name] + halves[1][name]) / 2, rtol=1e-8, atol=1e-11, msg=name
        )
