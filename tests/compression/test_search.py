import json

import numpy as np
import pytest
import tiny_transformers
import torch

import nasx
from nasx.compression import (
    CompressionSpace,
    Latency,
    Scorer,
    Sequences,
    Shape,
    load,
    profile,
    rank,
    recover,
    search,
    times,
    train_supernet,
)
from nasx.compression.costs import PartsCost
from nasx.compression.estimating import estimate
from nasx.compression.families import family_of
from nasx.compression.searching import starts
from nasx.compression.start import best_start

from .conftest import tiny

CUTS = {"divisor": 16, "dimensions": ["heads", "mlp", "skip"]}


def numel(model):
    return sum(value.numel() for value in model.parameters())


@pytest.fixture(scope="module")
def found(llama, text):
    return search(llama, {"params": 24_000, "kv_mb": 0.6}, text, evaluations=40, seed=1, **CUTS)


def test_all_candidates_are_within_all_limits_and_none_else_was_scored(found, llama):
    assert len(found.search.trials) == 40
    for trial in found.search.trials:
        assert trial.state == "complete"
        assert trial.metrics["params"] <= 24_000
        assert trial.metrics["kv_mb"] <= 0.6
    assert found.original["params"] == numel(llama) > 24_000


def test_the_best_is_better_than_random_parts_and_is_what_was_scored(found, llama):
    best = found.best
    part = found.extract()
    assert numel(part) == best.metrics["params"]
    assert found.score(part) == pytest.approx(best.metrics["perplexity"], rel=1e-4)
    assert best.metrics["perplexity"] > found.original["perplexity"]
    space, cost = found.space, found.profile.costs["params"]
    rows = space.sample(400, seed=5)
    sizes = cost(rows)
    random = [
        found.scorer.score_shape(space.shape_of(r)) for r in rows[(sizes <= 24_000) & (sizes > 20_000)][:15]
    ]
    assert len(random) >= 10
    assert best.metrics["perplexity"] < min(random)
    metrics = [one.metrics["perplexity"] for one in found.front]
    assert metrics == sorted(metrics)


def test_the_start_by_estimates_is_better_than_the_median_random_part(found):
    first = found.search.trials[0].metrics["perplexity"]
    space, cost = found.space, found.profile.costs["params"]
    rows = space.sample(400, seed=6)
    rows = rows[cost(rows) <= 24_000][:20]
    assert first < np.median([found.scorer.score_shape(space.shape_of(row)) for row in rows])


def test_same_seed_same_search_and_any_strategy_does_it(llama, text):
    arguments = {"budget": {"params": 24_000}, "data": text[:16], "evaluations": 10, "points": 1, **CUTS}
    for strategy in ("random_search", "regularized_evolution", nasx.NSGA2(population_size=8)):
        one, other = (search(llama, strategy=strategy, seed=3, **arguments) for _ in range(2))
        rows = [[trial.genotype.tolist() for trial in result.search.trials] for result in (one, other)]
        assert rows[0] == rows[1]
        assert one.best.metrics == other.best.metrics


def test_a_search_goes_on_from_its_journal(llama, text, tmp_path):
    arguments = {"budget": {"params": 24_000}, "data": text[:16], "seed": 2, "points": 1, **CUTS}
    whole = search(llama, evaluations=30, journal=tmp_path / "whole.db", **arguments)

    def stop(result, trial):
        if len(result.trials) == 23:
            raise nasx.StopSearch

    search(llama, evaluations=9, journal=tmp_path / "again.db", **arguments)
    search(llama, evaluations=30, journal=tmp_path / "again.db", callbacks=[stop], **arguments)
    again = search(llama, evaluations=30, journal=tmp_path / "again.db", **arguments)
    rows = [[trial.genotype.tolist() for trial in one.search.trials] for one in (whole, again)]
    assert rows[0] == rows[1]
    with pytest.raises(nasx.errors.JournalError):
        search(
            llama,
            evaluations=16,
            journal=tmp_path / "again.db",
            **{**arguments, "data": (text[:16] + 1) % 40},
        )


def test_uniform_parts_are_of_the_models_own_class(llama, text, tmp_path):
    import transformers

    result = nasx.compress(
        llama, budget={"params": 22_000}, data=text, evaluations=12, uniform=True, recover={"steps": 2}
    )
    model = result.model
    assert isinstance(model, transformers.LlamaForCausalLM)
    assert numel(model) == result.best.metrics["params"] <= 22_000
    result.save(tmp_path)
    again = transformers.LlamaForCausalLM.from_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.equal(again(text[:2]).logits, model(text[:2]).logits)
    assert [entry["step"] for entry in result.history] == [1, 2]


