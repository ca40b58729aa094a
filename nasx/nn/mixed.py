"""Mixed operations: several candidates of one layer, summed with architecture weights, or one of them run."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from nasx.nn.kernels import normalized_sums, shuffle_channels, split_channels, weighted_sum
from nasx.nn.layers import BatchNorm, keep_statistics
from nasx.nn.mixed_chains import as_one, is_watched, without_norm

__all__ = [
    "Choice",
    "MixedOp",
    "Pair",
    "PartialChannels",
    "Zero",
    "mix",
    "mix_each",
    "mixed_op",
    "recompute_operations",
]


class Pair(NamedTuple):
    """Two candidates, of which one is computed with its gradients and the other to see what it would give.

    The output is ``gates[0]`` times what the first gives plus ``gates[1]`` times what the other gives. With
    gates 1 and 0 it is the first one's, and the gates' gradients say what each would change.

    Parameters
    ----------
    taken, other : int
        Their indices.
    gates : Tensor of shape (2,)
        Their weights.

    References
    ----------
    H. Cai, L. Zhu and S. Han, "ProxylessNAS: Direct Neural Architecture Search on Target Task and Hardware",
    ICLR 2019.
    """

    taken: int
    other: int
    gates: Tensor


Choice: TypeAlias = Tensor | int | Pair
"""What runs of a mixed operation: weights ``(K,)`` of all candidates, the index of the only one, or two."""


class Zero(nn.Module):
    """The operation "none": zeros of the shape that an operation of this stride gives.

    Parameters
    ----------
    stride : int, default 1
        Height and width become ``ceil(size / stride)``.

    Examples
    --------
    >>> Zero(2)(torch.ones(1, 3, 7, 7)).shape
    torch.Size([1, 3, 4, 4])
    """

    def __init__(self, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to zeros ``(B, C, ceil(H / stride), ceil(W / stride))``."""
        return torch.zeros_like(x if self.stride == 1 else x[:, :, :: self.stride, :: self.stride])


def mix(operations: Sequence[nn.Module] | nn.ModuleList, choice: Choice, *args: Any, **kwargs: Any) -> Tensor:
    """Compute a weighted sum of what operations give, or what one of them gives.

    Parameters
    ----------
    operations : sequence of torch.nn.Module
        K candidates with outputs of one shape. A `Zero` costs nothing in a sum.
    choice : Tensor of shape (K,), int or Pair
        Their weights, the index of the only one to run, or two of which one has gradients.
    *args, **kwargs
        What operations are called with.

    Returns
    -------
    Tensor
        The sum, or the one output.

    Raises
    ------
    ValueError
        If there are not K weights.
    """
    if isinstance(choice, int):
        only: Tensor = operations[choice](*args, **kwargs)
        return only
    if isinstance(choice, Pair):
        taken = operations[choice.taken](*args, **kwargs)
        with torch.no_grad():  # nothing of it is kept but what it gives
            other = operations[choice.other](*args, **kwargs)
        return weighted_sum([taken, other], choice.gates)
    working, weights = _working(operations, choice)
    if not working:
        return mix(operations, 0, *args, **kwargs)
    if len(args) == 1 and not kwargs and isinstance(args[0], Tensor):
        found = as_one([(working, weights)], args[0])
        if found is not None:
            return found[0]
    terms, norms = [], []
    for operation in working:
        body, norm = without_norm(operation)
        terms.append(body(*args, **kwargs))
        norms.append(norm)
    return _add_up(terms, norms, weights)


def _working(
    operations: Sequence[nn.Module] | nn.ModuleList, choice: Tensor
) -> tuple[list[nn.Module], Tensor]:
    """List the operations that are no `Zero`, and their weights."""
    if len(choice) != len(operations):
        raise ValueError(
            f"choice must hold one weight for each of the {len(operations)} operations; got {len(choice)}"
        )
    every = list(operations)
    found = [k for k, operation in enumerate(every) if not isinstance(operation, Zero)]
    working = [every[k] for k in found]
    if not found or len(found) == len(every):
        return working, choice
    if len(found) == found[-1] - found[0] + 1:
        return working, choice[found[0] : found[-1] + 1]
    each = choice.unbind()
    return working, torch.stack([each[k] for k in found])


