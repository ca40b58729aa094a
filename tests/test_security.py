"""Files of strangers: nothing runs code, and what is damaged, foreign or a bomb is refused by name."""

import contextlib
import io
import json
import math
import os
import pickle
import re
import resource
import signal
import sqlite3
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

import nasx
from nasx import Architecture, Categorical, Integer, Space
from nasx.cli.config import read_config
from nasx.cli.main import main
from nasx.errors import ConfigurationError, JournalError
from nasx.hardware import LatencyTable, ParamsTable
from nasx.journal import Journal
from nasx.strategies.reinforcement.policies import Policy, make_policy
from nasx.tasks import datasets, tables
from nasx.tasks._plain_pickle import load_plain

SPACE = Space({"a": Integer(0, 9), "op": Categorical(["conv", "skip"], when={"a": [1, 2, 3]})})
ERROR = {"error": "minimize"}
ACCURACY = {"accuracy": "maximize"}
TOML = """
[task]
name = "TabularBenchmark"
file = "tiny.npz"

[strategy]
name = "nsga2"
population_size = 4

[search]
evaluations = 6
seed = 1

[objectives]
accuracy = "maximize"

[output]
directory = "run"
"""


class Hostile:
    """Pickles to a call that leaves a file behind."""

    def __reduce__(self):
        return open, ("it-ran", "w")


@pytest.fixture(autouse=True)
def in_a_folder_where_nothing_runs(tmp_path, monkeypatch):
    """Whatever a file asks for would be left here; and nothing may take minutes."""

    def give_up(*_):
        raise TimeoutError("this takes too long")

    monkeypatch.chdir(tmp_path)
    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(120)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
    assert not (tmp_path / "it-ran").exists()


@contextlib.contextmanager
def little_memory(most=150 << 20):
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < most
    finally:
        tracemalloc.stop()


# -- what is read from files, and what makes such a file -----------------------------------------------------


def error(architecture):
    return float(architecture["a"])


def search(path, evaluations=30):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a proposal that was changed is reported, and that is right
        return nasx.search(
            SPACE,
            error,
            objectives=ERROR,
            strategy=nasx.NSGA2(population_size=4),
            evaluations=evaluations,
            journal=path,
        )


