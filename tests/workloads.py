"""Tasks for tests with worker processes, which must be able to import them."""

import os
import signal
import time

import numpy as np

import nasx
from nasx import Integer, Space, Task

SPACE = Space({"a": Integer(0, 99), "b": Integer(0, 99)})
OBJECTIVES = {"error": "minimize"}


def error(architecture):
    return (architecture["a"] - 30) ** 2 + (architecture["b"] - 70) ** 2


def slow(architecture):
    time.sleep(0.02)
    return error(architecture)


def uneven(architecture):
    time.sleep(0.2 if architecture["a"] % 10 == 0 else 0.005)
    return error(architecture)


def deadly(architecture):
    """Some architectures kill their process, in two ways; some raise, return nonsense or end the program."""
    what = architecture["a"] % 12
    if what == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    if what == 1:
        os._exit(3)
    if what == 2:
        raise ValueError("no luck")
    if what == 3:
        return {"error": float("nan")}
    if what == 4:
        raise SystemExit(1)
    if what == 5:
        return lambda: 0  # cannot be sent back
    return error(architecture)


class OneWay(Exception):
    """What pickle writes and cannot read."""

    def __init__(self, step, loss):
        super().__init__(f"diverged at {step}")


def one_way(architecture):
    return OneWay(3, 9.0) if architecture["a"] % 5 == 0 else error(architecture)


def hanging(architecture):
    if architecture["a"] % 4 == 0:
        time.sleep(60)
    return error(architecture)


def stopping(architecture):
    raise nasx.StopSearch


def where(architecture):
    """The process that evaluated it."""
    return {"error": 0.0, "pid": float(os.getpid())}


def budgeted(architecture, budget):
    return error(architecture) + 100 / budget


class Logged(Task):
    """Writes down every evaluation before it begins."""

    spec = None
    settings = {}  # noqa: RUF012

    def __init__(self, path, seconds=0.02):
        self.path, self.seconds = path, seconds

    def evaluate(self, architecture, *, seed, device=None, budget=None, report=None):
        with open(self.path, "a") as file:
            file.write(f"{architecture['a']},{architecture['b']}\n")
        time.sleep(self.seconds)
        return {"error": error(architecture)}


class Placed(Task):
    """Says on which device it was to compute."""

    spec = None
    settings = {}  # noqa: RUF012

    def evaluate(self, architecture, *, seed, device=None, budget=None, report=None):
        time.sleep(0.005)
        return {"error": error(architecture), "device": int(device.partition(":")[2])}


class Noisy(Task):
    """An error with noise that its seed says, and the seed as a metric."""

    spec = None
    settings = {}  # noqa: RUF012

    def evaluate(self, architecture, *, seed, device=None, budget=None, report=None):
        noise = np.random.default_rng(seed).normal()
        return {"error": error(architecture) + noise, "seed": seed}
