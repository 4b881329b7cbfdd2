"""What each result looks like as a table, the same in a terminal and in a notebook."""

from typing import Any

from bayescale.display.table import Table, table
from bayescale.field import band_ends, band_percent, how_many, number_text
from bayescale.laws.law import NO_SIZE

TOLD = ("law_chosen", "uncounted", "columns", "priors_given", "censored")  # codes of the notes that a fit tells at once


def fit_cells(summary: Any, level: float) -> Table:
    """Parameters of a fit, from :func:`bayescale.fitting.diagnostics.fit_summary` of that level."""
    ends = tuple(band_ends(level))
    rows = [
        (
            name,
            *(number_text(row[key], 4) for key in ("median", *ends)),
            f"{row['r_hat']:.3f}" if row["r_hat"] == row["r_hat"] else "",  # a quick answer has no chains
            f"{row['ess_bulk']:.0f}",
        )
        for name, row in summary["parameters"].items()
    ]
    title = f"law '{summary['law']}' on {summary['runs']} runs: posterior median and {band_percent(level)} band"
    return table(title, ("", "median", *ends, "r-hat", "ESS"), rows)


def fit_sentences(summary: Any) -> list[str]:
    """Whether the draws can be trusted, and the regimes that the exponents point to."""
    from bayescale.fitting.diagnostics import PARETO_K_MAX

    report, sentences = summary["diagnostics"], [f"read: {summary['read']}"] if summary["read"] else []
    sentences += [f"note: {note['text']}" for note in summary["notes"] if note["code"] in TOLD]
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
            f"{how_many(report['divergences'], 'divergence')}, largest r-hat {report['r_hat_max']:.3f}, "
            f"smallest ESS {report['ess_min']:.0f}: {'converged' if report['converged'] else 'NOT CONVERGED'}"
        )
        made, asked = report.get("draws_made"), report.get("draws_asked")
        if made != asked:
            sentences.append(f"the chains went on from {asked} to {made} draws each: fewer were not enough")
    if clusters := summary["clusters"]:
        sentences.append(
            f"residuals of the same {clusters['column']} go together ({clusters['count']} clusters, "
            f"{clusters['ratio']:.1f} times the variance of independent runs): each cluster counts as one look, and "
            f"bands are wider for it, {_widened(summary['parameters'])}; --clusters none holds runs to be independent"
        )
    for resource, odds in summary["regimes"].items():
        share, likely = max((odds[f"{kind}_limited"], kind) for kind in ("variance", "resolution"))
        sentences.append(
            f"exponent of the {resource} term {odds['exponent']:.2f}: {likely}-limited with probability {share:.2f} "
            "(a diagnosis after Bahri et al., not a claim)"
        )
    return sentences


def _widened(parameters: Any) -> str:
    """How many times as wide a band is as that of independent runs: of the quantity where it is most."""
    times = {
        name: (row["q95"] - row["q05"]) / max(row["q95_runs"] - row["q05_runs"], 1e-300)
        for name, row in parameters.items()
    }
    most = max(times, key=times.__getitem__)
    return f"at most {number_text(times[most], 2)} times, that of {most}"


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
