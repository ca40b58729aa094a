"""Mixed operations, on all channels and on a part of them."""

import copy

import pytest
import torch
from reference.darts import partial_channels, shuffled
from torch import nn

from nasx.nn import MixedOp, PartialChannels
from nasx.nn.layers import BatchNorm
from nasx.nn.mixed import Zero, recompute_operations


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def operations(channels=3, stride=1):
    return {
        "none": Zero(stride),
        "conv": nn.Conv2d(channels, channels, 3, stride, padding=1),
        "pool": nn.MaxPool2d(3, stride, padding=1),
        "pointwise": nn.Conv2d(channels, channels, 1, stride),
    }


def test_the_sum_and_its_gradients_are_those_written_by_hand():
    mixed = MixedOp(operations())
    assert mixed.names == ("none", "conv", "pool", "pointwise")
    x = torch.randn(2, 3, 5, 4, requires_grad=True)
    weights = torch.tensor([0.4, 0.3, -0.2, 0.5], requires_grad=True)
    upstream = torch.randn(2, 3, 5, 4)
    out = mixed(x, weights)
    found = torch.autograd.grad(out, [x, weights, *mixed.parameters()], upstream)

    outputs = [op(x) for op in mixed.operations]
    plain = sum(weight * output for weight, output in zip(weights, outputs, strict=True))
    torch.testing.assert_close(out, plain)
    expected = torch.autograd.grad(plain, [x, weights, *mixed.parameters()], upstream)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    # The gradient of a weight is the inner product that its docstring says.
    inner = torch.stack([(upstream * operation(x)).sum() for operation in mixed.operations])
    torch.testing.assert_close(found[1], inner)
    assert found[1][0] == 0


def test_an_index_runs_one_candidate_and_no_other():
    mixed = MixedOp(operations())
    called = []
    for name, operation in zip(mixed.names, mixed.operations, strict=True):
        operation.register_forward_hook(lambda *_, name=name: called.append(name))
    x = torch.randn(2, 3, 5, 4)
    out = mixed(x, 1)
    assert called == ["conv"]
    assert torch.equal(out, mixed.operations[1](x))
    out.sum().backward()
    assert all(p.grad is not None for p in mixed.operations[1].parameters())
    assert all(p.grad is None for p in mixed.operations[3].parameters())
    called.clear()
    mixed(x, torch.full((4,), 0.25))
    # "none" takes part in the weights only.
    assert called == ["conv", "pool", "pointwise"]


@pytest.mark.parametrize(("stride", "size"), [(1, (5, 4)), (2, (3, 2))])
def test_zeros_have_the_shape_of_the_others(stride, size):
    x = torch.randn(2, 3, 5, 4)
    x[0, 0, 0, 0] = torch.inf  # no product with zero
    out = Zero(stride)(x)
    assert out.shape == (2, 3, *size) == operations(stride=stride)["conv"](x).shape
    assert not out.any()


def test_only_zeros_give_zeros():
    mixed = MixedOp({"a": Zero(2), "b": Zero(2)})
    out = mixed(torch.ones(1, 2, 3, 3), torch.tensor([0.5, 0.5]))
    assert out.shape == (1, 2, 2, 2)
    assert not out.any()


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="operations must hold at least one candidate; got none"):
        MixedOp({})
    with pytest.raises(ValueError, match="choice must hold one weight for each of the 4 operations; got 3"):
        MixedOp(operations())(torch.ones(1, 3, 2, 2), torch.ones(3))
    with pytest.raises(IndexError):
        MixedOp(operations())(torch.ones(1, 3, 2, 2), 4)


def test_names_need_not_be_names_of_attributes():
    mixed = MixedOp({"conv.3x3": nn.ReLU(), "keys": nn.Identity(), "": Zero()})
    assert mixed.names == ("conv.3x3", "keys", "")
    assert mixed(torch.tensor(-2.0), torch.tensor([1.0, 0.5, 9.0])).item() == -1.0


