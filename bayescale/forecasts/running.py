"""The final loss of a job that is still running, from its curve and its learning-rate schedule."""

from typing import Any

import xarray as xr

from bayescale.fitting.fit import fit
from bayescale.forecasts.forecast import forecast
from bayescale.runs.schedule import ANNEALING_MEMORY, of_schedule, on_schedule


def final_loss(
    curve: Any,
    rates: Any,
    *,
    law: str = "annealing",
    step: str = "step",
    memory: float = ANNEALING_MEMORY,
    seed: int = 0,
    **options: Any,
) -> xr.DataTree:
    """Forecast the loss at the end of a schedule from the losses so far.

    L = L0 + A S1**-alpha - C S2, the law ``annealing``, or L0 + A S1**-alpha - B cooling, the law ``multi_power``, is
    fitted to the curve after its warm-up, and forecast at the end of the whole schedule. Where no rate has fallen yet,
    C (or B) is its prior.

    Parameters
    ----------
    curve : a table with columns of steps and losses, up to now
    rates : the learning rate of every step of the whole schedule [step]: :func:`learning_rates`, or the user's own
    law, step, memory, options : as in :func:`bayescale.on_schedule`
    seed : of fit and forecast

    Returns
    -------
    DataTree like that of :func:`bayescale.forecast`, of one point, the last step.

    Raises
    ------
    RunsError, FitError
        If the curve or the schedule cannot be used, or the chains did not converge.

    Examples
    --------
    >>> rates = bayescale.learning_rates("cosine", 4000, peak=3e-4, warmup=100)
    >>> steps = np.arange(200, 2001, 100)
    >>> curve = {"step": steps, "loss": 2.5 + 3 * (steps / 100) ** -0.6}
    >>> bayescale.final_loss(curve, rates)["predictions"].sizes["point"]
    1
    """
    runs = on_schedule(curve, rates, law=law, step=step, memory=memory, **options)
    end = of_schedule(law, rates, [len(rates)], memory)
    fitted = fit(runs, law, seed=seed)
    return forecast(fitted, covariates={name: value[0] for name, value in end.items()}, seed=seed)
