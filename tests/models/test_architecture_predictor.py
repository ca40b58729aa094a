"""The predictor that learns order: transfer, determinism, files, bad calls; its loss against pairs one by one."""

import io
import json
import math
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from nasx import Categorical, Integer, Space
from nasx.models import ArchitecturePredictor
from nasx.models._ranking_network import Training, _pair_loss, one_hot, outputs
from nasx.statistics import spearman_rho

torch = pytest.importorskip("torch")

SPACE = Space(
    {
        "depth": Integer(1, 3),
        **{f"x{j}": Categorical(range(4)) for j in range(4)},
        "last": Categorical("pqr", when={"depth": [2, 3]}),
    }
)


def truth(x):
    effects = np.array([0.0, 2.0, 1.0, -1.0])
    return effects[x[:, 1:5]].sum(axis=1) + x[:, 0] + 2.0 * (x[:, 5] == 1) * (x[:, 1] == 0)


def make(**settings):
    return ArchitecturePredictor(cardinalities=SPACE.cardinalities, **{"epochs": 40} | settings)


@pytest.fixture(scope="module")
def pretrained():
    """By two sources whose values have other scales, but their order: one of them upside down would not do."""
    x, z = SPACE.sample(120, seed=1), SPACE.sample(80, seed=2)
    return make().pretrain([(x, 100 + 1e-3 * truth(x)), (z, np.exp(truth(z)))])


def test_order_is_learned_from_sources_whatever_their_scales(pretrained):
    test = SPACE.sample(300, seed=9)
    assert spearman_rho(pretrained.predict(test), truth(test)) > 0.9


def test_few_results_bend_what_was_learned_and_do_not_erase_it():
    new = lambda x: truth(x) - 3.0 * (x[:, 2] == 1)  # noqa: E731
    x, test = SPACE.sample(12, seed=3), SPACE.sample(300, seed=9)
    pretrained = make().pretrain([(SPACE.sample(120, seed=1), truth(SPACE.sample(120, seed=1)))])
    before = spearman_rho(pretrained.predict(test), new(test))
    after = spearman_rho(pretrained.fit(x, new(x)).predict(test), new(test))
    assert after > before + 0.01
    few = x[:6]
    ours, alone = (m.fit(few, new(few)).predict(test) for m in (pretrained, make()))
    assert spearman_rho(ours, new(test)) > spearman_rho(alone, new(test)) + 0.05


@pytest.mark.parametrize("loss", ["logistic", "hinge"])
def test_the_loss_is_that_of_all_pairs(loss):
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, 9).astype(float)
    x, w, b = rng.normal(size=(9, 3)), rng.normal(size=(3, 1)), rng.normal(size=1)
    s = (x @ w + b)[:, 0]
    pairs = [s[i] - s[j] for i in range(9) for j in range(9) if y[i] > y[j]]
    one = (lambda d: math.log1p(math.exp(-d))) if loss == "logistic" else (lambda d: max(0.0, 0.7 - d))
    found = _pair_loss(
        torch, *map(torch.from_numpy, (x, y)), [torch.from_numpy(w), torch.from_numpy(b)], Training(loss, 0.7, 1, 1, 0, 0)
    )  # fmt: skip
    assert float(found) == pytest.approx(np.mean([one(d) for d in pairs]))


def test_the_numpy_network_is_the_torch_network():
    x, model = SPACE.sample(30, seed=1), make(hidden=(7, 5), epochs=2)
    model.fit(x, truth(x))
    h = torch.from_numpy(one_hot(x, SPACE.cardinalities))
    for layer in range(0, 6, 2):
        w, b = (torch.from_numpy(model._weights[layer + k]) for k in (0, 1))
        h = torch.nn.functional.linear(h.relu() if layer else h, w.T, b)
    np.testing.assert_allclose(outputs(x, SPACE.cardinalities, model._weights), h[:, 0].numpy(), atol=1e-5)


def test_predictions_have_the_mean_and_deviation_of_the_targets():
    x = np.unique(SPACE.sample(60, seed=1), axis=0)
    y = 500 + 20 * truth(x)
    found = make().fit(x, y).predict(x)
    assert found.mean() == pytest.approx(y.mean())
    assert found.std() == pytest.approx(y.std())
    assert found.dtype == np.float64


def test_the_same_seed_gives_the_same_bits_and_the_random_state_is_left_alone():
    x = SPACE.sample(200, seed=1)
    torch.manual_seed(5)
    state = torch.get_rng_state()
    first = make(epochs=4).pretrain([(x, truth(x))]).fit(x[:9], truth(x[:9])).predict(x)
    torch.manual_seed(6)
    again = make(epochs=4).pretrain([(x, truth(x))]).fit(x[:9], truth(x[:9])).predict(x)
    np.testing.assert_array_equal(first, again)
    other = make(epochs=4, seed=1).pretrain([(x, truth(x))]).fit(x[:9], truth(x[:9])).predict(x)
    assert (first != other).any()
    torch.manual_seed(5)
    with torch.no_grad():
        make(epochs=1).fit(x, truth(x))
    assert torch.equal(torch.get_rng_state(), state)


def test_a_second_fit_starts_where_the_first_did(pretrained):
    x, z = SPACE.sample(12, seed=4), SPACE.sample(12, seed=5)
    once = pretrained.fit(z, truth(z)).predict(x)
    twice = pretrained.fit(x, -truth(x)).fit(z, truth(z)).predict(x)
    np.testing.assert_array_equal(once, twice)


