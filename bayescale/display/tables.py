"""What each result looks like as a table, the same in a terminal and in a notebook."""

from typing import Any

from bayescale.display.table import Table, band_text, number_band_text, size_band_text, table
from bayescale.field import number_text, quantity_text, size_text
from bayescale.laws.law import NO_SIZE


def fit_cells(summary: Any) -> Table:
    """Parameters of a fit, from :func:`bayescale.fitting.diagnostics.fit_summary`."""
    rows = [
        (
            name,
            *(number_text(row[key], 4) for key in ("median", "q05", "q95")),
            f"{row['r_hat']:.3f}" if row["r_hat"] == row["r_hat"] else "",  # a quick answer has no chains
            f"{row['ess_bulk']:.0f}",
        )
        for name, row in summary["parameters"].items()
    ]
    title = f"law '{summary['law']}' on {summary['runs']} runs: posterior median and 90 % band"
    return table(title, ("", "median", "q05", "q95", "r-hat", "ESS"), rows)


def fit_sentences(summary: Any) -> list[str]:
    """Whether the draws can be trusted, and the regimes that the exponents point to."""
    from bayescale.fitting.diagnostics import PARETO_K_MAX

    report, sentences = summary["diagnostics"], [f"read: {summary['read']}"] if summary["read"] else []
    sentences += [f"note: {note['text']}" for note in summary["notes"] if note["code"] == "columns"]
    if summary["size"] is None:
        sentences.append(
            f"{NO_SIZE}: the noise is taken to be the same at all runs, and no forecast tells how far beyond them it is"
        )
    if report.get("not_quick"):
        sentences.append(f"the quick answer was not to be trusted ({report['not_quick']}): sampled by chains instead")
    if report.get("method") == "importance":
        sentences.append(
            f"quick answer by importance sampling: Pareto k {report['pareto_k']:.2f} (trusted up to {PARETO_K_MAX}), "
            f"{report['ess_min']:.0f} effective draws"
        )
        if report.get("quick_because"):
            sentences.append(f"it was taken because {report['quick_because']}: quick=False, --no-quick samples them")
    else:
        sentences.append(
            f"{report['divergences']} divergences, largest r-hat {report['r_hat_max']:.3f}, "
            f"smallest ESS {report['ess_min']:.0f}: {'converged' if report['converged'] else 'NOT CONVERGED'}"
        )
        made, asked = report.get("draws_made"), report.get("draws_asked")
        if made != asked:
            sentences.append(f"the chains went on from {asked} to {made} draws each: fewer were not enough")
    for resource, odds in summary["regimes"].items():
        share, likely = max((odds[f"{kind}_limited"], kind) for kind in ("variance", "resolution"))
        sentences.append(
            f"exponent of the {resource} term {odds['exponent']:.2f}: {likely}-limited with probability {share:.2f} "
            "(a diagnosis after Bahri et al., not a claim)"
        )
    return sentences


def reproduction_cells(frame: Any) -> Table:
    """A fit and the one made again, from :func:`bayescale.reproduction_table`."""
    rows = [
        (row["quantity"], number_band_text(row, "then"), number_band_text(row, "now"), number_text(row["apart"], 2))
        for _, row in frame.iterrows()
    ]
    return table("median and 90 % band", ("", "as it was", "made again", "apart"), rows)


