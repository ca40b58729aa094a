"""Spaces, decisions and architectures."""

import itertools
import json
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nasx
from nasx import Architecture, Boolean, Categorical, Integer, Ordinal, Space
from nasx.decisions import decision_from_dict


@pytest.fixture
def space():
    return Space(
        {
            "depth": Ordinal([1, 2, 4]),
            "op": Categorical(["conv", "skip", None]),
            "width": Integer(8, 32, step=8, when={"op": "conv"}),
            "residual": Boolean(when={"depth": [2, 4], "op": ("conv", "skip")}),
            "scale": Ordinal([0.5, 1.0], when={"width": [8, 16]}),
        }
    )


def brute_force(space):
    """Every assignment, canonicalised by the definition of an active decision."""
    found = set()
    for row in itertools.product(*(range(c) for c in space.cardinalities)):
        taken = {}
        for name, index in zip(space.names, row, strict=True):
            decision = space[name]
            if all(parent in taken and taken[parent] in allowed for parent, allowed in decision.when.items()):
                taken[name] = decision.choices[index]
        found.add(tuple(space[n].index(taken[n]) if n in taken else -1 for n in space.names))
    return np.array(sorted(found), np.int32)


def test_size_and_enumeration_agree_with_brute_force(space):
    expected = brute_force(space)
    assert space.size == len(expected)
    np.testing.assert_array_equal(space.enumerate(), expected)


@st.composite
def spaces(draw):
    """Small random spaces with random conditions, several parents and chains included."""
    decisions = {}
    for j in range(draw(st.integers(1, 5))):
        parents = (
            draw(st.lists(st.sampled_from(sorted(decisions)), max_size=2, unique=True)) if decisions else []
        )
        when = {
            p: draw(st.lists(st.integers(0, len(decisions[p]) - 1), min_size=1, max_size=3, unique=True))
            for p in parents
        }
        decisions[f"d{j}"] = Categorical(range(draw(st.integers(1, 3))), when=when)
    return Space(decisions)


@settings(max_examples=60, deadline=None)
@given(spaces())
def test_any_space_counts_enumerates_samples_and_survives_json(space):
    expected = brute_force(space)
    assert space.size == len(expected)
    np.testing.assert_array_equal(space.enumerate(), expected)
    rows = space.sample(50, seed=1)
    np.testing.assert_array_equal(space.check(rows), rows)
    assert set(map(tuple, rows.tolist())) <= set(map(tuple, expected.tolist()))
    assert Space.from_dict(json.loads(json.dumps(space.to_dict()))) == space
    for row in rows[:5]:
        np.testing.assert_array_equal(space.encode(space.decode(row)), row)


def test_size_of_a_huge_space_is_exact():
    space = Space({f"op{i}": Categorical(range(8)) for i in range(200)})
    assert space.size == 8**200


def test_sampling_is_seeded_and_prefix_stable(space):
    np.testing.assert_array_equal(space.sample(5, seed=3), space.sample(20, seed=3)[:5])
    assert not np.array_equal(space.sample(20, seed=3), space.sample(20, seed=4))
    assert space.sample(0).shape == (0, 5)


def test_sampling_is_uniform_over_the_choices_of_an_active_decision():
    space = Space({"a": Categorical("xyz"), "b": Categorical("uv", when={"a": "x"})})
    rows = space.sample(30_000, seed=0)
    counts = np.bincount(rows[:, 0], minlength=3)
    assert np.abs(counts - 10_000).max() < 4 * np.sqrt(30_000 * 2 / 9)
    active = rows[rows[:, 0] == 0, 1]
    assert abs(active.mean() - 0.5) < 4 * 0.5 / np.sqrt(len(active))
    assert (rows[rows[:, 0] != 0, 1] == -1).all()


def test_constraints_filter_sampling_and_enumeration():
    space = Space({"a": Integer(0, 9), "b": Integer(0, 9)}, constraints=[lambda x: x.sum(axis=1) == 9])
    assert (space.sample(40, seed=0).sum(axis=1) == 9).all()
    assert len(space.enumerate()) == 10
    impossible = Space({"a": Integer(0, 9)}, constraints=[lambda x: x[:, 0] > 9])
    with pytest.raises(ValueError, match="constraints: only 0 of"):
        impossible.sample(1)
    wrong = Space({"a": Integer(0, 9)}, constraints=[lambda x: True])
    with pytest.raises(ValueError, match=r"must return shape \(1,\)"):
        wrong.sample(1)


