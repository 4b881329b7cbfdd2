"""Chains: a forecast of one fit as an input of another, carried through draw by draw."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from bayescale.errors import FitError
from bayescale.fitting.diagnostics import diagnostics
from bayescale.fitting.doors import kind_of, mapping, opened_result
from bayescale.forecasts.curve import Curve, sample_curve, squared_width
from bayescale.forecasts.discrepancy_posterior import Discrepancy
from bayescale.forecasts.planned import told_by
from bayescale.laws.law import column, goal_sign, is_joint, law_loss
from bayescale.runs.loss_unit import UNITS, to_nats
from bayescale.study import Study

GRID_POINTS = 33  # between the extremes of an input that is a forecast, where the curve of a loss is computed


@dataclass(frozen=True)
class Link:
    """An input of a law that is a forecast.

    Attributes
    ----------
    name : column of the input
    draws : its values, one for each draw of the law [draw, point]
    tree : the forecast
    """

    name: str
    draws: np.ndarray
    tree: xr.DataTree


def links_of(study: Study, covariates: Any, seed: int) -> tuple[dict[str, Any], tuple[Link, ...]]:
    """Covariates with forecasts replaced by their medians, and those forecasts.

    The two posteriors are independent: draws of the forecast are paired with those of the law in random order. Raises
    FitError if a forecast is of something else than the input, or in another kind of unit.
    """
    given = mapping("covariates", covariates)
    links = []
    for i, (name, value) in enumerate(given.items()):
        if kind_of(value) != "forecast":
            continue
        tree = opened_result(value, "forecast")
        observed = tree.attrs["observed"]
        check_link(study, name, observed, tree.attrs["loss_unit"])
        draws = tree["predictions"][observed].stack(sample=("chain", "draw")).transpose("sample", "point").values
        if name == "loss":
            draws = to_nats(draws, tree.attrs["loss_unit"])
        order = np.resize(np.random.default_rng([seed, i]).permutation(len(draws)), study.draw_count)
        links.append(Link(name, draws[order], tree))
    return given | {link.name: np.median(link.draws, axis=0) for link in links}, tuple(links)


def check_link(study: Study, name: str, observed: str, loss_unit: str) -> None:
    """Raise FitError if what is observed, in that unit, cannot be the input ``name`` of a study."""
    if name != "loss":
        return
    if observed != "loss":
        raise FitError(f"'loss' is given a forecast of {observed}; name the input that it is")
    if (study.loss_unit == "bits_per_byte") != (loss_unit == "bits_per_byte"):
        raise FitError(
            f"the forecast is in {UNITS[loss_unit]}, the losses of the fit that takes it in {UNITS[study.loss_unit]}: "
            "losses per byte and per token cannot stand for each other"
        )


def divided(given: Mapping[str, Any], own: set[str], others: Iterable[Study]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is given to one law of a chain, whose inputs are ``own``, and what to the others, which may share it."""
    shared = {column(symbol) for one in others for symbol in one.law.inputs}
    mine = {name: value for name, value in given.items() if name in own}
    return mine, {name: value for name, value in given.items() if name not in own or name in shared}


def falling(links: Mapping[str, Study]) -> set[str]:
    """Inputs of which less is better: a loss, and what a study of the chain explains, where less of that is."""
    return {"loss"} | {name for name, one in links.items() if goal_sign(one.law) == "<="}


def chain_diagnostics(studies: Sequence[Study]) -> str:
    """Diagnostics of a chain as JSON: those of its first fit that did not converge, or else of its first."""
    return next((one for one in studies if not diagnostics(one)["converged"]), studies[0]).attrs["diagnostics"]


def law_at(study: Study, points: xr.Dataset, links: Sequence[Link] = (), middle: bool = False) -> np.ndarray:
    """What the law says at the points [draw, point], for every draw of its parameters and of its links.

    With ``middle`` parameters are at their medians, so that only the links vary.
    """
    inputs: dict[str, Any] = dict(study.inputs(points))
    symbols = {column(symbol): symbol for symbol in study.law.inputs}
    inputs |= {symbols[link.name]: link.draws for link in links if link.name in symbols}
    draws = {name: study.draws[name] for name in study.law.priors}
    draws = {name: np.median(value) for name, value in draws.items()} if middle else draws
    constants = {name: study.constants[name] for name in study.law.constants}
    with np.errstate(all="ignore"):
        loss = law_loss(study.law, {**inputs, **constants, **draws})
    return np.broadcast_to(loss, (study.draw_count, points.sizes["point"]))


