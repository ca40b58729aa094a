"""Journals: a run that is killed or stopped goes on as if it never had been; foreign and damaged files are refused."""

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

import nasx
from nasx import Categorical, Integer, Space
from nasx.errors import JournalError
from nasx.journal import Journal
from nasx.registry import strategy_class
from nasx.strategies.supernet import SupernetStrategy

OBJECTIVES = {"error": "minimize", "size": "minimize"}


@pytest.fixture
def space():
    return Space(
        {"a": Integer(0, 9), "b": Integer(0, 9), "op": Categorical(["conv", "skip"], when={"a": [1, 2, 3]})}
    )


def task(architecture, budget=9):
    if architecture["b"] == 5:
        raise ValueError("five")
    return {"error": abs(architecture["a"] - 3) / 7 + 1 / budget, "size": architecture["b"] + 0.1}


MULTI_FIDELITY = {
    "asha": nasx.ASHA(max_budget=9),
    "hyperband": nasx.Hyperband(max_budget=9, inner={"name": "nsga2", "population_size": 4}),
}


def run(space, journal=None, *, evaluations=60, **options):
    arguments = {"objectives": OBJECTIVES, "strategy": nasx.NSGA2(population_size=8), "seed": 3} | options
    return nasx.search(space, task, evaluations=evaluations, journal=journal, **arguments)


def sequence(result):
    return [(t.number, tuple(t.genotype), t.state, t.metrics, t.violation, t.budget) for t in result.trials]


# Those that train a supernet: see test_weight_sharing.py.
SUPERNET = {n for n in nasx.available_strategies() if issubclass(strategy_class(n), SupernetStrategy)}


@pytest.mark.parametrize("name", sorted({*nasx.available_strategies()} - SUPERNET - {"neat"}))
@pytest.mark.parametrize("limits", [None, {"size": 8.0}])
def test_stopped_at_any_point_and_resumed_equals_never_stopped(space, tmp_path, name, limits):
    strategy = MULTI_FIDELITY.get(name, name)
    whole = run(space, strategy=strategy, limits=limits, evaluations=40)
    path = tmp_path / "run.db"
    for evaluations in (1, 2, 7, 8, 9, 25, 40):
        result = run(space, path, evaluations=evaluations, strategy=strategy, limits=limits)
        assert sequence(result) == sequence(whole)[: len(result.trials)]
        assert evaluations <= result.spent + 1e-9 < evaluations + 1
        assert result.stopped == "evaluations"
    loaded = nasx.Result.load(path)
    assert sequence(loaded) == sequence(whole)
    assert loaded.best.architecture == whole.best.architecture
    assert loaded.stopped == "evaluations"
    assert [t.error for t in loaded.trials] == [t.error for t in result.trials]


def test_interrupted_evaluations_are_issued_again(space, tmp_path):
    calls = []

    def interrupted(architecture):
        calls.append(architecture)
        if len(calls) == 20:
            raise KeyboardInterrupt
        return task(architecture)

    path = tmp_path / "run.db"
    options = {
        "objectives": OBJECTIVES,
        "strategy": nasx.NSGA2(population_size=8),
        "seed": 3,
        "evaluations": 60,
    }
    interrupted.__qualname__ = task.__qualname__
    result = nasx.search(space, interrupted, journal=path, **options)
    assert (result.stopped, len(result.trials)) == ("interrupted", 19)
    assert sequence(nasx.search(space, interrupted, journal=path, **options)) == sequence(run(space))
    assert len(calls) == 61  # the interrupted one twice, the others once


def test_measured_costs_are_remembered(space, tmp_path):
    """Limits on a cost that differs at every measurement still give the same proposals after a resume."""

    class Noisy:
        name, deterministic, settings = "noisy", False, {}
        random = np.random.default_rng()

        def __call__(self, genotypes):
            return self.random.uniform(0, 2, len(genotypes))

    path = tmp_path / "run.db"
    options = {"costs": {"noisy": Noisy()}, "limits": {"noisy": 1.0}}
    first = run(space, path, evaluations=25, **options)
    assert all(t.metrics["noisy"] <= 1 for t in first.trials)
    again = run(space, path, evaluations=40, **options)  # a divergence would warn, and warnings are errors
    assert sequence(again)[:25] == sequence(first)


