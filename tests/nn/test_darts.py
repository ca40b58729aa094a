"""The operations, cells and networks of DARTS."""

import copy

import pytest
import torch
from reference.darts import supernet_scores
from torch import nn

from nasx import TaskSpec
from nasx.nn import DARTSModule, DropPath
from nasx.nn.darts import DARTSCell, DARTSOperation, darts_operation, layout
from nasx.nn.layers import BatchNorm, Pointwise, ReLUDepthwise
from nasx.nn.mixed import Zero
from nasx.spaces import DARTS

SPEC = TaskSpec((1, 8, 8), 10, "image_classification")
NAMES = DARTS.all_operations
# The genotype called DARTS_V2 of the published code.
DARTS_V2 = {
    "normal": [
        *(("sep_conv_3x3", 0), ("sep_conv_3x3", 1), ("sep_conv_3x3", 0), ("sep_conv_3x3", 1)),
        *(("sep_conv_3x3", 1), ("skip_connect", 0), ("skip_connect", 0), ("dil_conv_3x3", 2)),
    ],
    "reduce": [
        *(("max_pool_3x3", 0), ("max_pool_3x3", 1), ("skip_connect", 2), ("max_pool_3x3", 1)),
        *(("max_pool_3x3", 0), ("skip_connect", 2), ("skip_connect", 2), ("max_pool_3x3", 1)),
    ],
}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


def norms(module):
    return [m for m in module.modules() if isinstance(m, nn.BatchNorm2d)]


def count(parameters):
    return sum(p.numel() for p in parameters)


# -- operations ------------------------------------------------------------------------------------------------


def test_there_are_eight():
    assert (
        *("none", "max_pool_3x3", "avg_pool_3x3", "skip_connect"),
        *("sep_conv_3x3", "sep_conv_5x5", "dil_conv_3x3", "dil_conv_5x5"),
    ) == NAMES
    with pytest.raises(ValueError, match=r"unknown operation 'sep_conv_3'; did you mean 'sep_conv_3x3'"):
        darts_operation("sep_conv_3", 4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(8, 8), (7, 5), (4, 9), (1, 1), (2, 1)])
