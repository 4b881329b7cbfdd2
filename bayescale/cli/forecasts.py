"""The command forecast."""

from bayescale.cli import arguments as arg
from bayescale.display.terminal import print_answer


def forecast(
    fit: arg.FitFile,
    params: arg.PlannedParams = None,
    tokens: arg.PlannedTokens = None,
    compute: arg.PlannedCompute = None,
    at: arg.PlannedAt = None,
    target: arg.Target = None,
    output: arg.TableFile = None,
    seed: arg.Seed = 0,
    as_json: arg.Json = False,
    quiet: arg.Quiet = False,
) -> None:
    """Credible bands for the loss of runs not yet made."""
    from bayescale.fitting.store import open_fit
    from bayescale.forecasts.forecast import forecast as forecast_runs  # 'forecast' is this command
    from bayescale.forecasts.forecast import read

    arg.check_output(output, "forecast.csv", fit)
    goal = arg.target(target)
    tree = forecast_runs(
        open_fit(fit),
        arg.numbers("--params", params) or None,
        arg.numbers("--tokens", tokens) or None,
        compute=arg.numbers("--compute", compute) or None,
        covariates=arg.named_numbers("--at", at),
        seed=seed,
    )
    print_answer(read(tree, target=goal), as_json, quiet, output)
