"""SPOS: single paths, what is scored by shared weights, and what comes after a death in either phase."""

import contextlib
import copy
import json
import re
import time

import numpy as np
import pytest
import torch
from killing import killed_until_it_ends
from torch import nn

import nasx
from nasx.checkpoint import Checkpoint
from nasx.errors import EvaluationError
from nasx.hardware import LatencyTable
from nasx.journal import Journal
from nasx.nn import LayerChoice
from nasx.nn.supernet import Supernet
from nasx.registry import get_strategy
from nasx.strategies.one_shot.sampling import paths
from nasx.strategies.one_shot.training import PathTraining
from nasx.tasks import ImageClassification, SharedWeights
from nasx.tasks.datasets import load

WIDTH = 24
CELLS = nasx.spaces.NASBench201(cells=1, channels=4)
SHORT = {"batch_size": 32, "lr": 0.1, "recalibration_batches": 3, "baseline": 4}


def network():
    def layer():
        return LayerChoice(
            {
                "linear": nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU()),
                "deep": nn.Sequential(
                    nn.Linear(WIDTH, 8), nn.ReLU(), nn.Linear(8, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU()
                ),
                "skip": nn.Identity(),
            }
        )

    stem = (nn.Flatten(), nn.Linear(64, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU())
    return nn.Sequential(*stem, layer(), layer(), layer(), nn.Linear(WIDTH, 10))


MODULES = nasx.space_of(network)


class Digits(ImageClassification):
    """A few digits; `at_loss` is called with the number of losses so far, before each one."""

    def __init__(self, at_loss=None, images=320, **options):
        data = load("digits")
        (x, y), (a, b) = data["train"], data["valid"]
        options = {"batch_size": 32, "threads": 1, "device": "cpu"} | options
        super().__init__((x[:images], y[:images]), (a[:120], b[:120]), **options)
        self.count, self.at_loss = 0, at_loss

    def loss(self, model, batch):
        self.count += 1
        if self.at_loss is not None:
            self.at_loss(self.count)
        return super().loss(model, batch)


@pytest.fixture(scope="module")
def task():
    return Digits()


def run(task, journal=None, space=MODULES, evaluations=12, **options):
    settings = {"epochs": 2} | SHORT | options.pop("settings", {})
    strategy = options.pop("strategy", None) or nasx.SPOS(**settings)
    return nasx.search(
        space, task, strategy=strategy, evaluations=evaluations, journal=journal, **({"seed": 3} | options)
    )


@pytest.fixture(scope="module")
def trained(task):
    """A search that has learned something."""
    return run(task, evaluations=27, settings={"epochs": 15})


def training(space, task, **settings):
    torch.manual_seed(0)
    supernet = space.supernet(task.spec)
    strategy = nasx.SPOS(**({"momentum": 0.9, "weight_decay": 0.1, "lr": 0.1} | settings))
    return PathTraining(strategy, supernet, task, seed=0, device=None, deadline=None)


# -- which paths -----------------------------------------------------------------------------------------------


def steps(space, rule, n, **options):
    return [step for step, _ in zip(paths(space, rule, **({"seed": 0} | options)), range(n), strict=False)]


def test_uniform_steps_have_one_path_and_all_choices_alike():
    drawn = steps(CELLS, "uniform", 4000)
    assert {len(step) for step in drawn} == {1}
    space = nasx.Space({"a": nasx.Categorical("xyz"), "b": nasx.Categorical("pq", when={"a": "x"})})
    rows = np.array([step[0] for step in steps(space, "uniform", 3000)])
    assert np.abs(np.bincount(rows[:, 0]) - 1000).max() < 130  # five standard deviations
    assert ((rows[:, 0] == 0) == (rows[:, 1] >= 0)).all()
    assert rows.dtype == np.int32


@pytest.mark.parametrize("space", [CELLS, nasx.spaces.NASBench201(canonical=True), MODULES])
def test_fair_steps_train_every_choice_of_every_decision_exactly_once(space):
    (size,) = set(space.cardinalities.tolist())
    drawn = steps(space, "fair", 20)
    for step in drawn:
        assert len(step) == size
        assert (np.sort(np.array(step), 0) == np.arange(size)[:, None]).all()
    assert len({np.array(step).tobytes() for step in drawn}) > 10  # in other company each time
    # Not the same order in each decision.
    assert any((np.array(step)[:, 0] != np.array(step)[:, 1]).any() for step in drawn)


def test_fair_steps_go_through_fewer_choices_again_and_miss_what_is_inactive():
    space = nasx.Space(
        {
            "a": nasx.Categorical("vwxyz"),
            "b": nasx.Categorical("pq"),
            "c": nasx.Categorical("rst", when={"b": "p"}),
        }
    )
    for step in steps(space, "fair", 50):
        rows = np.array(step)
        assert sorted(rows[:, 0]) == [0, 1, 2, 3, 4]
        assert sorted(np.bincount(rows[:, 1])) == [2, 3]
        assert ((rows[:, 1] == 0) == (rows[:, 2] >= 0)).all()
        space.check(rows)


@pytest.mark.parametrize("rule", ["uniform", "fair"])
def test_same_seed_same_paths(rule):
    one, other, third = (np.array(steps(CELLS, rule, 9, seed=seed)) for seed in (5, 5, 6))
    assert (one == other).all()
    assert (one != third).any()


def no_pool_at_first(genotypes):
    return genotypes[:, 0] != 4


def over(genotypes):
    return (genotypes == 2).sum(1) - 1.0


@pytest.mark.parametrize("rule", ["uniform", "fair"])
def test_paths_stay_within_constraints_and_limits(rule):
    space = nasx.Space({name: nasx.Categorical("abcde") for name in "xyz"}, constraints=[no_pool_at_first])
    rows = np.concatenate([np.array(step) for step in steps(space, rule, 60, cost_violation=over)])
    assert (rows[:, 0] != 4).all()
    assert ((rows == 2).sum(1) <= 1).all()
    # All that may be, is.
    assert {*map(tuple, rows.tolist())} <= {*map(tuple, space.enumerate().tolist())}
    assert set(rows[:, 1]) == {0, 1, 2, 3, 4}


def test_flops_needs_something_to_count():
    with pytest.raises(ValueError, match="cost must be given for sampling='flops'"):
        paths(CELLS, "flops", seed=0)


def parameters_of(space, task, rule):
    """How many parameters the first paths of an epoch have, step by step."""
    path = training(space, task, sampling=rule)
    table = nasx.hardware.ParamsTable().bind(space, task.spec)
    drawn = steps(space, rule, 300, cost=path.cost, ends=path.ends)
    return np.array([table(np.array(step)) for step in drawn])


def test_sandwiches_hold_the_largest_and_the_smallest_cell(task):
    found = parameters_of(CELLS, task, "sandwich")
    table = nasx.hardware.ParamsTable().bind(CELLS, task.spec)
    everything = table(CELLS.enumerate())
    assert found.shape == (300, 4)
    assert (found[:, 0] == everything.max()).all()
    assert (found[:, 3] == everything.min()).all()
    assert len(np.unique(found[:, 1:3])) > 20


def test_flops_spreads_paths_more_evenly_than_chance_does(task):
    spread, chance = (parameters_of(CELLS, task, rule)[:, 0].std() for rule in ("flops", "uniform"))
    assert spread > 1.3 * chance


def test_in_a_sandwich_the_first_path_teaches_the_others(task):
    path = training(CELLS, task, sampling="sandwich", momentum=0.0, weight_decay=0.0, grad_clip=None, lr=0.5)
    twin = copy.deepcopy(path.supernet).train()
    rows = [np.full(6, choice, np.int32) for choice in (3, 2)]
    batch = batch_of(task)
    path.supernet.train()
    path.step(batch, rows)
    with twin.path(CELLS.architecture(rows[0])):
        loss, teacher = task.loss(twin, batch)
    with twin.path(CELLS.architecture(rows[1])):
        _, pupil = task.loss(twin, batch)
    # The labels do not reach it, and it does not reach its teacher.
    soft = teacher.detach().softmax(1)
    (loss - (soft * pupil.log_softmax(1)).sum(1).mean()).backward()
    for (name, mine), theirs in zip(path.supernet.named_parameters(), twin.parameters(), strict=True):
        moved = theirs if theirs.grad is None else theirs - 0.5 * theirs.grad
        torch.testing.assert_close(mine, moved, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("rule", ["uniform", "fair"])
def test_nothing_within_the_limits_is_an_error_not_an_endless_loop(rule):
    with pytest.raises(EvaluationError, match="none of 65536 random architectures is within the limits"):
        steps(CELLS, rule, 1, cost_violation=lambda genotypes: np.ones(len(genotypes)))


def test_unknown_rules_are_refused():
    with pytest.raises(ValueError, match="unknown sampling 'unform'; did you mean 'uniform'"):
        paths(CELLS, "unform", seed=0)


# -- one step --------------------------------------------------------------------------------------------------


def batch_of(task):
    return next(iter(task.loaders("train", 0, training=True)))


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize("space", [CELLS, MODULES], ids=["cells", "modules"])
def test_only_the_path_moves_neither_momentum_nor_decay_nor_statistics_reach_the_others(
    space, task, optimizer
):
    path = training(space, task, optimizer=optimizer)
    first, second = np.zeros(len(space), np.int32), np.ones(len(space), np.int32)
    if space is CELLS:
        first[:], second[:] = 2, 3
    batch = batch_of(task)
    path.supernet.train()
    path.step(batch, [first])
    before = copy.deepcopy(path.supernet.state_dict())
    path.step(batch, [second])
    after = path.supernet.state_dict()
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    operations = [name for name in after if ".operations." in name and not name.endswith("batches_tracked")]
    chosen = {name: int(re.findall(r"operations\.(\d+)\.", name)[-1]) for name in operations}
    mine = [name for name in operations if chosen[name] == second[0]]
    theirs = [name for name in operations if chosen[name] != second[0]]
    assert mine
    assert theirs
    assert set(mine) <= moved
    assert not moved & set(theirs)
    assert not any("logits" in name for name in moved)
    # The others' gradients are none, not zeros: momentum of the first step would go on moving them.
    parameters = dict(path.supernet.named_parameters())
    assert all(parameters[name].grad is None for name in theirs if name in parameters)
    assert all(parameters[name] in path.optimizer.state for name in mine if name in parameters)


def test_a_step_adds_up_the_gradients_of_its_paths(task):
    path = training(MODULES, task, momentum=0.0, weight_decay=0.0, grad_clip=None, lr=0.5)
    twin = copy.deepcopy(path.supernet).train()
    rows = [np.array(row, np.int32) for row in ([0, 1, 2], [1, 1, 0])]
    batch = batch_of(task)
    path.supernet.train()
    value = path.step(batch, rows)
    losses = []
    for row in rows:
        with twin.path(MODULES.architecture(row)):
            losses.append(task.loss(twin, batch)[0])
    sum(losses).backward()
    losses = [loss.item() for loss in losses]
    assert value.item() == pytest.approx(sum(losses) / 2, rel=1e-6)
    for (name, mine), theirs in zip(path.supernet.named_parameters(), twin.parameters(), strict=True):
        moved = theirs if theirs.grad is None else theirs - 0.5 * theirs.grad
        torch.testing.assert_close(mine, moved, rtol=1e-4, atol=1e-6, msg=name)


def saved_bytes(run):
    total = 0

    def pack(tensor):
        nonlocal total
        total += tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        run()
    return total


@pytest.mark.parametrize("space", [CELLS, MODULES], ids=["cells", "modules"])
def test_a_path_keeps_no_more_for_its_gradients_than_its_network_alone(space, task):
    supernet = space.supernet(task.spec).train()
    images, _ = batch_of(task)
    architecture = space.architecture(space.sample(1, seed=1)[0])
    alone = supernet.extract(architecture).train()
    with supernet.path(architecture):
        mine = saved_bytes(lambda: supernet(images))
    assert 0 < mine <= saved_bytes(lambda: alone(images))
    assert mine < 0.6 * saved_bytes(lambda: supernet(images))


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [
        ("linear", [0.1, 0.0775, 0.055, 0.0325]),
        ("cosine", [0.1, 0.0868198, 0.055, 0.0231802]),
        ("constant", [0.1] * 4),
    ],
)
def test_schedules(schedule, rates, task):
    path = training(MODULES, task, epochs=4, lr=0.1, lr_min=0.01, schedule=schedule)
    assert [path._schedule(epoch) for epoch in range(4)] == pytest.approx(rates)
    assert path.optimizer.param_groups[0]["lr"] == pytest.approx(rates[-1])


# -- scores by shared weights ----------------------------------------------------------------------------------


def test_the_search_learns_and_gives_the_best_of_all(trained):
    assert trained.stopped == "evaluations" or trained.stopped == "exhausted"
    losses = [entry["loss"] for entry in trained.history]
    assert losses[-1] < 0.5 * losses[0]
    assert trained.best.metrics["accuracy"] > 0.6
    assert len(trained.trials) == 27
    assert trained.best.metrics["error"] == min(trial.metrics["error"] for trial in trained.trials)
    # All of the space was scored, so no random architecture can be better.
    best = trained.best.metrics["error"]
    assert all(metrics["error"] >= best for metrics in trained.baseline)


def test_a_score_is_that_of_the_network_alone_with_norms_measured_anew(trained, task):
    for trial in trained.trials[::9]:
        network = trained.supernet.extract(trial.architecture)
        batches = [batch for batch, _ in zip(task.loaders("train", 3, training=True), range(3), strict=False)]
        nasx.nn.recalibrate(network, batches, lambda batch, net=network: task.loss(net, batch))
        found = task.score(network, "valid")
        assert found["error"] == trial.metrics["error"]
        assert found["loss"] == pytest.approx(trial.metrics["loss"], rel=1e-4)


def test_scores_leave_the_supernet_as_it_was_and_copy_nothing_of_it(trained, task, monkeypatch):
    supernet = trained.supernet
    supernet.train()
    supernet.network[4].mixed.operations[0][1].eval()  # one by itself
    modes = [module.training for module in supernet.modules()]
    before = copy.deepcopy(supernet.state_dict())
    momenta = [m.momentum for m in supernet.modules() if isinstance(m, nn.BatchNorm1d)]
    monkeypatch.setattr(copy, "deepcopy", None)
    resets = []
    reset = nn.BatchNorm1d.reset_running_stats
    monkeypatch.setattr(
        nn.BatchNorm1d, "reset_running_stats", lambda norm: (resets.append(norm), reset(norm))
    )
    shared = SharedWeights(supernet, task, seed=3, batches=2)
    scores = shared.evaluate(MODULES.decode([0, 2, 1]), seed=9)
    assert len(resets) == 3  # of the stem and of the two that are chosen, out of seven
    assert len({id(norm) for norm in resets}) == 3
    assert [module.training for module in supernet.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())
    assert [m.momentum for m in supernet.modules() if isinstance(m, nn.BatchNorm1d)] == momenta
    assert not any(m._forward_pre_hooks for m in supernet.modules())
    monkeypatch.undo()
    # Remembered; and the same whatever was scored before.
    losses = task.count
    assert shared.evaluate(MODULES.decode([0, 2, 1]), seed=1) == scores
    assert task.count == losses
    other = SharedWeights(supernet, task, seed=3, batches=2)
    other.evaluate(MODULES.decode([1, 1, 1]))
    assert other.evaluate(MODULES.decode([0, 2, 1])) == scores
    supernet.train()


def test_architectures_are_scored_in_batches_as_one_by_one(trained, task):
    rows = MODULES.sample(5, seed=1)
    rows = np.concatenate([rows, rows[:2]])
    found = SharedWeights(trained.supernet, task, seed=3, batches=2).evaluate_many(rows)
    alone = SharedWeights(trained.supernet, task, seed=3, batches=2)
    for i, row in enumerate(rows):
        assert {name: values[i] for name, values in found.items()} == alone.evaluate(MODULES.decode(row))
    assert {name: len(values) for name, values in alone.evaluate_many(rows[:0]).items()} == {"error": 0}
    with pytest.raises(ValueError, match="genotypes"):
        alone.evaluate_many([[0, 1, 9]])
    # So any strategy searches a trained supernet, a batch at a time.
    result = nasx.search(
        MODULES, alone, strategy="nsga2", evaluations=6, vectorized=True, batch_size=3, progress=False
    )
    assert [trial.metrics for trial in result.trials] == [
        alone.evaluate(trial.architecture) for trial in result.trials
    ]


def test_a_score_that_fails_puts_everything_back_too(trained):
    supernet = trained.supernet
    before = copy.deepcopy(supernet.state_dict())

    def fail(count):
        if count > fail.at:
            raise RuntimeError("no more")

    for fail.at in (0, 1, 2, 3):  # while norms are measured, and while it is scored
        shared = SharedWeights(supernet, Digits(fail), seed=3, batches=3)
        with pytest.raises(RuntimeError, match="no more"):
            shared.evaluate(MODULES.decode([0, 1, 0]))
        assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())
        assert not any(m._forward_pre_hooks for m in supernet.modules())
        assert all(m.momentum == 0.1 for m in supernet.modules() if isinstance(m, nn.BatchNorm1d))


