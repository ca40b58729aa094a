"""Threads, CPU levels, forks, and the stubs of the compiled module."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import nasx
from nasx import _core, pareto
from nasx._core import runtime

STUBS = sorted((Path(nasx.__file__).parent / "_core").glob("*.pyi"))


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if k != "NASX_SIMD"} | environment
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)


def test_levels_are_chosen_by_the_environment() -> None:
    levels = runtime.simd_levels()
    assert levels[0] == "baseline"
    code = "import nasx; print(nasx.simd_level())"
    assert python(code).stdout.strip() == levels[-1]
    for level in levels:
        assert python(code, NASX_SIMD=level).stdout.strip() == level
    assert nasx.simd_level() in levels


def test_an_unknown_level_is_refused_at_import() -> None:
    done = python("import nasx.pareto", NASX_SIMD="avx1024")
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert "ImportError" in last
    for part in ("NASX_SIMD", "baseline", "avx1024"):
        assert part in last


def test_threads_default_to_the_affinity_and_then_to_torch() -> None:
    code = """if True:
        import os, nasx
        assert nasx.get_num_threads() == len(os.sched_getaffinity(0)), nasx.get_num_threads()
        import sys, types
        torch = types.ModuleType("torch")
        torch.get_num_threads = lambda: 3
        sys.modules["torch"] = torch
        assert nasx.get_num_threads() == 3, nasx.get_num_threads()
        nasx.set_num_threads(2)
        assert nasx.get_num_threads() == 2, nasx.get_num_threads()
    """
    done = python(code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("n", "error"), [(0, ValueError), (-1, ValueError), (2**40, ValueError), (1.5, TypeError)]
)
def test_bad_numbers_of_threads_are_refused(n: int, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^n must be"):
        nasx.set_num_threads(n)


def test_importing_the_core_starts_no_thread() -> None:
    done = python(
        "import nasx.pareto, nasx.population, os; print(len(os.listdir('/proc/self/task')))",
        OPENBLAS_NUM_THREADS="1",
    )
    assert done.stdout.strip() == "1", done.stderr


def test_a_forked_child_computes_in_parallel() -> None:
    code = """if True:
        import os, signal, numpy as np, nasx
        from nasx import pareto
        nasx.set_num_threads(2)
        losses = np.random.default_rng(0).random((20000, 4))
        expected = pareto.rank(losses)
        child = os.fork()
        if child == 0:
            signal.alarm(30)
            same = all((pareto.rank(losses) == expected).all() for _ in range(3))
            os._exit(0 if same else 1)
        _, status = os.waitpid(child, 0)
        assert status == 0, status
        assert (pareto.rank(losses) == expected).all()
    """
    done = python(code)
    assert done.returncode == 0, done.stderr


def test_a_fork_while_another_thread_computes() -> None:
    code = """if True:
        import os, signal, threading, warnings, numpy as np, nasx
        from nasx import pareto
        warnings.simplefilter("ignore")  # Python 3.12 warns of forks in threaded programs
        nasx.set_num_threads(2)
        losses = np.random.default_rng(0).random((20000, 4))
        expected = pareto.rank(losses)
        stop = threading.Event()
        def work():
            while not stop.is_set():
                pareto.rank(losses)
        thread = threading.Thread(target=work)
        thread.start()
        for _ in range(10):
            child = os.fork()
            if child == 0:
                signal.alarm(30)
                os._exit(0 if (pareto.rank(losses) == expected).all() else 1)
            _, status = os.waitpid(child, 0)
            assert status == 0, status
        stop.set()
        thread.join()
    """
    done = python(code)
    assert done.returncode == 0, done.stderr


def test_tensor_kernels_run_on_the_threads_of_torch() -> None:
    code = """if True:
        import os, torch
        torch.set_num_threads(2)
        from nasx.nn import kernels
        from nasx._core import mixed_op
        def threads():
            return len(os.listdir("/proc/self/task"))
        before = threads()
        x = torch.randn(8, 16, 64, 64).to(memory_format=torch.channels_last).exp()
        weight = torch.randn(16, 1, 3, 3)
        with_torch = threads()
        assert with_torch > before, (before, with_torch)
        def convolved():
            return kernels.relu_depthwise(x, weight).numpy().tobytes()
        expected = convolved()
        assert threads() == with_torch
        child = os.fork()
        if child == 0:  # torch's threads are not there: the core makes its own
            import signal
            signal.alarm(60)
            os._exit(0 if convolved() == expected and threads() == 2 else 1)
        assert os.waitpid(child, 0)[1] == 0
        mixed_op.set_team(0)
        assert convolved() == expected
        assert threads() == with_torch + 1
    """
    done = python(code)
    assert done.returncode == 0, done.stderr


def test_python_threads_call_at_the_same_time() -> None:
    losses = np.random.default_rng(0).random((9000, 4))
    expected = pareto.rank(losses)
    wrong = []

    def work() -> None:
        wrong.extend(1 for _ in range(5) if not (pareto.rank(losses) == expected).all())

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def names_in(body: list[ast.stmt]) -> set[str]:
    names = set()
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif isinstance(node, ast.ImportFrom) and node.module == "nasx._core":
            names |= {alias.name for alias in node.names}
    return names


def public(value: object) -> set[str]:
    return {name for name in vars(value) if not name.startswith("_")}


@pytest.mark.parametrize("path", STUBS, ids=lambda path: path.stem)
def test_stubs_name_exactly_what_the_compiled_module_has(path: Path) -> None:
    module = _core if path.stem == "__init__" else importlib.import_module(f"nasx._core.{path.stem}")
    tree = ast.parse(path.read_text())
    names = names_in(tree.body)
    assert {name for name in names if not name.startswith("__")} == public(module)
    assert all(hasattr(module, name) for name in names)
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            members = names_in(node.body)
            compiled = getattr(module, node.name)
            assert {name for name in members if not name.startswith("__")} == public(compiled)
            assert all(hasattr(compiled, name) for name in members)
        elif isinstance(node, ast.FunctionDef):
            arguments = [argument.arg for argument in node.args.args]
            signature = (getattr(module, node.name).__doc__ or "").splitlines()[0]
            places = [re.search(rf"\b{name}:", signature).start() for name in arguments]
            assert places == sorted(places), signature
            assert signature.count(": ") == len(arguments), signature


def test_every_compiled_submodule_has_a_stub() -> None:
    assert {path.stem for path in STUBS} == {"__init__", *public(_core)}


@pytest.mark.parametrize(
    ("call", "error", "parts"),
    [
        (lambda: _core.pareto.rank([[1.0]], None), TypeError, ["losses", "float64", "list"]),
        (lambda: _core.pareto.rank(np.ones((2, 2), np.float32), None), TypeError, ["losses", "float32"]),
        (lambda: _core.pareto.rank(np.ones(2), None), ValueError, ["losses", "2 dimensions", "1"]),
        (lambda: _core.pareto.rank(np.ones((4, 2))[::2], None), ValueError, ["losses", "C-contiguous"]),
        (
            lambda: _core.population.sample(np.ones(2), None, 1, 0, 0, 0),
            TypeError,
            ["cardinalities", "int32"],
        ),
    ],
)
def test_the_compiled_functions_are_strict(call, error: type[Exception], parts: list[str]) -> None:
    with pytest.raises(error) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("owner", "call"),
    [
        (_core.population.GenotypeSet, len),
        (_core.population.GenotypeSet, lambda made: made.insert(np.zeros((1, 2), np.int32))),
        (_core.parzen.History, len),
        (_core.parzen.History, lambda made: made.propose(3, 0, 0, 0)),
        (_core.policy.Rollouts, lambda made: made.ready),
        (_core.policy.Rollouts, lambda made: made.__copy__()),
        (_core.latency_table.LatencyTable, lambda made: made.sum(np.zeros((1, 2), np.int32))),
        (_core.evolution.Mutants, lambda made: made.make(3, 0)),
        (_core.evolution.Offspring, lambda made: made.__reduce__()),
        (_core.evolution.AgingPopulation, lambda made: made.make(3, 0)),
    ],
)
def test_objects_that_were_never_initialised_are_refused(owner: type, call) -> None:
    made = owner.__new__(owner)
    with pytest.raises(TypeError, match=rf"{owner.__name__} has not been initialised"):
        call(made)

    class Derived(owner):  # type: ignore[misc]
        pass

    with pytest.raises(TypeError, match="has not been initialised"):
        call(Derived.__new__(Derived))


def test_memory_that_holds_no_numbers_is_refused() -> None:
    crooked = np.zeros(33, np.uint8)[1:].view(np.float64).reshape(2, 2)
    with pytest.raises(ValueError, match=r"losses must be aligned in memory; use numpy\.require"):
        _core.pareto.rank(crooked, None)
    doubtful = np.array([0, 1, 2], np.uint8).view(bool)
    with pytest.raises(ValueError, match="failed must hold only True and False"):
        _core.outcomes.settle(np.zeros((3, 1)), None, doubtful)
