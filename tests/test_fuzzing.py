"""A short run of `fuzzing.py`, and that it reaches everything."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from fuzz_cases import EXCLUDED, VALUES, Case
from fuzzing import Fuzzer, arguments_of, missing, targets
from fuzzing_kernels import Calls

from nasx import _core


def test_every_native_argument_has_a_generator():
    assert missing(_core) == []


def test_every_public_native_name_is_called():
    called = {target.name for target in targets(_core)}
    assert vars(_core).keys() >= EXCLUDED.keys()
    for name, module in vars(_core).items():
        if not name.startswith("_") and name not in EXCLUDED:
            public = {
                key for key, value in vars(module).items() if callable(value) and not key.startswith("_")
            }
            assert {f"{name}.{key}" for key in public} <= called
    assert "population.GenotypeSet.insert" in called
    assert "parzen.History.__setstate__" in called


def test_signatures_are_read_right():
    assert arguments_of(_core.population.sample) == (
        "cardinalities",
        "conditions",
        "n",
        "seed",
        "generation",
        "first",
    )
    assert arguments_of(_core.population.GenotypeSet.insert) == ("rows", "most")
    assert arguments_of(_core.runtime.simd_levels) == ()


def test_no_generator_is_left_over():
    names = {name for target in targets(_core) for name in target.arguments}
    assert {key.rpartition(".")[2] for key in VALUES} <= names


def test_what_fits_is_accepted():
    """Else the calls would test nothing but how arguments are refused."""
    for target in targets(_core):
        if target.owner is None and target.name != "runtime.set_num_threads":
            for seed in range(200):
                case = Case(_core, str(seed))
                try:
                    target.call(*(case.value(target.name, name) for name in target.arguments))
                except (ValueError, IndexError):
                    continue  # such as no parents
                break
            else:
                pytest.fail(f"{target.name} never accepted what fuzz_cases.py gives it")


def test_a_changed_input_is_noticed():
    case = Case(_core, "0")
    case.n = 3
    case.odd = lambda function, name, value: value
    target = Fuzzer(_core, 0).targets["pareto.front"]._replace(call=lambda losses: losses.fill(7))
    with pytest.raises(AssertionError, match=r"pareto\.front changed its argument losses"):
        Fuzzer(_core, 0).call(case, target)


def test_random_calls_give_a_result_or_an_error():
    command = [sys.executable, Path(__file__).parent / "fuzzing.py", "--rounds", "200"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_operators_of_kernels_survive_random_calls():
    torch = pytest.importorskip("torch")
    importlib.import_module("nasx.nn.kernels")  # registers them
    names = {name for name in dir(torch.ops.nasx) if not name.startswith("_")}
    assert names >= set(Calls(torch, 0).arguments)
    for name in Calls(torch, 0).arguments:
        calls = Calls(torch, 1)
        assert {"result", "ValueError"} <= {calls.call(name) for _ in range(100)}
