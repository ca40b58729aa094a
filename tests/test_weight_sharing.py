"""Searches that train a supernet: what they return, and how they stop, resume and refuse."""

import contextlib
import copy
import hashlib
import io
import itertools
import os
import pickle
import signal
import time

import numpy as np
import pytest
import torch
from killing import in_a_child, killed_until_it_ends
from torch import nn

import nasx
from nasx.checkpoint import Checkpoint
from nasx.errors import JournalError, StopSearch
from nasx.journal import Journal
from nasx.nn import LayerChoice, Supernet
from nasx.nn.recalibration import recalibrate
from nasx.strategies.supernet import SupernetStrategy
from nasx.tasks import ImageClassification
from nasx.tasks.datasets import load

# Searches this short end anywhere.
pytestmark = pytest.mark.filterwarnings("ignore:.*skip connections:UserWarning")

CELLS = nasx.spaces.NASBench201(cells=1, channels=4)
DARTS_SPACE = nasx.spaces.DARTS(cells=3, channels=4, nodes=2)
ROUND = {"epochs": 3, "batch_size": 16, "architecture_lr": 0.01}
QUICK = {"epochs": 1, "batch_size": 48}
FEW = {"controller_steps": 2, "controller_samples": 3, "final_samples": 4, "baseline": 2}
ENAS = nasx.ENAS(epochs=3, batch_size=24, **(FEW | {"baseline": 0}))


def network():
    def layer():
        candidates = {"conv": lambda c: nn.Conv2d(c, c, 3, padding=1), "skip": lambda c: nn.Identity()}
        return nn.Sequential(nn.BatchNorm2d(8), LayerChoice(candidates, channels=8), nn.ReLU())

    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    return nn.Sequential(nn.Conv2d(1, 8, 3, stride=2), layer(), layer(), *head)


MODULES = nasx.space_of(network)


class Digits(ImageClassification):
    """A few digits; `at_loss` is called with the number of losses so far, before each one."""

    def __init__(self, at_loss=None, **options):
        data = load("digits")
        (x, y), (a, b) = data["train"], data["valid"]
        super().__init__(
            (x[:96], y[:96]), (a[:48], b[:48]), batch_size=16, threads=1, device="cpu", epochs=1, **options
        )
        self.count, self.at_loss = 0, at_loss

    def loss(self, model, batch):
        self.count += 1
        if self.at_loss is not None:
            self.at_loss(self.count)
        return super().loss(model, batch)


@pytest.fixture(scope="module")
def task():
    return Digits()


def run(task, journal=None, space=CELLS, strategy=None, **options):
    strategy = nasx.DARTS(**ROUND) if strategy is None else strategy
    return nasx.search(space, task, strategy=strategy, journal=journal, **({"seed": 7} | options))


@pytest.fixture(scope="module")
def whole(task, tmp_path_factory):
    """A search that was never stopped, with its journal."""
    path = tmp_path_factory.mktemp("whole") / "run.db"
    return run(task, path), path


def timeless(history):
    return [{k: v for k, v in entry.items() if k != "seconds"} for entry in history]


def assert_same(one, other, trials=1):
    assert timeless(one.history) == timeless(other.history)
    mine, theirs = one.supernet.state_dict(), other.supernet.state_dict()
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    assert len(one.trials) == trials
    assert one.trials[-1].architecture == other.trials[-1].architecture
    assert one.trials[-1].metrics == other.trials[-1].metrics
    assert one.stopped == other.stopped
    assert one.baseline == other.baseline


# -- what comes out --------------------------------------------------------------------------------------------

