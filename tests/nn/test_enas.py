"""The supernets of ENAS: one path at a time, and mixtures."""

import copy
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nasx import TaskSpec
from nasx.nn import ENASCellModule, ENASMacroModule, MixedOp, PartialChannels, Supernet
from nasx.nn.enas_cell import JoinEnds
from nasx.spaces import ENASCell, ENASMacro

SPEC = TaskSpec((1, 8, 8), 10, "image_classification")
SPACES = {"cell": ENASCell(cells=3, channels=4, nodes=3), "macro": ENASMacro(layers=5, channels=4)}


@pytest.fixture(params=SPACES)
def space(request):
    return SPACES[request.param]


def make(space, **options):
    torch.manual_seed(0)
    return space.supernet(SPEC, **options)


def trained(space, **options):
    """A supernet after some steps of random paths: its running statistics are those of no normal distribution."""
    supernet = make(space, **options)
    optimizer = torch.optim.SGD(supernet.weight_parameters(), 0.1)
    for row in space.sample(6, seed=9):
        images = 3 * torch.randn(16, 1, 8, 8) + 1
        optimizer.zero_grad()
        with supernet.path(space.decode(row)):
            F.cross_entropy(supernet(images), torch.arange(16) % 10).backward()
        optimizer.step()
    return supernet


def test_extracted_networks_compute_what_their_paths_do(space):
    supernet = trained(space).eval()
    x = torch.randn(4, 1, 8, 8)
    outputs = []
    with torch.no_grad():
        for row in space.sample(50, seed=1):
            architecture = space.decode(row, spec=SPEC)
            with supernet.path(architecture):
                expected = supernet(x)
            network = supernet.extract(architecture)
            assert type(network) in (ENASCellModule, ENASMacroModule)
            assert not any(isinstance(m, Supernet | MixedOp | JoinEnds) for m in network.modules())
            assert not network.training
            torch.testing.assert_close(network(x), expected, rtol=1e-5, atol=1e-5)
            outputs.append(expected)
    assert len({tuple(output.flatten().tolist()) for output in outputs}) > 45


def test_extracted_networks_learn_as_their_paths_do_with_weights_of_their_own(space):
    supernet = trained(space)
    architecture = space.decode(space.sample(1, seed=5)[0])
    network = supernet.extract(architecture)
    assert network.training
    shared = {p.data_ptr() for p in (*supernet.parameters(), *supernet.buffers())}
    assert not shared & {p.data_ptr() for p in (*network.parameters(), *network.buffers())}
    x = torch.randn(4, 1, 8, 8)
    network(x).square().sum().backward()
    supernet.zero_grad()
    with supernet.path(architecture):
        supernet(x).square().sum().backward()
    for mine, theirs in ((supernet.classifier, network.classifier), (supernet.stem[0], network.stem[0])):
        torch.testing.assert_close(mine.weight.grad, theirs.weight.grad, rtol=1e-3, atol=1e-4)


def test_a_path_runs_and_trains_nothing_else(space):
    supernet = make(space)
    x = torch.randn(4, 1, 8, 8)
    architecture = space.decode(space.sample(1, seed=6)[0])
    run = []
    for module in supernet.modules():
        if not list(module.children()):
            module.register_forward_hook(lambda module, *_: run.append(module))
    with supernet.path(architecture):
        supernet(x).sum().backward()
    network = supernet.extract(architecture)
    leaves = [m for m in network.modules() if not list(m.children()) and type(m).__name__ != "DropPath"]
    # All leaf modules of the network, but for the convolutions of sliced weights and the ReLUs before them.
    sliced = 2 * len(network.cells) if isinstance(network, ENASCellModule) else 0
    # One module that runs twice, the identity, is no leaf of its own in a network.
    assert len(run) == len(leaves) - sliced
    used = sum(p.numel() for p in supernet.weight_parameters() if p.grad is not None)
    joins = sum(m.weight.numel() for m in supernet.modules() if isinstance(m, JoinEnds))
    kernels = sum(cell.join[1].weight.numel() for cell in getattr(network, "cells", []))
    assert used - joins == sum(p.numel() for p in network.parameters()) - kernels
    assert used < sum(p.numel() for p in supernet.weight_parameters()) / 2
    assert all(p.grad is None for p in supernet.architecture_parameters())


