import math

import pytest
import torch
from torch.nn import functional as F

from nasx.compression import Scorer, Sequences
from nasx.compression.families import family_of
from nasx.compression.plain import PlainTransformer
from nasx.compression.shapes import LayerShape, Shape
from nasx.errors import EvaluationError

from .conftest import tiny

LESS = Shape(32, (LayerShape(2, 1, 32), LayerShape(4, 2, 64), None))
UNGROUPED = Shape(32, (LayerShape(2, 2, 32), LayerShape(4, 4, 64), None))


def half_padded(text):
    mask = torch.ones_like(text)
    mask[1::2, 10:] = 0
    return Sequences(text, mask)


def test_perplexity_is_that_of_the_next_tokens_and_not_of_padding(llama, text):
    family, data = family_of(llama), half_padded(text[:6])
    total, tokens = 0.0, 0
    with torch.no_grad():
        for row, mask in zip(data.input_ids, data.attention_mask, strict=True):
            row = row[: int(mask.sum())]
            logits = llama(row[None]).logits[0]
            total += float(F.cross_entropy(logits[:-1], row[1:], reduction="sum"))
            tokens += len(row) - 1
    for batch_size in (1, 4, 6):
        score = Scorer(family, data, batch_size=batch_size).score(llama)
        assert score == pytest.approx(math.exp(total / tokens), rel=1e-4)


def test_perplexity_needs_tokens_that_follow_others(llama, text):
    alone = torch.ones_like(text[:4])
    alone[:, 1:] = 0
    for data in (Sequences.of(text[:4, :1]), Sequences(text[:4], alone)):
        with pytest.raises(ValueError, match="in data none does: give sequences of two tokens or more"):
            Scorer(family_of(llama), data)
    alone[0] = 1  # the others do not count
    mixed, whole = Scorer(family_of(llama), Sequences(text[:4], alone)), Sequences.of(text[:1])
    assert mixed.score(llama) == pytest.approx(Scorer(family_of(llama), whole).score(llama), rel=1e-5)


def test_sequences_of_padding_alone_are_refused(text):
    mask = torch.ones_like(text[:3])
    mask[1] = 0
    batch = {"input_ids": text[:3], "attention_mask": mask}
    for function in (
        lambda: Sequences.of([batch]),
        lambda: Sequences.of(batch),
        lambda: Sequences(*batch.values()),
    ):
        with pytest.raises(ValueError, match="data: attention_mask is 0 for all tokens of sequence 1; leave"):
            function()


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert"])
def test_candidates_score_as_what_is_extracted_and_as_the_masked_original(kind, text, request):
    less = LESS if kind == "llama" else UNGROUPED
    family = family_of(request.getfixturevalue(kind))
    for data in (Sequences.of(text[:6]), half_padded(text[:6])):
        scorer = Scorer(family, data)
        shared = scorer.score_shape(less)
        assert shared == pytest.approx(scorer.score(family.extract(less)), rel=1e-4)
        if kind != "bert":
            assert shared == pytest.approx(scorer.score(family.masked(less)), rel=1e-3)


def test_candidates_share_the_weights_of_the_model(llama):
    family = family_of(llama)
    part = family.extract(LESS, share=True)
    assert part.layers[0].mlp.down.weight.data_ptr() == llama.model.layers[0].mlp.down_proj.weight.data_ptr()


def test_candidates_are_made_of_torchs_own_layers_without_drawing_values(llama):
    family = family_of(llama)
    before = torch.get_rng_state()
    part = family.extract(LESS, share=True)
    assert torch.equal(torch.get_rng_state(), before)
    fresh = PlainTransformer(part.plan)
    assert {type(module) for module in part.modules()} == {type(module) for module in fresh.modules()}
    assert repr(part) == repr(fresh)
    attributes = [sorted(vars(module)) for module in part.modules()]
    assert attributes == [sorted(vars(module)) for module in fresh.modules()]
    assert not any(value.is_meta for value in (*part.parameters(), *part.buffers()))


