import json

import numpy as np
import pytest
from reference import compression as reference

import nasx
from nasx.compression import CompressionSpace, search
from nasx.compression.correcting import Corrected, Corrections, Knapsack
from nasx.compression.costs import PartsCost, tabulate
from nasx.compression.shapes import LayerShape, Shape
from nasx.compression.start import Estimates, best_start

FULL = Shape(16, [LayerShape(4, 2, 32)] * 4)


class Size(PartsCost):
    name = "size"


def size(shape):
    return float(sum(2 * one.heads + one.groups + one.mlp for one in shape.layers if one))


def guesses(space, seed):
    """Harms that fall from a random number to 0 as more is kept."""
    rng = np.random.default_rng(seed)

    def falling(options):
        return np.linspace(1, 0, len(options)) ** 2 * rng.lognormal(0, 1)

    return Estimates(
        falling(space.hiddens),
        [falling(options.attention) for options in space.options],
        [falling(options.mlp) for options in space.options],
    )


def true(space):
    return guesses(space, 1)


@pytest.fixture
def problem():
    """A knapsack with estimates that are off, and the harms that are true."""
    space = CompressionSpace(FULL, dimensions=["heads", "mlp", "skip"], divisor=8)
    costs = {"size": Size(space, tabulate(space, size))}
    limits = {"size": 0.7 * size(FULL)}
    harms = true(space)
    return Knapsack(space, costs, limits, guesses(space, 0), 0.0), lambda rows: harms(space, rows)


def begun(knapsack, seed=0, inner="random_search", objectives=1):
    def violation(rows):
        return knapsack.costs["size"](rows) - knapsack.limits["size"]

    strategy = Corrected(inner=inner, knapsack=knapsack)
    return strategy.setup(knapsack.space, objectives=objectives, seed=seed, cost_violation=violation)


def run(strategy, harm, evaluations):
    losses = []
    for _ in range(evaluations):
        row = strategy.ask(1)
        losses.append(float(harm(row)[0]))
        strategy.tell(row, losses[-1:])
    return losses


def test_what_is_expected_is_the_posterior_mean(problem):
    knapsack, harm = problem
    space, estimates = knapsack.space, knapsack.estimates
    rows = space.sample(30, seed=3)
    corrections = Corrections(space, estimates)
    corrections.fit(rows, harm(rows))
    told = corrections.draw(np.random.default_rng(0), spread=0.0)
    parts = space.parts(rows)
    taken = np.column_stack([parts.hidden, parts.attention, parts.mlp])
    model = corrections._model
    fitted = {"scale": model.scale, "unexplained": model.unexplained}
    options = 0.5 * model.off
    wanted = reference.corrected(model.each, taken, harm(rows), off=model.off, options=options, **fitted)
    for one, other in zip([told.hidden, *told.attention, *told.mlp], wanted, strict=True):
        assert one == pytest.approx(other, rel=1e-6, abs=1e-9)


def test_layers_are_taken_to_be_alike_where_they_are(problem):
    knapsack, _ = problem
    space, estimates = knapsack.space, knapsack.estimates
    evened = estimates.evened(1.0)
    assert evened.mlp[0] == pytest.approx(np.mean(estimates.mlp, axis=0))
    assert evened.attention[1] == pytest.approx(np.mean(estimates.attention, axis=0))
    assert estimates.evened(0.5).mlp[2] == pytest.approx((estimates.mlp[2] + evened.mlp[2]) / 2)
    rows = space.sample(30, seed=3)
    told = []
    for true_ones in (evened, estimates):
        corrections = Corrections(space, estimates)
        corrections.fit(rows, true_ones(space, rows))
        told.append(corrections.draw(np.random.default_rng(0), spread=0.0))
        assert told[-1].mlp[3] == pytest.approx(true_ones.mlp[3], rel=0.1)
    assert told[0].mlp[3][0] != pytest.approx(told[1].mlp[3][0], rel=0.2)


def test_ruined_networks_say_little_of_the_others(problem):
    knapsack, harm = problem
    rows = knapsack.space.sample(40, seed=3)
    harms = harm(rows)
    little = harms < np.median(harms)
    ruined = np.where(little, harms, 30 * harms)
    corrections = Corrections(knapsack.space, knapsack.estimates)
    corrections.fit(rows, ruined)
    told = corrections.draw(np.random.default_rng(0), spread=0.0)(knapsack.space, rows)
    # Those that count are told better than by the best multiple of the estimates.
    guessed = knapsack.estimates(knapsack.space, rows)
    guessed *= (guessed[little] @ harms[little]) / (guessed[little] @ guessed[little])
    assert np.abs(told - harms)[little].mean() < np.abs(guessed - harms)[little].mean()


