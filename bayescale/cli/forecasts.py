"""The command forecast."""

from typing import TYPE_CHECKING, Any

from bayescale.cli import arguments as arg
from bayescale.display.terminal import print_answer

if TYPE_CHECKING:
    import xarray as xr


def forecast(
    fit: arg.FitFile,
    params: arg.PlannedParams = None,
    tokens: arg.PlannedTokens = None,
    compute: arg.PlannedCompute = None,
    at: arg.PlannedAt = None,
    through: arg.Through = None,
    target: arg.Target = None,
    output: arg.TableFile = None,
    seed: arg.Seed = 0,
    as_json: arg.Json = False,
    quiet: arg.Quiet = False,
) -> None:
    """Credible bands for the loss of runs not yet made."""
    from bayescale.fitting.store import open_fit
    from bayescale.forecasts.chain import chained
    from bayescale.forecasts.forecast import forecast as forecast_runs  # 'forecast' is this command
    from bayescale.forecasts.forecast import read

    arg.check_output(output, "forecast.csv", fit)
    goal = arg.target(target)
    given = {
        "params": arg.numbers("--params", params),
        "tokens": arg.numbers("--tokens", tokens),
        "compute": arg.numbers("--compute", compute),
    }
    given = {name: values for name, values in given.items() if values} | arg.named_numbers("--at", at)
    links = arg.fits_given(through)

    def forecast_of(one: "xr.DataTree", inputs: dict[str, Any]) -> "xr.DataTree":
        return forecast_runs(one, covariates=inputs, seed=seed)

    opened = open_fit(fit)
    tree = chained(opened, links, given, forecast_of) if links else forecast_of(opened, given)
    print_answer(read(tree, target=goal), as_json, quiet, output)