def _add_up(terms: list[Tensor], norms: list[BatchNorm | None], weights: Tensor) -> Tensor:
    """Compute the weighted sum of terms, of which some are still to be normalised."""
    epsilons = {norm.eps for norm in norms if norm is not None}
    if len(epsilons) != 1 or terms[0].dim() != 4 or not normalized_sums.takes(terms, weights):
        return weighted_sum(
            [term if norm is None else norm(term) for term, norm in zip(terms, norms, strict=True)], weights
        )
    total, means, variances = normalized_sums.normalized_sum(
        terms, [norm is not None for norm in norms], weights, epsilons.pop()
    )
    rows = [(norm, row) for row, norm in enumerate(norms) if norm is not None]
    keep_statistics(rows, means, variances, total.numel() // total.shape[1])
    return total


class MixedOp(nn.Module):
    """Candidate operations, of which a weighted sum or a single one is computed.

    Given weights ``w``, the output is the sum of ``w[k] * operation_k(x)``; the gradient of ``w[k]`` is the
    inner product of the output's gradient and ``operation_k(x)``. A `Zero` takes part in the weights and
    costs nothing. Given an index, only that operation runs: time, memory and gradients of one path.

    Parameters
    ----------
    operations : mapping of str to torch.nn.Module
        The candidates by name, all with outputs of one shape.

    Attributes
    ----------
    recompute : bool
        Whether a weighted sum keeps its input only, and is computed again in the backward pass, with the same
        random numbers. False at first. Not where ``torch.compile`` traces, which decides that itself.

    Raises
    ------
    ValueError
        If there are none.

    References
    ----------
    H. Liu, K. Simonyan and Y. Yang, "DARTS: Differentiable Architecture Search", ICLR 2019.

    Examples
    --------
    >>> mixed = MixedOp({"skip": nn.Identity(), "none": Zero(), "relu": nn.ReLU()})
    >>> mixed(torch.tensor([-1.0, 1.0]), torch.tensor([0.5, 0.3, 0.2]))
    tensor([-0.5000,  0.7000])
    >>> mixed(torch.tensor([-1.0, 1.0]), 2)
    tensor([0., 1.])
    """

    def __init__(self, operations: Mapping[str, nn.Module]) -> None:
        super().__init__()
        if not operations:
            raise ValueError("operations must hold at least one candidate; got none")
        self.names = tuple(operations)
        self.recompute = False
        # A list: names of the caller's need not be names of attributes.
        self.operations = nn.ModuleList(operations.values())

    def forward(self, x: Any, choice: Choice, *more: Any, **named: Any) -> Tensor:
        """Compute the weighted sum, or the one operation that `choice` is the index of.

        Parameters
        ----------
        x : Tensor
            What operations are called with.
        choice : Tensor of shape (K,), or int
            Their weights, or the index of the only one to run.
        *more, **named
            What else they are called with.

        Returns
        -------
        Tensor
            The sum, or the one output.
        """
        if not (self.recompute and isinstance(choice, Tensor) and torch.is_grad_enabled()):
            return mix(self.operations, choice, x, *more, **named)
        if torch.compiler.is_compiling():
            return mix(self.operations, choice, x, *more, **named)
        if isinstance(x, Tensor) and not more and not named:
            working, weights = _working(self.operations, choice)
            again = functools.partial(_compute_again, [self])
            found = as_one([(working, weights)], x, recompute=True, run=again)
            if found is not None:
                return found[0]
        total: Tensor = _compute_again(
            [self], functools.partial(mix, self.operations, **named), choice, x, *more
        )
        return total

    def extra_repr(self) -> str:
        """Name the candidates."""
        return ", ".join(self.names)


def mix_each(mixed: Sequence[nn.Module], choices: Sequence[Choice], x: Tensor) -> list[Tensor]:
    """Compute mixed operations of one input, and once what is the same in several of them.

    What they give may be one function: a backward pass through one of them goes through all.

    Parameters
    ----------
    mixed : sequence of torch.nn.Module
        M of `MixedOp` or `PartialChannels`.
    choices : sequence of Tensor, int or Pair
        What runs of each.
    x : Tensor
        The input of all.

    Returns
    -------
    list of Tensor
        What each gives.

    Examples
    --------
    >>> mixed = [MixedOp({"skip": nn.Identity()}), MixedOp({"relu": nn.ReLU()})]
    >>> mix_each(mixed, [torch.ones(1), 0], torch.tensor([-1.0]))
    [tensor([-1.]), tensor([0.])]
    """
    each = list(zip(mixed, choices, strict=True))
    first = mixed[0] if mixed else None
    if isinstance(first, PartialChannels) and all(first.splits_as(one) for one in mixed):
        part, rest = first.split(x)
        inner = [one.mixed for one in mixed if isinstance(one, PartialChannels)]
        return [shuffle_channels(one, rest, first.portion) for one in mix_each(inner, choices, part)]
    places, groups = [], []
    for place, (one, choice) in enumerate(each):
        if type(one) is MixedOp and isinstance(choice, Tensor) and not is_watched([one]):
            places.append(place)
            groups.append(_working(one.operations, choice))
    again = {bool(mixed[place].recompute) for place in places}
    if len(places) < 2 or len(again) > 1 or not all(working for working, _ in groups):
        return [one(x, choice) for one, choice in each]
    if again.pop() and torch.is_grad_enabled():
        run = functools.partial(_compute_again, [mixed[place] for place in places])
        found = as_one(groups, x, recompute=True, run=run)
    else:
        found = as_one(groups, x)
    totals = dict(zip(places, found or [], strict=found is not None))
    return [totals[place] if place in totals else one(x, choice) for place, (one, choice) in enumerate(each)]


def _compute_again(networks: Sequence[nn.Module], function: Callable[..., Any], *args: Any) -> Any:
    """Call a function, and again in the backward pass, of which nothing is kept till then.

    What it changes in the buffers of these networks it changes once.
    """
    return checkpoint(
        function,
        *args,
        use_reentrant=False,
        context_fn=lambda: (contextlib.nullcontext(), _buffers_put_back(networks)),
    )


@contextlib.contextmanager
def _buffers_put_back(networks: Sequence[nn.Module]) -> Iterator[None]:
    """Compute what was computed before: running statistics have followed that batch already."""
    before = [(buffer, buffer.clone()) for network in networks for buffer in network.buffers()]
    try:
        yield
    finally:
        for buffer, old in before:
            buffer.data.copy_(old)  # unseen by autograd, which may hold it for the backward pass


def recompute_operations(network: nn.Module, on: bool) -> None:
    """Say whether the mixed operations of a network are computed again in the backward pass.

    Parameters
    ----------
    network : torch.nn.Module
        All `MixedOp` in it are told, but those in which others lie: these know what to run only while the
        network's forward pass lasts.
    on : bool
        Their `MixedOp.recompute`.

    Examples
    --------
    >>> mixed = MixedOp({"relu": nn.ReLU()})
    >>> recompute_operations(nn.Sequential(mixed), True)
    >>> mixed.recompute
    True
    """
    for module in network.modules():
        if isinstance(module, MixedOp):
            module.recompute = on and not any(
                isinstance(inner, MixedOp) and inner is not module for inner in module.modules()
            )


def mixed_op(
    operations: Callable[[int], Mapping[str, nn.Module]], channels: int, *, portion: int = 1, stride: int = 1
) -> MixedOp | PartialChannels:
    """Make a mixed operation on all channels, or on one of so many parts of them.

    Parameters
    ----------
    operations : callable
        Gives the candidates for a number of channels.
    channels : int
        Of the input.
    portion : int, default 1
        K of PC-DARTS; it divides the channels.
    stride : int, default 1
        That of the candidates.

    Returns
    -------
    MixedOp or PartialChannels
        The second if there is more than one part.
    """
    mixed = MixedOp(operations(channels // portion))
    return mixed if portion == 1 else PartialChannels(mixed, portion, stride=stride)


class PartialChannels(nn.Module):
    """A mixed operation on the first of `portion` parts of the channels; the others pass by.

    What passes by is max-pooled at stride 2. The channels are then shuffled between `portion` groups, so that
    the next layer's operations see others.

    Parameters
    ----------
    mixed : MixedOp
        Operations on ``C // portion`` channels.
    portion : int
        K of the paper.
    stride : int, default 1
        1 or 2, as that of the operations.

    References
    ----------
    Y. Xu et al., "PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search", ICLR 2020.

    Examples
    --------
    >>> layer = PartialChannels(MixedOp({"relu": nn.ReLU()}), 2)
    >>> layer(torch.full((1, 4, 1, 1), -1.0), torch.ones(1)).flatten().tolist()
    [0.0, -1.0, 0.0, -1.0]
    """

    def __init__(self, mixed: MixedOp, portion: int, *, stride: int = 1) -> None:
        super().__init__()
        self.mixed, self.portion, self.stride = mixed, portion, stride

    @property
    def operations(self) -> nn.ModuleList:
        """The mixed operation's candidates."""
        return self.mixed.operations

    def splits_as(self, other: nn.Module) -> bool:
        """Whether another layer of this kind would split an input in the same way, and nobody watches it."""
        return (
            type(other) is PartialChannels
            and (other.portion, other.stride) == (self.portion, self.stride)
            and not is_watched([other])
        )

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Give the operations' input, and what passes by."""
        part, rest = split_channels(x, x.shape[1] // self.portion)
        if self.stride == 2:
            rest = F.max_pool2d(rest, 2, ceil_mode=True)
        return part, rest

    def forward(self, x: Tensor, choice: Choice, *args: Any, **kwargs: Any) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C, ceil(H / stride), ceil(W / stride))``; K divides C.

        What else candidates take, they are given as it is.
        """
        part, rest = self.split(x)
        return shuffle_channels(self.mixed(part, choice, *args, **kwargs), rest, self.portion)
