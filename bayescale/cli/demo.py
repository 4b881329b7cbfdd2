"""The command demo: the whole workflow on the embedded runs, compared with measured losses."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

import bayescale
from bayescale.cli import options as opt
from bayescale.display.table import table_of
from bayescale.display.terminal import print_json, print_table, print_warnings, say
from bayescale.jobs.files import make_folder, write_table
from bayescale.reading import Column

FITTED_BELOW_FLOP = 1e22  # smaller runs are fitted, larger ones forecast
SPLIT_BUDGET_FLOP = 1e23  # its split is shown


def demo(
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the results.")] = Path("demo"),
    seed: opt.Seed = 0,
    said: opt.Said,
) -> None:
    """The whole job on the embedded runs: fit those below 1e22 FLOP, forecast the larger, compare with measured."""
    from bayescale.display.figures import save_figure
    from bayescale.fitting.diagnostics import fit_summary

    make_folder(output)
    runs = bayescale.load_dataset("pile")
    fitted = runs["compute"].values < FITTED_BELOW_FLOP
    small, large = runs.isel(run=fitted), runs.isel(run=~fitted)
    count, measured = small.sizes["run"], large["loss"].values
    with said.working(f"compiling, then sampling the law on {count} runs below {FITTED_BELOW_FLOP:.0e} FLOP"):
        fit = bayescale.fit(small, seed=seed)
    with said.working("forecasting the larger runs, splitting a budget"):
        predicted = bayescale.forecast(fit, large["params"].values, large["tokens"].values, seed=seed)
        forecasts = bayescale.read(predicted)
        summary = {"fit": fit_summary(fit), "forecast": forecasts.to_dict(), "measured": measured.tolist()}
        table = forecasts.frame
        table.insert(0, "model", large["model"].values)
        table["measured"] = measured
        table["in_band"] = (table.loss_q05 <= table.measured) & (table.measured <= table.loss_q95)
        beside = (Column("measured", "measured", how="decimals"), Column("in_band", "in band", how="yes"))
        forecasts = replace(forecasts, columns=(Column("model", "model"), *forecasts.columns, *beside))
        split = bayescale.read(bayescale.allocate(fit, SPLIT_BUDGET_FLOP, seed=seed))
    with said.working("backtest: forecasting the fitted runs' own larger half"):
        tested = bayescale.backtest(small, seed=seed, horizon=1.0)
        scores = bayescale.read(tested)
    with said.working("drawing, and writing the report"):
        farthest = large.isel(run=int(large["compute"].values.argmax()))
        N, D = (float(farthest[name]) for name in ("params", "tokens"))
        page = bayescale.report(fit, compute=SPLIT_BUDGET_FLOP, params=N, tokens=D, tested=tested, seed=seed)
        files = [
            bayescale.save_fit(fit, output / "fit.nc"),
            write_table(table, output / "forecasts.csv"),
            write_table(split.frame, output / "allocation.csv"),
            write_table(scores.frame, output / "backtest.csv"),
            save_figure(bayescale.plot_forecast(fit, predicted, measured), output / "forecast.png"),
            save_figure(bayescale.plot_calibration(tested), output / "backtest.png"),
            bayescale.save_report(page, output / "report.html"),
        ]
    held_law = int(((table.law_loss_q05 <= table.measured) & (table.measured <= table.law_loss_q95)).sum())
    verdict = (
        f"The 90 % band held {int(table.in_band.sum())} of {len(table)} larger runs, the law alone {held_law}; "
        "the runs of one study share one error, so this is one look and not many. (The numbers of the discrepancy come "
        "from studies of 17 sources, this one among them; docs/calibration.md has the scores with each left out.)"
    )
    if said.as_json:
        summary |= {"allocation": split.to_dict(), "backtest": scores.to_dict()["backtest"]}
        print_json(summary | {"verdict": verdict, "files": [str(path) for path in files]})
    elif not said.quiet:
        say(f"Fitted {count} runs below 1e22 FLOP with the law '{fit.attrs['law']}'.")
        print_table(table_of(forecasts))
        say(verdict)
        print_table(table_of(scores))
        say("\n".join(scores.says))
        print_table(table_of(split))
        print_warnings(list(dict.fromkeys([*forecasts.warnings, *split.warnings])))
        say("Written: " + ", ".join(str(path) for path in files))
