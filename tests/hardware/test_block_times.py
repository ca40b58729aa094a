"""Latencies that are sums over blocks: tables that keep them, blocks that were never timed, files."""

import json
import pickle
import time

import numpy as np
import pytest
from torch import nn

import nasx
from nasx import Block, Boolean, Space, TaskSpec
from nasx.hardware import LatencyTable
from nasx.hardware.block_times import BlockTimes
from nasx.spaces import ConvNet, NASBench201

pytestmark = pytest.mark.timing

SPEC = TaskSpec((3, 32, 32), 10, "image_classification")


class Rest(nn.Module):
    """Takes a known time, holds on to no CPU, and so is measured well on a busy machine."""

    def __init__(self, milliseconds):
        super().__init__()
        self.milliseconds = milliseconds

    def forward(self, x):
        time.sleep(self.milliseconds / 1000)
        return x


class Shrinking(Space):
    """Four parts in a row, each of which may halve what is left to do for itself and all that follow."""

    def __init__(self):
        super().__init__({f"halve{i}": Boolean() for i in range(4)})

    def blocks(self, architecture, spec):
        found, milliseconds = [], 16.0
        for halve in architecture.values():
            milliseconds /= 2 if halve else 1
            found.append(Block("rest", spec.input_shape, (("milliseconds", milliseconds),)))
        return found

    def build_block(self, block):
        return Rest(**dict(block.settings))

    def build(self, architecture, spec):
        blocks = self.blocks(architecture, spec)
        return nn.Sequential(Rest(3), *(self.build_block(block) for block in blocks))


def true_times(space, spec=SPEC):
    rows = space.enumerate()
    blocks = [space.blocks(space.decode(row), spec) for row in rows]
    return rows, np.array([3 + sum(dict(b.settings)["milliseconds"] for b in each) for each in blocks])


def convolution_ms(block):
    """What a block would take on a machine that does nothing but multiply, and start each block."""
    settings = dict(block.settings)
    if block.kind == "Classifier":
        return 0.02
    pixels = np.prod(block.input_shape[1:]) / settings.get("stride", 1) ** 2
    work = settings["in_channels"] * settings["out_channels"] * settings.get("kernel_size", 3) ** 2
    share = {"conv": 1, "separable": 0.25, "bottleneck": 0.4}[settings.get("operation", "conv")]
    return 0.03 + 1e-7 * pixels * work * share


def conv_blocks(space, rows):
    return {block for row in rows for block in space.blocks(space.decode(row), SPEC)}


@pytest.fixture(scope="module")
def shrinking(tmp_path_factory):
    space = Shrinking()
    table = LatencyTable.measure(space, SPEC, networks=10, rounds=3)
    path = tmp_path_factory.mktemp("tables") / "table.npz"
    table.save(path)
    return space, table, path


def test_a_table_of_blocks_that_depend_on_those_before_keeps_them(shrinking):
    space, table, _ = shrinking
    rows, true = true_times(space)
    assert table.blocks is not None
    assert sorted(dict(block.settings)["milliseconds"] for block in table.blocks.times) == [1, 2, 4, 8, 16]
    assert np.median(np.abs(table(rows) - true) / true) < 0.15
    assert table.about["errors"]["rank_correlation"] > 0.9
    # A sum over decisions, even one fitted to the truth, misplaces them more. (A busy machine is late by about
    # the same in all of them, which is not what this is about.)
    additive = LatencyTable.fit(space, rows, true)
    assert additive.blocks is None
    assert np.std(table(rows) - true) < np.std(additive(rows) - true)
    assert "5 blocks" in repr(table)
    everything = table(rows)
    assert table.range() == (everything.min(), everything.max())
    np.testing.assert_array_equal(table.fastest(), rows[everything.argmin()])
    with pytest.raises(ValueError, match="is no sum over decisions"):
        table.expected([[0.5, 0.5]] * 4)
    assert LatencyTable.fit(space, rows, table(rows)).expected([[0.5, 0.5]] * 4) > 0


def test_blocks_that_add_up_over_decisions_are_not_kept():
    space = NASBench201(cells=1, channels=4)
    table = LatencyTable.measure(space, TaskSpec((3, 4, 4), 2, "image_classification"), networks=10, rounds=1)
    assert table.blocks is None
    assert "block_errors" not in table.about


