"""fit + sizes not yet trained -> predictive draws, what they rest on, and the risk of missing a target."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from scipy.special import logsumexp

from bayescale.errors import FitError
from bayescale.field import BAND, SIZE_UNITS, SIZES_SAID, band_ends, band_percent, listed, number_text
from bayescale.fitting.diagnostics import diagnostics, trust_warnings
from bayescale.fitting.doors import check_seed, goal, level_of, mapping, numbers, opened, opened_result
from bayescale.forecasts.chain import Link, about_links, chained_curve, law_at, links_of, shares_of_links
from bayescale.forecasts.curve import check_finite, log_predictive_density, sample_curve, squared_width, with_noise
from bayescale.forecasts.discrepancy import has_drift, one_size
from bayescale.forecasts.discrepancy_posterior import discrepancy_of
from bayescale.forecasts.link_error import erring_share, has_link_error, shares_without_curve
from bayescale.forecasts.planned import (
    CHECKED_DECADES,
    ONE_SIZE_CHECKED_DECADES,
    distance_warnings,
    input_names,
    no_drift_warning,
    planned_runs,
    target_warnings,
    words_of,
    worst_run,
)
from bayescale.forecasts.unknown import unknown_said
from bayescale.jobs.threads import one_blas_thread
from bayescale.laws.law import NO_SIZE, SHARES, goal_sign
from bayescale.reading import Column, Reading, bands
from bayescale.runs.loss_unit import UNITS, in_unit, loss_unit, to_nats, unit_sentence
from bayescale.study import Study

QUANTILES = {"q05": 0.05, "q25": 0.25, "q50": 0.5, "q75": 0.75, "q95": 0.95}  # the 90 % and 50 % equal-tailed bands
DRIFT_ESS_MIN = 150.0
WORST = {"<=": ("q99", 0.99), ">=": ("q01", 0.01)}  # that one run in a hundred is worse than, by the better side
# what a measured value lies between, and that in words, by the scale on which it scatters
MEASURED = {
    "log": (0.0, np.inf, "a finite number above 0"),
    "linear": (-np.inf, np.inf, "a finite number"),
    "proportion": (-1e-12, 1 + 1e-12, "a number from 0 to 1"),
    "share": (0.0, 1.0, "a number above 0 and below 1"),
}
FEW_POINTS = 5  # of which the worst runs are told one by one
EDGE_ERROR_MAX = 0.02  # of the band's width: larger Monte Carlo errors of its edges are said


@one_blas_thread()
def forecast(
    fit: xr.DataTree | Study,
    params: Any = None,
    tokens: Any = None,
    *,
    compute: Any = None,
    covariates: Mapping[str, Any] | None = None,
    measured: Any = None,
    seed: int = 0,
) -> xr.DataTree:
    """Predictive draws of the loss of runs not yet made.

    ``law_loss`` is the law's own uncertainty, L(N, D; parameters) over the posterior; it takes the law to be exactly
    right. ``loss`` is what a new run would show: exp(log L + drift + noise), where drift is how far the law may be
    wrong there (see :mod:`bayescale.forecasts.discrepancy`). The band to decide by is that of ``loss``. A law of an
    accuracy gives ``law_accuracy`` and ``accuracy``; by a loss with the error of :mod:`bayescale.forecasts.link_error`,
    by any other size without one: nothing is known of it.

    Parameters
    ----------
    fit : what :func:`bayescale.fit` or :func:`bayescale.open_fit` returns
    params, tokens : N and D of the planned runs, scalars or sequences that broadcast to [point]; a law that does not
        use them does without
    compute : of the planned runs [FLOP], for laws of compute; with N and D in the place of ``tokens``
    covariates : values of further inputs, by name: ``{"unique_tokens": 4e9}``, ``{"group": "pile"}``; or what
        this function returned for another fit, carried through draw by draw: ``{"loss": forecast(loss_fit, ...)}``
    measured : losses of these runs, where known [point], in the unit of the fit: gives their log predictive density
    seed : of the draws of drift and noise

    Returns
    -------
    DataTree with the ArviZ groups ``predictions`` (``law_loss`` and ``loss`` [chain, draw, point], in the unit of the
    runs' losses) and ``predictions_constant_data`` (``params``, ``tokens``, ``compute`` as the runs count it [FLOP],
    ``decades_beyond`` the largest run's compute (or other size of the law; NaN where it has none), ``p_break``, the
    probability that a run ends outside the 90 % band of law and noise (.1 if the law is right), and
    ``share_params``, ``share_drift``, ``share_noise`` of the variance of log loss [point], which sum to 1; with
    ``measured`` also ``elpd``, the log predictive density of each measured log loss). Report medians and quantiles: the
    mean of exp(Student-t) does not exist.

    Raises
    ------
    FitError
        If a size is not a number above 0, an input of the law is missing, or the seed is not a whole number.

    Examples
    --------
    >>> bayescale.forecast(fit, "7B", "140B")["predictions"]["loss"].dims
    ('chain', 'draw', 'point')
    """
    study = opened(fit)
    check_seed(seed)
    given, links = links_of(study, _with_compute(covariates, compute), seed)
    points = planned_runs(study, params, tokens, given)
    certain = law_at(study, points, links)
    rng, ess = np.random.default_rng(seed), np.inf
    if drift := has_drift(law := study.law):
        ess = (found := study.once(discrepancy_of)).effective_draws
        curve = chained_curve(found, points, links, rng) if links else sample_curve(found, points, rng)
        parts = with_noise(study, points, curve, rng)
        shown, shares = np.exp(sum(parts.values())), shares_of(parts)
    else:
        erring = erring_share(study, points, links, certain, seed)
        shown = study.scatter.sample(erring, study.covariates(points), study.draws, rng)
        shares = shares_without_curve(certain, erring, shown)
    check_finite(certain, shown)
    if drift:
        points["p_break"] = ("point", _share_outside(np.log(shown), np.log(certain) + parts["noise"]))
    if measured is not None:
        seen = _measured(measured, points.sizes["point"], study)
        known = log_predictive_density(study, points, seen, curve) if drift else _elpd(study, points, seen, erring)
        points["elpd"] = ("point", known)
    shares = shares_of_links(study, points, links, shares)
    points = points.assign({f"share_{name}": ("point", share) for name, share in shares.items()})
    drawn = {f"law_{law.observed.column}": certain, law.observed.column: shown}
    predictions = xr.Dataset({name: study.labelled(values, "point") for name, values in drawn.items()})
    predictions = in_unit(predictions, tuple(drawn) if drift else (), study.loss_unit)
    tree = xr.DataTree.from_dict({"predictions": predictions, "predictions_constant_data": points})
    about = _about(study, links) | about_links(links, _warnings)
    tree.attrs = about | {"drift": int(drift), "seed": seed, "drift_ess": ess}
    return tree


def _share_outside(shown: np.ndarray, by_law: np.ndarray) -> np.ndarray:
    """Share of draws outside the 90 % band of others [point]."""
    low, high = np.quantile(by_law, [0.05, 0.95], axis=0)
    return ((shown < low) | (shown > high)).mean(axis=0)


def _about(study: Study, links: Sequence[Link]) -> dict[str, Any]:
    """Attributes of a forecast that say what made it."""
    law = study.law
    about: dict[str, Any] = {"kind": "forecast", "law": law.name, "observed": law.observed.column, **words_of(law)}
    sign = goal_sign(law, {"loss"} | {link.name for link in links if link.tree.attrs.get("goal") == "<="})
    checked = CHECKED_DECADES if one_size(law) is None else ONE_SIZE_CHECKED_DECADES
    about |= {"checked": checked if has_drift(law) else 0.0, "worst_run": worst_run(study, sign)}
    about |= {"groups": json.dumps(law.groups.codes)} if law.groups else {}
    about |= {"share": int(law.observed.scale in SHARES), "link_error": int(has_link_error(law))}
    return about | {"goal": sign, "loss_unit": study.loss_unit, "diagnostics": study.attrs["diagnostics"]}


def _with_compute(covariates: Any, compute: Any) -> dict[str, Any]:
    """Further inputs of planned runs, their compute among them."""
    further = mapping("covariates", covariates)
    if compute is not None and "compute" in further:
        raise FitError("compute is given twice, by itself and among the covariates (--at); give it once")
    return further if compute is None else further | {"compute": compute}


def _elpd(study: Study, points: xr.Dataset, seen: np.ndarray, certain: np.ndarray) -> np.ndarray:
    """Log predictive density of measured values without discrepancy, each point by itself [point]."""
    density = study.scatter.log_density(seen, certain, study.covariates(points), study.draws)
    return logsumexp(density, axis=0) - np.log(len(density))


def _measured(measured: Any, count: int, study: Study) -> np.ndarray:
    """Measured values on the scale on which they scatter [point]."""
    observed = study.law.observed
    try:
        values = np.broadcast_to(numbers("measured", measured), count)
    except ValueError:
        raise FitError(f"measured must be {count} value(s) of {observed.column}, one a planned run") from None
    least, most, allowed = MEASURED[observed.scale]
    if (bad := values[~(np.isfinite(values) & (values > least) & (values < most))]).size:
        what = "a loss" if observed.column == "loss" else observed.column
        raise FitError(f"measured = {number_text(bad[0], 6)}: {what} is {allowed}")
    return study.scatter.transform(to_nats(values, study.loss_unit) if has_drift(study.law) else values)


def shares_of(parts: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Where the variance comes from [point], as shares that sum to 1; a part's variance is its squared 90 % width.

    Parameters: the curve as the runs show it, law and bend together (each alone makes up for the other). Drift: how the
    curve may leave that. Noise: of one run. Widths and not variances, because a Student-t may hardly have one.
    """
    squares = {
        "params": squared_width(parts["law"] + parts["bend"]),
        "drift": squared_width(parts["drift"]),
        "noise": squared_width(parts["noise"]),
    }
    total = sum(squares.values())
    return {name: value / total for name, value in squares.items()}


