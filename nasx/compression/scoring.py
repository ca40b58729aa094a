"""`Scorer`: how good a part of a transformer is, by forward passes over held-out text."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasx._arguments import count
from nasx.compression.calibration import Batch, Sequences, logits_of, vectors_of
from nasx.compression.families import Family
from nasx.compression.importance import evaluating
from nasx.compression.shapes import Shape
from nasx.compression.space import CompressionSpace
from nasx.errors import EvaluationError, unknown
from nasx.tasks.base import Direction, Report, Task

if TYPE_CHECKING:
    from nasx.architecture import Architecture

__all__ = ["METRICS", "Metric", "Scorer", "SharedParts"]

METRICS: Mapping[str, Direction] = {
    "perplexity": "minimize",
    "divergence": "minimize",
    "agreement": "maximize",
}
"""Metrics that are built in, and which way is better."""

Metric = str | Callable[[nn.Module], float]


class Scorer:
    """Scores models on held-out text.

    Parameters
    ----------
    family : Family
        The whole model, whose parts are scored.
    data : Sequences
        Held-out text.
    metric : str or callable, optional
        "perplexity": of the next token. "divergence": the Kullback-Leibler divergence of the model's scores
        from the whole model's, in nats for each token. "agreement": for models without a head, the
        correlation of sequences' cosine similarities by the model and by the whole one, over all pairs, of
        hidden states averaged over tokens; "divergence" and "perplexity" are for models with a head. Or a
        function that takes a model, in evaluation mode and to be left as it is, and returns a number. By
        default what fits the model.
    direction : {"minimize", "maximize"}, optional
        Which way a function's number is better; needed with one.
    name : str, optional
        What a function's number is called; by default its own name.
    batch_size : int, default 8
        Sequences at a time.
    reference : Family, optional
        The whole model that others are compared with, if that is not `family`, but for example what this was
        trained from.

    Raises
    ------
    ValueError
        If the metric or the data do not fit the model, or a direction is missing.

    Examples
    --------
    >>> import torch, transformers
    >>> from nasx.compression.families import family_of
    >>> config = transformers.LlamaConfig(
    ...     vocab_size=50, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4
    ... )
    >>> family = family_of(transformers.LlamaForCausalLM(config))
    >>> scorer = Scorer(family, Sequences.of(torch.randint(50, (4, 12))))
    >>> scorer.name, 30 < scorer.score(family.model) < 70
    ('perplexity', True)
    """

    def __init__(
        self,
        family: Family,
        data: Sequences,
        *,
        metric: Metric | None = None,
        direction: Direction | None = None,
        name: str | None = None,
        batch_size: int = 8,
        reference: Family | None = None,
    ) -> None:
        self.reference = family if reference is None else reference
        self.family, self.data, self.batch_size = family, data, count(batch_size, "batch_size")
        data.check(family.plan)
        head = family.plan.head
        if metric is None:
            metric = "agreement" if head == "none" else "perplexity" if head == "language" else "divergence"
        if isinstance(metric, str):
            if metric not in METRICS:
                raise ValueError("metric: " + unknown("metric", metric, METRICS))
            fitting = {
                "perplexity": head == "language" and family.plan.causal,
                "divergence": head != "none",
                "agreement": head == "none",
            }
            if not fitting[metric]:
                fits = ", ".join(name for name, good in fitting.items() if good)
                raise ValueError(
                    f"metric {metric!r} does not fit a {type(family.model).__name__}; give "
                    f"{fits or 'a function'}, or a function of a model"
                )
            if direction not in (None, METRICS[metric]):
                raise ValueError(f"direction of {metric!r} is {METRICS[metric]!r}; leave direction out")
            direction = METRICS[metric]
        elif not callable(metric):
            raise TypeError(f"metric must be a name or a function of a model; got {metric!r}")
        elif direction not in ("minimize", "maximize"):
            raise ValueError(
                'direction must say which way the metric is better, "minimize" or "maximize"; '
                f"got {direction!r}"
            )
        if metric == "agreement" and len(data) < 3:
            raise ValueError("metric 'agreement' compares pairs of sequences: hold out three of them or more")
        if metric == "perplexity" and not (next_tokens(next(data.batches(len(data)))) >= 0).any():
            raise ValueError(
                "metric 'perplexity' is of tokens that follow others, and in data none does: give sequences "
                "of two tokens or more"
            )
        self.metric = metric
        self.direction: Direction = direction
        self.name = str(metric if isinstance(metric, str) else name or getattr(metric, "__name__", "score"))
        self._place = next(family.model.parameters()).device
        self._original: Any = None

    @property
    def settings(self) -> dict[str, Any]:
        """Metric and data, as a fingerprint."""
        return {"metric": self.name, "data": self.data.digest}

    # -- scores ----------------------------------------------------------------------------------------------

    def score(self, model: nn.Module) -> float:
        """Score a model.

        Parameters
        ----------
        model : torch.nn.Module
            On the whole model's device.

        Returns
        -------
        float
            Its metric.

        Raises
        ------
        nasx.errors.EvaluationError
            If it is not finite.
        """
        with evaluating(model):
            if not isinstance(self.metric, str):
                return _finite(float(self.metric(model)), self.name)
            with torch.inference_mode():
                value = {
                    "perplexity": self._perplexity,
                    "divergence": self._divergence,
                    "agreement": self._agreement,
                }[self.metric](model)
        return _finite(value, self.name)

    def score_shape(self, shape: Shape) -> float:
        """Score a part of the whole model; its weights are views of the model's wherever they can be.

        Parameters
        ----------
        shape : Shape
            The part.

        Returns
        -------
        float
            Its metric.
        """
        return self.score(self.family.extract(shape, share=True))

    def loss(self, value: float) -> float:
        """Turn a metric into what is additive over small harms, as far as anything is; smaller is better.

        Parameters
        ----------
        value : float
            The metric.

        Returns
        -------
        float
            Of a perplexity its logarithm, the cross entropy; else the metric, its sign turned if it is
            maximised.
        """
        if self.metric == "perplexity":
            return math.log(value)
        return value if self.direction == "minimize" else -value

    # -- the metrics -----------------------------------------------------------------------------------------

    def _batches(self, model: nn.Module) -> Any:
        for batch in self.data.batches(self.batch_size):
            here = {name: value.to(self._place) for name, value in batch.items()}
            yield here, model(**here)

    def _perplexity(self, model: nn.Module) -> float:
        total, tokens = 0.0, 0
        for batch, output in self._batches(model):
            targets = next_tokens(batch).flatten()
            # As they are: cutting the last position off would copy all scores.
            scores = cast(Tensor, logits_of(output)).flatten(0, 1)
            for some, wanted in _few(scores, targets):
                total += float(F.cross_entropy(some.float(), wanted, reduction="sum"))
            tokens += int((targets >= 0).sum())
        return math.exp(min(total / tokens, 700.0))

    def _divergence(self, model: nn.Module) -> float:
        if self._original is None:
            with evaluating(self.reference.model):
                # Half precision is exact enough for what is compared, and there is one row for each token.
                self._original = [
                    F.log_softmax(cast(Tensor, logits_of(output)).float(), -1).half()
                    for _, output in self._batches(self.reference.model)
                ]
        total, tokens = 0.0, 0
        for (batch, output), teacher in zip(self._batches(model), self._original, strict=True):
            scores = cast(Tensor, logits_of(output))
            rows = _few(scores.flatten(0, -2), teacher.flatten(0, -2))
            each = torch.cat([_divergences(some, wanted) for some, wanted in rows])
            mask = batch.get("attention_mask")
            if mask is not None and scores.ndim == 3:
                each = each[mask.flatten().bool()]
            total += float(each.sum())
            tokens += each.numel()
        return total / max(tokens, 1)

    def _agreement(self, model: nn.Module) -> float:
        if self._original is None:
            with evaluating(self.reference.model):
                self._original = self._similarities(self.reference.model)
        pair = torch.stack([self._original, self._similarities(model)])
        value = float(torch.corrcoef(pair)[0, 1])
        return value if math.isfinite(value) else 0.0  # all sequences alike: nothing is told apart

    def _similarities(self, model: nn.Module) -> Tensor:
        vectors = [vectors_of(output, batch.get("attention_mask")) for batch, output in self._batches(model)]
        unit = F.normalize(torch.cat(vectors).double(), dim=1)
        above = torch.triu_indices(len(unit), len(unit), 1, device=unit.device)
        return (unit @ unit.T)[above[0], above[1]]


def _few(scores: Tensor, other: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Give as many rows of both at a time as fit into a cache, since each is read several times."""
    size = max(1, 2**20 // scores.shape[1])
    for begin in range(0, len(scores), size):
        yield scores[begin : begin + size], other[begin : begin + size]


def _divergences(scores: Tensor, wanted: Tensor) -> Tensor:
    """Give each token's divergence from the logarithms of probabilities."""
    own = F.log_softmax(scores.float(), -1)
    return F.kl_div(own, wanted.float(), reduction="none", log_target=True).sum(-1)


def next_tokens(batch: Batch) -> Tensor:
    """Give what is to be predicted at each place.

    Parameters
    ----------
    batch : dict of str to Tensor
        Of `Sequences.batches`.

    Returns
    -------
    Tensor of int64, shape (B, L)
        The token that follows; -100, which cross entropy passes over, in the last place and for padding.
    """
    ids = batch["input_ids"]
    targets = torch.full_like(ids, -100)
    targets[:, :-1] = ids[:, 1:]
    mask = batch.get("attention_mask")
    if mask is not None:
        targets[:, :-1][mask[:, 1:] == 0] = -100
        targets[mask == 0] = -100
    return targets


def _finite(value: float, name: str) -> float:
    if not math.isfinite(value):
        raise EvaluationError(f"metric {name!r} is {value}; what the network computes is not finite")
    return value


class SharedParts(Task):
    """The task of a search: parts of one model, scored with its weights; nothing is trained.

    Parameters
    ----------
    space : CompressionSpace
        The parts.
    scorer : Scorer
        Scores them.
    """

    def __init__(self, space: CompressionSpace, scorer: Scorer) -> None:
        self.space, self.scorer = space, scorer
        self._settings = {**scorer.settings, "model": fingerprint(scorer.family)}

    @property
    def spec(self) -> None:
        """Nothing: networks are taken out of a model."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Metric, data and model, the latter two as fingerprints."""
        return self._settings

    @property
    def objectives(self) -> Mapping[str, Direction]:
        """The metric."""
        return {self.scorer.name: self.scorer.direction}

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metric's name."""
        return (self.scorer.name,)

    def evaluate(
        self,
        architecture: Architecture,
        *,
        seed: int,
        device: str | None = None,
        budget: int | None = None,
        report: Report | None = None,
    ) -> dict[str, float]:
        """Score a part.

        Parameters
        ----------
        architecture : Architecture
            One of the space.
        seed, device, budget, report
            Not used.

        Returns
        -------
        dict of str to float
            The metric.
        """
        return {self.scorer.name: self.scorer.score_shape(self.space.shape_of(architecture))}


def fingerprint(family: Family) -> str:
    """Tell models apart by all their weights.

    Parameters
    ----------
    family : Family
        The model.

    Returns
    -------
    str
        The same for equal weights in the same order.
    """
    content = hashlib.sha256()
    for name, value in family.whole.named_parameters():
        flat = value.detach().to("cpu").contiguous()
        content.update(f"{name} {tuple(flat.shape)} {flat.dtype}".encode())
        bits: Any = flat.flatten().view(torch.uint8).numpy()
        content.update(bits)
    return content.hexdigest()[:32]
