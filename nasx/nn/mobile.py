"""The networks of `nasx.spaces.FBNet` and `nasx.spaces.ProxylessMobile`, and the supernet that holds them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nasx.architecture import Architecture
from nasx.errors import unknown
from nasx.nn.blocks import Classifier
from nasx.nn.choices import LayerChoice
from nasx.nn.layers import BatchNorm, ReLUDepthwise, after_stem, in_fast_layout, is_traced
from nasx.nn.mixed import Zero
from nasx.nn.module_supernet import ModuleSupernet
from nasx.nn.supernet import copy_weights

if TYPE_CHECKING:
    from nasx.spaces._mobile import MobileLayer, MobileSpace
    from nasx.tasks.base import TaskSpec

__all__ = ["MobileModule", "MobileSupernet", "MobileUnit", "mobile_block", "mobile_unit"]

_ACTIVATIONS: dict[str, type[nn.ReLU] | type[nn.ReLU6]] = {"relu": nn.ReLU, "relu6": nn.ReLU6}
_SHUFFLED = 2  # groups of "_g2"


class MobileUnit(nn.Module):
    """A layer of these networks: an operation, with the input added where the shape stays.

    Parameters
    ----------
    operation : torch.nn.Module
        The operation, or a choice among several. `nasx.nn.Zero` leaves the input alone.
    residual : bool
        Whether the input is added.

    Examples
    --------
    >>> import torch
    >>> MobileUnit(nn.ReLU(), residual=True)(torch.tensor([-1.0, 1.0]))
    tensor([-1.,  2.])
    """

    def __init__(self, operation: nn.Module, *, residual: bool) -> None:
        super().__init__()
        self.operation, self.residual = operation, residual

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in_channels, H, W)`` to ``(B, out_channels, ceil(H / stride), ceil(W / stride))``."""
        if not self.residual:
            out: Tensor = self.operation(x)
            return out
        # Weights of a mixture sum to one, so that the input is added once, whatever is mixed.
        return x if self._is_idle() else x + self.operation(x)

    def _is_idle(self) -> bool:
        """Whether a supernet's path has nothing here."""
        choice = self.operation
        if not isinstance(choice, LayerChoice) or not isinstance(choice.choice, int):
            return False
        return isinstance(choice.mixed.operations[choice.choice], Zero)