def quantiles(draws: xr.DataArray, level: float = BAND) -> dict[str, np.ndarray]:
    """The quantiles of QUANTILES and the ends of a band over chains and draws, each of the remaining shape."""
    wanted = QUANTILES | band_ends(level)
    values = draws.quantile(list(wanted.values()), dim=("chain", "draw")).transpose("quantile", ...)
    return {name: values.values[i] for i, name in enumerate(wanted)}


def edge_error(tree: xr.DataTree) -> np.ndarray:
    """Monte Carlo error of the edges of the 90 % band, as a share of its width; of the worse edge [point].

    Of n effective draws an edge is where 5 % of draws lie beyond, within sqrt(.05 .95 / n): half the distance of the
    quantiles there. Of the law's share of the variance n is that of the importance draws, of the rest that of all.
    """
    shown = tree["predictions"].dataset[tree.attrs["observed"]]
    drawn = shown.stack(sample=("chain", "draw")).transpose("sample", "point")
    share = tree["predictions_constant_data"].dataset["share_params"].values
    ess = 1 / (share / min(float(tree.attrs["drift_ess"]), len(drawn)) + (1 - share) / len(drawn))
    errors = []
    for i, apart in enumerate(np.sqrt(0.05 * 0.95 / ess)):
        levels = [max(0.05 - apart, 0.0), 0.05, 0.05 + apart, 0.95 - apart, 0.95, min(0.95 + apart, 1.0)]
        at = np.quantile(drawn.values[:, i], levels)
        errors.append(max(at[2] - at[0], at[5] - at[3]) / 2 / max(at[4] - at[1], 1e-300))
    return np.array(errors)


