"""What `fuzzing.py` passes: for each argument name of a native function a value that fits, and odd ones instead.

A new native function whose arguments have known names needs nothing here. A new name needs one entry in `VALUES`;
one that means something else in one function or module goes under ``"module.function.name"`` or ``"module.name"``.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np

# Modules that are not called, and why.
EXCLUDED = {
    "mixed_op": "takes addresses of memory, which nasx/nn/kernels alone makes: a wrong one is no error",
}
# Arrays that a function changes, as its documentation says.
CHANGED = {
    "policy.reinforce_step": {"parameters", "first", "second"},
    "policy.ppo_update": {"parameters", "first", "second"},
}
# Numbers that say how long to work, where the odd ones must not be obeyed for years.
PATIENT = {
    "epochs": [-1, 0, 4, 2**63, None, 1.5],
    "patience": [-1, 0, 300, 2**64, None, 1.5],
    "threads": [-1, 0, 3, 2**20, 2**63 - 1, 2**63, None, 1.5],
    "make_new.n": [-1, 0, 3000, 2**63, None, 1.5],
    "neat.n": [-1, 0, 50, 2**63, None, 1.5],
    "fit.starts": [-1, 0, 3, 2**63, None, 1.5],
    "iterations": [-1, 0, 5, 2**63, None, 1.5],
    "random": [-1, 0, 50, 2**63, None, 1.5],
    "draws": [-1, 0, 50, 2**63, None, 1.5],
    "resolution": [-1, 0, 1, 300, 2**62, 2**63, None, 1.5],
    "budget.nodes": [-1, 0, 300, 2**64, None, 1.5],
    "cap": [-1, 0, 1, 30, 2**62, 2**63, None, 1.5],
}


class Case:
    """A random space, numbers of rows and objectives, and everything that fits them."""

    def __init__(self, core: Any, seed: str) -> None:
        self.core = core
        self.random = random.Random(seed)
        self.rng = np.random.default_rng(self.random.getrandbits(64))
        self.object: Any = None  # of which a method is called
        self.d = self.pick(1, 1, 2, 3, 5, 9, 17, 33)
        largest = self.pick(1, 2, 3, 6, 40)
        self.cardinalities = self.rng.integers(1, largest + 1, self.d).astype(np.int32)
        self.conditions = self._conditions()
        self.choices = int(self.cardinalities.sum())
        self.n = self.pick(0, 1, 1, 2, 3, 7, 8, 9, 16, 33, 100) if self.chance(0.98) else 3000
        self.m = self.pick(1, 2, 2, 3, 4, 7)
        self.h = self.pick(1, 3, 8)
        self.few = min(self.n, 24)  # for what takes the cube of it
        self._rows: list[Any] = []
        # What all genomes have in common.
        self.inputs, self.outputs, self.genomes = self.pick(1, 2, 3), self.pick(1, 2), self.pick(1, 2, 5)
        self.bias, self.recurrent = self.chance(0.5), self.chance(0.3)
        self.activations = self.random.sample(range(8), self.pick(1, 2, 8))
        self.aggregations = self.random.sample(range(4), self.pick(1, 4))

    def pick(self, *values: Any) -> Any:
        return self.random.choice(values)

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def maybe(self, value: Any, probability: float = 0.7) -> Any:
        return value if self.chance(probability) else None

    def _conditions(self) -> Any:
        if self.d == 1 or self.chance(0.4):
            return self.pick(None, np.zeros((0, 3), np.int32))
        rows = []
        for _ in range(self.random.randrange(1, 2 * self.d)):
            decision = self.random.randrange(1, self.d)
            parent = self.random.randrange(decision)
            rows.append((decision, parent, self.random.randrange(int(self.cardinalities[parent]))))
        return np.array(rows, np.int32)

    def canonical(self, n: int) -> Any:
        """Canonical genotypes."""
        rows = self.rng.integers(0, self.cardinalities, (n, self.d)).astype(np.int32)
        rules = [] if self.conditions is None else self.conditions.tolist()
        for j in sorted({decision for decision, _, _ in rules}):
            active = np.ones(n, bool)
            for parent in {parent for decision, parent, _ in rules if decision == j}:
                active &= np.isin(rows[:, parent], [value for k, p, value in rules if (k, p) == (j, parent)])
            rows[~active, j] = -1
        return rows

    def row(self) -> Any:
        """A canonical genotype."""
        return self.canonical(1)[0]

    def rows(self) -> Any:
        """Genotypes, often ones that were passed before."""
        if not self._rows or self.chance(0.3):
            rows = self.rng.integers(0, self.cardinalities, (self.n, self.d)).astype(np.int32)
            if self.chance(0.5):
                rows[self.rng.random(rows.shape) < 0.2] = -1
            self._rows.append(rows)
        return self.random.choice(self._rows)

    def floats(self, *shape: int, low: float = -3, high: float = 3) -> Any:
        if self.chance(0.2):  # ties
            return self.rng.integers(int(low), int(high) + 1, shape).astype(np.float64)
        return self.rng.uniform(low, high, shape)

    def singles(self, *shape: int) -> Any:
        return self.floats(*shape).astype(np.float32)

    def bools(self, *shape: int) -> Any:
        return self.rng.random(shape) < 0.5

    def losses(self) -> Any:
        losses = self.floats(self.n, self.m)
        if self.chance(0.2):
            losses[self.rng.random(losses.shape) < 0.1] = self.pick(np.inf, -np.inf)
        return losses

    def seen(self) -> Any:
        seen = self.core.population.GenotypeSet(self.d)
        seen.insert(self.rows())
        return seen

    def process(self) -> Any:
        """A Gaussian process that may know some rows, of one or two outputs."""
        process = self.core.gaussian_process.Process(self.cardinalities, self.bools(self.d), "rbf")
        if self.chance(0.8):
            rows = np.maximum(self.rows()[: self.few], -1)
            process.condition(rows, self.floats(len(rows), 1))
        return process

    def told(self) -> Any:
        """Canonical genotypes, one for each of the losses."""
        return self.canonical(self.n)

    def members(self) -> Any:
        members = self.core.evolution.AgingPopulation(
            self.cardinalities, self.conditions, self.pick(1, 5), self.pick(1, 3), self.m, self.number()
        )
        members.enter(self.told(), self.floats(self.n, self.m), np.maximum(self.floats(self.n), 0))
        return members

    def topology(self) -> Any:
        return self.core.neat.Topology(
            self.inputs, self.outputs, self.bias, self.recurrent, self.activations, self.aggregations
        )

    def some_genomes(self) -> Any:
        """Of this case's topology, with hidden nodes if an evolution was asked for some."""
        topology = self.topology()
        if self.chance(0.5):
            return topology.start(self.genomes, self.random.random(), 2.0, self.number(), 0)
        neat = self.core.neat.Neat(topology, {"population_size": 5, "add_node": 0.9}, 1, self.number())
        for _ in range(self.pick(1, 4)):
            proposed = neat.propose(5)
            neat.tell(proposed, self.rng.random((len(proposed), 1)), np.zeros(len(proposed)))
        found = neat.propose(5)
        return found.take(self.rng.integers(0, len(found), self.genomes))

    def blob(self) -> bytes:
        blob: bytes = self.some_genomes().to_bytes()
        return blob

    def genes(self, part: int) -> Any:
        return self.some_genomes().genes(0)[part]

    def settings(self) -> Any:
        return {
            "population_size": self.pick(2, 5, 10),
            "add_node": self.random.random(),
            "add_connection": self.random.random(),
            "weight_power": self.random.random(),
            "compatibility_threshold": 0.1 + self.random.random(),
            "survival": 0.1 + 0.9 * self.random.random(),
            "stagnation": self.pick(1, 5),
            "allow_repeats": self.chance(0.3),
        }

    def width(self) -> int:
        try:
            return int(self.object.width)
        except (AttributeError, TypeError):
            return self.inputs

    def indices(self) -> Any:
        try:
            members = 0 if self.object is None else len(self.object)
        except TypeError:  # never initialised
            members = 3
        return np.flatnonzero(self.rng.random(members) < 0.3).astype(np.int64)

    def number(self, high: int = 40) -> int:
        return self.random.randrange(high + 1)

    def unsigned(self, bits: int) -> int:
        return (
            self.random.getrandbits(bits) if self.chance(0.5) else self.pick(0, 1, 2**bits - 1, 2**bits - 2)
        )

    def value(self, function: str, name: str) -> Any:
        return generator(function, name)(self)

    def odd(self, function: str, name: str, value: Any) -> Any:
        """Something else instead of what fits."""
        if patient := lookup(PATIENT, function, name):
            return self.random.choice(patient)
        if isinstance(value, np.ndarray):
            return self._odd_array(value)
        if isinstance(value, bool):
            return self.pick(None, 2, "yes", np.bool_(True), np.zeros(2))
        if isinstance(value, int):
            return self.random.choice(_INTEGERS)
        if isinstance(value, float):
            return self.random.choice(_FLOATS)
        if isinstance(value, bytes):
            return self._odd_bytes(value)
        if isinstance(value, list):
            parts = [*value]
            for _ in range(self.pick(1, 3)):
                if parts:
                    at = self.random.randrange(len(parts))
                    parts[at] = self.odd(function, "part", parts[at])
            return self.pick(parts, parts, parts, value * 2, value[1:], tuple(value), None, 3, [None], [()])
        if isinstance(value, tuple):
            return tuple(self.odd(function, "part", part) if self.chance(0.3) else part for part in value)
        if isinstance(value, dict):
            key = self.random.choice([key for key in value if key != "population_size"])
            return self.pick(
                {}, value | {"other": 1}, value | {key: self.odd(function, key, value[key])}, None
            )
        if isinstance(value, str):
            return self.pick("", "x" * 1000, value + "\0", "\udcff", b"uniform", None, 3)
        if value is None:
            return self.pick(self.floats(3), self.rows(), self.bools(self.d), 3, "none", [])
        if isinstance(value, type | memoryview):
            return None
        return self.pick(None, 3, object(), type(value), type(value).__new__(type(value)))

    def _odd_bytes(self, value: bytes) -> Any:
        damaged = bytearray(value)
        for _ in range(self.pick(1, 1, 4)):
            at = self.random.randrange(len(damaged))
            damaged[at] = self.pick(0, 1, 255, damaged[at] ^ 1 << self.random.randrange(8))
        return self.pick(
            bytes(damaged), bytes(damaged), value[: self.random.randrange(len(value))], value * 2, b"", None
        )

    def _odd_array(self, array: Any) -> Any:
        way = self.random.randrange(15) if array.ndim else 0
        if way == 0:
            kinds = ["f8", "f4", "i4", "i8", "u1", "?", "c16", ">i4", ">f8", "O", "U3", "M8[s]", "V4"]
            return np.zeros(array.shape, self.random.choice(kinds))
        if way == 1:
            return self.pick(array[:-1], array[..., :-1].copy(), np.concatenate([array, array]))
        if way == 2:
            return self.pick(
                array[None], array.reshape(-1), array.T.copy(), array.sum(), array.reshape(-1, 1)
            )
        if way == 3:
            shape = self.pick((0,), (0, 0), (0, 3), (3, 0), (0, 2**40), (2**20, 0), (1, 1, 1), ())
            return np.zeros(shape, array.dtype)
        if way == 4:
            return np.repeat(array, 2, axis=0)[::2]
        if way == 5:
            return np.asfortranarray(array) if self.chance(0.5) else array[::-1]
        if way == 6:
            array = array.copy()
            array.flags.writeable = False
            return array
        if way == 7:  # not aligned
            bytes_ = np.zeros(array.nbytes + 1, np.uint8)
            bytes_[1:] = np.frombuffer(array.tobytes(), np.uint8)
            return bytes_[1:].view(array.dtype).reshape(array.shape)
        if way == 8:
            return self.pick(array.tolist(), None, 3, "array", array.tobytes(), memoryview(array))
        if way == 9:
            return self.pick(
                np.ma.masked_array(array), array.view(np.recarray), np.broadcast_to(array[:1], array.shape)
            )
        array = array.copy()
        odd = self.rng.random(array.shape) < self.pick(0.02, 0.2, 1.0)
        if array.dtype == bool:
            raw = array.view(np.uint8)
            raw[odd] = self.pick(2, 255)
        elif array.dtype.kind == "f":
            with np.errstate(over="ignore"):
                array[odd] = self.random.choice(_NUMBERS)
        elif array.dtype.kind in "iu":  # others are odd already, by an earlier turn
            limits = np.iinfo(array.dtype)
            array[odd] = self.pick(limits.min, limits.max, -2, -1, 0, 1, 5, 1000, 2**30)
        return array


