"""The commands, run as a user runs them."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import nasx
from nasx.cli.config import read_config
from nasx.cli.main import main
from nasx.cli.profile import _print
from nasx.cli.show import describe

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits.toml"
SMALL = """
[space]
name = "ConvNet"
depths = [1, 2]
widths = [4, 8]

[task]
name = "ImageClassification"
data = "digits"
epochs = 1
threads = 1

[strategy]
name = "nsga2"
population_size = 4

[search]
evaluations = 6
seed = 1
baseline = "random_search"

[objectives]
error = "minimize"
parameters = "minimize"

[costs.parameters]

[output]
directory = "{directory}"
retrain_epochs = 1
"""


@pytest.fixture
def write(tmp_path):
    def write(text=SMALL, **changes):
        path = tmp_path / "small.toml"
        text = text.format(directory=tmp_path / "run")
        for old, new in changes.get("replace", {}).items():
            assert old in text
            text = text.replace(old, new)
        path.write_text(text)
        return path

    return write


def test_the_example_reads_and_its_space_is_large():
    config = read_config(EXAMPLE)
    assert config.space.size >= 10**5
    assert list(config.search["objectives"]) == ["error", "parameters", "latency_ms"]
    images, labels = (sum(len(split[i]) for split in digits().values()) for i in range(2))
    assert images == labels == 1797


def test_the_settings_of_the_last_training_are_read_from_the_file(write):
    settings = 'epochs = 1\naugment = "standard"\ncutout = 4\nauxiliary_weight = 0.3\ndrop_path = 0.2\n'
    found = read_config(write(replace={"epochs = 1\nthreads": settings + "threads"})).task.settings
    assert [found[name] for name in ("cutout", "auxiliary_weight", "drop_path")] == [4, 0.3, 0.2]


def digits():
    from nasx.tasks import datasets

    return datasets.load("digits")


def test_search_writes_everything_and_resumes(write, tmp_path, capsys):
    path = write()
    assert main(["search", str(path)]) == 0
    out = capsys.readouterr().out
    for words in ("Pareto front of nsga2", "Chosen networks", "test_error", "random_search", "pareto.png"):
        assert words in out
    directory = tmp_path / "run"
    names = {p.name for p in directory.iterdir()}
    assert {
        "journal.db",
        "baseline.db",
        "result.json",
        "pareto.png",
        "architecture.json",
        "model.safetensors",
    } <= names
    result = nasx.Result.load(directory)
    assert len(result.trials) == 6
    document = json.loads((directory / "result.json").read_text())
    assert document["chosen"]["number"] == result.best.number
    assert 0 <= document["chosen"]["retrained"]["test_error"] <= 1

    # The network that was left on disk is the one that was measured.
    from safetensors.torch import load_model

    architecture = nasx.Architecture.from_json((directory / "architecture.json").read_text())
    task = read_config(path).task
    module = architecture.build()
    load_model(module, str(directory / "model.safetensors"))
    assert task.score(module, "test")["error"] == pytest.approx(document["chosen"]["retrained"]["test_error"])

    # More evaluations go on with the same trials; --fresh forgets them.
    assert main(["search", str(write(replace={"evaluations = 6": "evaluations = 8"}))]) == 0
    longer = nasx.Result.load(directory)
    assert [t.architecture for t in longer.trials[:6]] == [t.architecture for t in result.trials]
    assert [t.started for t in longer.trials[:6]] == [t.started for t in result.trials]
    assert main(["search", "--fresh", str(write(replace={"seed = 1": "seed = 2"}))]) == 0
    assert nasx.Result.load(directory).seed == 2


def test_show(write, tmp_path, capsys):
    main(["search", str(write())])
    capsys.readouterr()
    assert main(["show", str(tmp_path / "run")]) == 0
    out = capsys.readouterr().out
    assert "6 complete" in out
    assert "best is trial" in out
    assert main(["show", "--json", str(tmp_path / "run" / "journal.db")]) == 0
    assert len(json.loads(capsys.readouterr().out)["trials"]) == 6


def test_info(capsys):
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert nasx.__version__ in out
    assert nasx.simd_level() in out


@pytest.mark.parametrize(
    ("replace", "message"),
    [
        (
            {"evaluations = 6": "evaluation = 6"},
            r"in table \[search\]: unknown key 'evaluation'; did you mean 'eval",
        ),
        ({"[objectives]": "[objective]"}, "unknown table 'objective'; did you mean 'objectives'"),
        ({"depths": "dephts"}, r"in table \[space\]: unknown key 'dephts'; did you mean 'depths'"),
        (
            {"epochs = 1\nthreads": "epoch = 1\nthreads"},
            r"in table \[task\]: unknown key 'epoch'; did you mean 'epochs'",
        ),
        ({"population_size": "popsize"}, r"in table \[strategy\]: unknown key 'popsize'"),
        (
            {"[costs.parameters]": "[costs.params]"},
            r"in table \[costs\]: unknown cost 'params'; did you mean 'param",
        ),
        ({'"nsga2"': '"nsga"'}, "unknown strategy 'nsga'; did you mean 'nsga2'.*random_search"),
        ({'"ConvNet"': '"ConvNets"'}, "unknown space 'ConvNets'; did you mean 'ConvNet'"),
        ({'"digits"': '"digit"'}, r"in table \[task\].*'digit'.*did you mean 'digits'"),
        ({'data = "digits"': ""}, r"table \[task\] needs data"),
        ({'name = "ConvNet"': ""}, r"table \[space\] needs a name"),
        (
            {"population_size = 4": "population_size = 1"},
            r"in table \[strategy\]: population_size must be at least 2",
        ),
        ({"retrain_epochs = 1": "retrain_epochs = 0"}, "retrain_epochs"),
        ({"[search]": "[search"}, "is not TOML"),
        ({"[space]": "limits = 3\n[space]"}, "limits must be a table"),
        ({"[costs.parameters]": "[costs]\nparameters = 3"}, r"\[costs\.parameters\]"),
        ({'error = "minimize"': 'error = "minimise"'}, "did you mean 'minimize'"),
        (
            {'error = "minimize"': 'eror = "minimize"'},
            "objectives: unknown metric 'eror'; did you mean 'error'",
        ),
        ({"[output]": "[limits]\nparamters = 10\n[output]"}, "limits: unknown metric 'paramters'"),
        ({"seed = 1": 'seed = "a"'}, "seed must be an integer; got 'a'"),
        ({"retrain_epochs = 1": "retrain_epochs = true"}, "retrain_epochs"),
    ],
)
def test_wrong_files_are_named(write, replace, message, capsys):
    path = write(replace=replace)
    assert main(["search", str(path)]) == 2
    error = capsys.readouterr().err
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(error.replace("\n", " "))


def test_a_strategy_that_cannot_search_the_task_is_wrong_input(write, capsys):
    path = write(replace={'name = "nsga2"\npopulation_size = 4': 'name = "darts"'})
    assert main(["search", str(path), "--set", "search.vectorized=true"]) == 2
    assert capsys.readouterr().err.startswith("nasx: error: ")


def test_missing_files_and_other_searches_are_refused(write, tmp_path, capsys):
    assert main(["search", str(tmp_path / "none.toml")]) == 2
    assert "none.toml" in capsys.readouterr().err
    assert main(["show", str(tmp_path / "nowhere")]) == 2
    assert "no journal" in capsys.readouterr().err
    main(["search", str(write())])
    capsys.readouterr()
    assert main(["search", str(write(replace={"seed = 1": "seed = 2"}))]) == 2
    assert "seed is 1 there and 2 here" in capsys.readouterr().err


def test_a_search_in_which_everything_fails_exits_with_1(write, capsys):
    path = write(replace={"epochs = 1\nthreads": "epochs = 1\nlr = 1e30\nthreads"})
    with pytest.warns(RuntimeWarning, match="all 6 evaluations failed"):
        assert main(["search", str(path)]) == 1
    assert "all 6 evaluations failed" in capsys.readouterr().out


def test_a_network_that_fails_to_train_again_costs_nothing_else(write, tmp_path, capsys, monkeypatch):
    from nasx.errors import EvaluationError
    from nasx.tasks import ImageClassification

    def diverges(self, architecture, **options):
        raise EvaluationError("training diverged [in the end]")

    monkeypatch.setattr(ImageClassification, "retrain", diverges)
    assert main(["search", str(write())]) == 1
    assert "network    none: training diverged [in the end]" in capsys.readouterr().out
    assert {"result.json", "pareto.png"} <= {p.name for p in (tmp_path / "run").iterdir()}


def test_help_is_quick_and_imports_nothing():
    begun = time.perf_counter()
    code = "import sys; from nasx.cli.main import main\ntry: main(['--help'])\nexcept SystemExit: print('numpy' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.strip().endswith("False")
    assert time.perf_counter() - begun < 3


def test_interrupting_ends_cleanly_and_the_same_command_goes_on(write, tmp_path):
    path = write(replace={"evaluations = 6": "evaluations = 30"})
    command = [sys.executable, "-m", "nasx", "search", str(path)]
    environment = os.environ | {"PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    journal = tmp_path / "run" / "journal.db"
    deadline = time.monotonic() + 60
    while told(journal) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130, out
    assert "interrupted" in out
    assert "Traceback" not in out
    before = nasx.Result.load(journal)
    assert before.stopped == "interrupted"
    assert 3 <= len(before.trials) < 30
    assert main(["search", str(path)]) == 0
    after = nasx.Result.load(journal)
    assert [t.started for t in after.trials[: len(before.trials)]] == [t.started for t in before.trials]
    assert len(after.trials) == 30


def told(journal):
    try:
        return len(nasx.Result.load(journal).trials)
    except (FileNotFoundError, nasx.errors.JournalError):
        return 0


def test_a_data_set_of_ones_own(write, tmp_path, capsys):
    images, labels = digits()["train"]
    np.savez(tmp_path / "mine.npz", images=images[:300], labels=labels[:300])
    assert main(["search", str(write(replace={'"digits"': '"mine.npz"'}))]) == 0


def test_profile_saves_a_table_that_a_search_takes(write, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = [
        "--set",
        "depths=[1, 2]",
        "--set",
        "widths=[4, 8]",
        "--input",
        "1,8,8",
        "--networks",
        "10",
        "--held-out",
        "4",
        "--rounds",
        "2",
    ]
    assert main(["profile", "ConvNet", *options, "-o", "table.npz"]) == 0
    printed = " ".join(capsys.readouterr().out.split())
    for word in (
        *("fastest", "median", "slowest", "rank correlation", "on 4 networks held out: median error"),
        "themselves, half of the rounds by the other: median error",
        'table = "table.npz"',
    ):
        assert word in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.npz"]
    limited = SMALL.replace(
        "[costs.parameters]", '[costs.parameters]\n\n[costs.latency_ms]\ntable = "table.npz"'
    )
    config = read_config(write(limited))
    table = config.search["costs"]["latency_ms"]
    assert table.space == config.space
    assert main(["search", str(write(limited, replace={"retrain_epochs = 1\n": ""}))]) == 0
    trials = nasx.Result.load(tmp_path / "run").trials
    rows = np.array([trial.architecture.genotype for trial in trials])
    np.testing.assert_allclose([trial.metrics["latency_ms"] for trial in trials], table(rows))


@pytest.mark.parametrize(
    ("space", "exact", "caption"),
    [
        (nasx.spaces.DARTS(), True, "the median is of 10,000 random architectures"),
        (nasx.spaces.ConvNet(), False, "of 10,000 random architectures"),
        (nasx.Space({f"x{j}": nasx.Integer(0, 9) for j in range(3)}), True, None),
    ],
    ids=["a large space", "with conditions", "a small space"],
)
def test_profile_prints_the_exact_range_where_it_is_known(space, exact, caption, capsys, monkeypatch):
    random = np.random.default_rng(0)
    about = {"device": "d", "backend": "b", "timings": 9}
    errors = dict.fromkeys(("median_relative", "within_10_percent", "rank_correlation"), 0.5)
    entries = [random.uniform(1, 100, n) for n in space.cardinalities]
    table = nasx.hardware.LatencyTable(space, entries, about={**about, "errors": errors})
    monkeypatch.setenv("COLUMNS", "1000")
    _print(table, Path("table.npz"), argparse.Namespace(seed=0))
    printed = capsys.readouterr().out
    ms = {
        words[1]: float(words[3])
        for line in printed.splitlines()
        if len(words := line.split()) > 4 and words[0] == "│"
    }
    rows = space.sample(10_000, seed=0) if caption else space.enumerate()
    low, high = table.range() if exact else (table(rows).min(), table(rows).max())
    assert (ms["fastest"], ms["slowest"]) == (pytest.approx(low, abs=1e-3), pytest.approx(high, abs=1e-3))
    assert ms["median"] == pytest.approx(np.median(table(rows)), rel=0.01)
    captions = [line.strip() for line in printed.splitlines() if "random architectures" in line]
    assert captions == ([caption] if caption else [])
    if exact:
        assert describe(space.decode(table.fastest())) in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ConvNett"], "unknown space 'ConvNett'; did you mean 'ConvNet'?"),
        (["ConvNet", "--set", "depth=[1]"], "unknown key 'depth'; did you mean 'depths'?"),
        (["ConvNet", "--input", "3x32x32"], "--input must be sizes such as 3,32,32; got '3x32x32'"),
        (["ConvNet", "--networks", "3"], "networks must be an integer of at least 10; got 3"),
        (["NASBenchGraph"], "profile times networks, and NASBenchGraph has none"),
        (["Transformer"], "Transformer needs tokens"),
        (["Transformer", "--input", "24", "--set", "causal=false", "--networks", "3"], "networks must be"),
    ],
)
def test_profile_says_what_is_wrong(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["profile", *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_cost_table_of_another_space_is_refused(write, tmp_path):
    space = nasx.spaces.ConvNet(depths=[1], widths=[4])
    entries = [np.zeros(n) for n in space.cardinalities]
    nasx.hardware.LatencyTable(space, entries).save(tmp_path / "other.npz")
    text = SMALL.replace(
        "[costs.parameters]", '[costs.parameters]\n\n[costs.latency_ms]\ntable = "other.npz"'
    )
    with pytest.raises(nasx.errors.ConfigurationError, match=r"\[costs\.latency_ms\].*the decisions differ"):
        read_config(write(text))


TEXT = """
[space]
name = "Transformer"
hidden = [8, 16]
depths = [1]
heads = [2]
head_dim = 4
mlp = [2]

