"""Texts as tasks take them: one row of tokens each, read in windows."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from nasx.tasks.batches import stream
from nasx.tasks.splits import check_part

__all__ = ["IGNORED", "TextBatch", "Windows", "alphabet_of", "encoded", "read_texts"]

TextBatch: TypeAlias = tuple[Tensor, Tensor]

IGNORED = -100
"""What stands in targets where nothing is to be predicted."""

_MASKS = 9  # number of the random stream that hides tokens when networks are measured


def read_texts(given: Mapping[str, Any]) -> dict[str, str | Tensor]:
    """Read splits: all of characters, or all of tokens.

    Parameters
    ----------
    given : mapping of str to str, path-like or array_like of int
        The splits by name.

    Returns
    -------
    dict of str to str or Tensor of int64, shape (n,)
        Files are read as UTF-8.

    Raises
    ------
    TypeError
        If some are characters and others are tokens.
    ValueError
        If an array does not hold integers of at least 0 in one row.
    """
    texts: dict[str, str | Tensor] = {}
    for name, data in given.items():
        if isinstance(data, os.PathLike):
            texts[name] = Path(data).read_text(encoding="utf-8")
        else:
            texts[name] = data if isinstance(data, str) else _tokens(name, data)
    if len({isinstance(text, str) for text in texts.values()}) > 1:
        raise TypeError(f"{', '.join(texts)} must all be texts, or all arrays of tokens; got some of each")
    return texts


def _tokens(name: str, data: Any) -> Tensor:
    array = data.detach().cpu().numpy() if isinstance(data, Tensor) else np.asarray(data)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(
            f"{name} must be a text, or integers of shape (n,), the numbers of tokens; got {array.dtype} of "
            f"shape {array.shape}"
        )
    if len(array) and int(array.min()) < 0:
        raise ValueError(f"{name}: tokens must be numbers of at least 0; got {int(array.min())}")
    return torch.from_numpy(array.astype(np.int64))  # a copy: what is done to the array changes no task


def alphabet_of(texts: Sequence[str]) -> tuple[str, ...]:
    """List the characters of texts, sorted."""
    return tuple(sorted(set().union(*texts)))


def encoded(text: str, alphabet: Sequence[str]) -> Tensor:
    """Write a text as numbers of characters.

    Parameters
    ----------
    text : str
        The text.
    alphabet : sequence of str
        All characters.

    Returns
    -------
    Tensor of int64, shape (n,)
        Their places in the alphabet.

    Raises
    ------
    ValueError
        If a character is not in it.

    Examples
    --------
    >>> encoded("bad", "abcd").tolist()
    [1, 0, 3]
    """
    places = {letter: place for place, letter in enumerate(alphabet)}
    try:
        return torch.tensor([places[letter] for letter in text], dtype=torch.int64)
    except KeyError as error:
        raise ValueError(f"text holds {error.args[0]!r}, which is not in the alphabet of the task") from None


class Windows:
    """The windows of some texts, in batches; every pass over it is the next epoch.

    In training, windows are shuffled, and where the first one begins differs from epoch to epoch, so that
    tokens come at all places. Else they lie side by side from the beginning, and what is left at a text's end
    is a shorter window of its own, so that every token but the first is predicted once.

    Parameters
    ----------
    texts : sequence of Tensor of int64, shape (n,)
        What to read; no window is of two texts.
    context : int
        Tokens in a window; texts are longer than this.
    batch_size : int
        Windows in a batch.
    seed : int
        Same seed and epoch, same batches.
    training : bool
        See above.
    device : torch.device
        Where batches are put.
    masked : float, optional
        Hide this share of the tokens of each window, at least one, and predict those; by default the next
        token of each is predicted.
    mask : int, optional
        The token that stands for hidden ones.
    part : tuple of float, optional
        Fractions ``(low, high)``: only this range of a random order of windows that lie side by side.

    Attributes
    ----------
    epoch : int
        Number of the next pass, from 0; set it to go on where an earlier run ended.

    Examples
    --------
    >>> windows = Windows([torch.arange(6)], context=4, batch_size=2, seed=0, training=False, device="cpu")
    >>> for inputs, targets in windows:
    ...     inputs.tolist(), targets.tolist()
    ([[0, 1, 2, 3]], [[1, 2, 3, 4]])
    ([[4]], [[5]])
    """

    def __init__(
        self,
        texts: Sequence[Tensor],
        *,
        context: int,
        batch_size: int,
        seed: int,
        training: bool,
        device: torch.device | str,
        masked: float | None = None,
        mask: int | None = None,
        part: tuple[float, float] | None = None,
    ) -> None:
        self.epoch = 0
        self._context, self._batch_size, self._seed, self._training = context, batch_size, seed, training
        self._masked, self._mask = masked, mask
        self._lengths = [len(text) for text in texts]
        self._text = torch.cat(list(texts)).to(device)
        self._chosen = None if part is None else self._part(part)

    def _part(self, part: tuple[float, float]) -> Tensor:
        low, high = check_part(part)
        starts = self._starts(None)
        order = torch.randperm(len(starts), generator=torch.Generator().manual_seed(stream(self._seed, 0, 2)))
        chosen = order[round(low * len(starts)) : round(high * len(starts))]
        if not len(chosen):
            raise ValueError(
                f"part={part!r} holds none of the {len(starts)} windows of {self._context} tokens; take a "
                "larger part"
            )
        return starts[chosen]

    def _starts(self, generator: torch.Generator | None) -> Tensor:
        """Say where whole windows begin; from random places, if there is a generator."""
        found, first = [], 0
        for length in self._lengths:
            begin = 0
            if generator is not None:
                most = min(self._context, length - self._context)
                begin = int(torch.randint(most, (), generator=generator))
            found.append(first + torch.arange(begin, length - self._context, self._context))
            first += length
        return torch.cat(found)

    def __iter__(self) -> Iterator[TextBatch]:
        """Give batches of tokens ``(B, T)`` and what is to be predicted at each, ``(B, T)``, both int64."""
        generator = torch.Generator().manual_seed(stream(self._seed, self.epoch))
        self.epoch += 1
        if self._training:
            starts = self._starts(generator) if self._chosen is None else self._chosen
            starts = starts[torch.randperm(len(starts), generator=generator)]
        else:
            # Networks are compared on the same hidden tokens.
            generator = torch.Generator().manual_seed(stream(0, 0, _MASKS))
            starts = self._starts(None) if self._chosen is None else self._chosen
        for chosen in torch.split(starts, self._batch_size):
            yield self._batch(chosen, self._context, generator)
        if not self._training and self._chosen is None:
            yield from self._rests(generator)

    def _rests(self, generator: torch.Generator) -> Iterator[TextBatch]:
        first = 0
        for length in self._lengths:
            rest = (length - 1) % self._context
            if rest:
                yield self._batch(torch.tensor([first + length - 1 - rest]), rest, generator)
            first += length

    def _batch(self, starts: Tensor, length: int, generator: torch.Generator) -> TextBatch:
        places = starts[:, None] + torch.arange(length)
        inputs = self._text[places.to(self._text.device)]
        if self._masked is None:
            return inputs, self._text[(places + 1).to(self._text.device)]
        hidden = max(1, round(self._masked * length))
        chosen = torch.rand(places.shape, generator=generator).argsort(1)[:, :hidden].to(inputs.device)
        targets = torch.full_like(inputs, IGNORED).scatter(1, chosen, inputs.gather(1, chosen))
        assert self._mask is not None
        return inputs.scatter(1, chosen, self._mask), targets
