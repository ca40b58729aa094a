"""MetaNAS, trap by trap."""

import copy
import dataclasses
import json
import os
import pickle
import signal
import sys

import pytest
import reference.meta_nas as reference
import torch
from killing import in_a_child
from torch import nn
from torch.nn import functional as F
from torch.optim.optimizer import register_optimizer_step_pre_hook

import nasx
from nasx import Task, TaskSpec
from nasx.errors import EvaluationError, MissingDependencyError
from nasx.nn import LayerChoice
from nasx.registry import get_strategy
from nasx.strategies.transfer.task_training import TaskTraining
from nasx.tasks import FewShotEpisodes, ImageClassification
from nasx.tasks.batches import stream
from nasx.tasks.datasets import load

DEVICES = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]


# -- a toy whose every number can be computed by hand ----------------------------------------------------------


class Mixture(nn.Sequential):
    def __init__(self):
        candidates = {"tanh": nn.Tanh(), "relu": nn.ReLU(), "matrix": nn.Linear(4, 4, bias=False)}
        layers = nn.Linear(3, 4, bias=False), LayerChoice(candidates), nn.Linear(4, 2, bias=False)
        super().__init__(*layers)


TOYS = nasx.space_of(Mixture)


class Batches:
    def __init__(self, batches):
        self.batches, self.epoch = batches, 0

    def __iter__(self):
        self.epoch += 1
        return iter(self.batches)


class Toy:
    """One regression task: batches in a row to learn from, one to be judged by."""

    spec, device = TaskSpec((3,), 2, "regression"), torch.device("cpu")

    def __init__(self, number, at_loss=None, batches=3):
        generator = torch.Generator().manual_seed(number % 1000)
        matrix = torch.randn(2, 3, generator=generator).double()
        inputs = torch.randn(batches + 1, 5, 3, generator=generator).double()
        pairs = [(x, torch.tanh(x @ matrix.T)) for x in inputs]
        self.data, self.at_loss, self.asked = {"train": pairs[:-1], "valid": pairs[-1:]}, at_loss, []

    def loaders(self, split, seed=0, *, training=None, device=None, batch_size=None, part=None):
        self.asked.append((split, seed, batch_size))
        return Batches(self.data[split])

    def loss(self, model, batch):
        if self.at_loss is not None:
            self.at_loss(model)
        inputs, targets = (values.to(next(model.parameters()).dtype) for values in batch)
        outputs = model(inputs)
        return F.mse_loss(outputs, targets), outputs

    @torch.no_grad()
    def score(self, model, split="valid", *, device=None):
        return {"error": float(self.loss(model, self.data[split][0])[0])}


class Toys(Task):
    spec, device, settings = Toy.spec, Toy.device, {"name": "Toys"}

    def __init__(self, at_loss=None):
        self.at_loss, self.drawn = at_loss, []

    def episode(self, index, split="train"):
        self.drawn.append((index, split))
        return Toy(index, self.at_loss)

    def evaluate(self, architecture, *, seed, device=None, budget=None, report=None):
        raise AssertionError("nothing is trained from scratch")


ROUND = {
    "epochs": 4,
    "warmup_epochs": 1,
    "architecture_epochs": 2,
    "updates_per_epoch": 2,
    "tasks_per_update": 3,
    "task_steps": 3,
    "adapt_steps": 4,
    "lr": 0.02,
    "architecture_lr": 0.05,
    "score_tasks": 2,
    "pruned_share": 0.0,
}
META = nasx.MetaNAS(**ROUND)


def run(tasks=None, strategy=META, **options):
    return nasx.search(TOYS, tasks or Toys(), strategy=strategy, progress=False, **options)


def state(learner):
    """Everything that adaptation begins with, as copies."""
    return copy.deepcopy([list(learner.supernet.state_dict().items()), learner._state])