def test_recalibration_scores_better_than_the_statistics_of_all_paths_together(trained, task):
    rows = [trial.architecture for trial in trained.trials]
    means = [
        np.mean(
            [SharedWeights(trained.supernet, task, batches=batches).evaluate(row)["loss"] for row in rows]
        )
        for batches in (10, 0)
    ]
    assert means[0] < 0.98 * means[1]


def test_a_supernet_elsewhere_and_bad_numbers_are_refused(trained, task):
    with pytest.raises(ValueError, match="device must be where the supernet is, cpu; got 'cuda:1'"):
        SharedWeights(trained.supernet, task).evaluate(MODULES.decode([0, 0, 0]), device="cuda:1")
    with pytest.raises(ValueError, match="batches must be an integer of at least 0; got -1"):
        SharedWeights(trained.supernet, task, batches=-1)
    shared = SharedWeights(trained.supernet, task, seed=4, batches=7)
    assert json.dumps(shared.settings)
    assert shared.objectives == task.objectives
    assert shared.spec == task.spec


# -- the search ------------------------------------------------------------------------------------------------


def test_limits_keep_everything_out_that_is_over_them(task):
    everything = run(
        task,
        space=CELLS,
        evaluations=6,
        costs=["parameters"],
        limits={"parameters": 6000},
        settings={"epochs": 1, "sampling": "fair"},
    )
    assert len(everything.trials) == 6
    assert all(trial.metrics["parameters"] <= 6000 for trial in everything.trials)
    assert len(everything.baseline) == 4
    assert all(metrics["parameters"] <= 6000 for metrics in everything.baseline)
    architecture = everything.best.architecture
    assert everything.best.metrics["parameters"] == sum(
        p.numel() for p in architecture.build(task.spec).parameters()
    )


