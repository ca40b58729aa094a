"""Whole mixed operations as one: the plain twin, PyTorch, gradients, recomputation, and what goes elsewhere."""

import copy
import threading

import numpy as np
import pytest
import reference.mixed_op as reference
import torch
from torch import nn

import nasx
from nasx._core import mixed_op as native
from nasx.nn import MixedOp, kernels, mixed, mixed_chains
from nasx.nn.darts import darts_operation
from nasx.nn.kernels import mixed_sums
from nasx.nn.kernels.mixed_sums import Term
from nasx.nn.layers import AvgPool3x3, BatchNorm, MaxPool3x3, Pointwise, ReLUDepthwise
from nasx.nn.mixed import PartialChannels, Zero, mix_each, recompute_operations
from nasx.nn.nasbench201 import nasbench201_block

LAST = torch.channels_last
NAMES = (
    "none",
    "max_pool_3x3",
    "avg_pool_3x3",
    "skip_connect",
    "sep_conv_3x3",
    "sep_conv_5x5",
    "dil_conv_3x3",
    "dil_conv_5x5",
)
ONE = {"mixed_sums", "mixed_sums_backward"}


def images(*shape, dtype=torch.float32):
    return torch.randn(shape, dtype=dtype).contiguous(memory_format=LAST).requires_grad_()


def darts_mixed(channels, stride=1, dtype=torch.float32):
    operations = {
        name: darts_operation(name, channels, stride, affine=False, pool_norm=True) for name in NAMES
    }
    return MixedOp(operations).to(dtype)


def step(layer, x, weights):
    """Give the sum, all gradients, and what the buffers are then."""
    out = layer(x, weights)
    grad = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).sin().reshape(out.shape)
    found = torch.autograd.grad(out, (x, weights, *layer.parameters()), grad.contiguous(memory_format=LAST))
    return [out.detach(), *found, *(buffer.clone() for buffer in layer.buffers())]


def one_by_one(layer, x, weights):
    """Do the same with every candidate a call of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mixed, "as_one", lambda *_, **__: None)
        return step(copy.deepcopy(layer), x, weights)


def assert_near(found, expected, dtype=torch.float32):
    """Within rounding of each tensor's largest number."""
    for one, other in zip(found, expected, strict=True):
        scale = max(1e-6, float(other.detach().abs().max()))
        within = (5e-5 if dtype == torch.float32 else 1e-11) * scale
        torch.testing.assert_close(one, other, rtol=0, atol=within)


