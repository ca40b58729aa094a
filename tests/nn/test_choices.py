"""Choices within modules of users' own, and the supernets that mix them."""

import copy
import pathlib
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import nasx
from nasx.nn import InputChoice, LayerChoice, PartialChannels
from nasx.nn.choices import ChosenInputs
from nasx.nn.found_choices import find_choices


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


class Network(nn.Module):
    """A layer choice, one within its second candidate, and a choice among three values."""

    def __init__(self, chosen=1):
        super().__init__()
        self.first = nn.Linear(4, 4)
        inner = LayerChoice({"relu": nn.ReLU(), "tanh": nn.Tanh()})
        self.middle = LayerChoice(
            {"linear": nn.Linear(4, 4), "deep": nn.Sequential(nn.Linear(4, 4), inner), "skip": nn.Identity()}
        )
        self.join = InputChoice(3, chosen=chosen, name="join")

    def forward(self, x):
        x = self.first(x)
        y = self.middle(x)
        return self.join([x, y, x * y])


def set_logits(supernet, **rows):
    for name, row in rows.items():
        supernet.logits[name.replace("__", ".")].data = torch.tensor([row])


# -- choices by themselves -----------------------------------------------------------------------------------


def test_nothing_runs_before_it_is_decided():
    with pytest.raises(RuntimeError, match=r"LayerChoice 'op' has not been decided.*space_of\(module\)"):
        LayerChoice([nn.Identity()], name="op")(torch.ones(1))
    with pytest.raises(RuntimeError, match="InputChoice has not been decided"):
        InputChoice(2)([torch.ones(1), torch.ones(1)])
    with pytest.raises(RuntimeError, match="has not been decided"):
        Network()(torch.ones(1, 4))


def test_candidates_of_a_sequence_are_named_by_their_classes():
    assert LayerChoice([nn.ReLU(), nn.Linear(1, 1), nn.ReLU()]).choices == ("ReLU_1", "Linear", "ReLU_2")
    assert LayerChoice(nn.ModuleList([nn.ReLU()])).choices == ("ReLU",)
    assert LayerChoice(nn.ModuleDict({"a": nn.ReLU()})).choices == ("a",)
    # Names need not be ones that attributes can have.
    assert LayerChoice({"conv.3x3": nn.ReLU(), "pop": nn.ReLU()}).choices == ("conv.3x3", "pop")
    made = LayerChoice([lambda c: nn.Conv2d(c, c, 1), lambda c: nn.Identity()], channels=6)
    assert made.choices == ("Conv2d", "Identity")
    assert made.chosen("Conv2d").weight.shape == (6, 6, 1, 1)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"candidates": {}}, ValueError, "candidates must hold at least one"),
        ({"candidates": []}, ValueError, "candidates must hold at least one"),
        ({"candidates": {"": nn.ReLU()}}, ValueError, "non-empty strings; got ''"),
        ({"candidates": {3: nn.ReLU()}}, ValueError, "non-empty strings; got 3"),
        ({"candidates": [nn.ReLU], "channels": None}, TypeError, "need channels="),
        ({"candidates": [3]}, TypeError, "candidates must be modules; got 3"),
        (
            {"candidates": [nn.ReLU()], "channels": 4},
            TypeError,
            "must be functions from a number of channels",
        ),
        ({"candidates": [lambda c: c], "channels": 4}, TypeError, "one returned 4"),
        ({"candidates": [nn.Identity], "channels": 0}, ValueError, "channels must be a positive integer"),
        ({"candidates": [nn.ReLU()], "name": ""}, ValueError, "name must be a non-empty string"),
    ],
)
def test_wrong_layer_choices(arguments, error, message):
    with pytest.raises(error, match=message):
        LayerChoice(**arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": 0}, "inputs must be a positive integer"),
        ({"inputs": 2.0}, "inputs must be a positive integer"),
        ({"inputs": 2, "chosen": 0}, "chosen must be a positive integer"),
        ({"inputs": 2, "chosen": 3}, "at most the number of inputs, 2; got 3"),
    ],
)
def test_wrong_input_choices(arguments, message):
    with pytest.raises(ValueError, match=message):
        InputChoice(**arguments)


