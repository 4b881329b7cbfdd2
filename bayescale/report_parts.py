"""The parts of a report as plain sentences and tables: what the page says, before it is a page."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from bayescale.allocate import allocation_table, allocation_warnings
from bayescale.approaches import approaches
from bayescale.backtest import backtest_statement, backtest_table
from bayescale.decide import decision_statement, decision_table, decision_warnings
from bayescale.diagnostics import ESS_MIN, PARETO_K_MAX, R_HAT_MAX, diagnostics, fit_summary, trust_warnings
from bayescale.fit import FitError, law_of, runs_of
from bayescale.forecast import FAR_DECADES, forecast_table, forecast_warnings
from bayescale.landmarks import landmark_table
from bayescale.law import column
from bayescale.loo import loo
from bayescale.nested import nested_questions
from bayescale.noise import NOISES
from bayescale.priors import DISTRIBUTIONS
from bayescale.sensitivity import has_split, prior_sensitivity, sensitivity_warnings
from bayescale.terminal import band_text, number_band_text, size_band_text, size_text
from bayescale.verdict import comparison_table, comparison_verdict, comparison_warnings

Part = dict[str, Any]
SIGNS = {"stop": "✕", "care": "!", "fine": "✓"}
TITLES = {
    "stop": "Read this first: these numbers, or some of them, must not be acted on",
    "care": "Read this first",
    "fine": "Nothing is known against these numbers",
}


@dataclass(frozen=True)
class Asked:
    """What a report is to answer.

    Attributes
    ----------
    budgets : to be split [FLOP]; empty for a law that does not split
    chosen : whether the user named them
    planned : sizes of planned runs, by column, or None
    at : further inputs of a law of N and D, by column
    target : a loss to reach, or None
    """

    budgets: np.ndarray
    chosen: bool
    planned: Mapping[str, np.ndarray] | None
    at: Mapping[str, float]
    target: float | None
    seed: int


def sensitivity(fit: xr.DataTree) -> Any:
    """How much the prior moves what is decided, :func:`prior_sensitivity`; None where there is no split to decide."""
    law = law_of(fit)
    known = has_split(law) and not law.no_split and "log_likelihood" in fit.children
    return prior_sensitivity(fit) if known else None


def verdict(fit: xr.DataTree, splits, decision, forecasts, sensitive: Any) -> Part:
    """How far to trust the page, for its head: stop, care or fine, and why."""
    report = diagnostics(fit)
    trees = [tree for _, tree in forecasts]
    beyond = [float(tree["predictions_constant_data"]["decades_beyond"].max()) for tree in trees]
    unknown = [reason for split in splits for reason in split["why_not"].values if reason]
    stop = not report["converged"] or report["collinear"] or max(beyond, default=0.0) > FAR_DECADES or bool(unknown)
    sentences = list(trust_warnings(report))
    for tree in trees:
        sentences += forecast_warnings(tree)
    for split in splits:
        sentences += allocation_warnings(split)
    if decision is not None:
        sentences += decision_warnings(decision)
    if sensitive is not None and not report["collinear"]:
        sentences += sensitivity_warnings(sensitive)
    sentences += [note["text"] for note in json.loads(fit.attrs["notes"]) if note["severity"] == "warning"]
    if report["collinear"]:  # the lint says it too, in other words
        sentences = [text for text in sentences if not text.startswith("N and D move together (")]
    said = list(dict.fromkeys(sentence[:1].upper() + sentence[1:].rstrip(".") + "." for sentence in sentences))
    level = "stop" if stop else "care" if said else "fine"
    if level == "fine":
        said = [
            "The chains converged, the runs tell every parameter, and nothing asked for lies far from them. "
            "What no band can know: curvature that the runs have not reached, a changed recipe, other data."
        ]
    return {"level": level, "sign": SIGNS[level], "title": TITLES[level], "sentences": said}


def answer(fit: xr.DataTree, asked: Asked, splits, decision, forecasts) -> list[str]:
    """The answer in plain words: what to train, and the loss it will show."""
    observed = law_of(fit).observed.column
    sentences = []
    for name, tree in forecasts:
        row = forecast_table(tree, target=asked.target).iloc[0]
        band = f"{row[f'{observed}_q50']:.3f}, with 90 % probability between {row[f'{observed}_q05']:.3f} and "
        band += f"{row[f'{observed}_q95']:.3f}"
        if asked.target is not None:
            band += f"; it reaches {asked.target:g} or less with probability {row['p_reach']:.2f}"
        if name == "planned":
            sizes = [key for key in (asked.planned or {})]
            what = " and ".join(f"{_number(row[key])} {key}" for key in sizes)
            sentences.append(f"A run of {what} is forecast to end at a {observed} of {band}.")
    lead = len(sentences)
    for i, split in enumerate(splits):
        row = forecast_table(forecasts[lead + i][1], target=asked.target).iloc[0]
        budget = f"{float(split['compute'].values[0]):.3g} FLOP".replace("e+", "e")
        loss = f"{row['loss_q50']:.3f}, with 90 % probability between {row['loss_q05']:.3f} and {row['loss_q95']:.3f}"
        if asked.target is not None:
            loss += f"; it reaches {asked.target:g} or less with probability {row['p_reach']:.2f}"
        why = str(split["why_not"].values[0])
        if why:
            sentences.append(
                f"For {budget} the best split is not known from these runs: {why}. A run shaped as they are, "
                f"{size_text(row['params'])} parameters on {size_text(row['tokens'])} tokens, is forecast to end at a "
                f"loss of {loss}."
            )
            continue
        low, high = (float(decision[f"flat_{end}"].values[i]) for end in ("low", "high"))
        alone = allocation_table(split).iloc[0]
        sentences.append(
            f"For {budget}, train {size_text(row['params'])} parameters on {size_text(row['tokens'])} tokens: the loss "
            f"is forecast to end at {loss}. Any size between {size_text(low)} and {size_text(high)} costs less than "
            f"{100 * decision.attrs['tolerance']:g} % of the loss. (This lets the law be wrong, as laws have been; if "
            f"it were exactly right, the best size would be {size_band_text(alone, 'params')}.)"
        )
    return sentences or ["No planned run was given: this page says what the runs tell of the law."]


def _number(value: float) -> str:
    return size_text(value) if value >= 1000 else f"{value:.4g}"


def forecast_part(forecasts, asked: Asked) -> Part:
    rows, notes = [], []
    observed = forecasts[0][1].attrs["observed"] if forecasts else "loss"
    for name, tree in forecasts:
        row = forecast_table(tree, target=asked.target).iloc[0]
        inputs = [key for key in tree["predictions_constant_data"].data_vars if key in row and key not in
                  ("decades_beyond", "nearest_run", "elpd") and not str(key).startswith("share_")]  # fmt: skip
        if {"params", "tokens"} <= set(inputs):
            inputs = [key for key in inputs if key != "compute"]
        symbols = {"params": "N", "tokens": "D"}
        what = ", ".join(f"{symbols.get(key, key)} {_number(row[key])}" for key in inputs)
        half = f"{row[f'{observed}_q25']:.3f} to {row[f'{observed}_q75']:.3f}"
        shares = " / ".join(f"{100 * row[f'share_{part}']:.0f}" for part in ("params", "drift", "noise"))
        cells = [what, name, f"{row['decades_beyond']:.2f}", band_text(row, observed), half]
        cells += [band_text(row, f"law_{observed}"), shares]
        rows.append([*cells, *([f"{row['p_reach']:.2f}"] if asked.target is not None else [])])
    header = ["run", "chosen as", "decades beyond", f"{observed}, 90 % band", "50 % band", "law alone, 90 %"]
    header += ["parameters / drift / noise [%]"]
    header += [f"P(≤ {asked.target:g})"] if asked.target is not None else []
    return {
        "caption": "Forecasts: median and bands; last, what the variance of the loss comes from",
        "header": header,
        "rows": rows,
        "notes": notes,
    }


def split_part(fit: xr.DataTree, asked: Asked, splits, decision) -> Part:
    rows = []
    for split in splits:
        row = allocation_table(split).iloc[0]
        known = bool(row["identified"])
        cells = [
            size_band_text(row, "params"),
            size_band_text(row, "tokens"),
            number_band_text(row, "tokens_per_param"),
        ]
        cells += [number_band_text(row, "a") if "a_q50" in row else ""]
        shown = cells if known else ["not identified"] * 3 + [""]
        compute = f"{row['compute']:.3g}".replace("e+", "e")
        rows.append([compute, *shown, band_text(row, "loss"), f"{row['decades_beyond']:.2f}"])
    choices = []
    for _, row in decision_table(decision).iterrows():
        choices.append(
            [
                f"{row['compute']:.3g}".replace("e+", "e"),
                row["choice"],
                size_text(row["params"]),
                size_text(row["tokens"]),
                f"{row['tokens_per_param']:.3g}",
                f"{row['expected_loss']:.4f}",
                f"{row['regret_q50']:.2g} / {row['regret_q95']:.2g}",
                f"{100 * row['compute_regret_q50']:.2g} / {100 * row['compute_regret_q95']:.2g}",
            ]
        )
    part = {
        "caption": "Best splits: median and 90 % band; N* and D* take the law to be exactly right",
        "header": ["compute [FLOP]", "N*", "D*", "tokens per parameter", "exponent of N*", "loss there",
                   "decades beyond"],
        "rows": rows,
        "notes": decision_statement(decision) if all(bool(split["identified"].all()) for split in splits) else [],
        "choices": {
            "caption": "What to train, and what other choices cost",
            "header": ["compute", "choice", "N", "D", "D/N", "expected loss", "loss above the best, 50 / 95 %",
                       "compute wasted, 50 / 95 % [%]"],
            "rows": choices,
        },
        "approaches": "",
        "landmarks": {"caption": "", "header": [], "rows": []},
    }  # fmt: skip
    if has_split(law_of(fit)):
        try:
            part["approaches"] = approaches(fit, float(asked.budgets[0]), seed=asked.seed).attrs["statement"]
        except FitError:  # too few runs for the other two
            part["approaches"] = ""
        part["landmarks"] = _landmarks_part(fit)
    return part


def _landmarks_part(fit: xr.DataTree) -> Part:
    rows = []
    for row in landmark_table(fit).itertuples():
        times = (
            f"{row.times_q50:.2g} [{row.times_q05:.2g}, {row.times_q95:.2g}]" if row.identified else "not identified"
        )
        rows.append([row.model, size_text(row.params), size_text(row.tokens), f"{row.compute:.2g}".replace("e+", "e"),
                     times, f"{row.decades_beyond:.1f}"])  # fmt: skip
    return {
        "caption": "Well-known models: how many times larger each is than the best size for its compute, if the law of "
        "these runs held for it",
        "header": ["model", "N", "D", "6 N D", "N over N*, 90 % band", "decades beyond"],
        "rows": rows,
    }


def law_part(fit: xr.DataTree, compared: xr.Dataset | None) -> Part:
    law = law_of(fit)
    formula = law.published_formula or law.formula
    shown = f"{law.observed.symbol} = {formula}"
    if not law.published_formula and law.where_texts:
        shown += ", where " + ", ".join(f"{name} = {text}" for name, text in law.where_texts.items())
    says = [answer.says for answer in nested_questions(fit, compared)]
    for resource, odds in fit_summary(fit)["regimes"].items():
        share, likely = max((odds[f"{kind}_limited"], kind) for kind in ("variance", "resolution"))
        says.append(
            f"Exponent of the {resource} term {odds['exponent']:.2f}: {likely}-limited with probability {share:.2f} (a "
            "diagnosis after Bahri et al. 2021, not a claim)."
        )
    parts = {"title": law.title, "about": law.about, "formula": shown, "says": says, "cite": law.cite, "text": law.text}
    return parts


def parameters_part(fit: xr.DataTree) -> Part:
    law, rows = law_of(fit), []
    about = {name: prior.about for name, prior in law.priors.items()}
    about |= {name: item.about for name, item in law.derived.items()}
    about |= {name: prior.about for name, prior in NOISES[fit.attrs["noise"]].priors.items()}
    for name, row in fit_summary(fit)["parameters"].items():
        seen = "" if row["identified"] else "; the prior decides"
        rows.append([name, *(f"{row[key]:.4g}" for key in ("median", "q05", "q95")), about.get(name, "") + seen])
    return {
        "caption": "Parameters and what follows from them: posterior median and 90 % band",
        "header": ["", "median", "5 %", "95 %", "meaning"],
        "rows": rows,
    }


def comparison_part(compared: xr.Dataset) -> Part:
    table = comparison_table(compared)
    forward = "elpd_forward" in table
    rows = []
    for name, row in table.iterrows():
        cells = [str(name) if row["converged"] else f"{name} (not converged)", f"{row['elpd']:.1f}"]
        cells += [f"{row['elpd_diff']:.1f} ± {row['dse']:.1f}", f"{row['p']:.1f}", f"{row['pareto_k_max']:.2f}"]
        cells += [f"{row['weight_loo']:.2f}"]
        cells += [f"{row['elpd_forward']:.2f}", f"{row['weight_forward']:.2f}"] if forward else []
        rows.append(cells)
    header = ["law", "elpd LOO", "behind", "p LOO", "k max", "weight LOO"]
    header += ["forward elpd", "weight forward"] if forward else []
    return {
        "caption": "Laws on the same runs; higher elpd is better",
        "header": header,
        "rows": rows,
        "verdict": comparison_verdict(compared),
        "notes": [text[:1].upper() + text[1:] + "." for text in comparison_warnings(compared)],
    }


def trust_part(fit: xr.DataTree) -> Part:
    report = diagnostics(fit)
    if report.get("method") == "importance":
        how = f"importance sampling around the optima, Pareto k {report['pareto_k']:.2f} (trusted up to {PARETO_K_MAX})"
        rows = [["sampled by", how]]
    else:
        rows = [
            ["chains of NUTS", "converged" if report["converged"] else f"NOT CONVERGED: {report['why']}"],
            [f"largest r-hat (below {R_HAT_MAX})", f"{report['r_hat_max']:.4f}"],
            ["divergences", f"{report['divergences']}"],
        ]
    rows += [
        [f"fewest effective draws (above {ESS_MIN:.0f})", f"{report['ess_min']:.0f}"],
        ["not told by the runs", ", ".join(report["not_identified"]) or "nothing"],
        ["N and D move together", "yes" if report["collinear"] else "no"],
    ]
    notes = []
    if "log_likelihood" in fit.children:
        left_out = loo(fit, mend=False)
        k = left_out["pareto_k"].values
        bad = int((k > left_out.attrs["good_k"]).sum())
        pit = left_out["pit"].values
        held = float(((pit >= 0.05) & (pit <= 0.95)).mean())
        rows += [
            ["Pareto k, largest", f"{np.max(k):.2f} ({bad} of {len(k)} above {left_out.attrs['good_k']:.2f})"],
            ["90 % band of the others held", f"{100 * held:.0f} % of the runs left out in turn"],
        ]
        if bad:
            notes.append(
                f"{bad} run(s) move the posterior more than importance sampling can follow (Pareto k): each is worth a "
                "look; bayescale compare refits without them."
            )
    return {
        "caption": "Sampler, identification, runs left out",
        "header": ["check", "value"],
        "rows": rows,
        "notes": notes,
    }


def backtest_part(tested: xr.Dataset) -> Part:
    rows = [
        [
            f"{row['law']}: {row['from_decades']:g} to {row['to_decades']:g}",
            f"{row['forecasts']:.0f} in {row['cuts']:.0f}",
            *(f"{100 * row[f'cover{level}']:.0f}" for level in (50, 80, 90)),
            f"{100 * row['bias']:+.2f}",
            f"{100 * row['abs_error']:.2f}",
            f"{100 * row['width90']:.1f}",
        ]
        for _, row in backtest_table(tested).iterrows()
    ]
    return {
        "statement": backtest_statement(tested),
        "caption": "These runs' larger ones, forecast from their smaller ones, by distance",
        "header": ["law: decades beyond", "forecasts in cuts", "50 % band held [%]", "80 %", "90 %", "bias [%]",
                   "error [%]", "width 90 % [%]"],
        "rows": rows,
    }  # fmt: skip


def data_part(fit: xr.DataTree) -> Part:
    law, runs = law_of(fit), runs_of(fit)
    rows = []
    for name in dict.fromkeys([*map(column, law.inputs), "compute", law.observed.column]):
        if name in runs and runs[name].dtype.kind == "f":
            values = runs[name].values
            text = (lambda v: f"{v:.3g}".replace("e+", "e")) if name == "compute" else _number
            rows.append([name, *(text(float(v)) for v in (values.min(), np.median(values), values.max())),
                         f"{len(np.unique(values))}"])  # fmt: skip
    notes = [f"{note['text']} [{note['code']}]" for note in json.loads(fit.attrs["notes"])]
    return {
        "caption": f"{runs.sizes['run']} runs of {fit.attrs['source']}",
        "header": ["", "least", "median", "most", "different values"],
        "rows": rows,
        "notes": notes,
    }


def priors_part(fit: xr.DataTree, sensitive: Any) -> Part:
    law, shares = law_of(fit), diagnostics(fit).get("prior_share", {})
    rows = []
    for name, prior in {**law.priors, **NOISES[fit.attrs["noise"]].priors}.items():
        ends = [DISTRIBUTIONS[prior.dist].quantile(u, **prior.params) for u in (0.05, 0.95)]
        after = np.quantile(fit["posterior"][name].values, [0.05, 0.95])
        share = f"{100 * shares[name]:.0f}" if name in shares else ""
        rows.append([name, str(prior), *(f"{a:.3g} to {b:.3g}" for a, b in (ends, after)), share])
    notes = []
    if sensitive is not None:
        notes = [row.says[:1].upper() + row.says[1:].rstrip(".") + "." for row in sensitive.itertuples()]
    return {
        "caption": "Priors and what became of them",
        "header": ["", "prior", "90 % of it", "90 % of the posterior", "prior inside it [%]"],
        "rows": rows,
        "notes": notes,
    }


def record_part(fit: xr.DataTree, asked: Asked) -> list[list[str]]:
    rows = [["law", fit.attrs["law"]], ["noise", fit.attrs["noise"]], ["runs", str(fit.attrs["source"])]]
    if "data_hash" in fit.attrs:
        rows.append(["SHA-256 of the runs", fit.attrs["data_hash"]])
    rows += [["seed of the fit", str(fit.attrs["seed"])], ["seed of this report", str(asked.seed)]]
    settings = json.loads(fit.attrs.get("settings", "{}"))
    if settings:
        rows.append(["sampler", ", ".join(f"{name} {value}" for name, value in settings.items())])
    versions = json.loads(fit.attrs["versions"]) if fit.attrs.get("versions") else {}
    if versions:
        rows.append(["versions", ", ".join(f"{name} {value}" for name, value in versions.items())])
    return rows
