"""`train_supernet`: all parts of a transformer learn at once, so that any of them can be taken out."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nasx._arguments import count
from nasx.compression.calibration import Batch, Sequences
from nasx.compression.distilling import Distillation
from nasx.compression.families import Family
from nasx.compression.importance import as_family, evaluating
from nasx.compression.parts import cut
from nasx.compression.plain import PlainTransformer
from nasx.compression.recovery import Recovery, train
from nasx.compression.shapes import Shape
from nasx.compression.space import CompressionSpace
from nasx.tasks.batches import stream

__all__ = ["sliced", "train_supernet"]


def train_supernet(
    family: Family | nn.Module,
    space: CompressionSpace,
    data: Any,
    *,
    samples: int = 2,
    checkpoint: str | os.PathLike[str] | None = None,
    every: int = 50,
    progress: bool | None = None,
    **settings: Any,
) -> tuple[Family, list[dict[str, float]]]:
    """Train a copy of a transformer such that all of its parts give what the whole gave.

    Parameters
    ----------
    family : Family or torch.nn.Module
        The model, sorted. It stays as it is, and is what is learned from.
    space : CompressionSpace
        The parts.
    data : Sequences or what `Sequences.of` takes
        Text.
    samples : int, default 2
        Random parts in each step, beside the whole and the smallest.
    checkpoint, every, progress, **settings
        As for `nasx.compression.recover`; there is no ``hidden_weight``.

    Returns
    -------
    family : Family
        Around the trained copy.
    history : list of dict
        As of `recover`.

    Raises
    ------
    ValueError
        If a setting is wrong.

    Notes
    -----
    The sandwich rule [1]_: the whole, the smallest and some random parts in every step.

    References
    ----------
    .. [1] J. Yu and T. Huang, "Universally Slimmable Networks and Improved Training Techniques", ICCV 2019.

    Examples
    --------
    >>> import transformers
    >>> config = transformers.LlamaConfig(
    ...     vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4
    ... )
    >>> model = transformers.LlamaForCausalLM(config)
    >>> space = CompressionSpace(as_family(model).shape, dimensions=["mlp"], divisor=8)
    >>> trained, history = train_supernet(model, space, torch.randint(50, (16, 12)), steps=3)
    >>> type(trained.model).__name__, len(history)
    ('LlamaForCausalLM', 3)
    """
    teacher = as_family(family)
    recovery = Recovery(**settings)
    if recovery.hidden_weight:
        raise ValueError("hidden_weight is for one part alone; leave it out and give it to recover()")
    count(samples, "samples", 0)
    sequences = Sequences.of(data)
    sequences.check(teacher.plan)
    trained = type(teacher)(copy.deepcopy(teacher.model))
    values = {name: value.requires_grad_() for name, value in trained.whole.named_parameters()}
    loss = Distillation(
        teacher, temperature=recovery.temperature, label_weight=recovery.label_weight, hidden_weight=0.0
    )

    def losses(batch: Batch, step: int) -> Iterator[Tensor]:
        targets = loss.targets(teacher.model, [], batch)
        shapes = sandwich(space, samples, stream(recovery.seed, step, 4))
        for shape in shapes:
            yield loss(sliced(trained.whole, shape), [], batch, targets) / len(shapes)

    try:
        with evaluating(teacher.model):
            history = train(
                values,
                losses,
                sequences,
                recovery,
                kind="sandwich",
                checkpoint=checkpoint,
                every=every,
                progress=progress,
                about={"space": space.to_dict(), "samples": samples},
            )
    finally:
        for value in values.values():
            value.requires_grad_(False)
    return trained, history


def sandwich(space: CompressionSpace, samples: int, seed: int) -> list[Shape]:
    """Draw the parts of one step.

    Parameters
    ----------
    space : CompressionSpace
        Its parts.
    samples : int
        Random ones.
    seed : int
        Same seed, same parts.

    Returns
    -------
    list of Shape
        The whole, the smallest, and so many random ones.
    """
    rows = space.sample(samples + 1, seed=seed)
    return [space.full, smallest(space), *(space.shape_of(row) for row in rows[:samples])]


def smallest(space: CompressionSpace) -> Shape:
    """Give the part with the least of everything that is not left out.

    Parameters
    ----------
    space : CompressionSpace
        Its parts.

    Returns
    -------
    Shape
        The smallest hidden size, as few layers as there can be, and in each the smallest attention and MLP.
    """
    row = np.zeros(len(space), np.int32)
    for j, (name, decision) in enumerate(space.decisions.items()):
        if name.endswith("kept") or (not space.uniform and decision.choices[0] == 0):
            row[j] = 1
    return space.shape_of(row)


def sliced(whole: PlainTransformer, shape: Shape) -> Any:
    """Make a function that computes what a part does, through which gradients reach the whole.

    Parameters
    ----------
    whole : PlainTransformer
        Its parameters.
    shape : Shape
        The part.

    Returns
    -------
    callable
        Takes what the network takes.
    """
    network = PlainTransformer(whole.plan.cut(shape), device="meta")
    wanted = {name for name, _ in (*network.named_parameters(), *network.named_buffers())}
    values = {name: value for name, value in cut(whole, shape).items() if name in wanted}

    def run(**batch: Tensor) -> Any:
        return torch.func.functional_call(network, values, (), batch)

    return run
