"""`recover`: a smaller transformer learns to give what the whole one gives."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from nasx._arguments import count, unsigned
from nasx._live import Live, format_seconds
from nasx.checkpoint import Checkpoint
from nasx.compression.calibration import Batch, Sequences
from nasx.compression.distilling import Distillation, layers_of, weight_of
from nasx.compression.families import Family
from nasx.compression.importance import as_family, evaluating
from nasx.errors import EvaluationError, unknown
from nasx.tasks.batches import stream
from nasx.tasks.training import random_state

__all__ = ["Recovery", "recover", "train"]

_PRECISIONS = {"float32": None, "bf16": torch.bfloat16}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recovery:
    """How a smaller model is trained.

    Parameters
    ----------
    steps : int, default 200
        Updates.
    batch_size : int, default 8
        Sequences that are computed at a time.
    accumulate : int, default 1
        So many of these make one update: as if the batch were so much larger, in the same memory.
    lr : float, default 1e-4
        Learning rate of AdamW, after `warmup`; it falls to 0 by half a cosine.
    warmup : float, default 0.1
        Share of the steps in which it rises.
    weight_decay : float, default 0
        Of AdamW.
    grad_clip : float or None, default 1
        Longest gradient.
    temperature, label_weight : float, default 1 and 0
        Of the scores, and of the text itself beside them: the next token, so for decoders alone.
    hidden_weight : float, default 0
        Of hidden states.
    precision : {"float32", "bf16"}, default "float32"
        What is computed in; weights stay what they are.
    seed : int, default 0
        Of the batches' order and of dropout.

    Raises
    ------
    ValueError
        If a setting is out of range.
    """

    steps: int = 200
    batch_size: int = 8
    accumulate: int = 1
    lr: float = 1e-4
    warmup: float = 0.1
    weight_decay: float = 0.0
    grad_clip: float | None = 1.0
    temperature: float = 1.0
    label_weight: float = 0.0
    hidden_weight: float = 0.0
    precision: str = "float32"
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "accumulate"):
            count(getattr(self, name), name)
        unsigned(self.seed, "seed")
        if self.precision not in _PRECISIONS:
            raise ValueError(unknown("precision", self.precision, _PRECISIONS))
        for name, most, positive in (
            ("lr", math.inf, True),
            ("warmup", 1.0, False),
            ("weight_decay", math.inf, False),
            ("grad_clip", math.inf, True),
            ("temperature", math.inf, True),
            ("label_weight", math.inf, False),
            ("hidden_weight", math.inf, False),
        ):
            value = getattr(self, name)
            if value is None and name == "grad_clip":
                continue
            if not isinstance(value, int | float) or not 0 <= value < most or (positive and not value):
                bounds = f"{'more than' if positive else 'at least'} 0" + (
                    f" and less than {most:g}" * (most < 2)
                )
                raise ValueError(f"{name} must be a number of {bounds}; got {value!r}")

    def rate(self, step: int) -> float:
        """Learning rate of a step, counted from 0."""
        rising = self.warmup * self.steps
        if step + 1 < rising:
            return self.lr * (step + 1) / rising
        done = (step - rising) / max(self.steps - rising, 1e-9)
        return self.lr * 0.5 * (1 + math.cos(math.pi * min(max(done, 0.0), 1.0)))


def recover(
    student: nn.Module,
    teacher: nn.Module | Family,
    data: Any,
    *,
    kept: Sequence[int] | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    every: int = 50,
    progress: bool | None = None,
    **settings: Any,
) -> list[dict[str, float]]:
    """Train a smaller transformer, in place, to give what the whole one gives.

    Parameters
    ----------
    student : torch.nn.Module
        What was extracted; it stays where it is.
    teacher : torch.nn.Module or Family
        What it was extracted from, on the same device. It stays as it is. `CompressionResult.recover` gives
        the sorted one, whose first channels are the student's.
    data : Sequences or what `Sequences.of` takes
        Text.
    kept : sequence of int, optional
        Numbers of the teacher's layers that the student's come from; needed with ``hidden_weight`` if
        some are left out.
    checkpoint : path-like, optional
        File that the state is written to. If it exists, training goes on where that one ended, and gives the
        same as if it had never stopped.
    every : int, default 50
        Steps between two states that are written; the last one always is.
    progress : bool, optional
        By default on a terminal only.
    **settings
        Those of `Recovery`: ``steps``, ``lr``, ``accumulate``, ``hidden_weight`` and so on.

    Returns
    -------
    list of dict
        "step", from 1, its "loss", and "lr", for each step.

    Raises
    ------
    ValueError
        If a setting is wrong.
    JournalError
        If the checkpoint is damaged, or of another training; it is left as it is.
    nasx.errors.EvaluationError
        If the loss is no longer finite.

    Notes
    -----
    With a head, the loss is the Kullback-Leibler divergence of scores [1]_. Without one it is the squared
    difference of the last hidden states and of the sequences' cosine similarities. Hidden states are compared
    with those of the same layer, the last kept one with the teacher's last.

    References
    ----------
    .. [1] G. Hinton, O. Vinyals and J. Dean, "Distilling the Knowledge in a Neural Network", 2015.

    Examples
    --------
    >>> import torch, transformers
    >>> from nasx.compression.families import family_of
    >>> from nasx.compression.shapes import LayerShape, Shape
    >>> config = transformers.LlamaConfig(
    ...     vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4
    ... )
    >>> family = family_of(transformers.LlamaForCausalLM(config))
    >>> student = family.extract(Shape(16, (LayerShape(4, 4, 16), LayerShape(2, 2, 32))))
    >>> history = recover(student, family, torch.randint(50, (16, 12)), steps=5, lr=1e-3)
    >>> len(history), sorted(history[0])
    (5, ['loss', 'lr', 'step'])
    """
    recovery = Recovery(**settings)
    sequences = Sequences.of(data)
    family = as_family(teacher)
    whole = family.model
    sequences.check(family.plan)
    loss = Distillation(
        family,
        temperature=recovery.temperature,
        label_weight=recovery.label_weight,
        hidden_weight=recovery.hidden_weight,
    )
    own: list[nn.Module] = []
    theirs: list[nn.Module] = []
    if recovery.hidden_weight:
        own, theirs = layers_of(student), _matching(layers_of(family), kept)
        if len(own) != len(theirs):
            raise ValueError(
                f"kept must say which of the teacher's layers the student's {len(own)} come from; "
                f"got {kept!r}"
            )

    def losses(batch: Batch, step: int) -> Iterator[Tensor]:
        yield loss(student, own, batch, loss.targets(whole, theirs, batch))

    student.train()
    with evaluating(whole):
        history = train(
            dict(student.named_parameters()),
            losses,
            sequences,
            recovery,
            kind="recovery",
            checkpoint=checkpoint,
            every=every,
            progress=progress,
        )
    student.eval()
    return history


def _matching(layers: list[nn.Module], kept: Sequence[int] | None) -> list[nn.Module]:
    """Give the teacher's layers to compare with; what comes out last is compared with what comes out last."""
    if kept is None:
        return layers
    return [layers[i] for i in kept[:-1]] + layers[-1:]