@pytest.mark.parametrize("kind", ["gpt2", "bert"])
def test_other_families_are_compressed_too(kind, text, request, tmp_path):
    model = request.getfixturevalue(kind)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    budget = {"params": 0.7 * numel(model)}
    result = nasx.compress(model, budget=budget, data=text[:20], evaluations=6, recover={"steps": 1}, **CUTS)
    assert numel(result.model) <= budget["params"]
    assert np.isfinite(result.score(result.model))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    result.save(tmp_path / "small")
    written = json.loads((tmp_path / "small" / "compression.json").read_text())
    assert [one["metrics"] for one in written["front"]] == [one.metrics for one in result.front]
    assert Shape.from_dict(written["front"][0]["shape"]) == result.best.shape
    again = load(tmp_path / "small" / "model")
    with torch.no_grad():
        assert torch.equal(again(text[:2])[0], result.model(text[:2])[0])


@pytest.mark.parametrize("device", ["cpu", *(["cuda"] if torch.cuda.is_available() else [])])
@pytest.mark.parametrize("kind", ["llama", "bert"])
def test_all_is_computed_where_the_model_is(kind, device, text):
    """What a GPU finds is what the CPU finds, to within its other order of summation."""
    results = []
    for place in ("cpu", device):
        model = tiny(kind).to(place)
        budget = {"params": 0.7 * numel(model)}
        settings = {"data": text[:16], "evaluations": 4, "strategy": "random_search", "points": 1}
        result = nasx.compress(
            model, budget=budget, recover={"steps": 2, "hidden_weight": 0.1}, **settings, **CUTS
        )
        assert {value.device.type for value in result.model.parameters()} == {place}
        results.append(result)
    one, other = (result.search.trials[0].metrics for result in results)
    assert one == pytest.approx(other, rel=1e-3)
    assert results[0].history[0]["loss"] == pytest.approx(results[1].history[0]["loss"], rel=1e-2)


def test_the_model_is_what_was_recovered_and_extract_gives_it_as_cut(llama, text):
    settings = {"evaluations": 4, "points": 1, "metric": "divergence", "recover": {"steps": 30, "lr": 3e-3}}
    result = nasx.compress(llama, budget={"params": 12_000}, data=text, **settings, **CUTS)
    cut = result.score(result.extract())
    assert cut == pytest.approx(result.best.metrics["divergence"], rel=1e-3)
    assert result.score(result.model) < 0.9 * cut


def test_steps_can_be_called_apart(llama, text, tmp_path):
    train, held = Sequences.of(text).split(0.25)
    ranking = rank(llama, train)
    profiled = profile(llama, ["params"], **CUTS)
    result = search(
        llama,
        {"params": 24_000},
        train,
        valid=held,
        ranking=ranking,
        profiled=profiled,
        evaluations=8,
        front=False,
    )
    assert list(result.search.objectives) == ["perplexity"]
    assert result.ranking is ranking
    student = result.extract(result.front[-1])
    history = recover(student, result.family, train, steps=2, kept=result.front[-1].shape.kept)
    assert len(history) == 2
    figure = result.plot(tmp_path / "front.png")
    assert figure.axes
    assert (tmp_path / "front.png").stat().st_size > 1000
    with pytest.raises(ValueError, match="leave divisor out"):
        search(llama, {"params": 24_000}, train, profiled=profiled, divisor=8)


def test_estimates_are_exact_where_they_are_scored(llama, text):
    family = family_of(llama)
    ranking = rank(family, text)
    ordered = type(family)(family.sorted(ranking.order))
    space = CompressionSpace(family.shape, dimensions=["mlp", "skip"], divisor=16)
    scorer = Scorer(ordered, Sequences.of(text[:8]))
    told = estimate(space, scorer, ranking, points=100)
    whole = scorer.loss(scorer.score_shape(space.full))
    rows = [space.genotype_of(space.full) for _ in range(2)]
    rows[0][space.names.index("layer1.mlp")] = 1
    rows[1][space.names.index("layer2.groups")] = 0
    for row in rows:
        expected = scorer.loss(scorer.score_shape(space.shape_of(row))) - whole
        assert told(space, row[None])[0] == pytest.approx(expected, abs=1e-9)
    few = estimate(space, scorer, ranking, points=1)
    assert few.mlp[0][0] == pytest.approx(told.mlp[0][0])
    assert few.mlp[0][-1] == 0
    assert (np.diff(few.mlp[0]) * np.sign(few.mlp[0][0]) <= 1e-12).all()  # energies are monotone


