"""Simulation-based calibration of every law: the tables of docs/sbc.md.

    python -m benchmarks.sbc [LAW ...] [--simulations 100] [--folder FOLDER] [--table docs/sbc.csv] [--prior]

Parameters are drawn from a law's priors, at its default design. The priors of the laws in NEAR hold many curves that
take minutes to sample or do not converge (a break beyond the runs, more parameters than the runs deserve); theirs are
drawn from the posterior of runs that are simulated once, of known constants, over the law's published range; --prior
draws them from the priors all the same. A killed run goes on where it was. Every quantity is a row of the table; on the
terminal, every law is one.
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
from benchmarks import recovery

NEAR = frozenset(
    (
        *("accuracy_sigmoid", "broken", "broken2", "data_constrained", "distillation", "error_of_loss", "exact_match"),
        *("farseer", "fine_grained_moe", "m4", "m4_compute", "m4_params", "m4_tokens", "moe_sparsity"),
        *("precision", "rosenfeld", "routed_moe"),
        *("transfer_loss", "weight_sparsity"),
    )
)
DRAWS = 500  # of each of 4 chains
RUNS = 48  # simulated once from known constants
BREAKS = {  # amid the runs
    "broken": {"level": 1.2, "slope": 0.2, "floor": 0.3, "c1": 0.3, "log_break1": 0.0, "f1": 0.5},
    "broken2": {"level": 1.2, "slope": 0.2, "floor": 0.3, "c1": 0.3, "c2": -0.3, "log_break1": -2.0, "gap": 4.0}
    | {"f1": 0.3, "f2": 0.3},
}


def laws() -> list[str]:
    """All but those whose noise is in units of the range of the observed values, known only after simulation."""
    return [name for name in bayescale.law_names() if bayescale.load_law(name).observed.scale != "linear"]


def example_runs(name: str) -> xr.Dataset:
    """Runs of known constants, with noise as real runs have."""
    law, rng = bayescale.load_law(name), np.random.default_rng(0)
    if name in BREAKS:
        x = np.geomspace(1e8, 1e12, 40)
        columns, scatter = {"x": x}, 0.002  # a break is found only where the scatter is small beside it
        loss = law_loss(law, BREAKS[name] | {"x": x, "x_ref": 1e10, "L_ref": 2.0})
    elif name == "data_constrained":
        shares = np.stack(np.meshgrid(*[np.linspace(0, 1, 4)] * 2, indexing="ij"), axis=-1).reshape(-1, 2)
        epochs = np.array([1.0, 5.0, 25.0])
        low, high = law.range["N"]
        N = np.repeat(low * (high / low) ** shares[:, 0], len(epochs))
        unique = np.repeat(1e8 * (10**2.5) ** shares[:, 1], len(epochs))
        D = unique * np.tile(epochs, len(shares))
        columns, scatter = {"params": N, "tokens": D, "unique_tokens": unique}, 0.004
        preset = next(iter(law.presets.values()))
        loss = evaluate(parse(law.published_formula), dict(preset.values) | {"N": N, "D": D, "unique_tokens": unique})
    else:
        return recovery.simulated(law, 0, RUNS)[0].assign_attrs(source="runs of known constants")
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
    parser.add_argument("laws", nargs="*", default=laws())
    parser.add_argument("--simulations", type=int, default=100)
    parser.add_argument("--folder", type=Path, default=Path("sbc"))
    parser.add_argument("--table", type=Path)
    parser.add_argument("--prior", action="store_true", help="draw all parameters from the priors, also of NEAR")
    given = parser.parse_args()
    rows = []
    for name in given.laws:
        near = example_runs(name) if name in NEAR and not given.prior else None
        options = {"simulations": given.simulations, "draws": DRAWS, "folder": given.folder}
        result = bayescale.calibrate(name, posterior=near, **options)
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
