"""`Proxy` as a cost: bound to spaces, in searches, from its settings."""

import json
import pickle

import numpy as np
import pytest
import torch

import nasx
from nasx.errors import EvaluationError
from nasx.proxies import Proxy, available, score
from nasx.proxies.kinds import PROXIES

SPEC = nasx.TaskSpec((2, 6, 6), 3, "image_classification")
SPACE = nasx.spaces.ConvNet(
    depths=[1, 2], widths=[4, 8], operations=["conv"], kernel_sizes=[3], residual=False
)


@pytest.fixture(scope="module")
def batch():
    return torch.randn(6, 2, 6, 6, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 3


@pytest.mark.parametrize("name", ["naswot", "synflow", "snip", "params"])
def test_it_scores_as_score_does(name, batch):
    proxy = Proxy(name, batch, seed=2).bind(SPACE, SPEC)
    rows = SPACE.sample(2, seed=1)
    state = torch.get_rng_state()
    expected = [score(SPACE.decode(row), batch, name, spec=SPEC, seed=2)[name] for row in rows]
    assert proxy(rows).tolist() == expected
    assert torch.equal(torch.get_rng_state(), state)
    copied = pickle.loads(pickle.dumps(proxy))
    assert copied(rows).tolist() == expected
    assert (proxy.name, proxy.deterministic, proxy.maximize) == (name, True, True)


def test_random_inputs_come_from_the_seed():
    rows = SPACE.sample(1, seed=1)
    one, same, other, more = (
        Proxy("naswot", n, seed=seed).bind(SPACE, SPEC)(rows)[0]
        for n, seed in ((8, 0), (8, 0), (8, 1), (9, 0))
    )
    assert one == same
    assert len({one, other, more}) == 3
    assert np.isfinite(Proxy("snip", 8).bind(SPACE, SPEC)(rows)[0])  # with random labels


@pytest.mark.parametrize("kind", ["language_modelling", "masked_language_modelling"])
def test_random_inputs_are_tokens_where_networks_take_them(kind):
    space = nasx.spaces.Transformer(hidden=[8, 16], depths=[1], heads=[2], head_dim=4, mlp=[2])
    spec, rows = nasx.TaskSpec((12,), 20, kind), space.sample(2, seed=1)
    for name in available():
        proxy = Proxy(name, 8)
        if PROXIES[name].numbers:
            with pytest.raises(ValueError, match=f"'{name}' is defined for inputs of real numbers.*'naswot'"):
                proxy.bind(space, spec)
            continue
        proxy = proxy.bind(space, spec)
        inputs, labels = proxy._batch
        assert inputs.shape == labels.shape == (8, 12)
        assert inputs.dtype == labels.dtype == torch.int64
        assert set(inputs.unique().tolist()) == set(range(20))
        expected = [score(space.decode(row), (inputs, labels), name, spec=spec)[name] for row in rows]
        assert proxy(rows).tolist() == expected
        assert np.isfinite(expected).all()
    inputs, labels = Proxy("snip", 8).bind(space, spec)._batch
    given = {
        loss: Proxy("snip", (inputs, labels), loss=loss).bind(space, spec)(rows)
        for loss in (None, lambda x, y: torch.nn.functional.cross_entropy(x.transpose(1, 2), y))
    }
    np.testing.assert_allclose(*given.values(), rtol=1e-5)


def test_a_search_over_texts_is_prescreened():
    task = nasx.tasks.LanguageModelling("how much wood would a woodchuck chuck? " * 20, context=12, epochs=1)
    space = nasx.spaces.Transformer(hidden=[8, 16], depths=[1], heads=[1, 2], head_dim=4, mlp=[2])
    arguments = {"strategy": "random_search", "evaluations": 1, "progress": False}
    found = nasx.search(space, task, prescreen=Proxy("naswot", 8), **arguments)
    pool = nasx.RandomSearch().setup(space).ask(10)
    scores = Proxy("naswot", 8).bind(space, task.spec)(pool)
    assert found.best.genotype.tolist() == pool[scores.argmax()].tolist()
    with pytest.raises(ValueError, match="proxy 'synflow' is defined for inputs of real numbers"):
        nasx.search(space, task, prescreen="synflow", **arguments)


def test_settings_make_an_equal_proxy(batch):
    for proxy in (Proxy("synflow", 8, seed=3), Proxy("zen", spec=SPEC)):
        settings = json.loads(json.dumps(proxy.settings))
        again = Proxy(**settings)
        assert again.settings == proxy.settings
        assert (
            again.bind(SPACE, SPEC)(SPACE.enumerate()[:1]) == proxy.bind(SPACE, SPEC)(SPACE.enumerate()[:1])
        ).all()
    settings = Proxy("snip", batch).settings
    assert settings["batch"]["shape"] == [6, 2, 6, 6]
    assert settings != Proxy("snip", (batch[0] + 1, batch[1])).settings
    assert settings != Proxy("snip", (batch[0], batch[1].flip(0))).settings
    with pytest.raises(ValueError, match="batch: data stay out of settings"):
        Proxy(**settings)
    with_loss = Proxy("snip", batch, loss=torch.nn.functional.cross_entropy).settings
    assert with_loss["loss"] == "cross_entropy"
    with pytest.raises(ValueError, match="loss must be a function"):
        Proxy(**(with_loss | {"batch": 8}))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Proxy("naswott"), "name: unknown proxy 'naswott'; did you mean 'naswot'"),
        (lambda: Proxy(3), "name must be one of"),
        (lambda: Proxy("naswot", 1), "batch must be an integer of at least 2; got 1"),
        (lambda: Proxy("snip", torch.ones(2, 3)), "'snip' needs labels"),
        (lambda: Proxy("synflow", seed=-1), "seed must be at least 0"),
        (lambda: Proxy("synflow").bind(SPACE, None), "'synflow' builds networks, and nothing says what for"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_spaces_without_networks_are_refused():
    with pytest.raises(TypeError, match="has no build"):
        Proxy("synflow").bind(nasx.Space({"a": nasx.Integer(0, 3)}), SPEC)


def test_as_an_objective_and_with_a_limit():
    synflow = Proxy("synflow", spec=SPEC)
    assert not synflow.needs_spec
    result = nasx.search(
        SPACE,
        lambda architecture: None,
        strategy="random_search",
        objectives={"synflow": "maximize"},
        costs={"synflow": synflow},
        evaluations=SPACE.size,
    )
    everything = synflow.bind(SPACE, None)(SPACE.enumerate())
    assert len(result.trials) == SPACE.size
    assert result.best.metrics["synflow"] == everything.max()
    limited = nasx.search(
        SPACE,
        lambda architecture: None,
        objectives={"synflow": "maximize"},
        costs={"synflow": synflow},
        limits={"synflow": float(np.median(everything))},
        evaluations=SPACE.size,
    )
    assert limited.best.metrics["synflow"] == everything[everything <= np.median(everything)].max()


def test_a_network_without_a_score_is_a_failed_trial():
    space = nasx.spaces.NASBench201(cells=1, channels=4)
    proxy = Proxy("synflow", spec=SPEC)
    nothing = [space.decode([0] * 6), space.decode([3] * 6)]
    result = nasx.search(
        space,
        lambda architecture: None,
        objectives={"synflow": "maximize"},
        costs={"synflow": proxy},
        initial=nothing,
        evaluations=2,
    )
    assert [trial.state for trial in result.trials] == ["failed", "complete"]
    assert "proxy 'synflow': nothing flows" in result.trials[0].error
    with pytest.raises(EvaluationError, match="synflow of Architecture"):
        proxy.bind(space, None)([[0] * 6])
