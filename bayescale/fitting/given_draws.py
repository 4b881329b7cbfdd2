"""Draws that another program made of a study's parameters -> a fit, after the checks that every fit passes."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from bayescale.engine.asked import study_of
from bayescale.errors import FitError
from bayescale.field import clipped, names_text
from bayescale.fitting.diagnostics import check_convergence
from bayescale.fitting.doors import what_is
from bayescale.fitting.fit import counts, finished
from bayescale.fitting.sampling import STATS
from bayescale.fitting.tree import as_dataset
from bayescale.jobs.threads import one_blas_thread
from bayescale.laws.law import Law
from bayescale.laws.priors import Prior, to_real
from bayescale.study import Study

GIVEN = "given"  # the engine, in the settings of such a fit
NO_DIVERGENCES = {
    "code": "no_divergences",
    "severity": "warning",
    "text": "the draws came without the sampler's divergences: whether there were any is not known",
    "rows": [],
}


@one_blas_thread()
def fit_from_draws(
    idata: "xr.DataTree | xr.Dataset",
    runs: Any,
    law: "str | os.PathLike[str] | Law | None" = None,
    *,
    noise: str | None = None,
    allow_unconverged: bool = False,
    priors: Mapping[str, Any] | None = None,
    group: str | None = None,
    by: Sequence[str] | None = None,
    columns: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> xr.DataTree:
    """A fit of draws that were made elsewhere: of :func:`bayescale.pymc_model`, or of an extension of it.

    The draws pass the same limits of convergence as those of :func:`bayescale.fit`. ``law_loss``, N*, D* and the
    parameters rest on them. The ``loss`` of a forecast allows for an error of the law. It comes from a posterior of its
    own, which knows the runs and the priors of ``law`` alone: a prior that was changed in PyMC must be changed in the
    law too.

    Parameters
    ----------
    idata : ArviZ's tree with the group ``posterior`` [chain, draw], or that group; it has every parameter of the law
        and of the noise, by its name in the law file. Other variables are left out. ``diverging``, ``energy`` and
        their like are taken from the group ``sample_stats``, if there is one
    runs, law, noise, priors, group, by, columns, units : of the model that was sampled, as in :func:`bayescale.fit`
    allow_unconverged : return a fit that failed its convergence limits, marked as such, instead of raising

    Returns
    -------
    DataTree as :func:`bayescale.fit` returns it; its derived quantities and its log likelihood are computed anew.

    Raises
    ------
    RunsError, LawError
        The runs or the law cannot be used.
    FitError
        A parameter is missing, has other dimensions than chain and draw, or draws that are not finite or outside its
        prior; there are too few or too many draws; the runs do not fit the law; the chains did not converge.

    Examples
    --------
    >>> fitted = bayescale.fit(runs, "chinchilla")
    >>> again = bayescale.fit_from_draws(fitted["posterior"].to_dataset(), runs, "chinchilla")
    >>> bool((again["posterior"]["level"] == fitted["posterior"]["level"]).all())
    True
    """
    study = study_of(runs, law, noise, priors, group, by, columns, units)
    given, stats = _groups(idata)
    posterior = _parameters(study, given)
    draws, chains, seed = counts(study, posterior.sizes["draw"], posterior.sizes["chain"], 0)
    known = _statistics(stats, (chains, draws))
    convergence = check_convergence(posterior, known) | {"method": "nuts", "draws_asked": draws, "draws_made": draws}
    return finished(
        study,
        convergence,
        posterior,
        known,
        {"draws": draws, "chains": chains, "engine": GIVEN},
        seed=seed,
        allow_unconverged=allow_unconverged,
        noticed=[] if "diverging" in stats else [NO_DIVERGENCES],
    )


def _groups(given: Any) -> tuple[xr.Dataset, xr.Dataset]:
    """Posterior and statistics of the sampler; the latter may be empty."""
    if isinstance(given, xr.Dataset) and {"chain", "draw"} <= set(given.dims):
        return given, xr.Dataset()
    if not (isinstance(given, xr.DataTree) and "posterior" in given.children):
        raise FitError(f"draws are expected, a tree with the group posterior [chain, draw], not {what_is(given)}")
    stats = given["sample_stats"].to_dataset() if "sample_stats" in given.children else xr.Dataset()
    return given["posterior"].to_dataset(), stats


def _parameters(study: Study, given: xr.Dataset) -> xr.Dataset:
    """The draws of every parameter of a study [chain, draw], checked."""
    of = f"law '{study.law.name}' with the noise '{study.scatter.noise}'"
    if missing := set(study.priors) - set(given.data_vars):
        raise FitError(
            f"draws of {names_text(missing)} are missing, parameters of {of}; the draws are of "
            f"{names_text(map(str, given.data_vars))}"
        )
    return as_dataset({name: _checked(name, given[name], prior) for name, prior in study.priors.items()})


def _checked(name: str, values: xr.DataArray, prior: Prior) -> np.ndarray:
    if set(values.dims) != {"chain", "draw"}:
        dims = ", ".join(clipped(dim) for dim in values.dims)
        raise FitError(f"draws of '{name}' are [{dims}]; [chain, draw] is expected")
    if values.dtype.kind not in "fiu":
        raise FitError(f"draws of '{name}' are no numbers ({values.dtype})")
    drawn = values.transpose("chain", "draw").values.astype(float)
    if bad := int((~np.isfinite(drawn)).sum()):
        raise FitError(f"{bad} of {drawn.size} draws of '{name}' are not finite")
    with np.errstate(all="ignore"):
        outside = int(np.isnan(to_real(prior, drawn)).sum())
    if outside:
        raise FitError(f"{outside} of {drawn.size} draws of '{name}' are outside its prior {prior}")
    return drawn


def _statistics(given: xr.Dataset, shape: tuple[int, int]) -> xr.Dataset:
    """The sampler's statistics that a fit keeps [chain, draw]; no divergence where they are not known."""
    kept = {"diverging": np.zeros(shape, dtype=bool)}
    for name in STATS.values():
        if name not in given:
            continue
        if set(given[name].dims) != {"chain", "draw"} or given[name].transpose("chain", "draw").shape != shape:
            raise FitError(f"'{name}' of the draws' sample_stats has other chains or draws than their posterior")
        kept[name] = given[name].transpose("chain", "draw").values
    return as_dataset(kept)
