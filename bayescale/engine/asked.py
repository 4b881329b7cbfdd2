"""What a fit or a model is asked: runs, a law, its priors and groups, as one study."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from bayescale.errors import FitError
from bayescale.field import row_text, shown
from bayescale.laws.groups import GROUP, VARYING_GROUPS_MAX
from bayescale.laws.law import DEFAULT_LAW, Law, load_law
from bayescale.laws.own_priors import with_groups, with_priors
from bayescale.runs.datasets import runs_given
from bayescale.runs.one_size import as_counted
from bayescale.runs.read import read_runs
from bayescale.study import Study


def study_of(runs: Any, law: Any, noise: Any, priors: Any, group: Any, by: Any, columns: Any, units: Any) -> Study:
    """The study of runs, law, noise, priors and groups as :func:`bayescale.fit` takes them.

    Raises RunsError, LawError or FitError where one of them cannot be used.
    """
    runs = runs_given(runs)
    law = as_counted(load_law(DEFAULT_LAW if law is None else law), runs, columns)
    if group is None and by is None:
        return Study.of(runs, with_priors(law, priors), noise, columns=columns, units=units)
    read, varying, roles = grouped(read_runs(runs, law, columns=columns, units=units), law, group, by)
    return Study.of(read, with_priors(varying, priors), noise, columns=roles)


def grouped(
    runs: xr.Dataset, law: Any, group: str | None, by: Sequence[str] | None
) -> tuple[xr.Dataset, Law, dict[str, str]]:
    """Runs that were read, the law whose parameters vary over the values of a column of theirs, and that column's role.

    Raises FitError or LawError if there is no such column, or its values name no groups.
    """
    if group is None:
        raise FitError("by (--by) says what varies over groups; say which column names them: group (--group)")
    if not isinstance(group, str) or group not in runs:
        raise FitError(f"no column {shown(group)} for groups; the columns are {', '.join(map(str, runs.data_vars))}")
    column = runs[group].values
    if column.dtype.kind in "OUT" and (empty := np.flatnonzero([not str(value).strip() for value in column])).size:
        where = row_text(runs.attrs["rows"], runs["run"].values[empty[0]])
        raise FitError(f"the column '{group}' names no group for {where}; name it, or leave the row out (--where)")
    values = np.unique(column)
    if values.dtype.kind == "f":
        if not (values == np.round(values)).all() or (values < 0).any():
            raise FitError(f"the column '{group}' has numbers that are not whole: groups are texts or whole numbers")
        values = values.astype(np.int64)
    if len(values) > VARYING_GROUPS_MAX:
        raise FitError(
            f"the column '{group}' has {len(values)} values; at most {VARYING_GROUPS_MAX} groups can vary together: "
            "give those of few runs one name, or leave rows out (--where)"
        )
    return runs, with_groups(law, [str(value) for value in values], by), {GROUP: group}