def test_starts_are_within_limits_and_the_first_is_the_best_by_estimates(llama, text):
    found = profile(llama, ["params"], **CUTS)
    space, costs, limits = found.space, found.costs, {"params": 24_000.0}
    ranking = rank(llama, text)
    family = family_of(llama)
    ordered = type(family)(family.sorted(ranking.order))
    estimates = estimate(space, Scorer(ordered, Sequences.of(text[:4])), ranking)
    rows = starts(space, costs, limits, estimates, most=20)
    assert 6 <= len(rows) <= 20
    assert (costs["params"](rows) <= 24_000).all()
    assert len(np.unique(rows, axis=0)) == len(rows)
    best = best_start(space, costs, limits, estimates)
    assert rows[0].tolist() == best.genotype.tolist()
    assert len(starts(space, costs, limits, estimates, most=1)) == 1


def test_latency_is_the_sum_of_what_its_parts_take(monkeypatch):
    def milliseconds(shape):
        layers = [layer for layer in shape.layers if layer is not None]
        attention = sum(0.2 + 0.03 * layer.heads + 0.007 * layer.groups for layer in layers if layer.heads)
        mlp = sum(0.1 + 0.004 * layer.mlp for layer in layers if layer.mlp)
        return (1.5 + attention + mlp) * (1 + shape.hidden / 64)

    def time_items(parts, spec, items, settings, **_):
        # Whole networks, which come last, take a quarter more than their parts.
        slower = np.where(np.arange(len(items)) < parts._plain, 1.0, 1.25)
        return slower[:, None] * [[milliseconds(parts.shapes[i])] * settings.rounds for (i,) in items]

    monkeypatch.setattr(times, "time_items", time_items)
    model = tiny("llama")
    space = CompressionSpace(family_of(model).shape, divisor=8)
    table = times.measure_latency(model, space, length=8, rounds=2, networks=5)
    rows = np.concatenate([space.sample(300, seed=1), space.genotype_of(space.full)[None]])
    expected = [1.25 * milliseconds(space.shape_of(row)) for row in rows]
    np.testing.assert_allclose(table(rows), expected, rtol=1e-12)
    assert table.about["scale"] == pytest.approx(1.25, rel=1e-12)
    assert table.about["worst"] < 1e-12


@pytest.mark.slow
def test_latency_is_calibrated_on_what_was_timed_and_is_kept(llama, text, tmp_path):
    settings = {"length": 8, "rounds": 2, "networks": 2}
    cuts = {"divisor": 32, "dimensions": ["mlp", "layers"]}
    journal = tmp_path / "run.db"
    first = search(llama, {"latency_ms": 1e3}, text, latency=settings, evaluations=6, journal=journal, **cuts)
    table = first.profile.costs["latency_ms"]
    assert isinstance(table, Latency)
    assert table.about["error"] >= 0
    values = table(first.space.sample(50))
    assert (values >= 0).all()
    assert np.isfinite(values).all()
    again = search(llama, {"latency_ms": 1e3}, text, latency=settings, evaluations=6, journal=journal, **cuts)
    assert [t.metrics for t in again.search.trials] == [t.metrics for t in first.search.trials]
    kept = Latency.load(tmp_path / "run.db.latency.json")
    assert (kept(first.space.sample(50)) == values).all()
    for content in ("{}", "[]", "nonsense"):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(ValueError, match="holds no latencies"):
            Latency.load(tmp_path / "bad.json")
    written = json.loads((tmp_path / "run.db.latency.json").read_text())
    written["tables"]["whole"] = [1.0]
    written["tables"]["mlp"] = [[[1.0]]]
    (tmp_path / "bad.json").write_text(json.dumps(written))
    with pytest.raises(ValueError, match="holds no latencies"):
        Latency.load(tmp_path / "bad.json")


def test_latencies_are_kept_for_the_same_settings_and_machine(llama, text, tmp_path, monkeypatch):
    calls = []

    def timed(parts, spec, items, settings, **_):
        calls.append(settings)
        return np.array([[1.0 + i] * settings.rounds for (i,) in items])

    monkeypatch.setattr(times, "time_items", timed)
    journal = tmp_path / "run.db"

    def run(**latency):
        given = {"evaluations": 3, "points": 1, "latency": latency, "journal": journal, **CUTS}
        return search(llama, {"latency_ms": 1e6}, text[:10], **given).profile.costs["latency_ms"]

    first = run(length=8, threads=2)
    rows = first._space.sample(20)
    assert (run(length=8, threads=2)(rows) == first(rows)).all()
    assert len(calls) == 1
    for other, message in (
        ({"length": 8}, "threads=2, and threads=1 is asked for"),
        ({"threads": 2}, "length=8, and length=128 is asked for"),
        ({"length": 8, "threads": 2, "batch_size": 4}, "batch_size=1, and batch_size=4 is asked for"),
    ):
        with pytest.raises(ValueError, match=rf"run\.db\.latency\.json holds latencies with {message}"):
            run(**other)
    monkeypatch.setattr(times, "device_name", lambda _: "an abacus")
    with pytest.raises(ValueError, match=r"latencies of another machine, .*, and this is an abacus"):
        run(length=8, threads=2)
    assert len(calls) == 1