# -- the supernet ----------------------------------------------------------------------------------------------


def test_the_mixture_is_the_weighted_sum():
    supernet = nasx.space_of(Network()).supernet()
    assert {name: tuple(rows.shape) for name, rows in supernet.logits.items()} == {
        "middle": (1, 3),
        "middle.deep.1": (1, 2),
        "join": (1, 3),
    }
    set_logits(supernet, middle=[0.3, -1.0, 0.5], middle__deep__1=[1.0, 0.2], join=[0.1, 0.9, -0.4])
    net, x = supernet.network, torch.randn(5, 4)
    middle, inner, join = (supernet.logits[name][0].softmax(0) for name in supernet.logits)
    linear, deep, _ = net.middle.mixed.operations
    h = net.first(x)
    y = middle[0] * linear(h) + middle[2] * h
    y = y + middle[1] * (inner[0] * deep[0](h).relu() + inner[1] * deep[0](h).tanh())
    torch.testing.assert_close(supernet(x), join[0] * h + join[1] * y + join[2] * h * y)


def test_gradients_reach_all_candidates_of_the_mixture_and_only_the_chosen_one_of_a_path():
    space = nasx.space_of(Network())
    supernet = space.supernet()
    x = torch.randn(5, 4)
    supernet(x).square().sum().backward()
    for name, parameter in supernet.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name
    supernet.zero_grad()
    with supernet.path(space.decode([1, 1, 2])):
        supernet(x).square().sum().backward()
    linear, deep, _ = supernet.network.middle.mixed.operations
    assert deep[0].weight.grad.any()
    assert linear.weight.grad is None
    assert all(logits.grad is None for logits in supernet.architecture_parameters())


@pytest.mark.parametrize(("chosen", "different"), [(1, 8), (2, 11)])  # where "skip" repeats an input
def test_extracted_networks_compute_what_their_paths_do(chosen, different):
    space = nasx.space_of(lambda: Network(chosen))
    supernet = space.supernet().eval()
    x = torch.randn(5, 4)
    outputs = []
    for row in space.enumerate():
        architecture = space.decode(row)
        with supernet.path(architecture):
            expected = supernet(x)
        network = supernet.extract(architecture)
        assert not find_choices(network)
        torch.testing.assert_close(network(x), expected, rtol=0, atol=1e-6)
        outputs.append(expected)
        # Weights of its own.
        for parameter in network.parameters():
            parameter.data.zero_()
    assert len(outputs) == 4 * 3
    assert len({tuple(output.flatten().tolist()) for output in outputs}) == different
    with supernet.path(space.decode(space.enumerate()[0])):
        assert torch.equal(supernet(x), outputs[0])


def test_the_best_architecture_is_that_of_the_largest_weights():
    space = nasx.space_of(Network(chosen=2))
    supernet = space.supernet()
    set_logits(supernet, middle=[0.0, 1.0, 0.5], middle__deep__1=[0.0, 1.0], join=[0.3, -1.0, 0.4])
    assert dict(space.decode(supernet.derive())) == {"middle": "deep", "middle.deep.1": "tanh", "join": "0+2"}
    set_logits(supernet, middle=[0.0, 1.0, 1.5])
    assert supernet.derive().tolist() == [2, -1, 1]


def test_skips_are_counted_among_the_layer_choices_that_are_there():
    space = nasx.space_of(Network())
    supernet = space.supernet()
    assert supernet.skips(space.decode([2, -1, 0])) == (1, 1)
    assert supernet.skips(space.decode([1, 0, 0])) == (0, 2)
    layers = [
        LayerChoice({"skip_connect": nn.Dropout(0.0), "x": nn.Identity()}, name="one") for _ in range(3)
    ]
    space = nasx.space_of(nn.Sequential(*layers, layers[0]))
    assert space.supernet().skips(space.decode([0])) == (3, 3)
    assert space.supernet().skips(space.decode([1])) == (3, 3)


