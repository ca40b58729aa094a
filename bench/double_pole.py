"""Two poles on one cart, balanced without seeing velocities: the hardest experiment of the NEAT paper.

Physics and tests: A. P. Wieland, "Evolving neural network controllers for unstable systems", IJCNN 1991;
F. Gruau, D. Whitley, L. Pyeatt, "A comparison between cellular encoding and direct encoding for genetic
neural networks", GP 1996. All poles of a population move together, as columns of NumPy arrays.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

import nasx
from nasx.spaces import Topology
from nasx.spaces.networks import Network, Networks

Floats = npt.NDArray[np.float64]

GRAVITY, CART, TAU = -9.8, 1.0, 0.01
LENGTHS, MASSES = (0.5, 0.05), (0.1, 0.01)  # half of each pole's length
TRACK_FRICTION, POLE_FRICTION = 0.0005, 0.000002
TRACK, ANGLE = 2.4, np.deg2rad(36)
FOUR_DEGREES = 0.07

SPACE = Topology(inputs=3, outputs=1, recurrent=True)
# The paper's, for a population of 1,000. With that coefficient, the threshold alone decides how many species
# there are, from one to as many as networks: it is adjusted, as in the authors' program.
NEAT = nasx.NEAT(
    population_size=1000,
    add_connection=0.3,
    weight_coefficient=3.0,
    compatibility_threshold=4.0,
    target_species=30,
    weight_power=1.0,
    weight_range=1.0,
    protected_species=0,
    allow_repeats=True,
)


def accelerations(state: Floats, force: Floats) -> Floats:
    """How position, speed, and each pole's angle and angular speed change, ``(6, n)``."""
    change = np.empty_like(state)
    change[0], change[2], change[4] = state[1], state[3], state[5]
    pushes: Floats | float = 0.0
    inertia: Floats | float = 0.0
    friction = []
    sines, cosines = np.sin(state[2::2]), np.cos(state[2::2])
    for pole, (length, mass) in enumerate(zip(LENGTHS, MASSES, strict=True)):
        speed = state[3 + 2 * pole]
        sine, cosine = sines[pole], cosines[pole]
        own = POLE_FRICTION * speed / (mass * length)
        friction.append(own)
        pushes = pushes + mass * length * speed**2 * sine + 0.75 * mass * cosine * (own + GRAVITY * sine)
        inertia = inertia + mass * (1 - 0.75 * cosine**2)
    change[1] = (force - TRACK_FRICTION * np.sign(state[1]) + pushes) / (CART + inertia)
    for pole, length in enumerate(LENGTHS):
        change[3 + 2 * pole] = (
            -0.75 * (change[1] * cosines[pole] + GRAVITY * sines[pole] + friction[pole]) / length
        )
    return change


def move(state: Floats, force: Floats) -> Floats:
    """Push for 0.02 s: two steps of the classical Runge-Kutta method."""
    for _ in range(2):
        a = accelerations(state, force)
        b = accelerations(state + TAU / 2 * a, force)
        c = accelerations(state + TAU / 2 * b, force)
        d = accelerations(state + TAU * c, force)
        state = state + TAU / 6 * (a + 2 * b + 2 * c + d)
    return state


def fallen(state: Floats) -> npt.NDArray[np.bool_]:
    """Whether the cart left the track or a pole fell, ``(n,)``; so it is where the numbers exploded."""
    upright: npt.NDArray[np.bool_] = (
        (np.abs(state[0]) < TRACK) & (np.abs(state[2]) < ANGLE) & (np.abs(state[4]) < ANGLE)
    )
    return ~upright


def seen(state: Floats) -> Floats:
    """Position and angles, scaled to about -1..1 as in the authors' program, ``(n, 3)``."""
    return np.column_stack([state[0] / 4.8, state[2] / 0.52, state[4] / 0.52])


def start(n: int) -> Floats:
    state = np.zeros((6, n))
    state[2] = FOUR_DEGREES
    return state


