"""Tiny transformers: one of each family, and one that learned something, so that parts of it matter."""

import pytest
import torch
from torch.nn import functional as F


def tiny(kind, **changes):
    import transformers

    torch.manual_seed(0)
    if kind == "llama":
        settings = {
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
        }
        config = transformers.LlamaConfig(**{"vocab_size": 40, "num_key_value_heads": 2} | settings | changes)
        return transformers.LlamaForCausalLM(config).eval()
    if kind == "gpt2":
        settings = {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 64}
        config = transformers.GPT2Config(vocab_size=40, bos_token_id=0, eos_token_id=0, **settings | changes)
        return transformers.GPT2LMHeadModel(config).eval()
    settings = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4}
    settings |= {"max_position_embeddings": 64, "initializer_range": 0.2}
    config = transformers.BertConfig(vocab_size=40, **settings | changes)
    return transformers.BertModel(config).eval()


def patterned(n, length=24, seed=0):
    """Sequences in which each token follows from the two before it."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randint(40, (n, 2), generator=generator)
    while rows.shape[1] < length:
        rows = torch.cat([rows, (3 * rows[:, -1:] + rows[:, -2:-1] + 1) % 40], dim=1)
    return rows


@pytest.fixture(scope="session")
def llama():
    """A decoder that has learned the patterns to some extent."""
    with torch.random.fork_rng(devices=[]):
        model = tiny("llama").train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
        for step in range(60):
            rows = patterned(32, seed=step + 1)
            logits = model(rows).logits[:, :-1]
            optimizer.zero_grad()
            F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten()).backward()
            optimizer.step()
        return model.eval()


@pytest.fixture(scope="session")
def bert():
    with torch.random.fork_rng(devices=[]):
        return tiny("bert")


@pytest.fixture(scope="session")
def gpt2():
    with torch.random.fork_rng(devices=[]):
        return tiny("gpt2")


@pytest.fixture(scope="session")
def text():
    return patterned(48)
