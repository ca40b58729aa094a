"""Counted costs against the networks themselves; files of what was counted."""

import contextlib
import json
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from nasx import Categorical, Ordinal, Space, TaskSpec
from nasx.errors import EvaluationError
from nasx.hardware import (
    Connections,
    FlopsTable,
    MeasuredLatency,
    MemoryTable,
    Nodes,
    ParamsTable,
    available_costs,
    get_cost,
)
from nasx.hardware.costs import NetworkCost
from nasx.spaces import DARTS, ConvNet, ENASCell, ENASMacro, FBNet, NASBench201, ProxylessMobile, ShuffleNetV2

SPEC = TaskSpec((3, 12, 12), 5, "image_classification")


class Lines(Space):
    """Networks that count how often they are built."""

    built = 0

    def __init__(self):
        super().__init__({"width": Ordinal([2, 4]), "op": Categorical(["line", "values", "broken"])})

    def build(self, architecture, spec):
        type(self).built += 1
        if architecture["op"] == "broken":
            raise ArithmeticError("no such operation")
        width = architecture["width"]
        if architecture["op"] == "values":  # as networks with stochastic depth do
            width += int(torch.linspace(0, 1, 3).sum().item())
        frozen = nn.Linear(width, spec.num_outputs).requires_grad_(False)
        return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(spec.input_shape)), width), frozen)


@pytest.fixture
def lines():
    Lines.built = 0
    return Lines()


STAGES = {"channels": (8, 12), "repeats": (2, 2), "strides": (1, 2), "stem": 8, "head": 16}
MOBILE = [FBNet(**STAGES), ProxylessMobile(**STAGES, first=8)]
SHUFFLE = ShuffleNetV2(channels=(12, 20), repeats=(2, 1), stem=5, head=16, multipliers=(0.5, 1, 1.5))


@pytest.mark.parametrize(
    "space",
    [
        ConvNet(),
        NASBench201(cells=2, channels=4),
        DARTS(cells=3, channels=3, nodes=3),
        DARTS(cells=6, channels=4, nodes=2, auxiliary=True),
        ENASCell(cells=3, channels=2, nodes=2),
        ENASMacro(layers=4, channels=2),
        SHUFFLE,
        *MOBILE,
    ],
    ids=lambda s: type(s).__name__,
)
def test_parameters_and_flops_of_sixty_random_networks(space):
    rows = space.sample(60, seed=2)
    parameters, flops = ParamsTable().bind(space, SPEC)(rows), FlopsTable().bind(space, SPEC)(rows)
    assert parameters.dtype == flops.dtype == np.float64
    for row, count, work in zip(rows, parameters, flops, strict=True):
        with torch.device("meta"):
            network = space.decode(row).build(SPEC).eval()
        assert count == sum(p.numel() for p in network.parameters())
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            network(torch.empty(1, *SPEC.input_shape, device="meta"))
        assert work == counter.get_total_flops()


@pytest.mark.parametrize(
    "space",
    [
        ConvNet(),
        NASBench201(cells=1, channels=4),
        DARTS(cells=3, channels=4, nodes=2, auxiliary=True),
        ENASCell(cells=3, channels=2, nodes=2),
        ENASMacro(layers=3, channels=4),
        SHUFFLE,
        *MOBILE,
    ],
    ids=lambda s: type(s).__name__,
)
def test_blocks_run_and_each_is_counted_once(space, monkeypatch):
    built = []
    build = type(space).build_block
    monkeypatch.setattr(
        type(space), "build_block", lambda self, block: built.append(block) or build(self, block)
    )
    rows = space.sample(30, seed=3)
    ParamsTable().bind(space, SPEC)(rows)
    blocks = [block for row in rows for block in space.blocks(space.decode(row), SPEC)]
    assert len(built) == len(set(built)) == len(set(blocks)) < len(blocks)
    for block in set(blocks):
        with torch.device("meta"):
            build(space, block)(torch.empty(2, *block.input_shape))


