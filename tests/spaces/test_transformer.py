"""Transformers for text: space, networks and supernet."""

import json
import pickle

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import nasx
from nasx import Categorical, Ordinal, Space, TaskSpec
from nasx.hardware import FlopsTable, LatencyTable, MeasuredLatency, MemoryTable, ParamsTable
from nasx.nn import Attention, TimeConvolution, TransformerBranch, TransformerModule, transformer_block
from nasx.spaces import Transformer

SPEC = TaskSpec((12,), 20, "language_modelling")
HIDDEN = TaskSpec((12,), 20, "masked_language_modelling")
SPACES = {
    "all": Transformer(hidden=[16, 24], depths=[1, 3], heads=[1, 2], head_dim=4, mlp=[1, 2.5]),
    "shared keys": Transformer(
        hidden=[8, 16],
        depths=[2],
        kinds=["attention", "convolution"],
        heads=[2, 4],
        kv_heads=2,
        head_dim=4,
        mlp=[0, 2],
        tied=False,
        dropout=0.1,
    ),
    "one size": Transformer(hidden=[16], depths=[3], heads=[2], head_dim=8, mlp=[2]),
    "no mixing": Transformer(hidden=[16], depths=[1, 2], kinds=["identity"], mlp=[1, 2]),
    "no perceptrons": Transformer(hidden=[16], depths=[2], kinds=["attention"], heads=[1, 2], mlp=[0]),
    "encoder": Transformer(
        hidden=[8, 16], depths=[1, 2], heads=[2], head_dim=4, mlp=[2], kernel_size=3, causal=False
    ),
}


def spec_of(space):
    return SPEC if space.causal else HIDDEN


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture
def tokens():
    return torch.randint(20, (3, 12))


# -- the space -----------------------------------------------------------------------------------------------


def test_decisions_are_there_only_where_they_mean_something():
    space = SPACES["all"]
    assert space.decisions == {
        "hidden": Ordinal([16, 24]),
        "depth": Ordinal([1, 3]),
        "layer1.kind": Categorical(["attention", "convolution", "identity"]),
        "layer1.heads": Ordinal([1, 2], when={"layer1.kind": ["attention"]}),
        "layer1.mlp": Ordinal([1, 2.5]),
    } | {
        f"layer{i}.{name}": decision
        for i in (2, 3)
        for name, decision in (
            ("kind", Categorical(["attention", "convolution", "identity"], when={"depth": [3]})),
            ("heads", Ordinal([1, 2], when={"depth": [3], f"layer{i}.kind": ["attention"]})),
            ("mlp", Ordinal([1, 2.5], when={"depth": [3]})),
        )
    }
    assert space.size == 2 * (8 + 8**3)
    assert list(SPACES["one size"]) == ["layer1.kind", "layer2.kind", "layer3.kind"]
    assert list(SPACES["shared keys"])[:3] == ["hidden", "layer1.kind", "layer1.heads"]


@pytest.mark.parametrize("name", ["all", "shared keys", "no mixing"])
def test_no_two_architectures_are_one_network(name):
    space = SPACES[name]
    networks = {repr(space.blocks(space.decode(row), SPEC)) for row in space.enumerate()}
    assert len(networks) == space.size


