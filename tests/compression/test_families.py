"""Every kind of transformer: what is extracted computes what the masked original computes."""

import random

import pytest
import tiny_transformers as tiny
import torch
import transformers

from nasx.compression.families import family_of
from nasx.compression.plain import PlainTransformer
from nasx.compression.shapes import LayerShape, Order, Shape

every_kind = pytest.mark.parametrize("kind", tiny.KINDS)


def assert_same(got, expected, channels, tolerance=1e-4):
    """Compare outputs; hidden states only in the channels that are there."""
    assert got.keys() == expected.keys()
    assert got
    for name, value in got.items():
        other = expected[name]
        if name != "logits":
            assert value.shape[-1] == channels
            assert not other[..., channels:].any()
            other = other[..., :channels]
        assert value.shape == other.shape
        assert torch.isfinite(value).all()
        torch.testing.assert_close(value, other, rtol=0, atol=tolerance)


def numel(model):
    return sum(value.numel() for value in model.parameters())


@every_kind
def test_the_whole_as_a_plain_network_is_the_model(kind):
    model = tiny.build(kind)
    family, x = family_of(model), tiny.texts(model)
    assert_same(tiny.outputs(family.whole, x), tiny.outputs(model, x), family.shape.hidden)
    padded = torch.ones_like(x)
    padded[1, 4:] = 0
    got, expected = (tiny.outputs(one, x, attention_mask=padded) for one in (family.whole, model))
    if "pooler_output" not in got and got.get("logits", x[..., None].expand(-1, -1, 2)).ndim == 3:
        got, expected = ({k: v[padded.bool()] for k, v in one.items()} for one in (got, expected))
    assert_same(got, expected, family.shape.hidden)
    positions = torch.arange(3, 10)[None]
    got, expected = (tiny.outputs(one, x, position_ids=positions) for one in (family.whole, model))
    assert_same(got, expected, family.shape.hidden)


@every_kind
def test_what_is_extracted_computes_what_the_masked_original_computes(kind):
    model = tiny.build(kind)
    family, x = family_of(model), tiny.texts(model)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    for seed in range(20):
        shape = tiny.random_shape(family.shape, seed)
        expected = tiny.outputs(family.masked(shape), x)
        part = family.extract(shape)
        assert_same(tiny.outputs(part, x), expected, shape.hidden)
        assert_same(tiny.outputs(family.extract(shape, share=True), x), expected, shape.hidden)
        assert family.parameters(shape) == numel(part)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@every_kind
def test_uniform_parts_are_models_of_the_users_class(kind, tmp_path):
    model = tiny.build(kind)
    family, x = family_of(model), tiny.texts(model)
    native = 0
    for seed in range(60):
        shape = tiny.random_shape(family.shape, seed, uniform=True)
        if not kind.startswith(("llama", "mistral", "qwen")):  # else it is never native
            heads = next(one.heads for one in shape.layers if one)
            shape = Shape(heads * family.head_dim, shape.layers)
        if not family.is_native(shape):
            continue
        native += 1
        part = family.extract(shape)
        assert type(part) is type(model)
        unused = part.cls.predictions.bias if kind == "bert, masked, untied" else torch.zeros(0)
        assert numel(part) == family.parameters(shape) + len(unused)
        assert_same(tiny.outputs(part, x), tiny.outputs(family.masked(shape), x), shape.hidden)
        assert_same(tiny.outputs(family.extract(shape, plain=True), x), tiny.outputs(part, x), shape.hidden)
        if native == 1:
            if len(unused):
                assert torch.equal(unused, model.cls.predictions.bias)
            part.save_pretrained(tmp_path)
            arguments = {"add_pooling_layer": False} if kind == "bert, no pooler" else {}
            again = type(model).from_pretrained(tmp_path, **arguments).eval()
            assert_same(tiny.outputs(again, x), tiny.outputs(part, x), shape.hidden, 0)
        if native == 5:
            break
    assert native == 5
    assert family.is_native(family.shape)


