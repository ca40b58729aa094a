"""Transformers of a few hundred weights, one of each kind, and random parts of them."""

import random

import torch
import transformers

from nasx.compression.shapes import LayerShape, Shape

_DECODER = {
    "vocab_size": 40,
    "hidden_size": 24,
    "intermediate_size": 20,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32,
    "head_dim": 4,
}
_GPT2 = {
    "vocab_size": 40,
    "n_embd": 24,
    "n_layer": 4,
    "n_head": 6,
    "n_inner": 20,
    "n_positions": 32,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_BERT = {
    "vocab_size": 40,
    "hidden_size": 24,
    "intermediate_size": 20,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "max_position_embeddings": 32,
    "layer_norm_eps": 1e-5,
}
_TOKENS = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "type_vocab_size": 1}
_KINDS = {
    "llama": ("LlamaForCausalLM", {**_DECODER, "tie_word_embeddings": True}),
    "llama, biases, untied": (
        "LlamaForCausalLM",
        {**_DECODER, "attention_bias": True, "mlp_bias": True, "tie_word_embeddings": False},
    ),
    "llama, one group": ("LlamaForCausalLM", {**_DECODER, "num_key_value_heads": 1}),
    "llama, no groups": ("LlamaForCausalLM", {**_DECODER, "num_key_value_heads": 6}),
    "llama, stretched": (
        "LlamaForCausalLM",
        {
            **_DECODER,
            "rope_parameters": {
                "rope_type": "yarn",
                "rope_theta": 1e4,
                "factor": 4.0,
                "original_max_position_embeddings": 8,
            },
        },
    ),
    "llama, bare": ("LlamaModel", _DECODER),
    "mistral": ("MistralForCausalLM", {**_DECODER, "sliding_window": None}),
    "qwen 2": ("Qwen2ForCausalLM", {**{k: v for k, v in _DECODER.items() if k != "head_dim"}}),
    "qwen 3": ("Qwen3ForCausalLM", _DECODER),
    "gpt2": ("GPT2LMHeadModel", _GPT2),
    "gpt2, bare": ("GPT2Model", _GPT2),
    "gpt2, scales": ("GPT2LMHeadModel", {**_GPT2, "scale_attn_by_inverse_layer_idx": True}),
    "bert": ("BertModel", _BERT),
    "bert, no pooler": ("BertModel", _BERT),
    "bert, masked": ("BertForMaskedLM", _BERT),
    "bert, masked, untied": (
        "BertForMaskedLM",
        {**_BERT, "tie_word_embeddings": False, "hidden_act": "relu"},
    ),
    "roberta": ("RobertaModel", {**_BERT, **_TOKENS}),
    "roberta, masked": ("RobertaForMaskedLM", {**_BERT, **_TOKENS}),
    "roberta, classes": ("RobertaForSequenceClassification", {**_BERT, **_TOKENS, "num_labels": 3}),
    "xlm roberta": ("XLMRobertaModel", {**_BERT, **_TOKENS}),
    "bert, classes": ("BertForSequenceClassification", {**_BERT, "num_labels": 3}),
}
KINDS = tuple(_KINDS)


def build(kind, seed=0):
    """Make a model whose weights, norms and biases all matter."""
    name, settings = _KINDS[kind]
    model_class = getattr(transformers, name)
    arguments = {"add_pooling_layer": False} if kind == "bert, no pooler" else {}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(model_class.config_class(**settings), **arguments).eval()
        for value in model.parameters():
            value.data.normal_(0, 0.3)
            if value.ndim == 1:
                value.data.add_(0.5)
    return model


def texts(model, batch=2, tokens=7, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, model.config.vocab_size, (batch, tokens), generator=generator)


def random_shape(whole, seed, *, uniform=False):
    """Draw a part of a shape: anything from almost nothing to all of it."""
    draw = random.Random(seed)

    def layer(most, least):
        groups = draw.randint(least, most.groups)
        each = draw.randint(1, most.heads // most.groups)
        return LayerShape(groups * each, groups, draw.randint(least, most.mlp))

    hidden = draw.randint(1, whole.hidden)
    if uniform:
        one = layer(whole.layers[0], 1)
        layers = [one if draw.random() < 0.7 else None for _ in whole.layers]
    else:
        layers = [layer(most, 0) if draw.random() < 0.8 else None for most in whole.layers]
        layers = [None if one is None or draw.random() < 0.1 else one for one in layers]
    if not Shape(hidden, layers).kept:
        layers[0] = whole.layers[0]
    return Shape(hidden, layers)


def outputs(model, *args, **kwargs):
    """Give what a model computes, as a dict of tensors."""
    with torch.no_grad():
        given = model(*args, **kwargs)
    names = ("logits", "last_hidden_state", "pooler_output")
    return {n: getattr(given, n) for n in names if getattr(given, n, None) is not None}
