import pytest
import tiny_transformers as tiny
import torch

from nasx.compression import CompressionSpace, Scorer, Sequences, rank, recover, train_supernet
from nasx.compression.families import family_of
from nasx.compression.recovery import Recovery
from nasx.compression.sandwich import sandwich, sliced
from nasx.compression.shapes import LayerShape, Shape
from nasx.errors import EvaluationError, JournalError

LESS = Shape(32, (LayerShape(2, 1, 32), LayerShape(4, 2, 64), None))


@pytest.fixture(scope="module")
def family(llama, text):
    whole = family_of(llama)
    return type(whole)(whole.sorted(rank(whole, text).order))


def weights(model):
    return [value.detach().clone() for value in model.parameters()]


def test_it_recovers_what_was_lost(family, text):
    student = family.extract(LESS)
    scorer = Scorer(family, Sequences.of(text[:16]), metric="divergence")
    before = scorer.score(student)
    whole = weights(family.model)
    torch.manual_seed(11)
    expected = torch.rand(1)
    torch.manual_seed(11)
    history = recover(student, family, text[16:], steps=30, lr=3e-3)
    assert torch.equal(torch.rand(1), expected)  # the caller's random numbers are left alone
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]
    assert scorer.score(student) < 0.7 * before
    assert all(torch.equal(a, b) for a, b in zip(whole, weights(family.model), strict=True))
    assert not student.training


def test_accumulated_batches_are_one_large_batch(family, text):
    mask = torch.ones_like(text)
    mask[::3, 7:] = 0  # so that batches have different numbers of tokens
    data = Sequences(text, mask)
    results = []
    for batch_size, accumulate in ((12, 1), (4, 3)):
        student = family.extract(LESS)
        history = recover(
            student, family, data, steps=3, batch_size=batch_size, accumulate=accumulate, lr=1e-3
        )
        results.append((weights(student), history))
    for one, other in zip(results[0][1], results[1][1], strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-4)
    for a, b in zip(results[0][0], results[1][0], strict=True):
        torch.testing.assert_close(a, b, atol=2e-5, rtol=1e-3)


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_training_goes_on_to_the_same_bits(family, text, tmp_path, dropout, monkeypatch):
    def make():
        student = family.extract(LESS)
        if dropout:
            student.layers[0].mlp.down = torch.nn.Sequential(
                student.layers[0].mlp.down, torch.nn.Dropout(dropout)
            )
        return student

    settings = {"steps": 9, "lr": 1e-3, "batch_size": 10, "hidden_weight": 0.1, "kept": LESS.kept}
    whole = make()
    expected = recover(whole, family, text, **settings)

    saved = []
    original = torch.save

    def stopping(*arguments):
        saved.append(None)
        if len(saved) == 3:
            raise KeyboardInterrupt
        return original(*arguments)

    path = tmp_path / "run.checkpoint"
    monkeypatch.setattr(torch, "save", stopping)
    with pytest.raises(KeyboardInterrupt):
        recover(make(), family, text, checkpoint=path, every=2, **settings)
    monkeypatch.undo()
    student = make()
    history = recover(student, family, text, checkpoint=path, every=2, **settings)
    assert history == expected
    assert all(torch.equal(a, b) for a, b in zip(weights(whole), weights(student), strict=True))
    with pytest.raises(JournalError, match="another"):
        recover(make(), family, text, checkpoint=path, **{**settings, "lr": 1e-2})


def test_hidden_states_are_those_of_the_same_layers(family, text):
    """What was not cut agrees with the whole model, layer by layer, whichever class it has."""
    for plain in (False, True):
        student = family.extract(family.shape, plain=plain)
        history = recover(student, family, text, steps=1, hidden_weight=1.0)
        assert history[0]["loss"] == pytest.approx(0, abs=1e-5)
    narrow = family.extract(Shape(24, LESS.layers))
    assert recover(narrow, family, text, steps=1, hidden_weight=1.0, kept=LESS.kept)[0]["loss"] > 0
    with pytest.raises(ValueError, match="kept must say which"):
        recover(narrow, family, text, steps=1, hidden_weight=1.0)


def test_models_without_a_head_learn_their_hidden_states(bert, text):
    family = family_of(bert)
    student = family.extract(Shape(32, (LayerShape(2, 2, 32), LayerShape(4, 4, 64), None)))
    history = recover(student, family, text, steps=15, lr=3e-3)
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]
    assert recover(family.extract(family.shape, plain=True), family, text, steps=1)[0]["loss"] < 1e-6


