import numpy as np
import pytest
import torch
from reference import compression as reference

from nasx.compression import Sequences, rank
from nasx.compression.families import family_of
from nasx.compression.importance import Ranking


def padded(text):
    mask = torch.ones_like(text)
    mask[::2, 18:] = 0
    return Sequences(text, mask)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert"])
def test_energies_are_those_of_an_obvious_twin_and_padding_does_not_count(kind, text, request):
    model = request.getfixturevalue(kind)
    data = padded(text[:6])
    ranking = rank(model, data, batch_size=4)
    family = family_of(model)
    with torch.no_grad():
        for i in range(3):
            parts = family.layer_parts(i)
            told = reference.energies(model, parts.mlp_output, data.input_ids, data.attention_mask)
            np.testing.assert_allclose(ranking.mlp[i], told, rtol=1e-4)
            told = reference.energies(model, parts.attention_output, data.input_ids, data.attention_mask)
            np.testing.assert_allclose(ranking.heads[i], told.reshape(4, -1).sum(axis=1), rtol=1e-4)
    # What stands in padding makes no difference.
    other = data.input_ids.masked_fill(data.attention_mask == 0, 7)
    again = rank(model, Sequences(other, data.attention_mask))
    np.testing.assert_allclose(again.layers, ranking.layers, atol=1e-9)
    np.testing.assert_allclose(again.hidden, ranking.hidden, rtol=1e-6)


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bert"])
def test_sorting_by_it_changes_nothing_but_the_order(kind, text, request):
    model = request.getfixturevalue(kind)
    ranking = rank(model, text[:8])
    again = family_of(family_of(model).sorted(ranking.order))
    with torch.no_grad():
        expected, got = (m(text[:4]) for m in (model, again.model))
    if kind != "bert":
        torch.testing.assert_close(got.logits, expected.logits, atol=1e-4, rtol=1e-4)
    sorted_ranking = rank(again, text[:8])
    for energies in sorted_ranking.mlp:
        assert (np.diff(energies) <= 1e-6 * energies[0]).all()
    assert (np.diff(sorted_ranking.hidden) <= 1e-6).all()


def test_heads_are_ranked_within_their_groups_and_groups_by_their_sum():
    ranking = Ranking(
        np.ones(4), (np.array([1.0, 2.0, 0.5, 9.0]),), (np.array([1.0, 3.0]),), np.ones(1), (2,)
    )
    assert ranking.order.heads == ((3, 2, 1, 0),)
    assert ranking.order.mlp == ((1, 0),)
    heads, mlp = ranking.lost(0)
    np.testing.assert_allclose(mlp, [1, 0.25, 0])
    assert heads[0].tolist() == [1, 1, 1]
    np.testing.assert_allclose(heads[1], [1, 1 - 9 / 12.5, 1 - 9.5 / 12.5])
    np.testing.assert_allclose(heads[2], [1, 1 - 11 / 12.5, 0])


def test_a_layer_that_does_nothing_matters_least(text):
    from .conftest import tiny

    model = tiny("llama")
    with torch.no_grad():
        layer = model.model.layers[1]
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    ranking = rank(model, text[:8])
    assert abs(ranking.layers[1]) < 1e-6
    assert ranking.depth_order[-1] == 1


def test_the_model_stays_as_it_is(text):
    from .conftest import tiny

    model = tiny("llama").train()
    model.model.layers[0].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rank(model, text[:4])
    assert model.training
    assert not model.model.layers[0].training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_what_is_not_finite_is_refused(text):
    from .conftest import tiny

    model = tiny("llama")
    with torch.no_grad():
        model.model.norm.weight[0] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        rank(model, text[:4])


def test_sequences_are_made_of_what_users_have():
    rows = torch.arange(12).reshape(3, 4)
    assert torch.equal(Sequences.of(rows).input_ids, rows)
    assert torch.equal(Sequences.of(rows.flatten(), length=4).input_ids, rows)
    assert torch.equal(Sequences.of(rows.numpy()).input_ids, rows)
    batches = [{"input_ids": rows[:2], "attention_mask": torch.ones(2, 4)}, {"input_ids": rows[2:]}]
    assert torch.equal(Sequences.of(batches).input_ids, rows)
    ragged = Sequences.of([[1, 2, 3], [4]])
    assert ragged.attention_mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert ragged.tokens == 4
    words = Sequences.of(["ab", "abcd"], tokenizer=lambda t: {"input_ids": [ord(c) for c in t]}, length=3)
    assert words.input_ids.tolist() == [[97, 98, 0], [97, 98, 99]]
    assert len(Sequences.of("abcdefg", tokenizer=lambda t: [ord(c) for c in t], length=3)) == 2
    assert Sequences.of(rows).digest != Sequences.of(rows + 1).digest
    for data, message in (
        ("text", "give tokenizer="),
        (torch.ones(2, 2), "must be integers"),
        ({"ids": rows}, "must have input_ids"),
        (torch.arange(3), "less than one sequence of length=256"),
        ([], "data must be token ids"),
    ):
        with pytest.raises(ValueError, match=message):
            Sequences.of(data)
    with pytest.raises(ValueError, match="one sequence"):
        Sequences.of(rows[:1]).split(0.5)
