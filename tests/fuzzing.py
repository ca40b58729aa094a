"""Random calls of native functions and classes: each gives a result or a Python error, and nothing else.

    python tests/fuzzing.py --rounds 100000
    python tests/fuzzing.py --rounds 100000 --sanitized

The second needs the extension module that the CMake preset `fuzz` builds, with the address and the
undefined-behaviour sanitizer:

    cmake --preset fuzz -Dpybind11_DIR="$(python -m pybind11 --cmakedir)" && cmake --build --preset fuzz

Functions, classes and the names of their arguments are read from the compiled module; `fuzz_cases.py` says what
arguments of that name get. Calls come in chunks that share a space, and an object where methods are called. A
crash, a hang, another kind of error or a changed input is reported with the command that repeats its chunk.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import faulthandler
import importlib.util
import mmap
import os
import pickle
import re
import resource
import subprocess
import sys
import tempfile
import time
import types
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from fuzz_cases import CHANGED, EXCLUDED, OBJECTS, Case, generator

ROOT = Path(__file__).parents[1]
CHUNK = 20  # calls that share a space, and an object
EXPECTED = (TypeError, ValueError, IndexError, MemoryError, OverflowError)
HANGS_AFTER = 600  # seconds, for fifty chunks
MEMORY = 4 << 30  # bytes of addresses; what wants more gets a MemoryError


class Target(NamedTuple):
    """Something to call: ``"pareto.rank"``, ``"population.GenotypeSet"`` or ``"population.GenotypeSet.insert"``."""

    name: str
    call: Callable[..., Any]
    arguments: tuple[str, ...]
    owner: type | None = None  # of a method


def arguments_of(call: Any) -> tuple[str, ...]:
    """Names of a native function's arguments, from the first line that pybind11 writes into its docstring."""
    signature = (call.__doc__ or "").splitlines()[0]
    inside = signature[signature.index("(") + 1 : signature.rindex(") ->")]
    names, depth = [], 0
    for part in re.split(r"([\[\](),])", inside):
        depth += part in ("[", "(")
        depth -= part in ("]", ")")
        found = re.match(r"\s*(\w+):", part)
        if found and depth == 0:
            names.append(found.group(1))
    return tuple(name for name in names if name != "self")


def targets(core: types.ModuleType) -> Iterator[Target]:
    """All functions, classes and methods of a compiled module, but for those that `fuzz_cases.py` excludes."""
    for module_name, module in sorted(vars(core).items()):
        if not isinstance(module, types.ModuleType) or module_name in EXCLUDED:
            continue
        for name, value in sorted(vars(module).items()):
            if name.startswith("_") or not callable(value):
                continue
            full = f"{module_name}.{name}"
            if not isinstance(value, type):
                yield Target(full, value, arguments_of(value))
                continue
            yield Target(full, value, arguments_of(value.__init__))
            yield Target(f"{full}.(copies)", copies, (), value)
            for method, found in sorted(vars(value).items()):
                if isinstance(found, property):
                    yield Target(f"{full}.{method}", lambda self, get=found.fget: get(self), (), value)
                elif method == "__len__":
                    yield Target(f"{full}.{method}", found, (), value)
                elif method == "__setstate__":
                    yield Target(f"{full}.{method}", set_state, (), value)
                elif isinstance(found, staticmethod):
                    call = getattr(value, method)
                    yield Target(f"{full}.{method}", call, arguments_of(call))
                elif not method.startswith("_"):
                    yield Target(f"{full}.{method}", getattr(value, method), arguments_of(found), value)


def missing(core: types.ModuleType) -> list[str]:
    """What cannot be called yet, since an argument has no generator."""
    lacking = []
    for target in targets(core):
        for name in target.arguments:
            try:
                generator(target.name, name)
            except KeyError as error:
                lacking.append(error.args[0])
    return lacking


def copies(value: Any) -> None:
    for make in (copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))):
        with contextlib.suppress(TypeError):  # where a class has no copies
            make(value)


def set_state(value: Any, case: Case) -> None:
    """Bring a new object into a damaged state."""
    state = value.__reduce_ex__(2)[2]
    if isinstance(state, tuple):
        parts = list(state)
        place = case.random.randrange(len(parts))
        parts[place] = case.odd("state", "part", parts[place])
        state = tuple(parts[: case.random.randrange(len(parts))] if case.chance(0.2) else parts)
    else:
        state = case.odd("state", "part", state)
    fresh = type(value).__new__(type(value))
    fresh.__setstate__(state)
    copies(fresh)


def snapshot(value: Any) -> bytes | None:
    """The memory that an array looks at, whole."""
    while isinstance(value, np.ndarray) and isinstance(value.base, np.ndarray):
        value = value.base
    if not isinstance(value, np.ndarray) or value.dtype.hasobject:
        return None
    return value.tobytes()


