"""Readers of tables: the real ones, and files that are damaged, foreign or hostile."""

import contextlib
import json
import os
import pathlib
import pickle
import pickletools
import subprocess
import sys

import numpy as np
import pytest

from nasx import Categorical, Ordinal, Space
from nasx.errors import EvaluationError, MissingDependencyError
from nasx.spaces import NASBench201, NASBenchGraph
from nasx.tasks import tables
from nasx.tasks._plain_pickle import load_plain

ACCURACY = {"accuracy": "maximize"}
GRAPHS = ["arxiv", "citeseer", "computers", "cora", "cs", "photo", "physics", "proteins", "pubmed"]
HWGPT = ["embed_dim", "n_layer", "bias", "n_head", "mlp_ratio"]


@pytest.fixture
def npz(tmp_path):
    """Write arrays to an npz file and give its path."""

    def write(**arrays):
        np.savez(tmp_path / "tiny.npz", **arrays)
        return tmp_path / "tiny.npz"

    return write


def refused(path, message, reader=tables.read_npz, **settings):
    with pytest.raises(ValueError, match=message) as caught:
        reader(path, **({"objectives": ACCURACY} | settings))
    assert "tiny" in str(caught.value)


# -- npz files with genotypes --------------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.parametrize(
    ("file", "metric", "cardinalities"),
    [
        ("nasbench201", "latency_ms/pixel3", [5] * 6),
        ("fbnet_latency", "latency_ms/raspi4", [9] * 22),
        ("transnas101_micro", "val/room_layout", [4] * 6),
        ("nasbench_macro", "flops", [3] * 8),
    ],
)
def test_real_tables_answer_what_the_file_holds(data_dir, file, metric, cardinalities):
    path = data_dir / f"{file}.npz"
    table = tables.read_npz(path, objectives={metric: "minimize"})
    assert table.name == file
    assert table.space.cardinalities.tolist() == cardinalities
    assert all(isinstance(decision, Categorical) for decision in table.space.decisions.values())
    with np.load(path, allow_pickle=False) as arrays:
        assert set(table.metrics) == set(arrays.files) - {"genotypes", "ops"}
        order = np.random.default_rng(0).permutation(len(table))
        found = table.evaluate_many(arrays["genotypes"][order])
        for name in table.metrics:
            expected = arrays[name][order].astype(np.float64)
            np.testing.assert_allclose(
                found[name], expected if expected.ndim == 1 else expected.mean(1), rtol=1e-12
            )


@pytest.mark.data
def test_a_built_in_space_reads_its_table(data_dir):
    table = tables.read_npz(
        data_dir / "nasbench201.npz",
        objectives={"cifar10_val": "maximize"},
        space=NASBench201(),
        metrics=["cifar10_val"],
        name="NAS-Bench-201",
    )
    assert table.metrics == ("cifar10_val",)
    assert table.name == "NAS-Bench-201"
    best = table.best()
    assert table.evaluate(best, seed=0)["cifar10_val"] == table.columns["cifar10_val"].max()
    assert table.space.to_string(best).count("nor_conv_3x3") >= 3


def test_only_columns_that_fit_are_taken_and_only_those_asked_for(npz):
    path = npz(genotypes=[[0], [1]], accuracy=[1, 2], runs=[[1, 2, 3]] * 2, ops=["a", "b"], other=[1, 2, 3])
    assert tables.read_npz(path, objectives=ACCURACY).metrics == ("accuracy", "runs")
    assert tables.read_npz(path, objectives=ACCURACY, metrics=["accuracy"]).metrics == ("accuracy",)
    refused(path, "unknown array 'acuracy'; did you mean 'accuracy'", metrics=["acuracy"])
    with pytest.raises(ValueError, match="objectives: unknown metric 'accuracy'"):
        tables.read_npz(path, objectives=ACCURACY, metrics=["runs"])


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"accuracy": [1.0]}, 'has no array "genotypes"; it has .*accuracy.*read_columns'),
        ({"genotypes": [0, 1]}, r"genotypes must be integers of shape \(n, d\); got int64 \(2,\)"),
        ({"genotypes": [[0.0]]}, r"genotypes must be integers of shape \(n, d\); got float64"),
        ({"genotypes": np.zeros((0, 2), int)}, "genotypes must be integers"),
        ({"genotypes": [[-1], [0]]}, "genotypes holds -1; give the space"),
    ],
)
def test_npz_files_that_are_no_tables_are_refused(npz, arrays, message):
    refused(npz(**arrays), message)