def test_equal_targets_and_one_row_give_their_value():
    x = SPACE.sample(6, seed=1)
    np.testing.assert_allclose(make(epochs=2).fit(x, np.full(6, 3.0)).predict(x), 3.0)
    np.testing.assert_allclose(make(epochs=2).fit(x[:1], [7.0]).predict(x), 7.0)


def test_inputs_stay_as_they_are():
    x, y = SPACE.sample(20, seed=1), np.arange(20.0)
    x.flags.writeable = y.flags.writeable = False
    make(epochs=2).pretrain([(x, y)]).fit(x, y).predict(x)
    np.testing.assert_array_equal(y, np.arange(20.0))


# -- files ---------------------------------------------------------------------------------------------------


def test_what_is_saved_is_loaded_without_torch(tmp_path, pretrained):
    x = SPACE.sample(20, seed=7)
    pretrained.fit(x, truth(x)).save(tmp_path / "model.predictor")
    again = ArchitecturePredictor.load(tmp_path / "model.predictor")
    np.testing.assert_array_equal(again.predict(x), pretrained.predict(x))
    np.testing.assert_array_equal(
        again.fit(x[:8], truth(x[:8])).predict(x), pretrained.fit(x[:8], truth(x[:8])).predict(x)
    )
    code = (
        "import sys, numpy; sys.modules['torch'] = None\n"
        "from nasx.models import ArchitecturePredictor as A\n"
        f"print(A.load({str(tmp_path / 'model.predictor')!r}).predict(numpy.zeros((1, 6), int)).shape)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    assert done.stdout.strip() == "(1,)"


def test_foreign_and_damaged_files_are_refused_by_name(tmp_path, pretrained):
    path = tmp_path / "model.predictor"
    pretrained.save(path)
    whole = path.read_bytes()
    with np.load(path) as file:
        arrays = dict(file)

    def stored(**changed):
        buffer = io.BytesIO()
        np.savez(buffer, **{k: v for k, v in (arrays | changed).items() if v is not None})
        return buffer.getvalue()

    about = json.loads(arrays["about"].tobytes())
    changed = [
        json.dumps(about | new).encode()
        for new in ({"kind": "x"}, {"settings": {"epochs": 0}}, {"settings": 3})
    ]
    bad = [
        b"",
        b"nonsense",
        whole[: len(whole) // 2],
        stored(units=None),
        stored(units=np.array([0, -1.0, 0, 1])),
    ]
    bad += [stored(about=np.frombuffer(text, np.uint8)) for text in (*changed, b"{", b"[]")]
    bad += [
        stored(**{"fitted.0": arrays["fitted.0"][:-1]}),
        stored(**{"fitted.1": arrays["fitted.1"] * np.nan}),
    ]
    bad += [stored(cardinalities=arrays["cardinalities"] * 0), stored(**{"pretrained.2": None})]
    bad += [stored(cardinalities=np.array([2**30] * 6))]
    for content in bad:
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"model\.predictor"):
            ArchitecturePredictor.load(path)
    with pytest.raises(FileNotFoundError):
        ArchitecturePredictor.load(pathlib.Path(tmp_path) / "none")


# -- bad calls -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden": 64}, "hidden must be at most 16 widths"),
        ({"hidden": (64, 0)}, "hidden must be at most 16 widths"),
        ({"loss": "mse"}, "loss must be 'logistic' or 'hinge'; got 'mse'"),
        ({"epochs": 0}, "epochs must be an integer of at least 1; got 0"),
        ({"epochs": True}, "epochs must be an integer"),
        ({"margin": 0}, "margin must be a number above 0; got 0"),
        ({"learning_rate": math.nan}, "learning_rate must be a number above 0; got nan"),
        ({"weight_decay": -1.0}, "weight_decay must be a number of at least 0; got -1"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"cardinalities": [2, 0]}, "cardinalities must be at least 1"),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        ArchitecturePredictor(**settings)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        ([[0, 1]], [1.0], "genotypes must have 6 columns, one a decision; got 2"),
        ([[0, 1, 2, 3, 4, 0]], [1.0], "genotypes: row 0, decision 4 must be -1 to 3; got 4"),
        ([[0, 1, 2, 3, -2, 0]], [1.0], "genotypes: row 0, decision 4 must be -1 to 3; got -2"),
        (np.zeros((2, 6), int), [1.0], r"y must have one value for each of the 2 genotypes; got \(1,\)"),
        (np.zeros((2, 6), int), [1.0, math.nan], "y must be finite; leave out what failed"),
        (np.zeros((0, 6), int), [], "genotypes is empty"),
        (np.zeros(6, int), [1.0], "genotypes must have two dimensions"),
    ],
)
def test_bad_calls_are_named(x, y, message):
    with pytest.raises(ValueError, match=message):
        make().fit(x, y)
    with pytest.raises(ValueError, match=r"sources\[1\]: " + message):
        make().pretrain([(np.zeros((1, 6), int), [0.0]), (x, y)])


def test_nothing_learned_and_no_sources_are_named(tmp_path):
    with pytest.raises(ValueError, match="sources is empty"):
        make().pretrain([])
    for call in (lambda: make().predict([[0] * 6]), lambda: make().save(tmp_path / "x")):
        with pytest.raises(RuntimeError, match="call pretrain"):
            call()
    assert list(tmp_path.iterdir()) == []