def test_encode_ignores_inactive_choices(space):
    row = space.encode({"depth": 1, "op": "skip", "width": 32, "residual": True})
    np.testing.assert_array_equal(row, [0, 1, -1, -1, -1])


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"depth": 1, "opp": "skip"}, "unknown decision 'opp'; did you mean 'op'"),
        ({"depth": 3, "op": "skip"}, "decision 'depth': unknown choice 3"),
        ({"depth": 1}, "decision 'op' is active and missing"),
    ],
)
def test_encode_names_what_is_wrong(space, choices, message):
    with pytest.raises(ValueError, match=message):
        space.encode(choices)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[0, 0, 0]], r"must have shape \(n, 5\)"),
        ([[0.0, 0, 0, -1, 0]], "must be integers"),
        ([[0, 1, -1, -1, -1], [3, 1, -1, -1, -1]], r"genotypes\[1\]: decision 'depth' has 3 choices"),
        ([[0, 1, 0, -1, -1]], r"genotypes\[0\]: decision 'width' is inactive"),
        ([[1, 0, 2**40, -1, -1]], r"decision 'width' has 4 choices, .* got 1099511627776"),
        ([[1, 0, 3, -1, -1]], r"genotypes\[0\]: decision 'residual' has 2 choices"),
    ],
)
def test_check_names_the_row_and_the_decision(space, rows, message):
    with pytest.raises(ValueError, match=message):
        space.check(rows)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Space({}), "decisions is empty"),
        (lambda: Space({"": Boolean()}), "non-empty strings"),
        (lambda: Space({"a": [1, 2]}), "must be Categorical"),
        (lambda: Space({"a": Boolean(when={"b": True}), "b": Boolean()}), "must name earlier decisions"),
        (lambda: Space({"a": Boolean(), "b": Boolean(when={"a": []})}), "never active"),
        (lambda: Space({"a": Boolean(), "b": Boolean(when={"a": "x"})}), "when= on 'a': unknown choice"),
        (lambda: Categorical([]), "choices is empty"),
        (lambda: Categorical(["a", "a"]), "'a' is there twice"),
        (lambda: Categorical([("a",)]), "written as JSON"),
        (lambda: Categorical([float("nan")]), "written as JSON"),
        (lambda: Categorical([float("inf")]), "written as JSON"),
        (lambda: Integer(0, 10**12), "use a larger step"),
        (lambda: Ordinal([2, 1]), "must increase"),
        (lambda: Ordinal(["a"]), "finite numbers"),
        (lambda: Ordinal([0.0, float("inf")]), "finite numbers"),
        (lambda: Integer(3, 1), "low <= high"),
        (lambda: Integer(1, 3, step=0), "step >= 1"),
        (lambda: Integer(1.5, 3), "low must be an integer"),
        (lambda: decision_from_dict({"kind": "complex", "choices": []}), "unknown kind of decision"),
        (lambda: decision_from_dict({"choices": []}), "not a decision"),
        (lambda: Space.from_dict({"decisions": 3}), "not a space"),
        (lambda: Space({"a": Boolean()}).sample(-1), "n must"),
        (lambda: Space({f"a{i}": Integer(0, 9) for i in range(8)}).enumerate(), "too many to enumerate"),
    ],
)
def test_bad_spaces_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_architecture_is_an_immutable_mapping(space):
    architecture = space.decode([1, 0, 0, 1, 1])
    assert dict(architecture) == {"depth": 2, "op": "conv", "width": 8, "residual": True, "scale": 1.0}
    assert architecture == space.decode([1, 0, 0, 1, 1])
    assert architecture == dict(architecture)
    assert len({architecture, space.decode([1, 0, 0, 1, 1]), space.decode([0, 1, -1, -1, -1])}) == 2
    again = pickle.loads(pickle.dumps(architecture))
    assert again == architecture
    for array in (again.genotype, again.space.cardinalities, again.space.conditions):
        assert not array.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        architecture.genotype[0] = 0
    inactive = space.decode([0, 1, -1, -1, -1])
    assert inactive.get("width", "none") == "none"
    with pytest.raises(KeyError, match="inactive"):
        inactive["width"]
    with pytest.raises(KeyError, match="no decision"):
        inactive["height"]