TERMS = [
    Term("identity", False),
    Term("max_pool", True),
    Term("avg_pool", False),
    Term("convolutions", True, (1, 1)),
    Term("convolutions", True, (2,)),
    Term("identity", True),
]


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(1, 8, 4, 5), (2, 8, 1, 3), (3, 16, 5, 4), (2, 24, 6, 6)])
def test_results_are_those_of_the_plain_twin(shape, stride, kernel, recompute, threads, calls):
    nasx.set_num_threads(threads)
    terms = [term for term in TERMS if stride == 1 or term.kind != "identity"]
    x, weights, channels = images(*shape), torch.randn(len(terms), requires_grad=True), shape[1]
    parameters, chains = [], []
    for term in terms:
        stages = []
        for place, dilation in enumerate(term.dilations):
            pair = torch.randn(channels, 1, kernel, kernel) / kernel, torch.randn(channels, channels, 1, 1)
            parameters += [one.requires_grad_() for one in pair]
            plain = [one.detach().numpy() for one in pair]
            stages.append((plain[0][:, 0], plain[1][:, :, 0, 0], stride if place == 0 else 1, dilation))
        chains.append(stages or (term.kind if term.kind == "identity" else (term.kind, stride)))
    found = mixed_sums.mixed_sum(
        x, terms, parameters, [], weights, stride=stride, epsilon=1e-2, recompute=recompute
    )
    grad = torch.randn_like(found.total)
    of_x, of_weights, *of_parameters = torch.autograd.grad(found.total, (x, weights, *parameters), grad)
    assert set(calls) == ONE
    flags = [term.normalized for term in terms]
    plain = x.detach().numpy(), chains, flags, weights.detach().numpy(), 1e-2
    scale = 1e-4 * max(1.0, grad.numel() ** 0.5)
    np.testing.assert_allclose(found.total.detach(), reference.mixed_sum(*plain), rtol=1e-3, atol=1e-4)
    x_expected, weights_expected, expected = reference.mixed_sum_gradients(grad.numpy(), *plain)
    np.testing.assert_allclose(of_x, x_expected, rtol=1e-3, atol=scale)
    np.testing.assert_allclose(of_weights, weights_expected, rtol=1e-3, atol=scale)
    for one, other in zip(of_parameters, expected, strict=True):
        np.testing.assert_allclose(one.squeeze().reshape(other.shape), other, rtol=1e-3, atol=scale)
    for row, (term, chain) in enumerate(zip(terms, chains, strict=True)):
        end = reference.chain_end(chain, plain[0], 1e-2)
        means, variances = reference.batch_norm(end, 0.0)[1:] if term.normalized else (0 * end[0, :, 0, 0], 1)
        np.testing.assert_allclose(found.means[row], means, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(found.variances[row], variances, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("shape", [(1, 16, 9, 7), (3, 8, 8, 8), (37, 16, 5, 6), (2, 32, 33, 31)])
def test_mixed_operations_of_darts_are_the_same_as_one(shape, recompute, stride, dtype, threads, calls):
    nasx.set_num_threads(threads)
    layer = darts_mixed(shape[1], stride, dtype)
    x, weights = images(*shape, dtype=dtype), torch.randn(8, dtype=dtype).softmax(0).requires_grad_()
    expected = one_by_one(layer, x, weights)
    calls.clear()
    layer.recompute = recompute
    assert_near(step(layer, x, weights), expected, dtype)
    assert set(calls) >= ONE
    assert "relu_depthwise" not in calls
    if stride == 1:
        assert set(calls) == ONE


def test_neither_threads_nor_recomputation_change_a_bit():
    x, weights = images(5, 16, 9, 11), torch.randn(8).softmax(0).requires_grad_()
    layer, answers = darts_mixed(16), []
    for threads in (1, 2):
        nasx.set_num_threads(threads)
        for recompute in (False, True):
            again = copy.deepcopy(layer)
            again.recompute = recompute
            answers.append(step(again, x, weights))
    for answer in answers[1:]:
        assert all(torch.equal(*pair) for pair in zip(answers[0], answer, strict=True))


@pytest.mark.parametrize("recompute", [False, True])
def test_gradients_are_right_once_and_twice(recompute):
    terms = [Term("given", True), *TERMS[:4]]
    channels = 8
    parameters = [
        torch.randn(size, dtype=torch.float64, requires_grad=True)
        for _ in range(2)
        for size in ((channels, 1, 3, 3), (channels, channels, 1, 1))
    ]
    x, given = (images(2, channels, 2, 2, dtype=torch.float64) for _ in range(2))
    weights = torch.randn(len(terms), dtype=torch.float64, requires_grad=True)

    def total(x, weights, given, *parameters):
        return mixed_sums.mixed_sum(x, terms, parameters, [given], weights, recompute=recompute).total

    everything = (x, weights, given, *parameters)
    assert torch.autograd.gradcheck(total, everything, fast_mode=True)
    assert torch.autograd.gradgradcheck(total, everything, fast_mode=True, atol=1e-4)
    whole = torch.autograd.grad(total(*everything).sin().sum(), everything)
    for k, one in enumerate(everything):  # each alone, where the others want none
        for other in everything:
            other.requires_grad_(other is one)
        (found,) = torch.autograd.grad(total(*everything).sin().sum(), one)
        torch.testing.assert_close(found, whole[k])


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("shape", [(1, 8, 4, 5), (3, 16, 5, 4), (2, 24, 9, 1)])
def test_a_stage_may_have_no_depthwise_convolution(shape, stride, recompute, calls):
    x, weights, channels = images(*shape), torch.randn(2, requires_grad=True), shape[1]
    dense = torch.randn(channels, channels, 1, 1).requires_grad_()
    ones = torch.ones(channels, 1, 1, 1)
    terms = [Term("convolutions", True, (1,)), Term("avg_pool", False)]
    found = mixed_sums.mixed_sum(x, terms, [ones, dense], [], weights, stride=stride, recompute=recompute)
    grad = torch.randn_like(found.total)
    gradients = torch.autograd.grad(found.total, (x, weights, dense), grad)
    assert set(calls) == ONE
    value = nn.functional.conv2d(torch.relu(x), dense, None, stride)
    value = nn.functional.batch_norm(value, None, None, training=True)
    pooled = nn.functional.avg_pool2d(x, 3, stride, 1, count_include_pad=False)
    expected = weights[0] * value + weights[1] * pooled
    wanted = torch.autograd.grad(expected, (x, weights, dense), grad)
    assert_near([found.total, *gradients], [expected, *wanted])


def test_nothing_that_is_normalised_is_kept_and_recomputation_keeps_the_input_alone():
    x, weights = images(4, 16, 16, 16), torch.randn(8).softmax(0).requires_grad_()
    layer = darts_mixed(16)
    kept = {}
    for recompute in (False, True):
        layer.recompute = recompute
        seen = {}

        def note(tensor, seen=seen):
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            layer(x, weights)
        kept[recompute] = sum(size for size in seen.values() if size >= x.numel())
    size = x.numel() * x.element_size()
    # The input, six outputs of pointwise convolutions, two poolings, and a byte for each place of one.
    assert kept[False] == 9 * size + size // 4
    assert kept[True] == size


def test_edges_of_nasbench201_are_as_one_by_one_and_the_same_bits_if_computed_again(calls):
    names = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    layer = MixedOp({name: nasbench201_block(name, 16, affine=False) for name in names})
    x, weights = images(4, 16, 9, 7), torch.randn(5).softmax(0).requires_grad_()
    expected = one_by_one(layer, x, weights)
    again = copy.deepcopy(layer)
    again.recompute = True
    calls.clear()
    found, same = step(layer, x, weights), step(again, x, weights)
    assert set(calls) == ONE
    assert_near(found, expected)
    assert all(torch.equal(one, other) for one, other in zip(found, same, strict=True))


def together_and_apart(layers, x, choices):
    """Give what operations of one input give, all gradients and all buffers: as `mix_each` does, and each alone."""
    answers = []
    for alone in (False, True):
        mine = copy.deepcopy(layers)
        if alone:
            found = [layer(x, choice) for layer, choice in zip(mine, choices, strict=True)]
        else:
            found = mix_each(mine, choices, x)
        weights = [choice for choice in choices if isinstance(choice, torch.Tensor)]
        parameters = [one for layer in mine for one in layer.parameters()]
        loss = sum((one.sin() * (place + 1)).sum() for place, one in enumerate(found))
        gradients = torch.autograd.grad(loss, (x, *weights, *parameters), allow_unused=True)
        gradients = [one for one in gradients if one is not None]
        buffers = [buffer for layer in mine for buffer in layer.buffers()]
        answers.append((found, gradients, buffers))
    return answers


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [(1, 8, 4, 5), (5, 16, 7, 3), (2, 32, 9, 8)])
@pytest.mark.parametrize("kind", ["darts", "darts, stride 2", "nasbench201"])
def test_operations_of_one_input_are_one_function_and_as_each_alone(kind, shape, threads, dtype, calls):
    nasx.set_num_threads(threads)
    if kind == "nasbench201":
        names = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
        layers = [
            MixedOp({name: nasbench201_block(name, shape[1], affine=False) for name in names}).to(dtype)
            for _ in range(3)
        ]
    else:
        layers = [darts_mixed(shape[1], 2 if "2" in kind else 1, dtype) for _ in range(3)]
    x = images(*shape, dtype=dtype)
    choices = [torch.randn(len(layers[0].names), dtype=dtype).softmax(0).requires_grad_() for _ in layers]
    (found, gradients, buffers), (totals, wanted, kept) = together_and_apart(layers, x, choices)
    assert calls.count("mixed_sums") == 4  # once together, and three times
    assert all(torch.equal(*pair) for pair in zip(found, totals, strict=True))
    assert all(torch.equal(*pair) for pair in zip(buffers, kept, strict=True))
    assert_near(gradients, wanted, dtype)


def test_what_operations_of_one_input_share_is_computed_and_kept_once(calls):
    layers = [darts_mixed(16) for _ in range(3)]
    x, choices = images(4, 16, 16, 16), [torch.randn(8).requires_grad_() for _ in layers]
    sizes = []
    for together in (False, True):
        seen = {}

        def note(tensor, seen=seen):
            seen[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            if together:
                mix_each(layers, choices, x)
            else:
                _ = [layer(x, choice) for layer, choice in zip(layers, choices, strict=True)]
        sizes.append(sum(size for size in seen.values() if size >= x.numel()))
    size = x.numel() * x.element_size()
    # The input, six outputs of convolutions for each, two poolings, and a byte for each place of one.
    assert sizes == [(1 + 3 * 8) * size + 3 * size // 4, (1 + 3 * 6 + 2) * size + size // 4]


@pytest.mark.parametrize("on", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
def test_partial_channels_of_one_input_are_split_once(stride, on, calls):
    kernels.use_kernels(on)
    layers = [PartialChannels(darts_mixed(8, stride), 4, stride=stride) for _ in range(3)]
    x, choices = images(2, 32, 6, 5), [torch.randn(8).requires_grad_() for _ in layers]
    (found, gradients, buffers), (totals, wanted, kept) = together_and_apart(layers, x, choices)
    assert_near([*found, *gradients, *buffers], [*totals, *wanted, *kept])
    assert calls.count("take_channels") == on * (1 + 3)
    seen = []
    layers[1].register_forward_hook(lambda *_: seen.append(1))
    mix_each(layers, choices, x)
    assert seen == [1]


@pytest.mark.parametrize("threads", [1, 2])
def test_operations_of_one_input_are_the_same_bits_if_computed_again(threads, calls):
    nasx.set_num_threads(threads)
    names = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
    layers = [MixedOp({name: nasbench201_block(name, 16, affine=False) for name in names}) for _ in range(3)]
    x, choices = images(4, 16, 9, 7), [torch.randn(5).requires_grad_() for _ in layers]
    answers = []
    for recompute in (False, True):
        mine = copy.deepcopy(layers)
        for layer in mine:
            layer.recompute = recompute
        found = mix_each(mine, choices, x)
        loss = sum((one.sin() * (place + 1)).sum() for place, one in enumerate(found))
        parameters = [one for layer in mine for one in layer.parameters()]
        gradients = torch.autograd.grad(loss, (x, *choices, *parameters))
        answers.append([*found, *gradients, *(one for layer in mine for one in layer.buffers())])
    assert set(calls) == ONE
    assert calls.count("mixed_sums") == 2
    assert all(torch.equal(*pair) for pair in zip(*answers, strict=True))


def test_gradients_twice_where_one_sum_has_none():
    layers = [darts_mixed(8).requires_grad_(False) for _ in range(2)]
    x = images(2, 8, 5, 4).detach()
    weights, others = torch.randn(8, requires_grad=True), torch.randn(8)
    found = mix_each(layers, [weights, others], x)
    (grad,) = torch.autograd.grad(found[0].sin().sum(), weights, create_graph=True)
    (twice,) = torch.autograd.grad(grad.sum(), weights)
    alone = layers[0](x, weights)
    (wanted,) = torch.autograd.grad(alone.sin().sum(), weights, create_graph=True)
    assert_near([grad, twice], [wanted, torch.autograd.grad(wanted.sum(), weights)[0]])


def test_operations_that_work_in_place_or_at_random_do_not_disturb_others():
    def operations(p):
        dropout = nn.Dropout(p, inplace=True)
        convolution = nn.Conv2d(8, 8, 3, padding=1, bias=False)
        ending = nn.Sequential(nn.ReLU(), dropout, convolution, BatchNorm(8, affine=False))
        return MixedOp(
            {
                "sep": darts_operation("sep_conv_3x3", 8, affine=False),
                "in place": ending,
                "one": nn.Dropout(p),
            }
        )

    layers = [operations(p) for p in (0.5, 0.0, 0.25)]
    x, choices = images(2, 8, 5, 4).detach(), [torch.randn(3).requires_grad_() for _ in layers]
    answers = []
    for together in (True, False):
        torch.manual_seed(5)
        if together:
            answers.append(mix_each(layers, choices, x))
        else:
            answers.append([layer(x, choice) for layer, choice in zip(layers, choices, strict=True)])
    assert_near(*answers)


def test_what_cannot_be_one_with_others_is_computed_as_it_is(calls):
    x = images(2, 8, 5, 4)
    seen = []
    layers = [darts_mixed(8) for _ in range(5)]
    layers[1].recompute = True
    layers[2].register_forward_hook(lambda *_: seen.append(1))
    plain = MixedOp({"tanh": nn.Tanh(), "relu": nn.ReLU()})
    weights = [torch.randn(8).softmax(0).requires_grad_() for _ in range(4)]
    choices = [*weights, 4, torch.randn(2).requires_grad_()]
    (found, gradients, buffers), (totals, wanted, kept) = together_and_apart([*layers, plain], x, choices)
    assert len(seen) == 2
    assert_near([*found, *gradients, *buffers], [*totals, *wanted, *kept])
    none = [MixedOp({"none": Zero(), "too": Zero()}) for _ in range(2)]
    assert all(not one.any() for one in mix_each(none, [torch.ones(2), torch.ones(2)], x))
    assert mix_each([], [], x) == []


def test_gradients_of_several_sums_are_right_once_and_twice():
    terms = [Term("max_pool", True), Term("identity", False), Term("given", True), Term("given", False)]
    sums = [[0, 1, 2], [0, 1, 3], [1]]
    x, *given = (images(2, 8, 2, 3, dtype=torch.float64) for _ in range(3))
    weights = [torch.randn(len(one), dtype=torch.float64, requires_grad=True) for one in sums]

    def totals(x, *others):
        factors, given = others[:3], others[3:]
        found = mixed_sums.mixed_sums(
            *(x, terms, [], given, list(zip(sums, factors, strict=True))),
            stride=1,
            epsilon=1e-2,
            recompute=False,
        )
        return found.totals

    everything = (x, *weights, *given)
    assert torch.autograd.gradcheck(totals, everything, fast_mode=True)
    assert torch.autograd.gradgradcheck(totals, everything, fast_mode=True, atol=1e-4)
    second = totals(*everything)[1]  # a loss may read one of them
    assert torch.autograd.grad(second.sum(), weights[0], allow_unused=True)[0].abs().sum() == 0


def test_an_edge_learns_after_it_was_looked_at_without_gradients(calls):
    layer = MixedOp(
        {name: nasbench201_block(name, 8, affine=False) for name in ("skip_connect", "nor_conv_1x1")}
    )
    x, weights = images(2, 8, 6, 5), torch.randn(2).requires_grad_()
    with torch.inference_mode():
        seen = layer(x.detach().clone(memory_format=torch.preserve_format), weights.detach().clone())
    with torch.device("meta"):
        layer(x, weights)
    torch.testing.assert_close(step(layer, x, weights)[0], seen.clone())
    assert set(calls) == ONE


def test_running_statistics_follow_as_each_layers_would(calls):
    layer = darts_mixed(8)
    norms = [module for module in layer.modules() if isinstance(module, BatchNorm)]
    norms[0].momentum, norms[1].momentum, norms[2].track_running_stats = None, 0.5, False
    theirs = copy.deepcopy(layer)
    x, weights = images(2, 8, 6, 5), torch.randn(8).softmax(0).requires_grad_()
    for _ in range(3):
        layer(x, weights)
        kernels.use_kernels(False)
        theirs(x, weights)
        kernels.use_kernels(True)
    for name, value in theirs.state_dict().items():
        torch.testing.assert_close(layer.state_dict()[name], value, rtol=1e-4, atol=1e-6)
    assert int(norms[0].num_batches_tracked) == 3


@pytest.mark.parametrize("shared", [True, False])
def test_layers_that_are_there_twice_run_twice(shared, calls):
    stage = [ReLUDepthwise(8, 3), Pointwise(8, 8), BatchNorm(8, affine=False)]
    again = [*stage[:2], stage[2] if shared else BatchNorm(8, affine=False)]
    layer = MixedOp({"twice": nn.Sequential(*stage, *again), "skip": nn.Identity()})
    x, weights = images(3, 8, 5, 4), torch.randn(2, requires_grad=True)
    before = kernels.kernels_in_use()
    kernels.use_kernels(False)
    try:
        expected = step(copy.deepcopy(layer), x, weights)
    finally:
        kernels.use_kernels(before)
    assert not calls
    assert_near(step(layer, x, weights), expected)
    # Statistics that one layer keeps of both must follow in order.
    assert (set(calls) == ONE) is not shared


def test_nan_shows_where_it_does_one_by_one():
    x, weights = images(2, 8, 6, 5), torch.randn(8).softmax(0).requires_grad_()
    with torch.no_grad():
        x[0, 3, 2, 2] = float("nan")
    layer = darts_mixed(8)
    expected = one_by_one(layer, x, weights)
    for one, other in zip(step(layer, x, weights), expected, strict=True):
        assert torch.equal(one.isnan(), other.isnan())


def test_what_is_no_chain_is_run_before_and_who_watches_is_served(calls):
    torch.manual_seed(3)
    layer = MixedOp(
        {
            "sep": darts_operation("sep_conv_3x3", 8, affine=False),
            "conv": nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False), BatchNorm(8, affine=False)),
            "affine": darts_operation("dil_conv_3x3", 8),
            "tanh": nn.Tanh(),
        }
    )
    x, weights = images(2, 8, 6, 5), torch.randn(4, requires_grad=True)
    expected = one_by_one(layer, x, weights)
    calls.clear()
    found = step(copy.deepcopy(layer), x, weights)
    assert_near(found, expected)
    assert {"mixed_sums", "relu_depthwise"} <= set(calls)
    calls.clear()
    watched, seen = copy.deepcopy(layer), []
    for module in watched.operations.modules():
        if type(module) is ReLUDepthwise:
            module.register_forward_hook(lambda *_: seen.append(1))
    assert_near(step(watched, x, weights), expected)
    assert len(seen) == 3
    assert not ONE & set(calls)


def test_dropout_beside_chains_is_drawn_again_when_it_is_recomputed():
    layer = MixedOp({"sep": darts_operation("sep_conv_3x3", 8, affine=False), "drop": nn.Dropout(0.5)})
    x, weights = images(2, 8, 6, 5), torch.randn(2, requires_grad=True)
    answers = []
    for recompute in (False, True):
        again = copy.deepcopy(layer)
        recompute_operations(again, recompute)
        torch.manual_seed(7)
        answers.append(step(again, x, weights))
    assert_near(answers[1], answers[0])


@pytest.mark.parametrize(
    "operation",
    [
        nn.Sequential(ReLUDepthwise(8, 3), Pointwise(8, 16), BatchNorm(16, affine=False)),
        nn.Sequential(ReLUDepthwise(8, 3), Pointwise(8, 8)),
        nn.Sequential(
            ReLUDepthwise(8, 3),
            Pointwise(8, 8),
            BatchNorm(8, affine=False),
            ReLUDepthwise(8, 3, stride=2),
            Pointwise(8, 8),
            BatchNorm(8, affine=False),
        ),
        nn.Sequential(MaxPool3x3(), AvgPool3x3()),
        nn.Sequential(BatchNorm(8, affine=False), MaxPool3x3()),
        nn.Conv2d(8, 8, 3, padding=1),
    ],
)
def test_other_layers_are_no_chains(operation, calls):
    x = images(2, 8, 6, 6)
    layer = MixedOp({"one": operation, "two": copy.deepcopy(operation)})
    weights = torch.randn(2, requires_grad=True)
    layer(x, weights)
    assert not ONE & set(calls)


def test_what_kernels_do_not_take_goes_one_by_one(calls):
    layer = darts_mixed(8)
    x, weights = images(2, 8, 6, 5), torch.randn(8).softmax(0)
    expected = layer(x, weights)
    assert calls == ["mixed_sums"]
    for given in (x.contiguous(), x.detach().contiguous()):
        assert_near([layer(given, weights)], [expected])
    kernels.use_kernels(False)
    assert_near([layer(x, weights)], [expected])
    kernels.use_kernels(True)
    assert calls.count("mixed_sums") == 1
    evaluated = copy.deepcopy(layer).eval()  # running statistics: nothing is normalised by the batch
    evaluated(x, weights)
    wide = MixedOp({"sep": darts_operation("sep_conv_3x3", 136, affine=False), "skip": nn.Identity()})
    wide(images(1, 136, 3, 3), weights[:2])
    odd = MixedOp({"sep": darts_operation("sep_conv_3x3", 12, affine=False), "skip": nn.Identity()})
    odd(images(1, 12, 3, 3), weights[:2])
    assert calls.count("mixed_sums") == 1
    with pytest.raises(ValueError, match=r"more than 1 value per channel|more than one number for each"):
        darts_mixed(8)(images(1, 8, 1, 1), weights)


def test_compiled_mixed_operations_are_one_graph_and_the_same(calls):
    layer = darts_mixed(8)
    x, weights = images(2, 8, 6, 5), torch.randn(8).softmax(0).requires_grad_()
    expected = step(copy.deepcopy(layer), x, weights)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    out = compiled(x, weights)
    assert_near([out], expected[:1])


def test_operations_of_several_threads_do_not_disturb_each_other():
    layer = darts_mixed(16)
    x, weights = images(4, 16, 8, 8), torch.randn(8).softmax(0).requires_grad_()
    expected = step(copy.deepcopy(layer), x, weights)
    answers = [None] * 4

    def work(place):
        answers[place] = step(copy.deepcopy(layer), x, weights)

    workers = [threading.Thread(target=work, args=(place,)) for place in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for answer in answers:
        assert all(torch.equal(*pair) for pair in zip(answer, expected, strict=True))


def test_what_does_not_fit_is_refused():
    x, weights = torch.ones(1, 8, 2, 2).contiguous(memory_format=LAST), torch.ones(1)
    at = np.zeros(4096, np.float32).ctypes.data
    pool, none = (2, False, [], at, at), ([], [], 0, 0)
    one, with_gradient = [([0], at, at)], [([0], at, at, at)]
    stage = (3, 1, at, at, at)
    for call, message in (
        (
            lambda: mixed_sums.mixed_sum(x, [Term("given", False)], [], [x[:, :, :1]], weights),
            r"one gives \(1, 8, 1, 2\)",
        ),
        (
            lambda: mixed_sums.mixed_sum(x, [Term("given", False)], [], [x.to("meta")], weights),
            "and meta, others",
        ),
        (
            lambda: native.mixed_sums_float32((1, 2, 2, 7, 1), at, [pool], one, at, 1.0, True),
            "multiple of 8",
        ),
        (
            lambda: native.mixed_sums_float32((1, 2, 2, 8, 3), at, [pool], one, at, 1.0, True),
            "1 or 2; got 3",
        ),
        (lambda: native.mixed_sums_float32((0, 2, 2, 8, 1), at, [pool], one, at, 1.0, True), "got 0"),
        (
            lambda: native.mixed_sums_float32((1, 2, 2, 8, 1), at, [], one, at, 1.0, True),
            "at least one chain",
        ),
        (
            lambda: native.mixed_sums_float32(
                (1, 2, 2, 8, 2), at, [(1, False, [], 0, 0)], one, at, 1.0, True
            ),
            "where a term is the input",
        ),
        (
            lambda: native.mixed_sums_float32((1, 2, 2, 8, 1), at, [(4, True, [], 0, 0)], one, at, 1.0, True),
            "stages must be there",
        ),
        (
            lambda: native.mixed_sums_float32(
                (1, 2, 2, 8, 1), at, [(4, True, [(4, *stage[1:])], 0, 0)], one, at, 1.0, True
            ),
            "kernel must be 3 or 5; got 4",
        ),
        (
            lambda: native.mixed_sums_float32(
                (1, 2, 2, 8, 1), at, [(5, True, [], at, at)], one, at, 1.0, True
            ),
            "from 0 to 4; got 5",
        ),
        (
            lambda: mixed_sums.mixed_sum(x.reshape(1, 32, 1, 1), [Term("identity", False)], [], [], weights),
            r"got shapes \(1, 32, 1, 1\)",
        ),
        (
            lambda: mixed_sums.mixed_sum(x, [Term("convolutions", True, (1,))], [weights], [], weights),
            "1 terms and 1 parameters",
        ),
        (
            lambda: native.mixed_sums_float32((1, 2, 2, 8, 1), 0, [pool], one, at, 1.0, True),
            "x must be the address",
        ),
        (
            lambda: native.mixed_sums_backward_float32(
                (1, 2, 2, 8, 1), at, [pool], with_gradient, at, True, [none, none], at
            ),
            "gradients must have 1 entries; got 2",
        ),
        (
            lambda: native.mixed_sums_backward_float32(
                (1, 2, 2, 8, 1), at, [(4, True, [stage], 0, 0)], with_gradient, at, True, [none], at
            ),
            "depthwise weights must have 1 entries; got 0",
        ),
        (
            lambda: native.mixed_sums_backward_float32(
                (1, 2, 2, 8, 1),
                at,
                [(4, True, [stage] * 2, 0, 0)],
                with_gradient,
                at,
                True,
                [([0, 0], [0, 0], 0, 0)],
                at,
            ),
            "room between stages",
        ),
        (
            lambda: native.mixed_sums_float32((1, 2, 2, 8, 1), at, [pool], [([], at, at)], at, 1.0, True),
            "at least one term each",
        ),
        (
            lambda: native.mixed_sums_float32((1, 2, 2, 8, 1), at, [pool], [([1], at, at)], at, 1.0, True),
            "terms below 1; got 1",
        ),
        (
            lambda: native.mixed_sums_float32((1, 2, 2, 8, 1), at, [pool, pool], one, at, 1.0, True),
            "got term 1 in 0",
        ),
        (
            lambda: native.mixed_sums_float32(
                (1, 2, 2, 8, 1), at, [(0, False, [], at, 0)], [*one, *one], at, 1.0, True
            ),
            "got term 0 in 2",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_layers_say_what_chain_they_are():
    def chain(operation):
        found = mixed_chains._chain_of(operation)
        return found and found[:2]

    assert chain(nn.Identity()) == (Term("identity", False), 1)
    assert chain(MaxPool3x3(2)) == (Term("max_pool", False), 2)
    assert chain(darts_operation("avg_pool_3x3", 8, affine=False, pool_norm=True)) == (
        Term("avg_pool", True),
        1,
    )
    assert chain(darts_operation("sep_conv_5x5", 8, 2, affine=False)) == (
        Term("convolutions", True, (1, 1)),
        2,
    )
    assert chain(darts_operation("dil_conv_5x5", 8, affine=False)) == (Term("convolutions", True, (2,)), 1)
    pointwise = nasbench201_block("nor_conv_1x1", 8, affine=False)
    assert chain(pointwise) == (Term("convolutions", True, (1,)), 1)
    pointwise[0].inplace = True  # others read the input too
    assert chain(pointwise) is None
    for more in ({"bias": True}, {"stride": 2}, {"padding": 1}, {"groups": 2}):
        convolution = nn.Conv2d(8, 8, 1, **{"bias": False} | more)
        assert chain(nn.Sequential(nn.ReLU(), convolution, BatchNorm(8, affine=False))) is None
    assert chain(darts_operation("dil_conv_5x5", 8)) is None  # a scale and a shift
    assert chain(darts_operation("dil_conv_5x5", 8, affine=False).eval()) is None
