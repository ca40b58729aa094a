"""The kernels of mixed operations, one number after another, in double precision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np


def weighted_sum(terms: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
    total = np.zeros(terms[0].shape)
    for weight, term in zip(weights, terms, strict=True):
        total += float(weight) * term.astype(np.float64)
    return total


def weighted_sum_gradients(
    grad: np.ndarray, terms: Sequence[np.ndarray], weights: np.ndarray
) -> tuple[list[np.ndarray], np.ndarray]:
    """Gradients of the terms, and of the weights."""
    grad = grad.astype(np.float64)
    return [float(weight) * grad for weight in weights], np.array([(grad * term).sum() for term in terms])


def windows(height: int, width: int, stride: int) -> Iterator[tuple[int, int, list[tuple[int, int]]]]:
    """Each output's row and column, and the pixels of its window that are there, row after row."""
    for i in range(-(-height // stride)):
        for j in range(-(-width // stride)):
            pixels = [(i * stride + k, j * stride + m) for k in (-1, 0, 1) for m in (-1, 0, 1)]
            yield i, j, [(y, x) for y, x in pixels if 0 <= y < height and 0 <= x < width]


def _outputs(x: np.ndarray, stride: int) -> np.ndarray:
    batch, channels, height, width = x.shape
    return np.zeros((batch, channels, -(-height // stride), -(-width // stride)))


def max_pool(x: np.ndarray, stride: int) -> np.ndarray:
    out = _outputs(x, stride)
    for i, j, pixels in windows(*x.shape[2:], stride):
        out[:, :, i, j] = np.max([x[:, :, y, z] for y, z in pixels], axis=0)  # NaN if one is
    return out


def max_pool_gradient(grad: np.ndarray, x: np.ndarray, stride: int) -> np.ndarray:
    """Each output's gradient goes to the first of its largest pixels, or to the last that is NaN."""
    found = np.zeros(x.shape)
    for i, j, pixels in windows(*x.shape[2:], stride):
        for b, c in np.ndindex(x.shape[:2]):
            values = [x[b, c, y, z] for y, z in pixels]
            missing = [place for place, value in enumerate(values) if np.isnan(value)]
            place = missing[-1] if missing else values.index(max(values))
            y, z = pixels[place]
            found[b, c, y, z] += grad[b, c, i, j]
    return found


def avg_pool(x: np.ndarray, stride: int) -> np.ndarray:
    out = _outputs(x, stride)
    for i, j, pixels in windows(*x.shape[2:], stride):
        out[:, :, i, j] = np.mean([x[:, :, y, z].astype(np.float64) for y, z in pixels], axis=0)
    return out


def avg_pool_gradient(grad: np.ndarray, x: np.ndarray, stride: int) -> np.ndarray:
    found = np.zeros(x.shape)
    for i, j, pixels in windows(*x.shape[2:], stride):
        for y, z in pixels:
            found[:, :, y, z] += grad[:, :, i, j].astype(np.float64) / len(pixels)
    return found


def relu_depthwise(x: np.ndarray, weights: np.ndarray, stride: int, dilation: int) -> np.ndarray:
    """Convolve each channel of the images, negative numbers set to zero, with its own kernel ``(C, k, k)``."""
    out = _outputs(x, stride)
    rectified = np.where(x <= 0, 0, x).astype(np.float64)
    for i, j, k, m, y, z in depthwise_terms(x.shape[2:], weights.shape[1], stride, dilation):
        out[:, :, i, j] += rectified[:, :, y, z] * weights[:, k, m]
    return out


def relu_depthwise_gradients(
    grad: np.ndarray, x: np.ndarray, weights: np.ndarray, stride: int, dilation: int
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of the images, and of the weights."""
    of_x, of_weights = np.zeros(x.shape), np.zeros(weights.shape)
    grad = grad.astype(np.float64)
    rectified = np.where(x <= 0, 0, x)
    for i, j, k, m, y, z in depthwise_terms(x.shape[2:], weights.shape[1], stride, dilation):
        of_x[:, :, y, z] += grad[:, :, i, j] * weights[:, k, m]
        of_weights[:, k, m] += (grad[:, :, i, j] * rectified[:, :, y, z]).sum(0)
    return np.where(x <= 0, 0, of_x), of_weights


def depthwise_terms(
    size: tuple[int, ...], kernel: int, stride: int, dilation: int
) -> Iterator[tuple[int, int, int, int, int, int]]:
    """Row and column of an output, of a weight, and of the pixel that both meet in, if it is there."""
    height, width = size
    padding = dilation * (kernel // 2)
    for i, j in np.ndindex(-(-height // stride), -(-width // stride)):
        for k, m in np.ndindex(kernel, kernel):
            y, z = i * stride + k * dilation - padding, j * stride + m * dilation - padding
            if 0 <= y < height and 0 <= z < width:
                yield i, j, k, m, y, z


def batch_norm(x: np.ndarray, epsilon: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images with means and variances of channels taken out, and those."""
    x = x.astype(np.float64)
    means, variances = x.mean((0, 2, 3)), x.var((0, 2, 3))
    scaled = (x - means[:, None, None]) / np.sqrt(variances + epsilon)[:, None, None]
    return scaled, means, variances


def batch_norm_gradient(grad: np.ndarray, x: np.ndarray, epsilon: float) -> np.ndarray:
    """What is left of the gradient without its parts along a shift and a scale of each channel, scaled."""
    normalized, _, variances = batch_norm(x, epsilon)
    grad = grad.astype(np.float64)
    along = (grad * normalized).mean((0, 2, 3), keepdims=True) * normalized
    return (grad - grad.mean((0, 2, 3), keepdims=True) - along) / np.sqrt(variances + epsilon)[:, None, None]


def normalized_sum(
    terms: Sequence[np.ndarray], normalized: Sequence[bool], weights: np.ndarray, epsilon: float
) -> np.ndarray:
    """Some terms are normalised first."""
    return weighted_sum(_normalized(terms, normalized, epsilon), weights)


def normalized_sum_gradients(
    grad: np.ndarray,
    terms: Sequence[np.ndarray],
    normalized: Sequence[bool],
    weights: np.ndarray,
    epsilon: float,
) -> tuple[list[np.ndarray], np.ndarray]:
    """Gradients of the terms, and of the weights."""
    scaled = _normalized(terms, normalized, epsilon)
    of_scaled, of_weights = weighted_sum_gradients(grad, scaled, weights)
    of_terms = [
        batch_norm_gradient(one, term, epsilon) if norm else one
        for one, term, norm in zip(of_scaled, terms, normalized, strict=True)
    ]
    return of_terms, of_weights


def _normalized(terms: Sequence[np.ndarray], normalized: Sequence[bool], epsilon: float) -> list[np.ndarray]:
    return [
        batch_norm(term, epsilon)[0] if norm else term.astype(np.float64)
        for term, norm in zip(terms, normalized, strict=True)
    ]


def pointwise(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Weights (out channels, in channels)."""
    out = np.zeros((x.shape[0], len(weights), *x.shape[2:]))
    for o, c in np.ndindex(weights.shape):
        out[:, o] += float(weights[o, c]) * x[:, c].astype(np.float64)
    return out


def pointwise_gradients(
    grad: np.ndarray, x: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Gradients of the images, and of the weights."""
    of_x, of_weights = np.zeros(x.shape), np.zeros(weights.shape)
    for o, c in np.ndindex(weights.shape):
        of_x[:, c] += float(weights[o, c]) * grad[:, o].astype(np.float64)
        of_weights[o, c] = (grad[:, o].astype(np.float64) * x[:, c]).sum()
    return of_x, of_weights


# A chain: "identity", ("max_pool" or "avg_pool", stride), or stages of (depthwise, pointwise, stride, dilation).
Chain = str | tuple[str, int] | list[tuple[np.ndarray, np.ndarray, int, int]]


def _pool(chain: tuple[str, int], x: np.ndarray) -> np.ndarray:
    return (max_pool if chain[0] == "max_pool" else avg_pool)(x, chain[1])


def _stages(chain: list, x: np.ndarray, epsilon: float) -> list[tuple[np.ndarray, ...]]:
    """For each stage what it reads, normalised, what its depthwise convolution gives, and its output."""
    found = []
    for depthwise, dense, stride, dilation in chain:
        images = batch_norm(found[-1][2], epsilon)[0] if found else x
        convolved = relu_depthwise(images, depthwise, stride, dilation)
        found.append((images, convolved, pointwise(convolved, dense)))
    return found


def chain_end(chain: Chain, x: np.ndarray, epsilon: float) -> np.ndarray:
    """What a chain gives; the last stage's output is not normalised yet."""
    if chain == "identity":
        return x
    return _pool(chain, x) if isinstance(chain, tuple) else _stages(chain, x, epsilon)[-1][2]


def mixed_sum(
    x: np.ndarray, chains: Sequence[Chain], normalized: Sequence[bool], weights: np.ndarray, epsilon: float
) -> np.ndarray:
    """Chains one after another, and the normalised sum of what they give."""
    return normalized_sum([chain_end(chain, x, epsilon) for chain in chains], normalized, weights, epsilon)


def mixed_sum_gradients(
    grad: np.ndarray,
    x: np.ndarray,
    chains: Sequence[Chain],
    normalized: Sequence[bool],
    weights: np.ndarray,
    epsilon: float,
) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Gradients of the images, of the weights, and of the convolutions' weights in order."""
    ends = [chain_end(chain, x, epsilon) for chain in chains]
    of_ends, of_weights = normalized_sum_gradients(grad, ends, normalized, weights, epsilon)
    of_x, of_kernels = np.zeros(x.shape), []
    for chain, passed in zip(chains, of_ends, strict=True):
        if chain == "identity":
            of_x += passed
        elif isinstance(chain, tuple):
            back = max_pool_gradient if chain[0] == "max_pool" else avg_pool_gradient
            of_x += back(passed, x, chain[1])
        else:
            made, found = _stages(chain, x, epsilon), []
            for place in reversed(range(len(chain))):
                depthwise, dense, stride, dilation = chain[place]
                images, convolved, _ = made[place]
                of_convolved, of_dense = pointwise_gradients(passed, convolved, dense)
                passed, of_depthwise = relu_depthwise_gradients(
                    of_convolved, images, depthwise, stride, dilation
                )
                found = [of_depthwise, of_dense, *found]
                if place > 0:
                    passed = batch_norm_gradient(passed, made[place - 1][2], epsilon)
            of_x += passed
            of_kernels += found
    return of_x, of_weights, of_kernels
