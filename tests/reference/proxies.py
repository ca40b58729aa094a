"""Proxies written plainly: loops over paths, bits, weights, gates and places, and numerical derivatives."""

import itertools
import math

import numpy as np
import torch


def hamming_kernel(codes):
    """Number of activations in which each two inputs agree; codes are rows of bits, one row an input."""
    n = len(codes)
    kernel = np.zeros((n, n))
    for i, j in itertools.product(range(n), repeat=2):
        kernel[i, j] = sum(bool(a) == bool(b) for a, b in zip(codes[i], codes[j], strict=True))
    return kernel


def naswot(codes):
    """Log-determinant of the kernel of agreeing activations."""
    sign, value = np.linalg.slogdet(hamming_kernel(codes))
    return value if sign > 0 else -math.inf


def synflow(matrices):
    """Log of the sum over weights of all that flows through them, path by path.

    Fully connected layers without biases, each matrix of shape (outputs, inputs), and an input of ones.
    """
    sizes = [matrices[0].shape[1], *(matrix.shape[0] for matrix in matrices)]
    total = 0.0
    for path in itertools.product(*map(range, sizes)):
        flow = 1.0
        for matrix, start, end in zip(matrices, path, path[1:], strict=False):
            flow *= abs(float(matrix[end, start]))
        total += flow * len(matrices)  # it flows through so many weights
    return math.log(total)


def jacob_cov(network, inputs):
    """Spectrum of the correlations of input gradients, each made of one output of one input at a time."""
    rows = np.zeros((len(inputs), inputs[0].numel()))
    x = inputs.clone().requires_grad_(True)
    outputs = network(x)
    for i, k in itertools.product(range(len(outputs)), range(outputs.shape[1])):
        (gradient,) = torch.autograd.grad(outputs[i, k], x, retain_graph=True)
        rows += gradient.reshape(len(x), -1).double().numpy()
    values = np.linalg.eigvals(np.corrcoef(rows)).real
    return -sum(math.log(v + 1e-5) + 1 / (v + 1e-5) for v in values)


def derivative(function, numbers, place, step=1e-5):
    """Central difference of a function of a tensor of doubles by one of its numbers."""
    with torch.no_grad():
        before = numbers[place].clone()
        numbers[place] = before + step
        above = float(function())
        numbers[place] = before - step
        below = float(function())
        numbers[place] = before
    return (above - below) / (2 * step)


def places_of(tensor):
    return list(itertools.product(*map(range, tensor.shape)))


def snip(loss, weights):
    """Sum over weights of |d loss / d gate|, where a gate of 1 multiplies the weight."""
    total = 0.0
    for weight in weights:
        for place in places_of(weight):
            # d loss(gate * w) / d gate is w times the derivative by the weight.
            total += abs(float(weight[place].detach()) * derivative(loss, weight, place))
    return total


def grad_norm(loss, weights):
    """Sum over layers of the length of the gradient."""
    return sum(
        math.sqrt(sum(derivative(loss, weight, place) ** 2 for place in places_of(weight)))
        for weight in weights
    )


def fisher(loss_of_gates, shapes):
    """Half the mean over inputs of squared derivatives by gates, which multiply a channel of one input.

    ``loss_of_gates(gates)`` is the loss with a gate for each input and channel of each layer, and `shapes` are
    (inputs, channels) of the layers.
    """
    gates = [torch.ones(shape, dtype=torch.float64) for shape in shapes]
    total = 0.0
    for gate in gates:
        for channel in range(gate.shape[1]):
            slopes = [derivative(lambda: loss_of_gates(gates), gate, (i, channel)) for i in range(len(gate))]
            total += sum(slope**2 for slope in slopes) / len(slopes) / 2
    return total


def entropy(features):
    """How evenly the variance of images' pixels lies over directions: features of shape (B, C, H, W)."""
    pixels = np.array([image[:, i, j] for image in features for i, j in np.ndindex(image.shape[1:])])
    covariance = np.cov(pixels.T, bias=True)
    values = np.maximum(np.linalg.eigvalsh(covariance), 0)
    shares = values / values.sum()
    return -sum(share * math.log(share + 1e-8) for share in shares)


def gain(signs, gradient):
    """Largest singular value of the mean over places of the outer product of both, folded to one size."""
    stride = gradient.shape[2] // signs.shape[2]
    n, channels, height, width = signs.shape
    total = np.zeros((gradient.shape[1] * stride**2, channels))
    for image, i, j in itertools.product(range(n), range(height), range(width)):
        patch = gradient[image, :, i * stride : (i + 1) * stride, j * stride : (j + 1) * stride]
        total += np.outer(patch.ravel(), signs[image, :, i, j])
    return np.linalg.svd(total / (n * height * width), compute_uv=False)[0]


def aggregate(columns):
    """Sum of log(rank / n), ranks from 1 at the worst, ties at their mean."""
    n = len(columns[0])
    total = [0.0] * n
    for column in columns:
        for i, value in enumerate(column):
            below = sum(other < value for other in column)
            same = sum(other == value for other in column)
            total[i] += math.log((below + (same + 1) / 2) / n)
    return total