[task]
name = "LanguageModelling"
train = "text.txt"
valid = 0.2
context = 8
epochs = 1
threads = 1

[strategy]
name = "random_search"

[search]
evaluations = 2

[output]
directory = "{directory}"
retrain_epochs = 1
"""


def test_text_is_searched_from_a_file(write, tmp_path, capsys):
    path = write(TEXT)
    assert main(["search", str(path)]) == 2
    assert "in table [task]" in capsys.readouterr().err
    (tmp_path / "text.txt").write_text(20 * "how much wood? ")
    assert main(["search", str(path)]) == 0
    result = nasx.Result.load(tmp_path / "run")
    assert {"perplexity", "accuracy"} <= set(result.best.metrics)
    document = json.loads((tmp_path / "run" / "architecture.json").read_text())
    assert document["alphabet"] == "".join(sorted(set("how much wood? ")))
    assert "test_perplexity" in capsys.readouterr().out
    with pytest.raises(nasx.errors.ConfigurationError, match=r'needs train = "text\.txt", a file of text'):
        read_config(write(TEXT, replace={'train = "text.txt"\n': ""}))
    with pytest.raises(
        nasx.errors.ConfigurationError, match="unknown key 'contexts'; did you mean 'context'"
    ):
        read_config(write(TEXT, replace={"context = 8": "contexts = 8"}))


DIFFERENTIABLE = """
[space]
name = "DARTS"
cells = 3
channels = 4
nodes = 1

