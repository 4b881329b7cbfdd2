"""A log posterior for the sampler, by either engine: names, starts, density with gradient, nutpie's model."""

import ctypes
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bayescale.jobs.threads import cores, in_threads


@dataclass(frozen=True)
class Code:
    """A log density as machine code.

    Attributes
    ----------
    density : C function of dimension, position, gradient, value and data, 0 where all is finite (nutpie's interface)
    expand : C function that copies a position
    data : what ``density`` reads
    shared : arrays that ``data`` points to
    """

    density: Any
    expand: Any
    data: np.ndarray
    shared: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def call(self) -> Callable[..., int]:
        """``density``, for addresses."""
        pointer = ctypes.c_void_p
        interface = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_uint64, pointer, pointer, pointer, pointer)
        return interface(self.density.address)


@dataclass(frozen=True)
class Model:
    """A log posterior of given runs, over the real line of each parameter, by one of the engines.

    Attributes
    ----------
    names : of the parameters, of law and noise, in the order of a position
    rows : how many runs
    start : where chains may start [start, parameter]
    compiled : the machine code; the first call takes seconds
    """

    names: tuple[str, ...]
    rows: int
    start: np.ndarray
    compiled: Callable[[], Code]


def density_of(model: Model) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """Log density and gradient at a position, as the sampler sees them; -inf where it fails."""
    code, dim = model.compiled(), len(model.names)
    call, at, gradient, value = code.call, np.zeros(dim), np.zeros(dim), np.zeros(1)
    addresses = [array.ctypes.data for array in (at, gradient, value)]

    def density(position: np.ndarray) -> tuple[float, np.ndarray]:
        at[:] = position
        status = call(dim, *addresses, code.data.ctypes.data)  # names the code, so that its memory stays
        return (float(value[0]) if status == 0 else -np.inf), gradient.copy()

    return density


def log_densities(model: Model, position: np.ndarray) -> np.ndarray:
    """Log density at every position [draw, parameter], on all cores."""
    code = model.compiled()
    return np.concatenate(in_threads(lambda part: _in_a_row(code, part), np.array_split(position, cores())))


def _in_a_row(code: Code, position: np.ndarray) -> np.ndarray:
    call, dim = code.call, position.shape[1]
    position, gradient, values = np.ascontiguousarray(position), np.empty(dim), np.empty(len(position))
    first, slope, value, data = (array.ctypes.data for array in (position, gradient, values, code.data))
    failed = [i for i in range(len(values)) if call(dim, first + 8 * dim * i, slope, value + 8 * i, data)]
    values[failed] = -np.inf
    return values


def nutpie_model(model: Model) -> Any:
    """nutpie's model; every chain starts at one of the rows of ``start``."""
    from nutpie.compile_pymc import CompiledPyMCModel

    def initial_point(chain_seed: Any) -> np.ndarray:
        return model.start[zlib.crc32(np.asarray(chain_seed).tobytes()) % len(model.start)]

    count, code = len(model.names), model.compiled()
    return CompiledPyMCModel(
        dims={},
        _coords={},
        _n_dim=count,
        _shapes={name: () for name in model.names},
        compiled_logp_func=code.density,
        compiled_expand_func=code.expand,
        initial_point_func=initial_point,
        shared_data=dict(code.shared),
        shared_var_keys={},
        user_data=code.data,
        n_expanded=count,
        shape_info=(list(model.names), [slice(i, i + 1) for i in range(count)], [()] * count),
        logp_func=None,
        expand_func=None,
    )
