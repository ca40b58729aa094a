"""Latency tables from timings of blocks, calibrated on whole networks."""

from __future__ import annotations

import dataclasses
import os
import platform
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nasx._arguments import count
from nasx._core import latency_table as _native
from nasx._runtime import simd_level
from nasx.architecture import Block
from nasx.hardware.additive_fit import AdditiveModel, errors_of, fit_additive
from nasx.hardware.block_times import BlockTimes
from nasx.hardware.timing import Item, Repeated, TimingSettings, time_items, undisturbed
from nasx.population import unique
from nasx.space import Genotypes

if TYPE_CHECKING:
    from nasx.space import Space
    from nasx.tasks.base import TaskSpec

__all__ = ["Measured", "measure_table"]

_Floats = npt.NDArray[np.float64]
_FEWEST_NETWORKS = 10
# Architectures whose blocks are timed, and at most so many made of those blocks that the sum is fitted to.
_LOOKED_AT, _EXPECTED = 200, 2_000
# A block takes what so many copies take more than one, of each.
_COPIES = 4
_ADDS_UP = 0.01  # relative error of a sum over decisions that may stand for sums of blocks


class Measured(NamedTuple):
    """What was measured, as parts of `nasx.hardware.LatencyTable`."""

    entries: list[_Floats]
    pairs: list[_Floats] | None
    intercept: float
    blocks: BlockTimes | None
    about: dict[str, Any]


def measure_table(
    space: Space,
    spec: TaskSpec,
    settings: TimingSettings,
    *,
    networks: int,
    held_out: int,
    seed: int,
    resume: str | os.PathLike[str] | None,
    progress: bool | None,
) -> Measured:
    """Find sums over decisions, and over blocks where these alone do not do, that tell latencies here.

    Parameters
    ----------
    space, spec
        Whose networks, and what for.
    settings : TimingSettings
        How to time.
    networks : int
        Whole networks to time.
    held_out : int
        More of them, which nothing is fitted to.
    seed, resume, progress
        As for `nasx.hardware.measure_latency`.

    Returns
    -------
    Measured
        ``about`` has the device, versions, settings, the blocks' times, and the errors on networks that were
        left out, and on blocks that were, if the table keeps them; what networks that were held out take.
    """
    if not space.can_build:
        raise TypeError(
            f"measuring needs networks, and {type(space).__name__} has no build(); fit the table to timings "
            "that you have by LatencyTable.fit"
        )
    count(networks, "networks", _FEWEST_NETWORKS)
    count(held_out, "held_out", 0)
    rows = _different(space, max(networks, _LOOKED_AT if space.has_blocks else 0) + held_out, seed)
    rows, held = np.split(rows, [max(0, len(rows) - held_out)])
    timed = rows[:networks]
    if len(timed) < _FEWEST_NETWORKS:
        beside = f" beside held_out={held_out}" if held_out else ""
        found = len(rows) + len(held)
        raise ValueError(f"space must have at least {_FEWEST_NETWORKS} architectures{beside}; it has {found}")
    blocks = sorted({block for row in rows for block in _blocks(space, row, spec)}, key=repr)
    items: list[Item] = [tuple(row) for row in np.vstack([timed, held]).tolist()]
    items += [Repeated(block, copies) for block in blocks for copies in (1, _COPIES)]
    times = time_items(space, spec, items, settings, seed=seed, resume=resume, progress=progress)
    networks_took, held_took, blocks_took = np.split(times, np.cumsum([len(timed), len(held)]))
    latencies = undisturbed(networks_took)
    one, several = blocks_took.reshape(-1, 2, settings.rounds).transpose(1, 0, 2)
    added = np.maximum(undisturbed(several) - undisturbed(one), 0.0) / (_COPIES - 1)
    by_block = dict(zip(blocks, added.tolist(), strict=True))
    model, blocks_kept = _calibrated(space, spec, timed, latencies, by_block, seed)
    about = {
        "device": device_name(settings.device),
        "backend": settings.backend,
        "threads": settings.threads,
        "batch_size": settings.batch_size,
        "rounds": settings.rounds,
        "dtype": "float32",
        "simd": simd_level(),
        "cpu_flags": _of_processor("flags", "Features").split(),
        "versions": {name: version(name) for name in ("nasx", "numpy", settings.backend)},
        "spec": dataclasses.asdict(spec),
        "seed": seed,
        "timings": len(timed),
        "median_ms": float(np.median(latencies)),
        "blocks": [
            {**block._asdict(), **_quantiles(row)}
            for block, row in zip(blocks, (several - one) / (_COPIES - 1), strict=True)
        ],
        "errors": model.errors,
    }
    if blocks_kept is not None:
        about["block_errors"] = blocks_kept.errors(seed=seed)
    if held_out:
        told = model.intercept + _sum(model.entries, model.pairs, held)
        if blocks_kept is not None:
            told += blocks_kept(held)
        alone = dict(zip(blocks, undisturbed(one).tolist(), strict=True))
        parts = [_blocks(space, row, spec) for row in held]
        about["held_out"] = {"genotypes": held.tolist(), **_comparison(held_took, told, parts, alone)}
    return Measured(model.entries, model.pairs, model.intercept, blocks_kept, about)