def recorded_paths(monkeypatch):
    """Genotypes of all paths that supernets run from now on."""
    run, path = [], Supernet.path

    def recorded(self, architecture):
        run.append(architecture.genotype)
        return path(self, architecture)

    monkeypatch.setattr(Supernet, "path", recorded)
    return run


@pytest.mark.parametrize("sampling", ["uniform", "fair", "sandwich"])
def test_limits_on_tables_keep_paths_out_of_the_training(task, monkeypatch, sampling):
    trained = recorded_paths(monkeypatch)
    table = LatencyTable(CELLS, [[0, 0.1, 1, 2, 0.5]] * 6)
    run(
        task,
        space=CELLS,
        evaluations=3,
        costs={"ms": table},
        limits={"ms": 4.0},
        settings={"epochs": 1, "sampling": sampling},
    )
    assert len(trained) > 10
    assert (table(np.array(trained)) <= 4).all()


def test_nothing_is_trained_where_nothing_is_within_the_limits():
    task = Digits()
    result = run(task, space=CELLS, costs=["parameters"], limits={"parameters": 10})
    assert task.count == 0
    assert result.stopped == "exhausted"
    assert result.best is None
    assert "no architecture within the limits on costs" in result.reason


def test_several_objectives_give_a_front(task):
    objectives = {"error": "minimize", "parameters": "minimize"}
    result = run(task, space=CELLS, costs=["parameters"], objectives=objectives, settings={"epochs": 1})
    losses = result.losses(result.trials)
    dominated = [(losses <= one).all(1) & (losses < one).any(1) for one in losses]
    assert len(result.pareto_front) == sum(not any(by) for by in dominated)
    assert isinstance(nasx.SPOS().searcher(2), nasx.NSGA2)
    assert "parameters" in result.beside_random