# -- npz files of named choices ------------------------------------------------------------------------------


@pytest.mark.data
def test_transformers_of_several_depths_are_read_as_conditional_decisions(data_dir):
    path = data_dir / "hwgpt_s.npz"
    table = tables.read_columns(
        path, decisions=HWGPT, length="n_layer", objectives={"perplexity": "minimize"}
    )
    space = table.space
    assert table.metrics == ("perplexity", "latency_ms/a100", "latency_ms/rtx3080")
    assert len(space) == 3 + 12 + 12
    assert space["n_layer"] == Ordinal([10, 11, 12])
    assert space["n_head.12"] == Ordinal([4, 8, 12], when={"n_layer": [12]})
    assert space["mlp_ratio.10"] == Ordinal([2, 3, 4])
    layers = sum((3 * 3) ** depth for depth in (10, 11, 12))
    assert space.size == 3 * 2 * layers
    with np.load(path, allow_pickle=False) as arrays:
        for i in (0, 4321, 9999):
            architecture = {name: arrays[name][i].item() for name in ("embed_dim", "n_layer", "bias")}
            for name in ("n_head", "mlp_ratio"):
                depth = architecture["n_layer"]
                architecture |= {f"{name}.{j + 1}": arrays[name][i, j].item() for j in range(depth)}
            assert dict(space.decode(table.genotypes[i])) == architecture
            assert table.evaluate(architecture, seed=0)["perplexity"] == arrays["perplexity"][i]
    with pytest.raises(EvaluationError, match=r"hwgpt_s has no row for .*it holds 10000 of the space's"):
        table.evaluate_many(space.sample(3, seed=0))


def test_layers_that_no_architecture_has_are_no_decisions(npz):
    path = npz(depth=[0, 1, 2], width=[[9, 9, 9], [4, 9, 9], [8, 4, 9]], accuracy=[1, 2, 3])
    table = tables.read_columns(path, decisions=["depth", "width"], length="depth", objectives=ACCURACY)
    assert list(table.space) == ["depth", "width.1", "width.2"]
    assert table.genotypes.tolist() == [[0, -1, -1], [1, 0, -1], [2, 1, 0]]


def test_without_a_length_all_layers_count(npz):
    path = npz(width=[[0, 4], [4, 4]], rate=[0.5, 0.25], accuracy=[1, 2])
    table = tables.read_columns(path, decisions=["rate", "width"], objectives=ACCURACY)
    assert list(table.space) == ["rate", "width.1", "width.2"]
    assert dict(table.best()) == {"rate": 0.25, "width.1": 4, "width.2": 4}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decisions": ["depht"]}, "decisions: unknown array 'depht'; did you mean 'depth'"),
        ({"decisions": []}, "decisions must be arrays of one length; got {}"),
        ({"decisions": ["depth", "short"]}, "arrays of one length; got {'depth': 2, 'short': 1}"),
        ({"decisions": ["names"]}, r"names must be numbers of shape \(n,\) or \(n, layers\); got <U1"),
        ({"decisions": ["cube"]}, r"cube must be numbers of shape .*got float64 \(2, 1, 1\)"),
        ({"decisions": ["depth"], "length": "accuracy"}, "length must name a decision .*got 'accuracy'"),
        ({"decisions": ["depth", "width"], "length": "width"}, "length must name a decision"),
        (
            {"decisions": ["depth", "width"], "length": "depth"},
            "depth must be at most 2, the layers of width; got 3",
        ),
    ],
)
def test_bad_columns_are_refused(npz, settings, message):
    path = npz(
        depth=[1, 3],
        width=[[1, 2], [2, 2]],
        short=[1],
        names=["a", "b"],
        cube=np.ones((2, 1, 1)),
        accuracy=[1.0, 2.0],
    )
    refused(path, message, reader=tables.read_columns, **settings)


