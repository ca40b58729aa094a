"""The choice blocks and widths of single-path one-shot search: space, networks and supernet."""

import json
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import nasx
from nasx import Categorical, Ordinal, Space, TaskSpec
from nasx.hardware import FlopsTable, ParamsTable
from nasx.nn import ShuffleNetV2Module, ShuffleUnit, recalibrate, shufflenet_block
from nasx.spaces import ShuffleNetV2
from nasx.tasks.datasets import load

IMAGENET = TaskSpec((3, 224, 224), 1000, "image_classification")
SPEC = TaskSpec((1, 8, 8), 10, "image_classification")
SMALL = {"channels": (12, 20), "repeats": (1, 2), "stem": 6, "stem_stride": 1, "head": 16}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def space():
    return ShuffleNetV2(**SMALL, multipliers=(0.5, 1, 2))


def published(operations, widths=None):
    """The genotype of an architecture as the field writes it: numbers of blocks, and of multipliers."""
    if widths is None:
        return np.array([operations], np.int32)
    return np.array([[index for pair in zip(widths, operations, strict=True) for index in pair]], np.int32)


# -- the space -----------------------------------------------------------------------------------------------


def test_every_layer_decides_on_a_width_and_a_block():
    space = ShuffleNetV2()
    assert space.names[:4] == ("layer1.width", "layer1.operation", "layer2.width", "layer2.operation")
    assert len(space.layers) == 20
    assert len(space) == 40
    assert space["layer20.width"] == Ordinal([0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0])
    assert space["layer7.operation"] == Categorical(["shuffle_3x3", "shuffle_5x5", "shuffle_7x7", "xception"])
    assert space.size == 40**20
    blocks = ShuffleNetV2(multipliers=None)
    assert blocks.names[:2] == ("layer1.operation", "layer2.operation")
    assert blocks.size == 4**20


def test_layers_are_those_of_the_published_stages():
    layers = ShuffleNetV2().layers
    assert [layer.stride for layer in layers] == [2, 1, 1, 1] * 2 + [2] + [1] * 7 + [2, 1, 1, 1]
    assert [layer.out_channels for layer in layers] == [64] * 4 + [160] * 4 + [320] * 8 + [640] * 4
    assert [layer.in_channels for layer in layers if layer.stride == 2] == [16, 64, 160, 320]
    # Half of the output, times the multiplier, rounded down.
    widths = [layers[0].mid_channels(m) for m in (0.2, 0.4, 0.6, 1.0, 1.2, 2.0)]
    assert widths == [6, 12, 19, 32, 38, 64]


def test_the_published_architecture_of_blocks_and_widths_has_the_published_costs():
    operations = [0, 0, 3, 1, 1, 1, 0, 0, 2, 0, 2, 1, 1, 0, 2, 0, 2, 1, 3, 2]
    widths = [6, 5, 3, 5, 2, 6, 3, 4, 2, 5, 7, 5, 4, 6, 7, 4, 4, 5, 4, 3]
    space, row = ShuffleNetV2(), published(operations, widths)
    # Multiply-adds: 328 M, and 3.4 M parameters.
    assert FlopsTable().bind(space, IMAGENET)(row)[0] / 2 == pytest.approx(328e6, rel=0.002)
    assert ParamsTable().bind(space, IMAGENET)(row)[0] == pytest.approx(3.4e6, abs=0.05e6)


def test_the_published_architecture_of_blocks_has_the_published_costs():
    operations = [2, 1, 0, 1, 2, 0, 2, 0, 2, 0, 2, 3, 0, 0, 0, 0, 3, 2, 3, 3]
    space, row = ShuffleNetV2(multipliers=None), published(operations)
    assert FlopsTable().bind(space, IMAGENET)(row)[0] / 2 == pytest.approx(323e6, rel=0.002)
    assert ParamsTable().bind(space, IMAGENET)(row)[0] == pytest.approx(3.5e6, abs=0.1e6)


