"""`ModuleSupernet`: a module with choices that computes all of its networks at once."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Mapping
from typing import Any

from torch import nn

from nasx.architecture import Architecture
from nasx.nn.choices import InputChoice, LayerChoice
from nasx.nn.found_choices import decisions, find_choices, replaced
from nasx.nn.mixed import PartialChannels
from nasx.nn.parts import Part, joined, row_cells
from nasx.nn.sizes import Elastic, no_mixture
from nasx.nn.supernet import EdgeChoices, Supernet, refuse_partial
from nasx.space import Genotypes, Space

__all__ = ["ModuleSupernet"]

_SKIPS = ("skip", "skip_connect", "identity")


class ModuleSupernet(Supernet):
    """All networks of a module with choices in one: layers are sums of their candidates, inputs are weighted.

    Every decision is a group with one row of architecture parameters: one for each candidate of a
    `LayerChoice`, one for each input of an `InputChoice`. It is called with what the module is called with.
    Sizes (`Elastic`) have no weighted sum: with any, it runs one architecture at a time, within `path`.

    Parameters
    ----------
    space : Space
        The module's space: one with its decisions.
    network : torch.nn.Module
        The module; it becomes part of the supernet.
    partial_channels : int, default 1
        K of PC-DARTS: layer choices that know their ``channels`` work on one of K parts of them.

    Attributes
    ----------
    network : torch.nn.Module
        The module.

    Raises
    ------
    ValueError
        If `partial_channels` is not a positive integer or does not divide the channels of a choice, or the
        module has other choices than the space.

    Notes
    -----
    Choices know what to run only while `forward` does: what recomputes layers later, such as
    ``torch.utils.checkpoint``, cannot be around one.

    Examples
    --------
    >>> import nasx, torch
    >>> network = nn.Sequential(nn.Linear(2, 2), LayerChoice({"relu": nn.ReLU(), "skip": nn.Identity()}))
    >>> space = nasx.space_of(network)
    >>> supernet = space.supernet()
    >>> supernet(torch.ones(1, 2)).shape
    torch.Size([1, 2])
    >>> supernet.logits["1"].data = torch.tensor([[0.0, 1.0]])
    >>> supernet.extract(space.decode(supernet.derive()))
    Sequential(
      (0): Linear(in_features=2, out_features=2, bias=True)
      (1): Identity()
    )
    """

    def __init__(self, space: Space, network: nn.Module, *, partial_channels: int = 1) -> None:
        whole = isinstance(partial_channels, int) and not isinstance(partial_channels, bool)
        if not whole or partial_channels < 1:
            raise ValueError(f"partial_channels must be a positive integer; got {partial_channels!r}")
        if partial_channels > 1:
            network = _on_parts(network, partial_channels)
        found = find_choices(network)
        if decisions(found) != space.decisions:
            raise ValueError(
                f"network has other choices than its space: {decisions(found)} and {space.decisions}; "
                "functions of a number of channels must make the same choices for any"
            )
        super().__init__(space, {one.name: (1, one.module.weights) for one in found})
        self.network = network
        self.partial_channels = partial_channels
        # As the network holds them, so that they are copied with it; each once, wherever it stands.
        places = {id(one.module): (one.name, one.module) for one in found}
        self._places = tuple(places.values())
        where = next(network.parameters(), None)
        if where is not None:
            self.logits.to(where.device)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute what the module does, with what `current` says in the places of its choices.

        Raises
        ------
        ValueError
            If sizes are to be decided and no architecture is chosen: they have no mixture.
        """
        current = self.current()
        if self._path is None:
            for name, module in self._places:
                if isinstance(module, Elastic):
                    raise ValueError(no_mixture(name))
        try:
            for name, module in self._places:
                (module.choice,) = current[name].choices
            return self.network(*args, **kwargs)
        finally:
            for _, module in self._places:
                module.choice = None

    @property
    def columns(self) -> dict[str, tuple[str, ...]]:
        """What the columns of each group of `logits` stand for: candidates, sizes, or numbers of inputs."""
        return {
            name: tuple(map(str, range(module.weights)))
            if isinstance(module, InputChoice)
            else module.choices
            for name, module in self._places
        }

    @property
    def parts(self) -> list[Part]:
        """What architectures choose independently of each other, and by which parameters."""
        rows = dict(zip(self.logits, row_cells([(1, r.shape[1]) for r in self.logits.values()]), strict=True))
        taken = {name: module.takes for name, module in self._places}
        return joined(self.space, [rows[name][taken[name], 0] for name in self.space])

    def choices_of(self, architecture: Architecture) -> dict[str, EdgeChoices]:
        """Say which choice an architecture takes: decision -> its index, or None where it is inactive.

        Raises
        ------
        ValueError
            If the architecture is of another space.
        """
        indices = self._checked(architecture).genotype.tolist()
        return {
            name: EdgeChoices((index if index >= 0 else None,))
            for name, index in zip(self.space, indices, strict=True)
        }

    def derive(self) -> Genotypes:
        """Find the architecture that the parameters say is best: its genotype ``(d,)``.

        Each decision takes the candidate, or the inputs, of largest weight.
        """
        modules, best = dict(self._places), {}
        for name, row in self.strengths().items():
            module = modules[name]
            best[name] = module.values[module.choices.index(module.strongest(row[0].tolist()))]
        return self.space.encode(best)

    def extract(self, architecture: Architecture) -> nn.Module:
        """Make an architecture's network with copies of the shared weights.

        Returns
        -------
        torch.nn.Module
            A copy of the module with the chosen candidates in the places of choices.

        Raises
        ------
        ValueError
            If layers work on a part of the channels: a whole network's weights are not in the supernet. Or if
            the architecture is of another space.
        """
        if any(isinstance(m, LayerChoice) and isinstance(m.mixed, PartialChannels) for _, m in self._places):
            refuse_partial(self.partial_channels)
        return replaced(self.network, _chosen(self._checked(architecture)))

    def skips(self, architecture: Architecture) -> tuple[int, int]:
        """Count the layer choices that chose to do nothing, and all that the architecture has.

        Nothing is done by ``torch.nn.Identity``, and by what is named "skip", "skip_connect" or "identity".
        """
        chosen = _chosen(self._checked(architecture))
        layers: dict[int, bool] = {}
        for module, name, when in find_choices(self.network):
            if isinstance(module, LayerChoice) and all(chosen.get(o) == c for o, c in when.items()):
                choice = chosen[name]
                layers[id(module)] = choice in _SKIPS or isinstance(module.chosen(choice), nn.Identity)
        return sum(layers.values()), len(layers)

    def _checked(self, architecture: Architecture) -> Architecture:
        if architecture.space != self.space:
            raise ValueError("architecture is of another space than this supernet")
        return architecture