def test_a_length_after_its_layers_is_refused(npz):
    path = npz(depth=[1, 2], width=[[1, 2], [2, 2]], accuracy=[1.0, 2.0])
    with pytest.raises(ValueError, match="when= must name earlier decisions"):
        tables.read_columns(path, decisions=["width", "depth"], length="depth", objectives=ACCURACY)


# -- damaged and foreign npz files ---------------------------------------------------------------------------


def test_truncated_npz_files_are_refused(npz):
    path = npz(genotypes=np.arange(600).reshape(-1, 2), accuracy=np.arange(300.0))
    whole = path.read_bytes()
    for length in (0, 1, 30, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        refused(path, "cannot be read as a table")


def test_flipped_bytes_are_noticed(npz):
    path = npz(genotypes=np.arange(600).reshape(-1, 2), accuracy=np.arange(300.0))
    whole = bytearray(path.read_bytes())
    whole[500] ^= 0xFF  # in the numbers of the first array
    path.write_bytes(whole)
    refused(path, "cannot be read as a table: Bad CRC-32")


def test_garbage_and_other_formats_are_refused(tmp_path):
    path = tmp_path / "tiny.npz"
    path.write_bytes(os.urandom(1000))
    refused(path, "cannot be read as a table")
    path.write_text(json.dumps({"genotypes": [[0]]}))
    refused(path, "cannot be read as a table")
    with path.open("wb") as file:
        np.save(file, np.zeros((3, 2)))
    refused(path, "it is a single array")
    path.write_bytes(pickle.dumps({"genotypes": [[0]]}))
    refused(path, "cannot be read as a table")
    with pytest.raises(FileNotFoundError):
        tables.read_npz(tmp_path / "none.npz", objectives=ACCURACY)


def test_object_arrays_are_refused_and_nothing_runs(tmp_path):
    path, touched = tmp_path / "tiny.npz", tmp_path / "touched"
    np.savez(path, genotypes=[[0], [1]], accuracy=np.array([Hostile(touched), None], object))
    refused(path, "cannot be read as a table: Object arrays cannot be loaded when allow_pickle=False")
    assert not touched.exists()
    # What is not asked for is not looked at.
    np.savez(path, genotypes=[[0]], accuracy=[1.0], notes=np.array([Hostile(touched)], object))
    assert len(tables.read_npz(path, objectives=ACCURACY, metrics=["accuracy"])) == 1
    assert not touched.exists()


# -- NAS-Bench-Graph -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def package():
    return pytest.importorskip(
        "nas_bench_graph", reason="nas-bench-graph is not installed: pip install 'nasx[tables]'"
    )


@pytest.mark.parametrize("dataset", GRAPHS)
def test_graph_tables_hold_all_networks_once(package, dataset):
    table = tables.nas_bench_graph(dataset)
    proteins = dataset == "proteins"
    assert len(table) == table.space.size == (2_021 if proteins else 26_206)
    assert isinstance(table.space, NASBenchGraph)
    np.testing.assert_array_equal(np.unique(table.genotypes, axis=0), table.space.enumerate())
    assert table.metrics == ("valid_score", "test_score", "latency_ms", "parameters")
    assert table.objectives == {"valid_score": "maximize"}
    for name in ("valid_score", "test_score"):
        assert 0 <= table.columns[name].min() < table.columns[name].max() <= 1
    assert 0.1 < table.columns["latency_ms"].min() < table.columns["latency_ms"].max() < 1000
    assert 10_000 < table.columns["parameters"].min() < table.columns["parameters"].max() < 1e7


@pytest.mark.parametrize("dataset", ["cora", "arxiv", "proteins"])
def test_graph_tables_answer_what_the_package_answers(package, dataset):
    table = tables.nas_bench_graph(dataset)
    space = table.space
    published = package.light_read(dataset)
    # Any genotype, canonical or not.
    raw = np.random.default_rng(1).integers(0, space.cardinalities, (3000, 5)).astype(np.int32)
    raw = raw[space.satisfies(raw)]
    found = table.evaluate_many(raw)
    operations = space.settings["operations"]
    for i, (structure, *chosen) in enumerate(raw.tolist()):
        link = [int(source) for source in space.structures[structure].split(",")]
        row = published[package.Arch(link, [operations[index] for index in chosen]).valid_hash()]
        assert found["valid_score"][i] == row["valid_perf"]
        assert found["test_score"][i] == row["perf"]
        assert found["latency_ms"][i] == row["latency"] * 1e3
        assert found["parameters"][i] == row["para"] * 1e6


def test_unknown_graphs_are_named():
    with pytest.raises(ValueError, match="dataset: unknown data set 'pubmd'; did you mean 'pubmed'"):
        tables.nas_bench_graph("pubmd")


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "nas_bench_graph", None)
    with pytest.raises(MissingDependencyError, match=r"needs nas_bench_graph: pip install 'nasx\[tables\]'"):
        tables.nas_bench_graph("cora")