def probability_to_reach(tree: xr.DataTree, target: "float | str") -> np.ndarray:
    """P(loss <= target), or P(accuracy >= target), say, at every point of a forecast [point].

    The side is that of a better run, or as in the text ``">= 0.9"``. Raises FitError if the target is not a finite
    number, above 0 for a loss.
    """
    sign, value = _goal(tree, target)
    shown = tree["predictions"].dataset[tree.attrs["observed"]]
    return (shown <= value if sign == "<=" else shown >= value).mean(("chain", "draw")).values


def _goal(tree: xr.DataTree, target: "float | str") -> tuple[str, float]:
    sign, attrs = tree.attrs.get("goal", "<="), tree.attrs
    return goal("target", target, sign, attrs["observed"], bool(attrs["drift"]), bool(attrs.get("share")))


def read(tree: xr.DataTree, *, target: "float | str | None" = None, level: float = BAND) -> Reading:
    """What a forecast says, a row a point.

    Columns: ``params``, ``tokens``, ``compute`` and other inputs, ``decades_beyond``, quantiles of both parts
    (``loss_q05`` ...), ``share_params``, ``share_drift``, ``share_noise``, and with ``target`` also ``p_reach`` =
    P(loss <= target), see :func:`probability_to_reach`. ``loss_q95`` is the loss exceeded with 5 % probability,
    ``loss_q99`` that with 1 %, ``p_break`` the probability that law and noise alone mislead (see :func:`forecast`),
    ``edge_error`` the Monte Carlo error of the band's edges as a share of its width. A law of an accuracy has
    ``accuracy_q05`` ... in their place, and ``accuracy_q01``. With ``level`` the band holds another share than .9: of
    .95 there are also ``loss_q025`` and ``loss_q975``.
    """
    tree, band_level = opened_result(tree, "forecast"), level_of(level)
    observed, points = tree.attrs["observed"], tree["predictions_constant_data"].to_dataset()
    drawn = tree["predictions"].dataset
    frame = points.to_dataframe().reset_index(drop=True)
    inputs = input_names(points)
    if "groups" in tree.attrs:
        frame["group"] = frame["group"].map({code: name for name, code in json.loads(tree.attrs["groups"]).items()})
    shares = {name.removeprefix("share_"): name for name in frame if name.startswith("share_")}
    for name in (f"law_{observed}", observed):
        for label, values in quantiles(drawn[name], band_level).items():
            frame[f"{name}_{label}"] = values
    label, share = WORST[tree.attrs.get("goal", "<=")]
    worst = f"{observed}_{label}"
    frame[worst] = drawn[observed].quantile(share, ("chain", "draw")).values
    frame["edge_error"] = edge_error(tree)
    side, warnings = None, _warnings(tree)
    if target is not None:
        side = _goal(tree, target)
        warnings += target_warnings(tree.attrs, side[0], side[1:])
        frame["target"], frame["p_reach"] = side[1], probability_to_reach(tree, target)
    is_loss = observed == "loss"
    unit = UNITS[loss_unit(tree.attrs)] if is_loss else ""
    notes: tuple[str, ...] = (unit_sentence(tree.attrs),) if is_loss else ()
    if {"params", "tokens"} <= set(inputs):
        notes += (f"{SIZES_SAID}; beyond: decades of compute (FLOP) past the largest run.",)
    if len(frame) <= FEW_POINTS:
        notes += (f"One run in 100 is worse than {listed([number_text(x, 4) for x in frame[worst]])} ({observed}).",)
        if "p_break" in frame:
            chances = listed([f"{p:.2f}" for p in frame["p_break"]])
            notes += (f"P(a run ends outside the 90 % band of law and noise alone) = {chances}; .10 if the law holds.",)
    if (error := frame["edge_error"].max()) > EDGE_ERROR_MAX:
        notes += (f"Monte Carlo error of the band's edges: up to {100 * error:.0f} % of its width.",)
    return Reading(
        f"Forecast: median and {band_percent(band_level)} band; decades beyond the data; shares of the variance",
        frame,
        tuple(_columns(frame, inputs, observed, unit, side, band_level)),
        says=unknown_said(tree),
        warnings=tuple(warnings),
        notes=notes,
        about={"law": tree.attrs["law"], "diagnostics": diagnostics(tree)} | ({"loss_unit": unit} if is_loss else {}),
        rows="points",
        groups=bands((f"law_{observed}",), QUANTILES | band_ends(band_level))
        | bands((observed,), (*(QUANTILES | band_ends(band_level)), label))
        | {"share_of_variance": shares},
    )


