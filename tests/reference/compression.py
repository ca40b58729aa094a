"""What a search among parts of a transformer does, by brute force."""

import numpy as np


def best_start(space, costs, limits, estimates):
    """The least estimate within all limits, over all architectures; None if there is none."""
    best = None
    for row in space.enumerate():
        if any(float(costs[name](row[None])[0]) > limit for name, limit in limits.items()):
            continue
        expected = float(estimates(space, row[None])[0])
        if best is None or expected < best:
            best = expected
    return best


def energies(model, parts, rows, mask):
    """Mean square of each input of a module over the tokens that count, one token at a time."""
    seen = []
    handle = parts.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    model(input_ids=rows, attention_mask=mask)
    handle.remove()
    total, tokens = np.zeros(seen[0].shape[-1]), 0
    for sequence, kept in zip(seen[0], mask, strict=True):
        for token, counts in zip(sequence, kept, strict=True):
            if counts:
                total += token.double().numpy() ** 2
                tokens += 1
    return total / tokens


def corrected(each, taken, harms, *, scale, off, options, unexplained):
    """Harms of all options after some architectures were measured: ridge regression on factors written out.

    A part's factor and that of each of its options have one column each, in standard deviations.
    """
    expected = np.array([sum(e[t] for e, t in zip(each, row, strict=True)) for row in taken])
    width = len(each) + sum(len(e) for e in each)
    design = np.zeros((len(taken), width))
    first = np.cumsum([len(each), *[len(e) for e in each]])
    for i, row in enumerate(taken):
        for p, t in enumerate(row):
            design[i, p] = off * each[p][t]
            design[i, first[p] + t] = options * each[p][t]
    weighted = design.T / unexplained**2
    factors = np.linalg.solve(weighted @ design + np.eye(width), weighted @ (harms / scale - expected))
    found = []
    for p, e in enumerate(each):
        change = off * factors[p] + options * factors[first[p] : first[p] + len(e)]
        found.append(scale * e * np.maximum(1 + change, 0.05))
    return found
