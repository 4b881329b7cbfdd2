"""Tables that lie on their side, or have a column for each size or seed -> a row for each run."""

import math
import re
from typing import Any

import pandas as pd

from bayescale.field import as_float, clipped, listed, number_in
from bayescale.runs.headings import COUNTED, unit_in
from bayescale.runs.losses import of_training
from bayescale.runs.spellings import COMPARED_MAX, LETTERS, NAMES, SPELLINGS, is_name, plainly

COLUMNS_MIN = 3  # of runs or sizes
SIZE_MIN = 1e5  # of parameters or tokens in a heading
LOSS_MAX = 20.0  # of what stands below such headings
REPEATED = f"(?:{'|'.join((*SPELLINGS['seed'], 'random[_ ]seed', 'rep', 'run'))})"
OF_SEED = re.compile(  # loss_seed0, val_loss (seed 1), run2/loss
    rf"(?P<bare>.+?)[\W_]+{REPEATED}[\W_]*(?P<seed>[0-9]{{1,9}})\W?|{REPEATED}[\W_]*(?P<first>[0-9]{{1,9}})[\W_]+(?P<rest>.+)",
    re.IGNORECASE,
)


def turned(frame: pd.DataFrame, _: str) -> tuple[pd.DataFrame, str]:
    """The table with a row for each run, and a sentence on what was done; other tables as they are."""
    if len(frame.columns) <= COLUMNS_MIN or any(_role(name) and len(str(name)) > 1 for name in frame.columns[1:]):
        return frame, ""
    first, cells = _role(frame.columns[0]), frame.iloc[:, 0].tolist()
    if first in ("params", "tokens"):
        return _of_sizes(frame, first)
    if first or len(cells) > len(frame.columns) or len({*map(str, cells)}) < len(cells):
        return frame, ""
    if "loss" not in (roles := {_role(cell) for cell in cells} - {""}) or len(roles) == 1:
        return frame, ""
    columns = {str(name): frame.iloc[row, 1:].tolist() for row, name in enumerate(cells)}
    called = "name" if "name" not in columns else "column"
    table = pd.DataFrame({called: list(frame.columns[1:]), **columns}, dtype=object)
    return table, "rows and columns are exchanged: runs stood side by side"


def of_seeds(frame: pd.DataFrame, _: str) -> tuple[pd.DataFrame, str]:
    """A table with a column of losses for each seed."""
    names = [name for name in frame.columns if len(str(name)) <= COMPARED_MAX]
    said = {name: found for name in names if (found := OF_SEED.fullmatch(str(name)))}
    seeds = {name: found["seed"] or found["first"] for name, found in said.items()}
    losses = {name: bare for name, found in said.items() if is_name("loss", bare := found["bare"] or found["rest"])}
    bare, told = next(iter(losses.values()), ""), listed([clipped(name, 40) for name in losses])
    if len(losses) < 2 or len({*losses.values()}) > 1 or "seed" in frame.columns:
        return frame, ""
    besides = [name for name in names if name not in losses and is_name("loss", name)]
    if whole := [name for name in besides if name == bare or not of_training(name)]:
        one = clipped(whole[0], 40)
        return frame, f"{told} stand beside {one}, which is read; without that column each of them is a run"
    table = frame.melt([name for name in frame.columns if name not in losses], [*losses], "seed", bare).astype(object)
    table["seed"] = [seeds[name] for name in table["seed"]]
    table = table[(table[bare] != "") & table[bare].notna()].reset_index(drop=True)
    return table, f"{told} are losses of one run with other seeds: each is read as a run, {len(table)} rows"


def _of_sizes(frame: pd.DataFrame, role: str) -> tuple[pd.DataFrame, str]:
    """A table of losses by one size in the rows and the other in the headings."""
    other = "tokens" if role == "params" else "params"
    said = {name: COUNTED.search(str(name)) for name in frame.columns[1:]}  # 1B tokens
    if any(word and not is_name(other, word[1]) for word in said.values()):
        return frame, ""
    frame = frame.rename(columns={name: str(name)[: word.start()] for name, word in said.items() if word})
    sizes = [number_in(str(name)) for name in frame.columns[1:]]
    cells = frame.iloc[:, 1:]
    blank = ((cells == "") | cells.isna()).to_numpy()
    values = cells.map(_loss).to_numpy(dtype=float)
    losses = values[~blank]
    if not all(size is not None and size >= SIZE_MIN for size in sizes) or not losses.size:
        return frame, ""
    if not ((losses > 0) & (losses < LOSS_MAX)).all():  # nor where a cell is no number
        return frame, ""
    table = frame.melt(frame.columns[0], var_name=other, value_name="loss").astype(object)
    table = table[~blank.ravel(order="F")].reset_index(drop=True)
    return table, f"headings are read as {other}, what stands below them as losses: {len(table)} rows"


def _loss(cell: Any) -> float:
    try:
        return as_float(cell)
    except (TypeError, ValueError):
        return math.nan


def _role(name: Any) -> str:
    """The role that a heading has by its full name, or by its letter, or ""."""
    for role in NAMES:
        bare = unit_in(role, name)[0]
        if is_name(role, bare) or plainly(bare) == LETTERS[role]:
            return role
    return ""
