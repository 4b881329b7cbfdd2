"""A sharp metric of a task beside the smooth one that it follows: where it jumps, and how much of that is the metric.

Along the smooth metric, the loss L say, the law of the sharp one rises from a lowest value to a highest. Of each draw
L_s is where the share s of that rise is made; the jump is where half of it is, L_.5. It lies behind a run whose sharp
metric, forecast through the smooth one, is past half of that draw's rise.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayescale.budgets.axis import least_size, own_axis, values_at
from bayescale.errors import FitError
from bayescale.field import BAND, SIZES_SAID, band_ends, band_percent, number_text
from bayescale.fitting.doors import check_seed, level_of, mapping, opened, opened_result
from bayescale.forecasts.chain import chain_diagnostics, chained, divided, falling
from bayescale.forecasts.forecast import QUANTILES, forecast, input_columns, quantiles
from bayescale.forecasts.forecast import read as read_forecast
from bayescale.forecasts.planned import input_names
from bayescale.laws.law import SHARES, column
from bayescale.reading import Column, Reading, bands
from bayescale.runs.loss_unit import NATS, PERPLEXITY, UNITS, from_nats, to_nats, unit_sentence
from bayescale.study import Study

RISE_SHARES = (0.1, 0.5, 0.9)
SEEN_SHARE_MIN = 0.5  # of the rise: if the runs show less, its height and place are the prior's


def emergence(
    fit: xr.DataTree | Study,
    params: Any = None,
    tokens: Any = None,
    *,
    through: Mapping[str, xr.DataTree | Study],
    compute: Any = None,
    covariates: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> xr.Dataset:
    """The smooth and the sharp metric of a task at some runs, and between which of them the sharp one jumps.

    The jump is where half of the rise of the sharp metric is made, from the lowest to the highest value of its law,
    draw by draw. P(jump behind a run) is the share of draws whose sharp metric is past that half at the run, with all
    that is not known of the smooth metric there: parameters, discrepancy, noise.

    Parameters
    ----------
    fit : of the sharp metric, an accuracy or another share, by a law of the smooth one: ``exact_match``,
        ``accuracy_sigmoid``
    params, tokens, compute, covariates : of the runs, in any order, as :func:`bayescale.forecast` takes them, for the
        laws of the chain that use them
    through : the fit of the smooth metric, by the input that it is: ``{"loss": loss_fit}``; with more fits, a longer
        chain
    seed : of the forecasts

    Returns
    -------
    Dataset of both metrics by name, such as ``loss`` and ``accuracy`` [chain, draw, point], as runs would show them, in
    the order in which the smooth one gets better; ``p_behind`` and ``p_between`` [point], the probabilities that the
    jump lies behind a run, and between it and the run before; ``rise_at`` [chain, draw, share], the smooth metric at
    which shares of .1, .5 and .9 of the rise are made; ``lowest`` and ``highest`` [chain, draw]; and sizes and
    ``decades_beyond`` [point].

    Raises
    ------
    FitError
        If the law of the sharp metric does not take exactly one of the fits, or is not that of a share; and as
        :func:`bayescale.forecast`.

    References
    ----------
    Schaeffer, Miranda and Koyejo 2023, arXiv:2304.15004

    Examples
    --------
    >>> given = {"through": {"loss": fit}, "covariates": {"samples": 10}}
    >>> found = bayescale.emergence(coverage_fit, ["1B", "70B"], ["20B", "1.4T"], **given)
    >>> found["coverage"].dims
    ('chain', 'draw', 'point')
    """
    study, links = opened(fit), {name: opened(one) for name, one in mapping("through", through).items()}
    check_seed(seed)
    name = _link_of(study, links)
    given = {"params": params, "tokens": tokens, "compute": compute}
    given = {one: value for one, value in given.items() if value is not None} | mapping("covariates", covariates)
    smooth, sharp, others = _forecasts(study, links, name, given, seed)
    rise = _rise_of(study, others, name in falling({name: links[name]}))
    (before, of_smooth), (observed, of_sharp) = (
        (tree.attrs["observed"], tree["predictions"].dataset) for tree in (smooth, sharp)
    )
    past_half = rise.upward * (of_sharp[f"law_{observed}"] - _labelled(study, (rise.lowest + rise.highest) / 2)) >= 0
    better = -1.0 if smooth.attrs["goal"] == "<=" else 1.0
    order = np.argsort(better * of_smooth[before].median(("chain", "draw")).values, kind="stable")
    behind = np.maximum.accumulate(past_half.mean(("chain", "draw")).values[order])
    points = smooth["predictions_constant_data"].to_dataset()
    result = points[[*input_names(points), "decades_beyond"]].isel(point=order)
    result[observed] = of_sharp[observed].isel(point=order)
    result[before] = _as_many(of_smooth[before].isel(point=order), study)
    result["p_behind"], result["p_between"] = ("point", behind), ("point", np.diff(behind, prepend=0.0))
    at = from_nats(rise.at, links[name].loss_unit) if name == "loss" else rise.at
    result = result.assign(rise_at=study.labelled(at, "share")).assign_coords(share=list(RISE_SHARES))
    result["lowest"], result["highest"] = (_labelled(study, one) for one in (rise.lowest, rise.highest))
    told = [*read_forecast(sharp).warnings, *_unseen(study, rise)]
    laws = ", ".join([*(one.law.name for one in links.values()), study.law.name])
    result.attrs = {"kind": "emergence", "law": laws, "seed": seed, "loss_unit": links[name].loss_unit}
    result.attrs |= {"diagnostics": chain_diagnostics((study, *links.values()))}
    result.attrs |= {"smooth": before, "sharp": observed, "link": name, "told": json.dumps(told)}
    result.attrs |= {"groups": smooth.attrs["groups"]} if "groups" in smooth.attrs else {}
    return result


def _link_of(study: Study, links: Mapping[str, Study]) -> str:
    """The input of the sharp metric's law that another fit gives."""
    law = study.law
    inputs = {column(symbol) for symbol in law.inputs}
    found = sorted(inputs & set(links))
    if len(found) != 1:
        raise FitError(
            f"law '{law.name}' takes {', '.join(sorted(inputs))}; exactly one of these is to be given by the fit of "
            "the smooth metric: through={'loss': loss_fit} (--from loss=loss.nc)"
        )
    if law.observed.scale not in SHARES:
        raise FitError(
            f"law '{law.name}' explains {law.observed.column}; an accuracy or another share, which rises from one "
            "value to another, is expected"
        )
    return found[0]


