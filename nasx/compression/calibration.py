"""`Sequences`: token sequences to look at a model with, to score it on and to train it on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from nasx._arguments import count
from nasx.compression.blueprint import Blueprint

__all__ = ["Batch", "Sequences", "logits_of", "vectors_of"]

Batch = dict[str, Tensor]
"""What a model is called with: ``input_ids`` and ``attention_mask``, each int64 ``(B, L)``; perhaps more."""


class Sequences:
    """Token sequences in memory.

    Parameters
    ----------
    input_ids : Tensor of int64, shape (n, L)
        Tokens.
    attention_mask : Tensor of int64, shape (n, L), optional
        1 for tokens, 0 for padding; by default all are tokens.

    Raises
    ------
    ValueError
        If a shape or a type is another, nothing is in it, or a sequence is all padding.

    Examples
    --------
    >>> sequences = Sequences.of(torch.arange(40).reshape(10, 4))
    >>> first, held_out = sequences.split(0.2)
    >>> len(first), len(held_out), held_out.tokens
    (8, 2, 8)
    """

    def __init__(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> None:
        if not isinstance(input_ids, Tensor) or input_ids.ndim != 2 or not input_ids.numel():
            came = tuple(input_ids.shape) if isinstance(input_ids, Tensor) else type(input_ids).__name__
            raise ValueError(f"data: token ids must be a tensor of shape (n, length); got {came}")
        if input_ids.is_floating_point() or input_ids.dtype == torch.bool or int(input_ids.min()) < 0:
            raise ValueError("data: token ids must be integers, none of them negative")
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
        if attention_mask.shape != input_ids.shape:
            raise ValueError(
                f"data: attention_mask must have the shape of input_ids, {tuple(input_ids.shape)}; "
                f"got {tuple(attention_mask.shape)}"
            )
        self.input_ids = input_ids.detach().to("cpu", torch.int64)
        self.attention_mask = attention_mask.detach().to("cpu", torch.int64)
        empty = (~self.attention_mask.any(dim=1)).nonzero()
        if len(empty):
            raise ValueError(
                f"data: attention_mask is 0 for all tokens of sequence {int(empty[0])}; leave such sequences "
                "out"
            )
        # Masks make attention slower; where nothing is padded they say nothing.
        self.padded = not bool(self.attention_mask.all())

    @classmethod
    def of(
        cls,
        data: Any,
        *,
        tokenizer: Callable[..., Any] | None = None,
        length: int = 256,
    ) -> Self:
        """Make them of what users have.

        Parameters
        ----------
        data : Sequences, Tensor, mapping, str, or sequence
            Token ids ``(n, L)``, or in one row ``(N,)``, which is cut into sequences; a mapping with
            ``input_ids`` and perhaps ``attention_mask``, as tokenizers give it, or a sequence of such; rows
            of token ids, padded on the right where their lengths differ; a text, which is cut into
            sequences, or several, each of which is one.
        tokenizer : callable, optional
            For texts: one of `transformers`, or a function from a text to a list of token ids.
        length : int, default 256
            Tokens in a sequence that is cut out of something longer.

        Returns
        -------
        Sequences
            On the CPU.

        Raises
        ------
        ValueError
            If nothing can be made of it; the message says what can.
        """
        count(length, "length", 2)
        if isinstance(data, Sequences):
            return cls(data.input_ids, data.attention_mask)
        if isinstance(data, Mapping):
            if "input_ids" not in data:
                raise ValueError(f"data: a mapping must have input_ids; it has {', '.join(map(str, data))}")
            mask = data.get("attention_mask")
            return cls(torch.as_tensor(data["input_ids"]), None if mask is None else torch.as_tensor(mask))
        if isinstance(data, str):
            return cls(_cut(torch.tensor(_tokens(tokenizer, data)), length))
        if not isinstance(data, Tensor) and hasattr(data, "__array__"):
            data = torch.as_tensor(data)
        if isinstance(data, Tensor):
            return cls(_cut(data, length) if data.ndim == 1 else data)
        if not isinstance(data, Sequence) or not data:
            raise ValueError(
                "data must be token ids (n, length), batches of a tokenizer, or texts with tokenizer=; "
                f"got {type(data).__name__ if data else 'nothing'}"
            )
        if all(isinstance(one, str) for one in data):
            return cls(*_padded([torch.tensor(_tokens(tokenizer, one)[:length]) for one in data]))
        if all(isinstance(one, Mapping) for one in data):
            parts = [cls.of(one) for one in data]
            rows = [
                row[: int(m.nonzero().max()) + 1] for p in parts for row, m in zip(*p._both(), strict=True)
            ]
            masks = [row[: int(row.nonzero().max()) + 1] for p in parts for row in p.attention_mask]
            return cls(_padded(rows)[0], _padded(masks)[0])
        return cls(*_padded([torch.as_tensor(one) for one in data]))

    def _both(self) -> tuple[Tensor, Tensor]:
        return self.input_ids, self.attention_mask

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def tokens(self) -> int:
        """Number of tokens, without padding."""
        return int(self.attention_mask.sum())

    def __getitem__(self, index: slice | Tensor) -> Sequences:
        return type(self)(self.input_ids[index], self.attention_mask[index])

    def check(self, plan: Blueprint) -> None:
        """Make sure that a model has all tokens, and positions for them.

        Parameters
        ----------
        plan : Blueprint
            Of the model.

        Raises
        ------
        ValueError
            If a token is beyond its vocabulary, or a sequence is longer than it can read.
        """
        most = int(self.input_ids.max())
        if most >= plan.vocabulary:
            raise ValueError(
                f"data: token ids must be below {plan.vocabulary}, the model's vocabulary; got {most}: is it "
                "the model's own tokenizer?"
            )
        if not plan.positions:
            return
        length, readable = self.input_ids.shape[1], plan.positions
        if plan.padding is not None:  # positions count other tokens alone, and begin after its number
            length = int((self.input_ids != plan.padding).sum(dim=1).max())
            readable -= plan.padding + 1
        if length > readable:
            raise ValueError(
                f"data: sequences must have at most {readable} tokens, as many as the model has positions "
                f"for; got {length}: give shorter ones, of texts by length={readable}"
            )

    def split(self, share: float) -> tuple[Sequences, Sequences]:
        """Hold the last sequences out.

        Parameters
        ----------
        share : float
            Of them; more than 0, less than 1. What is cut out of one text and held out follows on the rest of
            it, and is not strewn among it.

        Returns
        -------
        first, held_out : Sequences
            At least one in each.

        Raises
        ------
        ValueError
            If there is only one sequence, or the share is out of range.
        """
        if not 0 < share < 1:
            raise ValueError(f"held_out must be a share, more than 0 and less than 1; got {share!r}")
        if len(self) < 2:
            raise ValueError("data holds one sequence: give more, or shorter ones by a smaller length=")
        kept = min(max(1, round(len(self) * (1 - share))), len(self) - 1)
        return self[:kept], self[kept:]

    def batches(self, size: int, order: Tensor | None = None) -> Iterator[Batch]:
        """Give the arguments of a model's calls.

        Parameters
        ----------
        size : int
            Sequences in a batch; the last one may be smaller.
        order : Tensor of int64, optional
            Numbers of the sequences, by default all in turn.

        Yields
        ------
        dict of str to Tensor
            ``input_ids`` and, where anything is padded, ``attention_mask``, on the CPU.
        """
        ids, mask = self._both() if order is None else (self.input_ids[order], self.attention_mask[order])
        for begin in range(0, len(ids), size):
            batch = {"input_ids": ids[begin : begin + size]}
            if self.padded:
                batch["attention_mask"] = mask[begin : begin + size]
            yield batch

    @property
    def digest(self) -> str:
        """A fingerprint of all tokens: what journals and checkpoints know the data by."""
        content = hashlib.sha256()
        for part in self._both():
            content.update(str(tuple(part.shape)).encode())
            content.update(part.contiguous().numpy().astype("<i8").tobytes())
        return content.hexdigest()[:32]


def _tokens(tokenizer: Callable[..., Any] | None, text: str) -> list[int]:
    if tokenizer is None:
        raise ValueError("data holds text: give tokenizer=, a function from a text to a list of token ids")
    given = tokenizer(text)
    ids = given["input_ids"] if isinstance(given, Mapping) else given
    return [int(one) for one in ids]


def _cut(row: Tensor, length: int) -> Tensor:
    """Cut a row into sequences; what is left at the end is dropped."""
    whole = len(row) // length
    if not whole:
        raise ValueError(f"data has {len(row)} tokens, less than one sequence of length={length}")
    return row[: whole * length].reshape(whole, length)


def _padded(rows: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Pad rows on the right, and say where they are tokens."""
    if any(row.ndim != 1 or not len(row) for row in rows):
        raise ValueError("data: each sequence must be a row of token ids, with one at least")
    pad = torch.nn.utils.rnn.pad_sequence
    return pad(list(rows), batch_first=True), pad([torch.ones_like(row) for row in rows], batch_first=True)


# -- what models give ----------------------------------------------------------------------------------------


def logits_of(output: Any) -> Tensor | None:
    """Find scores in what a model gave.

    Parameters
    ----------
    output : object
        Of a model of `transformers` or a plain one.

    Returns
    -------
    Tensor or None
        ``(B, L, vocabulary)`` or ``(B, classes)``; None if the model has no head.
    """
    logits: Tensor | None = getattr(output, "logits", None)
    return logits


def vectors_of(output: Any, mask: Tensor | None) -> Tensor:
    """Average the last hidden states of a model without a head over the tokens of each sequence.

    Parameters
    ----------
    output : object
        With ``last_hidden_state`` ``(B, L, hidden)``.
    mask : Tensor, shape (B, L), or None
        1 for tokens.

    Returns
    -------
    Tensor, shape (B, hidden)
        One vector for each sequence.
    """
    states: Tensor = output.last_hidden_state
    if mask is None:
        return states.mean(dim=1)
    weights = mask.to(states.dtype)[..., None]
    return (states * weights).sum(dim=1) / weights.sum(dim=1).clamp_min(1)
