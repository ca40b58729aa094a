"""`ModuleSpace`: the networks that a user's own module with choices stands for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING

from nasx.errors import require
from nasx.space import Space

if TYPE_CHECKING:
    from torch import nn

    from nasx.architecture import Architecture
    from nasx.nn import ModuleSupernet
    from nasx.tasks.base import TaskSpec

__all__ = ["ModuleSpace", "space_of"]


class ModuleSpace(Space):
    """The search space of a module with `nasx.nn.LayerChoice`, `nasx.nn.InputChoice` and elastic layers.

    Each choice is a decision, named by its `name` or by its path in the module; choices within a candidate
    are decided only where that is chosen. Networks are plain copies of the module, in which the chosen
    candidates stand in the places of the choices, and plain layers in those of elastic ones.

    Parameters
    ----------
    network : torch.nn.Module, or callable
        A module: networks begin with copies of its weights, such as pretrained ones. Or a function without
        arguments that makes one, such as its class: networks are freshly initialised. Take a function to
        train networks from scratch, and for worker processes: it is all that is sent to them. It must make
        the same choices whenever it is called.

    Raises
    ------
    ValueError
        If the module has no choices, or those of one name do not fit together.
    TypeError
        If `network` is neither a module nor a function that makes one.
    nasx.errors.MissingDependencyError
        If torch is not installed.

    Examples
    --------
    >>> from torch import nn
    >>> from nasx.nn import LayerChoice
    >>> class Network(nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.first = nn.Linear(4, 8)
    ...         self.middle = LayerChoice({"relu": nn.ReLU(), "linear": nn.Linear(8, 8)})
    ...
    ...     def forward(self, x):
    ...         return self.middle(self.first(x))
    >>> space = ModuleSpace(Network)
    >>> space.decisions
    {'middle': Categorical(['relu', 'linear'])}
    >>> space.decode([0]).build()
    Network(
      (first): Linear(in_features=4, out_features=8, bias=True)
      (middle): ReLU()
    )
    """

    needs_spec = False

    def __init__(self, network: nn.Module | Callable[[], nn.Module]) -> None:
        torch = require("torch", "nasx.space_of", "torch")
        from nasx.nn.found_choices import decisions, find_choices

        self.network = network
        # The weights are not used: a function is called again for each network.
        with torch.random.fork_rng(devices=[]):
            found = find_choices(self._made())
        if not found:
            raise ValueError(
                "network has no choices: put nasx.nn.LayerChoice, nasx.nn.InputChoice or layers with an "
                "nasx.nn.Elastic size into it, as an attribute or in a torch.nn.ModuleList; a plain list "
                "hides them"
            )
        super().__init__(decisions(found))

    def _made(self) -> nn.Module:
        """Give the module, or a fresh one."""
        from torch import nn

        if isinstance(self.network, nn.Module):
            return self.network
        if not callable(self.network):
            raise TypeError(
                f"network must be a torch.nn.Module, or a function that makes one; got {self.network!r}"
            )
        module = self.network()
        if not isinstance(module, nn.Module):
            raise TypeError(f"network() must return a torch.nn.Module; got {module!r}")
        return module

    def _fitting(self) -> nn.Module:
        """Give the module, or a fresh one, if it still makes this space."""
        from nasx.nn.found_choices import decisions, find_choices

        module = self._made()
        found = decisions(find_choices(module))
        if found != self.decisions:
            raise ValueError(
                f"network has other choices than its space: {found} and {self.decisions}; a function that "
                "makes it must always make the same ones, and a module must stay as it is"
            )
        return module

    def build(self, architecture: Architecture, spec: TaskSpec | None = None) -> nn.Module:
        """Make the network of an architecture: a copy of the module with the chosen candidates.

        Parameters
        ----------
        architecture : Architecture
            One of this space.
        spec : TaskSpec, optional
            Not used: the module knows its inputs and outputs.

        Returns
        -------
        torch.nn.Module
            Without any choice in it. It has copies of the module's weights, or is freshly initialised from
            torch's random state if the space was made of a function.

        Raises
        ------
        ValueError
            If the network has other choices by now.
        """
        from nasx.nn.found_choices import replaced

        return replaced(self._fitting(), {name: str(choice) for name, choice in architecture.items()})

    def supernet(
        self,
        spec: TaskSpec | None = None,
        *,
        partial_channels: int = 1,
        edge_normalization: bool = False,
    ) -> ModuleSupernet:
        """Make the module that mixes all candidates.

        Parameters
        ----------
        spec : TaskSpec, optional
            Not used.
        partial_channels : int, default 1
            K of PC-DARTS: layer choices that were given ``channels`` have freshly initialised candidates for
            one of K parts of the channels, the others pass by. Other layer choices work on all channels, with
            a warning.
        edge_normalization : bool, default False
            Makes no difference: the weights of an `nasx.nn.InputChoice` are already those of its inputs.

        Returns
        -------
        nasx.nn.ModuleSupernet
            With copies of the module's weights, or freshly initialised if the space was made of a function.

        Raises
        ------
        ValueError
            If `partial_channels` does not divide the channels of a choice, or the network has other choices
            by now.
        """
        from nasx.nn import ModuleSupernet

        module = self._fitting()
        if module is self.network:
            module = copy.deepcopy(module)
        return ModuleSupernet(self, module, partial_channels=partial_channels)

    def __repr__(self) -> str:
        name = getattr(self.network, "__name__", type(self.network).__name__)
        return f"ModuleSpace({name}, {self.decisions!r})"


def space_of(network: nn.Module | Callable[[], nn.Module]) -> ModuleSpace:
    """Make the search space of a module with choices in it.

    Parameters
    ----------
    network : torch.nn.Module, or callable
        The module, or a function without arguments that makes one; `nasx.spaces.ModuleSpace` says when to
        take which.

    Returns
    -------
    nasx.spaces.ModuleSpace
        A space for any strategy.

    Raises
    ------
    ValueError
        If the module has no choices, or those of one name do not fit together.

    Examples
    --------
    >>> from torch import nn
    >>> from nasx.nn import LayerChoice
    >>> space_of(nn.Sequential(LayerChoice([nn.ReLU(), nn.GELU()]))).decisions
    {'0': Categorical(['ReLU', 'GELU'])}
    """
    return ModuleSpace(network)
