"""How far to trust a fit: convergence of the chains, and which parameters the runs tell apart."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy.special import fdtri

from bayescale.field import BAND, TRAINING, band_ends, how_many, number_text
from bayescale.fitting.clusters import clustered_posterior, clusters_of
from bayescale.fitting.draws import e_bfmi, ess_bulk, ess_tail, r_hat
from bayescale.laws.law import Law, is_joint, law_derived, log_weight, sample_priors, size_column
from bayescale.runs.lint_observed import SCATTER_LOG_MAX
from bayescale.runs.loss_unit import UNITS, loss_unit
from bayescale.runs.read import read_text
from bayescale.runs.smooth import line_of_sizes, move_together
from bayescale.study import Study

# the gate: a fit past one of these is an error unless it is asked for. The first two are those of plenty of draws; of
# few, r_hat_limit and ess_limit say what chance alone gives
R_HAT_MAX = 1.01
ESS_MIN = 400.0  # in the bulk, and at the 5 % and 95 % quantiles, which are what a band shows
CHANCE_MAX = 0.0005  # probability that perfect draws fail by r-hat, and that they do by effective draws
# of N independent draws an estimate of their number is above N / (1 + ESS_SCATTER / N) but for that probability, of 12
# quantities, in the bulk and in the tails: simulated, from 400 draws to where that is ESS_MIN
ESS_SCATTER = 1400.0
SHOWN = {"median": 0.5, "q05": 0.05, "q95": 0.95}  # what a summary shows of a quantity
E_BFMI_MIN = 0.3  # Betancourt 2016, arXiv:1604.00695: below it the chains do not reach the tails of the energy
R_HAT_APART = 1.1  # above it more draws would not help: chains are in different places
PARETO_K_MAX = 0.7  # Vehtari et al. 2024: above it importance sampling does not vouch for its estimate
DIVERGENCES_CLEAN = 0.0005  # share of draws (2 of 4 x 1000) above which a slower setting of the sampler is tried
DIVERGENCES_MAX = 0.005  # share of draws (20 of 4 x 1000) above which the fit has failed
# share of a prior's mass inside the posterior's 90 % band above which the parameter rests on its prior (0.9: wholly)
PRIOR_SHARE_MAX = 0.6
COLLINEAR_PRIOR_SHARE_MAX = 0.3


def r_hat_limit(chains: int, draws: int, quantities: int = 1) -> float:
    """What r-hat must stay below: 1.01, or for few draws what perfect ones exceed once in 2000 times.

    Of m = 2 ``chains`` half chains of n = ``draws`` / 2 independent draws each, n (r-hat^2 - 1) + 1 is a ratio of
    variances, between half chains and within them: it follows F(m - 1, m (n - 1)). Its quantile is shared by all
    quantities, and by bulk and tails.
    """
    half = draws // 2
    level = CHANCE_MAX / (2 * max(quantities, 1))
    most = float(fdtri(2 * chains - 1, 2 * chains * (half - 1), 1 - level)) if half > 1 else math.inf
    return max(R_HAT_MAX, math.sqrt(1 + (most - 1) / max(half, 1)))


def ess_limit(draws: int) -> float:
    """What effective draws must be above: 400, or for few draws (of all chains) what perfect ones are estimated at but
    for once in 2000 times."""
    return min(ESS_MIN, draws / (1 + ESS_SCATTER / draws))


def check_convergence(posterior: xr.Dataset, stats: xr.Dataset) -> dict[str, Any]:
    """r-hat, effective draws, divergences and E-BFMI against their limits; ``why`` names the worst offender,
    ``remedy`` says what to try, and ``draws_wanted`` how many times as many draws would pass (1 where they do, None
    where draws are not what is missing)."""
    names, values = draws_by_name(posterior)
    mixing, bulk, tail = r_hat(values), ess_bulk(values), ess_tail(values, (SHOWN["q05"], SHOWN["q95"]))
    quantities, chains, count = values.shape
    r_hat_max, ess_min = r_hat_limit(chains, count, quantities), ess_limit(chains * count)
    divergences = int(stats["diverging"].sum())
    # a quick answer has no energy
    bfmi = float(e_bfmi(stats["energy"].transpose("chain", "draw").values).min()) if "energy" in stats else None
    worst_r, worst_e, worst_t = mixing.argmax(), bulk.argmin(), tail.argmin()  # NaN comes before all numbers
    objections, remedies = [], []
    if not mixing[worst_r] < r_hat_max:
        objections.append(
            f"r-hat of '{names[worst_r]}' is {mixing[worst_r]:.3f} (must be below {number_text(r_hat_max, 4)})"
        )
        if not mixing[worst_r] < R_HAT_APART:
            remedies.append("a law with fewer parameters (the runs allow more than one answer)")
    if not bulk[worst_e] > ess_min:
        objections.append(
            f"effective draws of '{names[worst_e]}' are {bulk[worst_e]:.0f} (must be above {ess_min:.0f})"
        )
    elif not tail[worst_t] > ess_min:
        objections.append(
            f"effective draws of the tails of '{names[worst_t]}' are {tail[worst_t]:.0f} (must be above {ess_min:.0f})"
        )
    if divergences > DIVERGENCES_MAX * stats["diverging"].size:
        objections.append(
            f"{how_many(divergences, 'divergence')} (at most {int(DIVERGENCES_MAX * stats['diverging'].size)})"
        )
        remedies.append("a law with fewer parameters or narrower priors (the posterior is too sharply bent)")
    if bfmi is not None and not bfmi > E_BFMI_MIN:
        objections.append(f"E-BFMI is {bfmi:.2f} (must be above {E_BFMI_MIN})")
        remedies.append("a law with narrower priors (the tails are too heavy for the sampler)")
    wanted = None if remedies else 1.0
    if objections and not remedies:
        remedies.append("more draws (draws=4000, --draws 4000)")
        # effective draws grow as draws do, r-hat^2 - 1 falls as one over them
        wanted = max(ESS_MIN / min(bulk[worst_e], tail[worst_t]), (mixing[worst_r] ** 2 - 1) / (R_HAT_MAX**2 - 1))
    return {
        "converged": not objections,
        "clean": not objections and divergences <= DIVERGENCES_CLEAN * stats["diverging"].size,
        "why": "; ".join(objections),
        "remedy": "; ".join(remedies),
        "divergences": divergences,
        "r_hat_max": float(mixing[worst_r]),
        "r_hat_limit": r_hat_max,
        "ess_min": float(bulk[worst_e]),
        "ess_tail_min": float(tail[worst_t]),
        "ess_limit": ess_min,
        "draws_wanted": wanted if wanted is not None and math.isfinite(wanted) else None,
        "e_bfmi": bfmi if bfmi is not None and math.isfinite(bfmi) else None,
        "r_hat": dict(zip(names, mixing.tolist(), strict=True)),
        "ess_bulk": dict(zip(names, bulk.tolist(), strict=True)),
    }


def draws_by_name(posterior: xr.Dataset) -> tuple[list[str], np.ndarray]:
    """Names of the variables of a posterior, and their draws [variable, chain, draw]."""
    drawn = [values.transpose("chain", "draw").values for values in posterior.data_vars.values()]
    return [str(name) for name in posterior.data_vars], np.stack(drawn)


def check_identification(
    law: Law, runs: xr.Dataset, posterior: xr.Dataset, constants: Mapping[str, float]
) -> dict[str, Any]:
    """Which quantities the runs tell: share of the prior's mass inside the posterior's 90 % band.

    A quantity that the runs say nothing of has 0.9 of its prior's mass there; one they pin down has next to none.
    When N and D move together the sum of their effects is seen, and each of them only through the prior.
    """
    # of which a narrow weight leaves few
    prior = sample_priors(law, 40_000 if law.weights else 4000, np.random.default_rng(0))
    prior |= law_derived(law, prior | dict(constants))
    log_weights = log_weight(law, prior | dict(constants))
    weights = np.exp(log_weights - np.max(log_weights)) if law.weights else None
    shares = {}
    for name in (*law.priors, *law.derived):
        low, high = np.quantile(posterior[name], [0.05, 0.95])
        shares[name] = float(np.average((prior[name] > low) & (prior[name] < high), weights=weights))
    collinear = is_joint(law) and move_together(runs)
    of_groups = law.groups.parameters if law.groups else frozenset()  # the new group's deviates are their priors
    limit = COLLINEAR_PRIOR_SHARE_MAX if collinear else PRIOR_SHARE_MAX
    return {
        "prior_share": shares,
        "not_identified": sorted(name for name, share in shares.items() if share > limit and name not in of_groups),
        "collinear": collinear,
        "line": line_of_sizes(runs) if collinear else "",
        "scatter": float(posterior["sigma"].median()) if law.observed.scale == "log" else None,
    }


# Bahri et al. 2021, arXiv:2102.06701: a variance-limited loss falls as 1/D, and as 1/width, N**(-1/2) at fixed depth; a
# resolution-limited one as a power that is small for data of many dimensions. Published exponents of dense text models
# with a floor have a geometric mean of .24 and a spread of .48 in logarithm.
VARIANCE_LIMITED = {"N": 0.5, "D": 1.0}
VARIANCE_LIMITED_SD = 0.15
RESOLUTION_LIMITED = (0.24, 0.48)
KDE_POINTS = 1000
NO_SPREAD = 1e-6  # sd of log exponents below which they are one number


def regimes(
    law: Law, posterior: xr.Dataset, constants: Mapping[str, float], not_identified: Sequence[str] = ()
) -> dict[str, dict[str, float]]:
    """Which of the four regimes of Bahri et al. the exponents point to: a diagnosis, not a claim.

    For N ("model") and for D ("data") the probability that the loss is limited by the variance of what was drawn or
    by the resolution of the model or the data, at even odds before the runs. Variance says that the exponent is
    log-normal around 1 (D) or 1/2 (N) with sd .15, resolution that it is so around .24 with sd .48 (what dense language
    models have shown). The evidence of each is the posterior mean of its density over that of the law's own prior.

    Parameters
    ----------
    constants : reference constants of the law, as the runs have them
    not_identified : quantities that the runs say nothing of; their exponents get no diagnosis

    Returns
    -------
    ``{"data": {"variance_limited": p, "resolution_limited": 1 - p, "exponent": median}, "model": ...}``, of those
    resources whose exponent the law names in ``[exponents]``

    References
    ----------
    Bahri, Dyer, Kaplan, Lee, Sharma 2021, arXiv:2102.06701
    """
    prior = sample_priors(law, 2 * KDE_POINTS, np.random.default_rng(0))
    prior |= law_derived(law, prior | {name: constants[name] for name in law.constants})
    found = {}
    for symbol, name in law.exponents.items():
        if name in not_identified:
            continue
        before, after = (np.log(np.clip(np.ravel(values), 1e-6, None)) for values in (prior[name], posterior[name]))
        after = after[:: max(1, len(after) // KDE_POINTS)]  # a thousand are plenty for a probability
        if not before.std() > NO_SPREAD:
            continue  # the prior has decided
        own = kernel_density(before, np.clip(after, *np.quantile(before, [0.001, 0.999])))
        centres = {"variance": (np.log(VARIANCE_LIMITED[symbol]), VARIANCE_LIMITED_SD)}
        centres["resolution"] = (np.log(RESOLUTION_LIMITED[0]), RESOLUTION_LIMITED[1])
        evidence = {kind: float(np.mean(_normal(after, *centre) / own)) for kind, centre in centres.items()}
        share = evidence["variance"] / max(sum(evidence.values()), 1e-300)
        found["model" if symbol == "N" else "data"] = {
            "variance_limited": share,
            "resolution_limited": 1 - share,
            "exponent": float(np.exp(np.median(after))),
        }
    return found


def kernel_density(sample: np.ndarray, at: np.ndarray) -> np.ndarray:
    """Density of a sample [draw] at some points, by normal kernels of Scott's width."""
    width = sample.std(ddof=1) * len(sample) ** -0.2
    # some points at a time: all of them times all draws would be the largest array of a small fit
    return np.concatenate([_normal(some[:, None], sample, width).mean(axis=1) for some in np.array_split(at, 32)])