SEARCHES = {
    "darts": (DARTS_SPACE, nasx.DARTS(epochs=2, batch_size=24)),
    "darts, second order": (DARTS_SPACE, nasx.DARTS(epochs=2, batch_size=24, order=2)),
    "pc_darts": (DARTS_SPACE, nasx.PCDARTS(epochs=2, warmup_epochs=1, batch_size=24)),
    "nasbench201": (CELLS, nasx.DARTS(epochs=2, batch_size=24)),
    "nasbench201, pc_darts": (CELLS, nasx.PCDARTS(epochs=2, warmup_epochs=1, batch_size=24)),
    "modules": (MODULES, nasx.DARTS(epochs=2, batch_size=24)),
    "modules, second order": (MODULES, nasx.DARTS(epochs=2, batch_size=24, order=2)),
    "modules, pc_darts": (MODULES, nasx.PCDARTS(epochs=2, warmup_epochs=1, batch_size=24)),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_from_end_to_end(task, name):
    space, strategy = SEARCHES[name]
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002 - the global one is meant
    settings = copy.deepcopy(strategy.settings)
    result = run(task, space=space, strategy=strategy)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()  # noqa: NPY002
    assert strategy.settings == settings
    assert result.stopped == "epochs"
    assert len(result.history) == 2
    (trial,) = result.trials
    assert result.best is trial
    assert trial.state == "complete"
    assert trial.architecture.genotype.tolist() == result.history[-1]["genotype"]
    assert 0 <= trial.metrics["error"] <= 1
    assert trial.seconds > sum(entry["seconds"] for entry in result.history)
    assert isinstance(result.supernet, Supernet)
    assert result.supernet.space == space
    assert all(
        isinstance(p, float) for row in next(iter(result.history[-1]["probabilities"].values())) for p in row
    )
    if "pc_darts" not in name:  # the score is that of the network that is extracted, its norms measured anew
        network = result.supernet.extract(trial.architecture)
        batches = itertools.islice(task.loaders("train", 7, training=True), 20)
        recalibrate(network, batches, lambda batch: task.loss(network, batch))
        found = task.score(network, "valid")
        assert found["error"] == trial.metrics["error"]
        assert found["loss"] == pytest.approx(trial.metrics["loss"], rel=1e-4)
    trained = result.retrain(task, epochs=1)
    assert not isinstance(trained.model, Supernet)
    assert trained.model(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def test_same_seed_same_bits_and_another_seed_others(task, whole):
    assert_same(run(task), whole[0])
    other = run(task, seed=8)
    assert timeless(other.history) != timeless(whole[0].history)
    assert not torch.equal(other.supernet.logits["cell"], whole[0].supernet.logits["cell"])


def test_the_search_learns(task):
    strategy = nasx.DARTS(epochs=12, batch_size=16, lr=0.1, architecture_lr=0.01)
    result = run(task, strategy=strategy)
    losses = [entry["loss"] for entry in result.history]
    assert losses[-1] < 0.7 * losses[0]
    assert task.score(result.supernet)["error"] < 0.7


def test_the_score_leaves_the_supernet_as_it_was_trained(task, whole):
    supernet = whole[0].supernet
    with torch.random.fork_rng():
        torch.manual_seed(7)
        plain = CELLS.supernet(task.spec)
    nasx.DARTS(**ROUND).fit(plain, task, seed=7)
    assert all(
        torch.equal(a, b)
        for a, b in zip(supernet.state_dict().values(), plain.state_dict().values(), strict=True)
    )


def test_costs_and_limits(task):
    result = run(task, strategy=nasx.DARTS(**QUICK), costs=["parameters"], limits={"parameters": 1e6})
    count = sum(p.numel() for p in result.best.architecture.build(task.spec).parameters())
    assert result.best.metrics["parameters"] == count
    result = run(task, strategy=nasx.DARTS(**QUICK), costs=["parameters"], limits={"parameters": 10})
    assert len(result.trials) == 0
    assert result.history == []  # it is said before anything is trained
    assert result.best is None
    assert "no architecture within the limits on costs" in result.reason
    assert result.stopped == "exhausted"


def test_a_limit_on_what_is_measured_makes_what_is_found_infeasible(task):
    result = run(task, strategy=nasx.DARTS(**QUICK), limits={"error": -1.0})
    (trial,) = result.trials
    assert trial.state == "infeasible"
    assert result.best is None
    assert "error" in result.reason
    assert result.stopped == "epochs"


def test_a_score_that_fails_is_a_failed_trial(tmp_path):
    class Broken(Digits):
        def score(self, model, split="valid", *, device=None):
            raise RuntimeError("no such file")

    with pytest.warns(RuntimeWarning, match="could not be scored"):
        result = run(Broken(), tmp_path / "run.db", strategy=nasx.DARTS(**QUICK))
    (trial,) = result.trials
    assert trial.state == "failed"
    assert "no such file" in trial.error
    assert result.best is None
    assert result.reason
    assert len(result.history) == 1
    # The training is not lost: the same call scores again.
    Broken.score = ImageClassification.score
    again = run(Broken(), tmp_path / "run.db", strategy=nasx.DARTS(**QUICK))
    assert [t.state for t in again.trials] == ["failed", "complete"]
    assert timeless(again.history) == timeless(result.history)
    assert again.best is not None


def test_a_finished_search_without_its_checkpoint_is_not_trained_again(task, tmp_path, whole):
    result, path = whole
    (tmp_path / "run.db").write_bytes(path.read_bytes())
    with pytest.warns(RuntimeWarning, match=r"run.db.checkpoint is gone"):
        again = run(task, tmp_path / "run.db")
    assert again.supernet is None
    assert timeless(again.history) == timeless(result.history)
    assert again.best.metrics == result.best.metrics
    assert again.stopped == "epochs"


def test_scores_do_not_draw_from_the_callers_random_numbers(tmp_path):
    def noise(images):
        return images + 0.5 * torch.randn_like(images)

    metrics = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        metrics.append(run(Digits(augment=noise), strategy=nasx.DARTS(**QUICK)).best.metrics)
        assert torch.equal(torch.get_rng_state(), state)
    assert metrics[0] == metrics[1]


def test_pictures_of_a_search(task, tmp_path):
    result = run(task, space=MODULES, strategy=nasx.DARTS(epochs=2, batch_size=48))
    figure = nasx.plots.plot_history(result)
    assert [axes.get_title() for axes in figure.axes[1:]] == [
        f"{name}: mean weight of each operation" for name in MODULES
    ]
    assert [line.get_label() for line in figure.axes[1].lines] == ["conv", "skip"]
    values = [entry["probabilities"]["1.1"][0][1] for entry in result.history]
    assert figure.axes[1].lines[1].get_ydata().tolist() == pytest.approx(values)
    assert figure.axes[0].lines[0].get_ydata().tolist() == [entry["loss"] for entry in result.history]
    result.plot(tmp_path / "history.png")
    assert (tmp_path / "history.png").stat().st_size > 1000
    other = nasx.search(
        nasx.Space({"a": nasx.Integer(0, 3)}), lambda a: a["a"], objectives={"x": "minimize"}, evaluations=2
    )
    with pytest.raises(ValueError, match="no history"):
        nasx.plots.plot_history(other)


def test_a_budget_may_be_named_and_progress_shown(task, capsys, monkeypatch):
    monkeypatch.setattr("nasx._live._LINE_SECONDS", -1)
    result = run(task, strategy=nasx.DARTS(**QUICK), evaluations=5, progress=True)
    assert len(result.trials) == 1
    assert "1/1 | loss" in capsys.readouterr().err


def test_callbacks_see_the_trial_and_may_stop(task):
    seen = []

    def callback(result, trial):
        seen.append((len(result.history), trial.number))
        raise StopSearch

    result = run(task, strategy=nasx.DARTS(**QUICK), callbacks=[callback])
    assert seen == [(1, 0)]
    assert result.stopped == "callback"
    assert result.best is not None


# -- what is refused -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"workers": 2}, "trains one network in this process: leave workers"),
        ({"replicates": 2}, "trains one network in this process: leave workers"),
        ({"executor": "thread"}, "trains one network in this process"),
        ({"timeout": 3.0}, "trains one network in this process"),
        ({"vectorized": True}, "trains one network in this process"),
        ({"devices": ["cpu"]}, "trains one network in this process"),
        ({"initial": [CELLS.decode([0] * 6)]}, "learns its architecture: leave initial out"),
        ({"initial": CELLS.decode([0] * 6)}, "learns its architecture: leave initial out"),
        ({"evaluations": 0}, "evaluations must be a positive integer; got 0"),
        ({"seconds": -1.0}, "seconds must be"),
        ({"seed": 1.5}, "seed must be an integer; got 1.5"),
    ],
)
def test_what_has_no_meaning_is_refused(task, options, message):
    with pytest.raises(ValueError, match=message):
        run(task, strategy=nasx.DARTS(**QUICK), **options)


