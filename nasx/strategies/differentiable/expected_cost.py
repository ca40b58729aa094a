"""`ExpectedCosts`: what architectures drawn by a supernet's probabilities cost on average, in the loss."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from nasx.errors import unknown
from nasx.strategies.differentiable.cost_models import CostModels
from nasx.strategies.limits import COST_FORMS

__all__ = ["ExpectedCosts"]

_TINY = 1e-30  # weights less than this have this logarithm
_LEAST = 1e-3  # of logarithms that are raised to a power


class ExpectedCosts:
    """The mean costs of architectures drawn by a supernet's probabilities, and a loss that they take part in.

    Parts are drawn independently of each other. The probability of a part's option is the product of the
    weights at its cells, divided by their sum over all options: for a decision with a row of its own the
    softmax of that row, for a node of the DARTS cell that of its two edges and their operations together. So
    the likeliest architecture is the one that is derived.

    Parameters
    ----------
    models : CostModels
        The costs, over the parts of a supernet.
    form : {"add", "multiply", "fbnet"}, default "add"
        With ``E`` the expected cost and ``T`` its target, the loss ``L`` becomes ``L + w sum (E - T) / T``
        [1]_, ``L w prod (log E / log T)^b`` [1]_, or ``L w prod (log E)^b`` [2]_.
    weight : float, optional
        ``w``; by default 0.1, 0.2 and 0.2, as in the released code of [1]_ and in [2]_.
    exponent : float, optional
        ``b``; by default 0.3 and 0.6.
    targets : mapping of str to float, optional
        Which costs take part, and their targets: what they cost counts above and below these, as published,
        and "fbnet" has no use for the numbers. By default the limits: then a cost below its limit counts as
        the limit itself, since a search within limits gains nothing by staying far below them.

    Attributes
    ----------
    names : tuple of str
        The costs that take part.
    limited : bool
        Whether the targets are limits, below which costs make no difference.

    Raises
    ------
    ValueError
        If the form is unknown, a number is out of range, a target is of an unknown cost, or there is none.

    Notes
    -----
    Logarithms go on below e in a straight line, ``x / e``: with the same value and slope there, and positive
    down to 0, so that a latency of less than 1 has a power and a gradient too.
    Costs of tables are exact, bridges between parts included; others are those of the fitted sum. Sums are
    taken in float64, whatever the probabilities are in, where the device has it.

    References
    ----------
    .. [1] H. Cai, L. Zhu and S. Han, "ProxylessNAS: Direct Neural Architecture Search on Target Task and
       Hardware", ICLR 2019.
    .. [2] B. Wu et al., "FBNet: Hardware-Aware Efficient ConvNet Design via Differentiable Neural
       Architecture Search", CVPR 2019.

    Examples
    --------
    >>> import nasx
    >>> from nasx.strategies.limits import CostLimits
    >>> space = nasx.space_of(
    ...     torch.nn.Sequential(nasx.nn.LayerChoice({"a": torch.nn.ReLU(), "b": torch.nn.Tanh()}))
    ... )
    >>> supernet = space.supernet()
    >>> supernet.logits["0"].data.zero_()
    tensor([[0., 0.]])
    >>> table = nasx.hardware.LatencyTable(space, [[1.0, 3.0]])
    >>> limits = CostLimits({"ms": table}, {"ms": 1.6}, lambda x: table(x) - 1.6)
    >>> expected = ExpectedCosts(CostModels(supernet, limits), weight=1.0)
    >>> costs = expected(supernet.probabilities())
    >>> costs["ms"].item(), expected.loss(torch.tensor(2.0), costs).item()
    (2.0, 2.25)
    """

    def __init__(
        self,
        models: CostModels,
        *,
        form: str = "add",
        weight: float | None = None,
        exponent: float | None = None,
        targets: Mapping[str, float] | None = None,
    ) -> None:
        if form not in COST_FORMS:
            raise ValueError(unknown("form", form, COST_FORMS))
        default = COST_FORMS[form]
        self.form = form
        self.weight, self.exponent = (
            usual if given is None else given
            for given, usual in zip((weight, exponent), default, strict=True)
        )
        for name, value in (("weight", self.weight), ("exponent", self.exponent)):
            if isinstance(value, bool) or not math.isfinite(value) or value <= 0:
                raise ValueError(f"{name} must be a number of more than 0; got {value!r}")
        limits = models.cost_limits
        self.targets = dict(limits.limits if targets is None else targets)
        self.limited = targets is None
        self.names = tuple(self.targets)
        if not self.names:
            raise ValueError("targets must name at least one cost; got none, and there are no limits")
        for name, target in self.targets.items():
            if name not in limits.tables:
                raise ValueError("targets: " + unknown("cost", name, list(limits.tables)))
            if form == "multiply" and not target > 0:
                raise ValueError(
                    f"targets[{name!r}] must be more than 0 for the form 'multiply'; got {target}"
                )
        self._groups = models.groups
        self._parts, self._rows, self._cells = models.parts, models.rows, models.cells
        self._models = [models.whole(name) for name in self.names]
        self._constants: dict[torch.device, _Constants] = {}

    def __call__(
        self, probabilities: Mapping[str, Tensor], edges: Mapping[str, Tensor] | None = None
    ) -> dict[str, Tensor]:
        """Find the expected costs.

        Parameters
        ----------
        probabilities : mapping of str to Tensor, shape (edges, operations)
            Of the operations: `Supernet.probabilities`, or rows that were drawn, such as those of a Gumbel
            softmax. Rows sum to one; groups are those of the supernet's ``logits``.
        edges : mapping of str to Tensor, shape (edges,), optional
            Of the edges: `Supernet.edge_probabilities`.

        Returns
        -------
        dict of str to Tensor, shape ()
            In the costs' units; differentiable.
        """
        edges = edges or {}
        constants = self._on(probabilities[self._groups[0]].device)
        rows = [probabilities[name].to(constants.dtype) for name in self._groups]
        flat = torch.cat([part.flatten() for part in rows])
        total = constants.intercepts + flat @ constants.plain
        odd = None
        if constants.cells is not None:
            scaled = [
                part * edges[name].to(constants.dtype)[:, None] if name in edges else part
                for name, part in zip(self._groups, rows, strict=True)
            ]
            odd = constants.weights(torch.cat([part.flatten() for part in scaled]))
            total = total + (odd.flatten() @ constants.odd)
        if constants.bridges:

            def weights(part: int) -> Tensor:
                if part in constants.place:
                    assert odd is not None
                    return odd[constants.place[part], : len(self._parts[part].options)]
                return flat[constants.own[part]]

            for (a, b), together in constants.bridges:
                total = total + torch.einsum("a,mab,b->m", weights(a), together, weights(b))
        return dict(zip(self.names, total.unbind(), strict=True))

    def loss(
        self, loss: Tensor, costs: Mapping[str, Tensor], *, judged: Mapping[str, Tensor] | None = None
    ) -> Tensor:
        """Put costs into a loss.

        Parameters
        ----------
        loss : Tensor, shape ()
            The network's.
        costs : mapping of str to Tensor, shape ()
            What a call gave.
        judged : mapping of str to Tensor, shape (), optional
            What is compared with limits, where ``costs`` are of one random draw; by default ``costs``.

        Returns
        -------
        Tensor, shape ()
            To be minimised.
        """
        if self.limited:
            judged = judged or costs
            costs = {
                name: torch.where(judged[name] > limit, costs[name], torch.full_like(costs[name], limit))
                for name, limit in self.targets.items()
            }
        if self.form == "add":
            excess = sum((costs[name] - t) / (abs(t) or 1.0) for name, t in self.targets.items())
            return loss + self.weight * torch.as_tensor(excess).to(loss.dtype)
        factor = torch.ones((), dtype=loss.dtype, device=loss.device)
        for name, target in self.targets.items():
            size = _logarithm(costs[name]).clamp_min(_LEAST)
            if self.form == "multiply":
                size = size / (math.log(target) if target >= math.e else target / math.e)
            factor = factor * (size**self.exponent).to(loss.dtype)
        return loss * self.weight * factor

    def _on(self, device: torch.device) -> _Constants:
        if device not in self._constants:
            self._constants[device] = _Constants(self, device)
        return self._constants[device]


class _Constants:
    """The costs as tensors on a device.

    Parts with a row of their own are summed as they stand, in ``plain``. The options of others are weighed
    first, all of them in one padded matrix: ``cells``, whose last two places are one that adds nothing and
    one that no option takes.
    """

    def __init__(self, costs: ExpectedCosts, device: torch.device) -> None:
        self.dtype = torch.float32 if device.type == "mps" else torch.float64
        parts, models = costs._parts, costs._models

        def tensor(values: object) -> Tensor:
            return torch.as_tensor(np.asarray(values), device=device).to(self.dtype)

        self.intercepts = tensor([model.intercept for model in models])
        plain = np.zeros((costs._cells, len(models)))
        self.own: dict[int, Tensor] = {}
        self.place: dict[int, int] = {}
        for i, part in enumerate(parts):
            if costs._rows[i]:
                plain[part.cells[:, 0]] = np.column_stack([model.options[i] for model in models])
                self.own[i] = torch.as_tensor(part.cells[:, 0], device=device)
            else:
                self.place[i] = len(self.place)
        self.plain = tensor(plain)
        self.cells: Tensor | None = None
        if self.place:
            odd = [parts[i] for i in self.place]
            height, width = max(len(p.options) for p in odd), max(p.cells.shape[1] for p in odd)
            cells = np.full((len(odd), height, width), -1, np.int64)
            adds = np.zeros((len(odd), height, len(models)))
            for k, (i, part) in enumerate(zip(self.place, odd, strict=True)):
                options, columns = part.cells.shape
                cells[k, :options, :columns] = part.cells
                cells[k, options:, 0] = -2
                adds[k, :options] = np.column_stack([model.options[i] for model in models])
            self.cells = torch.as_tensor(cells, device=device)
            self.odd = tensor(adds).flatten(0, 1)
        self.bridges: list[tuple[tuple[int, int], Tensor]] = []
        for between in dict.fromkeys(bridge.parts for model in models for bridge in model.bridges):
            shape = [len(parts[i].options) for i in between]
            stacked = np.zeros((len(models), *shape))
            for m, model in enumerate(models):
                for bridge in model.bridges:
                    if bridge.parts == between:
                        stacked[m] += bridge.together
            self.bridges.append((between, tensor(stacked)))

    def weights(self, flat: Tensor) -> Tensor:
        """Find the probabilities of the options of odd parts: ``(parts, options)``, 0 where there is none."""
        assert self.cells is not None
        ends = flat.new_tensor([-math.inf, 0.0])
        logs = torch.cat([flat.clamp_min(_TINY).log(), ends])
        return torch.softmax(logs[self.cells].sum(-1), -1)


def _logarithm(x: Tensor) -> Tensor:
    """Logarithm from e on; below it the line ``x / e``, which touches it there."""
    return torch.where(x < math.e, x / math.e, x.clamp_min(math.e).log())