def test_what_searches_is_a_setting(task):
    genetic = nasx.SPOS().searcher(1)
    assert isinstance(genetic, nasx.GeneticAlgorithm)
    assert (genetic.population_size, genetic.elites, genetic.truncation) == (50, 10, 0.2)
    assert (genetic.crossover_probability, genetic.mutation_rate) == (0.5, 0.1)
    instance = nasx.SPOS(search_strategy=nasx.RegularizedEvolution(population_size=4, sample_size=2))
    settings = json.loads(json.dumps(instance.settings))
    again = get_strategy("spos", **settings)
    assert again.settings == settings
    assert again.searcher(1).settings == instance.search_strategy.settings
    results = [
        run(task, evaluations=4, strategy=nasx.SPOS(epochs=1, **SHORT, search_strategy=inner))
        for inner in ("random_search", nasx.RandomSearch())
    ]
    rows = [[trial.genotype.tolist() for trial in result.trials] for result in results]
    assert rows[0] == rows[1] == nasx.RandomSearch().setup(MODULES, seed=3).ask(4).tolist()


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"sampling": "unfair"}, ValueError, "sampling must be .*'uniform'.*; got 'unfair'"),
        ({"search_strategy": "genetics"}, ValueError, "genetics"),
        ({"search_strategy": "darts"}, TypeError, "must be a sampled strategy.*got 'darts'"),
        ({"search_strategy": "hyperband"}, TypeError, "must be a sampled strategy.*got 'hyperband'"),
        ({"search_strategy": {"nom": "nsga2"}}, ValueError, "search_strategy must have a name"),
        ({"search_strategy": 3}, TypeError, "strategy must be a name"),
        ({"epochs": 0}, ValueError, "epochs must be at least 1; got 0"),
        ({"momentum": 1.0}, ValueError, "momentum must be less than 1"),
        ({"lr": 0}, ValueError, "lr must be a number of more than 0; got 0"),
        ({"weight_decay": -1.0}, ValueError, "weight_decay must be a number of at least 0"),
        ({"grad_clip": 0.0}, ValueError, "grad_clip must be a number of more than 0"),
        ({"schedule": "step"}, ValueError, "schedule must be"),
        ({"baseline": -1}, ValueError, "baseline must be at least 0; got -1"),
        ({"recalibration_batches": 1.5}, ValueError, "recalibration_batches must be an integer"),
        ({"mixed_precision": 1}, ValueError, "mixed_precision must be True or False"),
    ],
)
def test_wrong_settings_are_refused(settings, error, message):
    with pytest.raises(error, match=message):
        nasx.SPOS(**settings)


