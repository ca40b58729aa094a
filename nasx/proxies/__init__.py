"""Scores without training: what a network's weights, signals and gradients say before anything is learned.

A proxy costs a forward pass or two, where training costs thousands. `score` gives any of them for one
network; `Proxy` is one as a cost of a search; `nasx.Prescreened`, or ``nasx.search(..., prescreen=...)``,
evaluates only the best by proxy of what a strategy proposes; `aggregate` joins several into one ranking. All
are signed such that higher is better, and parameters and FLOPs always stand beside them: a proxy that ranks
no better than the size does is of no use.
"""

from __future__ import annotations

from nasx.proxies.cost import Proxy
from nasx.proxies.kinds import AZ_NAS, available
from nasx.proxies.ranks import aggregate
from nasx.proxies.scores import Scores, score

__all__ = ["AZ_NAS", "Proxy", "Scores", "aggregate", "available", "score"]
