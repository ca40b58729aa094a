"""Rank correlations between shared weights and tables."""

import itertools
import math

import numpy as np
import pytest
import torch
from strategies.test_spos import MODULES, Digits

import nasx
from nasx.evaluation import rank_correlation
from nasx.statistics import kendall_tau, spearman_rho
from nasx.tasks import SharedWeights, TabularBenchmark


def slow_tau(x, y):
    """Pair by pair."""
    same = opposite = tied_x = tied_y = 0
    for i, j in itertools.combinations(range(len(x)), 2):
        tied_x += x[i] == x[j]
        tied_y += y[i] == y[j]
        product = (x[i] - x[j]) * (y[i] - y[j])
        same += product > 0
        opposite += product < 0
    pairs = len(x) * (len(x) - 1) / 2
    return (same - opposite) / math.sqrt((pairs - tied_x) * (pairs - tied_y))


@pytest.mark.parametrize("choices", [3, 10, 10**6])
def test_correlations_are_those_by_definition_with_ties(choices):
    random = np.random.default_rng(0)
    stats = pytest.importorskip("scipy.stats")
    for n in (2, 3, 30, 101):
        x = random.integers(choices, size=n).astype(float)
        y = x + random.integers(choices, size=n)
        if len(set(x)) < 2 or len(set(y)) < 2:
            continue
        assert kendall_tau(x, y) == pytest.approx(slow_tau(x, y), abs=1e-12)
        assert kendall_tau(x, y) == pytest.approx(stats.kendalltau(x, y).statistic, abs=1e-12)
        assert spearman_rho(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)


def test_constants_have_no_ranking_and_nonsense_is_refused():
    assert math.isnan(kendall_tau([1, 1, 1], [1, 2, 3]))
    assert math.isnan(spearman_rho([1, 2, 3], [1, 1, 1]))
    assert math.isnan(spearman_rho([], []))
    for function in (kendall_tau, spearman_rho):
        with pytest.raises(ValueError, match=r"must have one shape, \(n,\); got \(2,\) and \(3,\)"):
            function([1, 2], [1, 2, 3])
        with pytest.raises(ValueError, match="finite"):
            function([1, math.nan], [1, 2])


@pytest.fixture(scope="module")
def task():
    return Digits()


@pytest.fixture(scope="module")
def supernet(task):
    torch.manual_seed(0)
    made = MODULES.supernet()
    nasx.SPOS(epochs=2, batch_size=32, lr=0.1).fit(made, task)
    return made


def test_a_table_of_the_scores_themselves_agrees_entirely(task, supernet):
    rows = MODULES.enumerate()
    shared = SharedWeights(supernet, task, seed=3, batches=2)
    errors = np.array([shared.evaluate(MODULES.architecture(row))["error"] for row in rows])
    options = {"task": task, "seed": 3, "batches": 2}
    table = TabularBenchmark(MODULES, rows, {"accuracy": 1 - errors, "cost": errors}, objectives={"accuracy": "maximize"})  # fmt: skip
    found = rank_correlation(supernet, table, **options, architectures=20)
    assert found.kendall == found.spearman == pytest.approx(1)
    assert found.genotypes.shape == (20, 3)
    assert len({row.tobytes() for row in found.genotypes}) == 20
    assert "error by shared weights and accuracy of 20 architectures: Kendall's tau 1.000" in repr(found)
    worse = rank_correlation(
        supernet, table, **options, architectures=20, metric="cost", direction="maximize"
    )
    assert worse.kendall == pytest.approx(-1)
    assert (worse.genotypes == found.genotypes).all()
    assert len(rank_correlation(supernet, table, **options, architectures=99).scores) == 27
    # As a mapping, and as an array.
    mapping = {MODULES.architecture(row): 1 - error for row, error in zip(rows, errors, strict=True)}
    assert rank_correlation(supernet, mapping, **options, architectures=9).kendall == pytest.approx(1)
    some = rank_correlation(supernet, mapping, **options, architectures=rows[:9])
    assert (some.scores == errors[:9]).all()
    array = rank_correlation(supernet, errors[:9], **options, architectures=rows[:9], direction="minimize")
    assert array.kendall == pytest.approx(1)


def test_progress_is_written(task, supernet, monkeypatch, capsys):
    monkeypatch.setattr("nasx._live._LINE_SECONDS", -1)
    rows = MODULES.enumerate()[:3]
    rank_correlation(supernet, [1.0, 2.0, 3.0], task=task, architectures=rows, batches=1, progress=True)
    assert "rank_correlation: 3/3 scored" in capsys.readouterr().err


def test_wrong_arguments_are_refused(task, supernet):
    rows = MODULES.enumerate()
    table = TabularBenchmark(
        MODULES, rows, {"accuracy": np.arange(27.0)}, objectives={"accuracy": "maximize"}
    )
    for given, options, message in [
        (table, {"metric": "acuracy"}, "did you mean 'accuracy'"),
        (table, {"direction": "up"}, "unknown direction 'up'"),
        (table, {"architectures": 1}, "architectures must be an integer of at least 2; got 1"),
        (table, {"architectures": rows[:1]}, "architectures must be two at least"),
        (table, {"architectures": rows[0]}, "must be a number or genotypes"),
        ([1.0, 2.0], {}, "an array, needs as many genotypes in architectures; got a number"),
        ([1.0, 2.0], {"architectures": rows[:3]}, r"got shapes \(2,\) and \(3, 3\)"),
        ({MODULES.architecture(rows[0]): 1.0}, {"architectures": rows[:2]}, r"no measurement of \[0, 0, 1\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            rank_correlation(supernet, given, task=task, **options)
