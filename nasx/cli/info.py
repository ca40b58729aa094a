"""``nasx info``: what is installed and what the core uses."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import nasx

__all__ = ["info"]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def info() -> int:
    """Print versions, CPU level, threads and strategies.

    Returns
    -------
    int
        Always 0.
    """
    rows = {
        "nasx": nasx.__version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "cpu level": nasx.simd_level(),
        "threads": str(nasx.get_num_threads()),
        **{
            package: _version(package)
            for package in ("numpy", "torch", "matplotlib", "pandas", "scikit-learn")
        },
        "strategies": ", ".join(nasx.available_strategies()),
        "spaces": ", ".join(nasx.spaces.available_spaces()),
    }
    for name, value in rows.items():
        print(f"{name:<13}{value}")
    return 0
