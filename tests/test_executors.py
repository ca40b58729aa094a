"""Evaluations in other processes: they die, hang, raise and get lost, and the search goes on."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from workloads import (
    OBJECTIVES,
    SPACE,
    Logged,
    Placed,
    budgeted,
    deadly,
    error,
    hanging,
    one_way,
    slow,
    stopping,
    uneven,
    where,
)

import nasx
from nasx.errors import WorkerError
from nasx.journal import Journal

TESTS = os.path.dirname(__file__)


def search(task, **options):
    arguments = {"objectives": OBJECTIVES, "strategy": "random_search", "evaluations": 30, "seed": 2}
    if isinstance(task, nasx.Task):
        del arguments["objectives"]
    return nasx.search(SPACE, task, **arguments | options)


def found(result):
    """What was found, in whatever order it came."""
    return {t.number: (tuple(t.genotype), t.state, t.metrics) for t in result.trials}


def test_workers_find_what_one_process_finds():
    result = search(error, workers=2)
    assert found(result) == found(search(error))
    assert result.stopped == "evaluations"


def test_two_processes_share_the_work_and_end_with_the_search():
    result = search(where, workers=2, evaluations=40)
    pids = {int(t.metrics["pid"]) for t in result.trials}
    assert len(pids) == 2
    assert os.getpid() not in pids
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_slow_evaluation_idles_nobody():
    result = search(uneven, workers=2, evaluations=40, strategy=nasx.NSGA2(population_size=8))
    order = [t.number for t in result.trials]
    assert sorted(order) == list(range(40))
    assert order != sorted(order)  # told as they came


@pytest.mark.parametrize(
    "strategy",
    ["regularized_evolution", "gaussian_process", "tpe", "reinforce", "ppo", nasx.ASHA(max_budget=9)],
)
def test_strategies_learn_from_what_workers_give(strategy):
    task = budgeted if isinstance(strategy, nasx.ASHA) else error
    result = search(task, workers=2, strategy=strategy, evaluations=60)
    assert result.best.metrics["error"] < 1500
    assert 60 <= result.spent + 1e-6 < 62


def test_whatever_workers_do_the_search_goes_on():
    result = search(deadly, workers=2, evaluations=60)
    assert len(result.trials) == 60
    wanted = {
        0: "was killed by signal 9 (out of memory?)",
        1: "the worker process ended with code 3",
        2: "ValueError: no luck",
        3: "'error' is nan",
        4: "SystemExit",
        5: "cannot be sent back",
    }
    seen = set()
    for trial in result.trials:
        kind = trial.architecture["a"] % 12
        assert (trial.state == "failed") == (kind in wanted)
        if kind in wanted:
            assert wanted[kind] in trial.error
            seen.add(kind)
        else:
            assert trial.metrics["error"] == error(trial.architecture)
    assert seen == set(wanted)


def test_what_cannot_be_read_back_fails_a_trial_alone():
    result = search(one_way, workers=2, evaluations=30)
    assert len(result.trials) == 30
    failed = [trial for trial in result.trials if trial.state == "failed"]
    assert failed
    assert all(trial.architecture["a"] % 5 == 0 for trial in failed)
    assert all("cannot be read in the search's process" in trial.error for trial in failed)


def test_a_resumed_search_has_the_seconds_that_are_left_whatever_its_workers(tmp_path):
    arguments = {"journal": tmp_path / "a.db", "evaluations": None}
    first = search(slow, workers=4, seconds=1.0, **arguments)
    begun = time.monotonic()
    second = search(slow, seconds=2.0, **arguments)
    assert len(second.trials) > len(first.trials)
    assert time.monotonic() - begun > 0.4
    assert second.stopped == "seconds"


@pytest.mark.parametrize("workers", [None, 2])
def test_a_worker_that_hangs_is_stopped_and_replaced(workers):
    begun = time.monotonic()
    result = search(hanging, workers=workers, timeout=0.4, evaluations=12)
    assert time.monotonic() - begun < 30
    hung = [t for t in result.trials if t.architecture["a"] % 4 == 0]
    assert hung
    assert all(t.state == "failed" and "more than 0.4 s" in t.error for t in hung)
    assert all(0.4 <= t.seconds < 5 for t in hung)
    assert sum(t.state == "complete" for t in result.trials) == 12 - len(hung)


def test_a_task_can_end_the_search_from_a_worker():
    assert search(stopping, workers=2).stopped == "callback"


def test_seconds_and_limits_and_costs_with_workers():
    result = search(slow, workers=2, evaluations=None, seconds=2.0)
    assert result.stopped == "seconds"
    assert len(result.trials) > 4
    options = {"costs": {"sum": lambda x: x.sum(axis=1)}, "limits": {"sum": 60.0, "error": 3000.0}}
    result = search(slow, workers=2, **options)
    assert all(t.metrics["sum"] <= 60 for t in result.trials)
    assert result.best is None or result.best.metrics["error"] <= 3000


def test_a_small_space_that_runs_out_with_workers():
    space = nasx.Space({"a": nasx.Integer(0, 4), "b": nasx.Integer(0, 2)})
    result = nasx.search(space, error, objectives=OBJECTIVES, workers=3, evaluations=99)
    assert result.stopped == "exhausted"
    assert len(result.trials) == 15


def test_what_cannot_be_sent_is_named():
    with pytest.raises(WorkerError, match="cannot be sent to worker processes"):
        search(lambda a: 0.0, workers=2)


def test_a_script_without_a_guard_is_told_so(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import nasx

        def task(architecture):
            return 0.0

        space = nasx.Space({"a": nasx.Integer(0, 9)})
        nasx.search(space, task, objectives={"x": "minimize"}, evaluations=4, workers=2)
        """)
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "WorkerError: a worker process ended before it was ready" in done.stderr
    assert "if __name__ == '__main__'" in done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"workers": 0}, ValueError, "workers must be a positive integer; got 0"),
        ({"workers": True}, ValueError, "workers must be"),
        ({"timeout": 0}, ValueError, "timeout must be a positive number of seconds; got 0"),
        ({"executor": 3}, TypeError, "executor must have submit"),
        ({"device": "cpu", "devices": ["cpu"]}, ValueError, "device= or devices="),
    ],
)
def test_bad_arguments_are_named(options, kind, message):
    with pytest.raises(kind, match=message):
        search(error, **options)