@pytest.mark.parametrize(
    "content",
    [
        [],
        {},
        {"a": {}},
        {0: {"valid_perf": 1.0}},
        {0: {"valid_perf": 1.0, "perf": "high", "latency": 1.0, "para": 1.0}},
        {19: {"valid_perf": 1.0, "perf": 1.0, "latency": 1.0, "para": 1.0}},
        {-1: {"valid_perf": 1.0, "perf": 1.0, "latency": 1.0, "para": 1.0}},
        {10**30: {"valid_perf": 1.0, "perf": 1.0, "latency": 1.0, "para": 1.0}},
        {0: [1.0, 1.0, 1.0, 1.0]},
    ],
)
def test_other_plain_data_are_no_graph_table(monkeypatch, tmp_path, content):
    fake_package(monkeypatch, tmp_path, pickle.dumps(content))
    with pytest.raises(ValueError, match=r"cora.bench is no table of NAS-Bench-Graph"):
        tables.nas_bench_graph("cora")


def test_a_hostile_graph_table_is_refused(monkeypatch, tmp_path):
    fake_package(monkeypatch, tmp_path, pickle.dumps({0: Hostile(tmp_path / "touched")}))
    with pytest.raises(ValueError, match=r"cora.bench cannot be read as plain data: it asks for"):
        tables.nas_bench_graph("cora")
    assert not (tmp_path / "touched").exists()


def fake_package(monkeypatch, folder, data):
    """Put a package of that name, with that file, first on the path."""
    (folder / "nas_bench_graph" / "light").mkdir(parents=True)
    (folder / "nas_bench_graph" / "__init__.py").write_text("")
    (folder / "nas_bench_graph" / "light" / "cora.bench").write_bytes(data)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.delitem(sys.modules, "nas_bench_graph", raising=False)
    # Put the real one back afterwards, if it had been imported.
    monkeypatch.setitem(sys.modules, "nas_bench_graph", __import__("nas_bench_graph"))


# -- pickles -------------------------------------------------------------------------------------------------