@every_kind
def test_another_order_computes_the_same(kind):
    model = tiny.build(kind)
    family, x = family_of(model), tiny.texts(model)
    order = random_order(family, 0)
    ordered = family.sorted(order)
    assert type(ordered) is type(model)
    expected = tiny.outputs(model, x)
    for name, value in expected.items():
        if name != "logits":
            expected[name] = value[..., list(order.hidden)]
    assert_same(tiny.outputs(ordered, x), expected, family.shape.hidden)
    # It is another order indeed: what is kept is what the order names first.
    whole = family.shape.layers
    shape = Shape(9, [LayerShape(whole[0].groups, whole[0].groups, 7), None, *whole[2:]])
    first, second = (family_of(one).whole for one in (model, ordered))
    rows = list(order.hidden[:9])
    part = family_of(ordered).extract(shape, plain=True)
    assert torch.equal(part.tokens.weight, first.tokens.weight[:, rows])
    neurons = list(order.mlp[0][:7])
    assert torch.equal(part.layers[0].mlp.down.weight, first.layers[0].mlp.down.weight[rows][:, neurons])
    assert not torch.equal(first.layers[0].attention.key.weight, second.layers[0].attention.key.weight)


def random_order(family, seed):
    draw = random.Random(seed)

    def shuffled(n):
        return draw.sample(range(n), n)

    heads = []
    for layer in family.shape.layers:
        each = layer.heads // layer.groups
        heads.append([g * each + s for g in shuffled(layer.groups) for s in shuffled(each)])
    return Order(shuffled(family.shape.hidden), heads, [shuffled(one.mlp) for one in family.shape.layers])


def test_heads_follow_their_groups():
    model = tiny.build("llama")
    family = family_of(model)
    ordered = family_of(family.sorted(Order(heads=[[5, 3, 4, 0, 2, 1], None, None, None])))
    before, after = family.whole.layers[0].attention, ordered.whole.layers[0].attention
    heads = before.query.weight.view(6, 4, -1), after.query.weight.view(6, 4, -1)
    assert torch.equal(heads[1], heads[0][[5, 3, 4, 0, 2, 1]])
    groups = before.value.weight.view(2, 4, -1), after.value.weight.view(2, 4, -1)
    assert torch.equal(groups[1], groups[0][[1, 0]])
    # Two heads of each group: not the first four heads.
    part = ordered.extract(Shape(24, [LayerShape(4, 2, 20), *[None] * 3]), plain=True)
    assert torch.equal(part.layers[0].attention.query.weight.view(4, 4, -1), heads[0][[5, 3, 0, 2]])


@every_kind
def test_shared_parts_take_no_memory_and_copies_share_none(kind):
    model = tiny.build(kind)
    family = family_of(model)
    shape = tiny.random_shape(family.shape, 3)
    storages = {value.untyped_storage().data_ptr() for value in model.parameters()}
    shared = family.extract(shape, share=True)
    for name, value in shared.named_parameters():
        copied = ".query." in name or ".output.weight" in name  # some heads of each group are no view
        assert copied or value.untyped_storage().data_ptr() in storages
        assert not value.requires_grad
    for part in (family.extract(shape), family.extract(shape, plain=True)):
        for value in part.parameters():
            assert value.untyped_storage().data_ptr() not in storages
            assert value.is_contiguous()
            assert value.requires_grad


def test_what_is_extracted_learns_and_leaves_the_original():
    model = tiny.build("llama")
    family, x = family_of(model), tiny.texts(model)
    expected = tiny.outputs(model, x)["logits"]
    for shape in (family.shape, tiny.random_shape(family.shape, 1)):
        part = family.extract(shape).train()
        part(x).logits.square().mean().backward()
        assert all(value.grad is not None and value.grad.any() for value in part.parameters())
        torch.optim.SGD(part.parameters(), 1.0).step()
    assert torch.equal(tiny.outputs(model, x)["logits"], expected)


@every_kind
def test_extraction_draws_no_random_numbers(kind):
    family = family_of(tiny.build(kind))
    state = torch.get_rng_state()
    family.extract(family.shape)
    family.extract(tiny.random_shape(family.shape, 0))
    assert torch.equal(torch.get_rng_state(), state)


def test_keys_and_values_are_counted_as_the_cache_holds_them():
    for kind in ("llama", "gpt2", "llama, one group"):
        model = tiny.build(kind)
        family, x = family_of(model), tiny.texts(model, batch=3, tokens=5)
        shape = Shape(
            8 * family.head_dim // 4 if kind != "gpt2" else 8,
            [
                LayerShape(2, min(2, family.shape.layers[0].groups), 5),
                None,
                *[LayerShape(2, min(2, family.shape.layers[0].groups), 5)] * 2,
            ],
        )
        part = family.extract(shape)
        assert type(part) is type(model)
        cache = part(x, use_cache=True).past_key_values
        held = sum(t.nbytes for layer in cache.layers for t in (layer.keys, layer.values))
        assert family.kv_bytes(shape, tokens=5, batch=3) == held
    bert = family_of(tiny.build("bert"))
    assert bert.kv_bytes(tokens=100) == 0
    assert bert.weight_bytes() == 4 * bert.parameters()