def test_architecture_json_round_trip_without_the_space(space):
    architecture = space.decode(space.sample(1, seed=5)[0])
    assert Architecture.from_json(architecture.to_json()) == architecture
    for text in ("{", "[]", '{"choices": {}}', '{"choices": {"a": 1}, "space": 3}'):
        with pytest.raises(ValueError, match=r"not an?"):
            Architecture.from_json(text)


def test_a_space_without_networks_says_so(space):
    with pytest.raises(TypeError, match="no build"):
        space.decode([0, 1, -1, -1, -1]).build()


def test_a_space_without_a_supernet_names_those_that_have_one(space):
    assert not space.can_share
    with pytest.raises(TypeError, match=r"Space has no supernet\(\).*DARTS.*NASBench201.*space_of"):
        space.supernet(nasx.TaskSpec((3, 8, 8), 10, "image_classification"))


def test_a_network_that_needs_no_task_is_built_without_one():
    class Fixed(Space):
        needs_spec = False

        def build(self, architecture, spec):
            return spec

    assert Fixed({"a": Boolean()}).decode([0]).build() is None


def test_a_built_in_space_comes_back_able_to_build():
    space = nasx.spaces.ConvNet(depths=[1, 2])
    again = Space.from_dict(json.loads(json.dumps(space.to_dict())))
    assert type(again) is type(space)
    assert again == space
    tampered = space.to_dict()
    tampered["settings"] = {"depths": [1, 2, 3]}
    assert type(Space.from_dict(tampered)) is Space


class Unordered(Space):
    """Two equal branches: their order makes no difference."""

    canonical = True

    def __init__(self, **settings):
        super().__init__({"left": Integer(0, 4), "right": Integer(0, 4)}, **settings)

    def canonicalize(self, genotypes):
        return np.sort(genotypes, axis=1)


def test_a_canonical_space_gives_canonical_genotypes_only():
    space = Unordered()
    rows = space.enumerate()
    assert space.size == len(rows) == 15
    assert (rows[:, 0] <= rows[:, 1]).all()
    assert (np.diff(space.sample(200, seed=1), axis=1) >= 0).all()
    assert space.encode({"left": 3, "right": 1}).tolist() == [1, 3]
    assert space.encode([{"left": 3, "right": 1}] * 2).tolist() == [[1, 3]] * 2
    assert space.decode([3, 1]) == space.decode([1, 3])
    assert space.check([[3, 1]]).tolist() == [[3, 1]]


def test_constraints_of_a_canonical_space_see_canonical_genotypes():
    space = Unordered(constraints=[lambda g: g[:, 0] == 0])
    assert space.size == 5
    assert space.enumerate().tolist() == [[0, other] for other in range(5)]
    rows = space.sample(5000, seed=2)
    assert len(rows) == 5000
    assert not rows[:, 0].any()
    np.testing.assert_array_equal(space.sample(10, seed=2), rows[:10])


def test_other_spaces_pay_nothing_for_it():
    space = Space({"a": Boolean()})
    rows = space.enumerate()
    assert not space.canonical
    assert space.canonicalize(rows) is rows


def test_a_canonical_space_too_large_to_count_is_known_to_be_small_never():
    class Unordered(Space):
        canonical = True

        def canonicalize(self, genotypes):
            return np.sort(genotypes, axis=1)

    space = Unordered({f"x{i}": Integer(0, 3) for i in range(12)})
    assert not space.has_at_most(10**6)
    with pytest.raises(ValueError, match="too many"):
        _ = space.size
    assert Unordered({"a": Integer(0, 3), "b": Integer(0, 3)}).has_at_most(10)
    strategy = nasx.RandomSearch().setup(space, cost_violation=lambda x: np.ones(len(x)))
    assert len(strategy.ask(2)) == 0
