"""What a comparison says: ranks, ties, the runs that drive the choice, and a verdict in plain sentences."""

import json
from collections.abc import Iterator

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.evidence.weights import laws_far_behind
from bayescale.field import how_many, listed
from bayescale.fitting.default_law import FAR_BEHIND_ELPD, FAR_BEHIND_SE
from bayescale.fitting.doors import check_whole, one_of, opened_result
from bayescale.reading import Column, Reading
from bayescale.runs.read import read_said, read_text

TIE_ELPD = 4.0  # below it laws predict alike, whatever the standard error (Sivula et al. 2025)
FEW_UNITS = 100  # left out: with fewer the standard error of a difference is rough (the same)


def ties(result: xr.Dataset) -> list[str]:
    """Laws that predict left-out runs as well as the best one does: |d_elpd| below 4 or 2 d_se; the best among them."""
    d_elpd, d_se = result["d_elpd"].values, result["d_se"].values
    near = (np.abs(d_elpd) < np.maximum(2 * d_se, TIE_ELPD)) | (d_elpd == 0)
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


def driving_runs(result: xr.Dataset, against: str | None = None, *, most: int = 5) -> pd.DataFrame:
    """The runs (or groups) that drive the choice between the best law and another, largest pointwise difference first.

    Parameters
    ----------
    result : what :func:`bayescale.compare` returns
    against : name of the other law; by default the next best
    most : how many of them

    Returns
    -------
    Table of ``unit`` (line or row of the run, or label of the group), ``d_elpd`` (above 0: for the best law) and
    ``share`` of the sum of absolute differences.

    Examples
    --------
    >>> compared = bayescale.compare(bayescale.fit_laws(runs, ["chinchilla", "power_compute"]))
    >>> len(bayescale.driving_runs(compared, most=3))
    3
    """
    result = opened_result(result, "compare")
    check_whole("most", most, 1)
    name = one_of("against", result["law"].values[1] if against is None else against, result["law"].values)
    best, other = result.isel(law=0), result.sel(law=name)
    dim = "group" if "group" in result.dims else "run"
    difference = (best["elpd_i"] - other["elpd_i"]).values
    order = np.argsort(-np.abs(difference))[:most]
    labels = result[dim].values
    return pd.DataFrame(
        {
            "unit": labels[order],
            "d_elpd": difference[order],
            "share": np.abs(difference[order]) / max(np.abs(difference).sum(), 1e-300),
        }
    )


def driving_text(result: xr.Dataset) -> str:
    """The runs (or groups) that drive the choice between the best two laws, in a sentence."""
    first, second = result["law"].values[:2]
    called = result.attrs["rows"] if result.attrs["unit"] == "run" else "group"
    named = ", ".join(f"{called} {row.unit} ({row.d_elpd:+.1f})" for row in driving_runs(result).itertuples())
    return f"Most of the difference between '{first}' and '{second}': {named}."


def read(result: xr.Dataset) -> Reading:
    """What a comparison says, a row a law, best in range first: which is best, how sure, and which are ties.

    Columns of the frame: ``law``, ``rank``, ``elpd``, ``se``, ``p``, ``elpd_diff``, ``dse`` (ArviZ's names, unrounded:
    ``arviz.plot_compare`` draws ``frame.set_index("law")``), ``pareto_k_max``, ``k_bad``, ``k_mended``,
    ``cover90_loo``, ``weight_loo``; with forward evidence ``elpd_forward``, ``crps_forward``, ``rank_forward``,
    ``weight_forward`` and ``far_behind`` (why a law has no such weight); and ``converged``.
    """
    result = opened_result(result, "compare")
    frame, says = _side_by_side(result).reset_index(), _verdict(result)
    names = ("elpd_forward", "crps_forward", "weight_forward")
    groups = {"elpd_loo": "elpd", "p_loo": "p", "d_elpd": "elpd_diff", "d_se": "dse"} | {name: name for name in names}
    about = {
        "read": read_text(result.attrs),
        "verdict": says,
        "ties": ties(result),
        "forward_ties": forward_ties(result) if "elpd_cut" in result else None,
        "driving_runs": driving_runs(result).to_dict("records"),
    }
    return Reading(
        f"{result.attrs['runs']} runs; each {result.attrs['unit']} left out in turn; higher elpd is better",
        frame,
        tuple(_columns(frame)),
        says=(says,),
        warnings=tuple(_warnings(result)),
        notes=read_said(result.attrs),
        about=about,
        rows="laws",
        groups=groups,
    )