_INTEGERS = [-1, -2, -(2**31), -(2**63), 0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**53, 2**61, 2**62]
_INTEGERS += [
    2**63 - 1,
    2**63,
    2**64 - 1,
    2**64,
    10**30,
    True,
    1.5,
    float("nan"),
    None,
    "3",
    np.int32(3),
    np.int64(7),
]
_INTEGERS += [np.float64(2.0), np.array(3), np.zeros(2)]
_NUMBERS = [
    np.nan,
    np.inf,
    -np.inf,
    -1.0,
    0.0,
    -0.0,
    5e-324,
    1e-300,
    1e300,
    1.7e308,
    -1.7e308,
    2.0**31,
    3.4e38,
]
_FLOATS = [*_NUMBERS, 1, 10**400, True, None, "x", np.float32(0.5), np.zeros(2)]

VALUES: dict[str, Callable[[Case], Any]] = {
    # spaces and genotypes
    "cardinalities": lambda c: c.cardinalities,
    "conditions": lambda c: c.conditions,
    "ordered": lambda c: c.bools(c.d),
    "adjacent": lambda c: c.maybe(c.bools(c.d)),
    "genotype": Case.row,
    "genotypes": Case.rows,
    "parents": Case.rows,
    "rows": Case.rows,
    "canonical": Case.rows,
    "a": Case.rows,
    "b": Case.rows,
    "width": lambda c: c.d,
    "d": lambda c: c.d,
    "seen": Case.seen,
    "indices": Case.indices,
    # results
    "losses": Case.losses,
    "objectives": lambda c: c.m,
    "violations": lambda c: c.maybe(np.maximum(c.floats(c.n), 0), 0.8),
    "failed": lambda c: c.maybe(c.bools(c.n)),
    "ranks": lambda c: c.rng.integers(0, c.pick(1, 3, 100), c.n).astype(np.int32),
    "keys": lambda c: c.floats(c.n),
    "crowding": lambda c: c.maybe(c.floats(c.n)),
    # how many, and which stream
    "n": Case.number,
    "neighbors.n": lambda c: c.maybe(c.number()),
    "most": lambda c: c.maybe(c.number()),
    "candidates": Case.number,
    "seed": lambda c: c.unsigned(64),
    "generation": lambda c: c.unsigned(32),
    "first": lambda c: c.unsigned(64),
    "rejected": lambda c: c.number(3),
    "patience": lambda c: c.number(200),
    "threads": lambda c: c.pick(1, 2, 3),
    # operators
    "size": lambda c: c.pick(1, 2, 2, 5),
    "kind": lambda c: c.pick("uniform", "k_point"),
    "points": lambda c: c.pick(1, 2, 50),
    "probability": lambda c: c.random.random(),
    "rates": lambda c: c.rng.random(c.d) * c.pick(0.1, 1.0),
    "shuffled": lambda c: c.chance(0.5),
    "population_size": lambda c: c.pick(1, 2, 10, 2000),
    "sample_size": lambda c: c.pick(1, 2, 5, 20),
    "evolution.x": Case.told,
    "enter.violations": lambda c: np.maximum(c.floats(c.n), 0),
    # latency tables and Parzen estimators
    "entries": lambda c: c.floats(c.choices),
    # What is too large a table for a test is refused, as it should be.
    "table": lambda c: c.floats(min(math.prod(c.cardinalities.tolist()), 10_000)),
    "pairs": lambda c: c.maybe(c.floats(int((c.cardinalities[1:] * c.cardinalities[:-1]).sum()))),
    "intercept": lambda c: c.random.random(),
    "joint": lambda c: c.chance(0.5),
    "equal_good": lambda c: c.chance(0.5),
    # sums under limits
    "scores": lambda c: c.floats(1, c.choices),
    "costs": lambda c: c.floats(c.m, c.choices),
    "sample_under.costs": lambda c: c.floats(1, c.choices),
    "intercepts": lambda c: c.floats(c.m),
    "limits": lambda c: c.floats(c.m, low=-2 * c.d, high=2 * c.d + 1),
    "limit": lambda c: c.random.uniform(-2 * c.d, 3 * c.d),
    "resolution": lambda c: c.pick(1, 10, 100, 1000),
    "budget.nodes": lambda c: c.pick(0, 1, 100, 10_000),
    "cap": lambda c: c.pick(1, 10, 300),
    # policies and how they learn
    "logits": lambda c: c.floats(c.choices),
    "critic": lambda c: c.floats(c.choices + 1),
    "policy.reinforce_step.parameters": lambda c: c.floats(c.choices),
    "policy.reinforce_step.first": lambda c: c.floats(c.choices),
    "policy.reinforce_step.second": lambda c: np.abs(c.floats(c.choices)),
    "parameters": lambda c: c.floats(2 * c.choices + 1),
    "policy.ppo_update.first": lambda c: c.floats(2 * c.choices + 1),
    "second": lambda c: np.abs(c.floats(2 * c.choices + 1)),
    "steps": Case.number,
    "advantages": lambda c: c.floats(c.n),
    "policy.ppo_gradient.advantages": lambda c: c.floats(c.n, c.d),
    "targets": lambda c: c.floats(c.n, c.d),
    "values": lambda c: c.floats(c.n, c.d),
    "log_probs": lambda c: -np.abs(c.floats(c.n, c.d)),
    "rewards": lambda c: c.floats(c.n),
    "learning_rate": lambda c: c.random.random(),
    "entropy_weight": lambda c: c.random.random(),
    "value_weight": lambda c: c.random.random(),
    "clip": lambda c: c.random.random(),
    "lambda_": lambda c: c.random.random(),
    "max_norm": lambda c: c.random.random(),
    "target_kl": lambda c: c.random.random(),
    "epochs": lambda c: c.pick(1, 2, 3),
    "minibatch": lambda c: c.pick(1, 4, 64),
    "batch_size": lambda c: c.pick(1, 2, 10),
    "repeats": lambda c: c.chance(0.5),
    "weights": lambda c: np.abs(c.floats(c.m)),
    "momentum": lambda c: c.random.random(),
    "exponent": lambda c: c.maybe(-c.random.random(), 0.5),
    "start": lambda c: c.singles(c.h),
    "embeddings": lambda c: c.singles(c.choices, c.h),
    "from_input": lambda c: c.singles(c.h, 4 * c.h),
    "from_hidden": lambda c: c.singles(c.h, 4 * c.h),
    "bias": lambda c: c.singles(4 * c.h),
    "heads": lambda c: c.singles(c.choices, c.h),
    "head_bias": lambda c: c.singles(c.choices),
    "temperature": lambda c: 0.1 + c.random.random(),
    "bound": lambda c: c.pick(0.0, 2.5),
    # Gaussian processes: few rows, of one or two outputs
    "kernel": lambda c: c.pick("matern52", "rbf"),
    "gaussian_process.rows": lambda c: np.maximum(c.rows()[: c.few], -1),
    "gaussian_process.targets": lambda c: c.floats(c.few, c.pick(1, 1, 2)),
    "gaussian_process.parameters": lambda c: c.floats(c.d + 2, low=-2, high=1),
    "gaussian_process.size": lambda c: c.number(24),
    "fit.starts": lambda c: c.pick(1, 2),
    "gaussian_process.starts": lambda c: c.rows()[:4],
    "start_rows": lambda c: c.number(24),
    "iterations": lambda c: c.pick(1, 3),
    "tolerance": lambda c: c.random.random(),
    "priors": lambda c: c.chance(0.5),
    "drop.i": lambda c: c.number(4),
    "draws": lambda c: c.number(5),
    "acquisition": lambda c: c.pick("log_ei", "ucb", "log_ehvi"),
    "best": lambda c: c.random.uniform(-1, 1),
    "deviations": lambda c: c.random.random(),
    "gaussian_process.points": lambda c: c.floats(c.few, 2),
    "reference": lambda c: c.floats(2),
    "random": lambda c: c.number(30),
    "wanted": lambda c: c.number(5),
    "process": Case.process,
    "processes": lambda c: [c.process() for _ in range(c.m)],
    "gaussian_process.weights": lambda c: np.abs(c.floats(c.m)),
    "shared": lambda c: c.bools(c.m, c.d),
    "ranking_losses.values": lambda c: c.floats(c.m, c.few),
    "ranking_losses.targets": lambda c: c.floats(c.few),
    "held_out": lambda c: c.chance(0.5),
    "log_expected_improvement.means": lambda c: c.floats(c.few),
    "means": lambda c: c.floats(c.few, 2),
    "variances": lambda c: np.abs(c.floats(c.few)),
    # genomes and their evolution
    "inputs": lambda c: c.inputs,
    "outputs": lambda c: c.outputs,
    "neat.bias": lambda c: c.bias,
    "recurrent": lambda c: c.recurrent,
    "activations": lambda c: c.activations,
    "aggregations": lambda c: c.aggregations,
    "neat.n": lambda c: c.number(10),
    "connections": lambda c: c.random.random(),
    "start.size": lambda c: c.random.random(),
    "topology": Case.topology,
    "genomes": Case.some_genomes,
    "neat.a": Case.some_genomes,
    "neat.b": Case.some_genomes,
    "fitter": Case.some_genomes,
    "other": Case.some_genomes,
    "parts": lambda c: [c.some_genomes() for _ in range(c.pick(0, 1, 3))],
    "places": lambda c: c.rng.integers(0, c.genomes, c.number(5)),
    "begin": lambda c: c.number(2),
    "end": lambda c: c.number(5),
    "i": lambda c: c.number(2),
    "j": lambda c: c.number(2),
    "nodes": lambda c: c.genes(0),
    "links": lambda c: c.genes(1),
    "blob": Case.blob,
    "activate.x": lambda c: c.floats(c.number()),
    "neat.kind": lambda c: c.number(7),
    "evaluate.x": lambda c: c.floats(c.few, c.inputs),
    "x": lambda c: c.floats(c.genomes, c.few, c.inputs),
    "state": lambda c: c.floats(c.genomes, c.few, c.width()),
    "settings": Case.settings,
    "neat.losses": lambda c: c.floats(c.genomes, c.m),
    "neat.violations": lambda c: np.maximum(c.floats(c.genomes), 0),
    "excess": lambda c: c.random.random(),
    "disjoint": lambda c: c.random.random(),
    "weight": lambda c: c.random.random(),
    "small": lambda c: c.number(30),
    "average": lambda c: c.random.random(),
    "keep_disabled": lambda c: c.random.random(),
}


# Objects to call methods of, where what the constructor makes is too plain.
OBJECTS: dict[str, Callable[[Case], Any]] = {
    "neat.Genomes": Case.some_genomes,
    "evolution.AgingPopulation": Case.members,
}


def lookup(table: dict[str, Any], function: str, name: str) -> Any:
    """What a table has for an argument of a function named as in ``"population.GenotypeSet.insert"``, or None."""
    module, last = function.split(".")[0], function.split(".")[-1]
    keys = (f"{function}.{name}", f"{last}.{name}", f"{module}.{name}", name)
    return next((table[key] for key in keys if key in table), None)


def generator(function: str, name: str) -> Callable[[Case], Any]:
    """The generator of an argument; KeyError if there is none."""
    found: Callable[[Case], Any] | None = lookup(VALUES, function, name)
    if found is None:
        raise KeyError(
            f"{function}: argument {name!r} has no generator; add one to VALUES in tests/fuzz_cases.py"
        )
    return found
