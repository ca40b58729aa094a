"""Tables measured on this machine: real networks, in a real process."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from torch import nn

import nasx
from nasx import Block, Categorical, Integer, Ordinal, Space, TaskSpec
from nasx.errors import EvaluationError
from nasx.hardware import LatencyTable, measure_latency
from nasx.hardware.measuring import _line
from nasx.hardware.timing import Repeated, TimingSettings, time_items
from nasx.population import unique
from nasx.spaces import ConvNet, NASBench201

pytestmark = pytest.mark.timing

SPEC = TaskSpec((4,), 2, "sleeping")


class Sleep(nn.Module):
    """Takes a known time, holds on to no CPU, and so is measured well on a busy machine."""

    def __init__(self, milliseconds):
        super().__init__()
        self.milliseconds = milliseconds

    def forward(self, x):
        if self.milliseconds < 0:
            raise ArithmeticError("time runs forwards")
        time.sleep(self.milliseconds / 1000)
        return x


class Sleepers(Space):
    """Two parts that sleep; whole networks sleep two milliseconds more."""

    def __init__(self, times=(0, 4, 8), second=None):
        self.times, self.second = list(times), list(second or times)
        super().__init__({"first": Ordinal(self.times), "second": Ordinal(self.second)})

    @property
    def settings(self):
        return {"times": self.times, "second": self.second}

    def build(self, architecture, spec):
        return nn.Sequential(Sleep(2), *(Sleep(architecture[name]) for name in self))


class SleepersInBlocks(Sleepers):
    def blocks(self, architecture, spec):
        return [Block("sleep", spec.input_shape, (("milliseconds", architecture[name]),)) for name in self]

    def build_block(self, block):
        return Sleep(**dict(block.settings))


class Alone(nn.Module):
    def forward(self, x):
        assert torch.get_num_threads() == 1
        assert not torch.is_grad_enabled()
        assert not self.training
        assert os.getpid() != int(os.environ["NASX_TEST_PARENT"])
        if hasattr(os, "sched_getaffinity"):
            assert len(os.sched_getaffinity(0)) == 1
        assert x.shape == (3, 4)
        return x


class Lonely(Space):
    def __init__(self):
        super().__init__({"x": Integer(0, 3)})

    def build(self, architecture, spec):
        return Alone()


def test_networks_run_alone_as_set(monkeypatch):
    monkeypatch.setenv("NASX_TEST_PARENT", str(os.getpid()))
    threads = torch.get_num_threads()
    assert measure_latency(Lonely(), SPEC, [[0]], batch_size=3, rounds=1) > 0
    assert torch.get_num_threads() == threads


def test_milliseconds_of_networks_and_of_what_blocks_add():
    space = SleepersInBlocks()
    block = Block("sleep", (4,), (("milliseconds", 4),))
    items = [(0, 1), (1, 2), Repeated(block, 1), Repeated(block, 3)]
    found = np.median(time_items(space, SPEC, items, TimingSettings(rounds=3)), axis=1)
    for milliseconds, wanted in zip(found, (6, 14, 4, 12), strict=True):
        assert wanted <= milliseconds * 1.05
        assert milliseconds < wanted * 1.5 + 1


@pytest.mark.parametrize("kind", [Sleepers, SleepersInBlocks], ids=["whole", "blocks"])
def test_a_measured_table_tells_networks_that_it_never_saw(kind):
    space = kind([0, 2, 4, 6], [0, 8, 16, 24])  # no two networks take the same time
    table = LatencyTable.measure(space, SPEC, networks=12, held_out=4, rounds=3)
    held_out = table.about["held_out"]
    rows, true = np.array(held_out["genotypes"]), np.array(held_out["measured_ms"])
    assert len(unique(rows).rows) == 4
    # Measured, not as asked for: on a busy machine each sleep is longer.
    asked = np.array([sum(space.decode(row)[name] for name in space) for row in rows])
    assert (true >= asked + 2).all()
    assert (true < 1.5 * asked + 4).all()
    np.testing.assert_allclose(held_out["told_ms"], table(rows))
    assert np.median(np.abs(table(rows) - true) / true) < 0.15
    assert held_out["errors"]["mean_absolute_ms"] == pytest.approx(np.abs(table(rows) - true).mean())
    assert held_out["repeated_errors"]["mean_absolute_ms"] < 5
    if space.has_blocks:
        assert (np.array(held_out["blocks_alone_ms"]) >= asked).all()
    else:
        assert held_out["blocks_alone_ms"] is None
    assert table.about["errors"]["rank_correlation"] > 0.9
    assert table.about["timings"] == 12
    versions = {name: version.split("+")[0] for name, version in table.about["versions"].items()}
    assert versions == {m.__name__: m.__version__.split("+")[0] for m in (nasx, np, torch)}
    assert len(table.about["blocks"]) == (7 if space.has_blocks else 0)
    for block in table.about["blocks"]:
        assert block["p10_ms"] <= block["median_ms"] <= block["p90_ms"]
    json.dumps(table.about)


def test_a_table_of_real_networks_is_saved_with_all_that_is_known(tmp_path):
    space = ConvNet(depths=[1, 2], widths=[8, 32], kernel_sizes=[3], operations=["conv"], residual=False)
    spec = TaskSpec((1, 16, 16), 10, "image_classification")
    table = LatencyTable.measure(space, spec, networks=10, rounds=2, about={"note": "a test"})
    table.save(tmp_path / "table.npz")
    again = LatencyTable.load(tmp_path / "table.npz", space=space)
    assert again.about == json.loads(json.dumps(table.about))
    assert again.about["note"] == "a test"
    assert {"device", "backend", "threads", "batch_size", "dtype", "versions", "seed", "errors"} <= set(
        again.about
    )
    assert again.range()[0] > 0 or again.range()[1] > 0


def test_onnx_runtime_runs_the_same_networks():
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    space = NASBench201(cells=1, channels=4)
    spec = TaskSpec((3, 8, 8), 10, "image_classification")
    rows = space.encode([dict.fromkeys(space, "nor_conv_3x3"), dict.fromkeys(space, "none")])
    block = next(block for block in space.blocks(space.decode(rows[0]), spec) if block.kind == "nor_conv_3x3")
    times = time_items(
        space,
        spec,
        [*map(tuple, rows.tolist()), Repeated(block, 4)],
        TimingSettings(backend="onnxruntime", rounds=2),
    )
    assert (np.median(times, axis=1)[:2] > 0).all()
    from nasx.hardware.onnx import session

    module = space.build_block(block).eval()
    batch = torch.randn(2, *block.input_shape)
    with torch.no_grad():
        np.testing.assert_allclose(session([module], batch, 1)()[0], module(batch).numpy(), atol=1e-5)


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_a_table_is_measured_by_each_backend_and_goes_on_where_it_stopped(tmp_path, backend):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    space, path = NASBench201(cells=1, channels=4), tmp_path / "timings"
    spec = TaskSpec((3, 8, 8), 10, "image_classification")
    settings = {"backend": backend, "networks": 10, "rounds": 2, "seed": 3, "resume": path}
    table = LatencyTable.measure(space, spec, **settings)
    assert table.about["backend"] == backend
    assert backend in table.about["versions"]
    assert table.range()[0] < table.range()[1]
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:2]) + lines[2][:10])  # killed while it wrote
    again = LatencyTable.measure(space, spec, **settings)
    assert path.read_text().startswith("".join(lines[:2]))
    before = path.read_bytes()
    last = LatencyTable.measure(space, spec, **settings)
    assert path.read_bytes() == before  # nothing was timed anew
    rows = space.sample(50, seed=0)
    np.testing.assert_array_equal(last(rows), again(rows))
    if sys.platform == "linux":
        assert {"fpu", "fp"} & set(table.about["cpu_flags"])


def test_timings_that_were_stopped_go_on(tmp_path):
    space, path = SleepersInBlocks(), tmp_path / "timings"
    settings = TimingSettings(rounds=3)
    items = [(0, 1), (1, 1), (2, 2)]
    whole = time_items(space, SPEC, items, settings, resume=path)
    lines = path.read_text().splitlines(keepends=True)
    assert len(lines) == 4
    path.write_text("".join(lines[:3]) + lines[3][:10])  # killed while it wrote
    again = time_items(space, SPEC, items, settings, resume=path)
    np.testing.assert_array_equal(again[:, :2], whole[:, :2])
    assert (again[:, 2] > 0).all()
    before = path.read_bytes()
    np.testing.assert_array_equal(time_items(space, SPEC, items, settings, resume=path), again)
    assert path.read_bytes() == before  # nothing was timed anew
    with pytest.raises(ValueError, match="holds timings with another items; it is left as it is"):
        time_items(space, SPEC, items[:2], settings, resume=path)
    with pytest.raises(ValueError, match="holds timings with another settings"):
        time_items(space, SPEC, items, TimingSettings(rounds=4), resume=path)
    assert path.read_bytes() == before
    path.write_bytes(b"my diary")
    with pytest.raises(ValueError, match="is no file of timings; it is left as it is"):
        time_items(space, SPEC, items, settings, resume=path)
    assert path.read_bytes() == b"my diary"


def test_what_cannot_be_timed_is_named():
    with pytest.raises(EvaluationError, match=r"cannot be timed: ArithmeticError: time runs forwards"):
        measure_latency(Sleepers((-1, 2)), SPEC, [[0, 1]], rounds=1)
    with pytest.raises(TypeError, match=r"Space has no build\(\); fit the table to timings"):
        LatencyTable.measure(Space({"x": Categorical("ab")}), SPEC)
    with pytest.raises(ValueError, match="networks must be an integer of at least 10; got 9"):
        LatencyTable.measure(Sleepers(), SPEC, networks=9)
    with pytest.raises(ValueError, match="space must have at least 10 architectures; it has 4"):
        LatencyTable.measure(Sleepers((1, 2)), SPEC)
    with pytest.raises(ValueError, match="at least 10 architectures beside held_out=7; it has 16"):
        LatencyTable.measure(Sleepers((0, 2, 4, 6)), SPEC, held_out=7)
    with pytest.raises(ValueError, match="held_out must be an integer of at least 0; got -1"):
        LatencyTable.measure(Sleepers(), SPEC, held_out=-1)


def test_a_script_that_is_its_own_child_is_told_what_to_do(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        "import nasx\n"
        "from nasx.hardware import measure_latency\n"
        "space = nasx.spaces.ConvNet(depths=[1], widths=[8])\n"
        "spec = nasx.TaskSpec((1, 8, 8), 10, 'image_classification')\n"
        "measure_latency(space, spec, space.sample(2), rounds=1)\n"
    )
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=120)
    assert ended.returncode == 1
    told = ended.stderr.splitlines()[-1]
    assert "ended before it was ready" in told
    assert "put the call under: if __name__ == '__main__'" in told


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"backend": "tensorflow"}, "unknown backend 'tensorflow'"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1; got 0"),
        ({"threads": 1.5}, r"threads must be an integer of at least 1; got 1\.5"),
        ({"rounds": True}, "rounds must be an integer of at least 1; got True"),
        ({"backend": "onnxruntime", "device": "cuda"}, "device must be 'cpu' with backend 'onnxruntime'"),
    ],
)
def test_bad_settings_are_named(setting, message):
    with pytest.raises(ValueError, match=message):
        measure_latency(Sleepers(), SPEC, [[0, 0]], **setting)


def test_a_line_through_points_in_spite_of_outliers():
    x = np.arange(20.0)
    y = 3 * x + 1
    y[::5] += 100
    assert _line(x, y) == pytest.approx((3, 1), abs=0.2)
    assert _line(np.ones(4), np.arange(4.0)) == (0, 1.5)
    assert _line(x, -x)[0] == 0
