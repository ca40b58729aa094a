"""MetaNAS written plainly, on a network of three tensors and one mixture: gradients, Adam and Reptile by hand."""

import torch


def loss_of(weights, alphas, temperature, batch):
    """Mean squared error of ``last @ (mixture of tanh, relu and a matrix)(first @ x)``."""
    first, matrix, last = weights
    x, y = batch
    hidden = x @ first.T
    if temperature == 0:  # the strongest alone
        share = (alphas[0][0] == alphas[0][0].max()).double()
    else:
        share = torch.exp(alphas[0][0] / temperature)
        share = share / share.sum()
    mixed = (
        share[0] * torch.tanh(hidden) + share[1] * torch.clamp(hidden, min=0) + share[2] * hidden @ matrix.T
    )
    return ((mixed @ last.T - y) ** 2).mean()


class Adam:
    """Adam without a mean of gradients; it remembers squares from call to call."""

    def __init__(self, lr, clip=None):
        self.lr, self.clip, self.squares, self.steps = lr, clip, None, []

    def step(self, values, gradients):
        if self.clip is not None:
            norm = torch.sqrt(sum((g**2).sum() for g in gradients))
            gradients = [g * min(1.0, self.clip / (float(norm) + 1e-6)) for g in gradients]
        if self.squares is None:
            self.squares, self.steps = [torch.zeros_like(g) for g in gradients], [0] * len(gradients)
        moved = []
        for k, (value, g) in enumerate(zip(values, gradients, strict=True)):
            if not g.any():  # what is not computed is left alone
                moved.append(value)
                continue
            self.steps[k] += 1
            self.squares[k] = 0.999 * self.squares[k] + 0.001 * g**2
            corrected = self.squares[k] / (1 - 0.999 ** self.steps[k])
            moved.append(value - self.lr * g / (torch.sqrt(corrected) + 1e-8))
        return moved


def gradients(of, weights, alphas, temperature, batch):
    weights = [w.detach().requires_grad_() for w in weights]
    alphas = [a.detach().requires_grad_() for a in alphas]
    value = loss_of(weights, alphas, temperature, batch)
    return torch.autograd.grad(value, weights if of == "weights" else alphas)


def adapt(weights, alphas, batches, *, weight_adam, alpha_adam, learns, hot=1.0, cold=0.1, pruned=0):
    """First-order DARTS on one batch after the other, colder from step to step; `pruned` at the end."""
    soft = len(batches) - pruned
    for step, batch in enumerate(batches):
        temperature = hot
        if learns and step >= soft:
            temperature = 0.0
        elif learns:
            temperature = hot + (cold - hot) * (step / (soft - 1) if soft > 1 else 1)
        if learns and step < soft:
            alphas = alpha_adam.step(alphas, gradients("alphas", weights, alphas, temperature, batch))
        weights = weight_adam.step(weights, gradients("weights", weights, alphas, temperature, batch))
    return weights, alphas


def reptile(weights, alphas, updates, *, lr, alpha_lr, clip, meta_lr, alpha_meta_lr, warmup, stands, pruned):
    """Each update is a list of tasks, and each task a list of batches, one a step; `pruned`, one number each."""
    weight_adam, alpha_adam = Adam(lr, clip), Adam(alpha_lr)
    for number, tasks in enumerate(updates):
        ends = [
            adapt(
                weights,
                alphas,
                batches,
                weight_adam=weight_adam,
                alpha_adam=alpha_adam,
                learns=number >= warmup,
                pruned=pruned[number],
            )
            for batches in tasks
        ]
        left = min(1, (len(updates) - number) / (len(updates) - stands))
        alphas_left = min(1, max(0, (stands - number) / (stands - warmup)))
        weights = [
            w + meta_lr * left * (sum(end[0][k] for end in ends) / len(ends) - w)
            for k, w in enumerate(weights)
        ]
        alphas = [
            a + alpha_meta_lr * alphas_left * (sum(end[1][k] for end in ends) / len(ends) - a)
            for k, a in enumerate(alphas)
        ]
    return weights, alphas