def same(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def timeless(history):
    return [{name: value for name, value in entry.items() if name != "seconds"} for entry in history]


@pytest.fixture(scope="module")
def toy():
    return run()


# -- the algorithm ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pruned", [0, 1, 2])
def test_updates_equal_those_of_the_plain_twin(pruned):
    strategy = dataclasses.replace(
        META, grad_clip=0.5, meta_lr=0.8, architecture_meta_lr=0.3, pruned_share=pruned / 3
    )
    torch.manual_seed(0)
    supernet = TOYS.supernet().double()
    with torch.no_grad():
        supernet.logits["1"].add_(torch.tensor([[0.3, -0.2, 0.0]]))
    weights = [p.detach().clone() for p in supernet.weight_parameters()]
    alphas = [p.detach().clone() for p in supernet.architecture_parameters()]
    history = []
    strategy.fit(supernet, Toys(), seed=5, history=history)
    updates = [
        [Toy(stream(5, update, task, 3)).data["train"] for task in range(3)] for update in range(4 * 2)
    ]
    expected, chosen = reference.reptile(
        weights,
        alphas,
        updates,
        lr=0.02,
        alpha_lr=0.05,
        clip=0.5,
        meta_lr=0.8,
        alpha_meta_lr=0.3,
        warmup=2,
        stands=6,
        pruned=[0] * 4 + [pruned // 2] * 2 + [pruned] * 2,  # it rises while architectures learn
    )
    for ours, theirs, before in zip(supernet.weight_parameters(), expected, weights, strict=True):
        assert float((theirs - before).abs().max()) > 0.01
        torch.testing.assert_close(ours.detach(), theirs, rtol=1e-9, atol=1e-9)
    (ours,) = supernet.architecture_parameters()
    assert float((chosen[0] - alphas[0]).abs().max()) > 0.01
    torch.testing.assert_close(ours.detach(), chosen[0], rtol=1e-9, atol=1e-9)
    assert [entry["architecture_loss"] is None for entry in history] == [True, False, False, False]


def test_adaptation_equals_the_plain_twin_without_memory_of_other_tasks():
    supernet = TOYS.supernet().double()
    weights = [p.detach().clone() for p in supernet.weight_parameters()]
    alphas = [p.detach().clone() for p in supernet.architecture_parameters()]
    fresh = TaskTraining(META, supernet).state()
    learner = nasx.MetaLearner(META, supernet, fresh, spec=Toy.spec)
    adapted = learner.adapt(Toy(7), steps=6)
    expected, chosen = reference.adapt(
        weights,
        alphas,
        2 * Toy(7).data["train"],
        weight_adam=reference.Adam(0.02, 5.0),
        alpha_adam=reference.Adam(0.05),
        learns=True,
    )
    for ours, theirs in zip(adapted.supernet.weight_parameters(), expected, strict=True):
        torch.testing.assert_close(ours.detach(), theirs, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(adapted.supernet.logits["1"].detach(), chosen[0], rtol=1e-9, atol=1e-9)
    assert len(adapted.losses) == 6


def test_the_temperature_falls_within_every_task_and_not_before_architectures_learn():
    seen = []
    run(Toys(lambda model: seen.append(getattr(model, "temperature", None))))
    warm, learning = 1 * 2 * 3 * 3, 3 * 2 * 3 * 2 * 3  # losses: weights alone, and both
    assert seen[:warm] == [1.0] * warm
    falling = [1.0, 1.0, 0.55, 0.55, 0.1, 0.1]
    assert seen[warm : warm + learning] == pytest.approx(falling * (learning // 6))
    scored = [1.0, 1.0, 0.7, 0.7, 0.4, 0.4, 0.1, 0.1, None]  # the last one is the plain network's
    assert seen[warm + learning :] == pytest.approx(scored * 2)
    assert META.temperature_at(0, 1) == META.temperature_at(9, 10) == pytest.approx(0.1)


def test_architectures_move_before_weights_by_optimisers_of_their_own():
    steps = []

    def hook(optimizer, args, kwargs):
        steps.append({id(p) for group in optimizer.param_groups for p in group["params"]})

    handle = register_optimizer_step_pre_hook(hook)
    try:
        supernet = TOYS.supernet()
        short = {"epochs": 1, "warmup_epochs": 0, "architecture_epochs": 1}
        one = dataclasses.replace(META, updates_per_epoch=1, tasks_per_update=1, **short)
        one.fit(supernet, Toys())
    finally:
        handle.remove()
    weights, logits = (
        {id(p) for p in some} for some in (supernet.weight_parameters(), supernet.architecture_parameters())
    )
    assert not weights & logits
    assert steps == [logits, weights] * 3


def test_meta_rates_are_separate_and_fall():
    rates = [META.meta_rates(k) for k in range(8)]
    # Architectures learn in the second and third quarter of the eight updates; then weights settle.
    assert [weights for weights, _ in rates] == pytest.approx([1.0] * 7 + [0.5])
    assert [chosen for _, chosen in rates] == pytest.approx([0.6] * 3 + [0.45, 0.3, 0.15, 0.0, 0.0])
    constant = dataclasses.replace(META, meta_decay=False)
    assert [constant.meta_rates(k) for k in (5, 6, 7)] == [(1.0, 0.6), (1.0, 0.0), (1.0, 0.0)]
    # Where they learn to the end, or never, weights do so too.
    for kind in ({"architecture_epochs": 3}, {"architecture": dict(TOYS.decode(TOYS.sample(1)[0]))}):
        weights = [dataclasses.replace(META, **kind).meta_rates(k)[0] for k in (0, 2, 4, 6, 7)]
        assert weights == pytest.approx([1.0, 0.75, 0.5, 0.25, 0.125])
    supernet = TOYS.supernet()
    before = [p.detach().clone() for p in supernet.architecture_parameters()]
    dataclasses.replace(META, architecture_meta_lr=0.0).fit(supernet, Toys())
    assert same(before, [p.detach() for p in supernet.architecture_parameters()])


def test_only_weights_learn_while_it_warms_up():
    rows = []
    supernet = TOYS.supernet()

    def report(entry):
        rows.append([p.detach().clone() for p in supernet.parameters()])

    dataclasses.replace(META, warmup_epochs=3, architecture_epochs=1).fit(supernet, Toys(), report=report)
    logits = [next(i for i, p in enumerate(supernet.parameters()) if p is supernet.logits["1"])]
    for i in range(len(rows[0])):
        assert torch.equal(rows[0][i], rows[2][i]) == (i in logits)
        assert not torch.equal(rows[2][i], rows[3][i])


def test_every_task_begins_where_the_update_does(monkeypatch):
    begun = []
    run_task = TaskTraining.run

    def watched(self, task, **options):
        begun.append([p.detach().clone() for p in self.learned])
        return run_task(self, task, **options)

    monkeypatch.setattr(TaskTraining, "run", watched)
    tasks = Toys()
    META.fit(TOYS.supernet(), tasks)
    for update in range(8):
        first, *others = begun[3 * update : 3 * update + 3]
        assert all(same(first, other) for other in others)
        assert update == 0 or not same(first, begun[3 * update - 1])
    drawn = [index for index, split in tasks.drawn if split == "train"]
    assert len(set(drawn)) == len(drawn) == 24


def test_a_fixed_architecture_is_reptile_on_its_path_alone():
    strategy = dataclasses.replace(META, architecture=TOYS.decode([0]))
    assert strategy.settings["architecture"] == {"1": "tanh"}
    result = run(strategy=strategy)
    start = TOYS.supernet
    torch.manual_seed(0)
    before = start()
    after = result.supernet
    assert same(after.logits["1"].detach(), before.logits["1"].detach())
    assert dict(result.best.architecture) == {"1": "tanh"}
    adapted = result.adapt(Toy(1))
    assert dict(adapted.architecture) == {"1": "tanh"}
    assert same(adapted.supernet.logits["1"].detach(), before.logits["1"].detach())
    matrices = [net.network[1].mixed.operations[2].weight for net in (before, after, adapted.supernet)]
    assert torch.equal(matrices[0], matrices[1])
    assert torch.equal(matrices[0], matrices[2])
    assert not torch.equal(before.network[0].weight, after.network[0].weight)
    assert all(entry["architecture_loss"] is None for entry in result.history)


# -- adaptation ------------------------------------------------------------------------------------------------


def test_adaptation_leaves_what_was_learned_as_it_is(toy):
    before = state(toy.meta)
    first = toy.adapt(Toy(1), seed=3)
    toy.adapt(Toy(2), steps=9)
    again = toy.meta.adapt(Toy(1), seed=3)
    assert same(state(toy.meta), before)
    assert same(first.model.state_dict(), again.model.state_dict())
    assert first.score() == again.score()
    assert first.losses == again.losses
    assert all(parameter.grad is None for parameter in toy.supernet.parameters())
    moved = toy.adapt(Toy(2), seed=3)
    assert not same(first.model.state_dict(), moved.model.state_dict())


def test_the_callers_random_state_is_left_alone(toy):
    before = torch.random.get_rng_state()
    toy.adapt(Toy(1))
    run(strategy=dataclasses.replace(META, epochs=3))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_only_the_support_is_adapted_to(toy):
    task = Toy(1)
    toy.adapt(task, seed=8)
    assert task.asked == [("train", 8, 20)]


def test_the_network_is_the_strongest_path_with_the_weights_that_it_has(toy):
    for number in range(3):
        adapted = toy.adapt(Toy(number))
        assert adapted.supernet.temperature == pytest.approx(0.1)
        strongest = adapted.supernet.logits["1"].argmax()
        assert dict(adapted.architecture) == {"1": ("tanh", "relu", "matrix")[strongest]}
        x = torch.randn(4, 3)
        with adapted.supernet.path(adapted.architecture):
            torch.testing.assert_close(adapted.model(x), adapted.supernet(x))
        assert not [m for m in adapted.model.modules() if type(m).__module__.startswith("nasx")]
        assert adapted.parameters == 12 + 8 + 16 * (strongest == 2)


def test_ever_more_steps_are_of_the_strongest_path_alone_while_it_is_learned():
    strategy = nasx.MetaNAS(epochs=12, warmup_epochs=3, architecture_epochs=4, pruned_share=0.8)
    assert [strategy.soft_at(epoch) for epoch in range(13)] == [10] * 4 + [8, 6, 4] + [2] * 6
    usual = nasx.MetaNAS(epochs=12)
    assert (usual.warmup_epochs, usual.architecture_epochs, usual.soft_at(6)) == (3, 3, 1)
    assert nasx.MetaNAS(epochs=1).soft_at(0) == nasx.MetaNAS(pruned_share=0).soft_at(99) == 10


def test_the_last_steps_are_of_the_strongest_path_alone(toy):
    strategy = dataclasses.replace(META, pruned_share=0.3)
    learner = nasx.MetaLearner(strategy, toy.supernet, toy.meta._state, spec=Toy.spec)
    seen = []

    def look(model):
        choice = model.current()["1"].choices[0]
        seen.append((model.temperature, choice if isinstance(choice, int) else None))

    adapted = learner.adapt(Toy(1, look), steps=5)  # two of the mixture, as tasks of three steps have
    assert [heat for heat, _ in seen] == pytest.approx([1.0] * 2 + [0.1] * 5)
    strongest = int(adapted.supernet.logits["1"].argmax())
    assert [choice for _, choice in seen] == [None] * 4 + [strongest] * 3
    assert len(adapted.losses) == 5


def test_no_steps_give_the_network_of_the_parameters_as_they_are(toy):
    adapted = toy.adapt(Toy(1), steps=0)
    assert adapted.losses == []
    assert same(
        [p.detach() for p in adapted.supernet.parameters()], [p.detach() for p in toy.supernet.parameters()]
    )
    assert adapted.architecture == toy.best.architecture


def test_the_trial_is_the_mean_over_validation_tasks(toy):
    scores = [toy.adapt(Toys().episode(k, "valid"), seed=0).score()["error"] for k in range(2)]
    assert toy.best.metrics == {"error": sum(scores) / 2}
    tasks = Toys()
    run(tasks)
    assert [index for index, split in tasks.drawn if split == "valid"] == [0, 0, 1]  # the first to see


# -- images ----------------------------------------------------------------------------------------------------


def network():
    def layer():
        candidates = {
            "conv": lambda c: nn.Conv2d(c, c, 3, padding=1, bias=False),
            "skip": lambda c: nn.Identity(),
        }
        return nn.Sequential(LayerChoice(candidates, channels=8), nn.BatchNorm2d(8, affine=False), nn.ReLU())

    stem = nn.Sequential(nn.Conv2d(1, 8, 3, stride=2, bias=False), nn.BatchNorm2d(8), nn.ReLU())
    return nn.Sequential(stem, layer(), nn.Flatten(), nn.Linear(72, 3))


IMAGES = nasx.space_of(network)
DIGITS = nasx.MetaNAS(
    **(ROUND | {"epochs": 3, "warmup_epochs": 1, "task_steps": 6, "lr": 0.01, "batch_size": 15})
)


def digits(**options):
    settings = {"ways": 3, "shots": 5, "queries": 10, "rotations": True, "device": "cpu", "threads": 1}
    return FewShotEpisodes(load("digits"), **(settings | options))


@pytest.fixture(scope="module")
def learned():
    return nasx.search(IMAGES, digits(), strategy=DIGITS, progress=False)


def test_adaptation_helps_on_classes_that_were_never_seen(learned):
    tasks = digits()
    pairs = []
    for index in range(6):
        episode = tasks.episode(index, "test")
        assert set(episode.classes) <= set(tasks.classes["test"])
        pairs.append([learned.adapt(episode, steps=steps).accuracy() for steps in (0, 20)])
    before, after = torch.tensor(pairs).mean(0).tolist()
    assert after > before + 0.15
    assert after > 0.6


def test_running_statistics_are_never_touched(learned):
    adapted = learned.adapt(digits().episode(0, "test"), steps=3)
    for net in (learned.supernet, adapted.supernet):
        norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
        assert len(norms) == 2
        for norm in norms:
            assert norm.track_running_stats
            assert int(norm.num_batches_tracked) == 0
            assert torch.equal(norm.running_var, torch.ones(8))


def test_transductive_networks_normalise_by_their_batch(learned):
    adapted = learned.adapt(digits().episode(0, "test"), steps=3)
    model = adapted.model
    assert not model.training
    ((images, labels),) = adapted.task.loaders("valid", training=False)
    alone = torch.cat([model(images[k : k + 2]) for k in range(0, 30, 2)])
    assert not torch.allclose(alone, model(images), atol=1e-2)
    assert adapted.score()["accuracy"] == pytest.approx(
        float((model(images).argmax(1) == labels).float().mean())
    )
    model.train()
    outputs = model(images)
    torch.testing.assert_close(outputs, model.eval()(images))


def test_networks_normalised_by_the_support_judge_each_image_alone(learned):
    by_support = dataclasses.replace(DIGITS, batch_norm="support")
    learner = nasx.MetaLearner(by_support, learned.supernet, learned.meta._state, spec=learned.meta.spec)
    episode = digits().episode(0, "test")
    adapted, other = learner.adapt(episode, steps=3), learned.adapt(episode, steps=3)
    assert same([*adapted.model.parameters()], [*other.model.parameters()])
    ((images, _),) = episode.loaders("valid", training=False)
    alone = torch.cat([adapted.model(images[k : k + 1]) for k in range(30)])
    torch.testing.assert_close(alone, adapted.model(images), rtol=1e-4, atol=1e-5)
    ((support, _),) = episode.loaders("train", training=False)
    features = adapted.model.get_submodule("0.0")(support)
    norm = adapted.model.get_submodule("0.1")
    torch.testing.assert_close(norm.running_mean, features.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "space",
    [nasx.spaces.NASBench201(cells=1, channels=4), nasx.spaces.DARTS(cells=3, channels=4, nodes=2)],
    ids=["nasbench201", "darts"],
)
def test_spaces_of_cells_adapt_too(space, device):
    tasks = digits(ways=2, shots=2, queries=3, device=device)
    few = {"updates_per_epoch": 1, "tasks_per_update": 1, "task_steps": 1, "adapt_steps": 1, "score_tasks": 1}
    result = nasx.search(
        space, tasks, strategy=nasx.MetaNAS(epochs=1, warmup_epochs=0, **few), progress=False
    )
    assert result.best is not None
    adapted = result.adapt(tasks.episode(0, "test"))
    assert set(adapted.score()) == {"accuracy", "error", "loss"}
    assert next(adapted.model.parameters()).device.type == device
    assert {"genotype", "probabilities", "skips"} <= result.history[0].keys()
    pairs = list(adapted.supernet.edge_probabilities().values())
    assert len(pairs) == (2 if isinstance(space, nasx.spaces.DARTS) else 0)
    for shares in pairs:  # two of each node's edges: both of the first, and of the second one's three
        assert shares.detach().tolist()[:2] == [1.0, 1.0]
        assert float(shares.detach()[2:].sum()) == pytest.approx(2.0)
    for before, after in zip(
        result.supernet.edge_logits.values(), adapted.supernet.edge_logits.values(), strict=True
    ):
        assert not torch.equal(before[2:], after[2:])


# -- stopped and resumed ---------------------------------------------------------------------------------------


def test_interrupted_anywhere_and_resumed_equals_never_interrupted(toy, tmp_path):
    for number, at in enumerate([1, 8, 30, 61, 100, 112]):
        path, left = tmp_path / f"{number}.db", iter(range(at))

        def stop(_, left=left):
            if next(left, None) is None:
                raise KeyboardInterrupt

        first = run(Toys(stop), journal=path)
        assert first.stopped == "interrupted"
        again = run(journal=path)
        assert same(state(again.meta), state(toy.meta))
        assert timeless(again.history) == timeless(toy.history)
        assert again.best.metrics == toy.best.metrics
        assert again.stopped == "epochs"
    opened = run(Toys(lambda _: pytest.fail("it was finished")), journal=path)
    assert same(state(opened.meta), state(toy.meta))
    assert same(opened.adapt(Toy(4)).model.state_dict(), toy.adapt(Toy(4)).model.state_dict())
    path.with_name(path.name + ".checkpoint").unlink()
    with pytest.warns(RuntimeWarning, match="is gone"):
        lost = run(journal=path)
    with pytest.raises(ValueError, match="nothing was learned that could be adapted"):
        lost.adapt(Toy(1))


def test_killed_and_resumed_equals_never_killed(toy, tmp_path):
    path = tmp_path / "run.db"
    for at in (20, 70):

        def die(_, left=iter(range(at))):  # noqa: B008 - one for each
            if next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)

        child = in_a_child(lambda die=die: run(Toys(die), journal=path))
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status)
    again = run(journal=path)
    assert same(state(again.meta), state(toy.meta))
    assert again.best.metrics == toy.best.metrics


def test_time_that_is_over_ends_between_steps_and_restores_the_beginning(monkeypatch):
    clock = [0.0]
    supernet = TOYS.supernet()
    before = [p.detach().clone() for p in supernet.parameters()]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    tasks = Toys(lambda _: clock.__setitem__(0, clock[0] + 1))
    assert META.fit(supernet, tasks, deadline=8.0).stopped == "seconds"
    assert clock[0] == 8
    assert same(before, [p.detach() for p in supernet.parameters()])  # the first update was not complete


def test_architectures_are_within_limits_when_learned_and_when_adapted(toy, tmp_path):
    free = toy.meta.adapt(Toy(1)).architecture
    times = {"tanh": 1.0, "relu": 2.0, "matrix": 3.0}
    times[free[TOYS.names[0]]] = 9.0  # what it would take is over the limit
    table = nasx.hardware.LatencyTable(TOYS, [list(times.values())])
    options = {"costs": {"ms": table}, "limits": {"ms": 5.0}}
    result = run(**options)
    assert result.best.metrics["ms"] <= 5
    assert result.best.architecture != free
    for number in range(3):
        assert table(result.meta.adapt(Toy(number)).architecture.genotype[None])[0] <= 5
    with pytest.warns(UserWarning, match="limits on ms are not saved"):
        result.meta.save(tmp_path / "meta")
    assert run(**(options | {"limits": {"ms": 0.5}})).stopped == "exhausted"


def test_losses_that_are_not_finite_are_reported():
    with pytest.raises(EvaluationError, match="training diverged"):
        run(strategy=dataclasses.replace(META, lr=1e30, grad_clip=None))


# -- saved and loaded ------------------------------------------------------------------------------------------


def test_saved_and_loaded_adapts_to_the_same_bits(learned, toy, tmp_path):
    learned.save(tmp_path / "digits")
    toy.meta.save(tmp_path / "toy.json")
    assert sorted(os.listdir(tmp_path)) == [
        f"{n}.{end}" for n in ("digits", "toy") for end in ("json", "safetensors")
    ]
    again = nasx.MetaLearner.load(tmp_path / "digits", space=IMAGES)
    episode = digits().episode(2, "test")
    ours, theirs = (one.adapt(episode, steps=5, seed=1) for one in (learned, again))
    assert same(ours.model.state_dict(), theirs.model.state_dict())
    assert ours.architecture == theirs.architecture
    assert ours.score() == theirs.score()
    assert again.strategy.settings == DIGITS.settings
    state_before = torch.random.get_rng_state()
    loaded = nasx.MetaLearner.load(tmp_path / "toy.safetensors", space=TOYS)
    assert torch.equal(torch.random.get_rng_state(), state_before)
    assert same(loaded.adapt(Toy(1)).losses, toy.adapt(Toy(1)).losses)
    assert loaded.supernet.temperature == toy.supernet.temperature


def test_modules_that_compute_while_they_are_made_are_loaded(tmp_path):
    def made():
        rates = torch.linspace(0, 0.5, 2).tolist()  # no tensor without values has these
        return nn.Sequential(nn.Linear(3, 2), LayerChoice([nn.Dropout(rates[1]), nn.Identity()]))

    space = nasx.space_of(made)
    supernet = space.supernet()
    nasx.MetaLearner(META, supernet, TaskTraining(META, supernet).state(), spec=Toy.spec).save(
        tmp_path / "own"
    )
    again = nasx.MetaLearner.load(tmp_path / "own", space=space)
    assert same(dict(again.supernet.state_dict()), dict(supernet.state_dict()))
    first, second = (again.adapt(Toy(1), seed=2) for _ in range(2))  # dropout is seeded
    assert first.losses == second.losses


def test_spaces_that_files_describe_need_not_be_given(tmp_path):
    space = nasx.spaces.NASBench201(cells=1, channels=2)
    spec = TaskSpec((1, 8, 8), 2, "image_classification")
    supernet = space.supernet(spec)
    fresh = TaskTraining(META, supernet).state()
    nasx.MetaLearner(META, supernet, fresh, spec=spec).save(tmp_path / "cells")
    again = nasx.MetaLearner.load(tmp_path / "cells")
    assert again.space == space
    assert again.space.settings == space.settings
    assert again.spec == spec
    assert same(dict(again.supernet.state_dict()), dict(supernet.state_dict()))


def test_files_that_are_damaged_foreign_or_hostile_are_refused(toy, tmp_path):
    stem = tmp_path / "toy"
    toy.save(stem)
    load_it = nasx.MetaLearner.load
    with pytest.raises(ValueError, match="cannot make networks by itself: give space="):
        load_it(stem)
    with pytest.raises(ValueError, match="of another space than the one given"):
        load_it(stem, space=IMAGES)
    with pytest.raises(FileNotFoundError):
        load_it(tmp_path / "nothing", space=TOYS)
    json_file, weights = stem.with_suffix(".json"), stem.with_suffix(".safetensors")
    text, blob = json_file.read_text(), weights.read_bytes()
    document = json.loads(text)

    class Evil:
        def __reduce__(self):
            return os.system, ("touch " + str(tmp_path / "evil"),)

    for content in (b"", blob[:-3], pickle.dumps(Evil()), blob[:9] + b"x" + blob[10:]):
        weights.write_bytes(content)
        with pytest.raises(ValueError, match="damaged"):
            load_it(stem, space=TOYS)
    weights.write_bytes(blob)
    assert not (tmp_path / "evil").exists()
    settings = document["strategy"]
    for change in (
        {"format": "nasx network 1"},
        {"strategy": settings | {"epochs": 0}},
        {"strategy": settings | {"colour": 1}},
        {"spec": {"input_shape": [3]}},
        {"space": None},
    ):
        json_file.write_text(json.dumps(document | change))
        with pytest.raises(ValueError, match="damaged or no meta-learner"):
            load_it(stem, space=TOYS)
    json_file.write_text("[" * 100_000)
    with pytest.raises(ValueError, match="damaged or no meta-learner"):
        load_it(stem, space=TOYS)
    # A short file that claims a huge network: nothing of that size is made.
    huge = nasx.spaces.NASBench201(cells=1, channels=2**20)
    json_file.write_text(
        json.dumps(
            document | {"space": huge.to_dict(), "spec": {**document["spec"], "input_shape": [1, 8, 8]}}
        )
    )
    with pytest.raises(ValueError, match="its tensors are not those of such a supernet"):
        load_it(stem)


# -- what is given ---------------------------------------------------------------------------------------------


def test_lists_of_tasks_are_learned_from():
    data = load("digits")
    parts = [tuple(values[k : k + 40] for values in data["train"]) for k in (0, 40)]
    tasks = [ImageClassification(part, part, num_classes=10, threads=1, device="cpu") for part in parts]
    space = nasx.space_of(
        nn.Sequential(nn.Flatten(), nn.Linear(64, 10), LayerChoice([nn.Tanh(), nn.Identity()]))
    )
    result = nasx.search(space, tasks, strategy=META, progress=False)
    assert result.best.state == "complete"
    assert set(result.adapt(tasks[0]).score()) == {"accuracy", "error", "loss"}


def test_wrong_tasks_are_named(toy):
    task = ImageClassification(
        (torch.zeros(4, 8, 8), torch.arange(4) % 2), (torch.zeros(2, 8, 8), torch.arange(2))
    )
    with pytest.raises(
        TypeError, match=r"'meta_nas' learns from many tasks.*FewShotEpisodes.*got ImageClass"
    ):
        run(task)
    with pytest.raises(TypeError, match=r"'darts' trains a supernet: it needs a task.*got FewShotEpisodes"):
        nasx.search(IMAGES, digits(), strategy="darts")
    with pytest.raises(TypeError, match=r"a whole distribution, Toys; give one of its tasks: task\.episode"):
        toy.adapt(Toys())
    with pytest.raises(TypeError, match=r"task must have a spec, loaders, loss and score.*got int"):
        toy.adapt(3)
    with pytest.raises(ValueError, match="task must be like those that were learned from, TaskSpec"):
        toy.adapt(task)
    with pytest.raises(ValueError, match="steps must be an integer of at least 0; got -1"):
        toy.adapt(Toy(0), steps=-1)
    with pytest.raises(ValueError, match="split 'valid' has no classes"):
        nasx.search(IMAGES, digits(valid=0), strategy=DIGITS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"tasks_per_update": 0}, "tasks_per_update must be at least 1"),
        ({"task_steps": 0.5}, "task_steps must be an integer"),
        ({"batch_size": 1}, "batch_size must be at least 2"),
        ({"warmup_epochs": 100}, "warmup_epochs must be less than epochs, 100"),
        ({"architecture_epochs": 0}, "architecture_epochs must be at least 1; got 0"),
        ({"architecture_epochs": 76}, "architecture_epochs must be at most the 75 epochs after"),
        ({"lr": 0}, "lr must be a number of more than 0"),
        ({"meta_lr": 1.5}, "meta_lr must be at most 1"),
        ({"architecture_meta_lr": -0.1}, "architecture_meta_lr must be a number of at least 0"),
        ({"temperature": 0.05}, "final_temperature must be at most temperature"),
        ({"final_temperature": 0}, "final_temperature must be a number of more than 0"),
        ({"batch_norm": "running"}, "batch_norm must be 'transductive' or 'support'; got 'running'"),
        ({"pruned_share": 1.0}, "pruned_share must be less than 1"),
        ({"meta_decay": 1}, "meta_decay must be True or False"),
        ({"architecture": [1, 2]}, "architecture must map decisions to choices"),
    ],
)
def test_wrong_settings_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        nasx.MetaNAS(**options)


def test_settings_make_an_equal_strategy_and_a_wrong_architecture_is_named():
    strategy = get_strategy("meta_nas")
    assert (strategy.warmup_epochs, strategy.architecture_epochs) == (25, 25)
    assert nasx.MetaNAS(epochs=1).warmup_epochs == 0
    assert json.loads(json.dumps(META.settings)) == META.settings == nasx.MetaNAS(**META.settings).settings
    defaults = strategy.settings
    published = {"lr": 1e-3, "meta_lr": 1.0, "architecture_meta_lr": 0.6}
    published |= {"tasks_per_update": 10, "batch_size": 20, "temperature": 1.0, "final_temperature": 0.1}
    assert {name: defaults[name] for name in published} == published
    with pytest.raises(ValueError, match="tanh"):
        run(strategy=dataclasses.replace(META, architecture={"1": "sine"}))


def test_without_torch_the_learner_says_what_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError, match=r"nasx.MetaLearner needs.*pip install 'nasx\[torch\]'"):
        nasx.strategies.transfer.MetaLearner  # noqa: B018
    with pytest.raises(AttributeError, match="no attribute 'MetaLerner'"):
        nasx.strategies.transfer.MetaLerner  # noqa: B018
