"""FBNet and ProxylessMobile: spaces, networks and supernets."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

import nasx
from nasx import Categorical, Space, TaskSpec
from nasx.hardware import FlopsTable, LatencyTable, ParamsTable
from nasx.nn import MobileModule, MobileUnit, mobile_block, mobile_unit
from nasx.spaces import FBNet, ProxylessMobile

DATA = Path(__file__).parents[2] / ".." / "shared" / "data" / "fbnet_latency.npz"
IMAGENET = TaskSpec((3, 224, 224), 1000, "image_classification")
SPEC = TaskSpec((1, 8, 8), 10, "image_classification")
FB = {"channels": (8, 12), "repeats": (1, 2), "strides": (1, 2), "stem": 8, "stem_stride": 1, "head": 16}
PROXYLESS = FB | {"first": 8}
SPACES = {"fbnet": FBNet(**FB), "proxyless": ProxylessMobile(**PROXYLESS)}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(params=SPACES)
def space(request):
    return SPACES[request.param]


def published(space, text):
    """The genotype of an architecture that is written as its operations."""
    return space.encode(dict(zip(space, text.split(), strict=True)))[None]


# -- the spaces ----------------------------------------------------------------------------------------------


def test_fbnet_has_nine_blocks_in_twenty_two_layers():
    space = FBNet()
    assert space.names == tuple(f"layer{i}" for i in range(1, 23))
    assert space.size == 9**22
    blocks = ["k3_e1", "k3_e1_g2", "k3_e3", "k3_e6", "k5_e1", "k5_e1_g2", "k5_e3", "k5_e6", "skip"]
    assert all(space[name] == Categorical(blocks) for name in space)
    layers = space.layers
    assert [layer.out_channels for layer in layers] == [16] + [
        c for c in (24, 32, 64, 112, 184) for _ in range(4)
    ] + [352]
    assert [i for i, layer in enumerate(layers, 1) if layer.stride == 2] == [2, 6, 10, 18]
    assert space.frame["head"] == 1504
    assert (space.frame["stem"], space.frame["stem_stride"]) == (16, 2)


def test_proxyless_skips_only_where_the_shape_stays():
    space = ProxylessMobile()
    assert space.size == 6**6 * 7**15
    assert [layer.stride for layer in space.layers] == [2, 1, 1, 1] * 3 + [1] * 4 + [2, 1, 1, 1] + [1]
    assert [len(layer.operations) for layer in space.layers] == [6, 7, 7, 7] * 5 + [6]
    assert space["layer1"] == Categorical(["k3_e3", "k3_e6", "k5_e3", "k5_e6", "k7_e3", "k7_e6"])
    assert "skip" in space["layer2"].choices
    assert space.layers[0].in_channels == 16
    assert space.frame["first"] == 16
    assert ProxylessMobile(channels=(16,), repeats=(1,), strides=(1,)).cardinalities.tolist() == [7]


def test_published_fbnets_have_the_published_costs():
    # FBNet-A: 4.3 M parameters; FBNet-C: 5.5 M, and 375 M multiply-adds.
    a = (
        "skip k3_e3 k3_e1 skip skip k5_e6 k3_e3 k5_e1 k3_e3 k5_e6 k5_e3 k5_e1_g2 k5_e6 "
        "k3_e6 k5_e1_g2 k5_e1 k3_e1_g2 k5_e6 k5_e6 k5_e3 k5_e6 k5_e6"
    )
    c = (
        "k3_e1 k3_e6 skip k3_e1 k3_e1 k5_e6 k5_e3 k5_e6 k3_e6 k5_e6 k5_e3 k5_e6 k5_e6 "
        "k5_e6 k5_e6 k5_e6 k5_e3 k5_e6 k5_e6 k5_e6 k5_e6 k3_e6"
    )
    narrow, wide = FBNet(), FBNet(head=1984)
    parameters, flops = (
        {head: cost().bind(one, IMAGENET) for head, one in ((1504, narrow), (1984, wide))}
        for cost in (ParamsTable, FlopsTable)
    )
    assert parameters[1504](published(narrow, a))[0] == pytest.approx(4.3e6, abs=0.05e6)
    assert parameters[1984](published(wide, c))[0] == 5_572_200  # as released
    assert flops[1504](published(narrow, c))[0] / 2 == pytest.approx(375e6, rel=0.005)
    assert flops[1504](published(narrow, a))[0] / 2 == pytest.approx(249e6, rel=0.05)


def test_published_proxyless_mobile_has_the_published_costs():
    space = ProxylessMobile(channels=(32, 40, 80, 96, 192, 320))
    row = published(
        space,
        "k5_e3 k3_e3 skip skip k7_e3 k3_e3 k5_e3 k5_e3 k7_e6 k5_e3 k5_e3 k5_e3 k5_e6 k5_e3 k5_e3 k5_e3 "
        "k7_e6 k7_e6 k7_e3 k7_e3 k7_e6",
    )
    assert ParamsTable().bind(space, IMAGENET)(row)[0] == 4_080_512  # as released
    assert FlopsTable().bind(space, IMAGENET)(row)[0] / 2 == pytest.approx(320e6, rel=0.005)


@pytest.mark.skipif(not DATA.exists(), reason="measured latencies are not there")
def test_choices_are_numbered_as_in_the_table_of_measured_latencies():
    space = FBNet()
    with np.load(DATA, allow_pickle=False) as data:
        rows, measured = data["genotypes"].astype(np.int32), data["latency_ms/raspi4"].astype(np.float64)
    ones = np.hstack([np.eye(9)[rows[:, j]] for j in range(22)] + [np.ones((len(rows), 1))])
    sums = np.linalg.lstsq(ones[:4000], measured[:4000])[0]
    entries = sums[:-1].reshape(22, 9)
    table = LatencyTable(space, list(entries), intercept=sums[-1])
    assert np.corrcoef(table(rows[4000:]), measured[4000:])[0, 1] > 0.99
    expected = FlopsTable().bind(space, IMAGENET)
    first = np.zeros((9, 22), np.int32)
    for layer in range(22):
        found = dict(zip(space.operations, entries[layer], strict=True))
        # Skipping takes least, and more channels and larger kernels take more.
        assert min(found, key=found.__getitem__) == "skip"
        assert found["k3_e1"] < found["k3_e3"] < found["k3_e6"]
        assert found["k5_e1"] < found["k5_e3"] < found["k5_e6"]
        assert found["k3_e6"] < found["k5_e6"]
        changed = first.copy()
        changed[:, layer] = np.arange(9)
        work = expected(changed)
        assert np.corrcoef(work, entries[layer])[0, 1] > 0.75


def test_settings_rebuild_the_space_through_json(space):
    for one in (space, type(space)(), type(space)(width_multiplier=0.5)):
        again = Space.from_dict(json.loads(json.dumps(one.to_dict())))
        assert type(again) is type(one)
        assert again == one
        assert again.settings == one.settings == pickle.loads(pickle.dumps(one)).settings
        assert again.layers == one.layers
    assert type(space).__name__ in nasx.spaces.available_spaces()
    assert space.can_build
    assert space.can_share
    assert space.has_blocks


def test_widths_are_multiplied_to_multiples_of_eight():
    layers = FBNet(width_multiplier=0.35).layers
    assert [layer.out_channels for layer in layers][::4] == [8, 8, 16, 24, 40, 64]  # 8.4 is most of 16.8
    assert FBNet(width_multiplier=0.35).frame["head"] == 1504
    assert FBNet(width_multiplier=1.5).frame["head"] == 2256
    assert ProxylessMobile(width_multiplier=1.4).frame["head"] == 1792
    assert ProxylessMobile(width_multiplier=1.4).frame["first"] == 24
    assert FBNet(channels=(10,), repeats=(1,), strides=(1,)).layers[0].out_channels == 10


@pytest.mark.parametrize("cls", [FBNet, ProxylessMobile])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"channels": ()}, r"channels must be a non-empty list of integers; got \(\)"),
        ({"channels": "64"}, "channels must be a non-empty list"),
        ({"channels": (64, 0)}, "each of channels must be an integer of at least 1; got 0"),
        ({"repeats": (4, 4)}, r"repeats must hold a number for each of the \d channels; got \(4, 4\)"),
        ({"strides": (1,)}, r"strides must hold a number for each of the \d channels; got \(1,\)"),
        ({"channels": (8,), "repeats": (10**9,), "strides": (1,)}, "repeats must be at most 200 layers"),
        ({"strides": (1, 3)}, r"strides must be 1 or 2; got \(1, 3\)"),
        ({"stem": 0}, "stem must be an integer of at least 1; got 0"),
        ({"stem_stride": 3}, "stem_stride must be 1 or 2; got 3"),
        ({"stem_stride": True}, "stem_stride must be 1 or 2; got True"),
        ({"head": 1.5}, "head must be an integer of at least 1; got 1.5"),
        *(
            ({"width_multiplier": wrong}, f"width_multiplier must be a number of more than 0; got {wrong!r}")
            for wrong in (0, -1.0, float("inf"), float("nan"), True, "1")
        ),
    ],
)
def test_bad_settings_are_named(cls, settings, message):
    with pytest.raises(ValueError, match=message):
        cls(**settings)


def test_what_only_one_of_them_refuses():
    with pytest.raises(ValueError, match=r"stem and channels must be even.*got 8 and 9 in layer1"):
        FBNet(**FB | {"channels": (9, 12)})
    with pytest.raises(ValueError, match="first must be an integer of at least 1; got 0"):
        ProxylessMobile(first=0)


# -- networks ------------------------------------------------------------------------------------------------


def convolutions(module):
    """Of each convolution: kernel size, groups, stride, channels after it."""
    found = [m for m in module.modules() if isinstance(m, nn.Conv2d)]
    return [(m.kernel_size[0], m.groups, m.stride[0], m.out_channels) for m in found]


def test_blocks_have_the_published_convolutions():
    assert convolutions(mobile_unit("k3_e6", 8, 12, stride=2)) == [
        (1, 1, 1, 48),
        (3, 48, 2, 48),
        (1, 1, 1, 12),
    ]
    # With expansion 1 there are three convolutions too, and those of "_g2" are in two groups.
    assert convolutions(mobile_unit("k5_e1", 8, 8)) == [(1, 1, 1, 8), (5, 8, 1, 8), (1, 1, 1, 8)]
    assert convolutions(mobile_unit("k5_e1_g2", 8, 8)) == [(1, 2, 1, 8), (5, 8, 1, 8), (1, 2, 1, 8)]
    assert convolutions(mobile_unit("k7_e3", 8, 8)) == [(1, 1, 1, 24), (7, 24, 1, 24), (1, 1, 1, 8)]
    assert convolutions(mobile_unit("skip", 8, 12, stride=2)) == [(1, 1, 1, 12)]
    assert isinstance(mobile_unit("skip", 8, 8), nn.Identity)
    assert convolutions(mobile_block("first", in_channels=8, out_channels=6, activation="relu6")) == [
        (3, 8, 1, 8),
        (1, 1, 1, 6),
    ]


def test_channels_are_shuffled_between_groups():
    # What the second group gets is half from the first: a plain reading of two groups would keep them apart.
    unit = mobile_unit("k3_e1_g2", 8, 12, stride=2).eval()
    x = torch.randn(1, 8, 4, 4, requires_grad=True)
    (grad,) = torch.autograd.grad(unit(x)[:, :6].sum(), x)
    assert grad[:, :4].any()
    assert grad[:, 4:].any()


@pytest.mark.parametrize("activation", ["relu", "relu6"])
@pytest.mark.parametrize("kernel", [3, 5, 7])
def test_a_block_is_its_layers_one_after_another(kernel, activation):
    unit = mobile_unit(f"k{kernel}_e3", 4, 4, activation=activation)
    x = 5 * torch.randn(3, 4, 6, 5)
    unit(x)
    unit.eval()
    first, middle, last = (m for m in unit.modules() if isinstance(m, nn.Conv2d))
    norms = [m for m in unit.modules() if isinstance(m, nn.BatchNorm2d)]
    active = {"relu": F.relu, "relu6": F.relu6}[activation]

    def normed(value, norm):
        return F.batch_norm(value, norm.running_mean, norm.running_var, norm.weight, norm.bias)

    y = active(normed(F.conv2d(x, first.weight), norms[0]))
    y = active(normed(F.conv2d(y, middle.weight, padding=kernel // 2, groups=12), norms[1]))
    y = normed(F.conv2d(y, last.weight), norms[2])
    torch.testing.assert_close(unit(x), x + y, rtol=1e-4, atol=1e-5)


def test_wrong_units():
    for name in ("k3", "k3_e", "conv", "kx_e3", "k3_e3_g"):
        with pytest.raises(ValueError, match=f"operation must be 'skip' or such as .*; got '{name}'"):
            mobile_unit(name, 8, 8)
    with pytest.raises(ValueError, match="unknown kind 'tail'"):
        mobile_block("tail")


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 17, 10), (2, 1, 1)])
def test_every_image_size_works(shape, space):
    spec = TaskSpec(shape, 7, "image_classification")
    for row in space.sample(3, seed=1):
        network = space.decode(row).build(spec)
        assert type(network) is MobileModule
        assert network.eval()(torch.randn(2, *shape)).shape == (2, 7)
    with pytest.raises(ValueError, match=rf"{type(space).__name__} needs images, input_shape \(C, H, W\)"):
        space.decode(row).build(TaskSpec((64,), 10, "image_classification"))


@pytest.mark.parametrize("stem_stride", [1, 2])
def test_blocks_have_the_shapes_that_the_network_gives_them(space, stem_stride):
    one = type(space)(**space.settings | {"stem_stride": stem_stride})
    spec = TaskSpec((1, 9, 14), 10, "image_classification")
    for row in one.sample(5, seed=2):
        architecture = one.decode(row)
        network = architecture.build(spec)
        seen = []
        for part in (network.stem, network.first, *network.units, network.head):
            if not isinstance(part, nn.Identity):
                part.register_forward_pre_hook(lambda _, x, seen=seen: seen.append(tuple(x[0].shape[1:])))
        network(torch.randn(2, 1, 9, 14))
        assert [block.input_shape for block in one.blocks(architecture, spec)] == seen


def test_an_architecture_is_drawn(space, tmp_path):
    figure = space.decode(space.sample(1)[0]).plot(tmp_path / "layers.png")
    assert (tmp_path / "layers.png").stat().st_size > 1000
    assert len(figure.axes[0].patches) == len(space)


# -- supernets -----------------------------------------------------------------------------------------------


def test_a_path_has_gradients_in_its_operations_only(space):
    supernet = space.supernet(SPEC)
    row = [0, 4, len(space.layers[-1].operations) - 1]  # the last one does nothing
    with supernet.path(space.decode(row)):
        supernet(torch.randn(4, 1, 8, 8)).pow(2).sum().backward()
    for layer, taken in zip(supernet.network.units, row, strict=True):
        reached = [
            any(p.grad is not None for p in op.parameters()) for op in layer.operation.mixed.operations
        ]
        assert reached == [
            i == taken and any(True for _ in op.parameters())
            for i, op in enumerate(layer.operation.mixed.operations)
        ]
    assert all(p.grad is None for p in supernet.architecture_parameters())


def test_a_mixture_is_the_weighted_sum_of_its_layers(space):
    supernet = space.supernet(SPEC).double()
    x = torch.randn(4, 1, 8, 8).double()
    with torch.no_grad():
        for row in supernet.logits.values():
            row.normal_()
    found = supernet(x)
    network, weights = supernet.network, supernet.probabilities()
    y = network.first(network.stem(x))
    for layer, unit in zip(space.layers, network.units, strict=True):
        terms = []
        for name in layer.operations:
            op = unit.operation.chosen(name)
            keeps = layer.stride == 1 and layer.in_channels == layer.out_channels
            terms.append(y if name == "skip" and keeps else op(y) + y if keeps else op(y))
        y = sum(w * term for w, term in zip(weights[layer.name][0], terms, strict=True))
    torch.testing.assert_close(found, network.head(y), rtol=1e-8, atol=1e-8)


def test_layers_that_do_nothing_are_counted(space):
    supernet = space.supernet(SPEC)
    last = len(space.layers[-1].operations) - 1
    assert supernet.skips(space.decode([0, 0, last])) == (1, 3)
    if isinstance(space, FBNet):  # a skip that changes the shape does something
        assert supernet.skips(space.decode([0, last, last])) == (1, 3)
    with torch.no_grad():
        supernet.logits["layer3"][0, last] = 1.0
    assert supernet.derive()[2] == last
    with pytest.raises(ValueError, match=f"partial_channels must be 1 for {type(space).__name__}"):
        space.supernet(SPEC, partial_channels=2)


def test_norms_of_operations_learn_no_scale(space):
    supernet = space.supernet(SPEC)
    norms = [m for unit in supernet.network.units for m in unit.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert not any(m.affine for m in norms)
    network = supernet.extract(space.decode(np.zeros(3, np.int32)))
    assert all(isinstance(unit, MobileUnit) for unit in network.units)
    taken = [m for unit in network.units for m in unit.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(m.weight.eq(1).all() and m.bias.eq(0).all() for m in taken)


@pytest.mark.parametrize(
    "strategy",
    [
        nasx.DARTS(epochs=1, batch_size=24),
        nasx.SPOS(epochs=1, batch_size=24, baseline=1),
        nasx.ENAS(
            epochs=1, batch_size=24, controller_steps=1, controller_samples=2, final_samples=2, baseline=1
        ),
    ],
    ids=lambda s: type(s).__name__,
)
@pytest.mark.filterwarnings("ignore:.*skip connections:UserWarning")
def test_other_methods_search_these_spaces_too(space, strategy):
    data = nasx.tasks.datasets.load("digits")
    (x, y), (a, b) = data["train"], data["valid"]
    task = nasx.tasks.ImageClassification((x[:48], y[:48]), (a[:24], b[:24]), threads=1, device="cpu")
    more = {"evaluations": 3} if isinstance(strategy, nasx.SPOS) else {}
    result = nasx.search(
        space, task, strategy=strategy, costs=["parameters"], limits={"parameters": 1e6}, **more
    )
    assert result.best.architecture.space == space
    assert result.best.metrics["parameters"] > 0