def test_settings_rebuild_the_space_through_json():
    for space in (*SPACES.values(), Transformer()):
        again = Space.from_dict(json.loads(json.dumps(space.to_dict())))
        assert isinstance(again, Transformer)
        assert again == space
        assert again.settings == space.settings == pickle.loads(pickle.dumps(space)).settings
        architecture = space.decode(space.sample(1, seed=1)[0])
        assert nasx.Architecture.from_json(architecture.to_json()) == architecture
        assert space.can_build
        assert space.can_share
        assert space.has_blocks
    assert "Transformer" in nasx.spaces.available_spaces()
    assert Transformer().size == 3 * sum(15**depth for depth in (3, 4, 5, 6))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden": ()}, "hidden must be a non-empty list of integers"),
        ({"hidden": [16, 8]}, r"hidden must increase; got \[16, 8\]"),
        ({"depths": [0, 1]}, "each of depths must be an integer of at least 1; got 0"),
        ({"depths": [10**9]}, "depths must be at most 200; got 1000000000"),
        ({"kinds": []}, "kinds must be a non-empty list of attention, convolution, identity"),
        ({"kinds": "attention"}, "kinds must be a non-empty list"),
        ({"kinds": ["atention"]}, "kinds: unknown kind 'atention'; did you mean 'attention'"),
        ({"kinds": ["identity", "identity"]}, "kinds must be different"),
        ({"heads": [2.0]}, "each of heads must be an integer"),
        ({"head_dim": 0}, "head_dim must be an integer of at least 1; got 0"),
        ({"heads": [2, 3], "kv_heads": 2}, "kv_heads must divide all heads; 2 does not divide 3"),
        ({"mlp": []}, "mlp: "),
        ({"mlp": [-1, 2]}, "mlp must hold numbers of at least 0; got -1"),
        ({"mlp": [0, 2]}, "mlp=0 and the kind 'identity' make a layer that does nothing"),
        ({"hidden": [8], "mlp": [1, 1.1]}, "mlp: 1 and 1.1 times 8 are both 8"),
        ({"kernel_size": 4}, "kernel_size must be odd; got 4"),
        ({"kernel_size": 1}, "kernel_size must be an integer of at least 3; got 1"),
        ({"causal": 1}, "causal must be True or False; got 1"),
        ({"tied": "no"}, "tied must be True or False; got 'no'"),
        ({"dropout": 1.0}, "dropout must be a number of at least 0 and less than 1; got 1.0"),
        ({"hidden": [8], "depths": [1], "kinds": ["attention"], "heads": [1], "mlp": [1]}, "nothing is left"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        Transformer(**settings)


def test_tasks_that_fit_no_transformer_are_refused():
    decoder, encoder = SPACES["all"], SPACES["encoder"]
    images = TaskSpec((1, 8, 8), 10, "image_classification")
    for use in (decoder.supernet, decoder.decode(decoder.sample(1)[0]).build):
        with pytest.raises(ValueError, match=r"Transformer needs tokens: a spec with input_shape \(T,\)"):
            use(images)
        with pytest.raises(ValueError, match="Transformer needs tokens"):
            use(TaskSpec((8, 8), 10, "language_modelling"))
    with pytest.raises(ValueError, match="with causal=False each token sees the next one"):
        encoder.decode(encoder.sample(1)[0]).build(SPEC)
    with pytest.raises(ValueError, match="partial_channels must be 1 for Transformer"):
        decoder.supernet(SPEC, partial_channels=2)
    with pytest.raises(ValueError, match="unknown kind 'heads'"):
        transformer_block("heads")


# -- networks ------------------------------------------------------------------------------------------------


def test_attention_is_that_of_torch():
    theirs = nn.MultiheadAttention(8, 2, batch_first=True)
    mine = Attention(8, 2, 4)
    with torch.no_grad():
        for name, weight, bias in zip(
            ("query", "key", "value"), theirs.in_proj_weight.split(8), torch.randn(3, 8), strict=True
        ):
            getattr(mine, name).weight.copy_(weight)
            getattr(mine, name).bias.copy_(bias)
        theirs.in_proj_bias.copy_(torch.cat([getattr(mine, n).bias for n in ("query", "key", "value")]))
        mine.out.load_state_dict(theirs.out_proj.state_dict())
    x, mask = torch.randn(3, 5, 8), torch.ones(5, 5, dtype=torch.bool).triu(1)
    expected, _ = theirs(x, x, x, attn_mask=mask, need_weights=False)
    torch.testing.assert_close(mine(x), expected)


def test_heads_of_queries_share_keys_and_values_evenly_however_many_there_are():
    shared, x = Attention(8, 6, 2, kv_heads=2), torch.randn(3, 5, 8)
    # The same with keys and values of its own for each head.
    each = Attention(8, 6, 2)
    state = shared.state_dict()
    for name in ("key", "value"):
        weight, bias = state[f"{name}.weight"].split(2), state[f"{name}.bias"].split(2)
        state[f"{name}.weight"] = torch.cat([weight[head % 2] for head in range(6)])
        state[f"{name}.bias"] = torch.cat([bias[head % 2] for head in range(6)])
    each.load_state_dict(state)
    torch.testing.assert_close(shared(x), each(x))


@pytest.mark.parametrize(
    "make", [lambda **s: Attention(8, 2, 4, **s), lambda **s: TimeConvolution(8, 5, **s)]
)
def test_no_token_sees_those_after_it_unless_it_may(make):
    x = torch.randn(1, 9, 8)
    other = x.clone()
    other[0, 5] += 1
    for causal in (True, False):
        module = make(causal=causal)
        changed = (module(other) - module(x)).abs().amax((0, 2)) > 1e-6
        assert changed[5:7].all()
        assert changed[3:5].any() == (not causal)
        assert changed.any()


def test_a_convolution_sees_as_many_tokens_as_its_kernel():
    x = torch.zeros(1, 9, 4)
    other = x.clone()
    other[0, 4] = 1
    for causal, seen in ((True, range(4, 7)), (False, range(3, 6))):
        module = TimeConvolution(4, 3, causal=causal)
        changed = (module(other) - module(x)).abs().amax((0, 2)) > 1e-7
        assert changed.nonzero().flatten().tolist() == list(seen)


@pytest.mark.parametrize("name", SPACES)
def test_networks_see_what_they_may(name, tokens):
    space = SPACES[name]
    other = tokens.clone()
    other[:, 6] = (tokens[:, 6] + 1) % 20
    for row in space.sample(5, seed=2):
        network = space.decode(row).build(spec_of(space)).eval()
        assert type(network) is TransformerModule
        scores = network(tokens)
        assert scores.shape == (3, 12, 20)
        changed = (network(other) - scores).abs().amax((0, 2)) > 1e-7
        assert changed[6]
        if space.causal:
            assert not changed[:6].any()
        # Shorter texts than the longest.
        if space.causal:
            torch.testing.assert_close(network(tokens[:, :7]), scores[:, :7])


def test_order_matters_even_where_nothing_mixes_tokens():
    network = SPACES["no mixing"].decode([0, 0, -1]).build(SPEC)
    scores = network(torch.zeros(1, 12, dtype=torch.long))
    assert not torch.allclose(scores[0, 0], scores[0, 1])


def test_outputs_begin_close_to_uniform():
    space = Transformer(hidden=[128], depths=[2, 4], heads=[4])
    network = space.decode(space.sample(1)[0]).build(TaskSpec((16,), 50, "language_modelling"))
    scores = network(torch.randint(50, (4, 16)))
    loss = F.cross_entropy(scores.flatten(0, 1), torch.randint(50, (64,)))
    assert abs(loss.item() - np.log(50)) < 0.2


def test_tied_tokens_are_scored_by_their_embeddings():
    frame = {"tokens": 9, "context": 4, "hidden": 6}
    tied, apart = (TransformerModule(**frame, tied=tied) for tied in (True, False))
    sizes = [sum(p.numel() for p in network.parameters()) for network in (tied, apart)]
    assert sizes[0] == 9 * 6 + 4 * 6 + 2 * 6
    assert sizes[1] - sizes[0] == 9 * 6
    x = torch.tensor([[1, 2]])
    features = F.layer_norm(tied.tokens.weight[x] + tied.places.weight[:2], (6,))
    torch.testing.assert_close(tied(x), features @ tied.tokens.weight.T)


# -- costs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPACES)
def test_parameters_and_operations_are_counted_as_by_torch(name):
    space = SPACES[name]
    spec, rows = spec_of(space), space.sample(12, seed=2)
    parameters, flops = ParamsTable().bind(space, spec)(rows), FlopsTable().bind(space, spec)(rows)
    assert len(np.unique(flops)) > 1
    for row, count, work in zip(rows, parameters, flops, strict=True):
        with torch.device("meta"):
            network = space.decode(row).build(spec).eval()
        assert count == sum(p.numel() for p in network.parameters())
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(torch.zeros(1, 12, dtype=torch.long, device="meta"))
        assert work == counter.get_total_flops()


def test_blocks_are_what_networks_are_made_of():
    space = SPACES["shared keys"]
    architecture = space.decode(space.sample(1, seed=5)[0])
    network = architecture.build(SPEC).eval()
    x = torch.randint(20, (2, 12))
    seen = []
    parts = [part for layer in network.layers for part in layer]
    for part in (network, *parts):
        part.register_forward_pre_hook(lambda _, x: seen.append(tuple(x[0].shape[1:])))
    network(x)
    blocks = space.blocks(architecture, SPEC)
    assert [block.input_shape for block in blocks] == seen
    for block, part in zip(blocks[1:], parts, strict=True):
        built = space.build_block(block)
        assert [p.shape for p in built.parameters()] == [p.shape for p in part.parameters()]
    assert json.loads(json.dumps([block.to_dict() for block in blocks]))


def test_memory_and_latency_of_networks_of_tokens():
    space = SPACES["one size"]
    rows = space.encode([dict.fromkeys(space, "identity"), dict.fromkeys(space, "attention")])
    small, large = MemoryTable(batch_size=4).bind(space, SPEC)(rows)
    parameters = ParamsTable().bind(space, SPEC)(rows)
    assert small > 4 * parameters[0]
    assert large > 4 * parameters[1]
    assert (MeasuredLatency(repeats=5, warmup=1).bind(space, SPEC)(rows) > 0).all()


@pytest.mark.timing
def test_a_latency_table_is_measured():
    space = Transformer(hidden=[8], depths=[3], heads=[1], head_dim=8, mlp=[1])
    table = LatencyTable.measure(space, SPEC, networks=10, rounds=1, progress=False)
    assert (table(space.enumerate()) > 0).all()


# -- the supernet --------------------------------------------------------------------------------------------


def trained(space, steps=4):
    supernet = space.supernet(spec_of(space))
    optimizer = torch.optim.SGD(supernet.weight_parameters(), 0.1)
    for row in space.sample(steps, seed=3):
        with supernet.path(space.decode(row)):
            loss = F.cross_entropy(
                supernet(torch.randint(20, (4, 12))).flatten(0, 1), torch.randint(20, (48,))
            )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return supernet.eval()


@pytest.mark.parametrize("name", SPACES)
def test_extracted_networks_compute_what_their_paths_do(name, tokens):
    space = SPACES[name]
    supernet = trained(space)
    outputs, rows = set(), np.unique(space.sample(50, seed=1), axis=0)
    for row in rows:
        architecture = space.decode(row, spec=spec_of(space))
        with torch.no_grad(), supernet.path(architecture):
            expected = supernet(tokens)
        network, plain = supernet.extract(architecture), architecture.extract(supernet)
        assert type(network) is TransformerModule
        assert not [m for m in plain.modules() if type(m).__module__.startswith("nasx")]
        for one in (network, plain):
            torch.testing.assert_close(one(tokens), expected, rtol=0, atol=1e-5)
            assert not one.training
        built = architecture.build()
        assert {n: p.shape for n, p in network.named_parameters()} == {
            n: p.shape for n, p in built.named_parameters()
        }
        outputs.add(tuple(expected.flatten().tolist()))
        shared = {p.untyped_storage().data_ptr() for p in supernet.parameters()}
        assert not shared & {
            p.untyped_storage().data_ptr() for p in (*network.parameters(), *plain.parameters())
        }
    assert len(outputs) == len(rows)


def test_a_path_has_gradients_in_what_it_has_only():
    space = SPACES["all"]
    supernet = space.supernet(SPEC)
    chosen = {"hidden": 16, "depth": 1, "layer1.kind": "attention", "layer1.heads": 1, "layer1.mlp": 1}
    with supernet.path(space.decode(space.encode(chosen))):
        supernet(torch.randint(20, (2, 12))).square().sum().backward()
    layer, *others = (m for m in supernet.network.layers.children() if isinstance(m, nn.Sequential))
    attention, convolution, _ = layer.mixer.body.mixed.operations
    assert attention.query.weight.grad[:4, :16].any()
    assert not attention.query.weight.grad[4:].any()
    assert not attention.query.weight.grad[:, 16:].any()
    assert not layer.mlp.body[0].weight.grad[16:].any()
    assert not supernet.network.tokens.weight.grad[:, 16:].any()
    assert not layer.mixer.norm.weight.grad[16:].any()
    idle = [convolution, *others]
    assert len(idle) == 3
    assert all(p.grad is None for part in idle for p in part.parameters())


def test_what_a_path_leaves_out_costs_nothing(tokens):
    space = SPACES["shared keys"]
    supernet = space.supernet(SPEC)
    runs = []
    for branch in (m for m in supernet.modules() if isinstance(m, TransformerBranch)):
        branch.norm.register_forward_hook(lambda *_: runs.append(1))
    chosen = {"hidden": 8, "layer1.kind": "attention", "layer1.heads": 2, "layer1.mlp": 0}
    chosen |= {"layer2.kind": "convolution", "layer2.mlp": 2}
    with supernet.path(space.decode(space.encode(chosen))):
        supernet(tokens)
    assert len(runs) == 3


def test_numbers_have_no_mixture_but_kinds_do(tokens):
    with pytest.raises(ValueError, match=r"decision 'hidden' is an elastic size.*nasx\.SPOS"):
        SPACES["all"].supernet(SPEC)(tokens)
    space = SPACES["one size"]
    supernet = space.supernet(SPEC)
    supernet(tokens).square().sum().backward()
    assert all(p.grad.any() for p in supernet.architecture_parameters())
    assert all(p.grad is not None for p in supernet.weight_parameters())
    with torch.no_grad():
        supernet.logits["layer2.kind"][0, 2] = 1.0
        supernet.logits["layer3.kind"][0, 1] = 1.0
    assert supernet.derive()[1:].tolist() == [2, 1]
    assert supernet.skips(space.decode(supernet.derive())) == (1, 3)
    # The mixture is the sum: x + w0 attention + w1 convolution.
    branch = supernet.network.layers.get_submodule("0").mixer
    attention, convolution, _ = branch.body.mixed.operations
    x, weights = torch.randn(2, 5, 16), torch.tensor([0.2, 0.5, 0.3])
    branch.body.choice = weights
    expected = x + 0.2 * attention(branch.norm(x)) + 0.5 * convolution(branch.norm(x))
    torch.testing.assert_close(branch(x), expected)


@pytest.mark.parametrize("name", ["all", "shared keys", "encoder"])
def test_networks_are_saved_and_exported(name, tmp_path, tokens):
    space = SPACES[name]
    architecture = space.decode(space.sample(1, seed=4)[0])
    network = architecture.extract(trained(space))
    nasx.nn.save_network(network, tmp_path / "net")
    assert torch.equal(nasx.nn.load_network(tmp_path / "net")(tokens), network(tokens))
    nasx.nn.to_onnx(network, tmp_path / "net.onnx", tokens)
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx")
    for batch in (tokens, tokens[:1]):
        (scores,) = session.run(None, {"input": batch.numpy()})
        np.testing.assert_allclose(scores, network(batch).detach().numpy(), rtol=0, atol=1e-5)


def test_pictures(tmp_path):
    for name in ("all", "shared keys", "no mixing"):
        space = SPACES[name]
        architecture = space.decode(space.sample(1, seed=3)[0])
        figure = architecture.plot(tmp_path / "network.png")
        bars = [patch.get_height() for patch in figure.axes[0].patches]
        parts = [part for layer in space.layers(architecture) for part in layer]
        assert len(bars) == len(parts)
        assert (tmp_path / "network.png").stat().st_size > 1000
