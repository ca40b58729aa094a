"""Run by CI in an environment that holds the wheel and its declared dependencies only."""

import importlib.util
import json
import subprocess
import sys

import nasx
from nasx.registry import strategy_class

for package in ("torch", "pandas", "matplotlib", "sklearn"):
    assert importlib.util.find_spec(package) is None, f"{package} is installed here"


def task(architecture, *, budget=3):
    return {"error": abs(architecture["depth"] - 5) + 1 / budget, "size": float(architecture["op"] == "conv")}


with_budgets = {"asha": nasx.ASHA(max_budget=3), "hyperband": nasx.Hyperband(max_budget=3)}


def evolved(network):
    outputs = network([[0.0, 1.0], [1.0, 1.0]])
    return {"error": abs(float(outputs[0, 0] - outputs[1, 0]) - 0.5), "size": float(network.connections)}


space = nasx.Space({"depth": nasx.Integer(1, 8), "op": nasx.Categorical(["conv", "skip"])})
for strategy in nasx.available_strategies():
    if issubclass(strategy_class(strategy), nasx.SupernetStrategy):
        continue  # below
    result = nasx.search(
        *((nasx.spaces.Topology(2, 1), evolved) if strategy == "neat" else (space, task)),
        objectives={"error": "minimize", "size": "minimize"},
        strategy=with_budgets.get(strategy, strategy),
        evaluations=16,
        journal=f"{sys.argv[1]}/{strategy}.db" if len(sys.argv) > 1 else None,
    )
    assert len(result.trials) >= 16, result  # more where some are tried with less than the whole
    assert json.loads(result.to_json())["best"] == result.best.number


def supernet():
    return nasx.search(nasx.spaces.DARTS(), task, objectives={"error": "minimize"}, strategy=nasx.DARTS())


for need in (lambda: nasx.tasks.ImageClassification, result.to_dataframe, result.plot, supernet):
    try:
        need()
    except nasx.errors.MissingDependencyError as error:
        assert "pip install 'nasx[" in str(error), error
    else:
        raise AssertionError("something worked without what it needs")

for command in (["--help"], ["info"]):
    subprocess.run([sys.executable, "-m", "nasx", *command], check=True, stdout=subprocess.DEVNULL)
print("1 passed, 0 failed")