class Hostile:
    """Pickles to a command that leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


class Call:
    """Pickles to any call."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def write(tmp_path, data):
    path = tmp_path / "data.bench"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_come_back(tmp_path, protocol):
    value = {
        1: {"a": 0.5, "b": [1, -2, 10**30], "c": (True, None, "text"), "d": {1, 2}},
        "more": [{"x": float("inf")}] * 3,
    }
    path = write(tmp_path, pickle.dumps(value, protocol))
    if protocol < 4:  # sets are a call there
        del value[1]["d"]
        path = write(tmp_path, pickle.dumps(value, protocol))
    assert load_plain(path) == value


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.parametrize("kind", ["b1", "i1", "u1", "i4", "i8", "u8", "f2", "f4", "f8", ">f8", ">i2"])
def test_numpy_numbers_come_back_as_python_ones(tmp_path, kind, protocol):
    number = np.dtype(kind).type(1.5 if "f" in kind else 1)
    if kind.startswith(">"):
        number = np.array([number], kind)[0]
    data = pickle.dumps({"n": number, "again": number}, protocol)
    back = load_plain(write(tmp_path, data))
    assert back == {"n": number.item(), "again": number.item()}
    assert type(back["n"]) is type(number.item())
    older = data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    if protocol == 3:  # names have no length there
        assert load_plain(write(tmp_path, older)) == back


def big_endian_scalar():
    """A scalar as a big-endian machine of old wrote it."""
    return (
        b"\x80\x03cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nX\x02\x00\x00\x00f8K\x00K\x01\x87R"
        b"(K\x03X\x01\x00\x00\x00>NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbC\x08?\xf8\x00\x00\x00\x00\x00\x00\x86R."
    )


def test_byte_order_is_respected(tmp_path):
    assert load_plain(write(tmp_path, big_endian_scalar())) == 1.5