def test_what_to_run_is_taken_back_also_after_an_error():
    space = nasx.space_of(Network())
    supernet = space.supernet()
    supernet(torch.randn(2, 4))
    with pytest.raises(RuntimeError):
        supernet(torch.randn(2, 5))
    assert all(one.module.choice is None for one in find_choices(supernet.network))
    with pytest.raises(RuntimeError, match="has not been decided"):
        supernet.network(torch.randn(2, 4))


def test_copies_and_other_supernets_of_one_module_do_not_interfere():
    network = Network()
    space = nasx.space_of(network)
    one = space.supernet()
    x = torch.randn(2, 4)
    copied, pickled, other = copy.deepcopy(one), pickle.loads(pickle.dumps(one)), space.supernet()
    expected = one(x)
    assert torch.equal(copied(x), expected)
    assert torch.equal(pickled(x), expected)
    other.load_state_dict(one.state_dict())
    assert torch.equal(other(x), expected)
    for supernet in (copied, pickled, other):
        for parameter in supernet.parameters():
            parameter.data.zero_()
        assert not supernet(x).any()
    assert torch.equal(one(x), expected)
    assert network.first.weight.any()


def test_candidates_get_every_argument():
    class Add(nn.Module):
        def forward(self, x, y, *, scale=1.0):
            return (x + y) * scale

    class First(nn.Module):
        def forward(self, x, y, *, scale=1.0):
            return x

    space = nasx.space_of(LayerChoice({"add": Add(), "first": First()}))
    assert space.names == ("choice",)
    supernet = space.supernet()
    set_logits(supernet, choice=[0.0, 0.0])
    x, y = torch.ones(2), torch.ones(2)
    assert supernet(x, y, scale=3.0).tolist() == [3.5, 3.5]
    with supernet.path(space.decode([0])):
        assert supernet(x, y=y, scale=3.0).tolist() == [6.0, 6.0]
    assert isinstance(supernet.extract(space.decode([1])), First)


def test_the_number_of_inputs_is_checked():
    supernet = nasx.space_of(InputChoice(2)).supernet()
    with pytest.raises(ValueError, match="inputs must be 2 tensors; got 3"):
        supernet([torch.ones(1)] * 3)
    assert torch.equal(ChosenInputs([1])([torch.zeros(1), torch.ones(1)]), torch.ones(1))


def test_architectures_of_other_spaces_are_refused():
    supernet = nasx.space_of(Network()).supernet()
    stranger = nasx.space_of(LayerChoice([nn.Identity()])).decode([0])
    for use in (supernet.choices_of, supernet.extract, supernet.skips):
        with pytest.raises(ValueError, match="architecture is of another space"):
            use(stranger)


def test_weights_and_architecture_parameters_are_apart():
    supernet = nasx.space_of(Network()).supernet()
    assert {id(p) for p in supernet.weight_parameters()} == {id(p) for p in supernet.network.parameters()}
    assert len(supernet.architecture_parameters()) == 3


# -- partial channels ------------------------------------------------------------------------------------------


def convolutions(channels=8, name=None):
    candidates = {"conv": lambda c: nn.Conv2d(c, c, 3, padding=1), "skip": lambda c: nn.Identity()}
    return LayerChoice(candidates, channels=channels, name=name)