def train(
    parameters: Mapping[str, Tensor],
    losses: Callable[[Batch, int], Iterator[Tensor]],
    sequences: Sequences,
    recovery: Recovery,
    *,
    kind: str,
    checkpoint: str | os.PathLike[str] | None,
    every: int,
    progress: bool | None,
    about: Mapping[str, Any] | None = None,
) -> list[dict[str, float]]:
    """Train tensors; the loop of `recover`.

    Parameters
    ----------
    parameters : mapping of str to Tensor
        Leaves, trained in place; those that need no gradient are left out.
    losses : callable
        From a batch and the step's number to losses, each a mean over tokens; their gradients add up, and
        each is freed before the next is made.
    sequences : Sequences
        Text.
    recovery : Recovery
        How.
    kind : str
        What the checkpoint is of.
    checkpoint, every, progress
        As for `recover`.
    about : mapping of str to JSON types, optional
        What else the checkpoint is known by.

    Returns
    -------
    list of dict
        As of `recover`.
    """
    count(every, "every")
    learning = {name: value for name, value in parameters.items() if value.requires_grad}
    if not learning:
        raise ValueError(
            "student has no parameters to train: those of candidates that share weights have none"
        )
    place = next(iter(learning.values())).device
    optimizer = torch.optim.AdamW(list(learning.values()), lr=recovery.lr, weight_decay=recovery.weight_decay)
    history: list[dict[str, float]] = []
    saved = None
    if checkpoint is not None:
        identity = {
            "kind": kind,
            "settings": dataclasses.asdict(recovery),
            "data": sequences.digest,
            "parameters": {name: list(value.shape) for name, value in learning.items()},
            "begins": float(sum(value.detach().double().sum() for value in learning.values())),
            "about": dict(about or {}),
        }
        saved = Checkpoint(checkpoint, identity)
        state = saved.load()
        if state is not None:
            with saved.reading():
                with torch.no_grad():
                    for name, value in learning.items():
                        value.copy_(state["parameters"][name])
                optimizer.load_state_dict(state["optimizer"])
                history = [dict(entry) for entry in state["history"]]
    precision = _PRECISIONS[recovery.precision]
    with (
        random_state(place, stream(recovery.seed, 0, 1)),
        _Training(history, recovery.steps, show=progress) as display,
    ):
        while len(history) < recovery.steps:
            step = len(history)
            torch.manual_seed(stream(recovery.seed, step, 2))  # dropout
            rate = recovery.rate(step)
            for group in optimizer.param_groups:
                group["lr"] = rate
            batches = _batches(sequences, recovery, step)
            tokens = sum(weight_of(batch) for batch in batches)
            total = 0.0
            optimizer.zero_grad()
            for batch in batches:
                here = {name: value.to(place) for name, value in batch.items()}
                with torch.autocast(place.type, precision or torch.bfloat16, enabled=precision is not None):
                    for value in losses(here, step):
                        share = value * (weight_of(batch) / tokens)
                        share.backward()  # type: ignore[no-untyped-call]  # untyped in older torch
                        total += float(share.detach())
            if not math.isfinite(total):
                raise EvaluationError(
                    f"training diverged: the loss became {total} in step {step + 1} of {recovery.steps}; "
                    f"lower lr (it is {recovery.lr:g}) or set grad_clip"
                )
            if recovery.grad_clip is not None:
                nn.utils.clip_grad_norm_(list(learning.values()), recovery.grad_clip)
            optimizer.step()
            history.append({"step": float(step + 1), "loss": total, "lr": rate})
            if saved is not None and ((step + 1) % every == 0 or step + 1 == recovery.steps):
                saved.save(
                    {
                        "parameters": {name: value.detach() for name, value in learning.items()},
                        "optimizer": optimizer.state_dict(),
                        "history": history,
                    }
                )
            display.update()
    optimizer.zero_grad()
    return history


