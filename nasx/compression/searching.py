"""`compress`: a transformer and a budget in, a smaller one out; and `search`, which finds what to keep."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from nasx._arguments import count
from nasx.compression.calibration import Sequences
from nasx.compression.correcting import ALIKE, Corrected, Knapsack
from nasx.compression.estimating import estimate
from nasx.compression.families import Family
from nasx.compression.importance import Ranking, as_family, rank
from nasx.compression.profiling import Profile, check_budget, check_names, profile, space_of_parts
from nasx.compression.result import CompressionResult
from nasx.compression.sandwich import train_supernet
from nasx.compression.scoring import Metric, Scorer, SharedParts
from nasx.compression.sensitivity import sensitivity
from nasx.compression.space import CompressionSpace
from nasx.compression.start import Estimates, best_start, even_cuts
from nasx.compression.times import Latency
from nasx.errors import unknown
from nasx.loop import Callback
from nasx.loop import search as run_search
from nasx.population import unique
from nasx.registry import get_strategy, strategy_name
from nasx.space import Genotypes
from nasx.strategies.base import SampledStrategy, Strategy
from nasx.tasks.base import Direction

if TYPE_CHECKING:
    from torch import nn

__all__ = ["compress", "search", "starts"]

# Shares of the budget for further starts: a search of a front begins all along it.
_TIGHTER = (1.0, 0.95, 0.9, 0.8, 0.7, 0.6)
# Architectures to begin with, at most: no fewer for fewer evaluations, so that journals can go on.
_ALONG = 20
_OFF = 0.5  # standard deviation of the logarithm of how far estimates may be off


def compress(
    model: nn.Module,
    *,
    budget: Mapping[str, float],
    data: Any,
    valid: Any = None,
    recover: int | Mapping[str, Any] = 0,
    **settings: Any,
) -> CompressionResult:
    """Make a transformer smaller: rank its parts, search which to keep, take them out, train what is left.

    Each step can be called apart: `nasx.compression.rank`, `nasx.compression.profile`,
    `nasx.compression.search`, `CompressionResult.extract` and `nasx.compression.recover`.

    Parameters
    ----------
    model : torch.nn.Module
        A decoder or encoder of `transformers`: LLaMA and what is built like it, GPT-2, BERT and what is built
        like it. It stays as it is, and all is computed where it is.
    budget : mapping of str to float
        Upper bounds that the result keeps: "params"; "memory_mb", of the weights, and "kv_mb", of keys and
        values for ``context`` tokens, both in 10^6 bytes; "latency_ms", of one pass over a text, measured.
    data : Sequences or what `nasx.compression.Sequences.of` takes
        A few hundred sequences of the text that the model is for, or more: token ids, batches of a tokenizer,
        or texts with ``tokenizer=``.
    valid : as `data`, optional
        Held-out text, on which candidates are scored; by default the last fifth of `data`.
    recover : int or mapping, default 0
        Steps of training, or settings of `nasx.compression.recover`.
    **settings
        As for `nasx.compression.search`.

    Returns
    -------
    CompressionResult
        Its ``model`` is of the model's own class with ``uniform=True``, and otherwise a
        `nasx.compression.plain.PlainTransformer`, which needs nothing but torch.

    Raises
    ------
    TypeError
        If the model is of another kind, or there is no such argument.
    ValueError
        If an argument is wrong, or the budget cannot be met: the message says what can.

    Examples
    --------
    >>> import nasx, torch, transformers
    >>> config = transformers.LlamaConfig(
    ...     vocab_size=50, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=4
    ... )
    >>> model = transformers.LlamaForCausalLM(config)
    >>> text = torch.randint(50, (20, 12), generator=torch.Generator().manual_seed(0))
    >>> result = nasx.compress(model, budget={"params": 4500}, data=text, evaluations=10)
    >>> sum(p.numel() for p in result.model.parameters()) <= 4500
    True
    >>> result.model(text[:1]).logits.shape
    torch.Size([1, 12, 50])
    """
    more = _training(recover, "recover")
    check_names(settings, compress, search, CompressionSpace)
    result = search(model, budget, data, valid=valid, **settings)
    best = result.best
    result.model = result.extract(best)
    if more:
        for name in ("seed", "batch_size", "progress"):
            if name in settings:
                more.setdefault(name, settings[name])
        train, _ = _data(data, valid, settings)
        _, result.history = result.recover(train, candidate=best, model=result.model, **more)
    return result


def _training(asked: int | Mapping[str, Any], name: str) -> dict[str, Any]:
    """Give settings of a training, or none if there is to be none."""
    if isinstance(asked, bool) or not isinstance(asked, int | Mapping) or asked == {}:
        raise ValueError(f"{name} must be a number of steps, or settings; got {asked!r}")
    if isinstance(asked, Mapping):
        return dict(asked)
    return {"steps": asked} if asked else {}


def _data(data: Any, valid: Any, settings: Mapping[str, Any]) -> tuple[Sequences, Sequences]:
    """Give what is learned from and what is held out."""
    how = {name: settings[name] for name in ("tokenizer", "length") if name in settings}
    train = Sequences.of(data, **how)
    if valid is not None:
        return train, Sequences.of(valid, **how)
    return train.split(settings.get("held_out", 0.2))


def search(
    model: nn.Module | Family,
    budget: Mapping[str, float],
    data: Any,
    *,
    valid: Any = None,
    held_out: float = 0.2,
    tokenizer: Any = None,
    length: int = 256,
    ranking: Ranking | None = None,
    profiled: Profile | None = None,
    metric: Metric | None = None,
    direction: Direction | None = None,
    name: str | None = None,
    strategy: str | Strategy | type[Strategy] = "nsga2",
    evaluations: int = 200,
    seconds: float | None = None,
    front: bool = True,
    estimates: str = "passes",
    points: int = 2,
    estimated_on: int = 16,
    corrected: bool = False,
    sandwich: int | Mapping[str, Any] = 0,
    latency: Latency | Mapping[str, Any] | None = None,
    context: int = 2048,
    batch_size: int = 8,
    seed: int = 0,
    journal: str | os.PathLike[str] | None = None,
    callbacks: Sequence[Callback] = (),
    progress: bool | None = None,
    **cuts: Any,
) -> CompressionResult:
    """Search which parts of a transformer to keep within a budget.

    Parameters
    ----------
    model, budget, data, valid
        As for `nasx.compress`.
    held_out : float, default 0.2
        Share of `data` that candidates are scored on, if there is no `valid`.
    tokenizer, length
        As for `Sequences.of`.
    ranking : Ranking, optional
        What `nasx.compression.rank` gave; by default it is called with `data`.
    profiled : Profile, optional
        What `nasx.compression.profile` gave; by default it is called with `cuts`.
    metric, direction, name
        What is optimised, as for `nasx.compression.Scorer`: by default perplexity, or what fits the model.
    strategy : str, Strategy or type, default "nsga2"
        Any sampled strategy of `nasx.search`.
    evaluations : int, default 200
        Candidates to score, those that the search starts from among them.
    seconds : float, optional
        Begin no evaluation after so much time.
    front : bool, default True
        Whether smaller networks than the budget asks for are wanted too: the first limit's cost becomes a
        second objective. If not, the metric is all that counts.
    estimates : {"passes", "gradients"}, default "passes"
        For the start: whether the model is scored with one part cut at a time, or, where the metric is
        perplexity, all harm is told from one backward pass, which is much faster.
    points, estimated_on : int, default 2 and 16
        For the start: how many options of each part are scored, by passes, and on how many sequences of
        `data`, not of what is held out.
    corrected : bool, default False
        Whether three of four candidates are the best by estimates that all measured candidates corrected, as
        `nasx.compression.correcting.Corrected` has it, or all are the strategy's. With a few dozen
        evaluations neither was seen to be better.
    sandwich : int or mapping, default 0
        Steps in which all parts are trained together before the search, or settings of
        `nasx.compression.train_supernet`. With a `journal`, its checkpoint is kept beside it.
    latency : Latency or mapping, optional
        As for `nasx.compression.profile`. What is measured is kept beside the `journal`,
        and refused when the search goes on with other settings or on another machine.
    context : int, default 2048
        Tokens whose keys and values count for "kv_mb".
    batch_size : int, default 8
        Sequences at a time.
    seed : int, default 0
        Same seed, same search.
    journal, callbacks, progress
        As for `nasx.search`; with the journal, a search that was stopped goes on.
    **cuts
        Arguments of `CompressionSpace`: `uniform`, `dimensions`, `divisor`, `least`.

    Returns
    -------
    CompressionResult
        With nothing taken out yet.

    Raises
    ------
    TypeError
        If the model is of another kind, or there is no such argument.
    ValueError
        If an argument is wrong, or the budget cannot be met.

    Notes
    -----
    The search starts from the best sums of estimates within the limits, which are found exactly: for the
    budget and for somewhat smaller ones, with layers taken to be more or less alike, and by estimates that
    are off by random factors; all else is the strategy's. With ``corrected=True`` there are no random
    factors, and the best sums are found again by estimates that all that was measured corrects, in turn with
    what the strategy proposes. Whatever is proposed is checked against the limits before it is scored;
    scoring takes the weights as they are, out of the model's own memory where that is possible.
    """
    check_names(cuts, search, CompressionSpace)
    method = get_strategy(strategy)
    if not isinstance(method, SampledStrategy):
        raise ValueError(
            "strategy must be a sampled one, such as 'nsga2', since parts are scored with the model's own "
            f"weights; got {strategy_name(method)!r}"
        )
    family = as_family(model)
    limits = check_budget(budget)
    training = _training(sandwich, "sandwich")
    count(evaluations, "evaluations")
    count(estimated_on, "estimated_on")
    if estimates not in ("passes", "gradients"):
        raise ValueError(unknown("estimates", estimates, ("passes", "gradients")))
    given = {"tokenizer": tokenizer, "length": length, "held_out": held_out}
    train, held = _data(data, valid, given)
    if ranking is None:
        ranking = rank(family, train, batch_size=batch_size)
    if profiled is not None and cuts:
        raise ValueError(f"profiled is given, which has a space: leave {', '.join(cuts)} out")
    space = _ordered(family, profiled, ranking, cuts)
    if profiled is None:
        if "latency_ms" in limits and not isinstance(latency, Latency) and journal is not None:
            beside = f"{os.fspath(journal)}.latency.json"
            latency = {"kept": beside, **(latency or {})}
        profiled = profile(
            family, tuple(limits), space=space, latency=latency, context=context, seed=seed, progress=progress
        )
    profiled.check(limits)
    costs = {name: cost.bind(space, None) for name, cost in profiled.costs.items() if name in limits}
    sorted_family = type(family)(family.sorted(ranking.order))
    parts = sorted_family
    history: list[dict[str, float]] = []
    if training:
        if journal is not None:
            training.setdefault("checkpoint", f"{os.fspath(journal)}.sandwich")
        training = {"seed": seed, "batch_size": batch_size, "progress": progress, **training}
        parts, history = train_supernet(sorted_family, space, train, **training)
    how: dict[str, Any] = {"metric": metric, "direction": direction, "name": name, "batch_size": batch_size}
    how["reference"] = sorted_family
    scorer = Scorer(parts, held, **how)
    estimating = Scorer(parts, train[:estimated_on], **how)
    harm = (
        sensitivity(space, estimating)
        if estimates == "gradients"
        else estimate(space, estimating, ranking, points=points, progress=progress)
    )
    task = SharedParts(space, scorer)
    objectives: dict[str, Direction] = {**task.objectives}
    if front:
        objectives[next(iter(limits))] = "minimize"
    whole = {scorer.name: scorer.score(sorted_family.extract(space.full, share=True))}
    drawn = True
    if corrected and not method.allow_repeats:
        problem = Knapsack(
            space,
            costs,
            limits,
            harm,
            scorer.loss(scorer.score_shape(space.full)),
            shares=_TIGHTER if front else _TIGHTER[:1],
            logarithm=scorer.metric == "perplexity",
        )
        method, drawn = Corrected(inner=method, knapsack=problem), False
    first = starts(space, costs, limits, harm, most=_ALONG, tighter=front, drawn=drawn, seed=seed)
    found = run_search(
        space,
        task,
        strategy=method,
        evaluations=evaluations,
        seconds=seconds,
        objectives=objectives,
        costs=costs,
        limits=limits,
        seed=seed,
        initial=[space.decode(row) for row in first],
        journal=journal,
        callbacks=callbacks,
        progress=progress,
    )
    whole |= {name: cost.of(space.full) for name, cost in costs.items()}
    return CompressionResult(parts, ranking, profiled, scorer, found, whole, history)


def _ordered(
    family: Family, profiled: Profile | None, ranking: Ranking, cuts: Mapping[str, Any]
) -> CompressionSpace:
    """Make the space, in which what is uniform loses the layers of least importance."""
    if profiled is not None:
        settings = profiled.space.settings
        if not profiled.space.uniform:
            return profiled.space
        cuts = {name: settings[name] for name in ("uniform", "dimensions", "divisor", "least")}
    if not cuts.get("uniform", False):
        return space_of_parts(family, **cuts)
    return space_of_parts(family, **{"depth_order": ranking.depth_order, **cuts})


def starts(
    space: CompressionSpace,
    costs: Mapping[str, Any],
    limits: Mapping[str, float],
    estimates: Estimates,
    *,
    most: int,
    tighter: bool = True,
    drawn: bool = True,
    seed: int = 0,
) -> Genotypes:
    """Find what a search begins with: the best by estimates, for several budgets, and by others like them.

    Among them are some of the best whose layers are all cut alike.

    Parameters
    ----------
    space, costs, limits, estimates
        As for `nasx.compression.start.best_start`.
    most : int
        How many at most.
    tighter : bool, default True
        Whether to take smaller budgets too.
    drawn : bool, default True
        Whether to take even cuts and estimates that are off by random factors too; if not, those are taken
        in which layers are more alike.
    seed : int, default 0
        Of the factors.

    Returns
    -------
    ndarray of int32, shape (n, d)
        All within the limits; the first is the best by estimates.
    """
    shares = _TIGHTER if tighter else _TIGHTER[:1]
    rng = np.random.default_rng(seed)
    found: list[Genotypes] = []
    if not drawn:  # those that corrections choose from
        plain = [(share, estimates) for share in shares]
        evened = [(1.0, estimates.evened(share)) for share in ALIKE[1:]]
        for share, told in plain + evened:
            bounds = {name: limit * share for name, limit in limits.items()}
            start = best_start(space, costs, bounds, told)
            found += [] if start is None else [start.genotype]
        return unique(space.stack(found)).rows[:most]
    for number in range(len(shares) + 2 * most):
        bounds = {name: limit * shares[number % len(shares)] for name, limit in limits.items()}
        start = best_start(space, costs, bounds, estimates if number < len(shares) else _off(estimates, rng))
        if start is not None:
            found.append(start.genotype)
        if number == len(shares) - 1:
            found += even_cuts(space, costs, limits, estimates)[: max(1, most // 4)]
        rows = unique(space.stack(found)).rows
        if len(rows) >= most:
            break
    return rows[:most]


def _off(estimates: Estimates, rng: np.random.Generator) -> Estimates:
    """Multiply what is told of each part by a factor: estimates may be off by as much."""

    def scaled(rows: Sequence[npt.NDArray[np.float64]]) -> list[npt.NDArray[np.float64]]:
        return [row * rng.lognormal(0, _OFF) for row in rows]

    hidden = estimates.hidden * rng.lognormal(0, _OFF)
    return Estimates(hidden, scaled(estimates.attention), scaled(estimates.mlp))