HOSTILE = {
    "os.system": Call(os.system, "touch TOUCHED"),
    "eval": Call(eval, "__import__('os').system('touch TOUCHED')"),
    "exec": Call(exec, "open('TOUCHED', 'w')"),
    "getattr": Call(getattr, "", "join"),
    "subprocess": Call(subprocess.Popen, ["touch", "TOUCHED"]),
    "path": pathlib.PurePosixPath("a"),
    "array": np.zeros(3),
    "object array": np.array([{}], object),
    "structured scalar": np.zeros(1, [("a", "f8")])[0],
    "text scalar": np.str_("a"),
    "date": np.datetime64("2020-01-01"),
    "complex": 1j,
    "class": Call,
    "function": np.load,
    "nested": {0: {"perf": [(1, {"x": Call(os.system, "touch TOUCHED")})]}},
    "in a scalar": Call(np.float64(1).__reduce__()[0], np.dtype("f8"), Call(os.system, "touch TOUCHED")),
}


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("name", HOSTILE)
def test_everything_else_is_refused_and_nothing_runs(tmp_path, monkeypatch, name, protocol):
    monkeypatch.chdir(tmp_path)
    path = write(tmp_path, pickle.dumps({"a": 1, "b": HOSTILE[name]}, protocol))
    with pytest.raises(ValueError, match=r"data.bench cannot be read as plain data"):
        load_plain(path)
    assert os.listdir(tmp_path) == ["data.bench"]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"cos\nsystem\n(S'touch TOUCHED'\ntR.", "it asks for os.system; only containers and numbers"),
        (b"(S'touch TOUCHED'\nios\nsystem\n.", "it asks for os.system"),
        (b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.", "it asks for builtins.eval"),
        # Attributes of what is allowed.
        (b"\x80\x04\x8c\x05numpy\x8c\x0edtype.__init__\x93.", "it asks for numpy.dtype.__init__"),
        (b"\x80\x04\x8c\x05numpy\x8c\x04load\x93.", "it asks for numpy.load"),
        # A data type that says it holds objects, or has fields, or is something else.
        (b"cnumpy\ndtype\n(S'O8'\ntR.", "it holds the NumPy data type 'O8'"),
        (b"cnumpy\ndtype\n(S'V8'\nI0\nI1\ntR.", "it holds the NumPy data type 'V8'"),
        (b"cnumpy\ndtype\n(((I1\nttR.", "cannot be read as plain data"),
        (
            b"cnumpy\ndtype\n(S'f8'\ntR(I3\nS'<'\nN(S'a'\ntNI8\nI1\nI0\ntb.",
            "NumPy data type that is no plain number",
        ),
        (
            b"cnumpy\ndtype\n(S'f8'\ntR(I3\nS'x'\nNNNI-1\nI-1\nI0\ntb.",
            "NumPy data type that is no plain number",
        ),
        # A scalar of another size, and one without a data type.
        (
            b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(S'f8'\ntRC\x04abcdtR.",
            "scalar that is no number",
        ),
        (b"cnumpy.core.multiarray\nscalar\n(I1\nC\x04abcdtR.", "scalar that is no number"),
        # State for the functions that stand for NumPy's.
        (b"cnumpy.core.multiarray\nscalar\n(N}S'__code__'\nI1\nstb.", "cannot be read as plain data"),
        (b"cnumpy.core.multiarray\nscalar\n(N}S'__defaults__'\n(tstb.", "cannot be read as plain data"),
        (b"cnumpy\ndtype\n)\x81.", "cannot be read as plain data"),
        (b"Pname\n.", "persistent"),
        (b"\x82\x01.", "extension code"),
        (b"", "it is cut short"),
        (b"garbage", "cannot be read as plain data"),
        (b"}0.", "cannot be read as plain data"),
        (b"I1\n.I2\n.", "it goes on after its end"),
        (b"\x80\x05\x8e\xff\xff\xff\xff\xff\xff\xff\x7f.", "cannot be read as plain data"),
    ],
)
def test_crafted_and_damaged_pickles_are_refused(tmp_path, monkeypatch, data, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        load_plain(write(tmp_path, data))
    assert os.listdir(tmp_path) == ["data.bench"]


def test_a_pickle_leaves_nothing_behind_for_the_next_one(tmp_path):
    # State set on what stands for NumPy's functions must not change what they do.
    load_plain(write(tmp_path, b"cnumpy.core.multiarray\nscalar\n}S'x'\nI1\nsb."))
    assert load_plain(write(tmp_path, pickle.dumps(np.float64(0.25)))) == 0.25


def test_truncated_pickles_are_refused(package, tmp_path):
    whole = (pathlib.Path(package.__file__).parent / "light" / "proteins.bench").read_bytes()
    for length in (*range(0, 400, 7), len(whole) // 2, len(whole) - 1):
        with pytest.raises(ValueError, match="cannot be read as plain data"):
            load_plain(write(tmp_path, whole[:length]))


def test_damaged_pickles_never_do_anything_else(package, tmp_path):
    whole = (pathlib.Path(package.__file__).parent / "light" / "proteins.bench").read_bytes()[:3000]
    small = pickle.dumps({i: {"perf": np.float64(i), "para": 0.5} for i in range(20)}, 3)
    rng = np.random.default_rng(0)
    for source in (whole, small):
        for _ in range(300):
            damaged = bytearray(source)
            for place in rng.integers(0, len(damaged), 3):
                damaged[place] = rng.integers(256)
            # Some damage only changes numbers.
            with contextlib.suppress(ValueError):
                load_plain(write(tmp_path, bytes(damaged)))


def test_the_packages_files_ask_for_no_more_than_two_names(package):
    folder = pathlib.Path(package.__file__).parent / "light"
    for dataset in ("cora", "proteins"):
        names = {
            argument
            for code, argument, _ in pickletools.genops((folder / f"{dataset}.bench").read_bytes())
            if code.name == "GLOBAL"
        }
        assert names == {"numpy dtype", "numpy.core.multiarray scalar"}


def test_nothing_in_the_library_loads_pickles_freely():
    root = pathlib.Path(tables.__file__).parents[1]
    for path in root.rglob("*.py"):
        text = path.read_text()
        assert "pickle.load" not in text, path
        assert "allow_pickle=True" not in text, path


def test_reading_tables_needs_no_torch():
    code = "import sys, nasx.tasks.tables, nasx.tasks.tabular, nasx.spaces; raise SystemExit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_space_of_a_table_without_one_is_a_plain_space(npz):
    table = tables.read_npz(npz(genotypes=[[0, 3], [2, 1]], accuracy=[1, 2]), objectives=ACCURACY)
    assert table.space == Space({"0": Categorical(range(3)), "1": Categorical(range(4))})