def test_settings_rebuild_the_space_through_json(space):
    for one in (space, ShuffleNetV2(**SMALL, multipliers=None), ShuffleNetV2()):
        again = Space.from_dict(json.loads(json.dumps(one.to_dict())))
        assert isinstance(again, ShuffleNetV2)
        assert again == one
        assert again.settings == one.settings == pickle.loads(pickle.dumps(one)).settings
    assert "ShuffleNetV2" in nasx.spaces.available_spaces()
    assert space.can_build
    assert space.can_share
    assert space.has_blocks


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": ()}, r"channels must be a non-empty list of integers; got \(\)"),
        ({"channels": "64"}, "channels must be a non-empty list"),
        ({"channels": (64, 32)}, "channels must be even and increase, from more than the stem's 16; got"),
        ({"channels": (16, 32)}, "channels must be even and increase"),
        ({"channels": (63, 80)}, "channels must be even and increase"),
        ({"repeats": (4, 4)}, r"repeats must hold a number for each of the 4 channels; got \(4, 4\)"),
        ({"repeats": (4, 0, 4, 4)}, "each of repeats must be an integer of at least 1; got 0"),
        ({"repeats": (10**9, 1, 1, 1)}, "repeats must be at most 200 layers in all; got 1000000003"),
        ({"stem": 0}, "stem must be an integer of at least 1; got 0"),
        ({"stem_stride": 3}, "stem_stride must be 1 or 2; got 3"),
        ({"stem_stride": True}, "stem_stride must be 1 or 2; got True"),
        ({"head": 1.5}, "head must be an integer of at least 1; got 1.5"),
        ({"multipliers": ()}, "multipliers: "),
        ({"multipliers": 3}, "multipliers: "),
        ({"multipliers": (1.0, 0.5)}, "multipliers: .*increase"),
        ({"multipliers": (0, 1)}, "multipliers must be positive; got 0"),
        ({"multipliers": (1.0, 1.01)}, "multipliers 1.0 and 1.01 both give 32 inner channels.* 64"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        ShuffleNetV2(**settings)


# -- networks ------------------------------------------------------------------------------------------------


def test_half_of_the_channels_pass():
    unit = ShuffleUnit(8, 8, 6, operation="shuffle_5x5").eval()
    x = torch.randn(3, 8, 5, 6)
    out = unit(x)
    assert torch.equal(out[:, :4], x[:, [0, 2, 4, 6]])
    torch.testing.assert_close(out[:, 4:], unit.main(x[:, [1, 3, 5, 7]]))
    reducing = ShuffleUnit(8, 20, 6, stride=2).eval()
    out = reducing(x)
    assert out.shape == (3, 20, 3, 3)
    torch.testing.assert_close(out, torch.cat([reducing.around(x), reducing.main(x)], 1))


def kernels(module):
    """Of each convolution: kernel size, groups above one, stride."""
    return [
        (m.kernel_size[0], m.groups > 1, m.stride[0]) for m in module.modules() if isinstance(m, nn.Conv2d)
    ]


def test_blocks_have_the_published_convolutions():
    for operation, kernel in (("shuffle_3x3", 3), ("shuffle_5x5", 5), ("shuffle_7x7", 7)):
        unit = ShuffleUnit(8, 20, 6, operation=operation, stride=2)
        assert kernels(unit.main) == [(1, False, 1), (kernel, True, 2), (1, False, 1)]
        assert kernels(unit.around) == [(kernel, True, 2), (1, False, 1)]
        assert [type(m) for m in unit.main[:5]] == [
            nn.Conv2d,
            nn.BatchNorm2d,
            nn.ReLU,
            nn.Conv2d,
            nn.BatchNorm2d,
        ]
    unit = ShuffleUnit(8, 20, 6, operation="xception", stride=2)
    assert kernels(unit.main) == [(3, True, 2), (1, False, 1), *2 * [(3, True, 1), (1, False, 1)]]
    assert [m.out_channels for m in unit.main if isinstance(m, nn.Conv2d)] == [8, 6, 6, 6, 6, 12]
    assert kernels(unit.around) == [(3, True, 2), (1, False, 1)]
    assert ShuffleUnit(8, 8, 6).around is None
    assert all(m.bias is None for m in unit.modules() if isinstance(m, nn.Conv2d))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((8, 8, 4, {"operation": "shuffle_9x9"}), "unknown operation 'shuffle_9x9'; did you mean"),
        ((8, 10, 4, {}), "at stride 1 in_channels and out_channels must be equal and even; got 8 and 10"),
        ((7, 7, 4, {}), "equal and even; got 7 and 7"),
        ((8, 8, 4, {"stride": 2}), "at stride 2 there must be more out_channels than in_channels"),
        ((8, 20, 4, {"stride": 3}), "stride must be 1 or 2; got 3"),
    ],
)
def test_wrong_units(arguments, message):
    *channels, options = arguments
    with pytest.raises(ValueError, match=message):
        ShuffleUnit(*channels, **options)
    with pytest.raises(ValueError, match="unknown kind 'tail'"):
        shufflenet_block("tail")


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 33, 20), (2, 1, 1)])
def test_every_image_size_works(shape, space):
    spec = TaskSpec(shape, 7, "image_classification")
    for row in space.sample(3, seed=1):
        network = space.decode(row).build(spec)
        assert type(network) is ShuffleNetV2Module
        assert network.eval()(torch.randn(2, *shape)).shape == (2, 7)
    with pytest.raises(ValueError, match=r"ShuffleNetV2 needs images, input_shape \(C, H, W\)"):
        space.decode(row).build(TaskSpec((64,), 10, "image_classification"))