[task]
name = "ImageClassification"
data = "digits"
epochs = 1
threads = 1

[strategy]
name = "pc_darts"
epochs = 1
warmup_epochs = 0

[search]
seed = 1

[output]
directory = "{directory}"
retrain_epochs = 1
"""


@pytest.mark.filterwarnings("ignore:.*skip connections:UserWarning")
def test_a_supernet_is_trained_and_the_same_command_goes_on(write, tmp_path, capsys):
    path = str(write(DIFFERENTIABLE))
    assert main(["search", path]) == 0
    assert "pc_darts: 1 trials; all epochs are done" in capsys.readouterr().out
    folder = tmp_path / "run"
    assert (folder / "journal.db.checkpoint").is_file()
    first = nasx.Result.load(folder / "journal.db")
    assert len(first.history) == 1
    assert main(["search", path]) == 0
    assert nasx.Result.load(folder / "journal.db").history == first.history
    # Forgetting a search forgets the checkpoint of its supernet.
    other = str(write(DIFFERENTIABLE, replace={"seed = 1": "seed = 2"}))
    assert main(["search", other]) == 2
    assert "seed is 1 there and 2 here" in capsys.readouterr().err
    assert main(["search", other, "--fresh"]) == 0
    assert main(["show", str(folder / "journal.db")]) == 0