# -- devices -------------------------------------------------------------------------------------------------


def test_devices_take_turns():
    result = search(Placed(), devices=["cpu:0", "cpu:1", "cpu:2"], evaluations=30)
    counts = np.bincount([int(t.metrics["device"]) for t in result.trials], minlength=3)
    assert counts.sum() == 30
    assert (counts > 0).all()
    with ThreadPoolExecutor(2) as executor:
        result = search(Placed(), devices=["cpu:0", "cpu:1"], executor=executor)
    assert {int(t.metrics["device"]) for t in result.trials} == {0, 1}
    assert {int(t.metrics["device"]) for t in search(Placed(), device="cpu:5").trials} == {5}


# -- other people's executors --------------------------------------------------------------------------------


@pytest.fixture(params=["threads", "processes", "dask", "ray"])
def executor(request):
    if request.param == "threads":
        with ThreadPoolExecutor(2) as pool:
            yield pool
    elif request.param == "processes":
        with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
            yield pool
    elif request.param == "dask":
        distributed = pytest.importorskip("distributed")
        with (
            distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client.get_executor()
    else:
        ray = pytest.importorskip("ray")
        ray.init(
            num_cpus=2,
            include_dashboard=False,
            log_to_driver=False,
            runtime_env={"env_vars": {"PYTHONPATH": TESTS}},
        )
        try:
            yield nasx.executors.RayExecutor(num_cpus=1)
        finally:
            ray.shutdown()


@pytest.mark.filterwarnings("default")  # of other people's clusters
def test_executors_find_what_one_process_finds(executor):
    result = search(slow, executor=executor, workers=2)
    assert found(result) == found(search(error))
    result = search(raising, executor=executor, workers=2)
    assert {t.state for t in result.trials} == {"failed", "complete"}
    assert all("ValueError: odd" in t.error for t in result.trials if t.state == "failed")


MPI = """
import sys
sys.path.insert(0, {tests!r})
from mpi4py.futures import MPIPoolExecutor
import nasx
from workloads import OBJECTIVES, SPACE, slow
if __name__ == "__main__":
    with MPIPoolExecutor() as executor:
        result = nasx.search(SPACE, slow, objectives=OBJECTIVES, strategy="random_search", evaluations=30,
                             seed=2, executor=executor, workers=2)
    print(sorted((t.number, t.metrics["error"]) for t in result.trials))
"""


def test_mpi_finds_what_one_process_finds(tmp_path):
    pytest.importorskip("mpi4py")
    mpiexec = shutil.which("mpiexec", path=f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}")
    if mpiexec is None:
        pytest.skip("there is no mpiexec")
    script = tmp_path / "script.py"
    script.write_text(MPI.format(tests=TESTS))
    command = [mpiexec, "-n", "3", sys.executable, "-m", "mpi4py.futures", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    wanted = sorted((t.number, t.metrics["error"]) for t in search(error).trials)
    assert done.stdout.strip() == str(wanted)


def raising(architecture):
    if architecture["a"] % 2:
        raise ValueError("odd")
    return error(architecture)


def test_what_an_executor_keeps_too_long_is_given_up():
    with ThreadPoolExecutor(12) as pool:
        result = search(pausing, executor=pool, workers=2, timeout=0.2, evaluations=12)
    late = [t for t in result.trials if t.architecture["a"] % 4 == 0]
    assert late
    assert all(t.state == "failed" and "given up: no result 0.2 s after" in t.error for t in late)
    assert len(result.trials) == 12


def pausing(architecture):
    time.sleep(0.8 if architecture["a"] % 4 == 0 else 0)
    return error(architecture)


class Faulty:
    """An executor that loses work in every way."""

    def __init__(self):
        self.calls = 0

    def submit(self, function, /, *arguments):
        future = Future()
        self.calls += 1
        if self.calls % 4 == 0:
            future.cancel()
            future.set_running_or_notify_cancel()
        elif self.calls % 4 == 1:
            future.set_exception(ConnectionError("worker lost"))
        elif self.calls % 4 == 2:
            future.set_result("nonsense")
        else:
            future.set_result(function(*arguments))
        return future


def test_an_executor_that_loses_work_gives_failed_trials():
    result = search(error, executor=Faulty(), workers=1, evaluations=8)
    assert [t.state for t in result.trials] == ["failed", "failed", "complete", "failed"] * 2
    for trial, message in zip(
        result.trials, ["worker lost", "returned 'nonsense'", None, "cancelled"] * 2, strict=True
    ):
        assert message is None or message in trial.error


# -- nothing told is lost ------------------------------------------------------------------------------------

KILLED = """
import sys
sys.path.insert(0, {tests!r})
import nasx
from workloads import SPACE, Logged
if __name__ == "__main__":
    print("ready", flush=True)
    nasx.search(
        SPACE, Logged(sys.argv[2]), strategy=nasx.NSGA2(population_size=8), evaluations=60, seed=1,
        workers=2, journal=sys.argv[1],
    )
"""


def test_killed_with_two_workers_nothing_told_is_lost_or_evaluated_twice(tmp_path):
    path, log, script = tmp_path / "run.db", tmp_path / "log", tmp_path / "script.py"
    script.write_text(KILLED.format(tests=TESTS))
    log.touch()
    random = np.random.default_rng(1)
    told = 0
    for round_ in range(5):
        begun = len(log.read_text().splitlines())
        process = subprocess.Popen([sys.executable, script, path, log], stdout=subprocess.PIPE)
        assert process.stdout.readline() == b"ready\n"
        while len(log.read_text().splitlines()) == begun:  # the workers are up
            assert process.poll() is None, "it ended without evaluating anything"
            time.sleep(0.005)
        time.sleep(random.uniform(0.02, 0.15))
        process.send_signal(signal.SIGKILL if round_ % 2 else signal.SIGINT)
        process.wait()
        process.stdout.close()
        time.sleep(0.1)  # workers write down what they had begun
        done = nasx.Result.load(path).trials
        assert len(done) >= told
        told = len(done)
        lines = log.read_text().splitlines()
        for trial in done:  # those that were told were evaluated once since they were told
            assert lines.count(f"{trial.architecture['a']},{trial.architecture['b']}") <= 1 + round_
    assert 0 < told < 60
    before = {t.number: t.metrics for t in done}
    counts = {n: log.read_text().splitlines().count(key(t)) for n, t in ((t.number, t) for t in done)}
    result = search(
        Logged(str(log)),
        strategy=nasx.NSGA2(population_size=8),
        evaluations=60,
        seed=1,
        workers=2,
        journal=path,
    )
    assert len(result.trials) == 60
    assert sorted(t.number for t in result.trials) == list(range(60))
    assert before == {t.number: t.metrics for t in result.trials if t.number in before}
    lines = log.read_text().splitlines()
    for trial in result.trials:
        if trial.number in before:
            assert lines.count(key(trial)) == counts[trial.number]  # not evaluated again
    assert len(Journal(path, read_only=True).trials(SPACE)) == 60


def key(trial):
    return f"{trial.architecture['a']},{trial.architecture['b']}"