class MobileModule(nn.Module):
    """A 3x3 stem, layers, a 1x1 convolution and a linear classifier over pooled features.

    Parameters
    ----------
    in_channels : int
        Channels of the images.
    num_outputs : int
        Size of the output.
    units : iterable of torch.nn.Module
        The layers, as `mobile_unit` makes them, each for the channels of the one before it.
    stem : int, default 16
        Channels before the layers.
    stem_stride : int, default 2
        Stride of the stem.
    first : int, optional
        Channels of a block without expansion between the stem and the layers.
    channels : int, default 352
        Channels after the last layer.
    head : int, default 1504
        Channels that are pooled.
    activation : {"relu", "relu6"}, default "relu"
        After convolutions.

    References
    ----------
    M. Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018.

    Examples
    --------
    >>> import torch
    >>> units = [mobile_unit("k3_e6", 8, 16, stride=2), mobile_unit("k5_e1_g2", 16, 16)]
    >>> network = MobileModule(1, 10, units=units, stem=8, stem_stride=1, channels=16, head=32)
    >>> network(torch.zeros(5, 1, 8, 8)).shape
    torch.Size([5, 10])
    """

    def __init__(
        self,
        in_channels: int,
        num_outputs: int,
        *,
        units: Iterable[nn.Module],
        stem: int = 16,
        stem_stride: int = 2,
        first: int | None = None,
        channels: int = 352,
        head: int = 1504,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.stem = _stem(in_channels, stem, stem_stride, activation)
        self.first = nn.Identity() if first is None else _first(stem, first, activation)
        self.units = nn.Sequential(*units)
        self.head = _head(channels, head, num_outputs, activation)

    def forward(self, images: Tensor) -> Tensor:
        """Map images ``(B, in_channels, H, W)`` to scores ``(B, num_outputs)``."""
        scores: Tensor = self.head(self.units(self.first(after_stem(self.stem, images))))
        return scores


class MobileSupernet(ModuleSupernet):
    """All networks of a `nasx.spaces.FBNet` or `nasx.spaces.ProxylessMobile` in one.

    Parameters
    ----------
    space : FBNet or ProxylessMobile
        The space.
    spec : TaskSpec
        ``input_shape`` ``(C, H, W)`` and the number of outputs.

    Notes
    -----
    Batch normalisations of operations learn no scale and shift, since inputs differ from path to path.

    Examples
    --------
    >>> import nasx, torch
    >>> space = nasx.spaces.FBNet(channels=(8,), repeats=(2,), strides=(1,), stem=8, head=16)
    >>> supernet = space.supernet(nasx.TaskSpec((1, 8, 8), 10, "image_classification"))
    >>> with supernet.path(space.decode([0, 8])):
    ...     supernet(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 10])
    """

    space: MobileSpace

    def __init__(self, space: MobileSpace, spec: TaskSpec) -> None:
        units = [_mixed(layer, space.activation) for layer in space.layers]
        network = MobileModule(spec.input_shape[0], spec.num_outputs, units=units, **space.frame)
        super().__init__(space, network)
        self.spec = spec

    def extract(self, architecture: Architecture) -> MobileModule:
        """Make an architecture's network with copies of the shared weights.

        Running statistics are those of all paths: `nasx.nn.recalibrate` before it is evaluated.

        Raises
        ------
        ValueError
            If the architecture is of another space.
        """
        self._checked(architecture)
        theirs = self.space.build(architecture, self.spec)
        assert isinstance(theirs, MobileModule)
        mine = self.network
        assert isinstance(mine, MobileModule)
        for name in ("stem", "first", "head"):
            copy_weights(mine.get_submodule(name), theirs.get_submodule(name))
        for layer, unit, chosen in zip(mine.units, theirs.units, architecture.values(), strict=True):
            if isinstance(unit, MobileUnit):
                choice = layer.get_submodule("operation")
                assert isinstance(choice, LayerChoice)
                copy_weights(choice.chosen(str(chosen)), unit.operation)
        return theirs.to(next(self.parameters())).train(self.training)

    def skips(self, architecture: Architecture) -> tuple[int, int]:
        """Count the layers that do nothing, and all layers."""
        layers = zip(self.space.layers, self._checked(architecture).values(), strict=True)
        idle = [chosen == "skip" and _keeps_shape(**_shape(layer)) for layer, chosen in layers]
        return sum(idle), len(idle)


def _mixed(layer: MobileLayer, activation: str) -> MobileUnit:
    """Make a layer with all of its operations."""
    shape = _shape(layer)
    made = {name: _operation(name, **shape, activation=activation, affine=False) for name in layer.operations}
    return MobileUnit(LayerChoice(made, name=layer.name), residual=_keeps_shape(**shape))


def mobile_unit(
    operation: str, in_channels: int, out_channels: int, *, stride: int = 1, activation: str = "relu"
) -> nn.Module:
    """Make a layer of these networks.

    Parameters
    ----------
    operation : str
        "k<kernel>_e<expansion>", with "_g2" for 1x1 convolutions in two groups, or "skip".
    in_channels, out_channels : int
        Channels of the input and of the output.
    stride : {1, 2}, default 1
        Height and width become ``ceil(size / stride)``.
    activation : {"relu", "relu6"}, default "relu"
        After the first two convolutions.

    Returns
    -------
    torch.nn.Module
        The layer; ``torch.nn.Identity`` if nothing is done.

    Raises
    ------
    ValueError
        If there is no such operation.

    References
    ----------
    B. Wu et al., "FBNet: Hardware-Aware Efficient ConvNet Design via Differentiable Neural Architecture
    Search", CVPR 2019.

    Examples
    --------
    >>> import torch
    >>> mobile_unit("k5_e3", 8, 16, stride=2)(torch.zeros(1, 8, 7, 7)).shape
    torch.Size([1, 16, 4, 4])
    >>> mobile_unit("skip", 8, 8)
    Identity()
    """
    shape = {"in_channels": in_channels, "out_channels": out_channels, "stride": stride}
    made = _operation(operation, **shape, activation=activation, affine=True)
    return nn.Identity() if isinstance(made, Zero) else MobileUnit(made, residual=_keeps_shape(**shape))


def mobile_block(kind: str, **settings: Any) -> nn.Module:
    """Make a part of these networks.

    Parameters
    ----------
    kind : {"stem", "first", "unit", "head"}
        Which.
    **settings
        ``in_channels`` and what it takes to make it.

    Returns
    -------
    torch.nn.Module
        The part.

    Raises
    ------
    ValueError
        If there is no such part.
    """
    if kind not in _PARTS:
        raise ValueError(unknown("kind", kind, _PARTS))
    part: nn.Module = _PARTS[kind](**settings)
    return part


def _shape(layer: MobileLayer) -> dict[str, int]:
    return {"in_channels": layer.in_channels, "out_channels": layer.out_channels, "stride": layer.stride}


def _keeps_shape(in_channels: int, out_channels: int, stride: int) -> bool:
    return stride == 1 and in_channels == out_channels


def _operation(
    name: str, in_channels: int, out_channels: int, stride: int, activation: str, affine: bool
) -> nn.Module:
    """Make what a layer does beside keeping its input."""
    if name == "skip":
        if _keeps_shape(in_channels, out_channels, stride):
            return Zero()
        # Pixels are taken out first: strided 1x1 convolutions of few channels overwrite memory in torch 2.13.
        taken = nn.MaxPool2d(1, stride) if stride > 1 else nn.Identity()
        return nn.Sequential(taken, *_convolution(in_channels, out_channels, 1, activation, affine=affine))
    try:
        kernel, expansion, *more = name.split("_")
        size, times = int(kernel.removeprefix("k")), int(expansion.removeprefix("e"))
        groups = int(more[0].removeprefix("g")) if more else 1
    except ValueError:
        raise ValueError(f"operation must be 'skip' or such as 'k3_e6' or 'k5_e1_g2'; got {name!r}") from None
    inner = times * in_channels
    shuffle = [_Shuffle(groups)] if groups > 1 else []
    *expand, active = _convolution(in_channels, inner, 1, activation, groups=groups, affine=affine)
    return nn.Sequential(
        *expand,
        *shuffle,
        *_depthwise(inner, size, stride, active),
        BatchNorm(inner, affine=affine),
        _ACTIVATIONS[activation](inplace=True),
        nn.Conv2d(inner, out_channels, 1, groups=groups, bias=False),
        BatchNorm(out_channels, affine=affine),
    )


class _Shuffle(nn.Module):
    """Channel ``j`` of group ``g`` goes to place ``j * groups + g``; exporters know these operations."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        # Where channels are last they stay so, by one copy here and one of the gradient.
        last = not is_traced(x) and x.is_contiguous(memory_format=torch.channels_last)
        rows = x.permute(0, 2, 3, 1) if last else x
        place = 3 if last else 1
        grouped: Tensor = rows.unflatten(place, (self.groups, -1))  # type: ignore[no-untyped-call]  # in torch
        mixed = grouped.transpose(place, place + 1).flatten(place, place + 1)
        return mixed.permute(0, 3, 1, 2) if last else in_fast_layout(mixed)


def _convolution(
    inputs: int,
    outputs: int,
    size: int,
    activation: str,
    *,
    stride: int = 1,
    groups: int = 1,
    affine: bool = True,
) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, size, stride, padding=size // 2, groups=groups, bias=False),
        BatchNorm(outputs, affine=affine),
        _ACTIVATIONS[activation](inplace=True),
    ]


def _depthwise(channels: int, size: int, stride: int, active: nn.Module) -> list[nn.Module]:
    """Make an activation and a depthwise convolution: one layer where there is a kernel for both."""
    if size in (3, 5) and isinstance(active, nn.ReLU):
        return [nn.Identity(), ReLUDepthwise(channels, size, stride)]
    return [
        active,
        nn.Conv2d(channels, channels, size, stride, padding=size // 2, groups=channels, bias=False),
    ]


def _stem(in_channels: int, out_channels: int, stride: int, activation: str) -> nn.Module:
    return nn.Sequential(*_convolution(in_channels, out_channels, 3, activation, stride=stride))


def _first(in_channels: int, out_channels: int, activation: str) -> nn.Module:
    return nn.Sequential(
        *_convolution(in_channels, in_channels, 3, activation, groups=in_channels),
        nn.Conv2d(in_channels, out_channels, 1, bias=False),
        BatchNorm(out_channels),
    )


def _head(in_channels: int, channels: int, num_outputs: int, activation: str) -> nn.Module:
    return nn.Sequential(
        *_convolution(in_channels, channels, 1, activation), Classifier(channels, num_outputs)
    )


_PARTS: dict[str, Any] = {"stem": _stem, "first": _first, "unit": mobile_unit, "head": _head}
