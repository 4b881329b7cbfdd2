"""Laws side by side on the same runs: how each predicts runs left out, and how each forecast larger runs from smaller."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.backtest import backtest
from bayescale.diagnostics import diagnostics
from bayescale.fit import FitError, fit, law_of, runs_of
from bayescale.law import load_law
from bayescale.loo import loo
from bayescale.runs import read_runs

TIE = 4.0  # of elpd: below it laws predict alike, whatever the standard error says (Sivula et al. 2025)
PRIOR_LOOKS = 2.0  # how many cuts the equal weights that forward stacking starts from are worth, see docs/compare.md


def fit_laws(
    runs: Any,
    laws: Sequence[Any],
    *,
    noise: str = "student_t",
    draws: int = 1000,
    chains: int = 4,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, xr.DataTree]:
    """Fit several laws to the same runs.

    Parameters
    ----------
    runs : what :func:`bayescale.read_runs` returns or takes
    laws : names, paths of law files, or Laws; two or more, of different names
    noise, draws, chains, seed : as in :func:`bayescale.fit`
    progress : called with (laws fitted, laws in all)

    Returns
    -------
    Fits by name of the law. One that did not converge is among them, marked: :func:`compare` leaves it out of weights.

    Raises
    ------
    RunsError, LawError, FitError
        The runs or a law cannot be used, or two laws have one name.
    """
    runs = read_runs(runs)
    chosen = [load_law(law) for law in ([laws] if isinstance(laws, str) else laws)]
    names = [law.name for law in chosen]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise FitError(f"two of the laws are called {', '.join(repeated)}; give every law once, and files other names")
    if len(chosen) < 2:
        raise FitError(f"{len(chosen)} law(s) to compare; two or more are needed")
    fits = {}
    for law in chosen:
        fits[law.name] = fit(
            runs, law, noise=noise, draws=draws, chains=chains, seed=seed, allow_unconverged=True
        )
        if progress is not None:
            progress(len(fits), len(chosen))
    return fits


def compare(
    fits: Mapping[str, xr.DataTree],
    *,
    forward: bool = False,
    horizon: float = 1.5,
    groups: Any = None,
    mend: bool = True,
    seed: int = 0,
    folder: Any = None,
    progress: Callable[[str, int, int], None] | None = None,
) -> xr.Dataset:
    """Set fits of the same runs side by side: in-range evidence, and with ``forward`` that of forecasting larger runs.

    In range: elpd_loo = sum_i log p(y_i | y without i) of log loss, :func:`bayescale.loo.loo`; d_elpd is the difference
    to the best law, with d_se = sqrt(n var_i(d_i)). Forward: the runs below a compute forecast those above it, law by
    law, at the cuts of :func:`bayescale.backtest`; the score of a cut is the mean over its forecast runs, that of a law
    the mean over cuts.

    Parameters
    ----------
    fits : fits by name (what :func:`fit_laws` returns), all of the same runs and the same observable
    forward : also forecast larger runs from smaller ones: every law is fitted again at every cut
    horizon : longest forecast to score [decades of compute]
    groups : leave out groups of runs together, see :func:`bayescale.loo.loo`
    mend : refit without the runs whose Pareto k is too large
    seed : of refits and forecasts
    folder : where the backtest keeps finished parts
    progress : called with (what is being done, done, in all)

    Returns
    -------
    Dataset [law], best in range first: ``elpd_loo``, ``se``, ``p_loo``, ``d_elpd``, ``d_se``, ``pareto_k_max`` (after
    mending), ``k_bad`` (left above the limit), ``k_mended``, ``weight_loo`` (stacking; a description), ``converged``;
    [law, run] or [law, group]: ``elpd_i``, ``pareto_k``; ``pit`` [law, run]. With ``forward`` also ``elpd_forward``
    (mean log predictive density of a forecast run), ``crps_forward``, ``weight_forward`` (for forecasts) [law] and
    ``elpd_cut``, ``crps_cut`` [law, cut], ``edge`` and ``forecasts`` [cut]. A law that did not converge comes last and
    weighs nothing. :func:`comparison_table`, :func:`comparison_verdict` and :func:`comparison_warnings` sum it up.

    Raises
    ------
    FitError
        If the fits are not of the same runs, observable and count of N; the message names both sides.

    Notes
    -----
    Vehtari et al. 2017, doi:10.1007/s11222-016-9696-4; stacking: Yao et al. 2018, doi:10.1214/17-BA1091; ties: Sivula
    et al. 2025, arXiv:2008.10296.
    """
    fits = dict(fits)
    check_comparable(fits)
    step = progress or (lambda what, done, total: None)
    parts = {}
    for name, tree in fits.items():
        parts[name] = loo(tree, groups=groups, mend=mend, seed=seed)
        step("leaving runs out", len(parts), len(fits))
    converged = {name: bool(diagnostics(tree)["converged"]) for name, tree in fits.items()}
    if not any(converged.values()):
        raise FitError(f"none of the laws converged ({', '.join(fits)}); look at each fit's diagnostics")
    total = {name: float(part["elpd_loo"].sum()) for name, part in parts.items()}
    order = sorted(fits, key=lambda name: (not converged[name], -total[name]))
    result = xr.concat([parts[name] for name in order], dim=xr.IndexVariable("law", np.array(order, dtype=object)), combine_attrs="drop_conflicts")
    result = _side_by_side(result.rename(elpd_loo="elpd_i", p_loo="p_i"), [converged[name] for name in order])
    result.attrs |= {
        "source": fits[order[0]].attrs["source"],
        "runs": fits[order[0]]["observed_data"].sizes["run"],
        "unit": "run" if groups is None else f"group of {groups}" if isinstance(groups, str) else "group",
        "seed": seed,
        "forward": "",
    }
    if forward:
        evidence, why = _forward(fits, order, horizon, seed, folder, step)
        result = result.merge(evidence) if evidence is not None else result
        result["weight_forward"] = ("law", _forward_weights(result))
        result.attrs |= {"horizon": horizon, "forward": why or "done"}
    return result


def check_comparable(fits: Mapping[str, xr.DataTree]) -> None:
    """Raise FitError, naming both sides, unless all fits are of the same runs, observable and count of N."""
    if len(fits) < 2:
        raise FitError(f"{len(fits)} fit(s) to compare; two or more are needed")
    for name, tree in fits.items():
        if not isinstance(tree, xr.DataTree) or "posterior" not in tree.children:
            raise FitError(f"'{name}': a fit is expected, not a {type(tree).__name__}")
    (first, one), *others = fits.items()
    for second, other in others:
        both = f"'{first}' and '{second}'"
        seen, of_other = (set(tree["observed_data"].data_vars) for tree in (one, other))
        if seen != of_other or getattr(law_of(one), "observed", None) != getattr(law_of(other), "observed", None):
            raise FitError(
                f"{both} explain different observables ({_observable(one)} and {_observable(other)}): their elpd are "
                "not on one scale; compare laws of the same observable"
            )
        mine, theirs = runs_of(one), runs_of(other)
        if mine.sizes["run"] != theirs.sizes["run"]:
            raise FitError(
                f"{both} were fitted to different runs ({mine.sizes['run']} of {one.attrs['source']} and "
                f"{theirs.sizes['run']} of {other.attrs['source']}); fit both to the same runs"
            )
        same = {name: np.allclose(mine[name], theirs[name], rtol=1e-9) for name in ("loss", "tokens", "params")}
        at = int(np.argmax(~np.isclose(mine["params"], theirs["params"], rtol=1e-9)))
        if same["loss"] and same["tokens"] and not same["params"]:
            raise FitError(
                f"{both} count N differently (run {at + 1}: params = {float(mine['params'][at]):.4g} and "
                f"{float(theirs['params'][at]):.4g}; with and without embeddings?); fit both with one count"
            )
        if not all(same.values()):
            differing = ", ".join(name for name, equal in same.items() if not equal)
            raise FitError(
                f"{both} were fitted to different runs ({one.attrs['source']} and {other.attrs['source']} differ in "
                f"{differing}); fit both to the same runs in the same order"
            )


def _observable(tree: xr.DataTree) -> str:
    observed = getattr(law_of(tree), "observed", None)
    return ", ".join(map(str, tree["observed_data"].data_vars)) if observed is None else str(observed)


def _side_by_side(result: xr.Dataset, converged: Sequence[bool]) -> xr.Dataset:
    """Totals, differences to the best law, and stacking weights."""
    unit = "group" if "group" in result.dims else "run"
    elpd, count = result["elpd_i"], result.sizes[unit]
    difference = elpd - elpd.isel(law=0)
    result["elpd_loo"] = elpd.sum(unit)
    result["se"] = np.sqrt(count * elpd.var(unit, ddof=1))
    result["p_loo"] = result["p_i"].sum(unit)
    result["d_elpd"] = difference.sum(unit)
    result["d_se"] = np.sqrt(count * difference.var(unit, ddof=1))
    result["pareto_k_max"] = result["pareto_k"].max(unit)
    result["k_bad"] = (~(result["pareto_k"] <= result.attrs["good_k"])).sum(unit)
    result["k_mended"] = result["mended"].sum(unit)
    result["converged"] = ("law", list(converged))
    good = np.flatnonzero(converged)
    weights = np.zeros(result.sizes["law"])
    weights[good] = stacking(elpd.transpose(unit, "law").values[:, good])
    result["weight_loo"] = ("law", weights)
    return result


def stacking(density: np.ndarray, share: np.ndarray | None = None, prior: float = 0.0) -> np.ndarray:
    """Weights w of a mixture that make sum_i share_i log sum_k w_k exp(density_ik) + prior mean_k log w_k largest [law].

    Parameters
    ----------
    density : log predictive densities of what was left out or forecast [case, law]
    share : how much each case counts; 1 by default
    prior : how many cases the equal weights, which it starts from, are worth

    Notes
    -----
    Yao et al. 2018, doi:10.1214/17-BA1091, eq. 5, with a Dirichlet prior. A concave problem; EM cannot leave the simplex.
    """
    share = np.ones(len(density)) if share is None else share
    ratio = np.exp(density - density.max(axis=1, keepdims=True))
    count = ratio.shape[1]
    weights = np.full(count, 1 / count)
    for _ in range(20_000):
        expected = share @ (ratio * weights / (ratio @ weights)[:, None]) + prior / count
        new = expected / expected.sum()
        settled = np.abs(new - weights).max() < 1e-9
        weights = new
        if settled:
            break
    return weights


def _forward(fits, order, horizon, seed, folder, step) -> tuple[xr.Dataset | None, str]:
    """Scores of every law at every cut [law, cut, run], or None and the reason."""
    tables, reasons = {}, {}
    for name in order:
        done = len(tables) + len(reasons)

        def moved(at: int, of: int, done: int = done) -> None:
            step("forecasting larger runs from smaller", done * of + at, len(order) * of)

        try:
            tables[name] = backtest(
                runs_of(fits[name]), law_of(fits[name]), horizon=horizon, seed=seed, folder=folder, progress=moved
            ).isel(law=0, drop=True)
        except FitError as error:
            reasons[name] = str(error)
    if not tables:
        return None, reasons[order[0]]
    forecast = xr.concat(list(tables.values()), dim=xr.IndexVariable("law", np.array(list(tables), dtype=object)))
    forecast = forecast[["elpd", "crps", "decades_beyond"]].reindex(law=order)
    evidence = xr.Dataset(
        {
            "elpd_cut": forecast["elpd"].mean("run"),
            "crps_cut": forecast["crps"].mean("run"),
            "elpd_run": forecast["elpd"],
            "forecasts": forecast["elpd"].notnull().sum("run").max("law"),
        }
    )
    evidence["elpd_forward"] = evidence["elpd_cut"].mean("cut")
    evidence["crps_forward"] = evidence["crps_cut"].mean("cut")
    return evidence, "; ".join(f"'{name}': {why}" for name, why in reasons.items())


def _forward_weights(result: xr.Dataset) -> np.ndarray:
    """Stacking on forecasts, a cut one look, shrunk to equal weights; a law without them or unconverged has none."""
    usable = result["converged"].values.copy()
    if "elpd_run" not in result:
        return usable / usable.sum()
    usable &= result["elpd_forward"].notnull().values
    if not usable.any():
        return result["converged"].values / result["converged"].values.sum()
    weights = np.zeros(len(usable))
    scored = result["elpd_run"].isel(law=np.flatnonzero(usable)).stack(case=("cut", "run"))
    scored = scored.transpose("case", "law").dropna("case")
    _, cut, sizes = np.unique(scored["cut"].values, return_inverse=True, return_counts=True)
    weights[usable] = stacking(scored.values, 1 / sizes[cut], PRIOR_LOOKS)
    return weights


def ties(result: xr.Dataset) -> list[str]:
    """Laws that predict left-out runs as well as the best one does: |d_elpd| below 4 or 2 d_se; the best among them."""
    near = (np.abs(result["d_elpd"]) < np.maximum(2 * result["d_se"], TIE)).values | (result["d_elpd"].values == 0)
    return [str(name) for name in result["law"].values[near & result["converged"].values]]


def forward_ties(result: xr.Dataset) -> list[str]:
    """Laws that forecast as well as the best: those whose lead, cut by cut, is not above twice its spread over cuts.

    The spread itself and not its standard error: cuts share runs, so that together they are little more than one look.
    """
    usable = result.isel(law=np.flatnonzero((result["converged"] & result["elpd_forward"].notnull()).values))
    best = usable.isel(law=int(np.argmax(usable["elpd_forward"].values)))
    behind = best["elpd_cut"] - usable["elpd_cut"]
    spread = behind.std("cut", ddof=1) if behind.sizes["cut"] > 1 else np.inf * xr.ones_like(usable["elpd_forward"])
    near = (behind.mean("cut") <= 2 * spread).values | (usable["law"] == best["law"]).values
    named = [str(name) for name in usable["law"].values[near]]
    return sorted(named, key=lambda name: name != str(best["law"].values))


def comparison_table(result: xr.Dataset) -> pd.DataFrame:
    """A comparison as a table, a row a law, best in range first; ``arviz.plot_compare`` draws it.

    Columns: ``rank``, ``elpd``, ``se``, ``p``, ``elpd_diff``, ``dse`` (ArviZ's names, unrounded), ``pareto_k_max``,
    ``k_bad``, ``k_mended``, ``weight_loo``; with forward evidence ``elpd_forward``, ``crps_forward``, ``rank_forward``,
    ``weight_forward``; and ``converged``.
    """
    called = {"elpd": "elpd_loo", "se": "se", "p": "p_loo", "elpd_diff": "d_elpd", "dse": "d_se"}
    called |= {name: name for name in ("pareto_k_max", "k_bad", "k_mended", "weight_loo")}
    called |= {name: name for name in ("elpd_forward", "crps_forward", "weight_forward") if name in result}
    table = pd.DataFrame({name: result[of].values for name, of in called.items()}, index=list(result["law"].values))
    table.insert(0, "rank", range(len(table)))
    if "elpd_forward" in table:
        usable = table["elpd_forward"].where(result["converged"].values)
        table.insert(table.columns.get_loc("weight_forward"), "rank_forward", usable.rank(ascending=False) - 1)
    return table.assign(converged=result["converged"].values)


def comparison_verdict(result: xr.Dataset) -> str:
    """Which law, how sure, which are ties, and whether the two kinds of evidence agree, in plain sentences."""
    unit = str(result.attrs["unit"])
    equal = ties(result)
    best, rest = equal[0], [str(name) for name in result["law"].values if name not in equal]
    behind = [f"'{name}' ({_behind(result, name)})" for name in rest if bool(result["converged"].sel(law=name))]
    sentences = [f"In range (each {unit} predicted from the others), '{best}' is best"]
    if equal[1:]:
        tied = _listed([f"'{name}' ({_behind(result, name)})" for name in equal[1:]])
        sentences[0] += f", but {tied} cannot be told from it: a tie"
    sentences[0] += f"; {_listed(behind)} predict{'s' if len(behind) == 1 else ''} worse." if behind else "."
    if unit == "run" and int(result.attrs["runs"]) < 100:
        sentences.append(f"With {result.attrs['runs']} runs these standard errors are rough.")
    if "weight_forward" in result:
        sentences += _forward_verdict(result, equal)
    else:
        sentences.append("This says nothing of larger runs: add the forward evidence (forward=True, --forward).")
    return " ".join(sentences)


def _forward_verdict(result: xr.Dataset, in_range: list[str]) -> list[str]:
    if "elpd_cut" not in result:
        return [f"Forward: no evidence ({result.attrs['forward']}); the weights for forecasts are equal."]
    equal = forward_ties(result)
    cuts = result.sizes["cut"]
    looks = "a single cut, one look" if cuts == 1 else f"{cuts} cuts that share runs, few independent looks"
    first = f"Forward (larger runs forecast from smaller; {looks}), '{equal[0]}' is best"
    if equal[1:]:
        first += f", and {_listed([repr(name) for name in equal[1:]])} cannot be told from it"
    sentences = [first + "."]
    both = [name for name in in_range if name in equal]
    if not both:
        sentences.append(
            f"The two disagree: {_listed([repr(name) for name in in_range])} in range, "
            f"{_listed([repr(name) for name in equal])} forward. For a forecast believe the second."
        )
    elif in_range[0] != equal[0]:
        sentences.append(f"They differ in the first place only; {_listed([repr(name) for name in both])} can be either.")
    weights = result["weight_forward"]
    shares = _listed([f"'{name}' {float(weights.sel(law=name)):.2f}" for name in result["law"].values if
                      float(weights.sel(law=name)) >= 0.005])
    sentences.append(f"Weights for an averaged forecast: {shares}.")
    return sentences


def _behind(result: xr.Dataset, name: str) -> str:
    row = result.sel(law=name)
    return f"{float(row['d_elpd']):+.1f} +- {float(row['d_se']):.1f}"


def _listed(items: Sequence[str]) -> str:
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)


def driving_runs(result: xr.Dataset, against: str | None = None, *, most: int = 5) -> pd.DataFrame:
    """The runs (or groups) that drive the choice between the best law and another, largest pointwise difference first.

    Parameters
    ----------
    against : name of the other law; by default the next best

    Returns
    -------
    Table of ``unit`` (index of the run from 0, or label of the group), ``d_elpd`` (above 0: for the best law) and
    ``share`` of the sum of absolute differences.
    """
    best, other = result.isel(law=0), result.isel(law=1) if against is None else result.sel(law=against)
    dim = "group" if "group" in result.dims else "run"
    difference = (best["elpd_i"] - other["elpd_i"]).values
    order = np.argsort(-np.abs(difference))[:most]
    labels = result["group"].values if dim == "group" else np.arange(len(difference))
    return pd.DataFrame(
        {
            "unit": labels[order],
            "d_elpd": difference[order],
            "share": np.abs(difference[order]) / max(np.abs(difference).sum(), 1e-300),
        }
    )


def comparison_warnings(result: xr.Dataset) -> list[str]:
    """What speaks against a comparison; an empty list when nothing is known."""
    warnings = []
    for name in result["law"].values[~result["converged"].values]:
        warnings.append(f"law '{name}' did not converge: it is left out of ranks and weights")
    for name in result["law"].values[(result["k_bad"] > 0).values]:
        bad, worst = int(result["k_bad"].sel(law=name)), float(result["pareto_k_max"].sel(law=name))
        warnings.append(
            f"law '{name}': Pareto k of {bad} {'run' if 'group' not in result.dims else 'group'}(s) is up to {worst:.2f} "
            f"(above {result.attrs['good_k']:.2f}) and not mended: its elpd_loo is too optimistic"
        )
    if "weight_forward" in result and result.attrs["forward"] != "done":
        warnings.append(f"forward evidence is incomplete: {result.attrs['forward']}")
    return warnings


def comparison_summary(result: xr.Dataset) -> dict[str, Any]:
    """A comparison for machines: ``laws`` (a row a law), ``verdict``, ``ties``, ``driving_runs``, ``cuts``, ``warnings``."""
    names = ("elpd_loo", "se", "p_loo", "d_elpd", "d_se", "pareto_k_max", "k_bad", "k_mended")
    names += ("elpd_forward", "crps_forward", "weight_loo", "weight_forward", "converged")
    laws = [
        {"law": str(name)} | {key: result[key].sel(law=name).item() if key in result else None for key in names}
        for name in result["law"].values
    ]
    return {
        "laws": laws,
        "verdict": comparison_verdict(result),
        "ties": ties(result),
        "forward_ties": forward_ties(result) if "elpd_cut" in result else None,
        "driving_runs": driving_runs(result).to_dict("records"),
        "warnings": comparison_warnings(result),
    }
