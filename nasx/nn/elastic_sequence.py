"""Elastic layers of networks on sequences: embeddings, layer normalisation, convolutions over time."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from nasx.nn.choices import ElasticModule
from nasx.nn.elastic import copied
from nasx.nn.sizes import Size, check_size, current, is_decided, largest

__all__ = ["ElasticDepthwiseConv1d", "ElasticEmbedding", "ElasticLayerNorm"]


class ElasticEmbedding(ElasticModule):
    """An embedding of an elastic width: the first numbers of each vector.

    Parameters
    ----------
    num_embeddings : int
        How many vectors there are.
    embedding_dim : int, Elastic or ElasticProduct
        How wide they are.

    Raises
    ------
    ValueError
        If a size is no positive integer.

    Examples
    --------
    >>> import torch
    >>> from nasx.nn import Elastic
    >>> width = Elastic([4, 8])
    >>> layer = ElasticEmbedding(10, width)
    >>> with width.at(4):
    ...     layer(torch.tensor([[1, 2, 3]])).shape, layer.extract()
    (torch.Size([1, 3, 4]), Embedding(10, 4))
    """

    def __init__(self, num_embeddings: int, embedding_dim: Size) -> None:
        super().__init__()
        check_size(num_embeddings, "num_embeddings")
        check_size(embedding_dim, "embedding_dim")
        self.num_embeddings, self.embedding_dim = num_embeddings, embedding_dim
        self.weight = nn.Embedding(num_embeddings, largest(embedding_dim)).weight

    @property
    def is_decided(self) -> bool:
        """Whether the width is set."""
        return is_decided(self.embedding_dim)

    def active(self) -> Tensor:
        """Give the part of the vectors that is used now, ``(num_embeddings, embedding_dim)``: a view."""
        return self.weight[:, : current(self.embedding_dim)]

    def forward(self, x: Tensor) -> Tensor:
        """Map numbers ``(...)`` to vectors ``(..., embedding_dim)``."""
        return F.embedding(x, self.weight)[..., : current(self.embedding_dim)]

    def extract(self, memo: dict[int, Any] | None = None) -> nn.Embedding:
        """Make a plain embedding with copies of the vectors' parts that are used now."""
        weight = self.active()
        plain = nn.Embedding(weight.shape[0], weight.shape[1], device="meta")
        plain.weight = copied(weight, self.weight)
        return plain.train(self.training)


class ElasticLayerNorm(ElasticModule):
    """A layer normalisation over an elastic number of features, the first ones.

    Mean and deviation are those of the features that are there.

    Parameters
    ----------
    normalized_shape : int, Elastic or ElasticProduct
        Features.
    eps : float, default 1e-5
        Added to the variance.

    Raises
    ------
    ValueError
        If the number of features is no positive integer.

    Examples
    --------
    >>> import torch
    >>> from nasx.nn import Elastic
    >>> width = Elastic([2, 4])
    >>> layer = ElasticLayerNorm(width)
    >>> with width.at(2):
    ...     layer(torch.tensor([[1.0, 3.0]])).round(), layer.extract().normalized_shape
    (tensor([[-1.,  1.]], grad_fn=<RoundBackward0>), (2,))
    """

    def __init__(self, normalized_shape: Size, eps: float = 1e-5) -> None:
        super().__init__()
        check_size(normalized_shape, "normalized_shape")
        self.normalized_shape, self.eps = normalized_shape, eps
        whole = nn.LayerNorm(largest(normalized_shape))
        self.weight, self.bias = whole.weight, whole.bias

    @property
    def is_decided(self) -> bool:
        """Whether the number of features is set."""
        return is_decided(self.normalized_shape)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``(..., normalized_shape)`` over the last axis."""
        width = current(self.normalized_shape)
        return F.layer_norm(x, (width,), self.weight[:width], self.bias[:width], self.eps)

    def extract(self, memo: dict[int, Any] | None = None) -> nn.LayerNorm:
        """Make a plain layer normalisation with copies of the weights that are used now."""
        width = current(self.normalized_shape)
        plain = nn.LayerNorm(width, self.eps, device="meta")
        plain.weight, plain.bias = (copied(one[:width], one) for one in (self.weight, self.bias))
        return plain.train(self.training)


class ElasticDepthwiseConv1d(ElasticModule):
    """A depthwise convolution over time of an elastic number of channels, the first ones; without padding.

    Parameters
    ----------
    channels : int, Elastic or ElasticProduct
        Channels.
    kernel_size : int
        How many places each result sees.

    Raises
    ------
    ValueError
        If a size is no positive integer.

    Examples
    --------
    >>> import torch
    >>> from nasx.nn import Elastic
    >>> width = Elastic([4, 8])
    >>> layer = ElasticDepthwiseConv1d(width, 3)
    >>> with width.at(4):
    ...     layer(torch.zeros(2, 4, 10)).shape, layer.extract()
    (torch.Size([2, 4, 8]), Conv1d(4, 4, kernel_size=(3,), stride=(1,), groups=4))
    """

    def __init__(self, channels: Size, kernel_size: int) -> None:
        super().__init__()
        check_size(channels, "channels")
        check_size(kernel_size, "kernel_size")
        self.channels, self.kernel_size = channels, kernel_size
        whole = nn.Conv1d(largest(channels), largest(channels), kernel_size, groups=largest(channels))
        assert whole.bias is not None
        self.weight, self.bias = whole.weight, whole.bias

    @property
    def is_decided(self) -> bool:
        """Whether the number of channels is set."""
        return is_decided(self.channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, channels, T)`` to ``(B, channels, T - kernel_size + 1)``."""
        channels = current(self.channels)
        return F.conv1d(x, self.weight[:channels], self.bias[:channels], groups=channels)

    def extract(self, memo: dict[int, Any] | None = None) -> nn.Conv1d:
        """Make a plain convolution with copies of the weights that are used now."""
        channels = current(self.channels)
        plain = nn.Conv1d(channels, channels, self.kernel_size, groups=channels, device="meta")
        plain.weight, plain.bias = (copied(one[:channels], one) for one in (self.weight, self.bias))
        return plain.train(self.training)
