"""Searches of measured tables, short enough for a test."""

import numpy as np
import pytest

import nasx

TABLES = {
    "nasbench201": "cifar10_val",
    "transnas101_micro": "val/class_scene",
    "nasbench_macro": "cifar10_test",
}


@pytest.fixture(params=TABLES)
def gain_over_random_search(request, data_dir):
    """How many standard errors a strategy's mean best is above that of random search, after 100 networks."""
    with np.load(data_dir / f"{request.param}.npz", allow_pickle=False) as table:
        genotypes = table["genotypes"].astype(np.int32)
        score = table[TABLES[request.param]].reshape(len(genotypes), -1).mean(axis=1)
    places = nasx.population.GenotypeSet(genotypes.shape[1], genotypes)
    space = nasx.Space(
        {f"x{j}": nasx.Categorical(np.unique(genotypes[:, j]).tolist()) for j in range(genotypes.shape[1])}
    )

    def best(strategy, seed):
        strategy.setup(space, seed=seed)
        found = []
        for _ in range(100):
            x = strategy.ask(1)
            found.append(score[places.find(x)])
            strategy.tell(x, -found[-1])
        return np.max(found)

    def gain(strategy, seeds=40):
        results = [[best(s, seed) for seed in range(seeds)] for s in (strategy, nasx.RandomSearch())]
        ours, theirs = np.array(results)
        error = np.sqrt((ours.var(ddof=1) + theirs.var(ddof=1)) / seeds)
        return (ours.mean() - theirs.mean()) / error

    return gain


@pytest.fixture(scope="module")
def task():
    """A few digits to learn."""
    from strategies.cost_aware import digits  # which needs torch, as not all tests here do

    return digits()


@pytest.fixture
def seeded():
    """Torch's random numbers are the same in each test."""
    import torch

    torch.manual_seed(0)