# -- partial channels ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("size", [(4, 4), (5, 7), (1, 3), (1, 1)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("portion", [2, 4])
def test_partial_channels_agree_with_their_twin(portion, stride, size, layout):
    x = torch.randn(2, 8, *size).contiguous(memory_format=layout).requires_grad_()
    mixed = MixedOp(operations(8 // portion, stride))
    layer = PartialChannels(mixed, portion, stride=stride)
    weights = torch.tensor([0.4, 0.3, -0.2, 0.5], requires_grad=True)
    out = layer(x, weights)
    expected = partial_channels(x, mixed.operations, weights, portion, stride)
    torch.testing.assert_close(out, expected)
    upstream = torch.randn_like(expected)
    for ours, theirs in zip(
        torch.autograd.grad(out, [x, weights], upstream),
        torch.autograd.grad(expected, [x, weights], upstream),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)
    assert layer.operations is mixed.operations


def test_exactly_the_first_channels_go_through():
    seen = []

    class Seeing(nn.Module):
        def forward(self, x):
            seen.append(x)
            return torch.full_like(x, 100.0)

    x = torch.arange(8.0).view(1, 8, 1, 1)
    out = PartialChannels(MixedOp({"see": Seeing()}), 4)(x, torch.ones(1))
    assert seen[0].flatten().tolist() == [0, 1]
    # Groups are (0, 1), (2, 3), (4, 5), (6, 7): the first of each come first.
    assert out.flatten().tolist() == [100, 2, 4, 6, 100, 3, 5, 7]
    assert torch.equal(out, shuffled(torch.cat([torch.full((1, 2, 1, 1), 100.0), x[:, 2:]], 1), 4))


def test_a_path_through_partial_channels_is_one_operation():
    mixed = MixedOp(operations(2))
    layer = PartialChannels(mixed, 4)
    x = torch.randn(2, 8, 3, 3)
    expected = partial_channels(x, [mixed.operations[3]], [1.0], 4, 1)
    torch.testing.assert_close(layer(x, 3), expected)
    layer(x, 3).sum().backward()
    assert all(p.grad is None for p in mixed.operations[1].parameters())


def with_norms(channels=4):
    """Candidates with running statistics and random numbers, as kernels take them and as they do not."""
    return {
        "none": Zero(),
        "norm": nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), BatchNorm(channels, affine=False)),
        "dropout": nn.Sequential(nn.Dropout(0.5), nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels)),
        "skip": nn.Identity(),
    }


class Kept:
    """Counts what autograd keeps for the backward pass."""

    numbers = 0

    def __call__(self, tensor):
        self.numbers += tensor.numel()
        return tensor


@pytest.mark.parametrize("portion", [1, 2])
def test_what_is_computed_again_gives_the_same_bits_and_counts_once(portion):
    plain = MixedOp(with_norms(8 // portion))
    found = []
    for again in (False, True):
        mixed = copy.deepcopy(plain)
        network = mixed if portion == 1 else PartialChannels(mixed, portion)
        recompute_operations(network, again)
        assert mixed.recompute is again
        torch.manual_seed(1)
        x = torch.randn(8, 8, 33, 33).to(memory_format=torch.channels_last).requires_grad_()
        weights = torch.tensor([0.4, 0.3, -0.2, 0.5], requires_grad=True)
        kept = Kept()
        with torch.autograd.graph.saved_tensors_hooks(kept, lambda tensor: tensor):
            out = network(x, weights)
        upstream = torch.randn_like(out)
        after = torch.get_rng_state()
        gradients = torch.autograd.grad(out, [x, weights, *network.parameters()], upstream)
        assert torch.equal(torch.get_rng_state(), after)
        assert all(norm.track_running_stats for norm in network.modules() if isinstance(norm, nn.BatchNorm2d))
        found.append((kept.numbers, [out, *gradients, *network.buffers()]))
    (stored, first), (less, second) = found
    assert len(first) == len(second)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert less < stored / 2


def test_one_path_and_evaluation_compute_nothing_again():
    mixed = MixedOp(operations())
    recompute_operations(mixed, True)
    calls = []
    mixed.operations[1].register_forward_hook(lambda *_: calls.append(1))
    mixed(torch.ones(1, 3, 4, 4, requires_grad=True), 1).sum().backward()
    with torch.no_grad():
        mixed(torch.ones(1, 3, 4, 4), torch.ones(4))
    assert len(calls) == 2
    mixed(torch.ones(1, 3, 4, 4), torch.ones(4, requires_grad=True)).sum().backward()
    assert len(calls) == 4


def test_operations_in_which_others_lie_are_not_computed_again():
    inner = MixedOp(operations())
    outer = MixedOp({"deeper": nn.ModuleDict({"inner": inner})})
    recompute_operations(outer, True)
    assert (inner.recompute, outer.recompute) == (True, False)
