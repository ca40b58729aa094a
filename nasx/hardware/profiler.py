"""`MeasuredLatency`: how long a network takes on this machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nasx._arguments import count
from nasx.hardware.costs import NetworkCost

if TYPE_CHECKING:
    from nasx.architecture import Architecture
    from nasx.tasks.base import TaskSpec

__all__ = ["MeasuredLatency"]

_FEWEST = 3


class MeasuredLatency(NetworkCost):
    """Time of a network's forward pass on this machine, in milliseconds: the fastest of several passes.

    The network is built anew, in evaluation mode and without gradients, and is measured once. Whatever else
    runs on the machine only ever adds time, so the fastest pass repeats better than the mean or the median;
    values still differ from run to run.

    Parameters
    ----------
    batch_size : int, default 1
        Images in one pass; the time is of the whole pass.
    threads : int, default 1
        Threads of torch while measuring, on the CPU.
    warmup : int, default 5
        Passes before the timed ones.
    repeats : int, default 30
        Timed passes.
    max_seconds : float, default 2
        Start no further pass after this time, once three are timed.
    device : str, default "cpu"
        Where the network runs; a GPU is synchronised before and after each pass.

    Raises
    ------
    ValueError
        If a setting is out of range.

    Examples
    --------
    >>> from nasx import TaskSpec
    >>> from nasx.spaces import ConvNet
    >>> space = ConvNet(depths=[1], widths=[8])
    >>> latency = MeasuredLatency(repeats=5).bind(space, TaskSpec((1, 8, 8), 10, "image_classification"))
    >>> bool(latency(space.sample(1))[0] > 0)
    True
    """

    name = "latency_ms"
    unit = "ms"
    deterministic = False

    def __init__(
        self,
        *,
        batch_size: int = 1,
        threads: int = 1,
        warmup: int = 5,
        repeats: int = 30,
        max_seconds: float = 2.0,
        device: str = "cpu",
    ) -> None:
        for name, value, low in (
            ("batch_size", batch_size, 1),
            ("threads", threads, 1),
            ("warmup", warmup, 0),
            ("repeats", repeats, _FEWEST),
        ):
            count(value, name, low)
        if not isinstance(max_seconds, int | float) or not max_seconds > 0:
            raise ValueError(f"max_seconds must be a number of more than 0; got {max_seconds!r}")
        if not isinstance(device, str) or not device:
            raise ValueError(f"device must be a name such as 'cpu' or 'cuda'; got {device!r}")
        self._settings: dict[str, Any] = {
            "batch_size": batch_size,
            "threads": threads,
            "warmup": warmup,
            "repeats": repeats,
            "max_seconds": max_seconds,
            "device": device,
        }

    @property
    def settings(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return dict(self._settings)

    def _measure(self, architecture: Architecture, spec: TaskSpec) -> float:
        import torch

        from nasx.hardware.inputs import input_type

        device = torch.device(self._settings["device"])
        threads = torch.get_num_threads()
        torch.set_num_threads(self._settings["threads"])
        try:
            # Nobody else's random numbers are disturbed.
            with (
                torch.random.fork_rng(devices=[device] if device.type == "cuda" else []),
                torch.inference_mode(),
            ):
                model = architecture.build().to(device).eval()
                shape, dtype = (
                    (self._settings["batch_size"], *spec.input_shape),
                    input_type(spec, spec.input_shape),
                )
                inputs = torch.zeros(shape, dtype=dtype, device=device)
                return self._fastest(lambda: model(inputs), _synchronise(device))
        finally:
            torch.set_num_threads(threads)

    def _fastest(self, run: Callable[[], object], synchronise: Callable[[], None]) -> float:
        start = time.perf_counter()
        times: list[float] = []
        for number in range(self._settings["warmup"] + self._settings["repeats"]):
            synchronise()
            before = time.perf_counter()
            run()
            synchronise()
            after = time.perf_counter()
            if number >= self._settings["warmup"]:
                times.append(after - before)
            if len(times) >= _FEWEST and after - start > self._settings["max_seconds"]:
                break
        return 1000 * min(times)


def _synchronise(device: Any) -> Callable[[], None]:
    if device.type != "cuda":
        return lambda: None
    import torch

    return lambda: torch.cuda.synchronize(device)
