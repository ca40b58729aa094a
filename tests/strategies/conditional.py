"""A small space with conditions, and losses, for strategies that are compared with their twins."""

import numpy as np

from nasx import Boolean, Categorical, Integer, Space


def conditional_space(**more):
    return Space(
        {
            "a": Integer(0, 7),
            "b": Categorical("pqrs"),
            "c": Integer(0, 5, when={"b": ["p", "q"]}),
            "d": Boolean(when={"c": [0, 1, 2]}),
            "e": Integer(0, 8),
            **more,
        }
    )


def losses_of(x, objectives=1):
    values = np.where(x < 0, 3, x) * np.arange(1, x.shape[1] + 1)
    return np.column_stack([values.sum(axis=1) % 17, (values[:, 0] - 4) ** 2])[:, :objectives].astype(float)
