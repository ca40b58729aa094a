"""`PCDARTS`: DARTS on a part of the channels."""

from __future__ import annotations

import dataclasses
from typing import Any

from nasx.strategies.differentiable.darts import DARTS

__all__ = ["PCDARTS"]

_WARMUP = 0.3


@dataclasses.dataclass(kw_only=True, eq=False)
class PCDARTS(DARTS):
    """DARTS whose operations work on a part of the channels, with weights on the edges too [1]_.

    One of `partial_channels` parts of the channels goes through the operations, the others pass by, and the
    channels are shuffled: a fraction of the time and memory, and less reason to prefer operations without
    weights. The edges into each node get parameters of their own, whose softmax scales what they bring: it
    steadies which edges are kept. The architecture is derived from the products of both weights, and learns
    only after `warmup_epochs`.

    Settings are those of `DARTS`, with other defaults, and:

    Parameters
    ----------
    partial_channels : int, default 4
        K of the paper; it must divide the channels of the space.
    edge_normalization : bool, default True
        Whether edges have parameters.
    epochs, batch_size, lr, lr_min, architecture_lr
        By default 50, 256, 0.1, 0 and 6e-4, as published.
    warmup_epochs : int, optional
        By default three tenths of the epochs: the published 15 of 50.
    order, architecture_data, momentum, weight_decay, grad_clip, architecture_betas, architecture_weight_decay
        As for `DARTS`.
    temperature, final_temperature, early_stop, max_skips, mixed_precision, recompute
        As for `DARTS`.
    cost_form, cost_weight, cost_exponent
        As for `DARTS`.

    Raises
    ------
    ValueError
        If a setting is out of range.

    References
    ----------
    .. [1] Y. Xu et al., "PC-DARTS: Partial Channel Connections for Memory-Efficient Architecture Search",
       ICLR 2020.

    Examples
    --------
    >>> import nasx
    >>> data = nasx.tasks.datasets.load("digits")
    >>> task = nasx.tasks.ImageClassification(data["train"], data["valid"], device="cpu")
    >>> space = nasx.spaces.NASBench201(cells=1, channels=4)
    >>> result = nasx.search(space, task, strategy=PCDARTS(epochs=2, warmup_epochs=1, batch_size=64))
    >>> len(result.history), len(result.best.architecture)
    (2, 6)
    """

    batch_size: int = 256
    lr: float = 0.1
    lr_min: float = 0.0
    architecture_lr: float = 6e-4
    warmup_epochs: int | None = None  # type: ignore[assignment]  # a number once it is made
    partial_channels: int = 4
    edge_normalization: bool = True

    def __post_init__(self) -> None:
        self._check_integers(epochs=1)
        if self.warmup_epochs is None:
            self.warmup_epochs = round(_WARMUP * self.epochs)
        super().__post_init__()
        self._check_integers(partial_channels=1)
        self._check_flags("edge_normalization")

    @property
    def supernet_settings(self) -> dict[str, Any]:
        """What ``space.supernet`` is given besides the task's spec."""
        return {"partial_channels": self.partial_channels, "edge_normalization": self.edge_normalization}
