"""DARTS and PC-DARTS written plainly: partial channels, cells, derived cells and second-order gradients."""

import numpy as np
import torch
from torch.nn import functional as F


def shuffled(x, groups):
    """Channel ``j`` of group ``g`` goes to place ``j * groups + g``."""
    out = torch.empty_like(x)
    size = x.shape[1] // groups
    for group in range(groups):
        for j in range(size):
            out[:, j * groups + group] = x[:, group * size + j]
    return out


def partial_channels(x, operations, weights, portion, stride):
    """The first part of the channels goes through all operations, the others pass by."""
    part = x.shape[1] // portion
    worked = sum(
        weight * operation(x[:, :part]) for weight, operation in zip(weights, operations, strict=True)
    )
    rest = x[:, part:]
    if stride == 2:
        # Windows of 2x2 pixels; what is beyond the border is smaller than any number.
        height, width = x.shape[2:]
        rest = F.pad(rest, (0, width % 2, 0, height % 2), value=-torch.inf)
        corners = [rest[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]
        rest = torch.stack(corners).amax(0)
    return shuffled(torch.cat([worked, rest], 1), portion)


def edges_of(nodes):
    """``(node, source)`` of all edges of a cell; 0 and 1 are its inputs."""
    return [(node, source) for node in range(2, nodes + 2) for source in range(node)]


def derived(alphas, names, nodes, betas=None):
    """Genotype of a cell: ``(operation, source)``, two for each node, by source."""
    weights = np.exp(alphas) / np.exp(alphas).sum(1, keepdims=True)
    edges = edges_of(nodes)
    if betas is not None:
        for node in range(2, nodes + 2):
            into = [e for e, (to, _) in enumerate(edges) if to == node]
            share = np.exp(betas[into]) / np.exp(betas[into]).sum()
            weights[into] *= share[:, None]
    genotype = []
    for node in range(2, nodes + 2):
        candidates = []
        for e, (to, source) in enumerate(edges):
            if to == node:
                strength, name = max(
                    ((weights[e, k], name) for k, name in enumerate(names) if name != "none"),
                    key=lambda pair: pair[0],
                )
                candidates.append((strength, source, name))
        kept = sorted(candidates, key=lambda c: (-c[0], c[1]))[:2]
        genotype += [(name, source) for _, source, name in sorted(kept, key=lambda c: c[1])]
    return genotype


def supernet_scores(net, images):
    """What a supernet of DARTS cells computes, without mixed operations, paths or partial channels."""
    alphas = {kind: torch.softmax(net.logits[kind] / net.temperature, -1) for kind in ("normal", "reduce")}
    before = previous = net.stem(images)
    nodes = net.space.nodes
    for kind, cell in zip(net.kinds, net.cells, strict=True):
        values = [cell.from_before(before), cell.from_previous(previous)]
        e = 0
        for _ in range(nodes):
            total = 0
            for value in values:
                for k, operation in enumerate(cell.operations[e].operations):
                    total = total + alphas[kind][e, k] * operation(value)
                e += 1
            values.append(total)
        before, previous = previous, torch.cat(values[2:], 1)
    return net.classifier.weight @ previous.mean((2, 3)).T + net.classifier.bias[:, None]


def second_order_gradient(training_loss, held_out_loss, weights, logits, *, lr, momentum, decay, buffers):
    """Gradient in the logits of the held-out loss after a step of the weights, by two backward passes.

    Losses are functions of ``(weights, logits)``; `buffers` are those of the momentum, or None.
    """
    gradients = torch.autograd.grad(training_loss(weights, logits), weights, create_graph=True)
    buffers = [torch.zeros_like(w) for w in weights] if buffers is None else buffers
    moved = [
        w - lr * (momentum * b + g + decay * w) for w, b, g in zip(weights, buffers, gradients, strict=True)
    ]
    return torch.autograd.grad(held_out_loss(moved, logits), logits)


def search(net, task, *, seed, epochs, batch_size, lr=0.025, lr_min=0.001, alpha_lr=3e-4, clip=5.0):
    """First-order DARTS: in each step the architecture on one half of the images, then the weights on the other."""
    alphas, weights = net.architecture_parameters(), net.weight_parameters()
    adam = torch.optim.Adam(alphas, alpha_lr, betas=(0.5, 0.999), weight_decay=1e-3)
    sgd = torch.optim.SGD(weights, lr, momentum=0.9, weight_decay=3e-4)
    options = {"training": True, "batch_size": batch_size}
    ours = task.loaders("train", seed, part=(0.0, 0.5), **options)
    theirs = task.loaders("train", seed, part=(0.5, 1.0), **options)
    net.train()
    for epoch in range(epochs):
        for group in sgd.param_groups:
            group["lr"] = lr_min + (lr - lr_min) * (1 + np.cos(np.pi * epoch / epochs)) / 2
        for batch, other in zip(ours, theirs, strict=False):
            net.zero_grad()
            task.loss(net, other)[0].backward()
            adam.step()
            net.zero_grad()
            task.loss(net, batch)[0].backward()
            torch.nn.utils.clip_grad_norm_(weights, clip)
            sgd.step()