def test_loose_ends_have_slices_of_one_weight():
    join = JoinEnds(5, 4).eval()
    values = [torch.randn(2, 4, 3, 3) for _ in range(5)]
    for ends in ([4], [1, 3, 4], [0, 1, 2, 3, 4]):
        plain = nn.Conv2d(4 * len(ends), 4, 1, bias=False)
        with torch.no_grad():
            plain.weight.copy_(join.kernel(ends))
        taken = [values[end] for end in ends]
        torch.testing.assert_close(join(taken, ends), join.norm(plain(F.relu(torch.cat(taken, 1)))))
        by_parts = sum(F.conv2d(F.relu(values[end]), join.kernel([end])) for end in ends)
        torch.testing.assert_close(join(taken, ends), join.norm(by_parts))
    join.zero_grad()
    join([values[1], values[4]], [1, 4]).square().sum().backward()
    assert [bool(part.any()) for part in join.weight.grad] == [False, True, False, False, True]


def test_both_places_of_a_node_have_weights_of_their_own():
    space = ENASCell(cells=3, channels=4, nodes=1)
    twice = space.decode([0] * 8)  # the same convolution of the same input, two times
    supernet = make(space).eval()
    network = supernet.extract(twice)
    one, two = network.cells[0].operations
    assert not torch.equal(one[0][1].weight, two[0][1].weight)


def test_mixtures_learn_by_gradients_and_weigh_everything(space):
    supernet = make(space, edge_normalization=True)
    x = torch.randn(8, 1, 8, 8)
    F.cross_entropy(supernet(x), torch.arange(8)).backward()
    assert all(p.grad is not None and p.grad.any() for p in supernet.architecture_parameters())
    assert all(p.grad is not None for p in supernet.weight_parameters())
    whole = supernet.eval()(x)
    with supernet.path(space.decode(space.sample(1)[0])):
        assert not torch.allclose(supernet(x), whole)
    assert torch.equal(supernet(x), whole)


def test_a_sure_mixture_is_its_path():
    """Where the softmax leaves one operation, and skips are certain, the mixture of layers is the path."""
    space = SPACES["macro"]
    supernet = trained(space).eval()
    x = torch.randn(2, 1, 8, 8)
    for row in space.sample(5, seed=3):
        architecture = space.decode(row)
        choices = supernet.choices_of(architecture)
        with torch.no_grad():
            for name, rows in supernet.logits.items():
                rows.copy_(200.0 * F.one_hot(torch.tensor(choices[name].choices), rows.shape[1]))
        assert supernet.derive().tolist() == row.tolist()
        with supernet.path(architecture):
            expected = supernet(x)
        torch.testing.assert_close(supernet(x), expected, rtol=1e-5, atol=1e-5)


def test_cells_are_derived_from_the_strongest_edge_of_each_place():
    space = SPACES["cell"]
    supernet = make(space)
    for row in space.sample(5, seed=3):
        architecture = space.decode(row)
        with torch.no_grad():
            for kind in ("normal", "reduce"):
                supernet.logits[kind].zero_()
                for edge, choice in enumerate(supernet.choices_of(architecture)[kind].choices):
                    if choice is not None:
                        supernet.logits[kind][edge, choice] = 3.0
        assert supernet.derive().tolist() == row.tolist()


def test_supernets_on_partial_channels_hold_no_whole_networks(space):
    supernet = trained(space, partial_channels=2)
    architecture = space.decode(space.sample(1, seed=5)[0])
    with pytest.raises(ValueError, match="partial channels holds no weights of whole networks"):
        supernet.extract(architecture)
    with supernet.path(architecture):
        assert supernet(torch.randn(4, 1, 8, 8)).shape == (4, 10)
    assert any(isinstance(m, PartialChannels) for m in supernet.modules())
    with pytest.raises(ValueError, match="partial_channels must be a positive integer that divides"):
        make(space, partial_channels=3)


def test_only_images_have_supernets(space):
    with pytest.raises(ValueError, match=r"needs images, input_shape \(C, H, W\)"):
        space.supernet(TaskSpec((64,), 10, "image_classification"))


def test_copies_are_equal_and_apart(space):
    supernet = trained(space).eval()
    x = torch.randn(2, 1, 8, 8)
    expected = supernet(x)
    for other in (copy.deepcopy(supernet), pickle.loads(pickle.dumps(supernet))):
        assert torch.equal(other(x), expected)
        with torch.no_grad():
            for parameter in other.parameters():
                parameter.zero_()
        assert not other(x).any()
    assert torch.equal(supernet(x), expected)


def test_skips_and_columns():
    cell, macro = SPACES["cell"], SPACES["macro"]
    architecture = cell.decode(cell.sample(1, seed=0)[0])
    names = [name for _, _, name in cell.cell(architecture, "normal")]
    assert make(cell).skips(architecture) == (names.count("skip_connect"), 6)
    assert make(macro).skips(macro.decode(macro.sample(1)[0])) == (0, 5)
    for space in (cell, macro):
        supernet = make(space)
        for name, rows in supernet.logits.items():
            assert rows.shape[1] == len(supernet.columns[name])
        strengths = supernet.strengths()
        assert all(np.allclose(rows.sum(1), 1) for rows in strengths.values())