def _columns(frame: pd.DataFrame) -> Iterator[Column]:
    named = zip(frame["law"], frame["converged"], strict=True)
    yield Column("law", "law", instead=tuple(name if good else f"{name} (NOT CONVERGED)" for name, good in named))
    yield Column("elpd", "elpd LOO", "", "with error", 1, ("se",))
    yield Column("elpd_diff", "behind", "", "with error", 1, ("dse",))
    yield Column("p", "p LOO", "", "decimals", 1)
    yield Column("pareto_k_max", "k max", "", "decimals", 2)
    yield Column("k_mended", "refits", "", "count")
    yield Column("weight_loo", "weight LOO", "", "decimals", 2)
    if "elpd_forward" in frame:
        yield Column("elpd_forward", "forward elpd", "", "decimals", 2)
        yield Column("crps_forward", "forward CRPS", "", "decimals", 4)
    if "weight_forward" in frame:
        weights = zip(frame["weight_forward"], frame["far_behind"], strict=True)
        instead = tuple(f"{weight:.2f}, far behind" if far else None for weight, far in weights)
        yield Column("weight_forward", "weight forward", "", "decimals", 2, instead=instead)


def _side_by_side(result: xr.Dataset) -> pd.DataFrame:
    called = {"elpd": "elpd_loo", "se": "se", "p": "p_loo", "elpd_diff": "d_elpd", "dse": "d_se"}
    called |= {name: name for name in ("pareto_k_max", "k_bad", "k_mended", "cover90_loo", "weight_loo")}
    called |= {name: name for name in ("elpd_forward", "crps_forward", "weight_forward") if name in result}
    index = pd.Index(list(map(str, result["law"].values)), name="law")
    table = pd.DataFrame({name: result[of].values for name, of in called.items()}, index=index)
    table["far_behind"] = laws_far_behind(result) & result["converged"].values & ("weight_forward" in table)
    table.insert(0, "rank", range(len(table)))
    if "elpd_forward" in table:
        usable = table["elpd_forward"].where(result["converged"].values)
        table.insert(table.columns.get_loc("weight_forward"), "rank_forward", usable.rank(ascending=False) - 1)
    return table.assign(converged=result["converged"].values)


def _verdict(result: xr.Dataset) -> str:
    """Which law, how sure, which are ties, and whether the two kinds of evidence agree, in plain sentences."""
    unit = str(result.attrs["unit"])
    equal = ties(result)
    best, rest = equal[0], [str(name) for name in result["law"].values if name not in equal]
    behind = [f"'{name}' ({_behind(result, name)})" for name in rest if bool(result["converged"].sel(law=name))]
    sentences = [f"In range (each {unit} predicted from the others), '{best}' is best"]
    if equal[1:]:
        tied = listed([f"'{name}' ({_behind(result, name)})" for name in equal[1:]])
        sentences[0] += f", but {tied} cannot be told from it: a tie"
    sentences[0] += f"; {listed(behind)} predict{'s' if len(behind) == 1 else ''} worse." if behind else "."
    count = result["elpd_i"].sizes["group" if "group" in result.dims else "run"]
    if "d_elpd_runs" in result:
        sentences += _by_run(result, equal)
    if count < FEW_UNITS:
        sentences.append(f"With {count} {'runs' if unit == 'run' else 'groups'} these standard errors are rough.")
    if "weight_forward" in result:
        sentences += _forward_verdict(result, equal)
    else:
        sentences.append("This says nothing of larger runs: add the forward evidence (forward=True, --forward).")
    return " ".join(sentences)


