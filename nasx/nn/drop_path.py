"""`DropPath`: whole branches of a network left out at random while it is trained."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["DropPath"]


class DropPath(nn.Module):
    """Set a branch's output to zero for some of the images, at random, in training mode only.

    Put it at the end of a branch whose output is added to others: an image then goes through the others
    alone. Every image of a batch is dropped or kept by itself, and what is kept is divided by ``1 - rate``,
    so that the mean stays the same. This is the local form of [1]_ without its rule that one branch of
    each sum is kept: the sum needs another branch, such as an identity, that is never dropped.

    Masks are drawn on the input's device from torch's global generator of that device.

    Parameters
    ----------
    rate : float, default 0
        Share of the images that are dropped. It may be set at any time:
        ``ImageClassification(drop_path=...)`` raises it from epoch to epoch.

    Raises
    ------
    ValueError
        If the rate is no number of at least 0 and less than 1; also when it is set later.

    References
    ----------
    .. [1] G. Larsson, M. Maire and G. Shakhnarovich, "FractalNet: Ultra-Deep Neural Networks without
       Residuals", ICLR 2017.

    Examples
    --------
    >>> import torch
    >>> branch = DropPath(0.5)
    >>> sorted(set(branch(torch.ones(100, 1)).flatten().tolist()))
    [0.0, 2.0]
    >>> branch.eval()(torch.ones(3, 1)).flatten().tolist()
    [1.0, 1.0, 1.0]
    """

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    @property
    def rate(self) -> float:
        """Share of the images that are dropped, in 0..1."""
        return self._rate

    @rate.setter
    def rate(self, value: float) -> None:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1:
            raise ValueError(f"rate must be a number of at least 0 and less than 1; got {value!r}")
        self._rate = float(value)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, ...)`` to the same shape; in evaluation mode, and at rate 0, to itself."""
        if not self.training or self._rate == 0:
            return x
        kept = 1 - self._rate
        mask = x.new_empty(x.shape[:1] + (1,) * (x.ndim - 1)).bernoulli_(kept)
        return x * mask.div_(kept)

    def extra_repr(self) -> str:
        """Name the rate where the module is printed."""
        return f"rate={self._rate:g}"
