"""The PyMC model of a study as an engine: compiled by Numba or JAX for nutpie, or sampled by PyMC itself."""

import functools
import warnings
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayescale.engine.model import Code, Model
from bayescale.engine.pymc import build_model
from bayescale.laws.priors import from_real, to_real
from bayescale.study import Study

BACKENDS = ("numba", "jax", "pymc")


@dataclass(frozen=True)
class PymcModel:
    """A PyMC model that has no machine code of its own.

    Attributes
    ----------
    study : whose model it is
    start : where chains may start, on the real line of each parameter [start, parameter]
    built : the ``pymc.Model``
    backend : "jax", compiled for nutpie, or "pymc", sampled by PyMC's NUTS
    """

    study: Study
    start: np.ndarray
    built: Any
    backend: str

    def start_of(self, seed: bytes) -> np.ndarray:
        """The start of the chain with this seed."""
        return self.start[zlib.crc32(seed) % len(self.start)]

    @functools.cached_property
    def for_nutpie(self) -> Any:
        """nutpie's model, compiled by JAX; it draws positions on the real line of each parameter."""
        from nutpie.compiled_pyfunc import from_pyfunc

        names, density = list(self.study.priors), _jax_density(self.built)
        return from_pyfunc(
            ndim=len(names),
            make_logp_fn=lambda: density,
            make_expand_fn=lambda *seeds: lambda at: {name: np.array(at[i]) for i, name in enumerate(names)},
            expanded_dtypes=[np.dtype("float64")] * len(names),
            expanded_shapes=[()] * len(names),
            expanded_names=names,
            make_initial_point_fn=lambda seed: self.start_of(np.asarray(seed).tobytes()),
        )


def pymc_engine(study: Study, start: np.ndarray, backend: str = "numba") -> Model | PymcModel:
    """The log posterior of a study as PyMC has it; chains may start at ``start`` [start, parameter].

    Raises FitError if the model cannot be built.
    """
    built = build_model(study)
    if backend != "numba":
        return PymcModel(study, start, built, backend)
    return Model(tuple(study.priors), study.runs.sizes["run"], start, functools.cache(lambda: _code_of(built)))


def _code_of(built: Any) -> Code:
    import numba
    from numba import types
    from nutpie import compile_pymc_model

    doubles = types.CPointer(types.double)

    @numba.cfunc(types.int64(types.uint64, types.uint64, doubles, doubles, types.voidptr))
    def expand(dim: Any, expanded: Any, position: Any, out: Any, data: Any) -> int:
        for i in range(dim):
            out[i] = position[i]
        return 0

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = compile_pymc_model(built, var_names=[variable.name for variable in built.free_RVs])
    return Code(made.compiled_logp_func, expand, made.user_data, made.shared_data)


def _jax_density(built: Any) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """Log density and gradient of a position, on the device that JAX has."""
    import jax
    from pymc.sampling.jax import get_jaxified_logp

    log_density = get_jaxified_logp(built)  # without its option, which turns the sign
    both = jax.jit(jax.value_and_grad(lambda position: log_density(list(position))))

    def density(position: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = both(np.array(position))
        return float(value), np.asarray(gradient, dtype=float)

    return density


def draws_by_pymc(
    model: PymcModel, draws: int, tune: int, chains: int, seed: int, target_accept: float, progress: bool
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Positions on the real line and sampler statistics by PyMC's own NUTS, each [chain, draw].

    Raises RuntimeError if the sampler cannot start; the message says why.
    """
    import pymc as pm

    named = [variable.name for variable in model.built.free_RVs]
    priors = model.study.priors
    starts = [model.start_of(f"{seed} {chain}".encode()) for chain in range(chains)]
    values = [{name: from_real(priors[name], at) for name, at in zip(priors, start, strict=True)} for start in starts]
    with model.built, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            trace = pm.sample(
                draws=draws,
                tune=tune,
                chains=chains,
                cores=1,  # a process that has threads cannot be forked safely
                random_seed=seed,
                nuts_sampler="pymc",
                init="adapt_diag",
                initvals=values,
                target_accept=target_accept,
                var_names=named,
                progressbar=progress,
                compute_convergence_checks=False,
                quiet=True,
            )
        except pm.SamplingError as error:
            raise RuntimeError(str(error)) from None
    posterior = trace["posterior"].to_dataset().transpose("chain", "draw")
    position = {name: to_real(priors[name], posterior[name].values) for name in named}
    return position, {str(name): x.values for name, x in trace["sample_stats"].data_vars.items()}