def _normal(x: np.ndarray, mean: np.ndarray | float, sd: float) -> np.ndarray:
    return np.exp(-(((x - mean) / sd) ** 2) / 2) / (sd * math.sqrt(2 * math.pi))


def diagnostics(tree: xr.DataTree | xr.Dataset | Study) -> dict[str, Any]:
    """How far to trust a fit: ``converged``, ``clean`` (hardly any divergences too), ``why`` not and ``remedy``,
    ``divergences``, ``e_bfmi``, ``r_hat_max``, ``ess_min`` and ``ess_tail_min`` with their ``r_hat_limit`` and
    ``ess_limit`` for this many draws, ``draws_asked`` and ``draws_made`` of each chain, ``r_hat`` and ``ess_bulk`` by
    parameter, ``not_identified``, ``collinear`` and the ``line``, ``scatter`` around the law, ``prior_share``,
    ``noted`` (warnings of the lint), ``method`` ("nuts", or "importance" with its ``pareto_k``) and, where a quick
    answer was asked for and not given, ``not_quick``: why; ``quick_because`` where one was tried unasked."""
    return json.loads(tree.attrs["diagnostics"])


def noted(notes: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """The warnings among notes of the lint, as the diagnostics of a fit carry them to all that is made of it."""
    return [{name: note[name] for name in ("code", "text")} for note in notes if note["severity"] == "warning"]


def trust_warnings(report: Mapping[str, Any]) -> list[str]:
    """What speaks against a fit, and so against everything made of it: its diagnostics and the warnings that the lint
    had of its runs, but for those that the diagnostics give in words of their own. An empty list when nothing."""
    warnings = []
    if not report["converged"]:
        warnings.append(f"the chains did not converge ({report['why']}): these numbers must not be trusted")
    if report["converged"] and not report["clean"]:
        warnings.append(
            f"{how_many(report['divergences'], 'divergence')}: the tails of the posterior may be under-explored"
        )
    scatter = report.get("scatter")  # fits saved before it was noted have none
    if scatter is not None and scatter > SCATTER_LOG_MAX:
        warnings.append(
            f"the runs scatter by {100 * scatter:.0f} % around the law, where runs that a law describes scatter by 1 "
            "or 2 %: look for wrong losses, more than one recipe or wrong columns (bayescale check), or for another law"
        )
    told = [name for name in report.get("prior_share", ()) if name not in report["not_identified"]]
    if report["collinear"]:
        line = f", along {report['line']}" if report.get("line") else ""
        warnings.append(
            f"N and D move together in the runs{line}: the prior alone tells their effects apart; "
            "only forecasts along the same line of N and D rest on data"
        )
    if report["not_identified"]:
        names = ", ".join(report["not_identified"])
        rest = f"; they do tell {', '.join(told)}" if told else ""
        warnings.append(f"the runs say next to nothing of {names}; the prior decides there{rest}")
    said = {"collinear_sizes"} if report["collinear"] else set()
    said |= {"scatter"} if (scatter or 0.0) > SCATTER_LOG_MAX else set()
    return warnings + [note["text"] for note in report.get("noted", ()) if note["code"] not in said]


def fit_summary(fit: xr.DataTree | Study, level: float = BAND) -> dict[str, Any]:
    """A fit, or the study opened from it, for machines.

    ``law``, ``source``, ``runs``, what was ``read`` of them, ``size`` (the column that says how large a run is, or
    None), ``parameters`` (median, q05, q95, r_hat, ess_bulk of each parameter and derived quantity), ``clusters``,
    ``regimes``, ``diagnostics`` and ``notes`` of the lint. With ``level`` parameters also have the ends of that band.

    Where residuals go together, ``clusters`` has the ``column`` by which they do, the ``count`` of clusters and the
    ``ratio`` of their variance to that of independent runs; bands are those of
    :func:`bayescale.fitting.clusters.clustered_posterior`, and ``q05_runs``, ``q95_runs`` those of independent runs."""
    study = Study.opened(fit)
    posterior, law, attrs, report = study.posterior, study.law, study.attrs, diagnostics(study)
    names, values = draws_by_name(posterior)
    shares = SHOWN | band_ends(level)
    columns = {key: np.quantile(values, share, axis=(1, 2)) for key, share in shares.items()}
    columns |= {"r_hat": r_hat(values), "ess_bulk": ess_bulk(values)}
    if clusters := study.once(clusters_of):
        columns |= {f"{key}_runs": columns[key] for key in ("q05", "q95")}
        stretched = draws_by_name(study.once(clustered_posterior))[1]
        columns |= {key: np.quantile(stretched, share, axis=(1, 2)) for key, share in shares.items()}
    if report.get("method") == "importance":
        # the weights say what the draws are worth; there are no chains to compare
        columns["r_hat"][:] = math.nan
        columns["ess_bulk"] = np.minimum(columns["ess_bulk"], report["ess_min"])
    return {
        "law": law.name,
        "source": attrs["source"],
        "runs": study.runs.sizes["run"],
        "read": read_text(attrs),
        "size": size_column(law),
        "parameters": {
            name: {key: float(column[i]) for key, column in columns.items()}
            | {"identified": name not in report["not_identified"]}
            for i, name in enumerate(names)
            if name != "tilt" or size_column(law) is not None  # without sizes nothing is learnt of it
        },
        "clusters": clusters and {"column": clusters.column, "count": clusters.count, "ratio": clusters.ratio},
        "regimes": regimes(law, posterior, study.constants, report["not_identified"]),
        "compute": str(attrs.get("compute", TRAINING)),
        "loss_unit": UNITS[loss_unit(attrs)],
        "diagnostics": report,
        "warnings": trust_warnings(report),
        "notes": json.loads(attrs["notes"]),
    }
