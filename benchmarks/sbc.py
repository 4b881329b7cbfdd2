"""Simulation-based calibration of every law of a loss by N and D, and of `broken`: the tables of docs/sbc.md.

    python -m benchmarks.sbc [LAW ...] [--simulations 300] [--folder FOLDER] [--table docs/sbc.csv] [--prior]

How many simulations a law gets, and of what kind, is in PLAN. Where the priors hold many curves that take minutes to
sample (a break beyond the runs, more parameters than the unique tokens deserve) the parameters are drawn from the
posterior of runs that are simulated once, from the law's published constants (of `broken`: from constants with a break
amid the runs); --prior draws them from the priors all the same. A killed run goes on where it was. Every quantity is a
row of the table; on the terminal, every law is one.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

import bayescale
from bayescale.jobs.files import write_table
from bayescale.laws.formula import evaluate, parse
from bayescale.laws.law import law_loss

PRIOR = {"simulations": 300, "draws": 1000, "once": False}
PLAN = {  # by law; the others are REST
    "coupled": PRIOR,
    "chinchilla": PRIOR,
    "kaplan": PRIOR,
    "data_constrained": {"simulations": 300, "draws": 500, "once": False, "near": True},
    "broken": {"simulations": 300, "draws": 500, "once": False, "near": True},
}
REST = {"simulations": 100, "draws": 500, "once": True}


def joint_laws() -> list[str]:
    """Laws that explain a loss by N and D, whatever else they ask for."""
    loaded = map(bayescale.load_law, bayescale.law_names())
    return [law.name for law in loaded if {"N", "D"} <= set(law.inputs) and law.observed.column == "loss"]


def example_runs(name: str) -> xr.Dataset:
    """Runs of known constants, with noise as real runs have."""
    law, rng = bayescale.load_law(name), np.random.default_rng(0)
    if name == "broken":
        x = np.geomspace(1e8, 1e12, 40)
        truth = {"level": 1.2, "slope": 0.2, "floor": 0.3, "c1": 0.3, "log_break1": 0.0, "f1": 0.5}
        columns = {"x": x}
        loss = law_loss(law, truth | {"x": x, "x_ref": 1e10, "L_ref": 2.0})
    else:
        shares = np.stack(np.meshgrid(*[np.linspace(0, 1, 4)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
        N, D = (low * (high / low) ** share for (low, high), share in zip(law.range.values(), shares.T, strict=False))
        columns = {"N": N, "D": D}
        if name == "data_constrained":
            epochs = np.array([1.0, 5.0, 25.0])
            N, unique = (np.repeat(one, len(epochs)) for one in (N, 1e8 * (10**2.5) ** shares[:, 1]))
            columns = {"N": N, "D": unique * np.tile(epochs, len(shares)), "unique_tokens": unique}
        preset = next(iter(law.presets.values()))
        loss = evaluate(parse(law.published_formula), dict(preset.values) | columns)
    # a break is found only where the scatter is small beside it
    scatter = 0.002 if name == "broken" else 0.004
    loss = loss * np.exp(scatter * rng.standard_t(6, len(loss)))
    return bayescale.read_runs(columns | {"loss": loss}, law).assign_attrs(source="runs of known constants")


def line(result, table: pd.DataFrame) -> str:
    """A row of the page's table."""
    status = [int((result["status"].values == kind).sum()) for kind in ("unconverged", "refused", "failed")]
    worst = table.loc[table.p.idxmin()]
    cells = [f"`{result.attrs['law']}`", result.attrs["truths"], f"{result.sizes['simulation']}"]
    cells += [" / ".join(map(str, status)), f"{len(table)}"]
    cells += [f"{worst.p:.2g} (`{worst.quantity}`)", f"{min(1.0, worst.p * len(table)):.2g}"]
    cells += [f"{table.inside.sum()}"]
    cells += [" / ".join(f"{100 * table[f'cover{share}'].mean():.1f}" for share in (50, 80, 90))]
    cells += [f"{100 * table.cover90.min():.1f} to {100 * table.cover90.max():.1f}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("laws", nargs="*", default=[*PLAN, *(name for name in joint_laws() if name not in PLAN)])
    parser.add_argument("--simulations", type=int, help="instead of what PLAN says")
    parser.add_argument("--folder", type=Path, default=Path("sbc"))
    parser.add_argument("--table", type=Path)
    parser.add_argument("--prior", action="store_true", help="draw all parameters from the priors, whatever PLAN says")
    given = parser.parse_args()
    rows = []
    for name in given.laws:
        options = dict(PLAN.get(name, REST)) | {"folder": given.folder}
        near = options.pop("near", False) and not given.prior
        if given.simulations is not None:
            options["simulations"] = given.simulations
        result = bayescale.calibrate(name, posterior=example_runs(name) if near else None, **options)
        table = bayescale.read(result).frame
        rows.append(table.assign(law=name, parameters=result.attrs["truths"]))
        print(line(result, table), flush=True)
        for warning in bayescale.read(result).warnings:
            print(f"    {warning}", flush=True)
    whole = pd.concat(rows)
    print(f"{len(whole)} tests, smallest p {whole.p.min():.2g}; outside their law's band: {(~whole.inside).sum()}")
    if given.table:
        first = ["law", "parameters"]
        write_table(whole[[*first, *whole.columns.drop(first)]].round(4), given.table)


if __name__ == "__main__":
    main()