def _different(space: Space, n: int, seed: int) -> Genotypes:
    """Draw different architectures, as many as there are at most."""
    return unique(space.sample(4 * n, seed=seed)).rows[:n]


def _blocks(space: Space, row: Genotypes, spec: TaskSpec) -> list[Block]:
    return space.blocks(space.decode(row), spec) if space.has_blocks else []


def _calibrated(
    space: Space,
    spec: TaskSpec,
    timed: Genotypes,
    latencies: _Floats,
    by_block: dict[Block, float],
    seed: int,
) -> tuple[AdditiveModel, BlockTimes | None]:
    """Fit a sum over decisions to the sums of blocks, then what whole networks add to it.

    Where no sum over decisions comes near the sums of blocks, these stay what they are.
    """
    counts = space.cardinalities
    if not by_block:
        return fit_additive(timed, latencies, counts, seed=seed), None

    def expected(row: Genotypes) -> float:
        return sum(
            by_block.get(block, np.nan) * times for block, times in Counter(_blocks(space, row, spec)).items()
        )

    some = np.vstack([timed, _different(space, _EXPECTED, seed + 1)])
    sums = np.array([expected(row) for row in some])
    known = np.isfinite(sums)
    prior = fit_additive(some[known], sums[known], counts, seed=seed)
    adds_up = prior.errors["median_relative"] <= _ADDS_UP
    told = _sum(prior.entries, prior.pairs, timed) if adds_up else sums[: len(timed)]
    # What a network takes beside its blocks, and how much faster they run in one.
    scale, offset = _line(told, latencies)
    model = fit_additive(timed, latencies, counts, seed=seed, prior=offset + scale * told)
    model = model._replace(intercept=offset + model.intercept)
    if not adds_up:
        return model, BlockTimes(space, spec, {block: scale * ms for block, ms in by_block.items()})
    entries = [scale * a + b for a, b in zip(prior.entries, model.entries, strict=True)]
    pairs = None if prior.pairs is None else [scale * part for part in prior.pairs]
    if model.pairs is not None:
        pairs = model.pairs if pairs is None else [a + b for a, b in zip(pairs, model.pairs, strict=True)]
    return model._replace(entries=entries, pairs=pairs), None


def _comparison(
    took: _Floats, told: _Floats, parts: list[list[Block]], alone: dict[Block, float]
) -> dict[str, Any]:
    """Put what a table says of networks that it was not fitted to, and sums of blocks, beside their times."""
    measured = undisturbed(took)
    found: dict[str, Any] = {"measured_ms": measured.tolist(), "told_ms": told.tolist()}
    found["errors"] = errors_of(told, measured)
    if took.shape[1] > 1:
        found["repeated_errors"] = errors_of(undisturbed(took[:, 1::2]), undisturbed(took[:, ::2]))
    sums = [sum(alone[block] for block in each) if alone.keys() >= set(each) else None for each in parts]
    found["blocks_alone_ms"] = sums if alone else None
    return found


def _sum(entries: list[_Floats], pairs: list[_Floats] | None, rows: Genotypes) -> _Floats:
    """Add up what is active, without an intercept."""
    counts = np.array([len(part) for part in entries], np.int32)
    flat = None if pairs is None else np.concatenate([part.ravel() for part in pairs])
    return _native.LatencyTable(counts, np.concatenate(entries), flat, 0.0).sum(rows)


def _line(x: _Floats, y: _Floats) -> tuple[float, float]:
    """Slope and offset by the median of all slopes between two points (Theil and Sen), at least 0."""
    i, j = np.triu_indices(len(x), 1)
    apart = x[i] != x[j]
    if not apart.any():
        return 0.0, float(np.median(y))
    slope = max(0.0, float(np.median((y[i] - y[j])[apart] / (x[i] - x[j])[apart])))
    return slope, float(np.median(y - slope * x))


def _quantiles(times: _Floats) -> dict[str, float]:
    low, median, high = np.quantile(times, [0.1, 0.5, 0.9]).tolist()
    return {"median_ms": median, "p10_ms": low, "p90_ms": high}


def device_name(device: str) -> str:
    """Name the processor, or the GPU.

    Parameters
    ----------
    device : str
        As torch calls it.

    Returns
    -------
    str
        As its maker calls it; of a processor also how many CPUs there are.
    """
    if device != "cpu":
        import torch

        return torch.cuda.get_device_name(device) if device.startswith("cuda") else device
    name = _of_processor("model name") or platform.processor() or platform.machine()
    return f"{name}, {os.cpu_count()} CPUs"


def _of_processor(*keys: str) -> str:
    """Tell what Linux says of the first processor under one of these names; nothing elsewhere."""
    cpus = Path("/proc/cpuinfo")
    for line in cpus.read_text().splitlines() if cpus.exists() else []:
        key, _, value = line.partition(":")
        if key.strip() in keys:
            return value.strip()
    return ""
