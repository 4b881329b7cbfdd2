"""Whether an answer may be acted on: what is not known, why, and what would make it known. One rule for all outputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import xarray as xr

from bayescale.field import number_text
from bayescale.fitting.diagnostics import diagnostics
from bayescale.forecasts.planned import CHECKED_DECADES, best_run, far_limit
from bayescale.runs.lint_sizes import DISTINCT_VALUES_MIN, RUNS_WANTED

# remarks on runs after which no answer is worth much, and what would help
WORTHLESS = {
    "units": "Say in which unit the sizes are (--unit params=M, --unit tokens=B), or which column is which",
    "perplexity": "Say what the loss is (--unit loss=perplexity, --unit loss=nats)",
    "too_few_runs": f"{RUNS_WANTED} runs or more, of at least {DISTINCT_VALUES_MIN} sizes, would tell",
}
SPLIT_TOLD_BY = (
    f"Runs of {DISTINCT_VALUES_MIN} sizes or more at each of two budgets would tell; bayescale next --target params "
    "names the one to begin with"
)


@dataclass(frozen=True)
class Unknown:
    """Why an answer must not be acted on, and what would make it known; without full stops."""

    why: str
    remedy: str

    def said(self, what: str) -> str:
        """Two sentences about ``what`` is not known."""
        return f"{what} is not known: {self.why}. {self.remedy}."


def unknown_of(
    report: Mapping[str, Any],
    beyond: float,
    *,
    why_not: str = "",
    size: str = "compute",
    checked: float = CHECKED_DECADES,
) -> Unknown | None:
    """Why an answer must not be acted on; None where it may be.

    Parameters
    ----------
    report : diagnostics of the fit
    beyond : how far the answer lies beyond the largest run [decades of ``size``]; may be NaN
    why_not : why a split is not identified, or empty
    checked : how far bands of such laws have been checked [decades]; 0 where they have not
    """
    for note in report.get("noted", ()):
        # small models may have such sizes: of a split, why_not knows
        likely = note["code"] == "units" and size == "compute" and note["text"] != why_not
        if (remedy := WORTHLESS.get(note["code"])) and not likely:
            return Unknown(note["text"].partition(";")[0].rstrip("?"), remedy)
    if not report["converged"]:
        remedy = report.get("remedy") or "more draws, or a law with fewer parameters"
        return Unknown(f"the chains of the fit did not converge ({report['why']})", f"Fit again with {remedy}")
    if why_not:
        return Unknown(why_not, SPLIT_TOLD_BY)
    if beyond > far_limit(checked):
        known = f", and bands were checked up to {checked:g}" if checked else ""
        why = f"it lies {beyond:.1f} decades of {size} beyond the {best_run(size)}{known}"
        if size == "loss":
            return Unknown(why, "Runs of a lower loss would bring it near enough")
        times = number_text(10 ** (beyond - (checked or far_limit(checked))), 2)
        return Unknown(why, f"Runs of {times} times that run's {size} or more would bring it near enough")
    return None


def unknown_forecast(tree: xr.DataTree) -> Unknown | None:
    """Why a forecast must not be acted on: that of its farthest run."""
    beyond, checked = tree["predictions_constant_data"]["decades_beyond"].max(), tree.attrs.get("checked")
    checked = CHECKED_DECADES if checked is None else float(checked)
    return unknown_of(diagnostics(tree), float(beyond), size=tree.attrs["size"], checked=checked)


def unknown_said(tree: xr.DataTree) -> tuple[str, ...]:
    """That what a forecast is of is not known, and why; empty where nothing is known against it."""
    unknown, points = unknown_forecast(tree), tree["predictions_constant_data"].sizes["point"]
    run = "this run" if points == 1 else "the farthest run"
    return () if unknown is None else (unknown.said(f"The {tree.attrs['observed']} of {run}"),)
