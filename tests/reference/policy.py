"""Policies with free logits, their learning and the rewards, one number after another."""

from __future__ import annotations

import math

import numpy as np

from reference.philox import Stream
from reference.population import Row, Rules, active


def parts(cardinalities, logits):
    return np.split(np.asarray(logits, float), np.cumsum(cardinalities)[:-1])


def softmax(logits):
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def draw(cardinalities, rules: Rules, logits, seed: int, item: int) -> tuple[Row, list[float]]:
    stream = Stream("policy", seed, 0, item)
    row, log_probs = [-1] * len(cardinalities), []
    for j, part in enumerate(parts(cardinalities, logits)):
        log_probs.append(0.0)
        if active(j, row, rules):
            below = np.cumsum(softmax(part))
            lot = stream.uniform()
            row[j] = int(sum(lot >= one for one in below[:-1]))
            log_probs[j] = math.log(softmax(part)[row[j]])
    return row, log_probs


def log_probs_of(cardinalities, logits, rows):
    found = np.zeros(np.shape(rows))
    for j, part in enumerate(parts(cardinalities, logits)):
        for i, row in enumerate(rows):
            if row[j] >= 0:
                found[i, j] = np.log(softmax(part))[row[j]]
    return found


def policy_gradient(cardinalities, logits, rows, advantages, entropy_weight):
    """Of minus the mean of advantage times log-probability plus weighted entropy."""
    gradient = [np.zeros(c) for c in cardinalities]
    for row, advantage in zip(rows, advantages, strict=True):
        for j, part in enumerate(parts(cardinalities, logits)):
            if row[j] >= 0:
                gradient[j] -= advantage * ((np.arange(len(part)) == row[j]) - softmax(part)) / len(rows)
                gradient[j] += entropy_weight * entropy_gradient(part) / len(rows)
    return np.concatenate(gradient)


def entropy_gradient(part):
    """Of minus the entropy."""
    p = softmax(part)
    return p * (np.log(p) - (p * np.log(p)).sum())


def values_of(cardinalities, critic, rows):
    numbers = parts(cardinalities, critic[1:])
    values = np.zeros(np.shape(rows))
    for i, row in enumerate(rows):
        value = critic[0]
        for j, choice in enumerate(row):
            if choice >= 0:
                values[i, j] = value
                value += numbers[j][choice]
    return values


def advantages_of(rows, values, rewards, discount):
    """Sums of temporal differences, by definition."""
    advantages = np.zeros(np.shape(rows))
    for i, row in enumerate(rows):
        steps = [j for j, choice in enumerate(row) if choice >= 0]
        ahead = [values[i, j] for j in steps[1:]] + [rewards[i]]
        differences = [after - values[i, j] for after, j in zip(ahead, steps, strict=True)]
        for t, j in enumerate(steps):
            advantages[i, j] = sum(discount**k * delta for k, delta in enumerate(differences[t:]))
    return advantages


def ppo_gradient(
    cardinalities, parameters, rows, log_probs, advantages, targets, clip, entropy_weight, value_weight
):
    choices = sum(cardinalities)
    logits, critic = parameters[:choices], parameters[choices:]
    new, values = log_probs_of(cardinalities, logits, rows), values_of(cardinalities, critic, rows)
    starts = np.cumsum([0, *cardinalities])
    gradient = np.zeros(len(parameters))
    divergence, clipped, decisions = 0.0, 0, 0
    for i, row in enumerate(rows):
        for j, part in enumerate(parts(cardinalities, logits)):
            if row[j] < 0:
                continue
            ratio, gain = math.exp(new[i, j] - log_probs[i, j]), advantages[i, j]
            inside = ratio * gain <= min(max(ratio, 1 - clip), 1 + clip) * gain
            score = ((np.arange(len(part)) == row[j]) - softmax(part)) * ratio * gain * inside
            place = slice(starts[j], starts[j + 1])
            gradient[place] += (entropy_weight * entropy_gradient(part) - score) / len(rows)
            error = value_weight * (values[i, j] - targets[i, j]) / len(rows)
            gradient[choices] += error
            for k in range(j):
                if row[k] >= 0:
                    gradient[choices + 1 + starts[k] + row[k]] += error
            divergence += ratio - 1 - math.log(ratio)
            clipped += not inside
            decisions += 1
    return gradient, divergence / decisions, clipped / decisions


class Adam:
    def __init__(self, size: int) -> None:
        self.first, self.second, self.steps = np.zeros(size), np.zeros(size), 0

    def step(self, parameters, gradient, rate):
        self.steps += 1
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = 0.999 * self.second + 0.001 * gradient**2
        first = self.first / (1 - 0.9**self.steps)
        second = self.second / (1 - 0.999**self.steps)
        return parameters - rate * first / (np.sqrt(second) + 1e-8)


