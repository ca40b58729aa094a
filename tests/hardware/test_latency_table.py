"""Latency tables: sums against plain loops, extremes against looking at all, fits of measured timings, files."""

import contextlib
import dataclasses
import itertools
import json
import pickle

import numpy as np
import pytest
from reference import latency_table as twin

import nasx
from nasx import Boolean, Categorical, Integer, Space
from nasx.hardware import LatencyTable
from nasx.tasks import TaskSpec


def space_of(*counts, constraints=()):
    return Space({f"x{j}": Categorical(range(n)) for j, n in enumerate(counts)}, constraints=constraints)


def random_table(space, *, pairs=False, seed=0):
    rng = np.random.default_rng(seed)
    counts = space.cardinalities
    return LatencyTable(
        space,
        [rng.normal(size=n) for n in counts],
        pairs=[rng.normal(size=shape) for shape in itertools.pairwise(counts)] if pairs else None,
        intercept=0.5,
    )


def plain_sums(table, rows):
    return twin.sums(rows.tolist(), table.entries, table.pairs, table.intercept)


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("counts", [(3,), (2, 5, 1, 4), (8,) * 20])
def test_sums_are_those_of_a_plain_loop(counts, pairs):
    table = random_table(space_of(*counts), pairs=pairs)
    for n in (0, 1, 7, 8, 9, 1000):
        rows = table.space.sample(n, seed=n)
        before = rows.copy()
        np.testing.assert_array_equal(table(rows), plain_sums(table, rows))
        np.testing.assert_array_equal(rows, before)


def test_inactive_decisions_take_nothing():
    space = Space({"deep": Boolean(), "op": Categorical("ab", when={"deep": True}), "width": Integer(1, 3)})
    table = random_table(space, pairs=True)
    rows = space.enumerate()
    assert (rows == -1).any()
    np.testing.assert_array_equal(table(rows), plain_sums(table, rows))
    assert table(space.encode({"deep": False, "width": 2})[None])[0] == pytest.approx(
        0.5 + table.entries[0][0] + table.entries[2][1]
    )


@pytest.mark.parametrize("pairs", [False, True])
def test_fastest_and_slowest_are_those_of_all(pairs):
    conditional = Space(
        {"deep": Boolean(), "op": Categorical("abc", when={"deep": True}), "w": Integer(1, 3)}
    )
    limited = space_of(3, 3, 3, constraints=[lambda x: x[:, 0] != x[:, 1]])
    for seed, space in enumerate([space_of(4), space_of(2, 3, 4, 2), conditional, limited]):
        table = random_table(space, pairs=pairs, seed=seed)
        everything = table(space.enumerate())
        assert table.range() == (everything.min(), everything.max())
        assert table(table.fastest()[None]) == everything.min()
    huge = random_table(space_of(*[8] * 30), pairs=pairs)
    low, high = huge.range()
    some = huge(huge.space.sample(1000))
    assert low <= some.min() < some.max() <= high
    refused = random_table(space_of(*[8] * 30, constraints=[lambda x: x[:, 0] >= 0]))
    with pytest.raises(ValueError, match="conditions, constraints or blocks"):
        refused.fastest()


@pytest.mark.parametrize("pairs", [False, True])
def test_expected_latency_is_the_mean_over_all_and_has_its_gradient(pairs):
    torch = pytest.importorskip("torch")
    table = random_table(space_of(2, 3, 4), pairs=pairs)
    rng = np.random.default_rng(1)
    probabilities = [rng.dirichlet(np.ones(n)) for n in (2, 3, 4)]
    rows = table.space.enumerate()
    weights = np.prod([p[rows[:, j]] for j, p in enumerate(probabilities)], axis=0)
    assert table.expected(probabilities) == pytest.approx(weights @ table(rows))
    parts = [torch.tensor(p, requires_grad=True) for p in probabilities]
    expected = table.expected(parts)
    assert expected.item() == pytest.approx(weights @ table(rows))
    assert torch.autograd.gradcheck(lambda *p: table.expected(p), parts)
    batch = [np.stack([p, p]) for p in probabilities]
    assert table.expected(batch).shape == (2,)
    with pytest.raises(ValueError, match="probabilities must have 3 parts"):
        table.expected(parts[:2])
    with pytest.raises(ValueError, match=r"probabilities of x1 must have shape \(\.\.\., 3\)"):
        table.expected([parts[0], parts[0], parts[2]])