def test_blocks_have_the_shapes_that_the_network_gives_them(space):
    for stem_stride in (1, 2):
        one = ShuffleNetV2(**SMALL | {"stem_stride": stem_stride}, multipliers=(0.5, 1, 2))
        architecture = one.decode(one.sample(1, seed=2)[0])
        network = architecture.build(TaskSpec((1, 9, 14), 10, "image_classification"))
        seen = []
        for part in (network.stem, *network.units, network.head):
            part.register_forward_pre_hook(lambda _, x, seen=seen: seen.append(tuple(x[0].shape[1:])))
        network(torch.randn(2, 1, 9, 14))
        blocks = one.blocks(architecture, TaskSpec((1, 9, 14), 10, "image_classification"))
        assert [block.input_shape for block in blocks] == seen


# -- the supernet --------------------------------------------------------------------------------------------


def trained(space, steps=4):
    supernet = space.supernet(SPEC)
    optimizer = torch.optim.SGD(supernet.parameters(), 0.1)
    for row in space.sample(steps, seed=3):
        with supernet.path(space.decode(row)):
            loss = F.cross_entropy(supernet(3 * torch.randn(16, 1, 8, 8) + 1), torch.arange(16) % 10)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return supernet


@pytest.mark.parametrize("multipliers", [(0.5, 1, 2), None])
def test_extracted_networks_compute_what_their_paths_do(multipliers):
    space = ShuffleNetV2(**SMALL, multipliers=multipliers)
    supernet = trained(space).eval()
    x, outputs = torch.randn(4, 1, 8, 8), set()
    with torch.no_grad():
        for row in space.sample(15, seed=1):
            architecture = space.decode(row, spec=SPEC)
            with supernet.path(architecture):
                expected = supernet(x)
            network = supernet.extract(architecture)
            torch.testing.assert_close(network(x), expected, rtol=0, atol=1e-5)
            outputs.add(tuple(expected.flatten().tolist()))
    assert len(outputs) == len(np.unique(space.sample(15, seed=1), axis=0))
    assert type(network) is ShuffleNetV2Module
    assert not network.training
    built = [p.shape for p in architecture.build().parameters()]
    assert [p.shape for p in network.parameters()] == built
    shared = {p.data_ptr() for p in (*supernet.parameters(), *supernet.buffers())}
    assert not shared & {p.data_ptr() for p in (*network.parameters(), *network.buffers())}


