"""`rank`: which channels, heads, neurons and layers of a transformer matter, by its activations."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from nasx._arguments import count
from nasx.compression.calibration import Batch, Sequences
from nasx.compression.families import Family, family_of
from nasx.compression.shapes import Order

__all__ = ["Ranking", "as_family", "evaluating", "rank"]

_Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True, eq=False)
class Ranking:
    """What `rank` found: the larger a number, the more it matters.

    Parameters
    ----------
    hidden : ndarray of float64, shape (hidden,)
        For each channel, the mean magnitude of what the norms give, over all of them.
    heads : tuple of ndarray of float64, each of shape (heads,)
        For each layer and query head, the energy of the output projection's input: the sum of squares over
        the head's channels, averaged over tokens.
    mlp : tuple of ndarray of float64, each of shape (mlp,)
        For each layer and neuron, the energy of the down projection's input: the mean of its square.
    layers : ndarray of float64, shape (layers,)
        For each layer, 1 less the mean cosine of what goes in and what comes out.
    groups : tuple of int
        For each layer, how many groups its heads are in.
    """

    hidden: _Floats
    heads: tuple[_Floats, ...]
    mlp: tuple[_Floats, ...]
    layers: _Floats
    groups: tuple[int, ...]

    @property
    def order(self) -> Order:
        """What matters comes first: heads within their groups, and groups by the sum over their heads."""
        return Order(
            hidden=_descending(self.hidden),
            heads=[
                _by_group(energies, groups) for energies, groups in zip(self.heads, self.groups, strict=True)
            ],
            mlp=[_descending(energies) for energies in self.mlp],
        )

    @property
    def depth_order(self) -> list[int]:
        """The layers' numbers, those that change their input most first."""
        return _descending(self.layers)

    def lost(self, layer: int) -> tuple[_Floats, _Floats]:
        """Say how much of a layer's energy is left out when parts go in the ranking's order.

        Parameters
        ----------
        layer : int
            Its number.

        Returns
        -------
        heads : ndarray of float64, shape (groups + 1, heads / groups + 1)
            The share that goes with all but the first so many groups, and in each all but so many heads.
        mlp : ndarray of float64, shape (mlp + 1,)
            The share that goes with all but so many neurons: 1 with none of them left, 0 with all.
        """
        ordered = np.sort(self.mlp[layer])[::-1]
        mlp = 1 - np.concatenate([[0.0], np.cumsum(ordered)]) / (ordered.sum() or 1.0)
        energies = self.heads[layer]
        rows = energies[_by_group(energies, self.groups[layer])].reshape(self.groups[layer], -1)
        kept = np.zeros((rows.shape[0] + 1, rows.shape[1] + 1))
        kept[1:, 1:] = rows.cumsum(axis=0).cumsum(axis=1)
        return np.clip(1 - kept / (rows.sum() or 1.0), 0, 1), np.clip(mlp, 0, 1)


def rank(model: nn.Module | Family, data: Any, *, batch_size: int = 8) -> Ranking:
    """Find what of a transformer matters, by what it computes on a few hundred sequences.

    Parameters
    ----------
    model : torch.nn.Module
        One of those that `nasx.compress` takes. It stays as it is.
    data : Sequences or what `Sequences.of` takes
        A few hundred sequences of the text that it is for; padding does not count.
    batch_size : int, default 8
        Sequences at a time.

    Returns
    -------
    Ranking
        ``model`` can be sorted by its ``order``.

    Raises
    ------
    TypeError
        If the model is of another kind.
    ValueError
        If the model cannot read a token or a whole sequence, or what it computes is not finite.

    Notes
    -----
    One forward pass. Importance by activations is from [1]_; that layers matter by how much they turn their
    input, from [2]_.

    References
    ----------
    .. [1] S. Muralidharan et al., "Compact Language Models via Pruning and Knowledge Distillation", NeurIPS
       2024.
    .. [2] X. Men et al., "ShortGPT: Layers in Large Language Models are More Redundant Than You Expect",
       2024.

    Examples
    --------
    >>> import torch, transformers
    >>> config = transformers.LlamaConfig(
    ...     vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4,
    ...     num_key_value_heads=2,
    ... )
    >>> model = transformers.LlamaForCausalLM(config)
    >>> ranking = rank(model, torch.randint(50, (8, 12)))
    >>> ranking.hidden.shape, len(ranking.mlp), ranking.mlp[0].shape
    ((16,), 2, (24,))
    """
    family = as_family(model)
    sequences = Sequences.of(data)
    sequences.check(family.plan)
    count(batch_size, "batch_size")
    sums = _Sums(family)
    place = next(family.model.parameters()).device
    with evaluating(family.model), sums.watching(), torch.no_grad():
        for batch in sequences.batches(batch_size):
            sums.begin(batch)
            family.model(**{name: value.to(place) for name, value in batch.items()})
    return sums.ranking(sequences.tokens)


