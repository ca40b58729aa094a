"""Searches of measured graph networks, whose results are noisy: few seeds of bench_strategies and bench_surrogates."""

import warnings

import numpy as np
import pytest

import nasx
from nasx.tasks import tables

pytest.importorskip("nas_bench_graph", reason="nas-bench-graph is not installed: pip install 'nasx[tables]'")


def compare(dataset, strategies, *, seeds, evaluations=100):
    table = tables.nas_bench_graph(dataset)
    return nasx.compare(
        table.space, table, [*strategies, "random_search"], evaluations=evaluations, seeds=seeds
    )


@pytest.mark.slow
@pytest.mark.parametrize(("dataset", "seeds"), [("arxiv", 30), ("cora", 150)])
def test_evolution_and_local_search_beat_random_search(dataset, seeds):
    strategies = ["regularized_evolution", "genetic_algorithm", "local_search", "pareto_search"]
    found = compare(dataset, strategies, seeds=seeds)
    for name in strategies:
        assert found.versus(name, "random_search").z > 3, name


@pytest.mark.slow
@pytest.mark.parametrize("dataset", ["arxiv", "physics", "cora"])
def test_tpe_beats_random_search(dataset):
    found = compare(dataset, ["tpe"], seeds=120 if dataset == "cora" else 40)
    assert found.versus("tpe", "random_search").z > 3


@pytest.mark.slow
def test_gaussian_processes_beat_evolution_and_random_search():
    found = compare("arxiv", ["gaussian_process", "regularized_evolution"], seeds=12)
    assert found.versus("gaussian_process", "random_search").z > 3
    assert found.versus("gaussian_process", "regularized_evolution").z > 2


def test_tpe_finds_no_less_than_optunas():
    optuna = pytest.importorskip("optuna", reason="optuna is not installed: pip install 'nasx[optuna]'")
    table = tables.nas_bench_graph("cora")
    space, scores = table.space, []
    choices = {name: list(range(n)) for name, n in zip(space, space.cardinalities, strict=True)}

    def evaluate(trial):
        row = np.array([[trial.suggest_categorical(name, some) for name, some in choices.items()]], np.int32)
        if not space.satisfies(row).all():
            raise optuna.TrialPruned
        return float(table.evaluate_many(space.canonicalize(row))["valid_score"][0])

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for seed in range(16):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
            study.optimize(evaluate, n_trials=100)
        scores.append(study.best_value)
    found = compare("cora", ["tpe"], seeds=120).summary()["tpe"]
    error = np.hypot(found.standard_error, np.std(scores, ddof=1) / np.sqrt(len(scores)))
    assert found.mean > np.mean(scores) - 2 * error


@pytest.mark.slow
def test_sources_help_at_first_and_shuffled_ones_do_no_harm():
    target, *others = (
        tables.nas_bench_graph(name) for name in ("citeseer", "computers", "cora", "cs", "photo")
    )
    ordered = np.sort(target.losses()[:, 0])

    def source(table, seed, shuffled):
        random = np.random.default_rng(seed)
        some = random.choice(len(table.genotypes), 100, replace=False)
        losses = table.losses()[some]
        return table.genotypes[some], random.permutation(losses) if shuffled else losses

    def ranks(strategy, seed):
        result = nasx.search(
            target.space, target, strategy=strategy, evaluations=20, seed=seed, progress=False
        )
        losses = np.minimum.accumulate([-trial.metrics["valid_score"] for trial in result.trials])
        return np.searchsorted(ordered, losses[[9, 19]] - 1e-12)

    found = []
    for seed in range(16):
        strategies = [nasx.GaussianProcess()]
        for shuffled in (False, True):
            sources = [source(table, 100 * seed + i, shuffled) for i, table in enumerate(others)]
            strategies.append(nasx.FewShotTransfer(sources=sources))
        found.append([ranks(strategy, seed) for strategy in strategies])
    without, with_them, shuffled = np.array(found).transpose(1, 0, 2)
    gains = without - with_them
    assert (gains.mean(0) > 2 * gains.std(0, ddof=1) / 4).all()
    harm = (shuffled - without)[:, 1]
    assert harm.mean() < 2 * harm.std(ddof=1) / 4