def test_a_search_stays_within_the_limit():
    table = random_table(space_of(5, 5, 5, 5), pairs=True)
    limit = float(np.quantile(table(table.space.enumerate()), 0.2))
    result = nasx.search(
        table.space,
        lambda a: float(sum(a.values())),
        objectives={"loss": "maximize"},
        costs={"latency_ms": table},
        limits={"latency_ms": limit},
        strategy="regularized_evolution",
        evaluations=60,
        seed=0,
    )
    assert all(trial.metrics["latency_ms"] <= limit for trial in result.trials)
    with pytest.raises(ValueError, match="the decisions differ"):
        table.bind(space_of(5, 5), TaskSpec((1,), 1, "none"))


def test_it_is_refused_for_other_settings_and_other_inputs(tmp_path):
    def images(size):
        return TaskSpec((3, size, size), 10, "image_classification")

    space, other = nasx.spaces.NASBench201(cells=1, channels=4), nasx.spaces.NASBench201(cells=5, channels=64)
    table = LatencyTable(space, [range(5)] * 6, about={"spec": dataclasses.asdict(images(32))})
    table.save(tmp_path / "table.npz")
    for one in (table, LatencyTable.load(tmp_path / "table.npz")):
        for spec in (None, images(32), TaskSpec((3, 32, 32), 100, "image_classification")):
            assert one.bind(space, spec) is one
        with pytest.raises(
            ValueError, match=r"NASBench201 with .*'cells': 1.*'cells': 5.*the settings differ"
        ):
            one.bind(other, images(32))
        with pytest.raises(ValueError, match=r"inputs of shape \(3, 32, 32\), not \(3, 224, 224\): measure"):
            one.bind(space, images(224))
    # Those of timings from elsewhere and of spaces without settings do not know so much.
    rows = space.sample(20)
    fitted = LatencyTable.fit(space, rows, rows.sum(1), about={"spec": "of the paper"})
    adapted = LatencyTable.adapt([fitted], rows, 1.0 + rows.sum(1))
    for one in (fitted, adapted):
        assert one.bind(space, images(224)) is one
    plain = random_table(space_of(2, 3))
    assert plain.bind(space_of(2, 3), images(224)) is plain
    with_tuples = random_table(nasx.spaces.ConvNet(depths=(1, 2), widths=(8,)))
    assert with_tuples.bind(nasx.spaces.ConvNet(depths=[1, 2], widths=[8]), images(8)) is with_tuples


# -- fits ----------------------------------------------------------------------------------------------------


def test_a_fit_finds_a_table_of_pairs_again_in_spite_of_outliers():
    table = random_table(space_of(3, 4, 3, 4), pairs=True)
    rows = table.space.enumerate()
    timings = table(rows) + 10
    timings[::9] *= 3
    fitted = LatencyTable.fit(table.space, rows, timings, seed=1)
    assert fitted.pairs is not None
    assert np.median(np.abs(fitted(rows) - table(rows) - 10)) < 0.1
    assert fitted.about["timings"] == len(rows)


@pytest.mark.data
@pytest.mark.parametrize(
    ("device", "correlation", "error"),
    [
        ("1080ti_1", 0.98, 0.04),
        ("gold_6226", 0.98, 0.05),
        ("silver_4114", 0.95, 0.1),
        ("samsung_a50", 0.96, 0.08),
    ],
)
def test_a_hundred_timings_tell_all_of_nasbench201(data_dir, device, correlation, error):
    with np.load(data_dir / "nasbench201.npz", allow_pickle=False) as file:
        genotypes, measured = file["genotypes"].astype(np.int32), file[f"latency_ms/{device}"].astype(float)
    found = []
    for seed in range(2):
        drawn = np.random.default_rng(100 + seed).choice(len(genotypes), 100, replace=False)
        table = LatencyTable.fit(nasx.spaces.NASBench201(), genotypes[drawn], measured[drawn])
        told = table(genotypes)
        ranks = [values.argsort().argsort() for values in (told, measured)]
        found.append((np.corrcoef(ranks)[0, 1], np.mean(np.abs(told - measured) / measured)))
        # What it says of itself is near what it does.
        assert abs(table.about["errors"]["rank_correlation"] - found[-1][0]) < 0.05
    assert np.mean(found, axis=0)[0] >= correlation
    assert np.mean(found, axis=0)[1] <= error