def test_draws_are_spread_about_what_is_expected_and_less_so_where_more_was_measured(problem):
    knapsack, harm = problem
    space = knapsack.space
    rows = space.sample(40, seed=3)
    corrections = Corrections(space, knapsack.estimates)

    def drawn(spread, n):
        rng = np.random.default_rng(1)
        return np.array([corrections.draw(rng, spread=spread)(space, rows) for _ in range(n)])

    before = drawn(1.0, 80)
    corrections.fit(rows, harm(rows))
    after, half, mean = drawn(1.0, 80), drawn(0.5, 80), drawn(0.0, 1)[0]
    assert after.std(axis=0).mean() < 0.3 * (before.std(axis=0) / before.mean(axis=0) * mean).mean()
    assert half.std(axis=0).mean() < 0.7 * after.std(axis=0).mean()
    assert np.abs(after.mean(axis=0) - mean).mean() < after.std(axis=0).mean()
    # What was measured is what is expected, far better than by the estimates alone.
    off = np.abs(mean - harm(rows)).mean()
    assert off < 0.2 * np.abs(knapsack.estimates(space, rows) - harm(rows)).mean()


@pytest.mark.parametrize("seed", range(3))
def test_it_finds_better_ones_than_the_other_strategy_alone(problem, seed):
    knapsack, harm = problem
    strategy = begun(knapsack, seed, inner="regularized_evolution")
    best = min(run(strategy, harm, 40))
    alone = nasx.RegularizedEvolution().setup(
        knapsack.space, seed=seed, cost_violation=strategy._cost_violation
    )
    start = best_start(knapsack.space, knapsack.costs, knapsack.limits, knapsack.estimates)
    alone.tell(start.genotype[None], harm(start.genotype[None]))
    assert best < min(run(alone, harm, 40))
    least = best_start(knapsack.space, knapsack.costs, knapsack.limits, true(knapsack.space)).estimate
    assert best < least + 0.1 * (float(harm(start.genotype[None])[0]) - least)


def test_proposals_are_new_and_within_the_limits_and_those_of_one_call_those_of_many(problem):
    knapsack, harm = problem
    at_once, in_turn = begun(knapsack), begun(knapsack)
    seen = []
    for n in (5, 1, 8, 3):
        rows = at_once.ask(n)
        assert (np.concatenate([in_turn.ask(1) for _ in range(n)]) == rows).all()
        assert (knapsack.costs["size"](rows) <= knapsack.limits["size"]).all()
        losses = harm(rows)
        losses[0] = np.nan  # a failure
        for one in (at_once, in_turn):
            one.tell(rows, losses)
        seen += [tuple(row) for row in rows.tolist()]
    assert len(set(seen)) == len(seen) == 17


def test_perplexities_are_harms_by_their_logarithms(problem):
    knapsack, harm = problem
    other = Knapsack(
        knapsack.space, knapsack.costs, knapsack.limits, knapsack.estimates, np.log(5.0), logarithm=True
    )
    one, two = begun(knapsack, 2), begun(other, 2)
    run(one, harm, 12)
    run(two, lambda row: 5 * np.exp(harm(row)), 12)
    assert (one.ask(4) == two.ask(4)).all()


def test_a_front_is_solved_for_at_several_budgets(problem):
    knapsack, _ = problem
    several = Knapsack(
        knapsack.space, knapsack.costs, knapsack.limits, knapsack.estimates, 0.0, shares=(1.0, 0.5)
    )
    rows = begun(several, objectives=2).ask(2)  # the first three of four are solved
    sizes = knapsack.costs["size"](rows) / knapsack.limits["size"]
    assert 0.8 < sizes[0] <= 1
    assert 0.4 < sizes[1] <= 0.5


def test_a_small_space_is_given_out_whole():
    space = CompressionSpace(FULL, dimensions=["mlp"], divisor=16)
    costs = {"size": Size(space, tabulate(space, size))}
    knapsack = Knapsack(space, costs, {"size": 0.9 * size(FULL)}, guesses(space, 0), 0.0)
    within = int((costs["size"](space.enumerate()) <= knapsack.limits["size"]).sum())
    strategy = begun(knapsack)
    assert 5 < within < space.size
    assert len(np.unique(strategy.ask(within + 5), axis=0)) == within
    assert len(strategy.ask(1)) == 0


def test_settings_tell_estimates_apart(problem):
    knapsack, _ = problem
    other = Knapsack(knapsack.space, knapsack.costs, knapsack.limits, guesses(knapsack.space, 5), 0.0)
    one, two = (Corrected(inner="nsga2", knapsack=each).settings for each in (knapsack, other))
    assert json.loads(json.dumps(one)) == one
    assert one != two
    with pytest.raises(ValueError, match="inner must be a sampled strategy"):
        Corrected(inner="hyperband", knapsack=knapsack)


def test_a_search_corrects_its_estimates_where_it_is_told_to(llama, text):
    arguments = {"budget": {"params": 24_000}, "data": text[:16], "evaluations": 16, "points": 1, "seed": 3}
    arguments |= {"divisor": 16, "dimensions": ["heads", "mlp", "skip"], "front": False}
    assert search(llama, **arguments).search.strategy == "nsga2"
    assert search(llama, corrected=True, **arguments).search.strategy == "Corrected"
    # What allows repeats, or sets budgets, has the word alone.
    repeats = search(llama, corrected=True, strategy=nasx.RandomSearch(allow_repeats=True), **arguments)
    assert repeats.search.strategy == "random_search"
