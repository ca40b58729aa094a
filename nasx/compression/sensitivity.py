"""How much worse a decoder becomes by each of its parts, told from gradients: one backward pass for all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nasx.compression.calibration import logits_of
from nasx.compression.families import Family
from nasx.compression.importance import evaluating
from nasx.compression.scoring import Scorer, next_tokens
from nasx.compression.shapes import Shape
from nasx.compression.space import CompressionSpace, Options
from nasx.compression.start import Estimates

__all__ = ["sensitivity"]


def sensitivity(space: CompressionSpace, scorer: Scorer) -> Estimates:
    """Estimate the harm of every option of every attention and MLP together.

    Parameters
    ----------
    space : CompressionSpace
        What can be cut.
    scorer : Scorer
        Around a decoder that scores tokens, sorted so that what matters comes first; its metric is
        perplexity. Best on text that is not held out for the search.

    Returns
    -------
    Estimates
        Nats for each token. Hidden sizes are scored, with a forward pass for each.

    Raises
    ------
    ValueError
        If the metric is another.

    Notes
    -----
    If a part gives ``a`` where the loss has gradient ``g``, leaving it out changes the loss by ``-g a`` to
    first order; over the text this averages to about nothing, since the model was trained. To second order
    the harm is ``a H a / 2``, and with gradients' outer product in place of the Hessian, half the mean square
    of ``g a``, summed over what is left out [1]_. Tokens are taken as independent, and so are parts: harms of
    small cuts in many layers add up well, while that of leaving much out at once is underestimated.

    Takes about as long as three forward passes over the text, whatever the number of parts;
    `nasx.compression.estimating.estimate` takes one forward pass for each part, and any metric.

    References
    ----------
    .. [1] P. Molchanov et al., "Importance Estimation for Neural Network Pruning", CVPR 2019.
    """
    if scorer.metric != "perplexity":
        raise ValueError(
            f'estimates="gradients" is for perplexity; the metric is {scorer.name!r}: take estimates="passes"'
        )
    family = scorer.family
    attention = [np.zeros(len(options.attention)) for options in space.options]
    mlp = [np.zeros(len(options.mlp)) for options in space.options]
    place = family.whole.tokens.weight.device
    with evaluating(family.whole), torch.enable_grad(), _watching(family) as given:
        for batch in scorer.data.batches(scorer.batch_size):
            here = {name: value.to(place) for name, value in batch.items()}
            given.clear()
            logits = cast(Tensor, logits_of(family.whole(**here)))
            targets = next_tokens(here).flatten()
            loss = F.cross_entropy(logits.flatten(0, 1).float(), targets, reduction="sum")
            mask = here.get("attention_mask")
            keys = list(given)
            slopes = torch.autograd.grad(loss, [given[key] for key in keys])
            for (part, i), slope in zip(keys, slopes, strict=True):
                effect = (slope.double() * given[part, i].detach().double()).flatten(0, 1)
                if mask is not None:
                    effect = effect[mask.flatten().bool()]
                if part == "mlp":
                    mlp[i] += _of_widths(effect, space.options[i])
                else:
                    attention[i] += _of_heads(effect, space.options[i], family, i)
    tokens = scorer.data.tokens
    hidden = np.zeros(len(space.hiddens))
    if len(hidden) > 1:
        whole = scorer.loss(scorer.score_shape(space.full))
        for h, channels in enumerate(space.hiddens[:-1]):
            hidden[h] = scorer.loss(scorer.score_shape(Shape(channels, space.full.layers))) - whole
    return Estimates(hidden, [each / tokens for each in attention], [each / tokens for each in mlp])


def _of_widths(effect: Tensor, options: Options) -> Any:
    """Sum over tokens half the squares of what goes with all but the first neurons."""
    sums = F.pad(effect.cumsum(1), (1, 0))
    lost = sums[:, -1:] - sums[:, list(options.mlp)]
    return (lost.square().sum(0) / 2).cpu().numpy()


def _of_heads(effect: Tensor, options: Options, family: Family, i: int) -> Any:
    """Sum over tokens half the squares of what goes with all but the first heads of the first groups."""
    whole = family.shape.layers[i]
    assert whole is not None
    heads = effect.view(-1, whole.groups, whole.heads // whole.groups, family.head_dim).sum(-1)
    sums = F.pad(heads.cumsum(1).cumsum(2), (1, 0, 1, 0))
    lost = [sums[:, -1, -1] - sums[:, g, number // g if g else 0] for number, g in options.attention]
    return (torch.stack(lost).square().sum(1) / 2).cpu().numpy()


@contextmanager
def _watching(family: Family) -> Iterator[dict[tuple[str, int], Tensor]]:
    """Gather what all output and down projections are given, with a graph from the embeddings on."""
    given: dict[tuple[str, int], Tensor] = {}

    def keep(key: tuple[str, int]) -> Any:
        def hook(_: nn.Module, args: tuple[Tensor, ...]) -> None:
            given[key] = args[0]

        return hook

    def begin(_: nn.Module, __: Any, embedded: Tensor) -> Tensor:
        return embedded.detach().requires_grad_()

    with ExitStack() as stack:
        stack.callback(family.whole.tokens.register_forward_hook(begin).remove)
        for i, one in enumerate(family.whole.layers):
            layer: Any = one
            for part, module in (("attention", layer.attention.output), ("mlp", layer.mlp.down)):
                stack.callback(module.register_forward_pre_hook(keep((part, i))).remove)
        yield given
