"""Slow, obvious twins of Hyperband and of successive halving, one objective, nothing in parallel."""

import math


def hyperband(new, evaluate, budgets, factor, brackets):
    """Run whole brackets one after the other; returns every (architecture, budget) in order.

    `new()` gives an architecture or None, `evaluate(architecture, budget)` its loss, NaN for a failure.
    """
    jobs = []
    for bracket in range(brackets):
        first = bracket % len(budgets)
        rungs = len(budgets) - first
        count = math.ceil(len(budgets) / rungs * factor ** (rungs - 1))
        here = [a for a in (new() for _ in range(count)) if a is not None]
        for budget in budgets[first:]:
            losses = [(evaluate(a, budget), a) for a in here]
            jobs += [(a, budget) for a in here]
            finished = sorted((loss, a) for loss, a in losses if not math.isnan(loss))
            here = [a for _, a in finished[: len(here) // factor]]
    return jobs


def asha(new, evaluate, budgets, factor, jobs):
    """Run so many jobs one after the other, as a single worker would; returns them in order."""
    rungs = [[] for _ in budgets]
    promoted = [set() for _ in budgets]
    done = []
    while len(done) < jobs:
        job = None
        for level in range(len(budgets) - 2, -1, -1):
            top = sorted(rungs[level])[: len(rungs[level]) // factor]
            waiting = [a for loss, a in top if a not in promoted[level] and not math.isinf(loss)]
            if waiting:
                promoted[level].add(waiting[0])
                job = waiting[0], level + 1
                break
        if job is None:
            job = new(), 0
        architecture, level = job
        loss = evaluate(architecture, budgets[level])
        rungs[level].append((math.inf if math.isnan(loss) else loss, architecture))
        done.append((architecture, budgets[level]))
    return done
