"""The law where none is named: the coupled family, or for runs of one size one that predicts left-out runs well."""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import logsumexp

from bayescale.errors import FitError
from bayescale.field import listed
from bayescale.fitting.draws import smoothed_weights
from bayescale.laws.law import DEFAULT_LAW, Law, load_law
from bayescale.runs.one_size import as_counted, only_size

BEHIND_SE = 2.0  # standard errors of the difference
BEHIND_ELPD = 4.0  # less is little, whatever its standard error
# few looks forward cannot tell against so much evidence
FAR_BEHIND_SE = 4.0
FAR_BEHIND_ELPD = 10.0
# the first unless it is far behind another: of most curves of docs/calibration.md it forecast farthest best, where the
# best in range did worse
ONE_SIZE_LAWS = {
    "params": ("m3_params", "floor_params", "power_params", "m4_params"),
    "tokens": ("m3_tokens", "floor_tokens", "power_tokens", "m4_tokens"),
    "compute": ("m3_compute", "floor_compute", "power_compute", "m4_compute"),
    "x": ("m3", "floor_x", "power_x", "m4"),
}
# it is enough that the first is behind these: a start near the loss of guessing is a shape that no other has
SLOW_STARTS = frozenset(("m4_params", "m4_tokens", "m4_compute", "m4"))


def default_laws(source: Any, columns: Mapping[str, str] | None = None) -> list[Law]:
    """The laws to choose from for these runs where none is named; one of runs in which N and D differ.

    Parameters
    ----------
    source, columns : as in :func:`bayescale.read_runs`
    """
    size = only_size(source, columns)
    return [load_law(name) for name in ([DEFAULT_LAW] if size is None else ONE_SIZE_LAWS[size])]


def laws_for(source: Any, law: Any, columns: Mapping[str, str] | None = None) -> list[Law]:
    """The law that is named, or those to choose from; of a proportion whose items no column counts, that of a share.

    Parameters
    ----------
    law : its name, the path of its file, the Law, or None
    source, columns : as in :func:`bayescale.read_runs`
    """
    if law is None:
        return default_laws(source, columns)
    return [as_counted(load_law(law), source, columns)]


def chosen_fit(laws: list[Law], fit_one: Callable[[Law], xr.DataTree]) -> xr.DataTree:
    """The fit of the first law, unless it is far behind the next in predicting left-out runs, and so on to the last.

    elpd = sum_i log p(y_i | y without i), by Pareto-smoothed importance sampling; far behind is :func:`far_behind`, and
    :func:`behind` is enough for a law of SLOW_STARTS. A note says how far others are. A law that cannot be fitted is
    out, and named. Raises FitError, the error of the first law, if none can be fitted.
    """
    fits: dict[str, xr.DataTree] = {}
    errors: dict[str, FitError] = {}
    for law in laws:
        try:
            fits[law.name] = fit_one(law)
        except FitError as failure:
            errors[law.name] = failure
    if not fits:
        raise next(iter(errors.values()))
    elpd = {name: _elpd(tree) for name, tree in fits.items()}
    first = chosen = next(iter(fits))
    for name in fits:
        limit = behind if name in SLOW_STARTS else far_behind
        chosen = name if limit(*_apart(elpd[name], elpd[chosen])) else chosen
    told = []
    for name in fits.keys() - {chosen}:
        apart, error = _apart(elpd[chosen], elpd[name])
        told.append(f"'{name}' is {'behind' if apart > 0 else 'ahead'} by {abs(apart):.1f} +- {error:.1f}")
    why = "it predicts left-out runs better" if chosen != first else "no other predicts left-out runs clearly better"
    text = f"no law was named and the runs differ in one size: '{chosen}' is taken, {why}"
    text += f" (elpd: {listed(sorted(told))}); --law NAME takes another" if told else ""
    text += f"; {listed([f"'{name}'" for name in errors])} could not be fitted" if errors else ""
    note = {"code": "law_chosen", "severity": "info", "text": text, "rows": []}
    tree = fits[chosen]
    tree.attrs["notes"] = json.dumps([note, *json.loads(tree.attrs["notes"])])
    return tree


def behind(elpd: Any, error: Any, se_min: float = BEHIND_SE, elpd_min: float = BEHIND_ELPD) -> Any:
    """Whether a law that is behind by ``elpd`` +- ``error`` predicts left-out runs worse: by more than both limits."""
    return elpd > np.maximum(se_min * error, elpd_min)


def far_behind(elpd: Any, error: Any) -> Any:
    """Whether a law predicts left-out runs far worse: by both FAR_BEHIND_SE standard errors and FAR_BEHIND_ELPD."""
    return behind(elpd, error, FAR_BEHIND_SE, FAR_BEHIND_ELPD)


def _apart(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Difference of two elpd and its standard error."""
    each = one - other
    return float(each.sum()), float(np.sqrt(len(each) * each.var(ddof=1)))


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


def distinct_laws(laws: Any) -> list[Law]:
    """One law or several; FitError if two of them have one name."""
    several = isinstance(laws, Iterable) and not isinstance(laws, str)
    chosen = [load_law(law) for law in (laws if several else [laws])]
    names = [law.name for law in chosen]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise FitError(f"two of the laws are called {', '.join(repeated)}; give every law once, and files other names")
    return chosen
