"""What the terminal shows: tables, cards, progress on the error stream, JSON for machines."""

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any


@contextmanager
def working(what: str, silent: bool) -> Iterator[None]:
    """A spinner on the error stream while something takes its time; the stream stays clean for machines."""
    if silent:
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(what + " ..."):
        yield


@contextmanager
def progress_bar(what: str, silent: bool) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on the error stream for work whose parts can be counted."""
    if silent:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def print_json(value: Any) -> None:
    print(json.dumps(plain(value), indent=2, allow_nan=False))


def plain(value: Any) -> Any:
    """JSON has no NaN and no infinity: they become null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def print_warnings(warnings: Sequence[str]) -> None:
    for warning in warnings:
        print(f"warning: {warning}", file=sys.stderr)


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for i, name in enumerate(header):
        words = i == 0 or name in ("prior", "meaning", "choice", "held by")
        table.add_column(name, justify="left" if words else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    # numbers are never cut: on a narrow terminal a long line wraps
    console = Console(highlight=False, width=400)
    print(title)
    console.print(table)


def range_text(values: Any) -> str:
    return f"{values.min():.4g} to {values.max():.4g}"


def size_text(value: float) -> str:
    """7B, 1.4T, 350M: how sizes are written in this field."""
    for suffix, factor in (("T", 1e12), ("B", 1e9), ("M", 1e6), ("K", 1e3)):
        if value >= factor:
            return f"{value / factor:.3g}{suffix}"
    return f"{value:.3g}"


def band_text(row: Any, name: str, digits: int = 3) -> str:
    return f"{row[f'{name}_q50']:.{digits}f} [{row[f'{name}_q05']:.{digits}f}, {row[f'{name}_q95']:.{digits}f}]"


def size_band_text(row: Any, name: str) -> str:
    if row[f"{name}_q05"] != row[f"{name}_q05"]:  # NaN: set by a limit, and has no band
        return size_text(row[f"{name}_q50"])
    return f"{size_text(row[f'{name}_q50'])} [{size_text(row[f'{name}_q05'])}, {size_text(row[f'{name}_q95'])}]"


def print_fit(tree: Any) -> None:
    from bayescale.diagnostics import PARETO_K_MAX, fit_summary, trust_warnings

    summary = fit_summary(tree)
    rows = [
        (
            name,
            *(f"{row[key]:.4g}" for key in ("median", "q05", "q95")),
            f"{row['r_hat']:.3f}",
            f"{row['ess_bulk']:.0f}",
        )
        for name, row in summary["parameters"].items()
    ]
    title = f"law '{summary['law']}' on {summary['runs']} runs: posterior median and 90 % band"
    print_table(title, ("", "median", "q05", "q95", "r-hat", "ESS"), rows)
    report = summary["diagnostics"]
    if report.get("not_quick"):
        print(f"the quick answer was not to be trusted ({report['not_quick']}): sampled by chains instead")
    if report.get("method") == "importance":
        print(
            f"quick answer by importance sampling: Pareto k {report['pareto_k']:.2f} (trusted up to {PARETO_K_MAX}), "
            f"{report['ess_min']:.0f} effective draws"
        )
    else:
        _print_chains(report)
    for resource, odds in summary["regimes"].items():
        share, likely = max((odds[f"{kind}_limited"], kind) for kind in ("variance", "resolution"))
        print(
            f"exponent of the {resource} term {odds['exponent']:.2f}: {likely}-limited with probability {share:.2f} "
            "(a diagnosis after Bahri et al., not a claim)"
        )
    said = {"collinear_sizes"} if report["collinear"] else set()  # the diagnostics say it too
    notes = [note for note in summary["notes"] if note["severity"] == "warning" and note["code"] not in said]
    print_warnings([note["text"] for note in notes])
    print_warnings(trust_warnings(report))


def _print_chains(report: Any) -> None:
    print(
        f"{report['divergences']} divergences, largest r-hat {report['r_hat_max']:.3f}, "
        f"smallest ESS {report['ess_min']:.0f}: {'converged' if report['converged'] else 'NOT CONVERGED'}"
    )


def print_forecast(table: Any, target: float | None) -> None:
    names = [str(name) for name in table.columns]
    observed = next(name[:-4] for name in names if name.endswith("_q50") and not name.startswith("law_"))
    shown = set(names[: names.index("decades_beyond")]) - {"model", "family"}
    inputs = [name for name in names if name in shown and (name != "compute" or not {"params", "tokens"} <= shown)]
    measured = "measured" in table
    # an average of laws has one share more: how far apart the laws are
    parts = {"share_params": "law", "share_drift": "drift", "share_noise": "noise"}
    parts = ({"share_laws": "laws"} if "share_laws" in table else {}) | parts
    header = [*inputs, "beyond", f"{observed}, 90 % band", "law alone", "/".join(parts.values())]
    if measured:
        header = ["model", *header, "measured", "in band"]
    if target is not None:
        header.append(f"P({observed} <= {target:g})")
    rows = []
    for _, row in table.iterrows():
        shares = "/".join(f"{100 * row[name]:.0f}" for name in parts)
        cells = [
            *(size_text(row[name]) if row[name] >= 1000 else f"{row[name]:.4g}" for name in inputs),
            f"{row['decades_beyond']:.2f} dec",
            band_text(row, observed),
            band_text(row, f"law_{observed}"),
            shares + " %",
        ]
        if measured:
            inside = row[f"{observed}_q05"] <= row["measured"] <= row[f"{observed}_q95"]
            cells = [row["model"], *cells, f"{row['measured']:.3f}", "yes" if inside else "no"]
        if target is not None:
            cells.append(f"{row['p_reach']:.2f}")
        rows.append(cells)
    title = "Forecast: median and 90 % band; decades beyond the data; shares of the variance"
    print_table(title, header, rows)


def print_allocation(table: Any) -> None:
    rows = []
    for _, row in table.iterrows():
        known = row["identified"] or row["held"]
        split = [
            size_band_text(row, "params") if known else "not identified",
            size_band_text(row, "tokens") if known else "not identified",
            number_band_text(row, "tokens_per_param") if known else "not identified",
        ]
        exponent = [number_band_text(row, "a") if row["identified"] else ""] if "a_q50" in row else []
        cells = [f"{row['compute']:.3g}", *split, *exponent, band_text(row, "loss"), f"{row['decades_beyond']:.2f} dec"]
        rows.append((*cells, row["held"]))
    exponents = ["exponent of N*"] if "a_q50" in table else []
    header = ["compute", "N*", "D*", "tokens per param", *exponents, "loss there", "beyond", "held by"]
    if not any(row[-1] for row in rows):
        header, rows = header[:-1], [row[:-1] for row in rows]
    title = "Optimal split: median and 90 % band; N* and D* take the law to be exactly right"
    print_table(title, header, rows)


def number_band_text(row: Any, name: str) -> str:
    """Median and band, or the median alone where a limit leaves none."""
    middle, low, high = (row[f"{name}_{label}"] for label in ("q50", "q05", "q95"))
    return f"{middle:.3g} [{low:.3g}, {high:.3g}]" if low == low else f"{middle:.3g}"


def print_decision(table: Any, statements: Sequence[str]) -> None:
    rows = [
        (
            f"{row['compute']:.3g}",
            row["choice"],
            size_text(row["params"]),
            size_text(row["tokens"]),
            f"{row['tokens_per_param']:.3g}",
            f"{row['expected_loss']:.4f}",
            f"{row['expected_regret']:.2g}",
            f"{row['regret_q50']:.2g} / {row['regret_q95']:.2g}",
            f"{100 * row['compute_regret_q50']:.2g} / {100 * row['compute_regret_q95']:.2g} %",
            f"{row['p_near']:.2f}",
        )
        for _, row in table.iterrows()
    ]
    header = (
        *("compute", "choice", "N", "D", "D/N", "expected loss", "regret", "50 / 95 %", "compute wasted", "P(near N*)"),
    )
    print_table("What to train, and what other choices cost", header, rows)
    for statement in statements:
        print(statement)


def print_least_compute(table: Any) -> None:
    rows = [
        (
            f"{row['loss']:g}",
            number_band_text(row, "compute") if row["identified"] else "not identified",
            size_band_text(row, "params") if row["identified"] else "not identified",
            size_band_text(row, "tokens") if row["identified"] else "not identified",
            f"{row['p_reached']:.2f}",
        )
        for _, row in table.iterrows()
    ]
    header = ("loss", "least budget", "N*", "D*", "P(reachable)")
    print_table("Least budget for a loss: median and 90 % band; the law is taken to be exactly right", header, rows)


def print_gain(table: Any) -> None:
    rows = [
        (
            f"{row['compute']:.3g}",
            number_band_text(row, "gain"),
            band_text(row, "difference", 4),
            f"{row['p_better']:.2f}",
        )
        for _, row in table.iterrows()
    ]
    header = ("compute", "times the other needs", "difference of loss", "P(better)")
    print_table("Compute-equivalent gain: how much more compute the other recipe needs for the same loss", header, rows)


def print_approaches(table: Any, statement: str) -> None:
    rows = []
    for _, row in table.iterrows():
        numbers = ["cannot be used"] * 3
        if not row["why_not"]:
            numbers = [
                number_band_text(row, "a"),
                size_band_text(row, "params"),
                size_band_text(row, "tokens"),
            ]
        rows.append((row["approach"], *numbers, str(row["points"]), row["note"]))
    header = ("approach", "exponent of N*", "N* there", "D* there", "points", "meaning")
    print_table("Approaches 1, 2 and 3: median and 90 % band", header, rows)
    print(statement)


def print_plan_of_runs(table: Any, statement: str) -> None:
    rows = [
        (
            str(i + 1),
            size_text(row["params"]),
            size_text(row["tokens"]),
            f"{row['tokens_per_param']:.3g}",
            f"{row['cost']:.3g}",
            f"{row['spent']:.3g}",
            f"{100 * row['sd_share']:.0f} %",
        )
        for i, row in table.iterrows()
    ]
    header = ("run", "N", "D", "D/N", "cost", "spent so far", "sd left")
    print_table("Runs that tell most about the target, in order", header, rows)
    print(statement)


def print_count_of_runs(table: Any, statement: str) -> None:
    rows = [
        (
            str(row["runs"]),
            f"{row['compute']:.3g}",
            f"{row['sd_q50']:.3g} [{row['sd_q05']:.3g}, {row['sd_q95']:.3g}]",
            f"{row['p_enough']:.2f}",
        )
        for row in table.to_dict("records")
    ]
    title = f"sd of {table.attrs['quantity']} after so many runs: median and 90 % of truths drawn from the priors"
    print_table(title, ("runs", "compute", "sd", f"P(sd < {table.attrs['sd']:g})"), rows)
    print(statement)


def print_backtest(table: Any) -> None:
    rows = [
        (
            row["law"],
            f"{row['from_decades']:g} to {row['to_decades']:g}".replace("to inf", "and more"),
            f"{row['forecasts']} in {row['cuts']}",
            *(f"{100 * row[f'cover{level}']:.0f} %" for level in (50, 80, 90)),
            f"{100 * row['bias']:+.2f} %",
            f"{100 * row['abs_error']:.2f} %",
            f"{100 * row['width90']:.1f} %",
            f"{row['crps']:.4f}",
            f"{row['interval_score90']:.4f}",
        )
        for _, row in table.iterrows()
    ]
    header = (
        "law",
        "decades beyond",
        "forecasts in cuts",
        "50 %",
        "80 %",
        "90 %",
        "bias",
        "error",
        "width 90 %",
        "CRPS",
        "IS 90 %",
    )
    print_table("Backtest: how often the bands held, by distance beyond the runs learnt from", header, rows)


def print_comparison(result: Any, answers: Sequence[Any], sensitivity: Any) -> None:
    from bayescale.sensitivity import sensitivity_warnings
    from bayescale.verdict import comparison_table, comparison_verdict, comparison_warnings, driving_runs

    table = comparison_table(result)
    forward = "elpd_forward" in table
    header = ["law", "elpd LOO", "behind", "p LOO", "k max", "refits", "weight LOO"]
    header += ["forward elpd", "forward CRPS"] if forward else []
    header += ["weight forward"] if "weight_forward" in table else []
    rows = []
    for name, row in table.iterrows():
        cells = [str(name) if row["converged"] else f"{name} (NOT CONVERGED)"]
        cells += [f"{row['elpd']:.1f} +- {row['se']:.1f}", f"{row['elpd_diff']:.1f} +- {row['dse']:.1f}"]
        cells += [f"{row['p']:.1f}", f"{row['pareto_k_max']:.2f}", f"{row['k_mended']:.0f}", f"{row['weight_loo']:.2f}"]
        cells += [f"{row['elpd_forward']:.2f}", f"{row['crps_forward']:.4f}"] if forward else []
        cells += [f"{row['weight_forward']:.2f}"] if "weight_forward" in table else []
        rows.append(cells)
    unit = result.attrs["unit"]
    print_table(f"{result.attrs['runs']} runs; each {unit} left out in turn; higher elpd is better", header, rows)
    print(comparison_verdict(result))
    drivers = driving_runs(result)
    called = "run" if unit == "run" else "group"
    named = ", ".join(
        f"{called} {row.unit + 1 if called == 'run' else row.unit} ({row.d_elpd:+.1f})" for row in drivers.itertuples()
    )
    first, second = result["law"].values[:2]
    print(f"Most of the difference between '{first}' and '{second}': {named}.")
    for answer in answers:
        print(answer.says)
    if sensitivity is not None:
        print_warnings([f"law '{first}': {text}" for text in sensitivity_warnings(sensitivity)])
    print_warnings(comparison_warnings(result))


def card(law: Any) -> dict[str, Any]:
    from bayescale.formula import latex

    return {
        "name": law.name,
        "title": law.title,
        "about": law.about,
        "cite": law.cite,
        "formula": law.formula,
        "latex": latex(law.tree),
        "inputs": list(law.inputs),
        "observable": law.observed.column,
        "observed": {key: value for key, value in vars(law.observed).items() if value},
        "range": {name: list(pair) for name, pair in law.range.items()},
        "falls_with": list(law.falls_with),
        "rises_with": list(law.rises_with),
        "priors": {name: {"prior": str(prior), "about": prior.about} for name, prior in law.priors.items()},
        "derived": {name: {"formula": item.formula, "about": item.about} for name, item in law.derived.items()},
        "published_formula": law.published_formula,
        "published": {
            name: {
                "source": preset.source,
                "values": dict(preset.values),
                "answers": [
                    {"quantity": a.quantity, "at": dict(a.at), "value": a.value, "within": a.within, "source": a.source}
                    for a in preset.answers
                ],
            }
            for name, preset in law.presets.items()
        },
        "traps": list(law.traps),
    }


def print_law_line(law: Any) -> None:
    formula = law.published_formula or law.formula
    shown = f": {formula}" if len(formula) <= 100 else ""
    print(f"{law.name}({', '.join(law.inputs)}){shown}\n    {law.title}. {law.about}")


def print_card(law: Any) -> None:
    from bayescale.formula import latex
    from bayescale.law import column
    from bayescale.lawfile import OBSERVED_SCALES
    from bayescale.priors import DISTRIBUTIONS

    symbol, kind = law.observed.symbol, OBSERVED_SCALES[law.observed.scale]
    print(f"{law.name}: {law.title}\n{law.about}\nSource: {law.cite}")
    if law.observed.column != "loss" or law.observed.scale != "log":
        out_of = f", out of the column {law.observed.count}" if law.observed.count else ""
        print(f"Explains: {law.observed.column} ({kind}{out_of})")
    inputs = [name if column(name) == name else f"{name} (column {column(name)})" for name in law.inputs]
    print(f"Inputs: {', '.join(inputs)}\n")
    if law.published_formula:
        print(f"As published   {symbol} = {law.published_formula}")
    print(f"As sampled     {symbol} = {law.formula}")
    for name, formula in law.where_texts.items():
        print(f"    where {name} = {formula}")
    print(f"LaTeX          {latex(law.tree)}\n")
    rows = []
    for name, prior in law.priors.items():
        low, high = (DISTRIBUTIONS[prior.dist].quantile(u, **prior.params) for u in (0.05, 0.95))
        rows.append((name, str(prior), f"{low:.3g} to {high:.3g}", prior.about))
    print_table("Parameters", ("", "prior", "90 % of it", "meaning"), rows)
    if law.derived:
        print_table("Derived", ("", "meaning"), [(name, item.about) for name, item in law.derived.items()])
    for name, preset in law.presets.items():
        values = ", ".join(f"{key} = {value:g}" for key, value in preset.values.items())
        print(f"Published {name}: {values} ({preset.source})")
    for trap in law.traps:
        print(f"Mind: {trap}")


def print_published(law: Any, at: Mapping[str, float], values: Mapping[str, float]) -> None:
    given = ", ".join(f"{name} = {value:g}" for name, value in at.items())
    print(f"{law.name}: {law.observed.column} by published constants, at {given}")
    for name, value in values.items():
        print(f"{name}: {value:.6g} ({law.presets[name].source})")