def test_sizes_are_divided_by_the_stride_and_rounded_up(name, stride, size):
    x = torch.randn(2, 6, *size)
    before = x.clone()
    out = darts_operation(name, 6, stride, pool_norm=True)(x)
    assert out.shape == (2, 6, *(-(-n // stride) for n in size))
    assert torch.equal(x, before)
    assert torch.isfinite(out).all()


@pytest.mark.parametrize(("name", "size"), [("sep_conv_3x3", 3), ("sep_conv_5x5", 5)])
@pytest.mark.parametrize("stride", [1, 2])
def test_separable_convolutions_are_applied_twice_the_first_with_the_stride(name, size, stride):
    layers = list(darts_operation(name, 6, stride))
    # Weights are named by their place, which those of saved networks must keep.
    assert [type(m) for m in layers] == [nn.Identity, ReLUDepthwise, Pointwise, BatchNorm] * 2
    for begin, of_it in ((0, stride), (4, 1)):
        depthwise, pointwise = layers[begin + 1 : begin + 3]
        assert depthwise.kernel_size == (size, size)
        assert depthwise.stride == (of_it, of_it)
        assert depthwise.groups == 6
        assert depthwise.dilation == (1, 1)
        assert depthwise.padding == (size // 2, size // 2)
        assert pointwise.kernel_size == pointwise.stride == (1, 1)
        assert pointwise.groups == 1
        assert depthwise.bias is None
        assert pointwise.bias is None


@pytest.mark.parametrize(("name", "size", "padding"), [("dil_conv_3x3", 3, 2), ("dil_conv_5x5", 5, 4)])
@pytest.mark.parametrize("stride", [1, 2])
def test_dilated_convolutions_are_applied_once(name, size, padding, stride):
    _, depthwise, pointwise, norm = darts_operation(name, 6, stride)
    assert isinstance(depthwise, ReLUDepthwise)
    assert isinstance(norm, nn.BatchNorm2d)
    assert depthwise.kernel_size == (size, size)
    assert depthwise.dilation == (2, 2)
    assert depthwise.padding == (padding, padding)
    assert depthwise.stride == (stride, stride)
    assert depthwise.groups == 6
    assert pointwise.groups == 1
    assert depthwise.bias is pointwise.bias is None


def test_pools_skips_and_nothing():
    x = torch.randn(2, 4, 5, 5)
    for stride in (1, 2):
        pool = darts_operation("max_pool_3x3", 4, stride)
        assert torch.equal(pool(x), nn.functional.max_pool2d(x, 3, stride, 1))
        mean = darts_operation("avg_pool_3x3", 4, stride)
        # What lies beyond the border does not count in the mean.
        torch.testing.assert_close(mean(torch.ones_like(x)), torch.ones_like(pool(x)))
        assert isinstance(darts_operation("none", 4, stride), Zero)
    assert isinstance(darts_operation("skip_connect", 4), nn.Identity)


@pytest.mark.parametrize("size", [(6, 8), (5, 7), (5, 6), (1, 1)])
@pytest.mark.parametrize("channels", [2, 4, 5, 16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_skip_at_stride_two_reads_two_shifted_grids(size, channels, layout):
    """Also their gradients: torch's own stride is wrong for few channels that come last."""
    skip = darts_operation("skip_connect", channels, 2)
    x = torch.randn(8, channels, *size).contiguous(memory_format=layout).requires_grad_()
    first, second, norm = skip.first, skip.second, skip.norm
    assert first.out_channels + second.out_channels == channels
    assert first.bias is second.bias is None
    assert first.kernel_size == second.kernel_size == (1, 1)
    height, width = (-(-n // 2) for n in size)
    relu = x.relu()
    shifted = torch.zeros(8, channels, height, width)
    inside = relu[:, :, 1::2, 1::2]
    shifted[:, :, : inside.shape[2], : inside.shape[3]] = inside
    joined = torch.cat(
        [
            torch.einsum("oc,bchw->bohw", conv.weight[:, :, 0, 0], images)
            for conv, images in ((first, relu[:, :, ::2, ::2]), (second, shifted))
        ],
        1,
    )
    out, expected = skip(x), norm(joined)
    torch.testing.assert_close(out, expected)
    upstream = torch.randn_like(expected)
    for ours, theirs in zip(
        torch.autograd.grad(out, [x, first.weight, second.weight], upstream),
        torch.autograd.grad(expected, [x, first.weight, second.weight], upstream),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("stride", [1, 2])
def test_norms_while_searching_and_afterwards(name, stride):
    searching = darts_operation(name, 6, stride, affine=False, pool_norm=True)
    built = darts_operation(name, 6, stride)
    assert not any(norm.affine for norm in norms(searching))
    assert all(norm.affine for norm in norms(built))
    if "pool" in name:
        pool, norm = searching
        assert isinstance(norm, nn.BatchNorm2d)
        assert not list(searching.parameters())
        assert type(built) is type(pool)
        assert not norms(built)
    else:
        assert len(norms(searching)) == len(norms(built))


def test_all_norms_of_cells_in_a_supernet_learn_no_scale():
    supernet = DARTS(cells=3, channels=4).supernet(SPEC)
    assert norms(supernet.cells)
    assert not any(norm.affine for norm in norms(supernet.cells))
    assert all(norm.affine for norm in norms(supernet.stem))
    for cell in supernet.cells:
        for mixed in cell.operations:
            kinds = dict(zip(mixed.names, mixed.operations, strict=True))
            for name in ("max_pool_3x3", "avg_pool_3x3"):
                assert isinstance(kinds[name][1], nn.BatchNorm2d)


# -- published numbers -----------------------------------------------------------------------------------------

CIFAR = TaskSpec((3, 32, 32), 10, "image_classification")


def test_the_published_network_has_the_published_number_of_parameters():
    network = DARTS(cells=20, channels=36).from_genotype(DARTS_V2, spec=CIFAR).build()
    assert count(network.parameters()) == 3_349_342


def test_the_published_supernet_has_the_published_number_of_weights():
    supernet = DARTS().supernet(CIFAR)
    assert count(supernet.weight_parameters()) == 1_930_618
    assert count(supernet.architecture_parameters()) == 2 * 14 * 8


# -- cells -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cells", "reductions"),
    [(3, [1, 2]), (4, [1, 2]), (5, [1, 3]), (6, [2, 4]), (8, [2, 5]), (20, [6, 13])],
)
def test_reductions_come_after_one_and_two_thirds(cells, reductions):
    places = layout(cells, 4, nodes=3)
    assert [i for i, place in enumerate(places) if place.reduction] == reductions
    channels = 4
    outputs = [12, 12]  # of the stem
    for i, place in enumerate(places):
        channels *= 2 if i in reductions else 1
        assert place.channels == channels
        assert (place.before, place.previous) == tuple(outputs[-2:])
        assert place.reduction_before == (i - 1 in reductions)
        outputs.append(3 * channels)


def test_nodes_are_sums_and_the_output_is_all_of_them():
    place = layout(3, 4, nodes=2)[0]
    modules = [nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1), nn.Tanh(), nn.ReLU()]
    where = [(2, 0), (2, 1), (3, 1), (3, 2)]
    edges = [DARTSOperation(*at, module) for at, module in zip(where, modules, strict=True)]
    cell = DARTSCell(place, edges, nodes=2).eval()
    before, previous = torch.randn(2, 12, 5, 5), torch.randn(2, 12, 5, 5)
    a, b = cell.from_before(before), cell.from_previous(previous)
    two = modules[0](a) + modules[1](b)
    three = modules[2](b) + modules[3](two)
    torch.testing.assert_close(cell(before, previous), torch.cat([two, three], 1))


def test_sizes_and_channels_of_a_networks_cells():
    space = DARTS(cells=6, channels=4)
    network = space.decode(space.sample(1, seed=1)[0]).build(TaskSpec((3, 9, 14), 5, "image_classification"))
    shapes = []
    for cell in network.cells:
        cell.register_forward_hook(lambda _, __, out: shapes.append(tuple(out.shape[1:])))
    assert network(torch.randn(2, 3, 9, 14)).shape == (2, 5)
    assert shapes == [(16, 9, 14)] * 2 + [(32, 5, 7)] * 2 + [(64, 3, 4)] * 2


@pytest.mark.parametrize("nodes", [1, 3])
def test_a_supernet_computes_what_its_plain_twin_does(nodes):
    supernet = DARTS(cells=4, channels=4, nodes=nodes).supernet(SPEC)
    supernet.temperature = 0.5
    for rows in supernet.logits.values():
        nn.init.normal_(rows)
    images = torch.randn(3, 1, 7, 9)
    torch.testing.assert_close(supernet(images), supernet_scores(supernet, images).T, rtol=1e-4, atol=1e-5)


def test_what_works_in_place_changes_nothing_that_others_read():
    """The same network without any layer in place has the same outputs and gradients."""
    space = DARTS(cells=3, channels=4, auxiliary=True)
    spec = TaskSpec((1, 9, 9), 10, "image_classification")
    changed = 0
    for ours in (
        space.supernet(spec).double(),
        space.from_genotype(DARTS_V2, spec=spec).build().double(),
        *(space.decode(row).build(spec).double() for row in space.sample(4, seed=0)),
    ):
        plain = copy.deepcopy(ours)
        for module in plain.modules():
            if isinstance(module, nn.ReLU):
                changed += module.inplace
                module.inplace = False
        images = torch.randn(4, 1, 9, 9, dtype=torch.float64, requires_grad=True)
        again = images.detach().clone().requires_grad_()
        grown = []
        for cell in ours.cells:
            cell.register_forward_pre_hook(
                lambda _, args, grown=grown: grown.append([(a, a.clone()) for a in args[:2]])
            )
        results = [ours(images), plain(again)]
        results = [r if isinstance(r, tuple) else (r,) for r in results]
        for one, other in zip(*results, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
        assert all(torch.equal(a, b) for pairs in grown for a, b in pairs)
        for result in results:
            sum(part.square().sum() for part in result).backward()
        torch.testing.assert_close(images.grad, again.grad, rtol=1e-8, atol=1e-10)
        for one, other in zip(ours.parameters(), plain.parameters(), strict=True):
            assert (one.grad is None) == (other.grad is None)
            if one.grad is not None:
                torch.testing.assert_close(one.grad, other.grad, rtol=1e-8, atol=1e-10)
    assert changed


# -- built networks --------------------------------------------------------------------------------------------


def test_paths_may_be_dropped_everywhere_but_at_identities():
    space = DARTS(cells=4, channels=4)
    architecture = space.from_genotype(DARTS_V2, spec=SPEC)
    network = architecture.build()
    for kind, cell in zip(("normal", "reduce", "reduce", "normal"), network.cells, strict=True):
        for (_, source, name), operation in zip(space.cell(architecture, kind), cell.operations, strict=True):
            if name == "skip_connect" and not (kind == "reduce" and source < 2):
                assert isinstance(operation, nn.Identity)
            else:
                inner, drop = operation
                assert isinstance(drop, DropPath)
                assert not any(isinstance(m, DropPath) for m in inner.modules())
    total = sum(isinstance(m, DropPath) for m in network.modules())
    assert total == 4 * 8 - 2 * 2 - 2 * 3


@pytest.mark.parametrize("size", [8, 9, 15, 28, 32])
def test_an_auxiliary_classifier_gives_scores_while_training_only(size):
    spec = TaskSpec((1, size, size), 7, "image_classification")
    space = DARTS(cells=6, channels=4, auxiliary=True)
    network = space.decode(space.sample(1, seed=2)[0]).build(spec)
    images = torch.randn(3, 1, size, size)
    shapes = []
    network.auxiliary.register_forward_pre_hook(lambda _, args: shapes.append(tuple(args[0].shape[1:])))
    scores, more = network(images)
    assert scores.shape == more.shape == (3, 7)
    # After two thirds of the cells: the second reduction.
    assert shapes == [(4 * 16, -(-size // 4), -(-size // 4))]
    (scores.sum() + more.sum()).backward()
    assert all(p.grad is not None for p in network.parameters())
    assert network.eval()(images).shape == (3, 7)
    assert len(shapes) == 1
    plain = DARTS(cells=6, channels=4)
    assert plain.decode(plain.sample(1, seed=2)[0]).build(spec)(images).shape == (3, 7)


@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 7, 5), (3, 32, 32)])
def test_every_image_size_works(shape):
    spec = TaskSpec(shape, 7, "image_classification")
    space = DARTS(cells=3, channels=4)
    images = torch.randn(4, *shape)
    for row in space.sample(3, seed=0):
        assert space.decode(row).build(spec)(images).shape == (4, 7)
    for options in ({}, {"partial_channels": 4, "edge_normalization": True}):
        assert space.supernet(spec, **options)(images).shape == (4, 7)


def test_a_network_of_one_node_is_written_out():
    cell = [(2, 0, "skip_connect"), (2, 1, "avg_pool_3x3")]
    network = DARTSModule(1, 3, normal=cell, reduce=cell, nodes=1, cells=3, channels=2).eval()
    images = torch.randn(2, 1, 6, 6)
    before = previous = network.stem(images)
    for cell in network.cells:
        skip, pool = cell.operations
        value = skip(cell.from_before(before)) + pool(cell.from_previous(previous))
        before, previous = previous, value
    torch.testing.assert_close(network(images), network.classifier(previous))