def input_columns(frame: pd.DataFrame, inputs: Sequence[str]) -> list[Column]:
    """Columns of the inputs of runs, by N and D without the compute that follows, and how far they lie beyond."""
    shown = [name for name in inputs if name != "compute" or not {"params", "tokens"} <= set(inputs)]
    texts = {name for name in shown if frame[name].dtype.kind not in "iuf"}  # the name of a group
    columns = [Column(name, name, SIZE_UNITS.get(name, ""), "text" if name in texts else "quantity") for name in shown]
    if frame["decades_beyond"].notna().any():  # a law may have no size that a run could be beyond
        columns.append(Column("decades_beyond", "beyond", "decades", "decades"))
    return columns


def _columns(
    frame: pd.DataFrame, inputs: list[str], observed: str, unit: str, side: tuple[str, float] | None, level: float
) -> list[Column]:
    columns = input_columns(frame, inputs)
    ends = tuple(band_ends(level))
    columns.append(Column(observed, f"{observed}, {band_percent(level)} band", unit, "band", ends=ends))
    columns.append(Column(f"law_{observed}", "law alone", unit, "band", ends=ends))
    # an average of laws has one share more: how far apart they are; of some laws nothing is known of how far they drift
    parts = {"share_laws": "laws", "share_params": "law", "share_drift": "drift", "share_noise": "noise"}
    linked = {name: name.removeprefix("share_").replace("_", " ") for name in frame if name.startswith("share_from_")}
    parts |= {name: text for name, text in linked.items() if "." not in name}  # a link's own parts are for machines
    here = [name for name in parts if name in frame and (name != "share_drift" or (frame[name] > 0).any())]
    columns.append(Column(here[0], "/".join(parts[name] for name in here), "", "shares", also=tuple(here[1:])))
    if side is not None:
        columns.append(Column("p_reach", f"P({observed} {side[0]} {number_text(side[1], 6)})", "", "decimals", 2))
    return columns


