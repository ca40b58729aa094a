"""Log-rank aggregation against its twin."""

import numpy as np
import pytest
import torch
from reference import proxies as twin
from torch import nn

from nasx.proxies import aggregate, score


@pytest.mark.parametrize("n", [1, 2, 7, 30])
def test_it_equals_its_twin(n):
    generator = np.random.default_rng(n)
    columns = {"a": generator.normal(size=n), "b": generator.integers(3, size=n), "c": -np.arange(n)}
    columns["a"][: n // 3] = -np.inf
    found = aggregate(columns)
    np.testing.assert_allclose(found, twin.aggregate([list(c) for c in columns.values()]), rtol=1e-12)
    np.testing.assert_allclose(aggregate(columns, ["b"]), twin.aggregate([list(columns["b"])]), rtol=1e-12)


def test_being_last_costs_more_than_being_first_gives():
    middling = aggregate({"a": [1, 2, 3], "b": [3, 2, 1]})
    assert middling[1] == middling.max() > middling[0] == middling[2]
    assert aggregate({"a": [1, 2, 3], "b": [1, 2, 3]})[2] == 0


def test_it_takes_what_score_gives():
    torch.manual_seed(0)
    networks = [nn.Sequential(nn.Linear(4, w), nn.ReLU(), nn.Linear(w, 2)) for w in (9, 32, 80)]
    rows = [score(network, torch.randn(4, 4), ["naswot", "l2_norm"]) for network in networks]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    np.testing.assert_array_equal(aggregate(rows), aggregate(columns, ["naswot", "l2_norm"]))
    np.testing.assert_array_equal(aggregate(rows, ["params"]), aggregate(columns, ["params"]))
    assert aggregate(rows).argmax() == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (({},), "one network and one proxy at least"),
        (([],), "one network and one proxy at least"),
        (({"a": []},), "one network and one proxy at least"),
        (({"a": [1.0, np.nan]},), r"scores\['a'\] is NaN for network 1"),
        (({"a": [1.0, 2.0], "b": [1.0]},), r"scores\['b'\] must have one number for each of 2"),
        (({"a": [1.0, 2.0]}, ["b"]), "proxies: unknown score 'b'"),
        (([{"a": 1.0}, {"b": 1.0}],), r"scores\[1\]: unknown score 'a'"),
        (({"a": [[1.0]]},), r"scores\['a'\] must have one number for each"),
    ],
)
def test_bad_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        aggregate(*arguments)