def test_spaces_and_tasks_that_cannot_share_are_refused(task):
    with pytest.raises(TypeError, match=r"ConvNet has no supernet\(\), whose networks share weights"):
        run(task, space=nasx.spaces.ConvNet(depths=[1], widths=[4]))

    def score(architecture):
        return 1.0

    message = r"strategy 'darts' trains a supernet: it needs a task with a spec, loaders, loss and score.*got function"
    with pytest.raises(TypeError, match=message):
        run(score, objectives={"error": "minimize"})
    with pytest.raises(ValueError, match=r"divides the space's channels, 4; got 3"):
        run(task, strategy=nasx.PCDARTS(partial_channels=3))
    with pytest.raises(TypeError, match=r"'darts' is no sampled strategy.*for each seed.*retrain"):
        nasx.compare(CELLS, task, ["darts", "random_search"], evaluations=2, seeds=1)


def test_registered_supernet_strategies_are_these():
    names = [
        name
        for name in nasx.available_strategies()
        if issubclass(nasx.registry.strategy_class(name), SupernetStrategy)
    ]
    assert set(names) >= {"darts", "enas", "pc_darts"}


# -- stopped and resumed ---------------------------------------------------------------------------------------


def test_a_finished_search_is_opened_again_without_training(whole):
    result, path = whole
    task = Digits()
    before = path.with_name("run.db.checkpoint").read_bytes()
    again = run(task, path)
    assert task.count == 0
    assert_same(again, result)
    assert again.history == result.history
    assert path.with_name("run.db.checkpoint").read_bytes() == before
    loaded = nasx.Result.load(path)
    assert loaded.history == result.history
    assert loaded.supernet is None
    assert loaded.stopped == "epochs"
    assert loaded.best.architecture == result.best.architecture
    assert result.to_dict()["history"] == result.history
    assert os.listdir(path.parent).count("run.db.checkpoint.new") == 0


