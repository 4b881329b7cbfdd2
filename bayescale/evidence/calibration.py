"""What a simulation-based calibration says: a table of its quantities, sentences, warnings."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from bayescale.evidence.ranks import uniformity
from bayescale.field import BAND_LEVELS, number_text
from bayescale.fitting.doors import opened_result, proportion
from bayescale.reading import Column, Reading, unless

FEW_SIMULATIONS = 100  # with fewer a pass says little
RANKS_FALSE_ALARM_SHARE = 0.01  # over all quantities of a law together
UNFITTED_SHARE_MAX = 0.05  # of simulations; with more of them the test is of the others alone


def read(result: xr.Dataset, *, level: float = RANKS_FALSE_ALARM_SHARE) -> Reading:
    """What a calibration says, a row a quantity.

    Columns: ``quantity``, ``kind``, ``simulations`` that count (fits that converged), ``p`` of the simultaneous band of
    its ranks, ``inside`` (whether they stay within the band at ``level``, split over all quantities: p above
    level / quantities), ``cover50``, ``cover80``, ``cover90`` (shares of truths inside the posterior's bands) with
    ``cover90_se``, their binomial error if the band is right, and ``p_all``: p with fits that did not converge among
    them.

    Parameters
    ----------
    result : what :func:`bayescale.calibrate` returns
    level : how often any quantity of a right machine may leave its band
    """
    result = opened_result(result, "calibrate")
    level = proportion("level", level)
    frame = _by_quantity(result, level)
    says = _statement(result.attrs, frame, level)
    columns = (
        Column("quantity", "quantity"),
        Column("kind", "kind"),
        Column("simulations", "simulations", "", "count"),
        Column("p", "p of ranks", "", "number", 2),
        Column("inside", "in band", "", "yes", instead=unless(frame["inside"], "NO")),
        *(Column(f"cover{share}", f"{share} %", "", "share", 1) for share in (50, 80, 90)),
    )
    status, counts = np.unique(result["status"].values.astype(str), return_counts=True)
    about = {name: value for name, value in result.attrs.items() if name not in ("kind", "truths")}
    about |= {"kind": result.attrs["truths"], "level": level, "statement": says}
    return Reading(
        "Ranks of the truth among posterior draws, and how often the posterior's bands held it",
        frame,
        columns,
        says=(says,),
        warnings=tuple(_warnings(result, frame)),
        about=about | {"status": dict(zip(status.tolist(), counts.tolist(), strict=True))},
    )


def _by_quantity(result: xr.Dataset, level: float) -> pd.DataFrame:
    fitted = result["status"].values == "fitted"
    tests, rows = result.sizes["quantity"], []
    for name in map(str, result["quantity"].values):
        one = result.sel(quantity=name)
        rank, pit = one["rank"].values, one["pit"].values
        seen = np.isfinite(rank)
        used = seen & fitted
        p, p_all = (uniformity(rank[some].astype(int), result.attrs["most"]) for some in (used, seen))
        row = {"quantity": name, "kind": str(one["kind"].values), "simulations": int(used.sum()), "p": p}
        row["inside"] = bool(p > level / tests)
        for share in BAND_LEVELS:
            held = np.abs(2 * pit[used] - 1) <= share
            row[f"cover{round(100 * share)}"] = float(held.mean()) if used.any() else float("nan")
        row["cover90_se"] = float(np.sqrt(0.9 * 0.1 / max(used.sum(), 1)))
        rows.append(row | {"p_all": p_all})
    return pd.DataFrame(rows)


def _statement(attrs: Mapping[str, Any], table: pd.DataFrame, level: float) -> str:
    """What a calibration says, in two or three sentences."""
    used = table[table.simulations > 0]
    if used.empty:
        return f"Law '{attrs['law']}': no fit of a simulation converged, so that nothing can be said."
    inside, worst = int(used.inside.sum()), used.loc[used.p.idxmin()]
    where = "the law's priors" if attrs["truths"] == "prior" else f"the posterior of {attrs['source']}"
    said = (
        f"Law '{attrs['law']}', parameters from {where}, {attrs['runs']} runs a simulation: the ranks of {inside} of "
        f"{len(used)} quantities stay within the simultaneous {100 * (1 - level):g} % band (smallest p "
        f"{number_text(worst.p, 2)}, "
        f"of '{worst.quantity}'; below {number_text(level / len(table), 2)} it would be outside, {level:g} being "
        "split over "
        f"{len(table)} tests). "
    )
    held = float(np.average(used.cover90, weights=used.simulations))
    low, high = used.cover90.min(), used.cover90.max()
    said += (
        f"The 90 % bands held {100 * held:.1f} % of the truths, {100 * low:.1f} to {100 * high:.1f} % by quantity "
        f"(binomial error {100 * used.cover90_se.max():.1f} %)."
    )
    return said


def _warnings(result: xr.Dataset, table: pd.DataFrame) -> list[str]:
    """What speaks against the machine, or against this test of it."""
    status = result["status"].values
    warnings = [
        f"the ranks of '{row.quantity}' leave the simultaneous band (p = {number_text(row.p, 2)}): its posterior or "
        "its draws are wrong"
        for row in table.itertuples()
        if row.simulations and not row.inside
    ]
    if 0 < (status == "fitted").sum() < FEW_SIMULATIONS:
        warnings.append(f"{(status == 'fitted').sum()} simulations find gross faults only; 300 are usual")
    total = len(status)
    for kind, meaning in (
        ("unconverged", "did not converge; they are left out, as fit() would have raised an error"),
        ("refused", "made runs that fit() refuses"),
        ("failed", "could not be fitted"),
    ):
        count = int((status == kind).sum())
        if count:
            first = str(result["why"].values[status == kind][0])
            warnings.append(f"{count} of {total} simulations {meaning} (the first: {first})")
    if (status != "fitted").mean() > UNFITTED_SHARE_MAX:
        warnings.append("too many simulations have no fit: the test describes only the others")
    short = [row.quantity for row in table.itertuples() if 0 < row.simulations < int((status == "fitted").sum())]
    if short:
        warnings.append(f"{', '.join(short)}: not finite in some simulations, which are left out there")
    return warnings