def fitness(networks: Networks, steps: int = 1000) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Gruau's fitness of each, and for how many steps it balanced.

    A tenth for the time; nine tenths for calm: the inverse of how much the cart and the long pole moved
    during the last 100 steps, if there were so many.
    """
    n = len(networks)
    lasted = np.full(n, steps)
    shaken = np.zeros((100, n))
    numbers, down = np.arange(n), np.zeros(n, bool)
    running, state, memory = networks, start(n), None
    for step in range(steps):
        actions, memory = running.step(seen(state), memory)
        state = move(state, 20.0 * actions[:, 0] - 10.0)
        now = fallen(state) & ~down
        down |= now
        lasted[numbers[now]] = step
        state[:, down] = 0.0
        up = ~down
        shaken[step % 100, numbers[up]] = np.abs(state[:4, up]).sum(axis=0)
        if down.sum() > len(down) // 4:  # go on with the others alone
            numbers, state, down = numbers[up], state[:, up], down[up]
            if not len(numbers):
                break
            running = running[up]
            memory = memory[up, : running.width]
    total = shaken.sum(axis=0)
    calm = np.where(lasted >= 100, 0.75 / np.maximum(total, 1e-12), 0.0)
    return 0.1 * lasted / 1000 + 0.9 * calm, lasted


def balances(network: Network, states: Floats, steps: int) -> npt.NDArray[np.bool_]:
    """Whether a network balances from each of the states, ``(6, n)``, for so many steps."""
    n = states.shape[1]
    good = np.ones(n, bool)
    alive, memory = np.arange(n), None
    for _ in range(steps):
        actions, memory = network.step(seen(states), memory)
        states = move(states, 20.0 * actions[:, 0] - 10.0)
        down = fallen(states)
        if down.any():
            good[alive[down]] = False
            alive, states, memory = alive[~down], states[:, ~down], memory[~down]
            if not len(alive):
                break
    return good


def balances_alone(network: Network, steps: int) -> bool:
    """Whether a network balances from the usual start: the same physics in plain floats, for long runs."""

    def change(s: list[float], force: float) -> list[float]:
        pushes = inertia = 0.0
        own, sines, cosines = [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]
        for k in (0, 1):
            ml, speed = MASSES[k] * LENGTHS[k], s[3 + 2 * k]
            sines[k], cosines[k] = math.sin(s[2 + 2 * k]), math.cos(s[2 + 2 * k])
            own[k] = POLE_FRICTION * speed / ml
            pushes += ml * speed * speed * sines[k]
            pushes += 0.75 * MASSES[k] * cosines[k] * (own[k] + GRAVITY * sines[k])
            inertia += MASSES[k] * (1 - 0.75 * cosines[k] * cosines[k])
        friction = TRACK_FRICTION * ((s[1] > 0) - (s[1] < 0))
        a = (force - friction + pushes) / (CART + inertia)
        b, c = (-0.75 * (a * cosines[k] + GRAVITY * sines[k] + own[k]) / LENGTHS[k] for k in (0, 1))
        return [s[1], a, s[3], b, s[5], c]

    state, memory = start(1)[:, 0].tolist(), None
    for _ in range(steps):
        actions, memory = network.step([state[0] / 4.8, state[2] / 0.52, state[4] / 0.52], memory)
        force = 20.0 * float(actions[0]) - 10.0
        for _ in range(2):
            a = change(state, force)
            b = change([x + TAU / 2 * d for x, d in zip(state, a, strict=True)], force)
            c = change([x + TAU / 2 * d for x, d in zip(state, b, strict=True)], force)
            d = change([x + TAU * e for x, e in zip(state, c, strict=True)], force)
            state = [
                x + TAU / 6 * (p + 2 * q + 2 * r + t) for x, p, q, r, t in zip(state, a, b, c, d, strict=True)
            ]
        if not (abs(state[0]) < TRACK and abs(state[2]) < ANGLE and abs(state[4]) < ANGLE):
            return False
    return True


def generalization(network: Network) -> int:
    """From how many of 625 starts it balances for 1,000 steps."""
    grid = np.array([0.05, 0.25, 0.5, 0.75, 0.95])
    x, v, angle, speed = (axis.ravel() for axis in np.meshgrid(grid, grid, grid, grid, indexing="ij"))
    states = np.zeros((6, 625))
    states[0], states[1] = x * 4.32 - 2.16, v * 2.7 - 1.35
    states[2], states[3] = angle * 0.12566304 - 0.06283152, speed * 0.30019504 - 0.15009752
    return int(balances(network, states, 1000).sum())


class Solution(NamedTuple):
    """What a run of evolution came to; the network is None if it found nothing."""

    network: Network | None
    generations: int
    evaluations: int
    generalization: int


def solve(seed: int, *, strategy: nasx.NEAT = NEAT, generations: int = 1000) -> Solution:
    """Evolve until a generation's best network passes both of Gruau's tests.

    It must balance for 100,000 steps from the usual start, and for 1,000 from 200 of 625 others.
    """
    evolution = strategy.fresh().setup(SPACE, seed=seed)
    evaluations, most = 0, 0
    for generation in range(1, generations + 1):
        networks = evolution.ask(evolution.ahead)
        values, lasted = fitness(networks)
        evaluations += len(networks)
        best = int(np.argmax(values))
        if lasted[best] >= 1000:
            passed = generalization(networks[best])  # the quicker of the two
            most = max(most, passed)
            if passed >= 200 and balances_alone(networks[best], 100_000):
                return Solution(networks[best], generation, evaluations, passed)
        evolution.tell(networks, -values)
    return Solution(None, generations, evaluations, most)
