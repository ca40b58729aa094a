"""The native sums of latency tables: the twin's bits on every CPU level and number of threads; bad rows."""

import hashlib
import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from reference import latency_table as twin

import nasx
from nasx._core import latency_table as native
from nasx._core import runtime

# Tables of up to 8 and up to 16 choices lie in registers, others do not; four decisions are read at a time.
COUNTS = [
    (1,),
    (8, 9, 3),
    (2, 5, 1, 4),
    (7, 8, 9, 15, 16, 17),
    (40, 2, 16, 8, 300),
    (8,) * 20,
    (9,) * 21,
    (5, 17, 8) * 11,
]
SIZES = (0, 1, 7, 8, 9, 63, 64, 65, 72, 200, 1037)


def parts_of(counts, *, pairs):
    rng = np.random.default_rng(len(counts))
    entries = [rng.normal(size=n) for n in counts]
    shapes = itertools.pairwise(counts)
    return entries, [rng.normal(size=shape) for shape in shapes] if pairs else None, rng.normal()


def table_of(counts, entries, pairs, intercept):
    flat = None if not pairs else np.concatenate([part.ravel() for part in pairs])
    return native.LatencyTable(np.array(counts, np.int32), np.concatenate(entries), flat, intercept)


def rows_of(counts, n, *, least=-1):
    rng = np.random.default_rng(n)
    columns = [rng.integers(least, count, n) for count in counts]
    return np.stack(columns, axis=1).astype(np.int32)


@pytest.fixture(params=[1, 2])
def threads(request):
    before = nasx.get_num_threads()
    nasx.set_num_threads(request.param)
    yield request.param
    nasx.set_num_threads(before)


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("counts", COUNTS, ids=str)
def test_sums_are_the_twins(counts, pairs, threads):
    parts = parts_of(counts, pairs=pairs)
    table = table_of(counts, *parts)
    for n, least in itertools.product(SIZES, (-1, 0)):
        rows = rows_of(counts, n, least=least)
        before = rows.copy()
        np.testing.assert_array_equal(table.sum(rows), twin.sums(rows.tolist(), *parts))
        np.testing.assert_array_equal(rows, before)
    # Slices start anywhere in memory.
    rows = rows_of(counts, 150)
    np.testing.assert_array_equal(table.sum(rows[3:140]), table.sum(rows)[3:140])


def fingerprint() -> str:
    """One hash over many sums and refusals; computed here and in processes at other levels."""
    digest = hashlib.sha256()
    for counts, pairs, n in itertools.product(COUNTS, (False, True), (*SIZES, 30_000)):
        table = table_of(counts, *parts_of(counts, pairs=pairs))
        rows = rows_of(counts, n)
        digest.update(table.sum(rows).tobytes())
        if n:
            rows[n // 2, len(counts) // 2] = 1000
            with pytest.raises(ValueError, match="choices must be in") as caught:
                table.sum(rows)
            digest.update(str(caught.value).encode())
    return digest.hexdigest()


def test_cpu_levels_and_threads_give_the_same_bits(threads):
    expected = fingerprint()
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[1])]
    for level in runtime.simd_levels():
        done = subprocess.run(
            [sys.executable, "-c", "import test_lookup; print(test_lookup.fingerprint())"],
            env={**os.environ, "NASX_SIMD": level, "PYTHONPATH": os.pathsep.join(folders)},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        assert done.stdout.strip() == expected, level


@pytest.mark.parametrize("counts", [(3, 2), (8,) * 5, (9, 20, 16, 8, 7, 6)], ids=str)
@pytest.mark.parametrize("pairs", [False, True])
def test_the_first_bad_choice_is_named_wherever_it_is(counts, pairs, threads):
    table = table_of(counts, *parts_of(counts, pairs=pairs))
    good = rows_of(counts, 77)
    for (i, j), bad in itertools.product(np.ndindex(good.shape), ("least", "most", "count", "below")):
        value = {"least": -(2**31), "most": 2**31 - 1, "count": counts[j], "below": -2}[bad]
        rows = good.copy()
        rows[i, j] = value
        message = rf"genotypes: row {i}, decision {j}: choices must be in \[-1, {counts[j]}\); got {value}$"
        with pytest.raises(ValueError, match=message):
            table.sum(rows)
    with pytest.raises(ValueError, match=f"genotypes must have one column for each of the {len(counts)}"):
        table.sum(good[:, 1:].copy())
    rows = rows_of(counts, 50_000)
    rows[[31_007, 49_999], -1] = 5000
    with pytest.raises(ValueError, match="genotypes: row 31007, "):
        table.sum(rows)