def _chosen(architecture: Architecture) -> Mapping[str, str]:
    return {name: str(choice) for name, choice in architecture.items()}


def _on_parts(network: nn.Module, portion: int) -> nn.Module:
    """Copy a network with layer choices that work on a part of the channels, where they can."""
    memo: dict[int, Any] = {}
    parts: set[str] = set()
    whole: dict[str, None] = {}
    for module, name, when in find_choices(network):
        # What is within a candidate on part of the channels is made with it.
        if not isinstance(module, LayerChoice) or parts.intersection(when):
            continue
        if module.channels is None:
            whole[name] = None
            continue
        if module.channels % portion:
            raise ValueError(
                f"partial_channels must divide the channels of choice {name!r}, {module.channels}; "
                f"got {portion}"
            )
        parts.add(name)
        if id(module) not in memo:
            memo[id(module)] = _placed(module.on_part(portion), module)
    if whole:
        warnings.warn(
            f"choices {list(whole)} work on all channels: they were not given channels= and functions of it",
            UserWarning,
            stacklevel=4,  # who called the space's supernet()
        )
    return copy.deepcopy(network, memo)


def _placed(new: nn.Module, old: nn.Module) -> nn.Module:
    """Put a module where another one is, in its mode."""
    like = next(old.parameters(), None)
    return new.train(old.training) if like is None else new.to(like.device, like.dtype).train(old.training)
