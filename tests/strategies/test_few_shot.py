"""Few-shot search: what parts begin with, train and score, and by what they are split."""

import copy
import itertools

import numpy as np
import pytest
import torch
from strategies.test_spos import CELLS, MODULES, Digits, assert_same, recorded_paths, timeless

import nasx
from nasx.errors import JournalError
from nasx.hardware import LatencyTable
from nasx.nn.few_shot import FewShotSupernet
from nasx.strategies.one_shot.few_shot_training import FewShotTraining
from nasx.strategies.one_shot.matching import disagreement, similarities, two_groups
from nasx.tasks import SharedWeights

SHORT = {
    "batch_size": 32,
    "lr": 0.1,
    "recalibration_batches": 3,
    "baseline": 3,
    "epochs": 2,
    "child_epochs": 2,
}
FIRST = MODULES.names[0]


@pytest.fixture(scope="module")
def task():
    return Digits()


def run(task, journal=None, evaluations=9, space=MODULES, **settings):
    strategy = nasx.FewShot(**(SHORT | {"split": FIRST} | settings))
    return nasx.search(space, task, strategy=strategy, evaluations=evaluations, journal=journal, seed=3)


@pytest.fixture(scope="module")
def whole(task, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "run.db"
    return run(task, path), path


def training(task, **settings):
    torch.manual_seed(0)
    supernet = FewShotSupernet(MODULES.supernet())
    strategy = nasx.FewShot(**(SHORT | {"split": FIRST} | settings))
    return FewShotTraining(strategy, supernet, task, seed=0, device=None, deadline=None)


def test_a_search_from_end_to_end(whole):
    result, _ = whole
    assert result.stopped == "evaluations"
    assert [entry["epoch"] for entry in result.history] == [1, 2, 3, 4]
    assert [len(entry.get("losses", [])) for entry in result.history] == [0, 0, 3, 3]
    assert result.history[2]["split"] == FIRST
    assert result.history[2]["lr"] == 0.1  # it begins anew
    assert len(result.supernet.members) == 3
    assert len(result.trials) == 9
    assert len(result.baseline) == 3
    assert result.history[-1]["loss"] < result.history[0]["loss"]


def test_parts_begin_with_all_weights_and_fresh_optimisers(task):
    run = training(task)
    for number in range(2):
        run.epoch(number)
    before = copy.deepcopy(run.supernet.members[0].state_dict())
    run.split()
    for member, one in zip(run.supernet.members, run.trainings, strict=True):
        assert all(torch.equal(value, before[name]) for name, value in member.state_dict().items())
        assert not one.optimizer.state
        assert one.supernet is member
    addresses = [{p.data_ptr() for p in member.parameters()} for member in run.supernet.members]
    assert all(not one & other for one, other in itertools.combinations(addresses, 2))
    with pytest.raises(ValueError, match=r"is split by .* already"):
        run.supernet.split(FIRST, [[0], [1], [2]])


@pytest.mark.parametrize("sampling", ["uniform", "fair"])
def test_parts_train_only_what_they_hold(task, sampling, monkeypatch):
    run = training(task, sampling=sampling, groups=2)
    run.split()
    assert sorted(itertools.chain(*run.supernet.groups)) == [0, 1, 2]
    trained = {}
    for one in run.trainings:
        rows = trained[id(one)] = []
        step = one.step
        monkeypatch.setattr(
            one,
            "step",
            lambda batch, genotypes, s=step, r=rows: (r.extend(genotypes), s(batch, genotypes))[1],
        )
    run.epoch(3)
    for group, one in zip(run.supernet.groups, run.trainings, strict=True):
        assert {int(row[0]) for row in trained[id(one)]} == set(group)
    before = copy.deepcopy(run.supernet.members[1].state_dict())
    run.trainings[0].epoch(1)
    assert all(
        torch.equal(value, before[name]) for name, value in run.supernet.members[1].state_dict().items()
    )


def test_scores_and_networks_come_from_the_part_that_holds_the_architecture(whole, task):
    supernet = whole[0].supernet
    supernet.eval()
    images = torch.randn(3, 1, 8, 8)
    shared = SharedWeights(supernet, task, seed=3, batches=3)
    for trial in whole[0].trials:
        place = supernet.groups.index((int(trial.genotype[0]),))
        member = supernet.members[place]
        alone = SharedWeights(member, task, seed=3, batches=3).evaluate(trial.architecture)
        assert shared.evaluate(trial.architecture) == alone == trial.metrics
        with supernet.path(trial.architecture), torch.no_grad():
            mine = supernet(images)
        with member.path(trial.architecture), torch.no_grad():
            assert torch.equal(member(images), mine)
        network = trial.architecture.extract(supernet)
        torch.testing.assert_close(network(images), mine, rtol=1e-5, atol=1e-5)
    assert supernet.holder(np.array([[0, 0, 0], [2, 1, 1]], np.int32)).tolist() == [0, 2]
    with pytest.raises(RuntimeError, match=r"inside `with supernet.path\(architecture\):` only"):
        supernet(images)


@pytest.mark.parametrize(
    "space",
    [
        nasx.spaces.DARTS(cells=3, channels=4, nodes=2),
        nasx.spaces.NASBench201(cells=1, channels=4),
        nasx.spaces.ENASMacro(layers=3, channels=4),
        nasx.spaces.ShuffleNetV2(channels=(16, 32), repeats=(1, 1), stem=8, stem_stride=1),
    ],
    ids=lambda space: type(space).__name__,
)
def test_supernets_of_all_kinds_are_split_where_their_gradients_disagree(space, task):
    result = run(task, evaluations=2, space=space, epochs=1, child_epochs=1, split="gradient", groups=2)
    supernet = result.supernet.eval()
    assert len(supernet.members) == 2
    best = result.best.architecture
    images = torch.randn(3, 1, 8, 8)
    with supernet.path(best), torch.no_grad():
        network = best.extract(supernet)
        torch.testing.assert_close(network(images), supernet(images), rtol=1e-5, atol=1e-5)
    assert not any(type(module).__module__.startswith("nasx") for module in network.modules())


def test_inactive_decisions_belong_to_the_first_part():
    space = nasx.spaces.NASBench201(cells=1, channels=4)
    supernet = FewShotSupernet(space.supernet(nasx.TaskSpec((1, 8, 8), 10, "image_classification")))
    supernet.split(space.names[1], [[3, 4], [0, 2], [1]])
    rows = np.zeros((6, 6), np.int32)
    rows[:, 1] = [-1, 0, 1, 2, 3, 4]
    assert supernet.holder(rows).tolist() == [0, 1, 2, 1, 0, 0]
    weights, logits = supernet.weight_parameters(), supernet.architecture_parameters()
    assert {id(p) for p in (*weights, *logits)} == {id(p) for p in supernet.parameters()}
    assert len(logits) == 3
    for decision, groups, message in [
        ("nothing", [[0]], "decision must be one of"),
        (space.names[0], [[0, 1], [1, 2, 3, 4]], "groups must hold each choice"),
        (space.names[0], [[0, 1, 2, 3, 4], []], "groups must hold each choice"),
    ]:
        fresh = FewShotSupernet(space.supernet(nasx.TaskSpec((1, 8, 8), 10, "image_classification")))
        with pytest.raises(ValueError, match=message):
            fresh.split(decision, groups)


# -- gradient matching -----------------------------------------------------------------------------------------


def test_similarities_are_cosines_of_the_gradients_of_shared_weights(task):
    torch.manual_seed(0)
    supernet = MODULES.supernet().train()
    batch = next(iter(task.loaders("train", 0, training=True)))
    rest = np.array([[0, 1, 2]], np.int32)
    before = copy.deepcopy(supernet.state_dict())
    found = similarities(supernet, lambda batch: task.loss(supernet, batch)[0], [batch], rest, 1)
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())
    assert all(p.grad is None for p in supernet.parameters())
    flat = []
    for choice in range(3):
        twin = copy.deepcopy(supernet)
        with twin.path(MODULES.architecture(np.array([0, choice, 2], np.int32))):
            task.loss(twin, batch)[0].backward()
        names = [
            n for n, p in twin.named_parameters() if p.grad is not None and not n.startswith("network.5.")
        ]
        flat.append(torch.cat([twin.get_parameter(name).grad.flatten() for name in names]).double())
    for i, j in itertools.product(range(3), repeat=2):
        cosine = torch.nn.functional.cosine_similarity(flat[i], flat[j], 0).item()
        assert found[i, j] == pytest.approx(cosine, abs=1e-5)
    # Choices that must not be, and decisions that are not there, are left out.
    part = similarities(
        supernet,
        lambda batch: task.loss(supernet, batch)[0],
        [batch],
        rest,
        1,
        may=lambda rows: rows[:, 1] < 2,
    )
    assert np.isnan(part[2, 0])
    assert part[0, 1] == pytest.approx(found[0, 1])