def test_random_architectures_are_scored_beside_the_search(task, tmp_path, capsys):
    from nasx.cli.show import show

    path = tmp_path / "run.db"
    result = run(task, path, settings={"epochs": 1})
    assert len(result.baseline) == 4
    errors = [metrics["error"] for metrics in result.baseline]
    words = f"4 random ones: error {np.mean(errors):.4g} on average, {min(errors):.4g} at best"
    assert result.beside_random == words
    assert words in repr(result)
    loaded = nasx.Result.load(path)
    assert loaded.baseline == result.baseline
    assert loaded.to_dict()["baseline"] == result.baseline
    # The same scores as those of the search.
    scored = {trial.metrics["loss"] for trial in run(task, evaluations=27, settings={"epochs": 1}).trials}
    assert {metrics["loss"] for metrics in result.baseline} <= scored
    result.plot(tmp_path / "best.png")
    assert (tmp_path / "best.png").stat().st_size > 1000
    show(path)
    assert words in " ".join(capsys.readouterr().out.split())
    assert run(task, settings={"epochs": 1, "baseline": 0}).beside_random is None


def test_failed_scores_are_failed_trials(tmp_path):
    class Broken(Digits):
        def score(self, model, split="valid", *, device=None):
            raise RuntimeError("no such file")

    with pytest.warns(RuntimeWarning) as caught:
        result = run(Broken(), evaluations=2, settings={"epochs": 1})
    assert any("could not be scored for comparison" in str(one.message) for one in caught)
    assert [trial.state for trial in result.trials] == ["failed", "failed"]
    assert result.baseline == []
    assert result.best is None