@pytest.mark.parametrize(
    ("strategy", "most"),
    [(nasx.DARTS(**ROUND, order=2), 26), (nasx.PCDARTS(**ROUND, warmup_epochs=1), 10), (ENAS, 22)],
    ids=["darts", "pc_darts", "enas"],
)
def test_killed_at_random_moments_and_resumed_equals_never_killed(tmp_path, strategy, most):
    path = tmp_path / "run.db"
    deaths = killed_until_it_ends(
        lambda at_step: run(Digits(at_step), path, strategy=strategy), most, delay=0.02
    )
    assert deaths >= 3
    task = Digits()
    assert_same(run(task, path, strategy=strategy), run(task, strategy=strategy))


@pytest.mark.parametrize(
    ("strategy", "total"),
    [
        # begin, "running", twice (checkpoint, history), asked, told, "epochs"
        (nasx.DARTS(epochs=2, batch_size=48, architecture_lr=0.01), 9),
        # The same with one epoch, the choice that comes last (checkpoint, history), and random ones.
        (nasx.ENAS(epochs=1, batch_size=48, **FEW), 10),
    ],
    ids=["darts", "enas"],
)
def test_killed_between_any_two_writes(task, tmp_path, monkeypatch, strategy, total):
    """Every write to journal and checkpoint is the last one of a process once."""
    path = tmp_path / "run.db"
    whole = run(task, strategy=strategy)

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
        with monkeypatch.context() as patch:
            counted = dying_after(writes)
            for owner, name in (
                *(
                    (Journal, name)
                    for name in ("begin", "set_history", "asked", "told", "set_stopped", "set_baseline")
                ),
                (Checkpoint, "save"),
            ):
                patch.setattr(owner, name, counted(getattr(owner, name)))
            for file in tmp_path.iterdir():
                file.unlink()
            with contextlib.suppress(Killed):
                run(task, path, strategy=strategy)
                break
        again = run(task, path, strategy=strategy)
        assert_same(again, whole)
        assert timeless(nasx.Result.load(path).history) == timeless(whole.history)
        assert len(nasx.Result.load(path).trials) == 1
        writes += 1
    assert writes == total


def test_time_that_is_over_ends_a_search_which_goes_on_to_the_same_bits(tmp_path, whole):
    path = tmp_path / "run.db"

    class Clock:
        now = 0.0

    task = Digits(lambda count: setattr(Clock, "now", count))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "monotonic", lambda: float(Clock.now))
        first = run(task, path, seconds=9)
    assert first.stopped == "seconds"
    assert len(first.history) == 1
    (early,) = first.trials
    assert early.state == "complete"
    assert nasx.Result.load(path).stopped == "seconds"
    # Without more time nothing new is found: at most the whole epochs' architecture, once.
    for _ in range(3):
        again = run(Digits(), path, seconds=1e-9)
        assert again.stopped == "seconds"
        assert timeless(again.history) == timeless(first.history)
        assert len(again.trials) <= 2
    last = run(Digits(), path, seconds=1000)
    assert last.trials[0].metrics == early.metrics
    assert_same(last, whole[0], trials=len(last.trials))
    assert_same(run(Digits(), path), whole[0], trials=len(last.trials))


