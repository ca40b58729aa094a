"""Supernets with kernels and without: the same results, gradients, searches and names of weights."""

import functools

import pytest
import torch

import nasx
from nasx.nn import kernels
from nasx.strategies.differentiable.training import Training


@functools.cache
def task():
    generator = torch.Generator().manual_seed(1)
    images, labels = torch.randn(8, 3, 8, 8, generator=generator), torch.arange(8) % 4
    data = images, labels
    return nasx.tasks.ImageClassification(data, data, num_classes=4, normalize=False, device="cpu")


def darts(portion=1):
    space = nasx.spaces.DARTS(cells=3, channels=4, nodes=1)
    return space.supernet(task().spec, partial_channels=portion, edge_normalization=portion > 1)


def nasbench(portion=1):
    space = nasx.spaces.NASBench201(channels=4, cells=1)
    return space.supernet(task().spec, partial_channels=portion, edge_normalization=portion > 1)


KERNELS = {
    darts: {
        "mixed_sums",
        "normalized_sum",
        "relu_depthwise",
        "pointwise",
        "max_pool_3x3",
        "avg_pool_3x3",
        "batch_norm",
    },
    nasbench: {"mixed_sums", "normalized_sum", "avg_pool_3x3"},
}
OF_PARTS = {"take_channels": "join_channels", "shuffle_channels": "unshuffle_channels"}


@pytest.mark.parametrize("portion", [1, 2])
@pytest.mark.parametrize("make", [darts, nasbench])
def test_outputs_and_all_gradients_agree(make, portion, calls):
    supernet = make(portion).double()
    images, labels = next(iter(task().loaders("train", 0)))
    answers = []
    for on in (True, False):
        kernels.use_kernels(on)
        scores = supernet(images.double())
        loss = torch.nn.functional.cross_entropy(scores, labels)
        answers.append([scores, *torch.autograd.grad(loss, list(supernet.parameters()))])
        if on:
            wanted = {name: f"{name}_backward" for name in KERNELS[make]} | (OF_PARTS if portion > 1 else {})
            assert set(calls) == {*wanted, *wanted.values()}
            calls.clear()
    assert calls == []
    for ours, theirs in zip(*answers, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize(
    ("make", "strategy", "steps"),
    [
        (darts, nasx.DARTS(), 20),
        (darts, nasx.DARTS(order=2), 8),  # each is four steps' work
        (functools.partial(darts, 2), nasx.PCDARTS(), 20),
        (nasbench, nasx.DARTS(), 20),
    ],
    ids=["darts", "second order", "pc_darts", "nasbench201"],
)
def test_searches_follow_the_same_alphas(make, strategy, steps):
    batch = next(iter(task().loaders("train", 0)))
    found = []
    for on in (True, False):
        kernels.use_kernels(on)
        torch.manual_seed(0)
        training = Training(strategy, make(), task(), seed=0, device="cpu", deadline=None)
        before = [logits.detach().clone() for logits in training.logits]
        for _ in range(steps):
            training.architecture_step(batch, batch)
            training.weight_step(batch)
        found.append([logits.detach() for logits in training.logits])
        moved = max(float((a - b).abs().max()) for a, b in zip(found[-1], before, strict=True))
        assert moved > 1e-4 * steps  # by Adam, at most 3e-4 each time
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3)