def test_partial_channels_mix_a_part_and_let_the_rest_pass():
    network = nn.Sequential(nn.Conv2d(3, 8, 1), convolutions(), convolutions(name="last"))
    space = nasx.space_of(network)
    supernet = space.supernet(partial_channels=4)
    layer = supernet.network[1]
    assert isinstance(layer.mixed, PartialChannels)
    assert layer.chosen("conv").weight.shape == (2, 2, 3, 3)
    x = torch.randn(2, 3, 5, 5)
    set_logits(supernet, **{"1": [0.0, 1.0], "last": [0.5, 0.1]})
    h = supernet.network[0](x)
    for number, name in ((1, "1"), (2, "last")):
        weights = supernet.logits[name][0].softmax(0)
        part = weights[0] * supernet.network[number].chosen("conv")(h[:, :2]) + weights[1] * h[:, :2]
        h = F.channel_shuffle(torch.cat([part, h[:, 2:]], 1), 4)
    torch.testing.assert_close(supernet(x), h)
    supernet(x).square().mean().backward()
    assert all(parameter.grad.any() for parameter in supernet.parameters())
    with supernet.path(space.decode([1, 1])):
        torch.testing.assert_close(
            supernet(x), F.channel_shuffle(F.channel_shuffle(supernet.network[0](x), 4), 4)
        )
    with pytest.raises(ValueError, match="train the architecture anew"):
        supernet.extract(space.decode([0, 0]))
    assert space.decode([0, 0]).build()[1].weight.shape == (8, 8, 3, 3)
    # The module that was given is as it was.
    assert network[1].chosen("conv").weight.shape == (8, 8, 3, 3)


class Scaled(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)

    def forward(self, x, scale, *, shift=0.0):
        return scale * self.conv(x) + shift


class Called(nn.Module):
    def __init__(self, call):
        super().__init__()
        self.layer = LayerChoice({"a": Scaled, "b": Scaled}, channels=8, name="layer")
        self.call = call

    def forward(self, x):
        return self.call(self.layer, x)


def test_candidates_on_a_part_are_given_whatever_else_the_layer_is_given():
    space = nasx.space_of(Called(lambda layer, x: layer(x, 2.0, shift=1.0)))
    supernet = space.supernet(partial_channels=4)
    x = torch.randn(2, 8, 3, 3)
    with supernet.path(space.decode([1])):
        part = 2 * supernet.network.layer.chosen("b").conv(x[:, :2]) + 1
        torch.testing.assert_close(supernet(x), F.channel_shuffle(torch.cat([part, x[:, 2:]], 1), 4))
    supernet = nasx.space_of(Called(lambda layer, x: layer(x=x, scale=1.0))).supernet(partial_channels=4)
    with pytest.raises(TypeError, match=r"layer: .* the input must be the first argument.* x, scale by name"):
        supernet(x)


def test_choices_that_cannot_work_on_a_part_work_on_all_channels_with_a_warning():
    network = nn.Sequential(
        convolutions(), LayerChoice([nn.ReLU()], name="a"), LayerChoice([nn.ReLU()], name="b")
    )
    with pytest.warns(UserWarning, match=r"choices \['a', 'b'\] work on all channels") as caught:
        supernet = nasx.space_of(network).supernet(partial_channels=2)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert supernet(torch.ones(1, 8, 2, 2)).shape == (1, 8, 2, 2)


def test_choices_within_partial_ones_are_made_with_them():
    def deep(channels):
        return nn.Sequential(nn.Conv2d(channels, channels, 1), convolutions(channels))

    space = nasx.space_of(nn.Sequential(LayerChoice({"deep": deep, "skip": nn.Identity}, channels=6)))
    assert space.names == ("0", "0.deep.1")
    supernet = space.supernet(partial_channels=2)
    assert supernet.network[0].chosen("deep")[1].chosen("conv").in_channels == 3
    supernet(torch.randn(1, 6, 3, 3)).sum().backward()
    assert all(logits.grad.any() for logits in supernet.architecture_parameters())


def test_partial_channels_divide_the_channels():
    space = nasx.space_of(nn.Sequential(convolutions(6)))
    with pytest.raises(ValueError, match="must divide the channels of choice '0', 6; got 4"):
        space.supernet(partial_channels=4)
    for wrong in (0, True, 2.0):
        with pytest.raises(ValueError, match="partial_channels must be a positive integer"):
            space.supernet(partial_channels=wrong)