def as_family(model: nn.Module | Family) -> Family:
    """Find out what kind of transformer a model is, if that is not known yet.

    Parameters
    ----------
    model : torch.nn.Module or Family
        One of those that `nasx.compress` takes.

    Returns
    -------
    Family
        Around it.

    Raises
    ------
    TypeError
        If it is of another kind.
    """
    return model if isinstance(model, Family) else family_of(model)


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into evaluation mode, and each part of it back into its own at the end.

    Parameters
    ----------
    model : torch.nn.Module
        The model.
    """
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


class _Sums:
    """Sums over tokens, gathered by hooks."""

    def __init__(self, family: Family) -> None:
        self._family = family
        layers = len(family.shape.layers)
        self._hidden: Any = 0.0
        self._heads: list[Any] = [0.0] * layers
        self._mlp: list[Any] = [0.0] * layers
        self._cosines: list[Any] = [0.0] * layers
        self._mask: Tensor | None = None

    def begin(self, batch: Batch) -> None:
        """Say which tokens of the next pass count."""
        self._mask = batch.get("attention_mask")

    def _rows(self, x: Tensor) -> Tensor:
        """Give tokens' vectors ``(tokens, width)``, in double precision: there are many of them to add up."""
        x = x.detach()
        return x.flatten(0, -2).double() if self._mask is None else x[self._mask.bool().to(x.device)].double()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Hold hooks on all parts of the model."""
        with contextlib.ExitStack() as stack:

            def on(module: nn.Module, hook: Callable[..., None]) -> None:
                stack.callback(module.register_forward_hook(hook, with_kwargs=True).remove)

            for i in range(len(self._heads)):
                parts = self._family.layer_parts(i)
                on(parts.attention_output, self._energy(self._heads, i))
                on(parts.mlp_output, self._energy(self._mlp, i))
                on(parts.layer, self._cosine(i))
                for norm in parts.norms:
                    on(norm, self._norm)
            for norm in self._family.other_norms():
                on(norm, self._norm)
            yield

    def _energy(self, sums: list[Any], i: int) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], __: Any) -> None:
            sums[i] = sums[i] + self._rows(_first(args, kwargs)).square().sum(0)

        return hook

    def _norm(self, _: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Tensor) -> None:
        self._hidden = self._hidden + self._rows(output).abs().sum(0)

    def _cosine(self, i: int) -> Callable[..., None]:
        def hook(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            given = output[0] if isinstance(output, tuple) else output
            taken = self._rows(_first(args, kwargs))
            self._cosines[i] = (
                self._cosines[i] + nn.functional.cosine_similarity(taken, self._rows(given), dim=-1).sum()
            )

        return hook

    def ranking(self, tokens: int) -> Ranking:
        """Turn sums into means."""
        norms = len(self._heads) * 2 + len(self._family.other_norms())
        width, groups = self._family.head_dim, []
        heads, mlp = [], []
        for energies, neurons, layer in zip(self._heads, self._mlp, self._family.shape.layers, strict=True):
            assert layer is not None
            heads.append(_array(energies.unflatten(0, (-1, width)).sum(1) / tokens))
            mlp.append(_array(neurons / tokens))
            groups.append(layer.groups)
        layers = 1 - np.array([float(one) for one in self._cosines]) / tokens
        found = Ranking(
            _array(self._hidden / (tokens * norms)), tuple(heads), tuple(mlp), layers, tuple(groups)
        )
        if not all(np.isfinite(part).all() for part in (found.hidden, *heads, *mlp, layers)):
            raise ValueError("model: what it computes on data is not finite; check its weights and its dtype")
        return found


def _first(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Give what a module was called with first, by place or by the name that transformers' layers have."""
    given: Tensor = args[0] if args else kwargs["hidden_states"]
    return given


def _array(values: Tensor) -> _Floats:
    return np.asarray(values.cpu().numpy(), np.float64)


def _descending(values: _Floats) -> list[int]:
    """Places of values, the largest first; of equal ones the first."""
    return np.argsort(-values, kind="stable").tolist()  # type: ignore[no-any-return]


def _by_group(energies: _Floats, groups: int) -> list[int]:
    """Numbers of heads: the groups of most energy first, and in each the heads of most."""
    if not groups:
        return []
    rows = energies.reshape(groups, -1)
    each = rows.shape[1]
    return [
        group * each + head for group in _descending(rows.sum(axis=1)) for head in _descending(rows[group])
    ]