def test_ctrl_c_returns_what_there_is_and_the_search_goes_on(tmp_path, whole):
    path = tmp_path / "run.db"
    reader, writer = os.pipe()

    def interrupt(count):
        if count == 8:  # in the second epoch
            os.kill(os.getpid(), signal.SIGINT)

    def work():
        result = run(Digits(interrupt), path)
        os.write(writer, pickle.dumps((result.stopped, timeless(result.history), len(result.trials))))

    child = in_a_child(work)
    os.close(writer)
    _, status = os.waitpid(child, 0)
    assert status == 0
    with os.fdopen(reader, "rb") as file:
        stopped, history, trials = pickle.loads(file.read())
    assert (stopped, trials) == ("interrupted", 0)
    assert history == timeless(whole[0].history)[:1]
    loaded = nasx.Result.load(path)
    assert loaded.stopped == "interrupted"
    assert timeless(loaded.history) == history
    assert_same(run(Digits(), path), whole[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"strategy": nasx.DARTS(**(ROUND | {"epochs": 4}))}, "belongs to another search: strategy.*epochs"),
        ({"strategy": nasx.DARTS(**ROUND, order=2)}, "belongs to another search: strategy.*order"),
        ({"strategy": nasx.PCDARTS(**ROUND)}, "belongs to another search: strategy.*pc_darts"),
        ({"seed": 8}, "belongs to another search: seed"),
        ({"space": DARTS_SPACE}, "belongs to another search: space"),
        ({"costs": ["parameters"]}, "belongs to another search: costs"),
    ],
)
def test_other_settings_are_refused_by_name(task, whole, change, message):
    _, path = whole
    before = path.with_name("run.db.checkpoint").read_bytes()
    with pytest.raises(JournalError, match=message):
        run(task, path, **change)
    assert path.with_name("run.db.checkpoint").read_bytes() == before


def test_without_its_checkpoint_an_unfinished_search_begins_anew(task, whole, tmp_path):
    result, path = whole
    copied = tmp_path / "run.db"
    copied.write_bytes(path.read_bytes())
    with Journal(copied) as journal:
        journal.set_stopped("interrupted")
    assert_same(run(task, copied), result)


def test_a_journal_is_removed_with_its_checkpoint(task, tmp_path):
    path = tmp_path / "run.db"
    run(task, path, strategy=nasx.DARTS(**QUICK))
    assert {file.name for file in tmp_path.iterdir()} >= {"run.db", "run.db.checkpoint"}
    Journal.remove(path)
    assert not {file.name for file in tmp_path.iterdir()} & {"run.db", "run.db.checkpoint"}


# -- checkpoints -----------------------------------------------------------------------------------------------


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


def signed(content):
    """A file as `Checkpoint` writes it, whoever makes it."""
    return b"nasx checkpoint 1\n" + hashlib.sha256(content).hexdigest().encode() + b"\n" + content


