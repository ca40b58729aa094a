"""The names of the proxies, and what each needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from nasx.errors import unknown

__all__ = ["ALWAYS", "AZ_NAS", "PROXIES", "ProxyKind", "available", "check_names", "check_needs"]

ALWAYS = ("params", "flops")
"""The sizes that stand beside every proxy."""

AZ_NAS = ("az_expressivity", "az_progressivity", "az_trainability", "az_complexity")
"""What AZ-NAS is made of: ``aggregate(scores, AZ_NAS)`` ranks networks by it."""


@dataclasses.dataclass(frozen=True)
class ProxyKind:
    """What a proxy is, and what it has to be given.

    Attributes
    ----------
    module, summary : str
        The file in `nasx.proxies` with a function of its name, and what it computes.
    labels : bool
        Whether it needs labels.
    numbers : bool
        Whether it needs inputs of real numbers, which token indices are not.
    least : int
        The smallest batch.
    """

    module: str
    summary: str
    labels: bool = False
    numbers: bool = False
    least: int = 1


PROXIES: Mapping[str, ProxyKind] = MappingProxyType(
    {
        "params": ProxyKind("sizes", "trainable parameters"),
        "flops": ProxyKind("sizes", "floating-point operations for one input"),
        "l2_norm": ProxyKind("sizes", "sum of the norms of the layers' weights"),
        "synflow": ProxyKind("weights", "logarithm of the flow of signal through all weights", numbers=True),
        "snip": ProxyKind("weights", "how much the loss depends on the weights", labels=True),
        "grad_norm": ProxyKind("weights", "sum of the norms of the layers' gradients", labels=True),
        "fisher": ProxyKind("weights", "what the loss loses with each channel, squared", labels=True),
        "naswot": ProxyKind("signals", "how different the activations of the inputs are", least=2),
        "jacob_cov": ProxyKind("signals", "how uncorrelated gradients by inputs are", numbers=True, least=2),
        "zen": ProxyKind("signals", "how much random inputs change what is computed", numbers=True, least=2),
        "az_expressivity": ProxyKind("az_nas", "how evenly features spread over their directions", least=2),
        "az_progressivity": ProxyKind("az_nas", "the least growth of that from block to block", least=2),
        "az_trainability": ProxyKind("az_nas", "how well blocks keep the size of gradients", least=2),
        "az_complexity": ProxyKind("az_nas", "floating-point operations for one input"),
    }
)


def available() -> tuple[str, ...]:
    """Names of the proxies.

    Returns
    -------
    tuple of str
        What `score`, `Proxy` and ``prescreen=`` take.

    Examples
    --------
    >>> available()[:5]
    ('params', 'flops', 'l2_norm', 'synflow', 'snip')
    """
    return tuple(PROXIES)


def check_names(proxies: str | Iterable[str], argument: str = "proxies") -> tuple[str, ...]:
    """Check names of proxies.

    Parameters
    ----------
    proxies : str or iterable of str
        One or several.
    argument : str
        What to call them in errors.

    Returns
    -------
    tuple of str
        Each once.

    Raises
    ------
    ValueError
        If one is unknown, or there is none.
    """
    names = (proxies,) if isinstance(proxies, str) else tuple(dict.fromkeys(proxies))
    if not names:
        raise ValueError(f"{argument} must name one proxy at least; known: {', '.join(PROXIES)}")
    for name in names:
        if name not in PROXIES:
            raise ValueError(f"{argument}: " + unknown("proxy", name, PROXIES))
    return names


def check_needs(name: str, inputs: Any, labels: Any, loss: Any) -> None:
    """Refuse a batch that lacks what a proxy needs; inputs and labels are tensors."""
    kind = PROXIES[name]
    if kind.labels and labels is None:
        raise ValueError(f"proxy {name!r} needs labels: give batch=(inputs, labels)")
    if kind.labels and loss is None:
        of_tokens = not inputs.is_floating_point() and labels.shape == inputs.shape
        if labels.is_floating_point() or not (labels.ndim == 1 or of_tokens):
            raise ValueError(
                f"proxy {name!r} takes the cross entropy of integer labels of shape (n,), or one for each "
                f"token; for other labels give loss=; got {labels.dtype} of shape {tuple(labels.shape)}"
            )
    if kind.numbers and not inputs.is_floating_point():
        raise ValueError(
            f"proxy {name!r} is defined for inputs of real numbers; batch holds {inputs.dtype}. For token "
            "indices, score the part of the network behind its embedding, or take another proxy, as 'naswot'"
        )
    if len(inputs) < kind.least:
        raise ValueError(
            f"proxy {name!r} compares inputs with each other: batch needs {kind.least} at least; "
            f"got {len(inputs)}"
        )