# -- a small transformer ---------------------------------------------------------------------------------------

WIDTH, CONTEXT = 32, 24


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        q, k, v = self.qkv(x).unflatten(-1, (3, 4, -1)).permute(2, 0, 3, 1, 4)
        return self.out(F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2))


class CausalConvolution(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(WIDTH, WIDTH, 3)

    def forward(self, x):
        return self.conv(F.pad(x.transpose(1, 2), (2, 0))).transpose(1, 2)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.mixer = LayerChoice(
            {"attention": Attention(), "convolution": CausalConvolution(), "identity": nn.Identity()}
        )
        self.mlp = nn.Sequential(nn.Linear(WIDTH, 2 * WIDTH), nn.GELU(), nn.Linear(2 * WIDTH, WIDTH))

    def forward(self, x):
        x = x + self.mixer(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Decoder(nn.Module):
    def __init__(self, tokens, layers=3):
        super().__init__()
        self.tokens, self.places = nn.Embedding(tokens, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.layers = nn.ModuleList(Layer() for _ in range(layers))
        self.head = nn.Linear(WIDTH, tokens)

    def forward(self, x):
        h = self.tokens(x) + self.places.weight[: x.shape[1]]
        for layer in self.layers:
            h = layer(h)
        return self.head(h)


def test_a_transformer_chooses_attention_convolution_or_nothing_in_each_layer():
    text = (pathlib.Path(__file__).parents[2] / "LICENSE").read_text()
    letters = sorted(set(text))
    data = torch.tensor([letters.index(letter) for letter in text])
    halves = data.split(-(-len(data) // 2))
    space = nasx.space_of(lambda: Decoder(len(letters)))
    assert space.names == tuple(f"layers.{i}.mixer" for i in range(3))
    assert space.size == 27
    supernet = space.supernet()
    begin = copy.deepcopy(supernet.state_dict())

    def loss(half):
        starts = torch.randint(len(half) - CONTEXT - 1, (16,))
        window = half[starts[:, None] + torch.arange(CONTEXT + 1)]
        return F.cross_entropy(supernet(window[:, :-1]).flatten(0, 1), window[:, 1:].flatten())

    weights = torch.optim.AdamW(supernet.weight_parameters(), lr=3e-3)
    logits = torch.optim.Adam(supernet.architecture_parameters(), lr=0.02, betas=(0.5, 0.999))
    losses = []
    for _ in range(60):
        for optimizer, half in ((logits, halves[1]), (weights, halves[0])):
            supernet.zero_grad()
            value = loss(half)
            value.backward()
            if optimizer is logits:
                assert all(p.grad.any() for p in supernet.architecture_parameters())
            optimizer.step()
        losses.append(float(value.detach()))
    assert sum(losses[-10:]) < 0.75 * sum(losses[:3]) / 3 * 10
    assert all(not torch.equal(begin[name], now) for name, now in supernet.state_dict().items())

    genotype = supernet.derive()
    strongest = [int(supernet.logits[name].argmax()) for name in space]
    assert genotype.tolist() == strongest
    supernet.eval()
    x = data[None, :CONTEXT]
    for row in (genotype, [0, 1, 2]):
        architecture = space.decode(row)
        network = supernet.extract(architecture)
        assert type(network) is Decoder
        assert not [m for m in network.modules() if type(m).__module__.startswith("nasx")]
        with supernet.path(architecture):
            torch.testing.assert_close(network(x), supernet(x), rtol=0, atol=1e-6)
        # Causal: the last letter changes nothing before it.
        other = x.clone()
        other[0, -1] = (x[0, -1] + 1) % len(letters)
        torch.testing.assert_close(network(other)[:, :-1], network(x)[:, :-1])
