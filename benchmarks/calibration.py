"""The forecaster that a scorer of scaling forecasts calls: bayescale's public API with its defaults.

``forecast_draws(train, test, seed)`` returns draws of the log loss that each run of ``test`` would show;
``curve_draws`` does so for runs of one size, in the column x.
"""

import numpy as np
import pandas as pd

import bayescale


def forecast_draws(train: pd.DataFrame, test: pd.DataFrame, seed: int) -> np.ndarray:
    """Draws [draw, run] of the log loss of the runs in ``test``, learnt from those in ``train``."""
    # a scorer wants a forecast of every split; a fit past the gate is marked inside it
    fit = bayescale.fit(train, seed=seed, allow_unconverged=True)
    forecast = bayescale.forecast(fit, test.params, test.tokens, seed=seed)
    return np.log(forecast["predictions"]["loss"].stack(sample=("chain", "draw")).transpose("sample", "point").values)


def curve_draws(train: pd.DataFrame, test: pd.DataFrame, seed: int) -> np.ndarray:
    """Draws [draw, run] of the log loss at the sizes x of ``test``, by the law that bayescale takes itself."""
    fit = bayescale.fit(train.rename(columns={"x": "tokens"}), seed=seed, allow_unconverged=True)
    forecast = bayescale.forecast(fit, tokens=test.x, seed=seed)
    return np.log(forecast["predictions"]["loss"].stack(sample=("chain", "draw")).transpose("sample", "point").values)