def test_scores_of_many_tokens_are_compared_a_few_at_a_time(text):
    family = family_of(tiny("llama", vocab_size=100_000, hidden_size=8, initializer_range=1.0))
    data = half_padded(text[:2])  # 48 tokens, and 10 at a time
    logits = family.model(**next(data.batches(2))).logits
    targets = data.input_ids[:, 1:].masked_fill(data.attention_mask[:, 1:] == 0, -100)
    told = F.cross_entropy(logits[:, :-1].flatten(0, 1), targets.flatten())
    assert Scorer(family, data).score(family.model) == pytest.approx(float(told.detach().exp()), rel=1e-5)
    scorer = Scorer(family, data, metric="divergence")
    less = Shape(8, (*family.shape.layers[:2], None))
    own = F.log_softmax(family.extract(less)(**next(data.batches(2))).logits, -1)
    each = (logits.softmax(-1) * (F.log_softmax(logits, -1) - own)).sum(-1)
    wanted = float(each[data.attention_mask.bool()].mean().detach())
    assert scorer.score_shape(less) == pytest.approx(wanted, rel=0.02)


def test_divergence_is_zero_of_the_model_itself(llama, text):
    family = family_of(llama)
    scorer = Scorer(family, half_padded(text[:6]), metric="divergence")
    assert scorer.score(llama) == pytest.approx(0, abs=1e-3)
    assert scorer.score_shape(LESS) > 0.05
    assert scorer.loss(0.5) == 0.5


def test_agreement_is_that_of_similarities(bert, text):
    family, data = family_of(bert), half_padded(text[:8])
    scorer = Scorer(family, data)
    assert (scorer.name, scorer.direction) == ("agreement", "maximize")
    assert scorer.score(bert) == pytest.approx(1, abs=1e-6)
    worse = scorer.score_shape(Shape(16, (LayerShape(1, 1, 8), None, None)))
    assert worse < 0.999
    assert scorer.loss(0.9) == -0.9
    # By hand, each sequence by itself.
    part = family.extract(UNGROUPED)

    def similarities(model):
        vectors = []
        with torch.no_grad():
            for row, mask in zip(data.input_ids, data.attention_mask, strict=True):
                vectors.append(model(row[None, : int(mask.sum())]).last_hidden_state[0].mean(0))
        unit = F.normalize(torch.stack(vectors), dim=1)
        return torch.stack([unit[i] @ unit[j] for i in range(8) for j in range(i)])

    told = torch.corrcoef(torch.stack([similarities(bert), similarities(part.eval())]))[0, 1]
    assert scorer.score(part) == pytest.approx(float(told), abs=1e-4)


def test_a_metric_of_ones_own(llama, text):
    def width(model):
        assert not model.training
        return float(sum(value.numel() for value in model.parameters()))

    scorer = Scorer(family_of(llama), Sequences.of(text), metric=width, direction="minimize")
    assert scorer.name == "width"
    assert scorer.score(llama) == sum(value.numel() for value in llama.parameters())
    with pytest.raises(EvaluationError, match="'broken' is nan"):
        Scorer(
            family_of(llama),
            Sequences.of(text),
            metric=lambda _: math.nan,
            direction="minimize",
            name="broken",
        ).score(llama)


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        ("llama", {"metric": "perplexty"}, "did you mean 'perplexity'"),
        ("llama", {"metric": "agreement"}, "'agreement' does not fit a LlamaForCausalLM; give perplexity"),
        ("bert", {"metric": "perplexity"}, "'perplexity' does not fit a BertModel; give agreement"),
        (
            "llama",
            {"metric": "perplexity", "direction": "maximize"},
            "direction of 'perplexity' is 'minimize'",
        ),
        ("llama", {"metric": len}, "direction must say which way"),
    ],
)
def test_metrics_that_do_not_fit_are_refused(kind, settings, message, text):
    with pytest.raises(ValueError, match=message):
        Scorer(family_of(tiny(kind)), Sequences.of(text), **settings)