def _forecasts(
    study: Study, links: Mapping[str, Study], name: str, given: Mapping[str, Any], seed: int
) -> tuple[xr.DataTree, xr.DataTree, dict[str, Any]]:
    """Of the smooth metric, and of the sharp one through it, and the inputs that the latter's law has besides."""
    own = {study.law.observed.count, *map(column, study.law.inputs)} - {name}
    others, sizes = divided(given, own, links.values())
    rest = {one: link for one, link in links.items() if one != name}
    smooth = chained(links[name], rest, sizes, lambda one, inputs: forecast(one, covariates=inputs, seed=seed))
    return smooth, forecast(study, covariates={**others, name: smooth}, seed=seed), others


@dataclass(frozen=True)
class _Rise:
    """How a sharp metric goes from its lowest to its highest value along the smooth one, of each draw."""

    lowest: np.ndarray  # [draw]
    highest: np.ndarray
    at: np.ndarray  # where the smooth metric is when RISE_SHARES of it are made [draw, share]
    upward: float  # 1, or -1 if better is less


def _rise_of(study: Study, others: Mapping[str, Any], downward: bool) -> _Rise:
    """Along the smooth metric from worse to better: ``downward`` where less of it is better."""
    given = {name: one for name, one in others.items() if name != study.law.observed.count}
    axis = own_axis(study, {"given": given}, downward)
    ends = np.broadcast_to(values_at(axis, np.array([axis.first, axis.last])), (study.draw_count, 2))
    lowest, highest = np.clip(ends, 0.0, 1.0).T  # a law may leave what a share can be
    upward = 1.0 if np.median(highest - lowest) >= 0 else -1.0
    wanted = lowest[:, None] + (highest - lowest)[:, None] * np.array(RISE_SHARES)
    at, _ = least_size(axis, lambda value, target: upward * (target - value), wanted)
    return _Rise(lowest, highest, at, upward)


def _labelled(study: Study, values: np.ndarray) -> xr.DataArray:
    return study.labelled(values[:, None], "one").isel(one=0)


def _as_many(drawn: xr.DataArray, study: Study) -> xr.DataArray:
    """Draws of another fit, as many as this one has."""
    flat = drawn.stack(sample=("chain", "draw")).transpose("sample", "point").values
    return study.labelled(np.resize(flat, (study.draw_count, flat.shape[1])), "point")