def test_the_best_halves_are_those_that_differ_most():
    random = np.random.default_rng(0)
    for size in (2, 3, 4, 5):
        matrix = random.uniform(-1, 1, (size, size))
        matrix = (matrix + matrix.T) / 2
        one, other = two_groups(matrix)
        assert sorted((*one, *other)) == list(range(size))
        assert abs(len(one) - len(other)) <= 1
        best = min(
            matrix[np.ix_(half, [c for c in range(size) if c not in half])].mean()
            for n in {size // 2, size - size // 2}
            for half in itertools.combinations(range(size), n)
        )
        assert matrix[np.ix_(one, other)].mean() == pytest.approx(best)
    assert disagreement(np.eye(3)) == 1
    assert disagreement(np.array([[1, np.nan], [np.nan, 1]])) == -np.inf


def test_the_split_is_by_the_decision_whose_choices_disagree_most(task):
    run = training(task, split="gradient", epochs=1)
    run.epoch(0)
    found = run._similarities(MODULES.names)
    run.split()
    assert run.supernet.decision == max(found, key=lambda name: disagreement(found[name]))
    assert run.supernet.groups == ((0,), (1,), (2,))


# -- settings, limits, resuming --------------------------------------------------------------------------------


@pytest.mark.parametrize("groups", [None, 2])
def test_limits_keep_parts_within_them_too(task, monkeypatch, groups):
    trained = recorded_paths(monkeypatch)
    # A 3x3 convolution alone is over the limit: a part that held nothing else could not be trained.
    table = LatencyTable(CELLS, [[0, 0.1, 1, 6, 0.5]] * 6)
    short = {"groups": groups, "epochs": 1, "child_epochs": 1, "matching_batches": 1}
    result = nasx.search(
        CELLS,
        task,
        strategy=nasx.FewShot(**(SHORT | short)),
        evaluations=3,
        costs={"ms": table},
        limits={"ms": 4.0},
        seed=1,
    )
    assert all(trial.metrics["ms"] <= 4 for trial in result.trials)
    assert len(trained) > 20
    assert (table(np.array(trained)) <= 4).all()
    assert len(result.supernet.members) == (2 if groups else 4)
    assert sorted(choice for group in result.supernet.groups for choice in group) == [0, 1, 2, 3, 4]


def test_wrong_settings_are_refused(task):
    with pytest.raises(ValueError, match="child_epochs must be at least 1; got 0"):
        nasx.FewShot(child_epochs=0)
    with pytest.raises(ValueError, match="groups must be None or 2; got 3"):
        nasx.FewShot(groups=3)
    with pytest.raises(ValueError, match="split must be a decision"):
        nasx.FewShot(split=3)
    with pytest.raises(ValueError, match=r"split must be \"gradient\" or one of .*; got 'nowhere'"):
        run(task, split="nowhere")
    with pytest.raises(TypeError, match=r"must be a nasx.nn.few_shot.FewShotSupernet"):
        nasx.FewShot(**SHORT).fit(MODULES.supernet(), task)


@pytest.mark.parametrize("losses", [15, 25, 52, 85, 105])  # in the whole, in parts, in scores
def test_stopped_anywhere_and_resumed_equals_never_stopped(tmp_path, whole, losses):
    class Killed(BaseException):
        pass

    def die(count):
        if count == losses:
            raise Killed

    with pytest.raises(Killed):
        run(Digits(die), tmp_path / "run.db")
    assert_same(run(Digits(), tmp_path / "run.db"), whole[0])


def test_a_finished_search_is_opened_again_without_training(whole):
    result, path = whole
    idle = Digits()
    again = run(idle, path)
    assert idle.count == 0
    assert_same(again, result)
    assert again.supernet.groups == ((0,), (1,), (2,))
    assert timeless(nasx.Result.load(path).history) == timeless(result.history)


# -- on top of a supernet that there is ------------------------------------------------------------------------


def test_a_parent_is_split_as_a_supernet_that_was_trained_here(task, whole, tmp_path):
    settings = {name: value for name, value in SHORT.items() if name != "child_epochs"}
    trained = nasx.search(MODULES, task, strategy=nasx.SPOS(**settings), evaluations=1, seed=3)
    before = copy.deepcopy(trained.supernet.state_dict())
    path = tmp_path / "run.db"
    result = run(task, path, parent=trained.supernet)
    assert [entry["split"] for entry in result.history] == [FIRST, FIRST]
    expected = [entry["losses"] for entry in whole[0].history[2:]]
    assert [entry["losses"] for entry in result.history] == expected
    assert [trial.metrics for trial in result.trials] == [trial.metrics for trial in whole[0].trials]
    assert all(torch.equal(value, before[name]) for name, value in trained.supernet.state_dict().items())
    idle = Digits()
    assert_same(run(idle, path, parent=trained.supernet), result)
    assert idle.count == 0
    other = MODULES.supernet()
    with pytest.raises(JournalError, match=r"strategy.settings.parent is .* there and .* here"):
        run(task, path, parent=other)


def test_supernets_of_differentiable_methods_are_parents(task):
    space = nasx.spaces.NASBench201(cells=1, channels=4)
    trained = nasx.search(space, task, strategy=nasx.DARTS(epochs=1, batch_size=32), seed=0)
    result = run(task, space=space, split="gradient", groups=2, child_epochs=1, parent=trained.supernet)
    assert len(result.supernet.members) == 2
    assert len(result.history) == 1
    whole = trained.supernet.state_dict()
    member = result.supernet.members[0].state_dict()
    assert whole.keys() == member.keys()
    assert any(not torch.equal(whole[name], member[name]) for name in whole)


def test_a_killed_search_with_a_parent_goes_on(tmp_path):
    class Killed(BaseException):
        pass

    def die(count):
        if count == 20:
            raise Killed

    torch.manual_seed(5)
    parent = MODULES.supernet()
    expected = run(Digits(), tmp_path / "whole.db", parent=parent)
    with pytest.raises(Killed):
        run(Digits(die), tmp_path / "run.db", parent=parent)
    assert_same(run(Digits(), tmp_path / "run.db", parent=parent), expected)


def test_wrong_parents_are_refused(task):
    for wrong in (torch.nn.Linear(2, 2), "run.db", FewShotSupernet(MODULES.supernet())):
        with pytest.raises(ValueError, match=r"parent must be a nasx.nn.Supernet that is in one piece"):
            nasx.FewShot(parent=wrong)
    spec = nasx.TaskSpec((1, 8, 8), 10, "image_classification")
    with pytest.raises(ValueError, match=r"parent must be a supernet of .*channels=4.* one of .*channels=8"):
        run(
            task,
            space=nasx.spaces.NASBench201(cells=1, channels=4),
            split="gradient",
            parent=nasx.spaces.NASBench201(cells=1, channels=8).supernet(spec),
        )
