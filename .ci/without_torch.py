"""Run by CI in an environment that holds the wheel and its declared dependencies only."""

import importlib.util
import json
import subprocess
import sys

import nasx

for package in ("torch", "pandas", "matplotlib", "sklearn"):
    assert importlib.util.find_spec(package) is None, f"{package} is installed here"

space = nasx.Space({"depth": nasx.Integer(1, 8), "op": nasx.Categorical(["conv", "skip"])})
for strategy in nasx.available_strategies():
    result = nasx.search(
        space,
        lambda a: {"error": abs(a["depth"] - 5), "size": float(a["op"] == "conv")},
        objectives={"error": "minimize", "size": "minimize"},
        strategy=strategy,
        evaluations=16,
        journal=f"{sys.argv[1]}/{strategy}.db" if len(sys.argv) > 1 else None,
    )
    assert len(result.trials) == 16, result
    assert json.loads(result.to_json())["best"] == result.best.number

for need in (lambda: nasx.tasks.ImageClassification, result.to_dataframe, result.plot):
    try:
        need()
    except nasx.errors.MissingDependencyError as error:
        assert "pip install 'nasx[" in str(error), error
    else:
        raise AssertionError("something worked without what it needs")

for command in (["--help"], ["info"]):
    subprocess.run([sys.executable, "-m", "nasx", *command], check=True, stdout=subprocess.DEVNULL)
print("1 passed, 0 failed")
