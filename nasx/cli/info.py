"""``nasx info``: what is installed and what the core uses."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, requires, version

import nasx
from nasx._core import runtime

__all__ = ["info"]

# Extras for people who work on nasx itself, and the one that only names others.
_NOT_SHOWN = ("test", "lint", "bench", "all")


def info() -> int:
    """Print versions, CPU level, threads, optional packages, strategies and spaces.

    Returns
    -------
    int
        Always 0.
    """
    rows = {
        "nasx": nasx.__version__,
        "python": f"{platform.python_version()} on {platform.system()} {platform.machine()}",
        "cpu level": f"{nasx.simd_level()} (of {', '.join(runtime.simd_levels())})",
        "threads": str(nasx.get_num_threads()),
        **_packages(),
        "strategies": ", ".join(nasx.available_strategies()),
        "spaces": ", ".join(nasx.spaces.available_spaces()),
    }
    width = max(map(len, rows)) + 2
    for name, value in rows.items():
        print(f"{name:<{width}}{value}")
    return 0


def _packages() -> dict[str, str]:
    """Versions of what nasx needs and can use, as its own metadata lists them."""
    packages = {}
    for requirement in requires("nasx") or ():
        name = re.split(r"[^\w.-]", requirement)[0]
        extra = re.search(r"extra == ['\"](.+?)['\"]", requirement)
        if name == "nasx" or (extra and extra[1] in _NOT_SHOWN):
            continue
        try:
            packages[name] = version(name)
        except PackageNotFoundError:
            packages[name] = "not installed" + (f": pip install 'nasx[{extra[1]}]'" if extra else "")
    return packages
