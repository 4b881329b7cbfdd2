"""What a comparison says: ranks, ties, the runs that drive the choice, and a verdict in plain sentences."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.evidence.weights import FAR_BEHIND_ELPD, FAR_BEHIND_SE, far_behind
from bayescale.field import number_text
from bayescale.fitting.doors import check_whole, one_of, opened_result
from bayescale.runs.read import read_text

TIE = 4.0  # of elpd: below it laws predict alike, whatever the standard error says (Sivula et al. 2025)
FEW_UNITS = 100  # left out: with fewer the standard error of a difference is rough (the same)


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
    ``k_bad``, ``k_mended``, ``cover90_loo``, ``weight_loo``; with forward evidence ``elpd_forward``, ``crps_forward``,
    ``rank_forward``, ``weight_forward`` and ``far_behind`` (why a law has no such weight); and ``converged``.
    """
    result = opened_result(result, "compare")
    called = {"elpd": "elpd_loo", "se": "se", "p": "p_loo", "elpd_diff": "d_elpd", "dse": "d_se"}
    called |= {name: name for name in ("pareto_k_max", "k_bad", "k_mended", "cover90_loo", "weight_loo")}
    called |= {name: name for name in ("elpd_forward", "crps_forward", "weight_forward") if name in result}
    table = pd.DataFrame({name: result[of].values for name, of in called.items()}, index=list(result["law"].values))
    if "weight_forward" in table:
        table["far_behind"] = far_behind(result) & result["converged"].values
    table.insert(0, "rank", range(len(table)))
    if "elpd_forward" in table:
        usable = table["elpd_forward"].where(result["converged"].values)
        table.insert(table.columns.get_loc("weight_forward"), "rank_forward", usable.rank(ascending=False) - 1)
    return table.assign(converged=result["converged"].values)


def comparison_verdict(result: xr.Dataset) -> str:
    """Which law, how sure, which are ties, and whether the two kinds of evidence agree, in plain sentences."""
    result = opened_result(result, "compare")
    unit = str(result.attrs["unit"])
    equal = ties(result)
    best, rest = equal[0], [str(name) for name in result["law"].values if name not in equal]
    behind = [f"'{name}' ({_behind(result, name)})" for name in rest if bool(result["converged"].sel(law=name))]
    sentences = [f"In range (each {unit} predicted from the others), '{best}' is best"]
    if equal[1:]:
        tied = _listed([f"'{name}' ({_behind(result, name)})" for name in equal[1:]])
        sentences[0] += f", but {tied} cannot be told from it: a tie"
    sentences[0] += f"; {_listed(behind)} predict{'s' if len(behind) == 1 else ''} worse." if behind else "."
    count = result["elpd_i"].sizes["group" if "group" in result.dims else "run"]
    if count < FEW_UNITS:
        sentences.append(f"With {count} {'runs' if unit == 'run' else 'groups'} these standard errors are rough.")
    if "weight_forward" in result:
        sentences += _forward_verdict(result, equal)
    else:
        sentences.append("This says nothing of larger runs: add the forward evidence (forward=True, --forward).")
    return " ".join(sentences)


def _forward_verdict(result: xr.Dataset, in_range: list[str]) -> list[str]:
    if "elpd_cut" not in result:
        told = f"Forward: no evidence ({result.attrs['forward']}); weights for forecasts are half equal, half of LOO."
        return [told, *_left_out(result)]
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
        sentences.append(
            f"They differ in the first place only; {_listed([repr(name) for name in both])} can be either."
        )
    weights = result["weight_forward"]
    shares = _listed(
        [
            f"'{name}' {float(weights.sel(law=name)):.2f}"
            for name in result["law"].values
            if float(weights.sel(law=name)) >= 0.005
        ]
    )
    sentences.append(f"Weights for an averaged forecast: {shares}.")
    return sentences + _left_out(result)


def left_out(result: xr.Dataset) -> list[str]:
    """Laws without a weight for forecasts because they predict left-out runs far worse than the best."""
    return [str(name) for name in result["law"].values[far_behind(result) & result["converged"].values]]


def _left_out(result: xr.Dataset) -> list[str]:
    if not (names := left_out(result)):
        return []
    named = _listed([f"'{name}' ({_behind(result, name)})" for name in names])
    return [
        f"{named} {'has' if len(names) == 1 else 'have'} no weight: behind by more than "
        f"{number_text(FAR_BEHIND_SE, 6)} standard "
        f"errors and {number_text(FAR_BEHIND_ELPD, 6)} elpd."
    ]


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
    Table of ``unit`` (line or row of the run, or label of the group), ``d_elpd`` (above 0: for the best law) and
    ``share`` of the sum of absolute differences.
    """
    result = opened_result(result, "compare")
    check_whole("most", most, 1)
    other = one_of("against", result["law"].values[1] if against is None else against, result["law"].values)
    best, other = result.isel(law=0), result.sel(law=other)
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


def comparison_warnings(result: xr.Dataset) -> list[str]:
    """What speaks against a comparison; an empty list when nothing is known."""
    from scipy.stats import binomtest

    result = opened_result(result, "compare")
    warnings = json.loads(result.attrs.get("noted", "[]"))
    for name in result["law"].values[~result["converged"].values]:
        warnings.append(f"law '{name}' did not converge: it is left out of ranks and weights")
    for name in result["law"].values[(result["k_bad"] > 0).values]:
        bad, worst = int(result["k_bad"].sel(law=name)), float(result["pareto_k_max"].sel(law=name))
        what = "group" if "group" in result.dims else "run"
        warnings.append(
            f"law '{name}': Pareto k of {bad} {what}(s) is up to {worst:.2f} "
            f"(above {result.attrs['good_k']:.2f}) and not mended: its elpd_loo is too optimistic"
        )
    for name in result["law"].values[result["converged"].values]:
        held = result["cover90_loo"].sel(law=name).item()
        count = result["pit"].sel(law=name).sizes["run"]
        if binomtest(round(held * count), count, 0.9).pvalue < 0.01:
            warnings.append(
                f"law '{name}': the 90 % band of the others held {100 * held:.0f} % of the left-out runs: "
                "its noise does not describe their scatter"
            )
    if "weight_forward" in result and result.attrs["forward"] != "done":
        warnings.append(f"forward evidence is incomplete: {result.attrs['forward']}")
    return warnings


def comparison_summary(result: xr.Dataset) -> dict[str, Any]:
    """A comparison for machines: what was ``read`` of the runs, ``laws`` (a row a law), ``verdict``,
    ``ties``, ``driving_runs`` and ``warnings``."""
    names = ("elpd_loo", "se", "p_loo", "d_elpd", "d_se", "pareto_k_max", "k_bad", "k_mended", "cover90_loo")
    names += ("elpd_forward", "crps_forward", "weight_loo", "weight_forward", "converged")
    without = left_out(result) if "weight_forward" in result else []
    laws = [
        {"law": str(name)}
        | {key: result[key].sel(law=name).item() if key in result else None for key in names}
        | {"far_behind": str(name) in without}
        for name in result["law"].values
    ]
    return {
        "read": read_text(result.attrs),
        "laws": laws,
        "verdict": comparison_verdict(result),
        "ties": ties(result),
        "forward_ties": forward_ties(result) if "elpd_cut" in result else None,
        "driving_runs": driving_runs(result).to_dict("records"),
        "warnings": comparison_warnings(result),
    }
