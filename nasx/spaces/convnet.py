"""`ConvNet`: chains of convolutional blocks for small images."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from nasx.architecture import Block
from nasx.space import Boolean, Categorical, Decision, Ordinal, Space
from nasx.spaces._images import check_images

if TYPE_CHECKING:
    from torch import nn

    from nasx.architecture import Architecture
    from nasx.tasks.base import TaskSpec

__all__ = ["ConvNet"]

_DEEPEST = 200  # so that a short file cannot ask for millions of decisions


class ConvNet(Space):
    """Convolutional image classifiers: a stem, up to `max(depths)` blocks, average pooling, a linear layer.

    ``depth`` and ``stem_width`` are decided once; ``block<i>.operation``, ``.width``, ``.kernel_size``,
    ``.stride`` and ``.residual`` for each block, and only if the network is that deep. Blocks are
    `nasx.nn.ConvBlock`. The default settings span some 4e10 architectures.

    Parameters
    ----------
    depths : sequence of int, default (1, 2, 3, 4, 5)
        Possible numbers of blocks; at most 200.
    widths : sequence of int, default (8, 16, 32, 64)
        Possible numbers of channels, of the stem and of each block.
    kernel_sizes : sequence of int, default (3, 5)
        Possible kernel sizes; odd.
    operations : sequence of str, default ("conv", "separable", "bottleneck")
        Possible operations.
    strides : sequence of int, default (1, 2)
        Possible strides. Images smaller than the product of the strides shrink to one pixel and stay there.
    residual : bool, default True
        Whether each block decides on a residual connection; if False, no block has one.

    Raises
    ------
    ValueError
        If numbers do not increase, are not positive integers or too large, a kernel size is even, or an
        operation is unknown.

    Examples
    --------
    >>> from nasx import TaskSpec
    >>> space = ConvNet(depths=[1, 2], widths=[8, 16])
    >>> space.size
    4704
    >>> architecture = space.decode(space.sample(1, seed=0)[0])
    >>> network = architecture.build(TaskSpec((1, 8, 8), num_outputs=10, kind="image_classification"))
    >>> sum(p.numel() for p in network.parameters()) > 0
    True
    """

    def __init__(
        self,
        *,
        depths: Sequence[int] = (1, 2, 3, 4, 5),
        widths: Sequence[int] = (8, 16, 32, 64),
        kernel_sizes: Sequence[int] = (3, 5),
        operations: Sequence[str] = ("conv", "separable", "bottleneck"),
        strides: Sequence[int] = (1, 2),
        residual: bool = True,
    ) -> None:
        numbers = {"depths": depths, "widths": widths, "kernel_sizes": kernel_sizes, "strides": strides}
        for name, values in numbers.items():
            _check_numbers(name, values)
        if max(depths) > _DEEPEST:
            raise ValueError(f"depths must be at most {_DEEPEST}; got {max(depths)}")
        if any(size % 2 == 0 for size in kernel_sizes):
            raise ValueError(
                f"kernel_sizes must be odd, so that stride 1 keeps the size; got {list(kernel_sizes)}"
            )
        known = ("conv", "separable", "bottleneck")
        if isinstance(operations, str) or not operations or not set(operations) <= set(known):
            raise ValueError(f"operations must be a non-empty list of {', '.join(known)}; got {operations!r}")
        if not isinstance(residual, bool):
            raise ValueError(f"residual must be True or False; got {residual!r}")
        self._settings: dict[str, Any] = {
            **{name: list(values) for name, values in numbers.items()},
            "operations": list(operations),
            "residual": residual,
        }
        decisions: dict[str, Decision] = {"depth": Ordinal(depths), "stem_width": Ordinal(widths)}
        for i in range(1, max(depths) + 1):
            when = {"depth": [depth for depth in depths if depth >= i]} if i > min(depths) else None
            decisions[f"block{i}.operation"] = Categorical(operations, when=when)
            decisions[f"block{i}.width"] = Ordinal(widths, when=when)
            decisions[f"block{i}.kernel_size"] = Ordinal(kernel_sizes, when=when)
            decisions[f"block{i}.stride"] = Ordinal(strides, when=when)
            if residual:
                decisions[f"block{i}.residual"] = Boolean(when=when)
        super().__init__(decisions)

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments, as JSON types."""
        return {name: list(v) if isinstance(v, list) else v for name, v in self._settings.items()}

    def build(self, architecture: Architecture, spec: TaskSpec) -> nn.Module:
        """Make the network of an architecture.

        Parameters
        ----------
        architecture : Architecture
            One of this space.
        spec : TaskSpec
            ``input_shape`` ``(C, H, W)`` and the number of outputs.

        Returns
        -------
        nasx.nn.ConvNetModule
            Maps ``(B, C, H, W)`` to ``(B, num_outputs)``; freshly initialised from torch's random state.

        Raises
        ------
        ValueError
            If the input is not an image.
        nasx.errors.MissingDependencyError
            If torch is not installed.
        """
        check_images(self, spec)
        from nasx.nn import ConvNetModule

        stem_width: Any = architecture["stem_width"]
        return ConvNetModule(
            spec.input_shape[0], spec.num_outputs, stem_width=stem_width, blocks=_options(architecture)
        )

    def blocks(self, architecture: Architecture, spec: TaskSpec) -> list[Block]:
        """List the stem, the blocks and the classifier of an architecture's network.

        Parameters
        ----------
        architecture : Architecture
            One of this space.
        spec : TaskSpec
            ``input_shape`` ``(C, H, W)`` and the number of outputs.

        Returns
        -------
        list of Block
            In the order of the network.

        Raises
        ------
        ValueError
            If the input is not an image.
        """
        check_images(self, spec)
        channels, height, width = spec.input_shape
        found: list[Block] = []
        for options in [{"width": architecture["stem_width"]}, *_options(architecture)]:
            settings = {name: value for name, value in options.items() if name != "width"}
            settings |= {"in_channels": channels, "out_channels": options["width"]}
            found.append(
                Block("ConvBlock", (channels, height, width), tuple(sorted(settings.items())), bool(found))
            )
            channels, stride = options["width"], options.get("stride", 1)
            height, width = -(-height // stride), -(-width // stride)
        head = (("in_channels", channels), ("num_outputs", spec.num_outputs))
        return [*found, Block("Classifier", (channels, height, width), head, True)]

    def build_block(self, block: Block) -> nn.Module:
        """Make one of `blocks`.

        Parameters
        ----------
        block : Block
            One of this space.

        Returns
        -------
        torch.nn.Module
            A `nasx.nn.ConvBlock`, or the classifier over pooled features.
        """
        from nasx.nn import Classifier, ConvBlock

        kinds: dict[str, Any] = {"ConvBlock": ConvBlock, "Classifier": Classifier}
        module: nn.Module = kinds[block.kind](**dict(block.settings))
        return module


def _options(architecture: Architecture) -> list[dict[str, Any]]:
    """Give what each block decides."""
    depth: Any = architecture["depth"]
    return [
        {
            option: architecture[f"block{i}.{option}"]
            for option in ("operation", "width", "kernel_size", "stride", "residual")
            if f"block{i}.{option}" in architecture
        }
        for i in range(1, depth + 1)
    ]


def _check_numbers(name: str, values: Sequence[int]) -> None:
    if isinstance(values, str | int) or not len(values):
        raise ValueError(f"{name} must be a non-empty list of integers; got {values!r}")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name} must hold positive integers; got {value!r}")
    if any(a >= b for a, b in itertools.pairwise(values)):
        raise ValueError(f"{name} must increase; got {list(values)}")