def test_labels_can_be_learned_too(family, text):
    shape = family.shape
    (without,) = recover(family.extract(shape), family, text, steps=1)
    (together,) = recover(family.extract(shape), family, text, steps=1, label_weight=0.5)
    assert without["loss"] == pytest.approx(0, abs=1e-5)
    assert together["loss"] > 0.05


@pytest.mark.parametrize("kind", ["bert", "bert, masked", "bert, classes", "llama, bare"])
def test_labels_are_for_models_that_predict_the_next_token(kind):
    model = tiny.build(kind)
    family, data = family_of(model), tiny.texts(model)
    space = CompressionSpace(family.shape, divisor=4)
    for function in (
        lambda: recover(family.extract(family.shape), family, data, steps=1, label_weight=0.5),
        lambda: train_supernet(family, space, data, steps=1, label_weight=0.5),
    ):
        with pytest.raises(ValueError, match=rf"this is a {type(model).__name__}: leave label_weight out"):
            function()


def test_rates_rise_and_fall():
    recovery = Recovery(steps=100, lr=1.0, warmup=0.1)
    rates = [recovery.rate(step) for step in range(100)]
    assert rates[0] == 0.1
    assert max(rates) == rates[9 + 1] or max(rates) == rates[9]
    assert rates[-1] < 0.01
    assert all(rate > 0 for rate in rates)


def test_bf16_computes_and_keeps_the_weights_dtype(family, text):
    student = family.extract(LESS)
    history = recover(student, family, text, steps=2, precision="bf16")
    assert len(history) == 2
    assert {value.dtype for value in student.parameters()} == {torch.float32}


def test_what_diverges_is_said(family, text):
    with pytest.raises(EvaluationError, match=r"training diverged: the loss became .* lower lr"):
        recover(family.extract(LESS), family, text, steps=30, lr=1e30, grad_clip=None, warmup=0.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "steps must be an integer of at least 1"),
        ({"lr": 0}, "lr must be a number of more than 0"),
        ({"warmup": 1.5}, "warmup must be a number of at least 0 and less than 1"),
        ({"precision": "fp8"}, "unknown precision 'fp8'"),
        ({"temperature": -1}, "temperature must be a number of more than 0"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Recovery(**settings)


def test_candidates_that_share_weights_cannot_be_trained(family, text):
    with pytest.raises(ValueError, match="no parameters to train"):
        recover(family.extract(LESS, share=True), family, text, steps=1)


# -- the supernet --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert"])
def test_slices_compute_what_is_extracted_and_gradients_reach_the_whole(kind, text, request):
    family = family_of(request.getfixturevalue(kind))
    shape = Shape(24, (LayerShape(1, 1, 32), LayerShape(0, 0, 64), None))
    for value in family.whole.parameters():
        value.requires_grad_()
    try:
        output = sliced(family.whole, shape)(input_ids=text[:2])[0]
        torch.testing.assert_close(
            output, family.extract(shape, plain=True)(text[:2])[0], atol=1e-5, rtol=1e-4
        )
        output.square().sum().backward()
        gradient = family.whole.layers[0].mlp.down.weight.grad
        assert gradient[:24, :32].abs().sum() > 0
        assert not gradient[24:].any()
        assert not gradient[:, 32:].any()
        assert family.whole.layers[2].mlp.down.weight.grad is None
    finally:
        for value in family.whole.parameters():
            value.requires_grad_(False)
            value.grad = None


def test_all_parts_learn_in_sandwiches(family, text, tmp_path):
    space = CompressionSpace(family.shape, dimensions=["heads", "mlp", "skip"], divisor=16)
    shapes = sandwich(space, 2, 3)
    assert shapes[0] == family.shape
    for least, other in zip(shapes[1].layers, shapes[2].layers, strict=True):
        for part in ("heads", "groups", "mlp"):
            assert getattr(other, part, 0) in (0, *range(getattr(least, part), 100))
    before = weights(family.model)
    trained, history = train_supernet(family, space, text[16:], steps=25, lr=1e-3, checkpoint=tmp_path / "s")
    assert all(torch.equal(a, b) for a, b in zip(before, weights(family.model), strict=True))
    held = Sequences.of(text[:16])
    rows = space.sample(6, seed=9)
    scores = [[Scorer(one, held).score_shape(space.shape_of(r)) for r in rows] for one in (family, trained)]
    assert sum(scores[1]) < 0.8 * sum(scores[0])
    again, same = train_supernet(family, space, text[16:], steps=25, lr=1e-3, checkpoint=tmp_path / "s")
    assert same == history
    assert all(torch.equal(a, b) for a, b in zip(weights(again.model), weights(trained.model), strict=True))
