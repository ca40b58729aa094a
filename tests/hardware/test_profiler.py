"""Measured latency."""

import json
import time

import pytest
import torch
from torch import nn

from nasx import Ordinal, Space, TaskSpec
from nasx.hardware import MeasuredLatency
from nasx.spaces import ConvNet

SPEC = TaskSpec((1, 8, 8), 10, "image_classification")


class Sleep(nn.Module):
    def __init__(self, milliseconds, log):
        super().__init__()
        self.milliseconds, self.log = milliseconds, log

    def forward(self, x):
        self.log.append((x.shape, torch.get_num_threads(), self.training, torch.is_inference_mode_enabled()))
        time.sleep(self.milliseconds / 1000)
        return x


class Sleepers(Space):
    def __init__(self):
        super().__init__({"milliseconds": Ordinal([1, 20])})
        self.log = []

    def build(self, architecture, spec):
        return Sleep(architecture["milliseconds"], self.log)


def test_milliseconds_are_milliseconds():
    space = Sleepers()
    short, long = MeasuredLatency(repeats=5).bind(space, SPEC)(space.enumerate())
    assert 1 <= short < 20 <= long < 200


def test_passes_are_made_as_set():
    space = Sleepers()
    MeasuredLatency(batch_size=6, threads=3, warmup=2, repeats=7).bind(space, SPEC)([[0]])
    assert space.log == [((6, 1, 8, 8), 3, False, True)] * 9


def test_slow_networks_end_early_but_not_before_three_timed_passes():
    space = Sleepers()
    MeasuredLatency(warmup=2, repeats=1000, max_seconds=0.01).bind(space, SPEC)([[1]])
    assert len(space.log) == 5


def test_a_much_larger_network_is_slower():
    space = ConvNet(depths=[1, 5], widths=[8, 64], kernel_sizes=[5], operations=["conv"], strides=[1])
    rows = space.enumerate()
    small, large = MeasuredLatency(batch_size=8).bind(space, SPEC)(rows[[0, -1]])
    assert 0 < 2 * small < large


def test_threads_are_restored_after_a_failure():
    class Fails(Sleepers):
        def build(self, architecture, spec):
            raise ArithmeticError

    before = torch.get_num_threads()
    with pytest.raises(Exception, match="latency_ms of"):
        MeasuredLatency(threads=before + 1).bind(Fails(), SPEC)([[0]])
    assert torch.get_num_threads() == before


def test_settings_are_json():
    latency = MeasuredLatency(batch_size=4, repeats=9)
    assert MeasuredLatency(**json.loads(json.dumps(latency.settings))).settings == latency.settings
    assert latency.settings["batch_size"] == 4


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"batch_size": 0}, "batch_size must be an integer of at least 1; got 0"),
        ({"threads": 1.0}, "threads must be an integer of at least 1; got 1.0"),
        ({"warmup": -1}, "warmup must be an integer of at least 0; got -1"),
        ({"repeats": 2}, "repeats must be an integer of at least 3; got 2"),
        ({"max_seconds": 0}, "max_seconds must be a number of more than 0; got 0"),
        ({"device": None}, "device must be a name such as 'cpu' or 'cuda'; got None"),
    ],
)
def test_bad_settings_are_named(setting, message):
    with pytest.raises(ValueError, match=message):
        MeasuredLatency(**setting)