def test_initial_architectures_are_not_evaluated_twice(space, tmp_path):
    initial = [{"a": 0, "b": 0}, {"a": 1, "b": 1, "op": "conv"}, {"a": 9, "b": 9}]
    whole = run(space, initial=initial)
    for evaluations in (2, 30, 60):
        result = run(space, tmp_path / "run.db", evaluations=evaluations, initial=initial)
    assert sequence(result) == sequence(whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 4}, "seed is 3 there and 4 here"),
        ({"strategy": "random_search"}, 'strategy.name is "nsga2" there'),
        (
            {"strategy": nasx.NSGA2(population_size=9)},
            "strategy.settings.population_size is 8 there and 9 here",
        ),
        ({"objectives": {"error": "minimize"}}, "objectives.size"),
        ({"objectives": dict(reversed(OBJECTIVES.items()))}, "objectives has another order"),
        ({"limits": {"size": 3}}, "limits.size is null there and 3.0 here"),
        ({"costs": {"c": lambda x: x[:, 0]}}, "costs.c"),
        ({"initial": [{"a": 0, "b": 0}]}, "initial is"),
    ],
)
def test_a_journal_of_another_search_is_refused_by_name(space, tmp_path, change, message):
    path = tmp_path / "run.db"
    before = sequence(run(space, path, evaluations=5))
    with pytest.raises(JournalError, match=message):
        run(space, path, **change)
    assert sequence(nasx.Result.load(path)) == before


def test_a_journal_of_another_space_or_task_is_refused(space, tmp_path):
    path = tmp_path / "run.db"
    run(space, path, evaluations=5)
    wider = Space(dict(space.decisions) | {"b": Integer(0, 10)})
    with pytest.raises(JournalError, match=r"space\.decisions\.b\.choices"):
        run(wider, path)
    with pytest.raises(JournalError, match=r"task\.name"):
        nasx.search(space, lambda a: 1.0, objectives=OBJECTIVES, evaluations=5, journal=path, seed=3)


def test_foreign_damaged_and_missing_files_are_refused_and_kept(space, tmp_path):
    text = tmp_path / "notes.txt"
    text.write_text("not a database, but long enough to be mistaken for one " * 20)
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mine (x)")
    connection.close()
    cut, flipped = tmp_path / "cut.db", tmp_path / "flipped.db"
    run(space, cut, evaluations=60)
    content = cut.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    damaged = bytearray(content)
    for at in range(4096, len(damaged), 97):
        damaged[at] ^= 0xFF
    flipped.write_bytes(damaged)
    for path in (text, other, cut, flipped):
        before = path.read_bytes()
        with pytest.raises(JournalError, match=path.name):
            run(space, path)
        with pytest.raises(JournalError, match=path.name):
            nasx.Result.load(path)
        assert path.read_bytes() == before
    with pytest.raises(FileNotFoundError, match="no journal"):
        nasx.Result.load(tmp_path / "missing.db")


def test_nonsense_inside_a_journal_is_refused(space, tmp_path):
    path = tmp_path / "run.db"
    run(space, path, evaluations=5)
    for sql in (
        "UPDATE asks SET genotypes = x'00' WHERE id = 1",
        "UPDATE asks SET genotypes = x'ff000000ff000000ff000000' WHERE id = 1",
        "UPDATE trials SET number = 99 WHERE told = 1",
        "UPDATE trials SET metrics = '{' WHERE told = 1",
        "UPDATE run SET value = '{' WHERE key = 'space'",
        "UPDATE run SET value = '3' WHERE key = 'space'",
    ):
        copy = tmp_path / "copy.db"
        copy.write_bytes(path.read_bytes())
        with sqlite3.connect(copy) as connection:
            connection.execute(sql)
        connection.close()
        with pytest.raises(JournalError, match=r"copy\.db"):
            nasx.Result.load(copy)


def test_one_writer_at_a_time_and_readers_meanwhile(space, tmp_path):
    path = tmp_path / "run.db"
    seen = []

    def callback(result, trial):
        seen.append(len(nasx.Result.load(path).trials))
        for refused in (Journal, Journal.remove):
            with pytest.raises(JournalError, match="being written already"):
                refused(path)

    run(space, path, evaluations=5, callbacks=[callback])
    assert seen == [1, 2, 3, 4, 5]
    assert nasx.Result.load(path).stopped == "evaluations"
    Journal.remove(path)
    assert not path.exists()
    Journal.remove(path)
    path.write_text("precious")
    with pytest.raises(JournalError, match="not a journal"):
        Journal.remove(path)
    assert path.read_text() == "precious"


def test_reading_while_a_fast_search_writes(space, tmp_path):
    path = tmp_path / "run.db"
    wide = Space({f"x{i}": Integer(0, 9) for i in range(4)})
    options = {"objectives": {"x": "minimize"}, "strategy": "random_search", "evaluations": 4000}
    writer = threading.Thread(target=lambda: nasx.search(wide, lambda a: 1.0, journal=path, **options))
    writer.start()
    counts = []
    while writer.is_alive():
        try:
            counts.append(len(nasx.Result.load(path).trials))
        except (FileNotFoundError, JournalError):
            assert not counts  # not begun yet; from then on every reading succeeds
    writer.join()
    assert counts == sorted(counts)
    assert len(set(counts)) > 3


