"""Simulation-based calibration of every law of a loss by N and D, and of `broken`: the tables of docs/trust.md.

    python -m benchmarks.sbc [LAW ...] [--simulations 300] [--folder FOLDER] [--table docs/sbc.csv] [--posterior RUNS]

A killed run goes on where it was. Every quantity is a row of the table; on the terminal, every law is one.
"""

import argparse
from pathlib import Path

import pandas as pd

import bayescale
from bayescale.files import write_table

MORE = ("broken",)


def joint_laws() -> list[str]:
    """Laws that explain a loss by N and D, whatever else they ask for."""
    loaded = map(bayescale.load_law, bayescale.laws())
    return [law.name for law in loaded if {"N", "D"} <= set(law.inputs) and law.observed.column == "loss"]


def line(result, table: pd.DataFrame) -> str:
    """A row of the page's table."""
    status = [int((result["status"].values == kind).sum()) for kind in ("unconverged", "refused", "failed")]
    worst = table.loc[table.p.idxmin()]
    cells = [f"`{result.attrs['law']}`", f"{result.sizes['simulation']}", "/".join(map(str, status)), f"{len(table)}"]
    cells += [f"{worst.p:.2g} (`{worst.quantity}`)", f"{min(1.0, worst.p * len(table)):.2g}"]
    cells += [f"{table.inside.sum()}"]
    cells += [" / ".join(f"{100 * table[f'cover{share}'].mean():.1f}" for share in (50, 80, 90))]
    cells += [f"{100 * table.cover90.min():.1f} to {100 * table.cover90.max():.1f}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("laws", nargs="*", default=[*joint_laws(), *MORE])
    parser.add_argument("--simulations", type=int, default=300)
    parser.add_argument("--folder", type=Path, default=Path("sbc"))
    parser.add_argument("--table", type=Path)
    parser.add_argument("--posterior", type=Path, help="runs whose posterior the parameters are drawn from")
    given = parser.parse_args()
    rows = []
    for name in given.laws:
        options = {"simulations": given.simulations, "folder": given.folder, "posterior": given.posterior}
        result = bayescale.calibrate(name, **options)
        table = bayescale.calibration_table(result)
        rows.append(table.assign(law=name))
        print(line(result, table), flush=True)
        for warning in bayescale.calibration_warnings(result):
            print(f"    {warning}", flush=True)
    whole = pd.concat(rows)
    print(f"{len(whole)} tests, smallest p {whole.p.min():.2g}; outside their law's band: {(~whole.inside).sum()}")
    if given.table:
        whole.insert(0, "law", whole.pop("law"))
        write_table(whole.round(4), given.table)


if __name__ == "__main__":
    main()
