"""Supernets of the spaces of cells: their paths, what is extracted from them, and what they derive."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from reference.darts import derived, edges_of
from torch import nn
from torch.nn import functional as F

from nasx import TaskSpec
from nasx.nn import DARTSModule, MixedOp, NASBench201Module, PartialChannels, Supernet
from nasx.nn.supernet import NamedParameters, copy_weights
from nasx.spaces import DARTS, ENASCell, ENASMacro, FBNet, NASBench201

SPEC = TaskSpec((1, 8, 8), 10, "image_classification")
SPACES = {
    "darts": DARTS(cells=3, channels=4, nodes=3),
    "nasbench201": NASBench201(cells=1, channels=4),
    "canonical": NASBench201(cells=1, channels=4, canonical=True),
}
NAMES = DARTS.all_operations
EDGES = edges_of(4)


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(params=SPACES)
def space(request):
    return SPACES[request.param]


def make(space, **options):
    torch.manual_seed(0)
    return space.supernet(SPEC, **options)


def trained(space, **options):
    """A supernet after some steps: its running statistics are those of no normal distribution."""
    supernet = make(space, **options)
    optimizer = torch.optim.SGD(supernet.parameters(), 0.1)
    for _ in range(4):
        images = 3 * torch.randn(16, 1, 8, 8) + 1
        optimizer.zero_grad()
        F.cross_entropy(supernet(images), torch.arange(16) % 10).backward()
        optimizer.step()
    return supernet


# -- parameters ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"partial_channels": 2, "edge_normalization": True}])
def test_weights_and_architecture_parameters_are_apart_and_all_there_is(space, options):
    supernet = make(space, **options)
    weights, logits = supernet.weight_parameters(), supernet.architecture_parameters()
    ids = [id(p) for p in (*weights, *logits)]
    assert len(set(ids)) == len(ids)
    assert set(ids) == {id(p) for p in supernet.parameters()}
    names = {id(p): name for name, p in supernet.named_parameters()}
    assert {names[id(p)].split(".")[0] for p in logits} == (
        {"logits", "edge_logits"} if options else {"logits"}
    )
    assert not any("logits" in names[id(p)] for p in weights)
    # They begin as good as equal.
    assert all(0 < p.abs().max() < 0.01 for p in logits)


def test_probabilities_are_softmaxes_over_operations_and_over_the_edges_into_a_node():
    supernet = make(SPACES["darts"], edge_normalization=True)
    for parameter in supernet.architecture_parameters():
        nn.init.normal_(parameter)
    supernet.temperature = 0.7
    nodes = [node for node, _ in supernet.edges]
    assert nodes == [2, 2, 3, 3, 3, 4, 4, 4, 4]
    for kind in ("normal", "reduce"):
        rows = supernet.logits[kind].detach().double().numpy() / 0.7
        expected = np.exp(rows) / np.exp(rows).sum(1, keepdims=True)
        found = supernet.probabilities()[kind].detach().numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-5)
        row = np.exp(supernet.edge_logits[kind].detach().double().numpy() / 0.7)
        into = {node: sum(row[e] for e in range(9) if nodes[e] == node) for node in nodes}
        shares = [row[e] / into[node] for e, node in enumerate(nodes)]
        edges = supernet.edge_probabilities()[kind].detach().numpy()
        np.testing.assert_allclose(edges, shares, rtol=1e-5)
        np.testing.assert_allclose(
            supernet.strengths()[kind], expected * np.array(shares)[:, None], rtol=1e-5
        )
    assert make(SPACES["darts"]).edge_probabilities() == {}


def test_edge_weights_scale_what_edges_bring(space):
    supernet = make(space, edge_normalization=True).eval()
    plain = make(space).eval()
    plain.load_state_dict({k: v for k, v in supernet.state_dict().items() if not k.startswith("edge_logits")})
    x = torch.randn(2, 1, 8, 8)
    assert not torch.allclose(supernet(x), plain(x))
    supernet(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in supernet.edge_logits.values())


def test_low_temperatures_leave_the_strongest_operation():
    supernet = make(SPACES["nasbench201"])
    nn.init.normal_(supernet.logits["cell"])
    (group,) = supernet.probabilities().values()
    supernet.temperature = 0.001
    (cold,) = supernet.probabilities().values()
    np.testing.assert_allclose(cold.detach(), F.one_hot(group.argmax(1), 5), atol=1e-6)


# -- paths and what is extracted -------------------------------------------------------------------------------


def test_extracted_networks_compute_what_their_paths_do(space):
    supernet = trained(space).eval()
    x = torch.randn(4, 1, 8, 8)
    norms = [m for m in supernet.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(m.running_mean.any() and not torch.allclose(m.running_var, torch.ones(1)) for m in norms[:4])
    outputs = []
    with torch.no_grad():
        for row in space.sample(50, seed=1):
            architecture = space.decode(row, spec=SPEC)
            with supernet.path(architecture):
                expected = supernet(x)
            network = supernet.extract(architecture)
            assert type(network) in (DARTSModule, NASBench201Module)
            assert not any(isinstance(m, Supernet | MixedOp | PartialChannels) for m in network.modules())
            assert not network.training
            torch.testing.assert_close(network(x), expected, rtol=1e-5, atol=1e-5)
            outputs.append(expected)
    assert len({tuple(output.flatten().tolist()) for output in outputs}) > 30


def test_extracted_networks_train_and_have_weights_of_their_own(space):
    supernet = trained(space)
    before = copy.deepcopy(supernet.state_dict())
    architecture = space.decode(space.sample(1, seed=5)[0])
    network = supernet.extract(architecture)
    assert network.training
    shared = {p.data_ptr() for p in (*supernet.parameters(), *supernet.buffers())}
    assert not shared & {p.data_ptr() for p in (*network.parameters(), *network.buffers())}
    network(torch.randn(4, 1, 8, 8)).square().sum().backward()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())


def test_a_path_runs_its_operations_only_and_ends(space):
    supernet = make(space)
    x = torch.randn(4, 1, 8, 8)
    whole = supernet.eval()(x)
    architecture = space.decode(space.sample(1, seed=6)[0])
    called = set()
    mixed = [m for m in supernet.modules() if isinstance(m, MixedOp)]
    for number, one in enumerate(mixed):
        for name, operation in zip(one.names, one.operations, strict=True):
            operation.register_forward_hook(lambda *_, at=(number, name): called.add(at))
    with supernet.path(architecture):
        supernet(x).sum().backward()
    per_cell = len(space.edges)
    choices = supernet.choices_of(architecture)
    kinds = getattr(supernet, "kinds", ["cell"] * (len(mixed) // per_cell))
    expected = {
        (cell * per_cell + edge, one.names[choice])
        for cell, kind in enumerate(kinds)
        for edge, choice in enumerate(choices[kind].choices)
        if choice is not None
        for one in [mixed[cell * per_cell + edge]]
    }
    assert called == expected
    assert all(p.grad is None for p in supernet.architecture_parameters())
    assert torch.equal(supernet(x), whole)
    with pytest.raises(RuntimeError, match="boom"), supernet.path(architecture):
        raise RuntimeError("boom")
    assert torch.equal(supernet(x), whole)
    other = space.decode(space.sample(2, seed=9)[1])
    with supernet.path(architecture):
        one = supernet(x)
        with supernet.path(other):
            assert not torch.equal(supernet(x), one)
        assert torch.equal(supernet(x), one)


def test_supernets_on_partial_channels_hold_no_whole_networks(space):
    supernet = trained(space, partial_channels=4, edge_normalization=True)
    x = torch.randn(4, 1, 8, 8)
    architecture = space.decode(space.sample(1, seed=5)[0])
    with pytest.raises(ValueError, match=r"partial channels holds no weights of whole networks.*retrain"):
        supernet.extract(architecture)
    with supernet.path(architecture):
        assert supernet(x).shape == (4, 10)
    assert any(isinstance(m, PartialChannels) for m in supernet.modules())
    with pytest.raises(
        ValueError,
        match="partial_channels must be a positive integer that divides the space's channels, 4; got 3",
    ):
        make(space, partial_channels=3)


def test_only_images_have_supernets(space):
    with pytest.raises(ValueError, match=r"needs images, input_shape \(C, H, W\)"):
        space.supernet(TaskSpec((64,), 10, "image_classification"))


def test_copies_are_equal_and_apart(space):
    supernet = trained(space, edge_normalization=True).eval()
    x = torch.randn(2, 1, 8, 8)
    expected = supernet(x)
    for other in (copy.deepcopy(supernet), pickle.loads(pickle.dumps(supernet))):
        assert torch.equal(other(x), expected)
        assert other.derive().tolist() == supernet.derive().tolist()
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.zero_()
        assert not other(x).any()
        assert len(other.architecture_parameters()) == len(supernet.architecture_parameters())
        assert {id(p) for p in other.architecture_parameters()} <= {id(p) for p in other.parameters()}
    assert torch.equal(supernet(x), expected)


def test_same_torch_seed_same_supernet(space):
    one, two = make(space), make(space)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


# -- what is derived -------------------------------------------------------------------------------------------


def genotypes(supernet):
    return supernet.space.to_genotype(supernet.space.decode(supernet.derive()))


def set_logits(supernet, **groups):
    with torch.no_grad():
        for name, rows in groups.items():
            supernet.logits[name].copy_(torch.as_tensor(rows))


def test_derived_cells_agree_with_the_twin_whatever_the_parameters():
    rng = np.random.default_rng(0)
    for normalized in (False, True):
        supernet = make(DARTS(cells=3, channels=4), edge_normalization=normalized)
        for _ in range(40):
            alphas = {kind: rng.normal(size=(14, 8)) for kind in ("normal", "reduce")}
            alphas["normal"][:, 0] += 3  # "none" is the strongest everywhere
            set_logits(supernet, **alphas)
            betas = dict.fromkeys(alphas)
            if normalized:
                betas = {kind: rng.normal(size=14) for kind in alphas}
                with torch.no_grad():
                    for kind, row in betas.items():
                        supernet.edge_logits[kind].copy_(torch.as_tensor(row))
            assert genotypes(supernet) == {
                kind: derived(rows, NAMES, 4, betas[kind]) for kind, rows in alphas.items()
            }


def test_none_weakens_its_edge_and_is_never_chosen():
    supernet = make(DARTS(cells=3, channels=4, nodes=2))
    rows = np.zeros((5, 8))
    at = {edge: i for i, edge in enumerate(supernet.edges)}
    sep, dil, skip = (NAMES.index(name) for name in ("sep_conv_3x3", "dil_conv_5x5", "skip_connect"))
    rows[at[2, 0], sep] = rows[at[2, 1], dil] = 1.0
    # By its own number the edge from 0 is the strongest; its softmax includes "none".
    rows[at[3, 0], sep] = 5.0
    rows[at[3, 0], NAMES.index("none")] = 9.0
    rows[at[3, 1], dil] = 1.0
    rows[at[3, 2], skip] = 2.0
    set_logits(supernet, normal=rows, reduce=rows)
    cell = [("sep_conv_3x3", 0), ("dil_conv_5x5", 1), ("dil_conv_5x5", 1), ("skip_connect", 2)]
    assert genotypes(supernet) == {"normal": cell, "reduce": cell}
    rows[:, 0] = 20.0  # everywhere: "none" is not taken, also where nothing else has weight
    set_logits(supernet, normal=rows, reduce=rows)
    assert "none" not in {name for pairs in genotypes(supernet).values() for name, _ in pairs}


def test_two_of_more_edges_are_kept_and_ties_go_to_the_first():
    supernet = make(DARTS(cells=3, channels=4))
    set_logits(supernet, normal=np.zeros((14, 8)), reduce=np.zeros((14, 8)))
    cell = [("max_pool_3x3", 0), ("max_pool_3x3", 1)] * 4
    assert genotypes(supernet) == {"normal": cell, "reduce": cell}
    rows = np.zeros((14, 8))
    for source, strength in ((0, 1.0), (3, 3.0), (4, 2.0)):
        rows[EDGES.index((5, source)), NAMES.index("sep_conv_5x5")] = strength
    set_logits(supernet, normal=rows)
    assert genotypes(supernet)["normal"][6:] == [("sep_conv_5x5", 3), ("sep_conv_5x5", 4)]
    assert genotypes(supernet)["reduce"] == cell


def test_pc_darts_derives_from_the_product():
    supernet = make(DARTS(cells=3, channels=4, nodes=2), partial_channels=2, edge_normalization=True)
    rows = np.zeros((5, 8))
    for edge, strength in (((3, 0), 2.0), ((3, 1), 1.5), ((3, 2), 1.0)):
        rows[supernet.edges.index(edge), NAMES.index("sep_conv_3x3")] = strength
    set_logits(supernet, normal=rows, reduce=rows)
    betas = torch.zeros(5)
    betas[supernet.edges.index((3, 0))] = -2.0
    with torch.no_grad():
        for kind in ("normal", "reduce"):
            supernet.edge_logits[kind].zero_()
        assert [source for _, source in genotypes(supernet)["normal"][2:]] == [0, 1]
        supernet.edge_logits["normal"].copy_(betas)
    assert [source for _, source in genotypes(supernet)["normal"][2:]] == [1, 2]
    assert [source for _, source in genotypes(supernet)["reduce"][2:]] == [0, 1]


def test_nasbench201_takes_the_strongest_of_every_edge_none_among_them():
    for canonical in (False, True):
        space = NASBench201(cells=1, channels=4, canonical=canonical)
        supernet = make(space)
        rows = np.zeros((6, 5))
        taken = [1, 0, 2, 3, 0, 4]
        rows[np.arange(6), taken] = 1.0
        set_logits(supernet, cell=rows)
        expected = space.canonicalize(np.array([taken], np.int32))[0]
        assert supernet.derive().tolist() == expected.tolist()
        assert canonical == (expected.tolist() != taken)
        assert dict(space.decode(supernet.derive()))  # one of the space


def test_edge_weights_do_not_change_what_nasbench201_takes():
    supernet = make(SPACES["nasbench201"], edge_normalization=True)
    nn.init.normal_(supernet.logits["cell"])
    before = supernet.derive().tolist()
    nn.init.normal_(supernet.edge_logits["cell"], std=3)
    assert supernet.derive().tolist() == before


def test_norms_of_nasbench201_cells_learn_no_scale():
    supernet = make(SPACES["nasbench201"])
    mixed = [m for m in supernet.modules() if isinstance(m, MixedOp)]
    inside = {m for one in mixed for m in one.modules() if isinstance(m, nn.BatchNorm2d)}
    assert len(inside) == 3 * 6 * 2  # cells, edges, convolutions
    assert all(m.affine == (m not in inside) for m in supernet.modules() if isinstance(m, nn.BatchNorm2d))


def test_skips_are_counted():
    darts, cells = SPACES["darts"], SPACES["nasbench201"]
    architecture = darts.decode(darts.sample(1, seed=0)[0])
    names = [name for name, _ in darts.to_genotype(architecture)["normal"]]
    assert make(darts).skips(architecture) == (names.count("skip_connect"), 6)
    assert make(cells).skips(cells.decode([1, 1, 0, 1, 2, 3])) == (3, 6)


# -- helpers ---------------------------------------------------------------------------------------------------


def test_named_parameters():
    values = {name: nn.Parameter(torch.full((1,), float(i))) for i, name in enumerate(("a.b", "keys", ""))}
    named = NamedParameters(values)
    assert list(named) == list(named.keys()) == list(values)
    assert len(named) == 3
    assert "a.b" in named
    assert "b" not in named
    assert all(named[name] is value for name, value in values.items())
    assert dict(named.items()) == values
    assert list(named.values()) == list(named.parameters())
    with pytest.raises(KeyError):
        named["b"]


def test_weights_are_copied_between_modules_of_one_shape_only():
    source, target = (nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2, affine=a)) for a in (False, True))
    nn.init.constant_(target[1].weight, 5.0)
    nn.init.constant_(target[1].bias, 5.0)
    copy_weights(source, target)
    assert torch.equal(target[0].weight, source[0].weight)
    assert target[0].weight is not source[0].weight
    assert target[1].weight.tolist() == [1, 1]
    assert target[1].bias.tolist() == [0, 0]
    with pytest.raises(RuntimeError, match=r"the modules differ: missing \['0.weight', '0.bias'\]"):
        copy_weights(nn.Sequential(nn.Identity(), nn.BatchNorm2d(2)), target)
    with pytest.raises(RuntimeError, match="unexpected"):
        copy_weights(target, nn.Sequential(nn.Identity(), nn.BatchNorm2d(2)))


@pytest.mark.parametrize("temperature", [1.0, 0.1])
def test_edges_are_weighed_in_pairs(temperature):
    torch.manual_seed(0)
    supernet = make(SPACES["darts"], edge_normalization=True)
    supernet.edges_kept, supernet.temperature = 2, temperature
    for rows in supernet.edge_logits.values():
        rows.data.normal_()
    for kind, rows in supernet.edge_probabilities().items():
        shares = rows.detach()
        logits, nodes = supernet.edge_logits[kind].detach().double(), np.array(supernet.nodes[kind])
        for node in set(nodes.tolist()):
            edges = np.flatnonzero(nodes == node).tolist()
            pairs = list(itertools.combinations(edges, 2))
            weights = torch.stack([torch.exp((logits[i] + logits[j]) / temperature) for i, j in pairs])
            weights /= weights.sum()
            for edge in edges:
                expected = sum(w for pair, w in zip(pairs, weights, strict=True) if edge in pair)
                assert float(shares[edge]) == pytest.approx(float(expected), abs=1e-5)
            assert float(shares[edges].sum()) == pytest.approx(2, abs=1e-5)
    supernet.temperature = 1e-3  # all but decided: the edges that are derived weigh one, the others nothing
    decided = {kind: shares.detach() for kind, shares in supernet.edge_probabilities().items()}
    for rows in decided.values():
        assert ((rows < 1e-3) | (rows > 0.999)).all()
    for alphas in supernet.logits.values():
        alphas.data.zero_()
    kept = supernet.choices_of(supernet.space.decode(supernet.derive()))
    for kind, rows in decided.items():
        assert [choice is not None for choice in kept[kind].choices] == (rows > 0.5).tolist()


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "space",
    [
        DARTS(cells=3, channels=4, nodes=2),
        NASBench201(cells=1, channels=4),
        ENASMacro(layers=3, channels=4),
        ENASCell(cells=3, channels=4, nodes=2),
        FBNet(width_multiplier=0.25),
    ],
    ids=lambda space: type(space).__name__,
)
def test_all_after_the_stem_is_in_channels_last_also_for_grey_images(space, channels):
    supernet = space.supernet(TaskSpec((channels, 32, 32), 10, "image_classification"))
    slow = []

    def look(module, inputs):
        if inputs[0].stride(1) != 1:
            slow.append(module)

    for name, module in supernet.named_modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d) and "stem" not in name:
            module.register_forward_pre_hook(look)
    supernet(torch.randn(2, channels, 32, 32))
    assert not slow