def _batches(sequences: Sequences, recovery: Recovery, step: int) -> list[Batch]:
    """Give the batches of a step: every pass takes the sequences in another order."""
    size = min(recovery.batch_size, len(sequences))
    each = len(sequences) // size  # batches in a pass; what does not fill one waits for the next pass
    found: list[Batch] = []
    for number in range(step * recovery.accumulate, (step + 1) * recovery.accumulate):
        generator = torch.Generator().manual_seed(stream(recovery.seed, number // each, 3))
        order = torch.randperm(len(sequences), generator=generator)
        begin = number % each * size
        found += sequences.batches(size, order[begin : begin + size])
    return found


class _Training(Live):
    def __init__(self, history: list[dict[str, float]], steps: int, *, show: bool | None) -> None:
        self._history, self._first, self._start_time = history, len(history), time.monotonic()
        super().__init__("recovering", total=steps, show=show)

    def completed(self) -> float:
        return len(self._history)

    def status(self) -> str:
        total: Any = self._total
        done = len(self._history)
        if not done:
            return f"0 of {total} steps"
        pace = (done - self._first) / max(time.monotonic() - self._start_time, 1e-9)
        left = f", {format_seconds((total - done) / pace)} left" if pace else ""
        return f"{done} of {total} steps, loss {self._history[-1]['loss']:.4g}{left}"

    def update(self) -> None:
        self._print_now_and_then()