class Fuzzer:
    """Calls targets, chunk by chunk."""

    def __init__(self, core: Any, seed: int) -> None:
        self.core, self.seed = core, seed
        self.targets = {target.name: target for target in targets(core)}
        self.outcomes: dict[str, Counter[str]] = {name: Counter() for name in self.targets}

    def chunk(self, name: str, number: int) -> None:
        target = self.targets[name]
        case = Case(self.core, f"{self.seed}/{name}/{number}")
        self.core.runtime.set_num_threads(case.pick(1, 2, 3))
        if target.owner is not None:
            case.object = self.make(case, target)
        for _ in range(CHUNK):
            self.call(case, target)
            if target.owner is not None and case.chance(0.7):
                self.call(case, self.random_method(case, target.owner))

    def random_method(self, case: Case, owner: type) -> Target:
        return case.random.choice([target for target in self.targets.values() if target.owner is owner])

    def make(self, case: Case, target: Target) -> Any:
        if case.chance(0.02):  # never initialised
            return target.owner.__new__(target.owner)
        name = target.name.rpartition(".")[0]
        if name in OBJECTS:
            return OBJECTS[name](case)
        maker = self.targets[name]
        for _ in range(20):
            with contextlib.suppress(*EXPECTED):
                return maker.call(*(case.value(maker.name, name) for name in maker.arguments))
            case.n = case.pick(1, 3, 10)  # such as parents, which must be some
            case._rows.clear()
        raise AssertionError(f"{maker.name} cannot be made of what tests/fuzz_cases.py gives it")

    def call(self, case: Case, target: Target) -> None:
        values = {name: case.value(target.name, name) for name in target.arguments}
        if values and case.chance(0.6):
            for name in case.random.sample(list(values), min(len(values), case.pick(1, 1, 1, 2, 3))):
                values[name] = case.odd(target.name, name, values[name])
        arguments = [*values.values()]
        if target.owner is not None:
            arguments.insert(0, case.object)
        if target.call is set_state:
            arguments.append(case)
        before = {name: snapshot(value) for name, value in values.items()}
        try:
            target.call(*arguments)
        except EXPECTED as error:
            outcome = type(error).__name__
        else:
            outcome = "result"
        self.outcomes[target.name][outcome] += 1
        changed = CHANGED.get(target.name, ())
        shared = [values[name] for name in changed if isinstance(values[name], np.ndarray)]
        for name, value in values.items():
            same = snapshot(value) == before[name] or any(
                np.may_share_memory(value, other) for other in shared
            )
            if not (same or name in changed):
                raise AssertionError(f"{target.name} changed its argument {name}")


def load(sanitized: bool) -> Any:
    """The compiled module, alone: the sanitized one from where the preset `fuzz` puts it."""
    if not sanitized:
        from nasx import _core

        return _core
    path = next((ROOT / "build" / "fuzz" / "csrc" / "bindings").glob("_core*.so"))
    spec = importlib.util.spec_from_file_location("_core", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[spec.name] = module  # where pickles look
    return module


def work(options: argparse.Namespace) -> int:
    """Make the calls, in the process that may crash."""
    core = load(options.sanitized)
    if lacking := missing(core):
        print(*lacking, sep="\n", file=sys.stderr)
        return 1
    if not options.sanitized:  # which needs terabytes of addresses for itself
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    np.set_printoptions(threshold=4)  # errors of wrong types show their arguments
    fuzzer = Fuzzer(core, options.seed)
    names = [name for name in fuzzer.targets if options.only in (None, name)]
    if not names:
        print(f"nothing is called {options.only}; there are {', '.join(fuzzer.targets)}", file=sys.stderr)
        return 1
    with open(options.at, "r+b") as file, mmap.mmap(file.fileno(), 0) as at:
        for name in names:
            for number in range(options.begin, options.begin + -(-options.rounds // CHUNK)):
                at[:] = f"{name} {number}".encode().ljust(len(at))
                if number % 50 == 0 or number == options.begin:
                    faulthandler.dump_traceback_later(HANGS_AFTER, exit=True)
                with np.errstate(all="ignore"):
                    fuzzer.chunk(name, number)
    faulthandler.cancel_dump_traceback_later()
    silent = []
    for name in names:
        counts = fuzzer.outcomes[name]
        if options.verbose:
            print(f"{name:45} " + ", ".join(f"{count} {kind}" for kind, count in counts.most_common()))
        if not counts["result"]:
            silent.append(name)
    print(
        f"{sum(sum(fuzzer.outcomes[name].values()) for name in fuzzer.targets)} calls of {len(names)} functions"
    )
    if silent and options.rounds >= 1000:
        print("never gave a result: " + ", ".join(silent), file=sys.stderr)
        return 1
    return 0


def environment(sanitized: bool) -> dict[str, str]:
    if not sanitized:
        return dict(os.environ)
    libraries = [
        subprocess.run(["g++", f"-print-file-name=lib{name}.so"], capture_output=True, text=True, check=True)
        for name in ("asan", "ubsan", "stdc++")
    ]
    return os.environ | {
        "LD_PRELOAD": " ".join(done.stdout.strip() for done in libraries),
        # Python keeps memory until it ends. A request that is too large must fail as it does without. Short
        # backtraces of allocations, and Python's own allocator for its objects, halve the time; arrays come
        # from malloc all the same.
        "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=2048"
        ":malloc_context_size=4",
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1000, help="calls of each function")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="NAME", help="one function, class or method")
    parser.add_argument("--begin", type=int, default=0, metavar="CHUNK", help="number of the first chunk")
    parser.add_argument("--sanitized", action="store_true", help="call the module of the CMake preset fuzz")
    parser.add_argument("--verbose", action="store_true", help="say how often each function gave what")
    parser.add_argument("--at", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.at is not None:
        return work(options)
    with tempfile.NamedTemporaryFile() as at:
        at.write(b" " * 200)
        at.flush()
        command = [
            sys.executable,
            __file__,
            *(sys.argv[1:] if arguments is None else arguments),
            "--at",
            at.name,
        ]
        begun = time.monotonic()
        status = subprocess.run(command, env=environment(options.sanitized), check=False).returncode
        place = Path(at.name).read_text().split()
    print(f"{time.monotonic() - begun:.0f} s")
    if status and place:
        again = f"--seed {options.seed} --only '{place[0]}' --begin {place[1]} --rounds {CHUNK}"
        more = " --sanitized" if options.sanitized else ""
        print(
            f"status {status} at {place}; to repeat: python tests/fuzzing.py {again}{more}", file=sys.stderr
        )
    return status


if __name__ == "__main__":
    raise SystemExit(main())