def test_a_forked_child_does_not_keep_the_lock(space, tmp_path):
    path = tmp_path / "run.db"
    code = f"""
import os, time
from nasx.journal import Journal
journal = Journal({str(path)!r})
if os.fork() == 0:
    time.sleep(5)
    os._exit(0)
print("ready", flush=True)
time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    with pytest.raises(JournalError, match="being written already"):
        Journal(path)
    process.kill()
    process.wait()
    process.stdout.close()
    Journal(path).close()


def test_what_json_cannot_hold_is_named(space, tmp_path):
    class Odd(nasx.NSGA2):
        @property
        def settings(self):
            return {"path": tmp_path}

    with pytest.raises(TypeError, match="cannot record strategy"):
        run(space, tmp_path / "run.db", strategy=Odd())


def test_a_divergence_is_reported_and_nothing_is_lost(space, tmp_path):
    path = tmp_path / "run.db"
    run(space, path, strategy="local_search", evaluations=30)
    with sqlite3.connect(path) as connection:
        blob = connection.execute("SELECT genotypes FROM asks WHERE id = 3").fetchone()[0]
        blob = np.array([9, 9, -1], "<i4").tobytes() + blob[12:]
        connection.execute("UPDATE asks SET genotypes = ? WHERE id = 3", (blob,))
    connection.close()
    with pytest.warns(RuntimeWarning, match=r"\d+ of its proposals differ"):
        result = run(space, path, strategy="local_search", evaluations=40)
    assert len(result.trials) == 40


@pytest.mark.parametrize(
    "position", ["[1, 2]", "[1, 2, 3, -4]", "[1, 2, 3, 4.5]", "{}", "3", "[[], 0, 0, 0]"]
)
def test_a_position_that_is_none_is_refused(space, tmp_path, position):
    path = tmp_path / "run.db"
    run(space, path, evaluations=30)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE asks SET position = ?", (position,))
    connection.close()
    with pytest.raises(JournalError, match=r"run\.db cannot be resumed: position must be 4 integers"):
        run(space, path, evaluations=40)


def test_a_strategy_without_a_position_takes_none(space, tmp_path):
    path = tmp_path / "run.db"
    run(space, path, strategy="local_search", evaluations=30)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE asks SET position = '[1, 2, 3, 4]'")
    connection.close()
    with pytest.raises(JournalError, match="LocalSearch has no position"):
        run(space, path, strategy="local_search", evaluations=40)


KILLED = """
import sys, time, nasx
sys.path.insert(0, {tests!r})
from test_journal import OBJECTIVES, task
from nasx import Categorical, Integer, NSGA2, Space

def slow(architecture):
    print("evaluating", flush=True)
    time.sleep(0.002)
    return task(architecture)

slow.__qualname__ = task.__qualname__
space = Space({{"a": Integer(0, 9), "b": Integer(0, 9), "op": Categorical(["conv", "skip"], when={{"a": [1, 2, 3]}})}})
nasx.search(space, slow, objectives=OBJECTIVES, strategy=NSGA2(population_size=8), seed=3, evaluations=60,
            journal=sys.argv[1])
"""


def test_killed_at_random_moments_and_resumed_equals_never_killed(space, tmp_path):
    path = tmp_path / "run.db"
    program = textwrap.dedent(KILLED).format(tests=os.path.dirname(__file__))
    random = np.random.default_rng(0)
    told = 0
    for _ in range(20):
        process = subprocess.Popen([sys.executable, "-c", program, path], stdout=subprocess.PIPE)
        for _ in range(random.integers(1, 5)):
            process.stdout.readline()
        time.sleep(random.uniform(0, 0.008))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        try:
            count = len(nasx.Result.load(path).trials)
        except (FileNotFoundError, JournalError):  # killed before the search was written down
            count = 0
        assert count >= told  # nothing told is ever lost
        told = count
    assert told > 0
    assert sequence(run(space, path)) == sequence(run(space))


CUT_OFF = """
import resource, signal, sys
from nasx.journal import Journal

signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # kills the process in the middle of a write
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
Journal(sys.argv[1])
"""


def test_killed_while_the_journal_is_made(space, tmp_path):
    whole = sequence(run(space, evaluations=10))
    cut_off = 0
    for size in range(0, 50_000, 4096):
        path = tmp_path / f"run{size}.db"
        done = subprocess.run([sys.executable, "-c", CUT_OFF, path, str(size)], check=False)
        assert done.returncode in (0, -signal.SIGXFSZ)
        cut_off += done.returncode != 0 and path.stat().st_size > 0
        with pytest.raises((FileNotFoundError, JournalError), match=path.name):
            nasx.Result.load(path)
        assert sequence(run(space, path, evaluations=10)) == whole
        assert sequence(nasx.Result.load(path)) == whole
    assert cut_off > 2
