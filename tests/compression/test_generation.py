"""Plain decoders write as the models they come from do, and remember what they have read."""

import pytest
import tiny_transformers as tiny
import torch

from nasx.compression.families import family_of
from nasx.compression.generation import generate
from nasx.compression.plain import KeyValues

DECODERS = ["llama", "llama, one group", "llama, stretched", "qwen 3", "gpt2", "gpt2, scales"]


@pytest.mark.parametrize("kind", DECODERS)
def test_the_whole_writes_what_the_model_writes(kind):
    model = tiny.build(kind)
    x = tiny.texts(model)
    expected = model.generate(
        x,
        attention_mask=torch.ones_like(x),
        max_new_tokens=8,
        do_sample=False,
        pad_token_id=0,
        eos_token_id=None,
    )
    assert torch.equal(generate(family_of(model).whole, x, 8), expected)


@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize("masked", [False, True])
def test_what_is_read_in_pieces_is_what_is_read_at_once(kind, masked):
    model = tiny.build(kind)
    family, x = family_of(model), tiny.texts(model, tokens=9)
    shape = tiny.random_shape(family.shape, 9)
    part = family.extract(shape, plain=True)
    mask = torch.ones_like(x)
    if masked:
        mask[0, :2] = 0
    whole = part(x, mask if masked else None).logits
    memory, found = KeyValues(), []
    for begin, end in ((0, 4), (4, 5), (5, 8), (8, 9)):
        assert memory.length == begin
        found.append(part(x[:, begin:end], mask[:, :end] if masked else None, memory=memory).logits)
    torch.testing.assert_close(torch.cat(found, 1)[mask.bool()], whole[mask.bool()], rtol=0, atol=1e-4)
    assert memory.nbytes == family.kv_bytes(shape, tokens=9, batch=2)


def test_texts_are_drawn_from_a_seed_and_end_where_they_stop():
    model = tiny.build("gpt2")
    network, x = family_of(model).whole, tiny.texts(model)
    network.train()
    state = torch.get_rng_state()
    first, again, other = (generate(network, x, 9, temperature=5.0, seed=s) for s in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)
    assert network.training
    assert torch.equal(generate(network, x, 9, temperature=1e-4), generate(network, x, 9))
    stop = int(first[0, 8])
    text = generate(network, x, 9, temperature=5.0, seed=1, stop=stop)
    place = 7 + (first[0, 7:] == stop).nonzero()[0].item()
    assert torch.equal(text[0, : place + 1], first[0, : place + 1])
    assert (text[0, place:] == stop).all()
    assert generate(network, x[:1], 9, stop=int(generate(network, x[:1], 1)[0, -1])).shape == (1, 8)


def test_what_cannot_write_is_refused():
    model = tiny.build("gpt2")
    network, x = family_of(model).whole, tiny.texts(model)
    with pytest.raises(TypeError, match=r"got GPT2LMHeadModel; it has a generate\(\) of its own"):
        generate(model, x, 1)
    for kind in ("bert, masked", "gpt2, bare"):
        with pytest.raises(ValueError, match="this one cannot write"):
            generate(family_of(tiny.build(kind)).whole, x, 1)
    with pytest.raises(ValueError, match="would have 33 tokens; this network has positions for 32"):
        generate(network, x, 26)
    with pytest.raises(ValueError, match=r"got -1 and 0\.0"):
        generate(network, x, -1)
    with pytest.raises(ValueError, match="got 1 and nan"):
        generate(network, x, 1, temperature=float("nan"))
    with pytest.raises(ValueError, match=r"input_ids must have shape .* got \(7,\)"):
        generate(network, x[0], 1)
    with pytest.raises(ValueError, match="memory must not be given"):
        family_of(tiny.build("bert")).whole(x, memory=KeyValues())
