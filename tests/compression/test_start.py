import itertools

import numpy as np
import pytest
from reference import compression as reference

from nasx.compression.costs import counted_costs, tabulate
from nasx.compression.families import family_of
from nasx.compression.profiling import profile, space_of_parts
from nasx.compression.shapes import LayerShape, Shape
from nasx.compression.space import CompressionSpace
from nasx.compression.start import Estimates, best_start, can_meet, even_cuts

LIMITS = ("params", "memory_mb", "kv_mb")


def random_estimates(space, seed):
    rng = np.random.default_rng(seed)
    return Estimates(
        rng.random(len(space.hiddens)),
        [rng.random(len(options.attention)) for options in space.options],
        [rng.random(len(options.mlp)) for options in space.options],
    )


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert"])
@pytest.mark.parametrize("uniform", [False, True])
def test_costs_are_those_of_what_is_extracted(kind, uniform, request):
    family = family_of(request.getfixturevalue(kind))
    space = space_of_parts(family, uniform=uniform)
    names = [name for name in LIMITS if name != "kv_mb" or kind != "bert"]
    costs = counted_costs(family, space, names, context=100)
    rows = space.sample(8, seed=2)
    values = {name: cost(rows) for name, cost in costs.items()}
    for k, row in enumerate(rows):
        shape = space.shape_of(row)
        numel = sum(value.numel() for value in family.extract(shape).parameters())
        assert values["params"][k] == numel
        assert values["memory_mb"][k] == pytest.approx(numel * 4 / 1e6, rel=1e-9)
        if "kv_mb" in costs:
            groups = sum(layer.groups for layer in shape.layers if layer)
            assert values["kv_mb"][k] == pytest.approx(
                2 * groups * family.head_dim * 100 * 4 / 1e6, abs=1e-12
            )


@pytest.mark.parametrize("dimensions", [("hidden", "mlp", "skip"), ("heads", "layers"), ("mlp", "heads")])
@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_the_start_is_the_best_of_all(kind, dimensions, request):
    family = family_of(request.getfixturevalue(kind))
    full = family.shape
    two = Shape(full.hidden, full.layers[:2])
    space = CompressionSpace(two, dimensions=dimensions, divisor=16)
    plan = family.plan
    costs = {
        "params": tabulated(space, lambda shape: family_count(plan, shape)),
        "groups": tabulated(space, lambda shape: float(sum(one.groups for one in shape.layers if one))),
    }
    low, high = (f(costs["params"](space.enumerate())) for f in (np.min, np.max))
    found = 0
    for seed in range(12):
        estimates = random_estimates(space, seed)
        limits = {"params": low + (high - low) * (seed + 1) / 13, "groups": float(2 + seed % 6)}
        start = best_start(space, costs, limits, estimates)
        expected = reference.best_start(space, costs, limits, estimates)
        assert (start is None) == (expected is None)
        if start is None:
            continue
        found += 1
        assert start.estimate == pytest.approx(expected, abs=1e-9)
        assert start.gap <= 1e-9
        assert estimates(space, start.genotype[None])[0] == pytest.approx(expected, abs=1e-9)
        assert all(costs[name](start.genotype[None])[0] <= limit for name, limit in limits.items())
    assert found > 6


def tabulated(space, function):
    from nasx.compression.costs import Parameters

    return Parameters(space, tabulate(space, function))


def family_count(plan, shape):
    """Parameters of a part, whatever the number of layers."""
    layers = sum(plan.layer_parameters(layer, shape.hidden) for layer in shape.layers)
    return float(plan.other_parameters(shape.hidden) + layers)


def test_a_layer_is_kept_even_where_none_is_cheapest():
    space = CompressionSpace(Shape(32, (LayerShape(2, 2, 32),) * 2), dimensions=["skip"])
    costs = {
        "params": tabulated(
            space, lambda shape: float(sum(one.mlp + one.heads for one in shape.layers if one))
        )
    }
    estimates = Estimates.zero(space)
    for row in estimates.attention + estimates.mlp:
        row[1] = 1.0  # to keep anything is held to be worse
    start = best_start(space, costs, {"params": 40.0}, estimates)
    assert start is not None
    assert start.estimate == 1.0
    assert space.shape_of(start.genotype).kept
    assert not can_meet(space, costs, {"params": 1.0})


