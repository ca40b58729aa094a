"""Built-in search spaces, imported on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from nasx.errors import unknown
from nasx.space import Space

if TYPE_CHECKING:
    from nasx.spaces.convnet import ConvNet
    from nasx.spaces.darts import DARTS
    from nasx.spaces.enas_cell import ENASCell
    from nasx.spaces.enas_macro import ENASMacro
    from nasx.spaces.fbnet import FBNet
    from nasx.spaces.mobilenet import ProxylessMobile
    from nasx.spaces.modules import ModuleSpace
    from nasx.spaces.nasbench201 import NASBench201
    from nasx.spaces.nasbench_graph import NASBenchGraph
    from nasx.spaces.shufflenet import ShuffleNetV2
    from nasx.spaces.topology import Topology
    from nasx.spaces.transformer import Transformer

__all__ = [
    "DARTS",
    "ConvNet",
    "ENASCell",
    "ENASMacro",
    "FBNet",
    "ModuleSpace",
    "NASBench201",
    "NASBenchGraph",
    "ProxylessMobile",
    "ShuffleNetV2",
    "Topology",
    "Transformer",
    "available_spaces",
    "get",
]

_SPACES = {
    "ConvNet": "nasx.spaces.convnet",
    "DARTS": "nasx.spaces.darts",
    "ENASCell": "nasx.spaces.enas_cell",
    "ENASMacro": "nasx.spaces.enas_macro",
    "FBNet": "nasx.spaces.fbnet",
    "NASBench201": "nasx.spaces.nasbench201",
    "NASBenchGraph": "nasx.spaces.nasbench_graph",
    "ProxylessMobile": "nasx.spaces.mobilenet",
    "ShuffleNetV2": "nasx.spaces.shufflenet",
    "Topology": "nasx.spaces.topology",
    "Transformer": "nasx.spaces.transformer",
}


# Made of code, so that no file can name it.
_OTHERS = {"ModuleSpace": "nasx.spaces.modules"}


def available_spaces() -> tuple[str, ...]:
    """Names of the built-in spaces.

    Returns
    -------
    tuple of str
        The names that `get` takes, sorted.

    Examples
    --------
    >>> "ConvNet" in available_spaces()
    True
    """
    return tuple(sorted(_SPACES))


def get(name: str) -> type[Space]:
    """Look a built-in space up by name.

    Parameters
    ----------
    name : str
        One of `available_spaces`.

    Returns
    -------
    type
        The class; its keyword arguments are the space's settings.

    Raises
    ------
    ValueError
        If there is no such space; the message names the nearest one.

    Examples
    --------
    >>> get("ConvNet")(depths=[1, 2]).settings["depths"]
    [1, 2]
    """
    if name not in _SPACES:
        raise ValueError(unknown("space", name, _SPACES))
    space: type[Space] = getattr(importlib.import_module(_SPACES[name]), name)
    return space


def __getattr__(name: str) -> Any:
    if name in _SPACES:
        return get(name)
    if name in _OTHERS:
        return getattr(importlib.import_module(_OTHERS[name]), name)
    raise AttributeError(f"module 'nasx.spaces' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_SPACES, *_OTHERS])