def make_table(path):
    np.savez(path, genotypes=[[i // 6, i % 6] for i in range(30)], accuracy=np.arange(30.0))


def make_configuration(path):
    make_table("tiny.npz")
    path.write_text(TOML)


def make_graph(path):
    metrics = {"valid_perf": 0.5, "perf": np.float64(0.5), "latency": 0.25, "para": 0.1}
    path.write_bytes(pickle.dumps({10000 + i: dict(metrics) for i in range(9)}))


def make_latency_table(path):
    LatencyTable(SPACE, [np.arange(10.0), [1.0, 2.0]], pairs=[np.ones((10, 2))], intercept=1).save(path)


def make_counted_table(path):
    space = nasx.spaces.ConvNet(depths=[1])
    counted = ParamsTable().bind(space, nasx.TaskSpec((1, 4, 4), 2, "image_classification"))
    counted(space.sample(4, seed=0))
    counted.save(path)


def read_graph(path):
    return tables._graph_rows(path, load_plain(path))


FILES = {  # name: ending, maker, reader, its error
    "journal": (".db", lambda path: search(path, 12), nasx.Result.load, JournalError),
    "resumed journal": (".db", lambda path: search(path, 12), search, JournalError),
    "latency table": (".npz", make_latency_table, LatencyTable.load, ValueError),
    "counted table": (".npz", make_counted_table, ParamsTable.load, ValueError),
    "table": (".npz", make_table, lambda path: tables.read_npz(path, objectives=ACCURACY), ValueError),
    "columns": (
        ".npz",
        lambda path: np.savez(
            path, depth=[1, 2, 2], heads=[[4, 0], [4, 8], [8, 8]], accuracy=[3.0, 2.0, 1.0]
        ),
        lambda path: tables.read_columns(
            path, decisions=["depth", "heads"], length="depth", objectives=ACCURACY
        ),
        ValueError,
    ),
    "data set": (
        ".npz",
        lambda path: np.savez(path, images=np.ones((40, 1, 2, 2)), labels=np.arange(40) % 2),
        datasets.load,
        ValueError,
    ),
    "policy": (".npz", lambda path: make_policy("independent", SPACE, 0).save(path), Policy.load, ValueError),
    "graph table": (".bench", make_graph, read_graph, ValueError),
    "configuration": (".toml", make_configuration, read_config, ConfigurationError),
}
TEXTS = {
    "space": (lambda: json.dumps(SPACE.to_dict()), lambda text: Space.from_dict(json.loads(text))),
    "built-in space": (
        lambda: json.dumps(nasx.spaces.ConvNet(depths=[1, 2]).to_dict()),
        lambda text: Space.from_dict(json.loads(text)),
    ),
    "architecture": (lambda: SPACE.decode(SPACE.sample(1)[0]).to_json(), Architecture.from_json),
}


def refused_or_read(read, path, kind):
    """Read a file; whether it was read. Else it was refused by name, and is what it was."""
    before = path.read_bytes()
    try:
        read(path)
    except kind as error:
        message = str(error)
    else:
        return True
    assert path.name in message
    assert path.read_bytes() == before
    return False


def damage(content, rng):
    damaged = bytearray(content)
    way = rng.integers(4)
    if way == 0:
        return bytes(damaged[: rng.integers(len(damaged))])
    for _ in range(rng.choice([1, 1, 3, 30])):
        at = rng.integers(len(damaged))
        if way == 1:
            damaged[at] ^= 1 << rng.integers(8)
        elif way == 2:
            damaged[at] = rng.integers(256)
        else:  # something of the file in another place
            part = damaged[at : at + rng.integers(1, 40)]
            to = rng.integers(len(damaged))
            damaged[to : to + len(part)] = part
    return bytes(damaged)


@pytest.mark.parametrize("name", FILES)
def test_damaged_files_are_read_or_refused_by_name(tmp_path, name):
    ending, make, read, kind = FILES[name]
    path = tmp_path / f"stranger{ending}"
    make(path)
    assert refused_or_read(read, path, kind)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(60 if "journal" in name else 200):
        path.write_bytes(damage(whole, rng))
        refused += not refused_or_read(read, path, kind)
    assert refused > 10
    for length in (1, 16, 99, 100, 511, 512, len(whole) - 1):
        if length < len(whole):
            path.write_bytes(whole[:length])
            refused_or_read(read, path, kind)


@pytest.mark.parametrize("name", TEXTS)
def test_damaged_texts_are_read_or_refused(name):
    make, read = TEXTS[name]
    whole = make()
    read(whole)
    rng = np.random.default_rng(0)
    refused = 0
    tokens = [
        "null",
        "true",
        "-1",
        "1e999",
        "NaN",
        '"x"',
        "[]",
        "{}",
        "[[1]]",
        "123456789012345678901",
        '{"a": 1}',
    ]
    values = [match.span() for match in re.finditer(r'"[^"]*"|\d+|null|true|false', whole)]
    for _ in range(400):
        if rng.random() < 0.5:
            text = damage(whole.encode(), rng).decode(errors="replace")
        else:  # another value in the place of one
            begin, end = values[rng.integers(len(values))]
            text = whole[:begin] + tokens[rng.integers(len(tokens))] + whole[end:]
        try:
            read(text)
        except ValueError:
            refused += 1
    assert refused > 50


# -- files of other programs, and bombs ----------------------------------------------------------------------


def foreign_database():
    path = Path("foreign.db")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE mine (x); INSERT INTO mine VALUES (1);")
    return path.read_bytes()


def empty_database():
    path = Path("empty.db")
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript("PRAGMA user_version = 7")
    return path.read_bytes()


def torch_archive():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Hostile()))
        archive.writestr("archive/version", "3\n")
    return stream.getvalue()


def npz(**members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return stream.getvalue()


def npy(descr, shape, data=b""):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue() + data


def object_npz():
    stream = io.BytesIO()
    hostile = np.array([Hostile(), None], object)
    names = ["genotypes", "accuracy", "images", "labels", "header", "entries", "kind", "depth", "heads"]
    np.savez(stream, **dict.fromkeys(names, hostile))
    return stream.getvalue()


FOREIGN = {
    "nothing": lambda: b"",
    "a byte": lambda: b"\0",
    "a word": lambda: b"precious",
    "511 bytes": lambda: b"x" * 511,
    "512 bytes": lambda: b"x" * 512,
    "zeros": lambda: bytes(5000),
    "noise": lambda: np.random.default_rng(0).bytes(5000),
    "a picture": lambda: b"\x89PNG\r\n\x1a\n" + bytes(100),
    "the head of a database": lambda: b"SQLite format 3\0" + bytes(84),
    "a database": foreign_database,
    "an empty database": empty_database,
    "a pickle": lambda: pickle.dumps(Hostile()),
    "an old pickle": lambda: pickle.dumps(Hostile(), 0),
    "a network": torch_archive,
    "an array": lambda: npy("<f8", (2,), bytes(16)),
    "an array of objects": lambda: npy("|O", (1,), pickle.dumps(Hostile())),
    "arrays of objects": object_npz,
    "an archive of nothing": npz,
    "deep brackets": lambda: b"a = " + b"[" * 100_000,
    "long numbers": lambda: b"a = " + b"9" * 100_000,
    "JSON": lambda: json.dumps(SPACE.to_dict()).encode(),
}


@pytest.mark.parametrize("foreign", FOREIGN)
def test_foreign_files_are_refused_by_every_reader(tmp_path, foreign):
    content = FOREIGN[foreign]()
    for name, (ending, _, read, kind) in FILES.items():
        if (name, foreign) in (("resumed journal", "nothing"), ("configuration", "nothing")):
            continue  # an empty file is where a journal may begin
        path = tmp_path / f"stranger{ending}"
        path.write_bytes(content)
        assert not refused_or_read(read, path, kind), name
        assert not list(tmp_path.glob("stranger.db-*")), name
        path.unlink()


@pytest.mark.parametrize("own", FILES)
def test_files_of_other_readers_are_refused(tmp_path, own):
    path = tmp_path / "own"
    FILES[own][1](path.with_suffix(FILES[own][0]))
    content = path.with_suffix(FILES[own][0]).read_bytes()
    for name, (ending, _, read, kind) in FILES.items():
        if name.split()[-1] != own.split()[-1] and {name, own} != {"table", "latency table"}:
            stranger = tmp_path / f"stranger{ending}"
            stranger.write_bytes(content)
            assert not refused_or_read(read, stranger, kind), name


def bombs():
    zeros = bytes(300 << 20)
    header = json.dumps({"format": "nasx latency table 1"})
    claims = {
        "rows": npy("<i8", (10**12, 2)),
        "text": npy(f"<U{10**9}", ()),
        "bytes": npy("|V0", (10**15,)),
        "negative": npy("<i8", (-4, -(10**9))),
        "more than there are": npy("<f8", (10**7, 2), bytes(64)),
    }
    yield "zeros", npz(genotypes=npy("|i1", (len(zeros) // 2, 2), zeros), accuracy=npy("<f8", (0,)))
    for name, claim in claims.items():
        members = ["genotypes", "accuracy", "images", "labels", "header", "entries", "kind", "cardinalities"]
        yield name, npz(**dict.fromkeys([*members, "conditions", "depth", "heads"], claim))
    yield "many", npz(header=npy(f"<U{len(header)}", (), header.encode("utf-32-le")), entries=claims["rows"])


@pytest.fixture(scope="module")
def npz_bombs():
    return dict(bombs())


@pytest.mark.parametrize(
    "bomb", ["zeros", "rows", "text", "bytes", "negative", "more than there are", "many"]
)
def test_npz_files_that_claim_much_memory_are_refused(tmp_path, npz_bombs, bomb):
    for name, (ending, _, read, kind) in FILES.items():
        if ending == ".npz":
            path = tmp_path / "stranger.npz"
            path.write_bytes(npz_bombs[bomb])
            with little_memory():
                assert not refused_or_read(read, path, kind), name


PICKLES = {
    "a byte array": b"\x80\x05\x96" + (1 << 34).to_bytes(8, "little") + b".",
    "a string": b"\x80\x04\x8d" + (1 << 40).to_bytes(8, "little") + b".",
    "a long number": b"\x80\x04\x8b" + (1 << 30).to_bytes(4, "little") + b".",
    "a frame": b"\x80\x04\x95" + (1 << 40).to_bytes(8, "little") + b".",
    "a large memo": b"\x80\x04Nr" + (1 << 31).to_bytes(4, "little") + b".",
}


def doubled(depth, end):
    """A tuple of two of the tuple before, and so on, which takes 2^depth steps to hash; then `end`."""
    code = b"\x80\x04)\x940"  # the empty tuple, kept as 0
    code += b"h\x00h\x00\x86\x94"
    for i in range(1, depth):
        code += b"0h%ch%c\x86\x94" % (i, i)
    return code + end


PICKLES["a key of keys"] = b"\x80\x04}" + doubled(100, b"K\x01s.")[2:]
PICKLES["keys of keys"] = b"\x80\x04}(" + doubled(100, b"K\x01u.")[2:]
PICKLES["a dict of keys"] = b"\x80\x04(" + doubled(100, b"K\x01d.")[2:]
PICKLES["a set of sets"] = b"\x80\x04\x8f(" + doubled(100, b"\x90.")[2:]
PICKLES["a frozen set of sets"] = b"\x80\x04(" + doubled(100, b"\x91.")[2:]


@pytest.mark.parametrize("name", PICKLES)
def test_pickles_that_claim_much_are_refused(tmp_path, name):
    path = tmp_path / "cora.bench"
    path.write_bytes(PICKLES[name])
    with little_memory():
        if name == "a large memo":  # a place in a dictionary
            assert load_plain(path) is None
        else:
            with pytest.raises(ValueError, match=r"cora\.bench cannot be read as plain data"):
                load_plain(path)
        with pytest.raises(ValueError, match=r"cora\.bench"):
            read_graph(path)


def test_nested_values_are_no_graph_table(tmp_path):
    path = tmp_path / "cora.bench"
    path.write_bytes(doubled(100, b"."))
    with little_memory(), pytest.raises(ValueError, match="is no table"):
        read_graph(path)
    path.write_bytes(b"\x80\x04]" + doubled(100, b"a.")[2:])
    with little_memory(), pytest.raises(ValueError, match="is no table"):
        read_graph(path)


def test_short_texts_of_large_spaces_are_refused():
    def space(decisions, name="Space", settings=None):
        return Space.from_dict({"name": name, "settings": settings, "decisions": decisions})

    with little_memory():
        integers = {str(i): {"kind": "integer", "choices": [0, 1, 999_999]} for i in range(1000)}
        with pytest.raises(ValueError, match="equal steps"):
            space(integers)
        small = {"op": {"kind": "categorical", "choices": ["conv"]}}
        with pytest.raises(ValueError, match="depths must be at most"):
            space(small, "ConvNet", {"depths": [10**9]})
        for settings in ({"depths": [10**400]}, {"depths": None}, {"nonsense": 1}, [1], 3, {"widths": {}}):
            with pytest.raises(ValueError, match=r"depths|settings|widths"):
                space(small, "ConvNet", settings)
        deep = {}
        for _ in range(900):
            deep = {"when": deep}
        with pytest.raises(ValueError, match="not a decision"):
            space({"op": {"kind": "boolean", "when": {"x": deep}}})
    with pytest.raises(ValueError, match="not an architecture"):
        Architecture.from_json("[" * 100_000)


def test_entangled_spaces_are_not_counted_for_ever(capsys):
    """The last decision depends on all others: whoever counts has to look at every combination of them."""
    bits = {f"x{i}": nasx.Boolean() for i in range(60)}
    space = Space(bits | {"last": nasx.Boolean(when=dict.fromkeys(bits, True))})
    with pytest.raises(ValueError, match="too entangled to be counted"):
        _ = space.size
    with pytest.raises(ValueError, match="too many to enumerate"):
        space.enumerate()
    result = nasx.search(space, lambda a: a["x0"], objectives=ERROR, evaluations=5, journal="run.db")
    assert len(result.trials) == 5
    assert main(["show", "run.db"]) == 0
    assert "(uncounted architectures)" in capsys.readouterr().out
    wide = Space({f"x{i}": Integer(0, 9) for i in range(400)})
    nasx.search(wide, lambda a: a["x0"], objectives=ERROR, evaluations=2, journal="wide.db")
    assert main(["show", "wide.db"]) == 0
    assert "(1e400 architectures)" in capsys.readouterr().out


# -- journals ------------------------------------------------------------------------------------------------

ENDLESS = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT"
STATEMENTS = {
    "a view that never ends": f"""
        DROP TABLE trials;
        CREATE VIEW trials AS {ENDLESS} x AS told, x AS number, 'complete' AS state, '{{}}' AS metrics,
            0.0 AS violation, NULL AS error, 0.0 AS started, 0.0 AS seconds FROM n""",
    "a trigger that never ends": f"""
        CREATE TRIGGER t AFTER INSERT ON trials BEGIN INSERT INTO costs {ENDLESS} x, x FROM n; END""",
    "another table": "CREATE TABLE more (x)",
    "a table less": "DROP TABLE state",
    "another type": "DROP TABLE costs; CREATE TABLE costs (genotype, value)",
    "a huge request": "UPDATE asks SET requested = 4611686018427387904 WHERE id = 1",
    "a negative request": "UPDATE asks SET requested = -1 WHERE id = 1",
    "a text as a request": "UPDATE asks SET requested = 'many' WHERE id = 1",
    "results before there were any": "UPDATE asks SET told_before = 99 WHERE id = 2",
    "a text as genotypes": "UPDATE asks SET genotypes = 'abcd' WHERE id = 1",
    "budgets that nobody gave": "UPDATE asks SET budgets = zeroblob(4 * length(genotypes) / 8)",
    "a huge position": "UPDATE asks SET position = '[99999999999999999999, 1, 1, 1]'",
    "a text as a position": "UPDATE asks SET position = x'00ff'",
    "a negative number": "UPDATE trials SET number = -1 WHERE told = 1",
    "a text as a number": "UPDATE trials SET number = 'x' WHERE told = 1",
    "an unknown state": "UPDATE trials SET state = 'finished' WHERE told = 1",
    "no metric": "UPDATE trials SET metrics = '{}' WHERE told = 1",
    "another metric": """UPDATE trials SET metrics = '{"eror": 1.0}' WHERE told = 1""",
    "NaN": """UPDATE trials SET metrics = '{"error": NaN}' WHERE told = 1""",
    "a text as a metric": """UPDATE trials SET metrics = '{"error": "low"}' WHERE told = 1""",
    "two metrics for one": """UPDATE trials SET metrics = '{"error": 1.0}, {"error": 1.0}' WHERE told = 1""",
    "no JSON": "UPDATE trials SET metrics = x'ff' WHERE told = 1",
    "deep brackets": "UPDATE trials SET metrics = replace(hex(zeroblob(100000)), '00', '[') WHERE told = 1",
    "a text as a violation": "UPDATE trials SET violation = 'large' WHERE told = 1",
    "a text as a time": "UPDATE trials SET started = 'now' WHERE told = 1",
    "a blob as an error": "UPDATE trials SET error = x'00' WHERE told = 1",
    "broken text": "UPDATE trials SET state = CAST(x'ff' AS TEXT) WHERE told = 1",
    "a deep space": "UPDATE run SET value = replace(hex(zeroblob(100000)), '00', '[') WHERE key = 'space'",
    "no space": "DELETE FROM run WHERE key = 'space'",
    "objectives that are none": "UPDATE run SET value = '{\"error\": \"best\"}' WHERE key = 'objectives'",
    "a list of objectives": "UPDATE run SET value = '[1]' WHERE key = 'objectives'",
    "a text as limits": "UPDATE run SET value = '\"low\"' WHERE key = 'limits'",
    "a text as a seed": "UPDATE run SET value = '\"x\"' WHERE key = 'seed'",
    "an unknown end": "INSERT OR REPLACE INTO state VALUES ('stopped', 'tired')",
}
# What only one of those who read a journal looks at.
SHOWN_ALL_THE_SAME = {"a huge position", "a text as a position"}
RESUMED_ALL_THE_SAME = {"an unknown end"}


@pytest.mark.parametrize("name", STATEMENTS)
def test_journals_that_hold_nonsense_are_refused_by_name(tmp_path, name):
    path = tmp_path / "stranger.db"
    search(path, 12)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(f"BEGIN; {STATEMENTS[name]}; COMMIT;")
    with little_memory():
        assert refused_or_read(nasx.Result.load, path, JournalError) == (name in SHOWN_ALL_THE_SAME)
        assert refused_or_read(search, path, JournalError) == (name in RESUMED_ALL_THE_SAME)
    if name not in RESUMED_ALL_THE_SAME | SHOWN_ALL_THE_SAME:
        assert main(["show", str(path)]) == 2


def test_a_log_beside_a_damaged_journal_is_kept(tmp_path):
    """SQLite would put the log into the file, or drop it, when the last who opened it closes."""
    path, log = tmp_path / "stranger.db", tmp_path / "stranger.db-wal"
    search(path, 5)
    with Journal(path) as journal:
        journal.set_stopped("running")
        content, written = path.read_bytes(), log.read_bytes()
    assert written
    damaged = bytearray(content)
    damaged[4096:] = b"\x55" * len(damaged[4096:])
    for broken in (bytes(damaged), content[:8192], b"", b"SQLite format 3\0" + bytes(84)):
        path.write_bytes(broken)
        log.write_bytes(written)
        assert not refused_or_read(nasx.Result.load, path, JournalError)
        assert not refused_or_read(search, path, JournalError)
        assert log.read_bytes() == written
    path.write_bytes(content)
    assert len(search(path, 8).trials) == 8


def test_what_is_no_file_is_refused(tmp_path):
    folder, pipe, below = tmp_path / "folder", tmp_path / "pipe", tmp_path / "file" / "run.db"
    folder.mkdir()
    os.mkfifo(pipe)
    below.parent.write_text("precious")
    for path in (folder, pipe, below, Path("/dev/full"), Path("/dev/null")):
        with pytest.raises(JournalError, match=path.name):
            search(path)
        with pytest.raises((JournalError, FileNotFoundError), match=path.name):
            nasx.Result.load(path)
        if path.exists():
            with pytest.raises(JournalError, match=path.name):
                Journal.remove(path)
    assert below.parent.read_text() == "precious"
    assert not list(folder.iterdir())


def as_nobody(function):
    """Call it in a process without the rights of root; what it raises is raised here."""
    if os.getuid() != 0:
        function()
        return
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        try:
            function()
        except BaseException as error:
            os.write(write, repr(error).encode())
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with open(read, "rb") as stream:
        assert stream.read() == b""


def test_files_and_folders_without_permission_are_named(tmp_path):
    path = tmp_path / "run.db"
    search(path, 5)
    for folder in [tmp_path, *tmp_path.parents]:
        if (
            not os.stat(folder).st_mode & 0o001
            and os.stat(folder).st_uid == os.getuid()
            and folder != Path("/")
        ):
            folder.chmod(0o755)

    def unreadable():
        for read in (nasx.Result.load, search):
            with pytest.raises(JournalError, match=r"run\.db cannot be read: Permission denied"):
                read(path)

    def readable():
        assert len(nasx.Result.load(path).trials) == 5
        with pytest.raises(JournalError, match=r"run\.db cannot be written: .*Permission denied"):
            search(path)
        with pytest.raises(JournalError, match=r"new\.db cannot be written: .*Permission denied"):
            search(path.with_name("new.db"))

    path.chmod(0)
    as_nobody(unreadable)
    path.chmod(0o444)
    path.with_name("run.db.lock").chmod(0o444)
    tmp_path.chmod(0o555)
    try:
        as_nobody(readable)
    finally:
        tmp_path.chmod(0o755)


def test_a_full_disk_loses_nothing_that_was_told(tmp_path):
    """As far as a limit on the size of files is a full disk."""
    path = tmp_path / "run.db"
    whole = [tuple(trial.genotype) for trial in search_wide(None, 300).trials]
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    told = []
    for size in (1000, 50_000, 70_000, 90_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
        try:
            with pytest.raises(JournalError, match=r"run\.db: .*(full|I/O error)"):
                search_wide(path, 300, told)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        if told:
            assert [trial.number for trial in nasx.Result.load(path).trials] == told
    assert 0 < len(told) < 300
    assert [tuple(trial.genotype) for trial in search_wide(path, 300, told).trials] == whole
    assert told == list(range(300))


def search_wide(path, evaluations, told=()):
    return nasx.search(
        Space({"a": Integer(0, 999)}),
        error,
        objectives=ERROR,
        strategy="random_search",
        evaluations=evaluations,
        journal=path,
        callbacks=[lambda result, trial: told.append(trial.number)] if isinstance(told, list) else [],
    )


# -- the rest ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[task]",
        "search = 3",
        "[task]\nname = 'TabularBenchmark'\nfile = 'none.npz'",
        "[task]\nname = 'TabularBenchmark'\nfile = '/dev/null'",
        "[task]\nname = 'TabularBenchmark'\nfile = '.'",
        TOML.replace("evaluations = 6", "evaluations = 99999999999999999999999\nseconds = 0.0"),
        TOML.replace("seed = 1", "seed = 18446744073709551616"),
        TOML.replace("seed = 1", "seed = -1"),
        TOML.replace("population_size = 4", "population_size = 1e400"),
        TOML.replace("population_size = 4", "inner = {name = 'nsga2'}"),
        TOML.replace('directory = "run"', 'directory = "tiny.npz/run"'),
        TOML.replace('accuracy = "maximize"', 'accuracy = ["maximize"]'),
        TOML.replace('name = "nsga2"', 'name = "os.system"'),
    ],
)
def test_the_command_says_in_one_line_what_is_wrong(tmp_path, text, capsys):
    make_table("tiny.npz")
    path = tmp_path / "stranger.toml"
    path.write_text(text)
    assert main(["search", str(path)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert lines[0].startswith("nasx: error: ")
    assert "Traceback" not in "".join(lines)


def test_nothing_in_the_library_runs_what_it_reads():
    root = Path(nasx.__file__).parent
    forbidden = re.compile(
        r"(?<![.\w])(eval|exec|compile|__import__)\(|\b(pickle|marshal|shelve|dill|joblib|torch)\.(loads?|open)\b|"
        r"allow_pickle=True|\bos\.system\b|\byaml\b"
    )
    for path in root.rglob("*.py"):
        found = [line for line in path.read_text().splitlines() if forbidden.search(line)]
        found = [line for line in found if "re.compile(" not in line and "weights_only=True" not in line]
        assert not found, path


def test_numbers_at_the_ends_of_their_ranges_are_refused_by_name():
    population = nasx.population
    cards = [3, 2**31 - 1]
    assert population.sample(cards, 3, seed=2**64 - 1, generation=2**32 - 1, first=2**64 - 1).shape == (3, 2)
    for arguments, named in (
        ({"n": 2**62}, "numbers, more than memory has addresses for"),
        ({"n": 2**63}, "n must be"),
        ({"seed": 2**64}, "seed must be"),
        ({"seed": -1}, "seed must be"),
        ({"generation": 2**32}, "generation must be"),
        ({"first": 2**64}, "first must be"),
    ):
        with pytest.raises(ValueError, match=named):
            population.sample(cards, **{"n": 3, **arguments})
    with pytest.raises(MemoryError):
        population.sample(cards, 2**50)
    with pytest.raises(ValueError, match="cardinalities must sum to at most"):
        population.neighbors([0, 0], cards)
    with pytest.raises(ValueError, match="size must be at least 1 and at most"):
        population.tournament([1.0, 2.0], 3, size=2**62)
    for seed in (2**63, 2**64, 10**30, -1):
        with pytest.raises(ValueError, match="seed must be"):
            nasx.search(SPACE, error, objectives=ERROR, evaluations=3, seed=seed)
    assert nasx.search(SPACE, error, objectives=ERROR, evaluations=10**30).stopped == "exhausted"
    assert math.isfinite(
        nasx.search(SPACE, lambda a: 1e308, objectives=ERROR, evaluations=9).best.metrics["error"]
    )
