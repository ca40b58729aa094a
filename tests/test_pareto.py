"""nasx.pareto against its definition, at every CPU level and number of threads."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest
import reference.pareto as twin
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import nasx
from nasx import pareto
from nasx._core import runtime

SIZES = [0, 1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65, 100]
INF = np.inf


def losses_of(n: int, m: int, kind: str, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng([n, m, seed])
    if kind == "uniform":
        return rng.random((n, m))
    if kind == "grid":
        return rng.integers(0, 3, (n, m)).astype(float)
    if kind == "infinite":
        return rng.choice([-INF, -1.0, -0.0, 0.0, 2.0, INF], (n, m))
    return rng.random((n, 1)) + 0.05 * rng.random((n, m))  # many small fronts


@pytest.mark.parametrize("kind", ["uniform", "grid", "infinite", "chains"])
@pytest.mark.parametrize("m", range(1, 8))
def test_rank_front_and_crowding_agree_with_their_definition(m: int, kind: str) -> None:
    for n in SIZES if m < 6 else SIZES[:12]:
        losses = losses_of(n, m, kind)
        expected = twin.rank(losses)
        ranks = pareto.rank(losses)
        assert ranks.dtype == np.int32
        np.testing.assert_array_equal(ranks, expected)
        np.testing.assert_array_equal(pareto.front(losses), expected == 0)
        distances = pareto.crowding_distance(losses, ranks)
        np.testing.assert_allclose(distances, twin.crowding_distance(losses, ranks), rtol=1e-12)


@pytest.mark.parametrize("m", [3, 4, 5])
def test_larger_sets_agree(m: int) -> None:
    losses = losses_of(257, m, "uniform")
    np.testing.assert_array_equal(pareto.rank(losses), twin.rank(losses))


@pytest.mark.parametrize("m", [2, 3, 4, 5])
@pytest.mark.parametrize("kind", ["uniform", "grid", "chains"])
def test_thousands_of_rows_are_ranked_consistently(m: int, kind: str) -> None:
    # Too many for the twin, but a rank is right exactly when no dominator has the same or a higher one and
    # some dominator has the rank just below.
    losses = losses_of(1500, m, kind)
    ranks = pareto.rank(losses)
    for i in range(0, len(losses), 7):
        dominators = (losses <= losses[i]).all(axis=1) & (losses < losses[i]).any(axis=1)
        assert ranks[dominators].max(initial=-1) == ranks[i] - 1
    np.testing.assert_array_equal(pareto.front(losses), ranks == 0)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_losses_and_violations(data: st.DataObject) -> None:
    n, m = data.draw(st.integers(0, 25)), data.draw(st.integers(1, 6))
    numbers = st.one_of(st.integers(-2, 2).map(float), st.floats(allow_nan=False))
    losses = data.draw(arrays(np.float64, (n, m), elements=numbers))
    violations = data.draw(
        st.none() | arrays(np.float64, n, elements=st.sampled_from([-1.0, 0.0, 0.5, 2.0, INF]))
    )
    ranks = pareto.rank(losses, violations)
    np.testing.assert_array_equal(ranks, twin.rank(losses, violations))
    np.testing.assert_array_equal(pareto.front(losses), twin.rank(losses) == 0)
    assert not np.isnan(pareto.crowding_distance(losses, ranks)).any()


def test_ranks_do_not_depend_on_the_order_of_rows() -> None:
    losses = losses_of(700, 4, "grid")
    order = np.random.default_rng(0).permutation(700)
    np.testing.assert_array_equal(pareto.rank(losses)[order], pareto.rank(losses[order]))


def test_crowding_follows_its_special_cases() -> None:
    one = np.zeros(5, int)
    constant = pareto.crowding_distance([[0, 7], [1, 7], [2, 7], [3, 7], [4, 7]], one)
    np.testing.assert_array_equal(constant, [INF, 0.5, 0.5, 0.5, INF])
    same = pareto.crowding_distance(np.ones((5, 2)), one)
    np.testing.assert_array_equal(same, np.zeros(5))
    infinite = pareto.crowding_distance([[0.0], [1.0], [4.0], [INF], [INF]], one)
    np.testing.assert_array_equal(infinite, [INF, 1.0, INF, INF, INF])
    equal_ends = pareto.crowding_distance([[-INF], [-INF], [-INF], [0.0], [1.0]], one)
    np.testing.assert_array_equal(equal_ends, [INF, 0.0, INF, INF, INF])
    huge = np.finfo(float).max
    overflow = pareto.crowding_distance([[-huge], [0.0], [huge]], np.zeros(3, int))
    np.testing.assert_array_equal(overflow, [INF, 1.0, INF])


def test_ranks_given_to_crowding_are_only_labels() -> None:
    losses = losses_of(60, 3, "uniform")
    ranks = pareto.rank(losses)
    expected = pareto.crowding_distance(losses, ranks)
    np.testing.assert_array_equal(pareto.crowding_distance(losses, ranks * 1000 + 5), expected)


def test_array_likes_are_taken_and_left_alone() -> None:
    losses = losses_of(40, 3, "grid")
    expected = pareto.rank(losses)
    wide = np.zeros((80, 6))
    wide[::2, ::2] = losses
    read_only = losses.copy()
    read_only.flags.writeable = False
    likes = [
        losses.astype(int),
        losses.astype(np.float32),
        losses.tolist(),
        wide[::2, ::2],
        np.asfortranarray(losses),
        losses.astype(">f8"),
        read_only,
    ]
    for like in likes:
        before = np.array(like)
        np.testing.assert_array_equal(pareto.rank(like), expected)
        np.testing.assert_array_equal(pareto.front(like), expected == 0)
        pareto.crowding_distance(like, expected.tolist())
        np.testing.assert_array_equal(before, like)
    violations = np.array([0.5, 0.0, INF])
    pareto.rank(losses[:3], violations)
    np.testing.assert_array_equal(violations, [0.5, 0.0, INF])


@pytest.mark.parametrize("m", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("kind", ["uniform", "grid", "chains"])
def test_hypervolume_agrees_with_inclusion_and_exclusion(m: int, kind: str) -> None:
    for n in (1, 2, 3, 7, 11):
        losses = losses_of(n, m, kind)
        for worst in (0.6, 1.0, 2.5):  # some, few and no rows outside
            reference = np.full(m, worst) + 0.1 * np.arange(m)
            expected = twin.hypervolume(losses, reference)
            assert pareto.hypervolume(losses, reference) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_hypervolume_of_known_sets() -> None:
    assert pareto.hypervolume([[1, 4], [2, 2], [4, 1]], [5, 5]) == 11.0
    # A diagonal staircase of k steps in a unit square, and a corner cut out of a cube.
    steps = np.arange(10) / 10
    staircase = np.column_stack([steps, steps[::-1]])
    assert pareto.hypervolume(staircase, [1, 1]) == pytest.approx(0.55)
    cube = [[0, 0, 1], [0, 1, 0], [1, 0, 0]]
    assert pareto.hypervolume(cube, [2, 2, 2]) == 7.0
    assert pareto.hypervolume(np.zeros((1, 5)), [1, 2, 3, 4, 5]) == 120.0


def test_hypervolume_counts_only_what_the_front_adds() -> None:
    losses = losses_of(200, 3, "uniform")
    full = pareto.hypervolume(losses, [1, 1, 1])
    front = losses[pareto.front(losses)]
    assert pareto.hypervolume(front, [1, 1, 1]) == pytest.approx(full, rel=1e-12)
    doubled = np.concatenate([front, front, front[:3] + 0.01])
    assert pareto.hypervolume(doubled, [1, 1, 1]) == pytest.approx(full, rel=1e-12)
    # Rows outside, on the border, or infinitely bad add nothing, however good they are elsewhere.
    outside = [[-100, 0.5, 1.0], [0.0, 2.0, -5.0], [INF, 0.0, 0.0], [INF, INF, INF]]
    assert pareto.hypervolume(np.concatenate([front, outside]), [1, 1, 1]) == pytest.approx(full, rel=1e-12)
    assert pareto.hypervolume(outside, [1, 1, 1]) == 0.0


def test_hypervolume_takes_array_likes_and_leaves_them_alone() -> None:
    losses = losses_of(40, 3, "grid")
    expected = pareto.hypervolume(losses, [3, 3, 3])
    for like in (losses.astype(int), losses.tolist(), np.asfortranarray(losses), losses.astype(np.float32)):
        before = np.array(like)
        assert pareto.hypervolume(like, np.array([3, 3, 3])) == expected
        np.testing.assert_array_equal(before, like)


def test_no_rows_are_no_error() -> None:
    empty = np.empty((0, 3))
    assert pareto.hypervolume(empty, [1, 1, 1]) == 0.0
    assert pareto.rank(empty).shape == pareto.front(empty).shape == (0,)
    assert pareto.rank(empty, violations=[]).shape == (0,)
    assert pareto.crowding_distance(empty, []).shape == (0,)


@pytest.mark.parametrize(
    ("call", "error", "parts"),
    [
        (lambda: pareto.rank([[0, 1], [np.nan, 1]]), ValueError, ["losses", "NaN", "row 1", "objective 0"]),
        (lambda: pareto.front([[0, np.nan]]), ValueError, ["losses", "NaN", "row 0"]),
        (lambda: pareto.crowding_distance([[np.nan]], [0]), ValueError, ["losses", "NaN"]),
        (lambda: pareto.rank([[0.0], [1.0]], [0, np.nan]), ValueError, ["violations", "NaN", "row 1"]),
        (lambda: pareto.rank([[0.0], [1.0]], [0]), ValueError, ["violations", "2", "1"]),
        (lambda: pareto.rank([[0.0], [1.0]], []), ValueError, ["violations", "2", "0"]),
        (lambda: pareto.rank([[0.0]], [[0]]), ValueError, ["violations", "one dimension"]),
        (lambda: pareto.rank([1.0, 2.0]), ValueError, ["losses", "two dimensions", "(2,)"]),
        (lambda: pareto.rank(3.0), ValueError, ["losses", "two dimensions"]),
        (lambda: pareto.rank(np.empty((3, 0))), ValueError, ["losses", "at least one column"]),
        (lambda: pareto.rank([[1, 2], [3]]), ValueError, ["losses", "two dimensions"]),
        (lambda: pareto.rank([[1j]]), TypeError, ["losses", "real numbers", "complex128"]),
        (lambda: pareto.rank([["a"]]), TypeError, ["losses", "real numbers"]),
        (lambda: pareto.front([[None]]), TypeError, ["losses", "real numbers", "object"]),
        (lambda: pareto.crowding_distance([[1.0]], [0.5]), TypeError, ["ranks", "integers", "float64"]),
        (lambda: pareto.crowding_distance([[1.0]], [-1]), ValueError, ["ranks", "-1", "row 0"]),
        (lambda: pareto.crowding_distance([[1.0]], [0, 0]), ValueError, ["ranks", "1", "2"]),
        (lambda: pareto.crowding_distance([[1.0]], [2**40]), ValueError, ["ranks", "int32"]),
        (lambda: pareto.hypervolume([[0, np.nan]], [1, 1]), ValueError, ["losses", "NaN", "objective 1"]),
        (lambda: pareto.hypervolume([[0, -INF]], [1, 1]), ValueError, ["losses", "-inf", "row 0"]),
        (lambda: pareto.hypervolume([[0, 0]], [1]), ValueError, ["reference", "2 objectives", "got 1"]),
        (lambda: pareto.hypervolume([[0, 0]], 1), ValueError, ["reference", "one dimension"]),
        (lambda: pareto.hypervolume([[0, 0]], [1, INF]), ValueError, ["reference", "finite"]),
        (lambda: pareto.hypervolume([[0, 0]], [1, np.nan]), ValueError, ["reference", "finite"]),
        (lambda: pareto.hypervolume([0, 0], [1, 1]), ValueError, ["losses", "two dimensions"]),
        (lambda: pareto.hypervolume([[0, 0]], ["a", "b"]), TypeError, ["reference", "real numbers"]),
    ],
)
def test_bad_input_is_refused_by_name(call, error: type[Exception], parts: list[str]) -> None:
    with pytest.raises(error) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


def fingerprint() -> str:
    """One hash over every kernel's answers; computed here and in processes at other levels."""
    digest = hashlib.sha256()
    for m in (1, 2, 3, 4, 5, 7):
        for n in (0, 1, 9, 64, 257, 511, 513, 9000):
            for kind in ("uniform", "grid", "infinite"):
                losses = losses_of(n, m, kind)
                ranks = pareto.rank(losses)
                for answer in (ranks, pareto.front(losses), pareto.crowding_distance(losses, ranks)):
                    digest.update(answer.tobytes())
    return digest.hexdigest()


def test_threads_and_cpu_levels_give_the_same_bits(restored_threads: None) -> None:
    nasx.set_num_threads(1)
    expected = fingerprint()
    nasx.set_num_threads(2)
    assert fingerprint() == expected
    for level in runtime.simd_levels():
        code = "import test_pareto; print(test_pareto.fingerprint())"
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "NASX_SIMD": level, "PYTHONPATH": os.path.dirname(__file__)},
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        assert done.stdout.strip() == expected, level


@pytest.fixture
def restored_threads():
    before = nasx.get_num_threads()
    yield
    nasx.set_num_threads(before)