def test_tokens_that_the_model_has_not_are_refused(llama, text):
    for function in (lambda: rank(llama, text + 1), lambda: recover(llama, llama, text + 1)):
        with pytest.raises(ValueError, match="token ids must be below 40, the model's vocabulary; got 40"):
            function()


def test_all_parts_can_be_trained_before_the_search(llama, text, tmp_path):
    before = {name: value.clone() for name, value in llama.state_dict().items()}
    settings = {"budget": {"params": 12_000}, "data": text, "metric": "divergence", "points": 1, **CUTS}
    plain = search(llama, evaluations=4, **settings)
    settings |= {"sandwich": {"steps": 25, "lr": 1e-3}, "journal": tmp_path / "run.db"}
    result = nasx.compress(llama, evaluations=4, recover={"steps": 30, "lr": 3e-3}, **settings)
    assert [entry["step"] for entry in result.sandwich] == list(range(1, 26))
    # Scores are those of trained parts, compared with the model as it was.
    shapes = [plain.space.shape_of(row) for row in plain.space.sample(8, seed=9)]
    scores = [[one.scorer.score_shape(shape) for shape in shapes] for one in (plain, result)]
    assert sum(scores[1]) < 0.8 * sum(scores[0])
    assert result.original["divergence"] == pytest.approx(0, abs=1e-3)
    cut = result.score(result.extract())
    assert cut == pytest.approx(result.best.metrics["divergence"], rel=1e-3)
    assert result.score(result.model) < cut
    assert numel(result.model) == result.best.metrics["params"] <= 12_000
    assert all(torch.equal(value, before[name]) for name, value in llama.state_dict().items())
    again = search(llama, evaluations=6, **settings)
    assert again.sandwich == result.sandwich
    assert [one.metrics for one in again.search.trials[:4]] == [one.metrics for one in result.search.trials]
    assert plain.sandwich == []
    for wrong in (True, {}, "many"):
        with pytest.raises(ValueError, match="sandwich must be a number of steps, or settings; got"):
            search(llama, **{**settings, "sandwich": wrong})


@pytest.mark.parametrize("function", [nasx.compress, search])
def test_strategies_that_train_networks_of_their_own_are_refused(llama, text, function):
    for strategy in ("darts", "spos", nasx.DARTS(), "hyperband"):
        with pytest.raises(ValueError, match=r"strategy must be a sampled one, such as 'nsga2', .*; got '"):
            function(llama, budget={"params": 20_000}, data=text, strategy=strategy)


def test_unknown_arguments_are_named_with_what_was_called(llama, text):
    given = {"budget": {"params": 20_000}, "data": text}
    with pytest.raises(TypeError, match=r"compress: unknown argument 'divisr'; did you mean 'divisor'\?"):
        nasx.compress(llama, divisr=8, **given)
    with pytest.raises(TypeError, match=r"compress: unknown argument 'recovery'; did you mean 'recover'\?"):
        nasx.compress(llama, recovery=8, **given)
    with pytest.raises(
        TypeError, match=r"search: unknown argument 'evaluation'; did you mean 'evaluations'\?"
    ):
        search(llama, evaluation=8, **given)
    with pytest.raises(TypeError, match=r"profile: unknown argument 'contexts'; did you mean 'context'\?"):
        profile(llama, ["params"], contexts=8)


@pytest.mark.parametrize(("kind", "most"), [("gpt2", 32), ("bert", 32), ("roberta", 30), ("llama", 40)])
def test_sequences_longer_than_the_models_positions_are_refused(kind, most):
    model = tiny_transformers.build(kind)
    family = family_of(model)
    space = CompressionSpace(family.shape, divisor=4)
    rows = torch.full((4, 40), 5)
    rank(model, rows[:, :most])
    if most == 40:
        return
    for function in (
        lambda: rank(model, rows),
        lambda: recover(model, model, rows),
        lambda: Scorer(family, Sequences.of(rows)),
        lambda: train_supernet(model, space, rows),
    ):
        message = rf"data: sequences must have at most {most} tokens, .*; got 40: .* by length={most}"
        with pytest.raises(ValueError, match=message):
            function()


def test_padding_takes_no_positions_where_these_count_other_tokens():
    rows = torch.full((4, 40), 5)
    rows[:, 30:] = 1
    rank(tiny_transformers.build("roberta"), Sequences(rows, (rows != 1).long()))


def test_costs_are_for_spaces_with_their_options(llama):
    cost = profile(llama, ["params"], **CUTS).costs["params"]
    assert isinstance(cost, PartsCost)
    other = CompressionSpace(family_of(llama).shape, divisor=32)
    with pytest.raises(ValueError, match="which has other options"):
        cost.bind(other, None)
