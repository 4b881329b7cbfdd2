"""How far a share that follows from a loss goes wrong for better models than any that was seen.

At equal loss, models that are larger or trained for longer do not get the same accuracy. In three sources (56 tasks of
DataComp-LM over corpora, retrieval and classification by image-text models, 8 tasks over checkpoints of Pythia) all
runs a decade of compute beyond those of a fit were off together, either way, by one to four times the scale of the
scatter between the runs of the fit. Their common error, in log odds, is Student-t in units of that scatter.
"""

from collections.abc import Sequence

import numpy as np
import xarray as xr
from scipy.special import expit

from bayescale.forecasts.chain import Link
from bayescale.forecasts.curve import squared_width
from bayescale.laws.law import SHARES, Law, size_column
from bayescale.laws.scatter import transformed
from bayescale.study import Study

SCATTERS, ERROR_DF = 3.0, 4  # scale of the common error in units of the runs' scatter, and its degrees of freedom
# decades beyond the runs over which it comes in, by what they are of: a loss falls by .015 decades in .2 of compute
SETTLED_DECADES = {"loss": 0.015}
SETTLED_DECADES_OTHER = 0.2
ITEMS_MANY = 1e9  # the scatter between runs is what is left of that of a share of so many items
# of the scatter in log odds: where that of counts seems larger, by its sd, their beta has no middle (alpha < 1)
SCATTER_LOG_ODDS_MAX = 1.0


def has_link_error(law: Law) -> bool:
    """Whether the law is one of a share by a loss, of which it has been learnt how far they go wrong."""
    return law.observed.scale in SHARES and size_column(law) == "loss"


def erring_share(study: Study, points: xr.Dataset, links: Sequence[Link], certain: np.ndarray, seed: int) -> np.ndarray:
    """What the law says of a share [draw, point] with an error that all points beyond the runs have in common."""
    if not has_link_error(study.law):
        return certain
    settled = _settled(points, links)
    covariates = study.covariates(points)
    if study.scatter.counts:
        covariates |= {"count": np.full(points.sizes["point"], ITEMS_MANY)}
    spread = study.scatter.spread_at(certain, covariates, study.draws)
    if study.scatter.counts:  # of the share itself
        spread = spread / np.maximum(certain * (1 - certain), 1e-9)
    spread = np.minimum(spread, SCATTER_LOG_ODDS_MAX)
    common = SCATTERS * np.random.default_rng([seed, 211]).standard_t(ERROR_DF, len(certain))[:, None]
    return np.where(settled > 0, expit(transformed(certain, "share") + settled * spread * common), certain)


def shares_without_curve(certain: np.ndarray, erring: np.ndarray, shown: np.ndarray) -> dict[str, np.ndarray]:
    """Where the variance of draws [draw, point] comes from, without a drift's curve, as shares that sum to 1 [point].

    Parameters (``certain``), the error of the law besides (``erring``), and the noise besides these (``shown``).
    """
    by_law, with_error, whole = (squared_width(draws) for draws in (certain, erring, shown))
    with np.errstate(all="ignore"):
        first, second = (np.clip(np.where(whole > 0, part / whole, 1.0), 0.0, 1.0) for part in (by_law, with_error))
    second = np.maximum(first, second)
    return {"params": first, "drift": second - first, "noise": 1 - second}


def _settled(points: xr.Dataset, links: Sequence[Link]) -> np.ndarray:
    """How much of the error there is [point]: none among the runs, all of it a little beyond those of any link."""
    beyond = [points["decades_beyond"].values / SETTLED_DECADES["loss"]]
    for link in links:
        decades = link.tree["predictions_constant_data"].dataset["decades_beyond"].values
        beyond.append(decades / SETTLED_DECADES.get(link.tree.attrs["size"], SETTLED_DECADES_OTHER))
    return np.clip(np.nan_to_num(np.max(beyond, axis=0)), 0.0, 1.0)
