"""Harm told from gradients, against gates on the user's model."""

import numpy as np
import pytest
import torch
from reference.compression_gates import gated_effects
from torch import nn

from nasx.compression.calibration import Sequences
from nasx.compression.estimating import estimate
from nasx.compression.families import family_of
from nasx.compression.importance import rank
from nasx.compression.scoring import Scorer
from nasx.compression.sensitivity import sensitivity
from nasx.compression.shapes import Shape
from nasx.compression.space import CompressionSpace
from nasx.statistics import spearman_rho


@pytest.fixture(params=["llama", "gpt2"])
def model(request):
    return request.getfixturevalue(request.param)


def test_it_is_half_the_mean_square_of_what_gates_on_what_is_left_out_would_change(model, text):
    family = family_of(model)
    space = CompressionSpace(family.shape, dimensions=("heads", "mlp", "skip"))
    rows = text[:4]
    found = sensitivity(space, Scorer(family, Sequences.of(rows), batch_size=3))
    for i in (0, 2):
        heads, neurons = gated_effects(model, rows, i)
        whole = family.shape.layers[i]
        for option, width in enumerate(space.options[i].mlp):
            lost = neurons[:, width:].sum(1)
            assert found.mlp[i][option] == pytest.approx(float((lost**2).mean()) / 2, rel=1e-3, abs=1e-9)
        each = whole.heads // whole.groups
        for option, (number, groups) in enumerate(space.options[i].attention):
            kept = [g * each + h for g in range(groups) for h in range(number // groups)]
            lost = np.delete(heads, kept, axis=1).sum(1)
            wanted = float((lost**2).mean()) / 2
            assert found.attention[i][option] == pytest.approx(wanted, rel=1e-3, abs=1e-9)
        assert found.mlp[i][-1] == found.attention[i][-1] == 0


def test_it_ranks_cuts_as_forward_passes_do_and_tells_the_harm_of_small_ones(llama, text):
    ranking = rank(llama, text)
    family = family_of(family_of(llama).sorted(ranking.order))
    space = CompressionSpace(family.shape, dimensions=("heads", "mlp", "skip"))
    scorer = Scorer(family, Sequences.of(text))
    found, real = sensitivity(space, scorer), estimate(space, scorer, ranking, points=99)
    told = np.concatenate([*found.mlp, *found.attention])
    measured = np.concatenate([*real.mlp, *real.attention])
    assert spearman_rho(told, measured) > 0.9
    small = (measured > 0.001) & (measured < 0.1)
    assert 0.5 < measured[small].sum() / told[small].sum() < 2


def test_padding_counts_for_nothing(model, text):
    family = family_of(model)
    space = CompressionSpace(family.shape, dimensions=("heads", "mlp"))
    rows, more = text[:3, :10], nn.functional.pad(text[:3, :10], (0, 5))
    mask = torch.ones_like(more)
    mask[:, 10:] = 0
    plain = sensitivity(space, Scorer(family, Sequences.of(rows)))
    padded = sensitivity(space, Scorer(family, Sequences(more, mask)))
    for one, other in zip([*plain.mlp, *plain.attention], [*padded.mlp, *padded.attention], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-9)


def test_hidden_sizes_are_scored(llama, text):
    family = family_of(llama)
    space = CompressionSpace(family.shape, dimensions=("hidden", "mlp"), divisor=16)
    scorer = Scorer(family, Sequences.of(text[:8]))
    found = sensitivity(space, scorer)
    expected = scorer.loss(scorer.score_shape(Shape(16, family.shape.layers)))
    assert found.hidden[0] == pytest.approx(expected - scorer.loss(scorer.score_shape(family.shape)))
    assert found.hidden[-1] == 0


def test_the_model_is_left_as_it_was(llama, text):
    family = family_of(llama)
    before = {name: value.clone() for name, value in llama.state_dict().items()}
    space = CompressionSpace(family.shape, dimensions=("mlp",))
    with torch.no_grad():
        sensitivity(space, Scorer(family, Sequences.of(text[:2])))
    assert all((value == before[name]).all() for name, value in llama.state_dict().items())
    assert all(p.grad is None for p in family.whole.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in family.whole.modules())


def test_other_metrics_are_refused(bert, text):
    family = family_of(bert)
    space = CompressionSpace(family.shape, dimensions=("mlp",))
    with pytest.raises(ValueError, match=r"is for perplexity; the metric is 'agreement'"):
        sensitivity(space, Scorer(family, Sequences.of(text[:8])))