@pytest.mark.parametrize("cost", [ParamsTable, FlopsTable])
@pytest.mark.parametrize("multipliers", [(0.5, 1, 1.5), None])
def test_where_blocks_depend_on_neighbouring_decisions_a_table_gives_the_same_numbers(
    cost, multipliers, monkeypatch
):
    space = ShuffleNetV2(channels=(12, 20), repeats=(2, 1), stem=5, head=16, multipliers=multipliers)
    rows = space.sample(200, seed=4)
    table = cost().bind(space, SPEC)
    one_by_one = NetworkCost._compute(table.bind(space, SPEC), rows[:30])
    assert table.vectorized
    assert table(rows[:10]).tolist() == one_by_one[:10].tolist()  # few: counted
    assert table._table is None
    assert table(rows)[:30].tolist() == one_by_one.tolist()
    # From now on nothing is counted, also in other processes and in copies.
    monkeypatch.setattr(ShuffleNetV2, "blocks", None)
    more = space.sample(5000, seed=5)
    expected = table(more)
    assert pickle.loads(pickle.dumps(table))(more).tolist() == expected.tolist()
    assert len(np.unique(expected)) > 20
    again = table.bind(space, TaskSpec((1, 8, 8), 10, "image_classification"))
    assert again._table is None
    assert not cost().bind(ConvNet(), SPEC).vectorized


def test_a_multiply_add_counts_as_two_and_frozen_parameters_not_at_all(lines):
    row = lines.encode([{"width": 4, "op": "line"}])
    assert FlopsTable().bind(lines, SPEC)(row) == 2 * (432 * 4 + 4 * 5)
    assert ParamsTable().bind(lines, SPEC)(row) == 432 * 4 + 4


def test_memory_is_the_weights_and_the_most_that_tensors_take_at_once(lines):
    # The batch, then the first layer's result; the second layer's is smaller and comes when the batch may
    # not go, because the caller of the network holds it.
    row = lines.encode([{"width": 4, "op": "line"}])
    weights = 4 * (432 * 4 + 4 + 4 * 5 + 5)
    for batch in (1, 10):
        assert MemoryTable(batch_size=batch).bind(lines, SPEC)(row) == weights + 4 * batch * (432 + 4 + 5)

    class Waves(Space):
        """Wide, narrow, wide: tensors of 8, 4 and 8 units that go as soon as they are used."""

        def __init__(self):
            super().__init__({"inplace": Ordinal([0, 1]), "held": Ordinal([0, 1])})

        def build(self, architecture, spec):
            class Wave(nn.Module):
                def forward(self, x):
                    wide = x.repeat(1, 8)
                    narrow = wide[:, :400] * 2  # 1 + 8 + 4
                    if not architecture["held"]:
                        del wide
                    narrow = narrow.relu_() if architecture["inplace"] else narrow.relu()  # + 4 on top
                    return narrow.repeat(1, 2)

            return Wave()

    space = Waves()
    peaks = MemoryTable().bind(space, TaskSpec((100,), 1, "waves"))
    found = {
        tuple(row): peak / 400 for row, peak in zip(space.enumerate(), peaks(space.enumerate()), strict=True)
    }
    assert found == {(0, 0): 13, (0, 1): 21, (1, 0): 13, (1, 1): 21}


def test_convolutions_copy_images_that_are_not_in_their_layout():
    class Layouts(Space):
        def __init__(self):
            super().__init__({"last": Ordinal([0, 1])})

        def build(self, architecture, spec):
            class Conv(nn.Conv2d):
                def forward(self, x):
                    return super().forward(
                        x.contiguous(memory_format=torch.channels_last) if architecture["last"] else x
                    )

            return Conv(4, 12, 3, padding=1, bias=False)

    space, spec = Layouts(), TaskSpec((4, 10, 10), 1, "images")
    weights, image, result = 4 * 12 * 4 * 9, 4 * 4 * 100, 4 * 12 * 100
    blocked = 4 * 8 * 100 + 4 * 16 * 100  # channels in blocks of eight
    assert MemoryTable().bind(space, spec)(space.enumerate()).tolist() == [
        weights + image + result + blocked,
        weights + 2 * image + result,
    ]
    assert MemoryTable(device="cuda").bind(space, spec)([[0]]) == weights + image + result
    with pytest.raises(ValueError, match="batch_size must be an integer of at least 1; got 0"):
        MemoryTable(batch_size=0)
    with pytest.raises(ValueError, match="device must be a name"):
        MemoryTable(device=0)


def test_networks_that_look_at_values_while_they_are_built(lines):
    row = lines.encode([{"width": 4, "op": "values"}])
    assert ParamsTable().bind(lines, SPEC)(row) == 432 * 5 + 5
    assert FlopsTable().bind(lines, SPEC)(row) == 2 * (432 * 5 + 5 * 5)