def test_a_table_of_blocks_is_saved_and_copied(shrinking, tmp_path):
    space, table, path = shrinking
    rows = space.enumerate()
    for again in (LatencyTable.load(path, space=Shrinking()), pickle.loads(pickle.dumps(table))):
        assert again.settings == table.settings
        assert again.blocks.times == table.blocks.times
        assert json.loads(json.dumps(again.about)) == json.loads(json.dumps(table.about))
        np.testing.assert_array_equal(again(rows), table(rows))
    with pytest.raises(ValueError, match=r"cannot be read as a latency table: .*given as space="):
        LatencyTable.load(path)
    with pytest.raises(ValueError, match="the decisions differ"):
        LatencyTable.load(path, space=ConvNet())
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    header = json.loads(str(arrays["header"]))
    for changes in (
        {"block_ms": arrays["block_ms"][1:]},
        {"block_ms": np.full(len(arrays["block_ms"]), np.nan)},
        {"header": np.array(json.dumps({**header, "blocks": header["blocks"][1:]}))},
        {"header": np.array(json.dumps({**header, "blocks": [[]] * len(header["blocks"])}))},
        {"header": np.array(json.dumps({**header, "spec": {}}))},
    ):
        np.savez(tmp_path / "damaged.npz", **{**arrays, **changes})
        with pytest.raises(ValueError, match=r"damaged\.npz cannot be read as a latency table"):
            LatencyTable.load(tmp_path / "damaged.npz", space=space)


def test_a_search_takes_a_table_of_blocks(shrinking):
    space, table, _ = shrinking
    rows, _ = true_times(space)
    limit = float(np.quantile(table(rows), 0.4))
    result = nasx.search(
        space,
        lambda a: float(sum(a.values())),
        objectives={"loss": "minimize"},
        costs={"latency_ms": table},
        limits={"latency_ms": limit},
        strategy="random_search",
        evaluations=5,
        seed=0,
    )
    assert all(trial.metrics["latency_ms"] <= limit for trial in result.trials)


def test_blocks_that_were_never_timed_are_told_from_those_that_were():
    space = ConvNet()
    known = conv_blocks(space, space.sample(150, seed=0))
    times = BlockTimes(space, SPEC, {block: convolution_ms(block) for block in known})
    rows = space.sample(200, seed=1)
    new = conv_blocks(space, rows) - known
    assert len(new) > 100
    true = np.array([sum(convolution_ms(b) for b in space.blocks(space.decode(row), SPEC)) for row in rows])
    told = times(rows)
    assert np.median(np.abs(told - true) / true) < 0.1
    assert np.corrcoef(told.argsort().argsort(), true.argsort().argsort())[0, 1] > 0.98
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(times))(rows), told)
    errors = times.errors()
    assert errors == times.errors()
    assert errors["rank_correlation"] > 0.95
    # What was timed is told as it was.
    seen = [row for row in rows if conv_blocks(space, [row]) <= known]
    exact = [sum(times.times[b] for b in space.blocks(space.decode(row), SPEC)) for row in seen]
    np.testing.assert_array_equal(times(np.array(seen)), exact)


def test_odd_blocks_are_told_too():
    space = ConvNet(depths=[1], widths=[8, 16], strides=[1], residual=False)
    rows = space.enumerate()
    blocks = sorted(conv_blocks(space, rows), key=repr)
    for times in ({blocks[0]: 2.0}, dict.fromkeys(blocks[:9], 0.0), dict.fromkeys(blocks[1:], -1.0)):
        told = BlockTimes(space, SPEC, times)(rows)
        assert np.isfinite(told).all()
    np.testing.assert_allclose(BlockTimes(space, SPEC, {blocks[0]: 2.0})(rows), 6.0)
    assert BlockTimes(space, SPEC, {blocks[0]: 2.0}).errors() == {}
    # A size beyond all that were timed is told as the nearest, another operation as unlike all.
    far = ConvNet(depths=[1], widths=[8, 512], operations=["separable"], strides=[1], residual=False)
    small = ConvNet(depths=[1], widths=[8, 16], operations=["conv"], strides=[1], residual=False)
    known = conv_blocks(small, small.enumerate())
    times = BlockTimes(far, SPEC, {block: convolution_ms(block) for block in known})
    assert (times(far.enumerate()) > 0).all()
    for bad in ({}, {blocks[0]: np.inf}):
        with pytest.raises(ValueError, match="times must be finite, of at least one block"):
            BlockTimes(space, SPEC, bad)