# -- stopped and resumed ---------------------------------------------------------------------------------------


def timeless(history):
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in history]


def assert_same(one, other):
    assert timeless(one.history) == timeless(other.history)
    mine, theirs = one.supernet.state_dict(), other.supernet.state_dict()
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert [t.genotype.tolist() for t in one.trials] == [t.genotype.tolist() for t in other.trials]
    assert [t.metrics for t in one.trials] == [t.metrics for t in other.trials]
    assert one.best.architecture == other.best.architecture
    assert one.baseline == other.baseline
    assert one.stopped == other.stopped


@pytest.fixture(scope="module")
def whole(task):
    return run(task)


def test_same_seed_same_bits(task, whole):
    before = torch.get_rng_state()
    assert_same(run(task), whole)
    assert torch.equal(torch.get_rng_state(), before)
    assert timeless(run(task, seed=4).history) != timeless(whole.history)


def test_killed_between_any_two_writes(tmp_path, task):
    """Every write to journal and checkpoint is the last one of a process once."""
    path = tmp_path / "run.db"
    options = {"evaluations": 3, "settings": {"epochs": 2, "batch_size": 160, "baseline": 2}}
    whole = run(task, **options)

    class Killed(BaseException):
        pass

    def dying_after(writes):
        left = iter(range(writes))

        def counted(function):
            def write(*args, **kwargs):
                value = function(*args, **kwargs)
                if next(left, None) is None:
                    raise Killed
                return value

            return write

        return counted

    writes = 0
    while True:
        with pytest.MonkeyPatch.context() as patch:
            counted = dying_after(writes)
            names = ("begin", "set_history", "set_baseline", "asked", "told", "set_stopped")
            for owner, name in (*((Journal, name) for name in names), (Checkpoint, "save")):
                patch.setattr(owner, name, counted(getattr(owner, name)))
            for file in tmp_path.iterdir():
                file.unlink()
            with contextlib.suppress(Killed):
                run(task, path, **options)
                break
        assert_same(run(task, path, **options), whole)
        writes += 1
    # begin, twice "running", twice (checkpoint, history), baseline, asked, three told, twice "evaluations"
    assert writes == 13


