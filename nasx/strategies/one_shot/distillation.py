"""In-place distillation: in a step the largest sub-network learns from labels, and the others from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from nasx.nn.supernet import Supernet
from nasx.space import Genotypes

__all__ = ["sandwich_losses", "soft_cross_entropy"]


def soft_cross_entropy(outputs: Tensor, teacher: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Compute the cross entropy of class scores to another network's.

    Parameters
    ----------
    outputs : Tensor of shape (..., classes)
        Scores of the network that learns.
    teacher : Tensor of shape (..., classes)
        Scores of the network that it learns from; no gradient reaches them.
    temperature : float, default 1
        Both scores are divided by it, and the loss is multiplied by its square, so that its gradients keep
        their size.

    Returns
    -------
    Tensor, shape ()
        Mean over all but the last axis. Its gradient is zero where both agree.

    Raises
    ------
    ValueError
        If the shapes differ, there is only one class, or the temperature is not positive.

    References
    ----------
    G. Hinton, O. Vinyals and J. Dean, "Distilling the Knowledge in a Neural Network", 2015.

    Examples
    --------
    >>> scores = torch.tensor([[2.0, -1.0]], requires_grad=True)
    >>> soft_cross_entropy(scores, torch.tensor([[2.0, -1.0]])).backward()
    >>> bool(scores.grad.abs().max() < 1e-7)
    True
    """
    if outputs.shape != teacher.shape:
        raise ValueError(
            f"teacher must have the shape of outputs, {tuple(outputs.shape)}; got {tuple(teacher.shape)}"
        )
    if outputs.shape[-1] < 2:
        raise ValueError(
            "outputs must be scores of two classes or more, along the last axis: a softmax keeps nothing of "
            f"a single number; got shape {tuple(outputs.shape)}"
        )
    if not temperature > 0:
        raise ValueError(f"temperature must be positive; got {temperature!r}")
    soft = torch.softmax(teacher.detach() / temperature, -1)
    entropy = -(soft * F.log_softmax(outputs / temperature, -1)).sum(-1).mean()
    return entropy * temperature**2


def sandwich_losses(
    supernet: Supernet,
    loss: Callable[[Any], tuple[Tensor, Tensor]],
    batch: Any,
    genotypes: Sequence[Genotypes],
    *,
    temperature: float = 1.0,
) -> Iterator[Tensor]:
    """Give the losses of a step of the sandwich rule, one sub-network after the other [1]_.

    Call ``backward`` on each before the next is asked for: then memory is that of one sub-network, and the
    gradients add up.

    Parameters
    ----------
    supernet : Supernet
        Within the iteration it runs one path at a time; `loss` has to run it.
    loss : callable
        Maps a batch to the loss against labels and the supernet's outputs, ``(..., classes)``.
    batch : object
        The batch, the same for all.
    genotypes : sequence of ndarray of int32, shape (d,)
        The teacher first: `nasx.strategies.one_shot.elastic_sampling.sandwich` puts the largest there.
    temperature : float, default 1
        As for `soft_cross_entropy`.

    Yields
    ------
    Tensor, shape ()
        First the teacher's loss against labels, then the others' against the teacher's outputs.

    Raises
    ------
    ValueError
        As `soft_cross_entropy` does.

    References
    ----------
    .. [1] J. Yu and T. Huang, "Universally Slimmable Networks and Improved Training Techniques", ICCV 2019.

    Examples
    --------
    >>> import nasx
    >>> from nasx.nn import Elastic, ElasticLinear
    >>> width = Elastic([2, 4], name="width")
    >>> space = nasx.space_of(torch.nn.Sequential(ElasticLinear(3, width), ElasticLinear(width, 5)))
    >>> supernet = space.supernet()
    >>> def loss(batch):
    ...     outputs = supernet(batch[0])
    ...     return F.cross_entropy(outputs, batch[1]), outputs
    >>> batch = torch.randn(6, 3), torch.arange(6) % 5
    >>> for value in sandwich_losses(supernet, loss, batch, [space.encode({"width": w}) for w in (4, 2)]):
    ...     value.backward()
    """
    teacher: Tensor | None = None
    for genotype in genotypes:
        with supernet.path(supernet.space.architecture(genotype)):
            value, outputs = loss(batch)
            if teacher is None:
                teacher = outputs.detach()
            else:
                value = soft_cross_entropy(outputs, teacher, temperature=temperature)
            yield value