def test_a_path_has_gradients_in_its_blocks_and_inner_channels_only(space):
    supernet = space.supernet(SPEC)
    row = published([0, 3, 1], [0, 1, 2])[0]
    with supernet.path(space.decode(row)):
        supernet(torch.randn(4, 1, 8, 8)).pow(2).sum().backward()
    for layer, operation, width in zip(supernet.network.units, row[1::2], row[::2], strict=True):
        blocks = layer.operation.mixed.operations
        reached = [any(p.grad is not None for p in block.parameters()) for block in blocks]
        assert reached == [i == operation for i in range(4)]
        first = next(m for m in blocks[operation].main if getattr(m, "kernel_size", 0) == 1)
        mid = len(first.weight) * (1, 2, 4)[width] // 4
        assert first.weight.grad[:mid].any()
        assert not first.weight.grad[mid:].any()
    assert all(p.grad is None for p in supernet.architecture_parameters())


def test_widths_have_no_mixture_but_blocks_do(space):
    with pytest.raises(ValueError, match=r"decision 'layer1.width' is an elastic size.*nasx\.SPOS"):
        space.supernet(SPEC)(torch.randn(2, 1, 8, 8))
    blocks = ShuffleNetV2(**SMALL, multipliers=None)
    supernet = blocks.supernet(SPEC)
    supernet(torch.randn(4, 1, 8, 8)).pow(2).sum().backward()
    assert all(p.grad.any() for p in supernet.architecture_parameters())
    with torch.no_grad():
        supernet.logits["layer2.operation"][0, 3] = 1.0
    assert supernet.derive()[1] == 3
    assert supernet.skips(blocks.decode(supernet.derive())) == (0, 3)
    with pytest.raises(ValueError, match="partial_channels must be 1 for ShuffleNetV2"):
        space.supernet(SPEC, partial_channels=2)


def test_norms_of_blocks_learn_no_scale(space):
    supernet = space.supernet(SPEC)
    norms = [m for unit in supernet.network.units for m in unit.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert not any(m.affine for m in norms)
    # And so none is lost: those of an extracted network begin with one and zero.
    network = supernet.extract(space.decode(space.sample(1)[0]))
    taken = [m for unit in network.units for m in unit.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(m.weight.eq(1).all() and m.bias.eq(0).all() for m in taken)


def test_the_supernet_learns_digits_path_by_path():
    space = ShuffleNetV2(
        channels=(16,), repeats=(1,), stem=6, stem_stride=1, head=32, multipliers=(0.5, 1, 2)
    )
    images, labels = (torch.as_tensor(part[:96]) for part in load("digits")["train"])
    images, labels = images.float() / images.max(), labels.long()
    supernet = space.supernet(SPEC)
    optimizer = torch.optim.SGD(supernet.weight_parameters(), 0.2, momentum=0.9)
    losses = []
    for row in space.sample(60, seed=0):
        with supernet.path(space.decode(row)):
            loss = F.cross_entropy(supernet(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.8 * losses[0]
    # Statistics of all paths fit none; measured for one, its network does what its path does.
    architecture = space.decode(space.sample(1, seed=9)[0])
    network = supernet.extract(architecture)
    recalibrate(network, images.split(48), network)
    with supernet.path(architecture):
        recalibrate(supernet, images.split(48), supernet)
        torch.testing.assert_close(network(images), supernet(images), rtol=0, atol=1e-4)
    accuracy = float((network(images).argmax(1) == labels).float().mean())
    assert accuracy > 0.4