def chained_curve(found: Discrepancy, points: xr.Dataset, links: Sequence[Link], rng: np.random.Generator) -> Curve:
    """Draws of the log loss at points of which an input is a forecast: each draw at its own value of the input.

    The curve of a draw is computed at values between the extremes of the forecast, and interpolated in between. Raises
    FitError if more than one input is a forecast.
    """
    if len(links) > 1:
        raise FitError(f"a law of a loss takes one forecast as input, not {len(links)}; give the others as numbers")
    link, state = links[0], rng.bit_generator.state
    parts: dict[str, list[np.ndarray]] = {}
    for at in range(points.sizes["point"]):
        wanted = link.draws[:, at]
        grid = np.linspace(wanted.min(), wanted.max() + 1e-9 * abs(wanted.max()), GRID_POINTS)
        along = points.isel(point=np.full(GRID_POINTS, at)).assign({link.name: ("point", grid)})
        rng.bit_generator.state = state  # points of one draw belong together
        curve = sample_curve(found, along, rng, apart=True)
        left = np.clip(np.searchsorted(grid, wanted, side="right") - 1, 0, GRID_POINTS - 2)
        share, rows = (wanted - grid[left]) / (grid[left + 1] - grid[left]), np.arange(len(wanted))
        for name, values in curve.parts.items():
            between = (1 - share) * values[rows, left] + share * values[rows, left + 1]
            parts.setdefault(name, []).append(between)
    return replace(curve, parts={name: np.stack(columns, axis=1) for name, columns in parts.items()})


def shares_of_links(
    study: Study, points: xr.Dataset, links: Sequence[Link], shares: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Shares of the variance with what comes from each link, ``from_NAME`` [point], apart from the law's own.

    What parameters and links make together is divided as the squared widths of the band that each makes alone, the
    others at their medians. What comes from a link is divided further as its own forecast says, ``from_NAME.PART``.
    """
    if not links:
        return dict(shares)
    scattered = study.scatter.transform
    alone = {"params": squared_width(scattered(law_at(study, points)))}
    alone |= {f"from_{link.name}": squared_width(scattered(law_at(study, points, [link], True))) for link in links}
    total = np.maximum(sum(alone.values()), 1e-300)
    found = dict(shares) | {name: shares["params"] * width / total for name, width in alone.items()}
    for link in links:
        theirs = link.tree["predictions_constant_data"].to_dataset()
        for name in map(str, theirs.data_vars):
            if name.startswith("share_"):
                part = name.removeprefix("share_")
                found[f"from_{link.name}.{part}"] = found[f"from_{link.name}"] * theirs[name].values
    return found


def about_links(links: Sequence[Link], warnings_of: Callable[[xr.DataTree], list[str]]) -> dict[str, str]:
    """Attributes that say what a forecast was carried through, and what speaks against each link."""
    if not links:
        return {}
    told = {link.name: {"law": link.tree.attrs["law"], "warnings": warnings_of(link.tree)} for link in links}
    return {"links": json.dumps(told)}


def chained(
    fit: Any, links: Mapping[str, Any], sizes: Mapping[str, Any], forecast_of: Callable[..., xr.DataTree]
) -> xr.DataTree:
    """The forecast of a fit whose inputs are forecast by others, and so on.

    Raises FitError if the fits go round in a circle, or a fit or a number is of no use.

    Parameters
    ----------
    links : fits by the input that each forecasts
    sizes : numbers by name, each for the fits that use it
    forecast_of : (fit, covariates) -> forecast
    """
    unused = {*links, *sizes}

    def of(one: Any, under: tuple[str, ...]) -> xr.DataTree:
        law = Study.opened(one).law
        used = told_by(law) | ({"compute"} if is_joint(law) else set())
        through = sorted((used & links.keys()) - sizes.keys())
        if circle := sorted(set(through) & set(under)):
            raise FitError(f"the fits go round in a circle: {' from '.join([*under, circle[0]])}")
        direct = {name: value for name, value in sizes.items() if name in used}
        unused.difference_update(through, direct)
        return forecast_of(one, direct | {name: of(links[name], (*under, name)) for name in through})

    tree = of(fit, ())
    if unused:
        name = min(unused)
        raise FitError(f"'{name}' is not an input of {'any of the laws' if links else 'the law'}")
    return tree
