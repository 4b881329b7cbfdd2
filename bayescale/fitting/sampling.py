"""Model -> compiled, -> draws that passed their limits: nutpie's NUTS, which goes on or is slowed down if need be."""

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from bayescale.engine.model import Model, nutpie_model
from bayescale.engine.pymc_engine import PymcModel, draws_by_pymc
from bayescale.fitting.diagnostics import DIVERGENCES_CLEAN, R_HAT_APART, check_convergence
from bayescale.fitting.tree import as_dataset
from bayescale.jobs.threads import cores
from bayescale.laws.priors import Prior, from_real

# (tune, target_accept): chains that lack nothing but draws go on, up to TIMES_MAX times the draws that were asked for.
# When a fit fails its limits all the same the next, slower, setting is tried before it is given up. The first gives
# about twice the effective draws a second of the next one and is enough for nearly every study
SETTINGS = ((400, 0.9), (1000, 0.95), (2000, 0.98), (3000, 0.99))
TIMES_MAX = 8
DRAWS_MAX = 1_000_000  # of all chains together
# sampler statistics by nutpie's name: by ArviZ's
STATS = {
    "diverging": "diverging",
    "energy": "energy",
    "n_steps": "n_steps",
    "step_size": "step_size",
    "depth": "tree_depth",
    "logp": "lp",
}


class SamplerError(RuntimeError):
    """The sampler could not start; the message says why in its own words."""


def best_attempt(
    model: Model | PymcModel,
    priors: Mapping[str, Prior],
    draws: int,
    chains: int,
    seed: int,
    *,
    enough: str,
    progress: bool = False,
) -> tuple[dict[str, Any], xr.Dataset, xr.Dataset, dict[str, Any]]:
    """Convergence, posterior, statistics and setting of the best attempt, up to the first that is ``enough``.

    The posterior has as many draws as were asked for, or all those that chains made that went on. Raises SamplerError
    if no chain finds a place to start.

    Parameters
    ----------
    model : over the real line of each of ``priors``
    enough : "clean" or "converged", see :func:`bayescale.fitting.diagnostics.check_convergence`; "first" is one
        attempt, as many draws as asked for
    """
    attempts: list[tuple[dict[str, Any], xr.Dataset, xr.Dataset, tuple[int, float]]] = []
    allowed = DIVERGENCES_CLEAN * draws * chains if enough == "clean" else math.inf
    for setting in SETTINGS:
        # from the same starts: new ones might all be in one of several modes, and the others would go unseen
        times, found = 1, None
        while times:
            try:
                position, told = sample(model, draws * times, setting[0], chains, seed, setting[1], progress)
            except SamplerError:
                if not attempts and found is None:
                    raise
                break  # what there is, is better than nothing
            posterior = as_dataset({name: from_real(prior, position[name]) for name, prior in priors.items()})
            stats = as_dataset(told)
            found = check_convergence(posterior, stats), posterior, stats, setting
            most = min(TIMES_MAX, DRAWS_MAX // (draws * chains))
            times = 0 if enough == "first" else _more(found[0], times, most, allowed, setting == SETTINGS[-1])
        if found is None:
            break
        attempts.append(found)
        if enough == "first" or found[0][enough]:
            break
        if len(attempts) > 1 and all(convergence["r_hat_max"] > R_HAT_APART for convergence, *_ in attempts):
            break  # apart twice: the posterior has several modes, which slower settings do not join
    convergence, posterior, stats, (tune, target_accept) = max(attempts, key=lambda attempt: _quality(attempt[0]))
    convergence |= {"method": "nuts", "draws_asked": draws, "draws_made": posterior.sizes["draw"]}
    about = {"draws_made": posterior.sizes["draw"], "tune": tune, "target_accept": target_accept}
    return convergence, posterior, stats, about | {"attempts": len(attempts)}


def _more(convergence: Mapping[str, Any], times: int, most: int, allowed: float, last: bool) -> int:
    """How many times the draws asked for the chains go on to, or 0: they have what they need, or would need too much.

    At most ``most`` times, and only if the divergences so far are no more than so long a run may have: ``allowed`` of
    them for each time the draws asked for. The last setting does what it may.

    The sampler cannot be resumed. A longer run with the same seed begins with the very same draws, and costs little
    beside the tuning, so that is what going on is.
    """
    wanted = convergence["draws_wanted"]
    if wanted is None or convergence["converged"] or times >= most:
        return 0
    more = max(2 * times, 2 ** math.ceil(math.log2(times * wanted)))
    in_reach = more <= most and convergence["divergences"] <= allowed * more
    return min(more, most) if last or in_reach else 0


def _quality(convergence: Mapping[str, Any]) -> tuple[bool, bool, float]:
    return convergence["clean"], convergence["converged"], convergence["ess_min"]


def sample(
    model: Model | PymcModel, draws: int, tune: int, chains: int, seed: int, target_accept: float, progress: bool
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Positions on the real line and sampler statistics, each [chain, draw]."""
    try:
        if isinstance(model, PymcModel) and model.backend == "pymc":
            position, stats = draws_by_pymc(model, draws, tune, chains, seed, target_accept, progress)
            return position, {name: stats[name] for name in STATS.values() if name in stats}
        import nutpie

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # nutpie's own conversion takes as long as sampling a small study does
            trace = nutpie.sample(
                model.for_nutpie if isinstance(model, PymcModel) else nutpie_model(model),
                draws=draws,
                tune=tune,
                chains=chains,
                cores=min(chains, cores()),
                seed=seed,
                target_accept=target_accept,
                adaptation="low_rank",
                progress_bar=progress,
                save_warmup=False,
                return_raw_trace=True,
            )
    except RuntimeError as error:
        raise SamplerError(str(error).splitlines()[0]) from None
    batches = trace.get_arrow_trace()
    if any(chain.num_rows < tune + draws for part in batches for chain in part):
        raise KeyboardInterrupt  # nutpie takes an interrupt for a wish to have what there is, tuning and all
    position, stats = (_arrays(part, draws) for part in batches)
    return position, {new: stats[old] for old, new in STATS.items() if old in stats}


def _arrays(batches: list[Any], draws: int) -> dict[str, np.ndarray]:
    """Numbers of arrow batches, one a chain, as arrays [chain, draw]: the last ``draws`` rows, without the tuning."""
    import pyarrow

    columns: dict[str, list[np.ndarray]] = {}
    for batch in batches:
        for name in batch.column_names:
            column = pyarrow.array(batch.column(name))
            if pyarrow.types.is_primitive(column.type):
                columns.setdefault(name, []).append(column.to_numpy(zero_copy_only=False)[-draws:])
    return {name: np.stack(parts) for name, parts in columns.items()}
