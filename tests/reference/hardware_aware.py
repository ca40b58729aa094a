"""FBNet and ProxylessNAS written plainly: draws, gradients of gates, and what a step leaves as it was."""

import math

import numpy as np
import torch


def gumbel_softmax(logits, temperature):
    """Weights of a mixture, from exponential numbers drawn as torch draws them."""
    noise = -torch.empty_like(logits).exponential_().log()
    raised = torch.exp((logits + noise) / temperature)
    return raised / raised.sum(-1, keepdim=True)


def logarithm(x):
    """The logarithm, below e the line that touches it there."""
    return math.log(x) if x >= math.e else x / math.e


def fbnet_loss(loss, cost, weight=0.2, exponent=0.6):
    return loss * weight * logarithm(cost) ** exponent


def add_loss(loss, cost, target, weight=0.1):
    return loss + weight * (cost - target) / target


def multiply_loss(loss, cost, target, weight=0.2, exponent=0.3):
    return loss * weight * (logarithm(cost) / logarithm(target)) ** exponent


def expected_cost(probabilities, entries, intercept=0.0):
    """Sum over decisions and choices of the probability times what the choice costs."""
    total = intercept
    for row, costs in zip(probabilities, entries, strict=True):
        for probability, cost in zip(row, costs, strict=True):
            total += float(probability) * float(cost)
    return total


def softmax(row):
    raised = np.exp(np.asarray(row, np.float64) - max(row))
    return raised / raised.sum()


def pair_gradient(logits, pair, changes):
    """Gradient of a row of logits: the Jacobian of the softmax over the pair, and zero elsewhere.

    `changes` are what the loss changes by each of the pair's gates.
    """
    shares = softmax([logits[k] for k in pair])
    gradient = np.zeros(len(logits))
    for i in range(2):
        for j in range(2):
            gradient[pair[i]] += changes[j] * shares[j] * ((i == j) - shares[i])
    return gradient


def pair_step(logits, pair, gradient, second, step, lr, beta=0.999, epsilon=1e-8):
    """Adam with a first momentum of 0, and both of the pair moved so that their sum of exponentials is as before.

    Returns the new logits and the new second moments.
    """
    second = beta * second + (1 - beta) * gradient**2
    corrected = second / (1 - beta**step)
    moved = np.array(logits, np.float64) - lr * gradient / (np.sqrt(corrected) + epsilon)
    before = math.log(sum(math.exp(logits[k]) for k in pair))
    after = math.log(sum(math.exp(moved[k]) for k in pair))
    for k in pair:
        moved[k] += before - after
    return moved, second


def policy_gradient(rows, paths, advantages):
    """Gradient of minus the mean over paths of advantage times the sum of the log-probabilities."""
    gradients = [np.zeros(len(row)) for row in rows]
    for path, advantage in zip(paths, advantages, strict=True):
        for gradient, row, taken in zip(gradients, rows, path, strict=True):
            probabilities = softmax(row)
            for k in range(len(row)):
                gradient[k] -= advantage * ((k == taken) - probabilities[k]) / len(paths)
    return gradients