@pytest.mark.parametrize(
    ("genotypes", "timings", "message"),
    [
        ([[0, 0]] * 20, [1.0] * 20, "at least 10 different architectures; got 1"),
        (None, [1.0, 2.0], "measured_ms must have 12 values"),
        (None, [np.nan] * 12, "measured_ms must be finite"),
        ([[0, 7]] * 12, [1.0] * 12, "x1"),
    ],
)
def test_bad_timings_are_named(genotypes, timings, message):
    space = space_of(3, 4)
    with pytest.raises(ValueError, match=message):
        LatencyTable.fit(space, space.enumerate() if genotypes is None else genotypes, timings)


# -- arguments and files -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("entries", "options", "message"),
    [
        ({"x0": [1, 2]}, {}, "entries must have the decisions x0, x1; got x0"),
        ({"x0": [1, 2], "y": [1, 2, 3]}, {}, "entries must have the decisions"),
        ([[1, 2]], {}, "entries must have 2 rows"),
        ([[1, 2], [1, 2]], {}, r"entries of x1 must have shape \(3,\); got \(2,\)"),
        ([[1, 2], [1, np.inf, 2]], {}, "entries of x1 must be finite; got inf"),
        ([[1, 2], [1, 2, 3]], {"pairs": []}, "pairs must have 1 matrices; got 0"),
        ([[1, 2], [1, 2, 3]], {"pairs": [np.zeros((3, 2))]}, r"pairs of x0 and x1 must have shape \(2, 3\)"),
        ([[1, 2], [1, 2, 3]], {"intercept": np.nan}, "intercept must be finite"),
    ],
)
def test_bad_entries_are_named(entries, options, message):
    with pytest.raises(ValueError, match=message):
        LatencyTable(space_of(2, 3), entries, **options)


@pytest.mark.parametrize("rows", [[[0, 3]], [[0, -2]], [[0]], [[0.5, 1.0]], [0, 1]])
def test_bad_rows_are_refused(rows):
    table = random_table(space_of(2, 3))
    with pytest.raises((ValueError, TypeError)):
        table(rows)


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("counts", [(4,), (2, 3, 4)])
def test_a_saved_table_is_the_same(tmp_path, counts, pairs):
    table = random_table(space_of(*counts), pairs=pairs)
    table.about = {"device": "test"}
    table.save(tmp_path / "table.npz")
    for again in (
        LatencyTable.load(tmp_path / "table.npz"),
        LatencyTable.load(tmp_path / "table.npz", space=table.space),
        pickle.loads(pickle.dumps(table)),
    ):
        assert again.settings == table.settings
        assert again.about == {"device": "test"}
        rows = table.space.sample(50)
        np.testing.assert_array_equal(again(rows), table(rows))
    assert [path.name for path in tmp_path.iterdir()] == ["table.npz"]
    with pytest.raises(ValueError, match="the decisions differ"):
        LatencyTable.load(tmp_path / "table.npz", space=space_of(9))


class _Cells(Space):
    def __init__(self):
        super().__init__({"op": Categorical("abc")})


class _Layers(_Cells):
    pass


def test_a_table_of_another_class_is_refused_by_name(tmp_path):
    """Decisions that look alike may be of other networks."""
    random_table(_Cells()).save(tmp_path / "table.npz")
    with pytest.raises(ValueError, match=r"table\.npz is a latency table of _Cells, not of _Layers"):
        LatencyTable.load(tmp_path / "table.npz", space=_Layers())
    with pytest.raises(ValueError, match="is one of _Cells, not of _Layers"):
        random_table(_Cells()).bind(_Layers(), TaskSpec((3,), 2, "image_classification"))
    # A plain space has no networks: it stands for whatever its decisions mean to whoever made it.
    for space in (_Cells(), Space(_Cells().decisions)):
        LatencyTable.load(tmp_path / "table.npz", space=space)


class _Malicious:
    def __reduce__(self):
        return (open, ("it-ran", "w"))