@pytest.mark.parametrize("name", ["parameters", "flops", "memory_bytes", "latency_ms"])
def test_each_architecture_is_built_once_and_torch_is_left_as_it_was(name, lines):
    cost = get_cost(name).bind(lines, SPEC)
    state, threads = torch.random.get_rng_state(), torch.get_num_threads()
    rows = lines.encode([{"width": w, "op": "line"} for w in (2, 4, 2)])
    before = rows.copy()
    first = cost(rows)
    np.testing.assert_array_equal(cost(rows), first)
    np.testing.assert_array_equal(rows, before)
    assert first[0] == first[2]
    assert Lines.built == 2
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.get_num_threads() == threads
    assert cost(rows[:0]).shape == (0,)


@pytest.mark.parametrize("name", ["parameters", "flops", "memory_bytes", "latency_ms"])
def test_what_cannot_be_built_is_named(name, lines):
    cost = get_cost(name).bind(lines, SPEC)
    message = rf"{name} of Architecture\({{'width': 2, 'op': 'broken'}}\) cannot be found: no such operation"
    with pytest.raises(EvaluationError, match=message):
        cost(lines.encode([{"width": 2, "op": "broken"}]))


def test_binding(lines):
    cost = ParamsTable()
    with pytest.raises(
        RuntimeError, match=r"ParamsTable is bound to no space: call bind\(space, spec\) first"
    ):
        cost([[0, 0]])
    bound = cost.bind(lines, SPEC)
    with pytest.raises(RuntimeError):
        cost([[0, 0]])
    with pytest.raises(ValueError, match=r"genotypes must have shape \(n, 2\)"):
        bound([[0]])
    other = bound.bind(lines, TaskSpec((1,), 5, "image_classification"))
    assert bound([[0, 0]]) != other([[0, 0]])
    plain = Space({"op": Categorical(["conv"])})
    with pytest.raises(
        TypeError, match=r"ParamsTable is found by building networks, and Space has no build\(\)"
    ):
        ParamsTable().bind(plain, SPEC)


def test_registry():
    assert dict(available_costs()) == {
        "parameters": ParamsTable,
        "flops": FlopsTable,
        "memory_bytes": MemoryTable,
        "latency_ms": MeasuredLatency,
        "nodes": Nodes,
        "connections": Connections,
    }
    for name, cls in available_costs().items():
        cost = get_cost(name)
        assert type(cost) is cls
        assert cost.name == name
        assert cost.unit
        assert cost.deterministic == (name != "latency_ms")
        assert repr(cls(**cost.settings)) == repr(cost)
    with pytest.raises(ValueError, match=r"unknown cost 'latency'; did you mean 'latency_ms'\?"):
        get_cost("latency")


def test_a_network_cost_needs_to_know_what_networks_are_for():
    with pytest.raises(ValueError, match="ParamsTable needs a TaskSpec"):
        ParamsTable().bind(ConvNet(), None)


# -- files ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def counted():
    space = NASBench201(cells=1, channels=4)
    return space, space.sample(12, seed=4)


@pytest.mark.parametrize("cost", [FlopsTable(), ParamsTable(), MemoryTable(batch_size=3)], ids=repr)
def test_a_saved_table_knows_what_was_counted(tmp_path, monkeypatch, counted, cost):
    space, rows = counted
    path = tmp_path / "table.npz"
    bound = cost.bind(space, SPEC)
    values = bound(rows)
    bound.save(path)
    assert [file.name for file in tmp_path.iterdir()] == ["table.npz"]
    for loaded in (type(cost).load(path), type(cost).load(path, space=NASBench201(cells=1, channels=4))):
        assert loaded.settings == cost.settings
        again = loaded.bind(space, SPEC)
        with monkeypatch.context() as patch:
            patch.setattr(type(cost), "_measure", None)  # nothing is counted anew
            np.testing.assert_array_equal(again(rows), values)
            np.testing.assert_array_equal(pickle.loads(pickle.dumps(again))(rows), values)
        others = space.sample(5, seed=9)
        np.testing.assert_array_equal(again(others), bound(others))
    again.save(path)
    assert len(type(cost).load(path).bind(space, SPEC)._known) == len(
        np.unique(np.vstack([rows, others]), axis=0)
    )


def test_blocks_that_are_known_are_not_built_again(tmp_path, monkeypatch):
    space = ConvNet(depths=[1, 2], widths=[8, 16])
    rows = space.sample(400, seed=1)
    bound = FlopsTable().bind(space, SPEC)
    values = bound(rows)
    bound.save(tmp_path / "flops.npz")
    again = FlopsTable.load(tmp_path / "flops.npz").bind(space, SPEC)
    again._known.clear()
    monkeypatch.setattr(ConvNet, "build_block", None)
    np.testing.assert_array_equal(again(rows), values)