def saved(value):
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def damaged(kind, content, marker):
    trap = Malicious(marker)
    plain = {
        "empty": b"",
        "truncated": content[: len(content) // 2],
        "cut at the end": content[:-3],
        "cut in its first lines": content[:40],
        "unsigned": content[content.index(b"PK") :],
        "malicious": signed(saved({"identity": "", "state": trap})),
        "malicious pickle": signed(pickle.dumps(trap)),
        "malicious and unsigned": pickle.dumps(trap),
        "foreign": saved({"weights": torch.ones(2)}),
        "foreign and signed": signed(saved({"weights": torch.ones(2)})),
        "tensor": signed(saved(torch.ones(2))),
        "other types": signed(saved({"identity": torch.ones(2), "state": torch.ones(2)})),
    }
    if kind in plain:
        return plain[kind]
    whole = torch.load(io.BytesIO(content[content.index(b"PK") :]), weights_only=True)
    state = whole["state"]
    if kind == "another seed":
        whole["identity"] = whole["identity"].replace('"seed": 7', '"seed": 9')
    elif kind == "no state":
        whole["state"] = {}
    elif kind == "other shapes":
        state["supernet"]["stem.0.weight"] = torch.ones(3)
    else:
        name, value = {
            "history": ("history", "[1"),
            "no history": ("history", "3"),
            "no epochs": ("history", "[1, 2]"),
            "passes": ("passes", "many"),
            "optimizer": ("weight_optimizer", {"state": {}, "param_groups": []}),
            "scaler": ("scaler", 3),
        }[kind]
        state[name] = value
    return signed(saved(whole))


@pytest.mark.parametrize(
    "kind",
    [
        *("empty", "truncated", "cut at the end", "cut in its first lines", "unsigned"),
        *("malicious", "malicious pickle", "malicious and unsigned"),
        *("foreign", "foreign and signed", "tensor", "other types"),
        *("no state", "other shapes", "history", "no history", "no epochs", "passes", "optimizer"),
        "another seed",
    ],
)
def test_damaged_and_foreign_checkpoints_are_refused_and_kept(task, whole, tmp_path, kind):
    _, path = whole
    checkpoint = path.with_name("run.db.checkpoint")
    copied, beside = tmp_path / "run.db", tmp_path / "run.db.checkpoint"
    copied.write_bytes(path.read_bytes())
    wrong = damaged(kind, checkpoint.read_bytes(), tmp_path / "run")
    assert wrong != checkpoint.read_bytes()
    beside.write_bytes(wrong)
    message = "another space, task, strategy or seed" if kind == "another seed" else "run.db.checkpoint is"
    with pytest.raises(JournalError, match=message):
        run(task, copied)
    assert beside.read_bytes() == wrong
    assert not (tmp_path / "run").exists()
    # The journal is free again, and is what it was.
    assert timeless(nasx.Result.load(copied).history) == timeless(whole[0].history)


def test_bits_that_flipped_are_noticed(tmp_path):
    checkpoint = Checkpoint(tmp_path / "state", {"seed": 1})
    state = {"weights": {"w": torch.arange(100.0)}, "history": "[]", "count": 3}
    checkpoint.save(state)
    content = (tmp_path / "state").read_bytes()
    random = np.random.default_rng(0)
    assert torch.equal(checkpoint.load()["weights"]["w"], state["weights"]["w"])
    for place in [*range(90), *random.choice(len(content), 100)]:
        wrong = bytearray(content)
        wrong[place] ^= 1 << random.integers(8)
        (tmp_path / "state").write_bytes(wrong)
        with pytest.raises(JournalError, match="damaged or no checkpoint"):
            checkpoint.load()


def test_a_checkpoint_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "state"
    checkpoint = Checkpoint(path, {"seed": 1})
    assert checkpoint.load() is None
    checkpoint.save({"epoch": 1})
    checkpoint.save({"epoch": 2})
    assert checkpoint.load() == {"epoch": 2}
    assert [file.name for file in tmp_path.iterdir()] == ["state"]
    with pytest.raises(JournalError, match="another space, task, strategy or seed"):
        Checkpoint(path, {"seed": 2}).load()
    nowhere = Checkpoint(tmp_path / "none" / "state", {})
    with pytest.raises(JournalError, match=r"cannot be written: .*the state of the epoch before is kept"):
        nowhere.save({"epoch": 1})
    path.unlink()
    path.mkdir()
    with pytest.raises(JournalError, match="damaged or no checkpoint"):
        checkpoint.load()
    with pytest.raises(JournalError, match="cannot be written"):
        checkpoint.save({"epoch": 3})
    assert [file.name for file in tmp_path.iterdir()] == ["state"]


@pytest.mark.parametrize(
    ("device", "message"), [("gpu", "a name that torch knows"), ("cuda:99", "torch finds no GPU|cuda:99")]
)
def test_devices_that_are_not_there_are_refused(device, message):
    images = torch.rand(8, 1, 8, 8), torch.arange(8) % 2
    task = nasx.tasks.ImageClassification(images, images, epochs=1, device="cpu")
    space = nasx.spaces.NASBench201(cells=1, channels=4)
    with pytest.raises(ValueError, match=message):
        nasx.search(space, task, strategy=nasx.SPOS(epochs=1), evaluations=1, device=device)