def _unseen(study: Study, rise: _Rise) -> list[str]:
    """A warning where the runs show too little of the rise."""
    seen = study.runs[study.law.observed.column].values
    best, whole = seen.max() if rise.upward > 0 else seen.min(), rise.highest - rise.lowest
    share = float(np.median((best - rise.lowest) / np.where(whole == 0, np.nan, whole)))
    if share >= SEEN_SHARE_MIN:
        return []
    return [
        f"the best run has made {100 * max(share, 0):.0f} % of that way only: where it ends, and so its half, are the "
        "prior's"
    ]


def read(result: xr.Dataset, *, level: float = BAND) -> Reading:
    """What the two metrics show, a row a run: bands of both, ``p_behind`` and ``p_between``."""
    result, level = opened_result(result, "emergence"), level_of(level)
    attrs = result.attrs
    smooth, sharp = attrs["smooth"], attrs["sharp"]
    names, ends = QUANTILES | band_ends(level), tuple(band_ends(level))
    inputs = [name for name in map(str, result.data_vars) if result[name].dims == ("point",) and name[:2] != "p_"]
    frame = result[inputs].to_dataframe().reset_index(drop=True)[inputs]
    if "groups" in attrs:
        frame["group"] = frame["group"].map({code: name for name, code in json.loads(attrs["groups"]).items()})
    for name in (smooth, sharp):
        for label, values in quantiles(result[name], level).items():
            frame[f"{name}_{label}"] = values
    frame["p_behind"], frame["p_between"] = result["p_behind"].values, result["p_between"].values
    unit = UNITS[attrs["loss_unit"]] if smooth == "loss" else ""
    columns = input_columns(frame, [name for name in inputs if name != "decades_beyond"])
    columns += [Column(smooth, smooth, unit, "band", ends=ends), Column(sharp, sharp, "", "band", ends=ends)]
    columns += [Column("p_behind", "P(jump behind)", "", "decimals", 2)]
    columns += [Column("p_between", "P(jump since the row above)", "", "decimals", 2)]
    notes = (unit_sentence(attrs),) if smooth == "loss" else ()
    return Reading(
        f"{sharp} beside {smooth}, from worse to better: median and {band_percent(level)} band; where half of the "
        f"{_way(result)} of {sharp} is made",
        frame,
        tuple(columns),
        says=tuple(_says(result, level)),
        warnings=tuple(json.loads(attrs["told"])),
        notes=(*notes, f"{SIZES_SAID}.") if {"params", "tokens"} & set(inputs) else notes,
        about={"law": attrs["law"], "loss_unit": unit},
        rows="points",
        groups=bands((smooth, sharp), names),
    )


def _way(result: xr.Dataset) -> str:
    return "rise" if float((result["highest"] - result["lowest"]).median()) >= 0 else "fall"


def _says(result: xr.Dataset, level: float) -> list[str]:
    """Where the rise lies along the smooth metric, and how much of its sharpness is the metric's."""
    attrs = result.attrs
    smooth, sharp, link = attrs["smooth"], attrs["sharp"], attrs["link"]
    low, high = (float(result[name].median()) for name in ("lowest", "highest"))
    at = {share: result["rise_at"].sel(share=share) for share in RISE_SHARES}
    half = quantiles(at[0.5], level)
    edges = [number_text(float(half[name]), 3) for name in ("q50", *band_ends(level))]
    start, end = (float(at[share].median()) for share in (0.1, 0.9))
    says = [
        f"Half of the {_way(result)} of {sharp} from {low:.2f} to {high:.2f} is made at a {link} of {edges[0]} "
        f"[{edges[1]}, {edges[2]}]; from 10 to 90 % of it the {link} goes from {number_text(start, 3)} to "
        f"{number_text(end, 3)}."
    ]
    if smooth == "loss" and link == "loss" and attrs["loss_unit"] in (NATS, "bits", PERPLEXITY):
        first, last = (float(np.exp(-to_nats(one, attrs["loss_unit"]))) for one in (start, end))
        says.append(
            f"Meanwhile the probability of a right token goes from {number_text(first, 2)} to {number_text(last, 2)}: "
            f"{sharp} is {number_text(0.8 / max(last - first, 1e-9), 2)} times as sharp as that, by the metric alone."
        )
    return says
