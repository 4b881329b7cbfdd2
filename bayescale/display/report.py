"""One HTML page of a fit: the answer, its bands, the split, the law, how far to trust it; no network, one file."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from bayescale.budgets.landmarks import read as read_landmarks
from bayescale.budgets.surface import UNIQUE
from bayescale.display import report_evidence as evidence
from bayescale.display import report_parts as parts
from bayescale.display.explorer import can_explore
from bayescale.display.report_asked import Asked, Forecasts, asked_of
from bayescale.display.report_figures import figures_part
from bayescale.display.report_head import head_part
from bayescale.display.report_live import live_part
from bayescale.errors import FitError
from bayescale.field import BAND, band_percent, number_text, printable
from bayescale.fitting.doors import opened, opened_result, what_is
from bayescale.forecasts.chain import chained
from bayescale.forecasts.discrepancy import has_drift
from bayescale.forecasts.discrepancy_posterior import discrepancy_of
from bayescale.forecasts.forecast import forecast
from bayescale.jobs.files import write_file
from bayescale.laws.groups import group_of
from bayescale.laws.law_file import Law
from bayescale.laws.references import METHOD, bibtex, cited
from bayescale.runs.loss_unit import unit_sentence
from bayescale.study import Study

METHOD_TEXT = (
    "The posterior is sampled on parameters that the runs see well; what papers print is computed from them. "
    "Losses scatter about it; where the noise is a Student-t, outliers count less.",
    "A law is never exactly right. Its error beyond the runs, the discrepancy, is a Gaussian process over the decades "
    "of the law's inputs; its scale is learnt from the user's own runs, starting from what real studies have shown.",
    "All bands are equal-tailed and hold {band} unless said otherwise; the middle is the median.",
)


def report(
    fit: xr.DataTree | Study,
    *,
    compute: Any = None,
    params: Any = None,
    tokens: Any = None,
    at: Mapping[str, float] | None = None,
    target: "float | str | None" = None,
    cost: str | None = None,
    given: Mapping[str, Any] | None = None,
    limits: Mapping[str, Any] | None = None,
    unique_tokens: float | None = None,
    menu: Any = None,
    other: xr.DataTree | None = None,
    through: Mapping[str, xr.DataTree] | None = None,
    tested: xr.Dataset | None = None,
    compared: xr.Dataset | None = None,
    title: str | None = None,
    author: str | None = None,
    note: str | None = None,
    level: float = BAND,
    seed: int = 0,
) -> str:
    """A fit as one HTML page that needs no network: figures, tables, and a part that answers for other sizes.

    Parameters
    ----------
    fit : what :func:`bayescale.fit` or :func:`bayescale.open_fit` returns
    compute : budgets to answer for, in the unit of ``cost`` (FLOP by default); ten times the largest run's compute by
        default. A text may give its unit: ``["1e24 FLOP", "2e6 dollars"]`` asks for both, in dollars by ``cost``
    params, tokens : sizes of planned runs, as in :func:`bayescale.forecast`
    at : further inputs of the law, by column, one value each
    target : a value of what the law explains, or a text such as ">= .9"; the page says the probability to reach it and
        the least that does
    cost, given, unique_tokens, menu : as in :func:`bayescale.allocate`
    limits : its limits ``params``, ``tokens`` and ``ratio``, by name: ``{"tokens": (None, 2e12)}``
    other : a fit of another recipe, to compare with
    through : fits whose forecasts are inputs of the law, by column, for the planned runs: ``{"loss": loss_fit}``
    tested : what :func:`bayescale.backtest` returned for these runs; left out, and said so, without it
    compared : what :func:`bayescale.compare` returned for laws on these runs; the same
    title, author, note : of the page
    level : what bands are to hold; the narrow ones hold half
    seed : of all draws

    Returns
    -------
    The page as text; :func:`save_report` writes it.

    Raises
    ------
    FitError
        If a size, budget, option or input cannot be used, or the law needs inputs that were not given.

    Examples
    --------
    >>> page = bayescale.report(fit, params="7B", tokens="140B", compute="1e22")
    >>> page.startswith("<!doctype html>")
    True
    """
    wanted = {name: value for name, value in locals().items() if name not in ("fit", "tested", "compared")}
    asked = asked_of(opened(fit), wanted)
    results = {"backtest": tested, "compare": compared}
    page = _page(asked, *(None if one is None else opened_result(one, kind) for kind, one in results.items()))
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    folder = Path(__file__).parent / "templates"
    page["style"] = Markup((folder / "report.css").read_text(encoding="utf-8"))
    if page["explorer"]:
        script = (folder / "report.js").read_text(encoding="utf-8")
        helpers, law = page["explorer"].pop("helpers"), page["explorer"].pop("law_script")
        costs = f"[{', '.join(page['explorer'].pop('cost_scripts'))}]"
        script = script.replace("LAW_SCRIPT", law, 1).replace("COST_SCRIPTS", costs, 1)
        page["explorer"]["script"] = Markup(f"{helpers}{script}")
        page["explorer"]["json"] = Markup(page["explorer"]["json"])
    environment = Environment(
        loader=FileSystemLoader(folder), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )  # fmt: skip
    return environment.get_template("report.html").render(page)


def save_report(html: str, path: "str | os.PathLike[str]") -> Path:
    """Write a page, whole or not at all.

    Parameters
    ----------
    html : what :func:`bayescale.report` returns
    path : of the file, which is replaced if it exists

    Returns
    -------
    The path.

    Raises
    ------
    FitError
        If it is no text.
    FileError
        If it cannot be written; an older file of that name is then untouched.

    Examples
    --------
    >>> page = bayescale.report(fit, compute="1e22")
    >>> bayescale.save_report(page, "report.html").name
    'report.html'
    """
    if not isinstance(html, str):
        raise FitError(f"a page is expected, not {what_is(html)}: report(fit) makes one")
    return write_file(path, lambda temporary: temporary.write_text(html, encoding="utf-8"))


def _page(asked: Asked, tested: xr.Dataset | None, compared: xr.Dataset | None) -> dict[str, Any]:
    """Everything that the template shows.

    What takes long and draws nothing is computed in a thread of its own: matplotlib is not safe in several.
    """
    import bayescale

    study, law = asked.study, asked.study.law
    is_loss = law.observed.column == "loss"
    if has_drift(law):
        study.once(discrepancy_of)
    with ThreadPoolExecutor(1) as pool:
        frontiers = pool.submit(lambda: [question.frontier for question in asked.questions])
        forecasts = _forecasts(asked)
        beyond = [float(tree["predictions_constant_data"]["decades_beyond"].max()) for _, tree in forecasts]
        live = pool.submit(parts.or_none, lambda: live_part(asked, forecasts))
        frontiers.result()
        sensitive, gains, table = parts.sensitivity(asked), parts.gain_part(asked), parts.landmarks_of(asked)
        page: dict[str, Any] = {
            "version": bayescale.__version__,
            "source": str(study.attrs["source"]),
            "words": asked.words,
            "band": band_percent(asked.level),
            "summary": f"Law '{law.name}', {law.title[:1].lower()}{law.title[1:]}, on "
            f"{study.runs.sizes['run']} runs.{f' {unit_sentence(study.attrs)}' if is_loss else ''}",
            "verdict": parts.verdict(asked, forecasts, sensitive),
            "glance": evidence.glance_part(study, max(beyond, default=None), sensitive, tested),
            "head": head_part(asked, forecasts, sensitive, gains),
            "forecasts": parts.forecast_part(forecasts, asked),
            "splits": [parts.split_part(question, asked) for question in asked.asked],
            "landmarks": None if table is None else evidence.part(read_landmarks(table)),
            "targets": parts.targets_part(asked),
            "gains": gains,
            "law": evidence.law_part(study, compared),
            "parameters": evidence.parameters_part(study, asked.level),
            "comparison": evidence.comparison_part(compared) if compared is not None else None,
            "backtest": evidence.backtest_part(tested) if tested is not None else None,
            "data": evidence.data_part(study),
            "priors": evidence.priors_part(study, sensitive),
            "method": _method(law, asked.level),
            "drift": has_drift(law),
            "observed": law.observed.column,
            "bibtex": bibtex([*cited(law), *METHOD]),
            "elsewhere": evidence.record_text(law),
            "record": evidence.record_part(study, asked.seed),
            "figures": figures_part(asked, forecasts, table, tested, compared),
            "trust": evidence.trust_part(study),
            "explorer": live.result(),
        }
    return page


def _method(law: Law, level: float) -> list[str]:
    """How the numbers were made, of this law."""
    split = " The band of a best split allows for an error of the law in its exchange of parameters and tokens."
    texts = [
        text.format(band=band_percent(level)) for text in METHOD_TEXT if has_drift(law) or "discrepancy" not in text
    ]
    return [text + (split if can_explore(law) and "discrepancy" in text else "") for text in texts]


def _forecasts(asked: Asked) -> Forecasts:
    """Named forecasts, each of one run alone: those planned, then the chosen split of every budget."""
    study, found = asked.study, []

    def forecast_of(one: Any, inputs: dict[str, Any]) -> xr.DataTree:
        return forecast(one, covariates=inputs, seed=asked.seed)

    if asked.planned:
        sizes = dict(zip(asked.planned, np.broadcast_arrays(*asked.planned.values()), strict=True))
        for i in range(len(next(iter(sizes.values())))):
            one: dict[str, Any] = {**asked.at, **{name: float(values[i]) for name, values in sizes.items()}}
            one |= group_of(study.law, one)
            tree = chained(study, asked.links, one, forecast_of) if asked.links else forecast_of(study, one)
            found.append(("planned", tree))
    ratio = float((study.runs["tokens"] / study.runs["params"]).median()) if asked.questions else 0.0
    for question in asked.asked:
        for i, split in enumerate(question.splits):
            N, D = (float(question.decision[name].values[i, 0]) for name in ("N", "D"))
            name = "least expected loss"
            if not bool(split["identified"].values[0]):  # the runs' own shape is all there is
                N = (
                    float(split["N"].median())
                    if question is not asked.plain
                    else float(study.definition.params(ratio, question.budgets[i]))
                )
                D, name = ratio * N, f"{number_text(ratio)} tokens per parameter, as the runs"
            at = question.problem.covariates
            if (unique := question.problem.surface.unique_tokens) is not None:
                at[UNIQUE] = min(unique, D)
            found.append((name, forecast(study, N, D, covariates=at, seed=asked.seed)))
    return found
