"""`Latency`: what parts of a transformer take on a machine, from timings of what is extracted."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from nasx._arguments import count
from nasx.compression.costs import PartsCost, Tables
from nasx.compression.families import Family
from nasx.compression.importance import as_family
from nasx.compression.shapes import LayerShape, Shape
from nasx.compression.space import CompressionSpace
from nasx.decisions import Integer
from nasx.hardware.measuring import device_name
from nasx.hardware.timing import TimingSettings, time_items, undisturbed
from nasx.space import Space
from nasx.tasks.base import TaskSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

    from nasx.architecture import Architecture

__all__ = ["Latency", "measure_latency"]

_Floats = npt.NDArray[np.float64]
_FORMAT = "nasx latency of transformer parts 1"
# Sizes that are timed; what lies between is told from both sides, since products of matrices take as long as
# they are wide.
_HIDDENS, _ATTENTIONS, _WIDTHS = 3, 8, 5
_COPIES = 4
_FEWEST_LAYERS = 2


class Latency(PartsCost):
    """Milliseconds for a batch, as a sum over attentions and MLPs.

    Parameters
    ----------
    space : CompressionSpace
        Whose architectures it is for.
    tables : Tables
        The numbers.
    about : mapping of str to JSON types, optional
        What is known of its origin: machine, settings, errors.
    """

    name = "latency_ms"
    unit = "ms"

    def __init__(
        self, space: CompressionSpace, tables: Tables, *, about: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(space, tables)
        self.about = dict(about or {})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as JSON.

        Parameters
        ----------
        path : path-like
            The file; it is replaced.
        """
        written = {
            "format": _FORMAT,
            "space": self._space.settings,
            "tables": {name: value.tolist() for name, value in vars(self.tables).items()},
            "about": self.about,
        }
        new = Path(f"{os.fspath(path)}.new")
        new.write_text(json.dumps(written), encoding="utf-8")
        os.replace(new, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read what `save` wrote.

        Parameters
        ----------
        path : path-like
            The file.

        Returns
        -------
        Latency
            For a space with the same options.

        Raises
        ------
        ValueError
            If it is something else.
        """
        try:
            written = json.loads(Path(path).read_text(encoding="utf-8"))
            if written["format"] != _FORMAT:
                raise ValueError(f"its format is {str(written['format'])[:80]!r}")
            settings = dict(written["space"])
            space = CompressionSpace(Shape.from_dict(settings.pop("full")), **settings)
            tables = Tables(
                **{name: np.array(value, np.float64) for name, value in written["tables"].items()}
            )
            _check(space, tables)
            return cls(space, tables, about=dict(written["about"]))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"{path} holds no latencies that nasx wrote: {error}") from None


def _check(space: CompressionSpace, tables: Tables) -> None:
    sizes = (len(space.hiddens), len(space.full.layers))
    most = [max(len(options[k]) for options in space.options) for k in range(2)]
    expected = {
        "whole": sizes[:1],
        "attention": (*sizes, most[0]),
        "mlp": (*sizes, most[1]),
        "gone": sizes,
    }
    for name, shape in expected.items():
        value = getattr(tables, name)
        if value.shape != shape or not np.isfinite(value).all():
            raise ValueError(f"{name} must be finite numbers of shape {shape}; got shape {value.shape}")


def measure_latency(
    model: Any,
    space: CompressionSpace,
    *,
    length: int = 128,
    backend: str = "torch",
    device: str = "cpu",
    batch_size: int = 1,
    threads: int = 1,
    rounds: int = 15,
    networks: int = 8,
    seed: int = 0,
    resume: str | os.PathLike[str] | None = None,
    kept: str | os.PathLike[str] | None = None,
    progress: bool | None = None,
) -> Latency:
    """Time a transformer's parts on this machine: one pass over a whole text.

    Parameters
    ----------
    model : torch.nn.Module
        One of those that `nasx.compress` takes; it has two layers at least.
    space : CompressionSpace
        Its parts.
    length : int, default 128
        Tokens in a sequence.
    backend, device, batch_size, threads, rounds
        As of `nasx.hardware.measure_latency`.
    networks : int, default 8
        Whole networks that are timed too: the sums are scaled to them.
    seed : int, default 0
        Of the orders, and of what networks are timed.
    resume : path-like, optional
        Keep what is timed in this file; a call that was stopped goes on with it.
    kept : path-like, optional
        Save the latencies in this file. If it exists, they are read from it and nothing is timed; it is
        refused, and left as it is, where they were measured on another machine or with other settings.
    progress : bool, optional
        By default on a terminal only.

    Returns
    -------
    Latency
        ``about["error"]`` is the median relative error on the whole networks, and ``about["worst"]`` the
        largest.

    Raises
    ------
    ValueError
        If the model has one layer, a setting is out of range, or what is `kept` was measured in another way.
    nasx.errors.EvaluationError
        If a part cannot be run.

    Notes
    -----
    What is timed is extracted: networks with one and with four layers of the same attention, or MLP, alone. A
    third of the difference is what one takes, so that embeddings and heads do not count. Up to three hidden
    sizes, eight attentions and five widths are timed, others are told from those beside them. Everything is
    timed in turn, in a process of its own.
    """
    family = as_family(model)
    layers = len(space.full.layers)
    if layers < _FEWEST_LAYERS:
        raise ValueError(f"latency_ms needs a model of {_FEWEST_LAYERS} layers or more; it has {layers}")
    if len(set(space.options)) > 1:
        raise ValueError("latency_ms needs a model whose layers are all alike")
    settings = TimingSettings(
        backend=backend, device=device, batch_size=batch_size, threads=threads, rounds=rounds
    )
    origin = {
        "machine": device_name(settings.device),
        "settings": {**vars(settings), "length": count(length, "length", 2)},
    }
    if kept is not None and Path(kept).exists():
        return _of_origin(kept, origin)
    copies = min(_COPIES, layers)
    hiddens = _spread(space.hiddens, _HIDDENS)
    attentions = _spread(space.options[0].attention[1:], _ATTENTIONS)
    widths = _spread(space.options[0].mlp[1:], _WIDTHS)
    blocks = [LayerShape(heads, groups, 0) for heads, groups in attentions]
    blocks += [LayerShape(0, 0, width) for width in widths]
    shapes = [
        Shape(hidden, (block,) * n + (None,) * (layers - n))
        for hidden in hiddens
        for block in blocks
        for n in (1, copies)
    ]
    whole = space.sample(count(networks, "networks"), seed=seed)
    wholes = [space.full, *(space.shape_of(row) for row in whole)]
    if next(family.model.parameters()).device.type != "cpu":  # it is sent to another process
        family = type(family)(copy.deepcopy(family.model).cpu())
    parts = _Extracted(family, [*shapes, *wholes], len(shapes), length)
    spec = TaskSpec((length,), family.plan.vocabulary, "language")
    items = [(i,) for i in range(len(parts.shapes))]
    times = undisturbed(time_items(parts, spec, items, settings, seed=seed, resume=resume, progress=progress))
    one, many = times[: len(shapes)].reshape(len(hiddens), len(blocks), 2).transpose(2, 0, 1)
    each = np.maximum((many - one) / (copies - 1), 0.0)
    base = np.median(one - each, axis=1)
    tables = _tables(
        space, hiddens, base, attentions, each[:, : len(attentions)], widths, each[:, len(attentions) :]
    )
    told = Latency(space, tables)._compute(space.genotype_of(space.full)[None])
    told = np.concatenate([told, Latency(space, tables)._compute(whole)])
    ratios = times[len(shapes) :] / told
    scale = float(np.median(ratios))
    errors = np.abs(told * scale / times[len(shapes) :] - 1)
    about = {
        **origin,
        "scale": scale,
        "error": float(np.median(errors)),
        "worst": float(errors.max()),
    }
    scaled = Tables(**{name: value * scale for name, value in vars(tables).items()})
    measured = Latency(space, scaled, about=about)
    if kept is not None:
        measured.save(kept)
    return measured


def _of_origin(path: str | os.PathLike[str], origin: Mapping[str, Any]) -> Latency:
    """Read latencies that were measured here, and as they would be now."""
    found = Latency.load(path)
    if found.about.get("machine") != origin["machine"]:
        raise ValueError(
            f"{path} holds latencies of another machine, {found.about.get('machine')}, and this is "
            f"{origin['machine']}; it is left as it is: choose another journal, or give "
            "latency=Latency.load(...) to search for that machine"
        )
    known = found.about.get("settings")
    known = known if isinstance(known, dict) else {}
    for name, value in origin["settings"].items():
        if known.get(name) != value:
            raise ValueError(
                f"{path} holds latencies with {name}={known.get(name)!r}, and {name}={value!r} is asked for; "
                "it is left as it is: give latency= as it was, or choose another journal"
            )
    return found


def _spread(values: Sequence[Any], most: int) -> list[Any]:
    """Take at most so many values, the first and the last among them."""
    if len(values) <= most:
        return list(values)
    return [values[i] for i in sorted({round(k) for k in np.linspace(0, len(values) - 1, most)})]


def _tables(
    space: CompressionSpace,
    hiddens: Sequence[int],
    base: _Floats,
    attentions: Sequence[tuple[int, int]],
    attention_ms: _Floats,
    widths: Sequence[int],
    mlp_ms: _Floats,
) -> Tables:
    """Tell all sizes from those that were timed, relative to whole layers."""
    options, layers = space.options[0], len(space.full.layers)
    # An attention takes what it takes for each head and each group, and something besides.
    rows = np.array([(1.0, heads, groups) for heads, groups in attentions])
    wanted = np.array([(1.0, heads, groups) for heads, groups in options.attention[1:]])
    attention = np.zeros((len(hiddens), len(options.attention)))
    mlp = np.zeros((len(hiddens), len(options.mlp)))
    for h in range(len(hiddens)):
        if len(attentions) == len(options.attention) - 1:
            attention[h, 1:] = attention_ms[h]
        else:
            attention[h, 1:] = wanted @ np.linalg.lstsq(rows, attention_ms[h], rcond=None)[0]
        mlp[h, 1:] = np.interp(options.mlp[1:], widths, mlp_ms[h])

    def over_hiddens(values: _Floats) -> _Floats:
        return np.stack([np.interp(space.hiddens, hiddens, column) for column in values.T], axis=1)

    attention, mlp = over_hiddens(np.maximum(attention, 0.0)), over_hiddens(mlp)
    whole = np.interp(space.hiddens, hiddens, base) + layers * (attention[:, -1] + mlp[:, -1])
    return Tables(
        whole,
        np.repeat((attention - attention[:, -1:])[:, None], layers, axis=1),
        np.repeat((mlp - mlp[:, -1:])[:, None], layers, axis=1),
        np.zeros((len(space.hiddens), layers)),
    )


class _Extracted(Space):
    """Networks to time, by number: what the timing process can take out of the model."""

    def __init__(self, family: Family, shapes: Sequence[Shape], plain: int, length: int) -> None:
        super().__init__({"network": Integer(0, len(shapes) - 1)})
        self.family, self.shapes, self._plain, self._length = family, list(shapes), plain, length

    @property
    def settings(self) -> dict[str, Any]:
        """What a file of timings knows them by."""
        return {"shapes": [shape.to_dict() for shape in self.shapes], "length": self._length}

    def build(self, architecture: Architecture, spec: TaskSpec | None = None) -> nn.Module:
        """Extract one; parts of layers have no other class than the plain one."""
        number = int(architecture["network"])  # type: ignore[arg-type]
        part = self.family.extract(self.shapes[number], plain=number < self._plain)
        return _on_numbers(part, self.family.plan.vocabulary)


def _on_numbers(model: nn.Module, vocabulary: int) -> nn.Module:
    from torch import nn

    class OnNumbers(nn.Module):
        """A model that is called with random numbers, as timers do, and sees random tokens."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, numbers: Tensor) -> Any:
            return self.model((numbers.abs() * 9973).long() % vocabulary)[0]

    return OnNumbers()
