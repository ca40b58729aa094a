"""Rows of a sample of a large space, arranged in a small one: addresses, order, refusals, a real table."""

import pickle

import numpy as np
import pytest

import nasx
from nasx import Integer, Space
from nasx.tasks import TabularBenchmark, tables

ERROR = {"error": "minimize"}
SPACE = Space(
    {
        "depth": Integer(1, 3),
        **{f"width.{j}": Integer(0, 99) for j in range(6)},
        "deep": Integer(0, 9, when={"depth": 3}),
    }
)


def sampled(n=203, seed=0):
    rows = np.unique(SPACE.sample(n, seed=seed), axis=0)
    rows = rows[np.random.default_rng(seed).permutation(len(rows))]
    return TabularBenchmark(SPACE, rows, {"error": rows[:, 1:7].sum(axis=1)}, objectives=ERROR)


def traits_of(table):
    return {"low": table.genotypes[:, 1:4].sum(axis=1), "high": table.genotypes[:, 4:7].sum(axis=1)}


def slow(table, traits, parts):
    """Addresses, one group at a time."""
    found = {}

    def cut(rows, left, address):
        if not left:
            found.update({row: (*address, k) for k, row in enumerate(rows)})
            return
        ordered = sorted(rows, key=lambda row: (traits[left[0]][row], row))
        for k, row in enumerate(ordered):
            part = k * parts // len(rows)
            found.setdefault((left[0], address, part), []).append(row)
        for part in range(parts):
            cut(sorted(found.pop((left[0], address, part), [])), left[1:], (*address, part))

    for depth in range(3):
        rows = np.flatnonzero(table.genotypes[:, 0] == depth).tolist()
        cut(rows, list(traits), (depth,))
    return np.array([found[row] for row in range(len(table))])


@pytest.mark.parametrize("parts", [1, 3, 8, 100])
def test_addresses_are_those_of_cutting_one_group_after_the_other(parts):
    table = sampled()
    traits = traits_of(table)
    arranged = tables.arrange_rows(table, decisions=["depth"], traits=traits, parts=parts)
    assert arranged.space.names == ("depth", "low", "high", "row")
    np.testing.assert_array_equal(arranged.genotypes, slow(table, traits, parts))
    np.testing.assert_array_equal(arranged.columns["error"], table.columns["error"])


def test_every_row_has_an_address_and_every_other_address_is_left_out():
    arranged = tables.arrange_rows(sampled(), decisions=["depth"], traits=traits_of(sampled()), parts=5)
    everything = arranged.space.enumerate()
    np.testing.assert_array_equal(everything, arranged.genotypes[np.lexsort(arranged.genotypes.T[::-1])])
    assert len(everything) < np.prod(arranged.space.cardinalities)
    again = pickle.loads(pickle.dumps(arranged.space))
    np.testing.assert_array_equal(again.enumerate(), everything)


def test_a_search_finds_the_best_row_without_a_failure():
    table = sampled(1000)
    arranged = tables.arrange_rows(table, decisions=["depth"], traits=traits_of(table))
    result = nasx.search(arranged.space, arranged, strategy="regularized_evolution", evaluations=300)
    assert all(trial.state == "complete" for trial in result.trials)
    assert result.best.metrics["error"] < np.quantile(table.columns["error"], 0.01)


def test_without_decisions_and_traits_rows_are_numbered():
    table = sampled(20)
    arranged = tables.arrange_rows(table, decisions=[], traits={})
    assert arranged.genotypes.ravel().tolist() == list(range(len(table)))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"decisions": ["dept"]}, "decisions: unknown decision 'dept'; did you mean 'depth'"),
        ({"decisions": ["deep"]}, "decisions must always be taken; 'deep' depends on depth"),
        ({"decisions": ["depth", "depth"]}, "'depth' comes twice"),
        ({"traits": {"row": np.zeros(20)}}, "'row' comes twice"),
        ({"traits": {"low": np.zeros(3)}}, r"traits\['low'\] must be 20 finite numbers, one a row; got 3, 0"),
        ({"traits": {"low": np.full(20, np.nan)}}, "got 20, 20 of them not finite"),
        ({"parts": 0}, "parts must be an integer of at least 1; got 0"),
    ],
)
def test_what_is_no_arrangement_is_refused(changed, message):
    table = sampled(20)
    with pytest.raises(ValueError, match=message):
        tables.arrange_rows(table, **{"decisions": ["depth"], "traits": {"low": np.zeros(20)}} | changed)


@pytest.mark.data
def test_under_a_limit_on_latency_nsga2_finds_more_of_the_language_models_front_than_random_search(data_dir):
    objectives = {"perplexity": "minimize", "latency_ms": "minimize"}
    whole = tables.read_columns(
        data_dir / "hwgpt_s.npz",
        decisions=["embed_dim", "n_layer", "bias", "n_head", "mlp_ratio"],
        length="n_layer",
        objectives={"perplexity": "minimize"},
    )
    totals = {
        kind: np.where(whole.genotypes < 0, 0, whole.genotypes + 1)[
            :, [name.startswith(kind) for name in whole.space.names]
        ].sum(axis=1)
        for kind in ("mlp_ratio", "n_head")
    }
    table = tables.arrange_rows(whole, decisions=["embed_dim", "n_layer", "bias"], traits=totals)
    losses = np.column_stack([table.columns["perplexity"], table.columns["latency_ms/a100"]])
    limit = float(np.quantile(losses[:, 1], 0.3))
    comparison = nasx.compare(
        table.space,
        table,
        {"nsga2": nasx.NSGA2(population_size=20), "random_search": "random_search"},
        objectives=objectives,
        costs={"latency_ms": table.cost("latency_ms/a100")},
        limits={"latency_ms": limit},
        evaluations=300,
        seeds=10,
        reference={"perplexity": losses[:, 0].max(), "latency_ms": limit},
        front=losses[losses[:, 1] <= limit],
        progress=False,
    )
    assert comparison.versus("nsga2", "random_search").z > 3
    assert comparison.summary()["nsga2"].mean > 0.8
    for runs in comparison.runs.values():
        assert (table.cost("latency_ms/a100")(np.array([a.genotype for a in runs.chosen])) <= limit).all()