def test_half_precision_stays_and_counts_half():
    model = tiny.build("llama").to(torch.bfloat16)
    family = family_of(model)
    assert family.weight_bytes() == 2 * family.parameters()
    for part in (family.extract(family.shape), family.extract(tiny.random_shape(family.shape, 2))):
        assert {value.dtype for value in part.parameters()} == {torch.bfloat16}
    x = tiny.texts(model)
    expected = tiny.outputs(model, x)["logits"].float()
    got = tiny.outputs(family.whole, x)["logits"].float()
    torch.testing.assert_close(got, expected, rtol=0.05, atol=0.05)


def test_padding_that_sees_nothing_spoils_nothing():
    model = tiny.build("llama")
    family, x = family_of(model), tiny.texts(model)
    left = torch.tensor([[0, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 1]])
    got, expected = (tiny.outputs(one, x, attention_mask=left)["logits"] for one in (family.whole, model))
    torch.testing.assert_close(got[left.bool()], expected[left.bool()], rtol=0, atol=1e-4)


def test_positions_of_roberta_count_what_is_no_padding():
    model = tiny.build("roberta")
    family, x = family_of(model), tiny.texts(model)
    x[0, :3] = x[1, 5:] = model.config.pad_token_id
    got, expected = (tiny.outputs(one, x, attention_mask=(x != 1).long()) for one in (family.whole, model))
    text = x != 1
    got, expected = (one["last_hidden_state"][text] for one in (got, expected))
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-4)
    other = tiny.build("roberta, masked")
    other.config.hidden_act = "relu"
    with pytest.raises(ValueError, match=r"config\.hidden_act must be 'gelu'"):
        family_of(other)


def test_types_of_tokens_reach_the_encoder():
    model = tiny.build("bert")
    family, x = family_of(model), tiny.texts(model)
    types = torch.zeros_like(x)
    types[:, 3:] = 1
    got, expected = (tiny.outputs(one, x, token_type_ids=types) for one in (family.whole, model))
    assert_same(got, expected, 24)
    assert not torch.equal(got["pooler_output"], tiny.outputs(model, x)["pooler_output"])
    with pytest.raises(ValueError, match="token_type_ids must not be given"):
        family_of(tiny.build("gpt2")).whole(x, token_type_ids=types)


@every_kind
def test_parts_to_hook_are_those_whose_inputs_matter(kind):
    model = tiny.build(kind)
    family, x = family_of(model), tiny.texts(model)
    seen = {}

    def hook(name):
        def keep(module, args, result):
            seen[name] = args[0], result

        return keep

    parts = family.layer_parts(1)
    parts.layer.register_forward_hook(hook("layer"))
    parts.attention_output.register_forward_hook(hook("attention"))
    parts.mlp_output.register_forward_hook(hook("mlp"))
    for i, norm in enumerate((*parts.norms, *family.other_norms())):
        norm.register_forward_hook(hook(i))
    tiny.outputs(model, x)
    assert seen.pop("attention")[0].shape == (2, 7, 24)
    assert seen.pop("mlp")[0].shape == (2, 7, 20)
    assert all(taken.shape == given.shape == (2, 7, 24) for taken, given in seen.values())
    states = family.whole(x, output_hidden_states=True).hidden_states
    assert len(states) == 5
    torch.testing.assert_close(states[1], seen["layer"][0], rtol=0, atol=1e-4)
    torch.testing.assert_close(states[2], seen["layer"][1], rtol=0, atol=1e-4)


def test_settings_of_the_users_model_go_along():
    model = tiny.build("qwen 2")
    model.config._attn_implementation = "eager"
    model.generation_config.max_new_tokens = 3
    layers = [LayerShape(4, 2, 10), None, None, LayerShape(4, 2, 10)]
    part = family_of(model).extract(Shape(20, layers))
    assert part.config._attn_implementation == "eager"
    assert part.config.layer_types == ["full_attention"] * 2
    assert part.config.num_hidden_layers == 2
    assert part.generation_config.max_new_tokens == 3
    assert not part.training


@every_kind
def test_what_is_extracted_of_a_frozen_model_can_be_trained(kind):
    model = tiny.build(kind).requires_grad_(False)
    family = family_of(model)
    for plain in (False, True):
        part = family.extract(family.shape, plain=plain)
        assert all(value.requires_grad for value in part.parameters())
    assert not any(value.requires_grad for value in model.parameters())