def _by_run(result: xr.Dataset, equal: list[str]) -> list[str]:
    """What leaving out single runs would have said, where that differs from leaving out clusters of them."""
    by_run = result.assign(d_elpd=result["d_elpd_runs"], d_se=result["d_se_runs"])
    if set(ties(by_run)) == set(equal) and float(by_run["d_elpd"].max()) == float(by_run["d_elpd"].values[0]):
        return []
    told = [f"'{name}' ({_behind(by_run, str(name))})" for name in result["law"].values]
    return [f"By single runs it would be {listed(told)}: too sure, for residuals of a group go together."]


def _forward_verdict(result: xr.Dataset, in_range: list[str]) -> list[str]:
    if "elpd_cut" not in result:
        none = f"Forward: no evidence ({result.attrs['forward']})"
        return [f"{none}; weights for forecasts are half equal, half those of LOO.", *_left_out(result)]
    equal = forward_ties(result)
    cuts = result.sizes["cut"]
    looks = "a single cut, one look" if cuts == 1 else f"{cuts} cuts that share runs, few independent looks"
    first = f"Forward (larger runs forecast from smaller; {looks}), '{equal[0]}' is best"
    if equal[1:]:
        first += f", and {listed([repr(name) for name in equal[1:]])} cannot be told from it"
    sentences = [first + "."]
    both = [name for name in in_range if name in equal]
    if not both:
        sentences.append(
            f"The two disagree: {listed([repr(name) for name in in_range])} in range, "
            f"{listed([repr(name) for name in equal])} forward. For a forecast believe the second."
        )
    elif in_range[0] != equal[0]:
        sentences.append(f"They differ only in the first place: {listed([repr(name) for name in both])} tie in both.")
    weights = zip(result["law"].values, result["weight_forward"].values, strict=True)
    shares = listed([f"'{name}' {weight:.2f}" for name, weight in weights if weight >= 0.005])
    sentences.append(f"Weights for an averaged forecast: {shares}.")
    return sentences + _left_out(result)


def left_out(result: xr.Dataset) -> list[str]:
    """Laws without a weight for forecasts because they predict left-out runs far worse than the best."""
    return [str(name) for name in result["law"].values[laws_far_behind(result) & result["converged"].values]]


def _left_out(result: xr.Dataset) -> list[str]:
    if not (names := left_out(result)):
        return []
    named = listed([f"'{name}' ({_behind(result, name)})" for name in names])
    has = "has" if len(names) == 1 else "have"
    return [
        f"{named} {has} no weight: behind by more than {FAR_BEHIND_SE:g} standard errors and {FAR_BEHIND_ELPD:g} elpd."
    ]


def _behind(result: xr.Dataset, name: str) -> str:
    row = result.sel(law=name)
    return f"{float(row['d_elpd']):+.1f} +- {float(row['d_se']):.1f}"


def _warnings(result: xr.Dataset) -> list[str]:
    """What speaks against a comparison; an empty list when nothing is known."""
    from scipy.stats import binomtest

    warnings = json.loads(result.attrs.get("noted", "[]"))
    for name in result["law"].values[~result["converged"].values]:
        warnings.append(f"law '{name}' did not converge: it is left out of ranks and weights")
    for name in result["law"].values[(result["k_bad"] > 0).values]:
        bad, worst, limit = (result[key].sel(law=name).item() for key in ("k_bad", "pareto_k_max", "good_k"))
        what = "group" if "group" in result.dims else "run"
        warnings.append(
            f"law '{name}': Pareto k of {how_many(bad, what)} is up to {worst:.2f} "
            f"(above {limit:.2f}) and not mended: its elpd_loo is too optimistic"
        )
    for name in result["law"].values[result["converged"].values]:
        held = result["cover90_loo"].sel(law=name).item()
        count = result["pit"].sel(law=name).sizes["run"]
        if binomtest(round(held * count), count, 0.9).pvalue < 0.01:
            warnings.append(
                f"law '{name}': the 90 % band predicted by the others held {100 * held:.0f} % of the left-out "
                "runs: its noise does not describe their scatter"
            )
    if "weight_forward" in result and result.attrs["forward"] != "done":
        warnings.append(f"forward evidence is incomplete: {result.attrs['forward']}")
    return warnings