def test_an_empty_table_is_saved_too(tmp_path, counted):
    FlopsTable().bind(counted[0], SPEC).save(tmp_path / "empty.npz")
    assert FlopsTable.load(tmp_path / "empty.npz").bind(counted[0], SPEC)._known == {}
    with pytest.raises(RuntimeError, match=r"FlopsTable has counted nothing: call bind"):
        FlopsTable().save(tmp_path / "unbound.npz")


def test_tables_of_other_spaces_specs_and_costs_are_refused(tmp_path, counted, lines):
    space, rows = counted
    path = tmp_path / "table.npz"
    bound = ParamsTable().bind(space, SPEC)
    bound(rows)
    bound.save(path)
    for other, message in (
        (ConvNet(), r"table\.npz is a table of .*NASBench201\(.*not of ConvNet\(.*the decisions differ"),
        (NASBench201(cells=2, channels=4), r"NASBench201 with .*'cells': 1.*: the settings differ"),
    ):
        with pytest.raises(ValueError, match=message.replace("a table of", "a table of parameters of")):
            ParamsTable.load(path, space=other)
        with pytest.raises(ValueError, match=message):
            ParamsTable.load(path).bind(other, SPEC)
    with pytest.raises(ValueError, match=r"table\.npz is a table for .*12.*, not for .*9"):
        ParamsTable.load(path).bind(space, TaskSpec((3, 9, 9), 5, "image_classification"))
    with pytest.raises(ValueError, match="cannot be read as a table of flops: it is a table of parameters"):
        FlopsTable.load(path)
    with pytest.raises(FileNotFoundError):
        FlopsTable.load(tmp_path / "none.npz")
    # A space of one's own is given, or bound.
    own = FlopsTable().bind(lines, SPEC)
    value = own(lines.encode([{"width": 4, "op": "line"}]))
    own.save(path)
    again = FlopsTable.load(path, space=lines).bind(lines, SPEC)
    assert again(lines.encode([{"width": 4, "op": "line"}])) == value


class _Malicious:
    def __reduce__(self):
        return (open, ("it-ran", "w"))


def test_foreign_and_damaged_tables_are_refused(tmp_path, monkeypatch, counted):
    monkeypatch.chdir(tmp_path)
    space, rows = counted
    path = tmp_path / "table.npz"
    bound = FlopsTable().bind(space, SPEC)
    bound(rows)
    bound.save(path)
    good = path.read_bytes()
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    header = json.loads(str(arrays["header"]))

    def changed(**changes):
        np.savez(tmp_path / "changed.npz", **{**arrays, **changes})
        return (tmp_path / "changed.npz").read_bytes()

    def text(**changes):
        return np.array(json.dumps({**header, **changes}))

    damaged = [b"", b"hello", good[: len(good) // 2], good[:-10], pickle.dumps(_Malicious())]
    damaged += [
        changed(header=np.array([_Malicious()], dtype=object)),
        changed(header=np.array("{")),
        changed(header=text(format="nasx latency table 1")),
        changed(header=text(blocks=header["blocks"][1:])),
        changed(header=text(blocks=[{"kind": "x"}] * len(header["blocks"]))),
        changed(header=text(blocks=[{**block, "input_shape": ["a"]} for block in header["blocks"]])),
        changed(header=text(blocks=[{**block, "settings": [["a", {}]]} for block in header["blocks"]])),
        changed(header=text(settings={"batch_size": 2})),
        changed(header=text(spec=None)),
        changed(genotypes=arrays["genotypes"] + 100),
        changed(genotypes=arrays["genotypes"][1:]),
        changed(values=-arrays["values"]),
        changed(values=np.full(len(rows), np.nan)),
        changed(values=arrays["values"].astype(str)),
        changed(block_values=arrays["block_values"][1:]),
    ]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"table\.npz cannot be read as a table of flops"):
            FlopsTable.load(path)
    rng = np.random.default_rng(0)
    for _ in range(100):  # flipped bits are noticed, or nothing reads them
        flipped = bytearray(good)
        flipped[rng.integers(len(good))] ^= 1 << rng.integers(8)
        path.write_bytes(bytes(flipped))
        with contextlib.suppress(ValueError):
            FlopsTable.load(path)
    assert not (tmp_path / "it-ran").exists()