def test_a_generating_model_is_still_one():
    model = tiny.build("llama")
    part = family_of(model).extract(Shape(16, [LayerShape(4, 2, 10)] * 3 + [None]))
    text = part.generate(tiny.texts(model), max_new_tokens=4, do_sample=False, pad_token_id=0)
    assert text.shape == (2, 11)


# -- wrong input ---------------------------------------------------------------------------------------------


def test_other_models_are_refused_by_name():
    with pytest.raises(
        TypeError, match=r"model must be one of transformers' LlamaForCausalLM.*got torch.nn.*Linear"
    ):
        family_of(torch.nn.Linear(2, 2))

    class LlamaForCausalLM(torch.nn.Module):
        pass

    with pytest.raises(TypeError, match="model must be one of"):
        family_of(LlamaForCausalLM())


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("Mistral", {"sliding_window": 8}, "sliding_window is 8"),
        ("Llama", {"hidden_act": "quick_gelu"}, "unknown activation 'quick_gelu'"),
        (
            "Llama",
            {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 2.0}},
            "unknown kind of rotary positions 'dynamic'",
        ),
        ("GPT2", {"add_cross_attention": True}, "add_cross_attention is set"),
        ("GPT2", {"activation_function": "mish"}, "unknown activation 'mish'"),
        ("Bert", {"is_decoder": True}, "is_decoder is set"),
        ("Roberta", {"is_decoder": True}, "is_decoder is set"),
        ("Bert", {"hidden_act": "mish"}, "unknown activation 'mish'"),
    ],
)
def test_settings_that_are_not_supported_are_named(name, settings, message):
    small = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 9}
    config = getattr(transformers, f"{name}Config")(**small, **settings)
    with pytest.raises(ValueError, match=message):
        family_of(getattr(transformers, f"{name}Model")(config))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (Shape(25, [None] * 4), "shape.hidden must be at most 24, the model's; got 25"),
        (Shape(24, [None] * 3), "one entry for each of the model's 4 layers; got 3"),
        (Shape(24, [None] * 4), "must keep one layer at least"),
        (Shape(24, [None, None, LayerShape(9, 3, 1), None]), r"layers\[2\].heads must be at most 6"),
        (Shape(24, [None, None, LayerShape(3, 3, 1), None]), r"layers\[2\].groups must be at most 2"),
        (Shape(24, [LayerShape(2, 2, 21)] * 4), r"layers\[0\].mlp must be at most 20"),
        (Shape(24, [LayerShape(4, 1, 2)] * 4), r"layers\[0\] must have at most 3 heads in a group"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shape, message):
    family = family_of(tiny.build("llama"))
    for function in (family.extract, family.masked, family.parameters, family.kv_bytes, family.weight_bytes):
        with pytest.raises(ValueError, match=message):
            function(shape)
    with pytest.raises(TypeError, match=r"shape must be a nasx.compression.shapes.Shape; got dict"):
        family.extract({"hidden": 3})


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (Order(hidden=[1, 0]), "order.hidden must order all of the 24 channels; got 2 numbers"),
        (Order(mlp=[[1, 0]] * 4), r"order.mlp\[0\] must order all of the 20 neurons"),
        (Order(mlp=[None]), "order.mlp must have one entry for each of the 4 layers; got 1"),
        (Order(heads=[[1, 0]] * 4), r"order.heads\[0\] must order all of the 6 heads"),
        (Order(heads=[[0, 3, 1, 2, 4, 5]] * 4), r"order.heads\[0\] must keep each group's 3 heads together"),
    ],
)
def test_orders_that_do_not_fit_are_refused(order, message):
    family = family_of(tiny.build("llama"))
    with pytest.raises(ValueError, match=message):
        family.sorted(order)
    with pytest.raises(TypeError, match="order must be a"):
        family.sorted([1, 2])


def test_plain_networks_have_no_sizes_that_differ_from_their_plan():
    family = family_of(tiny.build("qwen 3"))
    for seed in range(30):
        shape = tiny.random_shape(family.shape, seed)
        part = family.extract(shape, plain=True)
        assert isinstance(part, PlainTransformer)
        hidden = shape.hidden
        layers = [family.plan.layer_parameters(layer, hidden) for layer in shape.layers]
        assert family.plan.other_parameters(hidden) + sum(layers) == numel(part) == family.parameters(shape)