def test_measured_costs_are_those_of_the_first_run_in_the_next(tmp_path, task):
    path = tmp_path / "run.db"

    class Noisy:
        deterministic = False

        def __init__(self, seed):
            self.random = np.random.default_rng(seed)

        def __call__(self, genotypes):
            return genotypes.sum(1) + self.random.uniform(0, 3, len(genotypes))

    def noisy(seed, **options):
        return run(
            task, path, costs={"ms": Noisy(seed)}, limits={"ms": 4.0}, settings={"epochs": 1}, **options
        )

    def stop(result, trial):
        if trial.number == 2:
            raise nasx.StopSearch

    first = noisy(0, evaluations=6, callbacks=[stop])
    again = noisy(1, evaluations=6)  # nothing diverges, or it would warn
    assert [trial.metrics for trial in again.trials[:3]] == [trial.metrics for trial in first.trials]
    known = {trial.genotype.tobytes(): trial.metrics["ms"] for trial in again.trials}
    assert len(known) == 6
    assert all(trial.metrics["ms"] <= 4 for trial in again.trials)
    assert again.baseline == first.baseline


def test_killed_at_random_moments_of_both_phases_and_resumed_equals_never_killed(tmp_path, task, whole):
    path = tmp_path / "run.db"
    deaths = killed_until_it_ends(lambda at_step: run(Digits(at_step), path), 45, delay=0.01)
    assert deaths >= 3
    assert_same(run(task, path), whole)