def forecast_cells(frame: Any, target: float | None) -> Table:
    names = [str(name) for name in frame.columns]
    observed = next(name[:-4] for name in names if name.endswith("_q50") and not name.startswith("law_"))
    shown = set(names[: names.index("decades_beyond")]) - {"model", "family"}
    inputs = [name for name in names if name in shown and (name != "compute" or not {"params", "tokens"} <= shown)]
    measured = "measured" in frame
    # an average of laws has one share more: how far apart the laws are
    parts = {"share_params": "law", "share_drift": "drift", "share_noise": "noise"}
    if not (frame["share_drift"] > 0).any():  # nothing is known of how far such laws drift
        del parts["share_drift"]
    parts = ({"share_laws": "laws"} if "share_laws" in frame else {}) | parts
    sized = bool(frame["decades_beyond"].notna().any())  # a law may have no size that a run could be beyond
    header = [*inputs, *["beyond"] * sized, f"{observed}, 90 % band", "law alone", "/".join(parts.values())]
    if measured:
        header = ["model", *header, "measured", "in band"]
    if target is not None:
        header.append(f"P({observed} <= {number_text(target, 6)})")
    rows = []
    for _, row in frame.iterrows():
        shares = "/".join(f"{100 * row[name]:.0f}" for name in parts)
        cells = [
            *(quantity_text(name, row[name]) for name in inputs),
            *[f"{row['decades_beyond']:.2f} dec"] * sized,
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
    return table("Forecast: median and 90 % band; decades beyond the data; shares of the variance", header, rows)


def allocation_cells(frame: Any) -> Table:
    rows = []
    for _, row in frame.iterrows():
        known = row["identified"]
        split = [
            size_band_text(row, "params") if known else "not identified",
            size_band_text(row, "tokens") if known else "not identified",
            number_band_text(row, "tokens_per_param") if known else "not identified",
        ]
        exponent = [number_band_text(row, "a") if known and not row["held"] else ""] if "a_q50" in row else []
        cells = [
            number_text(row["compute"]),
            *split,
            *exponent,
            band_text(row, "loss"),
            f"{row['decades_beyond']:.2f} dec",
        ]
        rows.append((*cells, row["held"]))
    exponents = ["exponent of N*"] if "a_q50" in frame else []
    header = ["compute", "N*", "D*", "tokens per param", *exponents, "loss there", "beyond", "held by"]
    if not any(row[-1] for row in rows):
        header, rows = header[:-1], [row[:-1] for row in rows]
    return table("Optimal split: median and 90 % band; N* and D* take the law to be exactly right", header, rows)


def decision_cells(frame: Any) -> Table:
    """Choices of a decision, from :func:`bayescale.decision_table`; a choice that is not allowed has no numbers."""
    rows = []
    for _, row in frame.iterrows():
        cells = ["not allowed", *[""] * 6]
        if row["allowed"]:
            cells = [
                size_text(row["tokens"]),
                number_text(row["tokens_per_param"]),
                f"{row['expected_loss']:.4f}",
                f"{number_text(100 * row['expected_regret'], 2)} %",
                f"{number_text(100 * row['regret_q50'], 2)} / {number_text(100 * row['regret_q95'], 2)} %",
                f"{number_text(round(100 * row['compute_regret_q50'], 3), 2)} / "
                f"{number_text(round(100 * row['compute_regret_q95'], 3), 2)} %",
                f"{row['p_near']:.2f}",
            ]
        rows.append((number_text(row["compute"]), row["choice"], size_text(row["params"]), *cells))
    header = (
        *("compute", "choice", "N", "D", "D/N", "expected loss", "regret", "50 / 95 %", "compute wasted", "P(near N*)"),
    )
    return table("What to train, and what other choices cost", header, rows)


def least_compute_cells(frame: Any) -> Table:
    rows = [
        (
            number_text(row["loss"], 6),
            number_band_text(row, "compute") if row["identified"] else "not identified",
            size_band_text(row, "params") if row["identified"] else "not identified",
            size_band_text(row, "tokens") if row["identified"] else "not identified",
            f"{row['p_reached']:.2f}",
        )
        for _, row in frame.iterrows()
    ]
    header = ("loss", "least budget", "N*", "D*", "P(reachable)")
    return table("Least budget for a loss: median and 90 % band; the law is taken to be exactly right", header, rows)


def gain_cells(frame: Any) -> Table:
    rows = [
        (
            number_text(row["compute"]),
            number_band_text(row, "gain"),
            band_text(row, "difference", 4),
            f"{row['p_better']:.2f}",
        )
        for _, row in frame.iterrows()
    ]
    header = ("compute", "times the other needs", "difference of loss", "P(better)")
    return table(
        "Compute-equivalent gain: how much more compute the other recipe needs for the same loss", header, rows
    )


def approaches_cells(frame: Any) -> Table:
    rows = []
    for _, row in frame.iterrows():
        numbers = ["cannot be used"] * 3
        if not row["why_not"]:
            numbers = [
                number_band_text(row, "a"),
                size_band_text(row, "params"),
                size_band_text(row, "tokens"),
            ]
        rows.append((row["approach"], *numbers, str(row["points"]), row["note"]))
    header = ("approach", "exponent of N*", "N* there", "D* there", "points", "meaning")
    return table("Approaches 1, 2 and 3: median and 90 % band", header, rows)


def plan_cells(frame: Any) -> Table:
    """Runs to train next, from :func:`bayescale.next_table`."""
    rows = [
        (
            str(i + 1),
            size_text(row["params"]),
            size_text(row["tokens"]),
            number_text(row["tokens_per_param"]),
            number_text(row["cost"]),
            number_text(row["spent"]),
            f"{100 * row['sd_share']:.0f} %",
        )
        for i, row in frame.iterrows()
    ]
    header = ("run", "N", "D", "D/N", "cost", "spent so far", "sd left")
    return table("Runs that tell most about the target, in order", header, rows)


def count_cells(frame: Any) -> Table:
    """How many runs, from :func:`bayescale.plan_runs`."""
    rows = [
        (
            str(row["runs"]),
            number_text(row["compute"]),
            f"{number_text(row['sd_q50'])} [{number_text(row['sd_q05'])}, {number_text(row['sd_q95'])}]",
            f"{row['p_enough']:.2f}",
        )
        for row in frame.to_dict("records")
    ]
    title = f"sd of {frame.attrs['quantity']} after so many runs: median and 90 % of truths drawn from the priors"
    return table(title, ("runs", "compute", "sd", f"P(sd < {number_text(frame.attrs['sd'], 6)})"), rows)


def backtest_cells(frame: Any) -> Table:
    rows = [
        (
            row["law"],
            f"{number_text(row['from_decades'], 6)} to {number_text(row['to_decades'], 6)}".replace(
                "to inf", "and more"
            ),
            f"{row['forecasts']} in {row['cuts']}",
            *(f"{100 * row[f'cover{level}']:.0f} %" for level in (50, 80, 90)),
            f"{100 * row['bias']:+.2f} %",
            f"{100 * row['abs_error']:.2f} %",
            f"{100 * row['width90']:.1f} %",
            f"{row['crps']:.4f}",
            f"{row['interval_score90']:.4f}",
        )
        for _, row in frame.iterrows()
    ]
    header = ("law", "decades beyond", "forecasts in cuts", "50 %", "80 %", "90 %")
    header += ("bias", "error", "width 90 %", "CRPS", "IS 90 %")
    return table("Backtest: how often the bands held, by distance beyond the runs learnt from", header, rows)


def calibration_cells(frame: Any) -> Table:
    """Ranks of a calibration, from :func:`bayescale.calibration_table`."""
    rows = [
        (
            row["quantity"],
            row["kind"],
            str(row["simulations"]),
            number_text(row["p"], 2),
            "yes" if row["inside"] else "NO",
            *(f"{100 * row[f'cover{level}']:.1f} %" for level in (50, 80, 90)),
        )
        for row in frame.to_dict("records")
    ]
    header = ("quantity", "kind", "simulations", "p of ranks", "in band", "50 %", "80 %", "90 %")
    return table("Ranks of the truth among posterior draws, and how often the posterior's bands held it", header, rows)


def comparison_cells(frame: Any, *, runs: int, unit: str) -> Table:
    """Laws side by side, from :func:`bayescale.comparison_table`; each ``unit`` was left out in turn."""
    forward = "elpd_forward" in frame
    header = ["law", "elpd LOO", "behind", "p LOO", "k max", "refits", "weight LOO"]
    header += ["forward elpd", "forward CRPS"] if forward else []
    header += ["weight forward"] if "weight_forward" in frame else []
    rows = []
    for name, row in frame.iterrows():
        cells = [str(name) if row["converged"] else f"{name} (NOT CONVERGED)"]
        cells += [f"{row['elpd']:.1f} +- {row['se']:.1f}", f"{row['elpd_diff']:.1f} +- {row['dse']:.1f}"]
        cells += [f"{row['p']:.1f}", f"{row['pareto_k_max']:.2f}", f"{row['k_mended']:.0f}", f"{row['weight_loo']:.2f}"]
        cells += [f"{row['elpd_forward']:.2f}", f"{row['crps_forward']:.4f}"] if forward else []
        if "weight_forward" in frame:
            cells.append(f"{row['weight_forward']:.2f}" + (", far behind" if row["far_behind"] else ""))
        rows.append(cells)
    return table(f"{runs} runs; each {unit} left out in turn; higher elpd is better", header, rows)


def priors_cells(law: Any) -> Table:
    """The parameters of a law with their priors and meaning."""
    from bayescale.laws.priors import quantile

    rows = []
    for name, prior in law.priors.items():
        low, high = (quantile(prior, u) for u in (0.05, 0.95))
        rows.append((name, str(prior), f"{number_text(low)} to {number_text(high)}", prior.about))
    return table("Parameters", ("", "prior", "90 % of it", "meaning"), rows)


def derived_cells(law: Any) -> Table:
    return table("Derived", ("", "meaning"), [(name, item.about) for name, item in law.derived.items()])
