"""The law where none is named: the coupled family, or of runs of one size the law that predicts left-out runs best."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import logsumexp

from bayescale.errors import FitError
from bayescale.field import listed
from bayescale.fitting.draws import smoothed_weights
from bayescale.laws.law import DEFAULT_LAW, Law, load_law
from bayescale.runs.one_size import only_size

ONE_SIZE_LAWS = {
    "params": ("m3_params", "floor_params", "power_params"),
    "tokens": ("m3_tokens", "floor_tokens", "power_tokens"),
    "compute": ("m3_compute", "floor_compute", "power_compute"),
    "x": ("m3", "broken"),
}


def default_laws(source: Any, columns: Mapping[str, str] | None = None) -> list[Law]:
    """The laws to choose from for these runs where none is named; one of runs in which N and D differ.

    Parameters
    ----------
    source, columns : as in :func:`bayescale.read_runs`
    """
    size = only_size(source, columns)
    return [load_law(name) for name in ([DEFAULT_LAW] if size is None else ONE_SIZE_LAWS[size])]


def best_fit(laws: list[Law], fit_one: Callable[[Law], xr.DataTree]) -> xr.DataTree:
    """The fit whose law predicts left-out runs best, with a note that says so and by how much.

    elpd = sum_i log p(y_i | y without i), by Pareto-smoothed importance sampling. A law that cannot be fitted is out.

    Raises
    ------
    FitError
        The error of the first law, if none can be fitted.
    """
    fits, errors = {}, []
    for law in laws:
        try:
            fits[law.name] = fit_one(law)
        except FitError as error:
            errors.append(error)
    if not fits:
        raise errors[0]
    elpd = {name: _elpd(tree) for name, tree in fits.items()}
    best, *others = sorted(fits, key=lambda name: -elpd[name].sum())
    tree, behind = fits[best], []
    for name in others:
        apart = elpd[best] - elpd[name]
        error = np.sqrt(len(apart) * apart.var(ddof=1))
        behind.append(f"'{name}' (behind by {apart.sum():.1f} +- {error:.1f})")
    than = f" than {listed(behind)} in elpd" if behind else ""
    text = f"no law was named and the runs differ in one size: '{best}' predicts left-out runs better{than}; --law NAME"
    note = {"code": "law_chosen", "severity": "info", "text": text, "rows": []}
    tree.attrs["notes"] = json.dumps([note, *json.loads(tree.attrs["notes"])])
    return tree


def _elpd(tree: xr.DataTree) -> np.ndarray:
    """log p(y_i | y without i) [run]."""
    if "log_likelihood" not in tree.children:
        raise FitError(
            "the runs differ in one size and are too many to choose a law by leaving runs out; name one, such as "
            f"law='{tree.attrs['law']}' (--law {tree.attrs['law']})"
        )
    pointwise = next(iter(tree["log_likelihood"].data_vars.values()))
    flat = pointwise.stack(sample=("chain", "draw")).transpose("run", "sample").values
    return logsumexp(flat + smoothed_weights(-flat)[0], axis=1)