def test_a_finished_search_is_opened_again_and_goes_on_with_more_evaluations(tmp_path, task, whole):
    path = tmp_path / "run.db"
    run(task, path)
    idle = Digits()
    assert_same(run(idle, path), whole)
    assert idle.count == 0
    more = run(idle, path, evaluations=15)
    assert idle.count > 0
    assert [t.metrics for t in more.trials[:12]] == [t.metrics for t in whole.trials]
    assert len(more.trials) == 15
    assert_same(more, run(task, evaluations=15))
    # All 27, and no more.
    last = run(task, path, evaluations=100)
    assert (len(last.trials), last.stopped) == (27, "exhausted")
    path.with_name("run.db.checkpoint").unlink()
    with pytest.warns(RuntimeWarning, match="checkpoint is gone"):
        lost = run(task, path, evaluations=100)
    assert lost.supernet is None
    assert len(lost.trials) == 27
    assert lost.baseline == whole.baseline


def test_time_that_is_over_ends_either_phase_and_more_time_goes_on(tmp_path, whole):
    class Clock:
        now = 0.0

    def timed(path, seconds):
        Clock.now = 0.0
        task = Digits(lambda _: setattr(Clock, "now", Clock.now + 1))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "monotonic", lambda: float(Clock.now))
            return run(task, path, seconds=seconds)

    early = timed(tmp_path / "early.db", 15)  # ten steps an epoch
    assert (early.stopped, len(early.history), len(early.trials)) == ("seconds", 1, 0)
    assert "training was interrupted" in early.reason
    assert_same(run(Digits(), tmp_path / "early.db"), whole)
    late = timed(tmp_path / "late.db", 20 + 4 * 4 + 7)  # two scores of four losses, and those that are known
    assert (late.stopped, len(late.history)) == ("seconds", 2)
    assert 2 <= len(late.trials) < 12
    assert_same(run(Digits(), tmp_path / "late.db"), whole)


def test_callbacks_see_every_trial_and_may_stop(task):
    seen = []

    def callback(result, trial):
        seen.append(trial.number)
        if trial.number == 3:
            raise nasx.StopSearch

    result = run(task, callbacks=[callback])
    assert seen == [0, 1, 2, 3]
    assert result.stopped == "callback"
    assert len(result.baseline) == 4