def test_foreign_and_damaged_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "table.npz"
    random_table(space_of(2, 3), pairs=True).save(path)
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    damaged = [b"", b"hello", good[: len(good) // 2], good[:-10], pickle.dumps(_Malicious())]
    np.savez(tmp_path / "other.npz", header=np.array(json.dumps({"format": "other"})))
    np.savez(tmp_path / "object.npz", header=np.array([_Malicious()], dtype=object))
    damaged += [(tmp_path / name).read_bytes() for name in ("other.npz", "object.npz")]
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"table\.npz cannot be read as a latency table"):
            LatencyTable.load(path)
    for _ in range(100):  # flipped bits are noticed, or nothing reads them
        flipped = bytearray(good)
        flipped[rng.integers(len(good))] ^= 1 << rng.integers(8)
        path.write_bytes(bytes(flipped))
        with contextlib.suppress(ValueError):
            LatencyTable.load(path)
    assert not (tmp_path / "it-ran").exists()
    with pytest.raises(FileNotFoundError):
        LatencyTable.load(tmp_path / "none.npz")


@pytest.mark.data
def test_ten_timings_adapt_known_devices_to_a_new_one(data_dir):
    from nasx.spaces import NASBench201

    with np.load(data_dir / "nasbench201.npz", allow_pickle=False) as file:
        names = [name for name in file.files if name.startswith("latency_ms/")]
        rows, timings = file["genotypes"].astype(np.int32), {name: file[name] for name in names}
    space, some = NASBench201(), np.arange(0, 15625, 8)
    tables = {name: LatencyTable.fit(space, rows[some], timings[name][some]) for name in names}
    rng, found = np.random.default_rng(0), {}
    for name in ("1080ti_1", "gold_6226", "samsung_a50"):
        name = f"latency_ms/{name}"
        drawn = rng.choice(len(rows), 10, replace=False)
        others = [table for other, table in tables.items() if other != name]
        table = LatencyTable.adapt(others, rows[drawn], timings[name][drawn])
        assert table.about["timings"] == 10
        ranks = [np.argsort(np.argsort(values)) for values in (table(rows), timings[name])]
        found[name] = np.corrcoef(ranks)[0, 1]
    assert min(found.values()) > 0.9, found


def test_a_device_that_is_another_one_times_a_factor_is_told_exactly():
    space = space_of(4, 4, 4)
    rng = np.random.default_rng(0)
    known = [LatencyTable(space, rng.uniform(1, 2, (3, 4)), intercept=1) for _ in range(3)]
    rows = space.sample(12, seed=1)
    table = LatencyTable.adapt(known, rows, 7 * known[1](rows))
    everything = space.enumerate()
    np.testing.assert_allclose(table(everything), 7 * known[1](everything), rtol=0.01)
    assert table.about["errors"]["median_relative"] < 0.01


def test_errors_of_an_adapted_table_are_its_own():
    """A product of latencies is no sum over decisions: what the table leaves of it counts."""
    space = space_of(6, 6)
    rising = [1.0, 2, 4, 8, 16, 32]
    known = [LatencyTable(space, [rising, [0.0] * 6]), LatencyTable(space, [[0.0] * 6, rising])]
    rows = space.sample(14, seed=2)
    timings = known[0](rows) * known[1](rows)
    table = LatencyTable.adapt(known, rows, timings)
    everything = space.enumerate()
    true = known[0](everything) * known[1](everything)
    errors = np.abs(table(everything) - true) / true
    said = table.about["errors"]["median_relative"]
    assert np.median(errors) > 0.05  # or nothing is tested
    assert np.median(errors) / 3 < said < 3 * np.median(errors)


def test_adapting_never_turns_a_known_device_round():
    space = space_of(5)
    known = LatencyTable(space, [[1, 2, 3, 4, 5]])
    table = LatencyTable.adapt([known], [[0], [1], [2], [4]], [4.0, 3, 2, 1])
    assert (np.diff(table(space.enumerate())) > -1e-6).all()


def test_bad_adaptations_are_named():
    table = random_table(space_of(2, 3))
    rows = [[0, 0], [1, 1], [0, 2]]
    for tables, x, timings, message in (
        ([], rows, [1, 2, 3], "tables must hold at least one"),
        ([table, random_table(space_of(2, 4))], rows, [1, 2, 3], "tables must be for one space"),
        ([table], rows[:2], [1, 2], "at least three latencies, all more than 0; got 2"),
        ([table], rows[:0], [], r"\(n, 2\)|at least three latencies"),
        ([table], rows, [1, 2, 0], "the least 0"),
        ([table], rows, [1, 2], "measured_ms must have 3 values"),
        ([table], rows, [1, 2, np.nan], "must be finite"),
    ):
        with pytest.raises(ValueError, match=message):
            LatencyTable.adapt(tables, np.array(x).reshape(-1, 2), timings)