def test_profile_says_what_can_be_reached(llama):
    for cuts in ({}, {"uniform": True}, {"dimensions": ["layers"]}, {"dimensions": ["mlp"]}):
        found = profile(llama, ["params", "kv_mb"], divisor=16, **cuts)
        space = found.space
        if space.has_at_most(300_000):
            values = found.costs["params"](space.enumerate())
            assert found.reach["params"].least == values.min()
            assert found.reach["params"].most == values.max() == found.reach["params"].whole
        assert found.reach["params"].least <= found.reach["params"].median <= found.reach["params"].most
    assert "params" in str(found)
    assert found.reach["params"].whole == sum(value.numel() for value in llama.parameters())


def test_budgets_that_cannot_be_met_are_refused_with_what_can(llama, bert):
    with pytest.raises(
        ValueError, match="params of at most 5 cannot be met: the least that this space reaches is"
    ):
        profile(llama, {"params": 5})
    # Each alone is within reach: a small network has few groups, but here it is wide where it has few.
    space = CompressionSpace(family_of(llama).shape, dimensions=["hidden", "layers"], divisor=16, least=0.5)
    alone = profile(llama, ["params", "kv_mb"], space=space)
    assert alone.reach["kv_mb"].least < alone.reach["kv_mb"].whole
    with pytest.raises(ValueError, match="did you mean 'params'"):
        profile(llama, {"param": 5})
    with pytest.raises(ValueError, match=r"budget\['params'\] must be a positive number"):
        profile(llama, {"params": -1})
    with pytest.raises(ValueError, match="an encoder keeps no keys and values"):
        profile(bert, ["kv_mb"])


def test_limits_that_exclude_each_other_are_refused_together(llama):
    from nasx.compression.profiling import Profile, Reach

    space = CompressionSpace(Shape(32, (LayerShape(2, 2, 32),) * 2), dimensions=["mlp"], divisor=16)
    costs = {
        "params": tabulated(space, lambda shape: float(sum(one.mlp for one in shape.layers if one))),
        "kv_mb": tabulated(space, lambda shape: 100.0 - sum(one.mlp for one in shape.layers if one)),
    }
    reach = {name: Reach(64, float(c(space.enumerate()).min()), 0, 0) for name, c in costs.items()}
    both = Profile(space, costs, reach)
    both.check({"params": 50.0, "kv_mb": 60.0})
    with pytest.raises(
        ValueError, match="each of params, kv_mb can be met, but no part of the model meets all"
    ):
        both.check({"params": 40.0, "kv_mb": 50.0})


@pytest.mark.parametrize(
    "dimensions", [("hidden", "mlp", "heads"), ("mlp", "heads", "skip"), ("layers", "mlp")]
)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.85])
def test_even_cuts_are_the_largest_of_all_that_are_alike(dimensions, share, request):
    family = family_of(request.getfixturevalue("llama"))
    space = CompressionSpace(family.shape, dimensions=dimensions, divisor=16)
    costs = counted_costs(family, space, ["params"], context=100)
    least = costs["params"](space.sample(2000, seed=0)).min()
    limits = {"params": least + share * (family.parameters() - least)}
    estimates = random_estimates(space, 1)
    found = even_cuts(space, costs, limits, estimates)
    alike = {}
    for hidden, attention, mlp in itertools.product(space.hiddens, *space.choices(0)):
        layers = tuple(space.layer(i, attention, mlp) for i in range(len(space.options)))
        if any(layers):
            row = space.genotype_of(Shape(hidden, layers))
            if costs["params"](row[None])[0] <= limits["params"]:
                alike[hidden, *space.options[0].attention[attention], mlp] = row
    largest = [
        row
        for sizes, row in alike.items()
        if not any(o != sizes and all(a <= b for a, b in zip(sizes, o, strict=True)) for o in alike)
    ]
    assert largest or share < 0.5
    assert {row.tobytes() for row in found} == {row.tobytes() for row in largest}
    told = estimates(space, space.stack(found))
    assert (np.diff(told) >= 0).all()


def test_there_are_no_even_cuts_of_what_is_uniform_anyway(llama):
    family = family_of(llama)
    space = space_of_parts(family, uniform=True)
    costs = counted_costs(family, space, ["params"], context=100)
    assert even_cuts(space, costs, {"params": 1e9}, random_estimates(space, 0)) == []
