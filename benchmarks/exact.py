"""The fast posterior with the discrepancy against NUTS on the same model without approximation.

    python -m benchmarks.exact RUNS.csv [--decades 1]

The runs of the top ``decades`` of compute are forecast from the others. Model: priors of the law, of the scale of the
discrepancy and of the noise as in the package, all of them free but the tails of the noise, which the model fixes; the
discrepancy a Gaussian process; Student-t noise written as a scale mixture with one latent variable a run; ``spread`` 1,
without shift and decline, at the fit's slope.
Printed, for law plus discrepancy at each held-out run: width of the fast band over that of NUTS, and the distance of
the medians. For up to about 60 runs: every gradient factorises their covariance.
"""

import argparse
import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd

import bayescale
from bayescale.forecasts.curve import sample_curve
from bayescale.forecasts.discrepancy import DriftPrior, cells_of, correlation, shipped_prior, tail_df_of
from bayescale.forecasts.discrepancy_posterior import discrepancy_of
from bayescale.forecasts.planned import planned_runs
from bayescale.laws.law import column, law_loss
from bayescale.study import Study


def exact_draws(study: Study, points, prior: DriftPrior, rng: np.random.Generator, thin: int = 3) -> np.ndarray:
    """Draws [draw, point] of law plus discrepancy by NUTS on the unapproximated model."""
    import nutpie
    import pymc as pm
    import pytensor.tensor as pt

    law, cells = study.law, cells_of(study)
    constants = {name: study.constants[name] for name in law.constants}
    near = correlation(cells.where, cells.where, prior.length)
    with pm.Model() as model:
        params = {name: getattr(pm, p.dist)(name, **p.params) for name, p in law.priors.items()}
        log_scale = pm.Normal("log_scale", prior.log_scale, prior.log_scale_sd)
        free = {name: p for name, p in study.scatter.priors.items() if name != "nu_minus_2"}
        noise = {name: getattr(pm, p.dist)(name, **p.params) for name, p in free.items()}
        nu = float(tail_df_of(study, prior, study.medians))
        inflation = pm.InverseGamma("inflation", nu / 2, nu / 2, shape=len(cells.log_loss))
        mu = pt.log(law_loss(law, params | dict(cells.inputs) | constants))
        covariance = pt.exp(2 * log_scale) * near + pt.diag(
            noise["sigma"] ** 2 * inflation * pt.exp(2 * noise["tilt"] * study.covariates()["log_compute"])
        )
        pm.MvNormal("log_loss", mu=mu, cov=covariance, observed=cells.log_loss)
    settings = {"draws": 1500, "tune": 1500, "chains": 4, "target_accept": 0.95, "adaptation": "low_rank", "seed": 1}
    trace = nutpie.sample(nutpie.compile_pymc_model(model), progress_bar=False, save_warmup=False, **settings)
    draws = trace["posterior"].to_dataset().stack(sample=("chain", "draw")).isel(sample=slice(None, None, thin))

    new = {symbol: points[column(symbol)].values for symbol in law.inputs}
    where = np.stack([np.log10(values) for values in new.values()], axis=1)
    across, among = correlation(cells.where, where, prior.length), correlation(where, where, prior.length)
    out = []
    for i in range(draws.sizes["sample"]):
        one = draws.isel(sample=i)
        params = {name: float(one[name]) for name in law.priors}
        variance = np.exp(2 * float(one["log_scale"]))
        spread = np.exp(2 * float(one["tilt"]) * study.covariates()["log_compute"])
        noise = float(one["sigma"]) ** 2 * one["inflation"].values * spread
        solved = np.linalg.solve(variance * near + np.diag(noise), variance * across)
        residual = cells.log_loss - np.log(law_loss(law, params | dict(cells.inputs) | constants))
        left = variance * among - variance * across.T @ solved
        values, vectors = np.linalg.eigh((left + left.T) / 2)
        open_drift = (vectors * np.sqrt(np.maximum(values, 0))) @ rng.standard_normal(len(where))
        out.append(np.log(law_loss(law, params | new | constants)) + residual @ solved + open_drift)
    return np.array(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--decades", type=float, default=1.0)
    args = parser.parse_args()
    runs = pd.read_csv(args.runs)
    scale = np.log10(runs["compute"])
    large = scale > scale.max() - args.decades
    study = Study.opened(bayescale.fit(runs[~large], allow_unconverged=True))
    points = planned_runs(study, runs["params"][large], runs["tokens"][large], {})
    prior = dataclasses.replace(shipped_prior(), spread=1.0, spread_log_sd=0.0, shift=0.0, decline=0.0)
    found = discrepancy_of(study, prior)
    fast = sample_curve(found, points, np.random.default_rng(1)).log_loss
    levels = [0.05, 0.25, 0.5, 0.75, 0.95]
    a = np.quantile(fast, levels, axis=0)
    b = np.quantile(exact_draws(study, points, found.prior, np.random.default_rng(2)), levels, axis=0)
    print(f"{args.runs.name}: {int((~large).sum())} runs learnt from, {int(large.sum())} forecast")
    print("90 % band, fast over NUTS ", np.round((a[4] - a[0]) / (b[4] - b[0]), 2))
    print("50 % band, fast over NUTS ", np.round((a[3] - a[1]) / (b[3] - b[1]), 2))
    print("medians apart, in 90 % bands", np.round((a[2] - b[2]) / (b[4] - b[0]), 3))


if __name__ == "__main__":
    main()
