"""The choices of a network: where they are, the decisions that they make, and networks with all decided."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from torch import nn

from nasx.decisions import Choice as Value
from nasx.nn.choices import ElasticModule, LayerChoice, ModuleChoice
from nasx.space import Decision

__all__ = ["FoundChoice", "decisions", "find_choices", "replaced"]


class FoundChoice(NamedTuple):
    """A choice in a network.

    Parameters
    ----------
    module : ModuleChoice
        The choice.
    name : str
        Its decision.
    when : dict of str to str
        The decisions around it, and the choice of each that it is part of.
    """

    module: ModuleChoice
    name: str
    when: dict[str, str]


def find_choices(network: nn.Module) -> list[FoundChoice]:
    """Find the choices in a network, each before those within its candidates.

    Parameters
    ----------
    network : torch.nn.Module
        Any module.

    Returns
    -------
    list of FoundChoice
        In the order of the modules; one that stands in several places is there for each of them, under the
        name of the first.

    Raises
    ------
    ValueError
        If a choice is within a candidate of a choice of the same name.
    """
    found: list[FoundChoice] = []
    paths: dict[int, str] = {}

    def name_of(module: ModuleChoice, path: str) -> str:
        return module.name or paths.setdefault(id(module), path or "choice")

    def visit(module: nn.Module, path: str, when: dict[str, str]) -> None:
        if not isinstance(module, ModuleChoice):
            for key, child in module.named_children():
                inner = f"{path}.{key}" if path else key
                needed = module.needed_for(key) if isinstance(module, ElasticModule) else None
                if needed is None:
                    visit(child, inner, when)
                    continue
                name = name_of(needed[0], path)
                for choice in needed[1]:
                    if when.get(name, choice) == choice:  # it may be decided around it
                        visit(child, inner, {**when, name: choice})
            return
        name = name_of(module, path)
        if name in when and isinstance(module, LayerChoice):
            raise ValueError(
                f"choice {name!r} is within its own candidate {when[name]!r}; give the inner one another name"
            )
        # A depth may be that of layers within, too: it is decided outside.
        found.append(FoundChoice(module, name, {o: choice for o, choice in when.items() if o != name}))
        if isinstance(module, LayerChoice):
            for choice in module.choices:
                inner = f"{path}.{choice}" if path else choice
                visit(module.chosen(choice), inner, {**when, name: choice})

    visit(network, "", {})
    return found


def decisions(found: Sequence[FoundChoice]) -> dict[str, Decision]:
    """Make the decisions of a network's choices.

    Parameters
    ----------
    found : sequence of FoundChoice
        What `find_choices` gave.

    Returns
    -------
    dict of str to Decision
        One for each name. A decision is active where one of its choices is part of the network.

    Raises
    ------
    ValueError
        If choices of one name differ, or are within candidates of decisions that do not depend on each other.
    """
    groups: dict[str, list[FoundChoice]] = {}
    for one in found:
        groups.setdefault(one.name, []).append(one)
    made: dict[str, Decision] = {}
    for name, members in groups.items():
        first = members[0].module
        for module in (one.module for one in members[1:]):
            if type(module) is not type(first) or module.choices != first.choices:
                raise ValueError(
                    f"choices named {name!r} are one decision and need the same candidates; got "
                    f"{_described(first)} and {_described(module)}"
                )
            if module is not first and None in (module.name, first.name):
                raise ValueError(f"choice name {name!r} is the path of another choice; give it another name")
        when = _when(name, [one.when for one in members])
        values = {outer: _values(groups[outer][0].module) for outer in when}
        made[name] = first.decision({o: [values[o][c] for c in allowed] for o, allowed in when.items()})
    return made


def _values(module: ModuleChoice) -> dict[str, Value]:
    return dict(zip(module.choices, module.values, strict=True))


def _described(module: ModuleChoice) -> str:
    return f"{type(module).__name__} {list(module.choices)}"


def _when(name: str, places: Sequence[Mapping[str, str]]) -> dict[str, list[str]]:
    """Join the conditions of a decision's places into one: true exactly where one of them is."""
    conditions: list[dict[str, list[str]]] = []
    for place in places:
        new = {outer: [choice] for outer, choice in place.items()}
        # Each condition that is left is implied by none of the others.
        while not any(_implies(new, old) for old in conditions):
            conditions = [old for old in conditions if not _implies(old, new)]
            partner = next((old for old in conditions if len(_differences(old, new)) == 1), None)
            if partner is None:
                conditions.append(new)
                break
            conditions.remove(partner)
            new = {
                outer: allowed + [c for c in new[outer] if c not in allowed]
                for outer, allowed in partner.items()
            }
    if len(conditions) > 1:
        raise ValueError(
            f"choice {name!r} is part of the network under conditions on several decisions, of which any is "
            f"enough: {conditions}; a space cannot say that. Give the choices names of their own"
        )
    return conditions[0]


def _implies(one: Mapping[str, list[str]], other: Mapping[str, list[str]]) -> bool:
    return all(outer in one and set(one[outer]) <= set(allowed) for outer, allowed in other.items())


def _differences(one: Mapping[str, list[str]], other: Mapping[str, list[str]]) -> list[str]:
    """List the decisions on which conditions on the same decisions differ; nothing if they are on others."""
    if one.keys() != other.keys():
        return []
    return [outer for outer in one if set(one[outer]) != set(other[outer])]


def replaced(network: nn.Module, choices: Mapping[str, str]) -> nn.Module:
    """Copy a network with the chosen candidates in the places of its choices.

    Parameters
    ----------
    network : torch.nn.Module
        Left as it is.
    choices : mapping of str to str
        Decision -> choice, for all that are active.

    Returns
    -------
    torch.nn.Module
        A copy. What is shared within the network is shared within the copy.
    """
    # What deepcopy has copied stands in its memo. So the copy of a choice is that of its candidate, wherever
    # the network refers to it. What is within comes first; what is not decided is not part of the network.
    memo: dict[int, Any] = {}
    with _decided(find_choices(network), choices):
        for _, module in reversed(list(network.named_modules(remove_duplicate=False))):
            if id(module) in memo:
                continue
            if isinstance(module, ModuleChoice) and isinstance(module.choice, int):
                memo[id(module)] = copy.deepcopy(module.chosen(module.choices[module.choice]), memo)
            elif isinstance(module, ElasticModule) and module.is_decided:
                memo[id(module)] = module.extract(memo)
        return copy.deepcopy(network, memo)


@contextlib.contextmanager
def _decided(found: Sequence[FoundChoice], choices: Mapping[str, str]) -> Iterator[None]:
    """Let the choices of a network be decided for a while."""
    before = [one.module.choice for one in found]
    try:
        for one in found:
            taken = choices.get(one.name)
            one.module.choice = None if taken is None else one.module.choices.index(taken)
        yield
    finally:
        for one, choice in zip(found, before, strict=True):
            one.module.choice = choice
