"""Which versions made a result."""

import functools
import platform
from importlib.metadata import version


@functools.cache
def versions() -> dict[str, str]:
    """Python and the packages that the draws of a fit depend on."""
    packages = ("bayescale", "nutpie", "numba", "llvmlite", "arviz-stats", "numpy", "scipy", "xarray", "pymc")
    return {"python": platform.python_version()} | {package: version(package) for package in packages}