def _warnings(tree: xr.DataTree) -> list[str]:
    """Why a forecast may deserve less trust than its band says; an empty list when nothing is known against it."""
    points = tree["predictions_constant_data"].dataset
    warnings = trust_warnings(diagnostics(tree))
    words = {"size": tree.attrs["size"], "inputs": tree.attrs["inputs"]}
    words["checked"] = float(tree.attrs.get("checked", CHECKED_DECADES))
    warnings += distance_warnings(points["decades_beyond"].values, points["nearest_run"].values, **words)
    for name, link in json.loads(tree.attrs.get("links", "{}")).items():
        warnings += [f"{name}, by law '{link['law']}': {text}" for text in link["warnings"]]
    if np.isnan(points["decades_beyond"].values).all():
        warnings.append(f"{NO_SIZE}: how far a point lies beyond the runs is not told")
    if not tree.attrs["drift"] and not tree.attrs["link_error"]:
        warnings.append(no_drift_warning(tree.attrs["observed"]))
    ess = float(tree.attrs["drift_ess"])
    if ess < DRIFT_ESS_MIN:
        warnings.append(
            f"the draws with drift rest on {ess:.0f} effective importance draws (at least {DRIFT_ESS_MIN:.0f} are "
            "wanted): band edges may be off by several percent of the width"
        )
    return warnings