def ppo_update(cardinalities, parameters, adam, rows, log_probs, rewards, seed, generation, settings):
    choices = sum(cardinalities)
    rows, log_probs = np.asarray(rows), np.asarray(log_probs)
    values = values_of(cardinalities, parameters[choices:], rows)
    advantages = advantages_of(rows, values, rewards, settings["gae_lambda"])
    for epoch in range(settings["epochs"]):
        stream, order = Stream("minibatch", seed, generation, epoch), list(range(len(rows)))
        for i in range(len(order), 1, -1):
            j = stream.below(i)
            order[i - 1], order[j] = order[j], order[i - 1]
        for begin in range(0, len(rows), settings["minibatch_size"]):
            part = order[begin : begin + settings["minibatch_size"]]
            gradient, divergence, _ = ppo_gradient(
                cardinalities,
                parameters,
                rows[part],
                log_probs[part],
                advantages[part],
                (advantages + values)[part],
                settings["clip"],
                settings["entropy_weight"],
                settings["value_weight"],
            )
            if settings["target_kl"] and divergence > 1.5 * settings["target_kl"]:
                return parameters
            norm = np.sqrt((gradient**2).sum())
            if settings["max_norm"]:
                gradient = gradient * min(1, settings["max_norm"] / (norm + 1e-6))
            parameters = adam.step(parameters, gradient, settings["learning_rate"])
    return parameters


class Rewards:
    """Keeps everything and computes each reward from the whole history."""

    def __init__(self, weights, momentum=0.9, exponent=None) -> None:
        self.weights, self.momentum, self.exponent = weights, momentum, exponent
        self.taken: list[list[float]] = []  # losses of those that count as feasible
        self.violations: list[float] = []
        self.averaged: list[list[float] | None] = []  # what enters the baseline
        self.penalties: list[float] = []

    def average(self, values):
        weights = [self.momentum ** (len(values) - 1 - i) for i in range(len(values))]
        return float(np.average(values, weights=weights)) if values else 0.0

    def observe(self, losses, violation):
        losses, penalty = list(losses), 0.0
        failed = math.isinf(violation)
        if violation == 0 or (self.exponent is not None and not failed):
            factor = (1 + violation) ** (self.exponent or 0.0)
            losses = [x / factor if x > 0 else x * factor for x in losses]
            self.taken.append(losses)
        else:
            losses = [max(column) for column in zip(*self.taken, strict=True)]
            if failed:
                most = max(self.violations, default=0.0)
                penalty = 2 + most / np.mean(self.violations) if self.violations else 1.0
            else:
                self.violations.append(violation)
                penalty = 1 + violation / np.mean(self.violations)
        if not failed:
            self.penalties.append(penalty)
            if self.taken:
                self.averaged.append(losses)
        reward, baseline = -penalty, -self.average(self.penalties)
        for k, weight in enumerate(self.weights if self.taken else []):
            column = [row[k] for row in self.taken]
            scale = weight / (np.std(column) or 1.0)
            reward -= scale * (losses[k] - np.mean(column))
            baseline -= scale * (self.average([row[k] for row in self.averaged]) - np.mean(column))
        return reward, baseline


class ReferencePolicySearch:
    """REINFORCE, or PPO where `ppo` holds its settings, for spaces without limits."""

    def __init__(self, cardinalities, rules, *, objectives, seed, batch_size, ppo=None, **settings) -> None:
        self.cardinalities, self.rules, self.seed = cardinalities, rules, seed
        self.batch_size, self.ppo, self.settings = batch_size, ppo, settings
        self.choices = sum(cardinalities)
        self.parameters = np.zeros(2 * self.choices + 1 if ppo else self.choices)
        self.adam = Adam(len(self.parameters))
        self.rewards = Rewards([1 / objectives] * objectives)
        self.known: dict[tuple[int, ...], tuple[list[float], float]] = {}
        self.waiting: dict[tuple[int, ...], list[float]] = {}
        self.batch: list[tuple[Row, list[float], float, float]] = []
        self.proposed = self.updates = 0

    def ask(self) -> Row:
        while True:
            item, self.proposed = self.proposed, self.proposed + 1
            row, log_probs = draw(
                self.cardinalities, self.rules, self.parameters[: self.choices], self.seed, item
            )
            if tuple(row) in self.known:
                self.learn(row, log_probs, *self.known[tuple(row)])
            elif tuple(row) not in self.waiting:
                self.waiting[tuple(row)] = log_probs
                return row

    def tell(self, row: Row, losses: list[float], violation: float) -> None:
        self.known[tuple(row)] = losses, violation
        if tuple(row) in self.waiting:
            self.learn(row, self.waiting.pop(tuple(row)), losses, violation)

    def learn(self, row: Row, log_probs: list[float], losses: list[float], violation: float) -> None:
        self.batch.append((row, log_probs, *self.rewards.observe(losses, violation)))
        if len(self.batch) < self.batch_size:
            return
        rows, behaviour, rewards, baselines = (list(column) for column in zip(*self.batch, strict=True))
        self.batch = []
        if self.ppo:
            self.parameters = ppo_update(
                self.cardinalities,
                self.parameters,
                self.adam,
                rows,
                behaviour,
                rewards,
                self.seed,
                self.updates,
                self.ppo,
            )
        else:
            advantages = np.subtract(rewards, baselines)
            gradient = policy_gradient(
                self.cardinalities, self.parameters, rows, advantages, self.settings["entropy_weight"]
            )
            self.parameters = self.adam.step(self.parameters, gradient, self.settings["learning_rate"])
        self.updates += 1
