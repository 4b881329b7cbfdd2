"""Remarks on what runs of the same sizes differ in: settings such as the learning rate, and groups."""

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from bayescale.field import listed, number_text, symbol
from bayescale.laws.law import SHARES
from bayescale.runs.best_setting import SETTING_VALUES_MAX
from bayescale.runs.remark import Note, note
from bayescale.runs.smooth import Seen, Surface, design_of, texts_in
from bayescale.runs.spellings import NO_SETTINGS, is_called

SETTINGS_SPREAD_LOG_MIN = 0.01  # within one (N, D): repeats of one setting differ by less
SHARED_ROWS_MIN, SHARED_SIZES_SHARE = 3, 0.5  # runs with the sizes of another run
EDGE_CELLS_MIN, EDGE_VALUES_MIN = 4, 3  # cells, and values in each, of which the lowest loss may be at the edge
GROUPS_MAX = 200
GROUP_RUNS_MIN = 3  # of a group whose offset can be estimated
CONTRAST_LEFT_MIN = 0.02  # share of a contrast of groups that the sizes do not tell, where its offset can be estimated
GROUPS_FALSE_ALARM_SHARE = 1e-4  # of tables without groups
SCATTER_LEFT_MAX = 0.8  # share of the scatter that offsets worth a remark leave
GROUP_OFFSET_MIN = 0.01  # of the loss, or in the unit of what is observed: smaller offsets do not matter


def settings(seen: Seen, told: Sequence[str]) -> Iterator[Note]:
    """Many runs of one (N, D) that differ in a setting such as the learning rate.

    ``told`` are columns on which :func:`groups` has remarked.
    """
    if not seen.observed or seen.scale == "linear" or not (seen.sizes or seen.others):
        return
    sizes = {**seen.sizes, **seen.others}
    cells = pd.DataFrame(sizes).groupby(list(sizes)).ngroup().values  # runs of the same sizes
    table = pd.DataFrame({"cell": cells, "target": seen.target})
    by_cell = table.groupby("cell")["target"]
    many = by_cell.transform("size").values > 1
    if many.sum() < max(SHARED_ROWS_MIN, SHARED_SIZES_SHARE * seen.number):
        return
    spread = by_cell.agg(np.ptp)[by_cell.size() > 1]
    if not np.median(spread) > SETTINGS_SPREAD_LOG_MIN:
        return
    differ = _what_differs(seen, cells, many, told)
    if not differ:
        return
    edge = _lowest_at_edge(seen, cells, list(differ)) if seen.observed == "loss" else ""
    names = [symbol(name) for name in sizes]
    cell = f"({', '.join(names)})" if len(names) > 1 else names[0]
    by = f"{100 * np.expm1(np.median(spread)):.0f} %" if seen.scale == "log" else number_text(float(np.median(spread)))
    keep = f"which of them is meant? Keep the best of each (--best-of {','.join(sizes)}), or one setting throughout"
    text = (
        f"{int(many.sum())} of {seen.number} runs share their {cell} with others and differ in "
        f"{listed([f'{name} ({count} values)' for name, count in list(differ.items())[:4]])}; the {seen.observed} "
        f"within one {cell} differs by {by} (median): {edge or keep}"
    )
    best = {"best_of": tuple(sizes)} if seen.observed == "loss" and not edge else {}
    yield note(seen, "many_settings", "warning", text, np.flatnonzero(many), **best)


def _lowest_at_edge(seen: Seen, cell: np.ndarray, differ: Sequence[str]) -> str:
    """A remark on a setting at whose largest, or smallest, value the loss of every cell is lowest, else nothing.

    It may be a size that the law lacks; and the best of a few sizes is no setting that a run would choose.
    """
    for name in differ:
        if (values := seen.runs[name].values).dtype.kind != "f":
            continue
        table = pd.DataFrame({"cell": cell, "value": values, "target": seen.target}).dropna()
        table = table[table.groupby("cell")["value"].transform("nunique") >= EDGE_VALUES_MIN]
        by_cell = table.groupby("cell")
        at_lowest = table.loc[by_cell["target"].idxmin()].set_index("cell")["value"]
        for side, ends in (("largest", by_cell["value"].max()), ("smallest", by_cell["value"].min())):
            if len(ends) >= EDGE_CELLS_MIN and (at_lowest == ends).all():
                return (
                    f"it is lowest at the {side} {name} throughout. If {name} is a size, take a law that has it "
                    f"(bayescale laws); if it is a setting, the best lies beyond those that were tried"
                )
    return ""


def _what_differs(seen: Seen, cell: np.ndarray, many: np.ndarray, told: Sequence[str]) -> dict[str, int]:
    """Columns of settings, and how many values each has: few, several within a cell; no seeds nor labels of runs."""
    found = {}
    seeds = [name for name in seen.runs.data_vars if is_called(name, "seed")][:1]
    if apart := [*seeds, *told]:  # what changes with the seed is chance, and what with a group has been told
        table = pd.DataFrame({name: seen.runs[name].values for name in apart})
        cell = table.groupby([cell, *apart], dropna=False).ngroup().values
    used = {*told, *seen.sizes, *seen.others, seen.observed, "params", "tokens", "compute", "loss"}
    for name, one in seen.runs.data_vars.items():
        if str(name) in used or is_called(name, *NO_SETTINGS):
            continue
        codes, values = pd.factorize(one.values)
        if 1 < len(values) <= min(SETTING_VALUES_MAX, max(2, seen.number // 3)):
            several = pd.Series(codes[many]).groupby(cell[many]).nunique()
            if (several > 1).mean() > 0.5:
                found[str(name)] = len(values)
    return found


def groups(seen: Seen, surface: Surface) -> Iterator[tuple[str, Note]]:
    """Columns of text, and a remark, by which two or more groups of runs do not share a curve: residuals cluster.

    An F test of offsets of the groups, beside the polynomial in the sizes, on residuals cut at 3 robust sd. The columns
    that are tested share the level GROUPS_FALSE_ALARM_SHARE. Groups that the sizes tell, or that are sizes by another
    name, cannot be told from a bend of the curve: they are not tested.
    """
    if surface.degree < 2 or not seen.observed:
        return
    found = [pair for name, values in texts_in(seen).items() if (pair := _grouping(seen, name, values)) is not None]
    for name, codes, labels in found:
        told = _apart(seen, surface, codes, GROUPS_FALSE_ALARM_SHARE / len(found))
        if told is None:
            continue
        offsets, left = told
        yield (
            name,
            note(
                seen,
                "groups_differ",
                "warning",
                f"runs do not share one curve: by the column {name}, {_lies(seen, offsets, labels)}, and the scatter "
                f"of all is {100 * left:.0f} % of what it was once each group has its own offset: let the law vary "
                f"over them (--group {name}), or fit them apart",
            ),
        )


def _lies(seen: Seen, offsets: np.ndarray, labels: Sequence[str]) -> str:
    """How far apart the lowest and the highest group lie, in words."""
    if np.isnan(offsets).any():
        return "groups lie apart, how far cannot be told as their sizes differ too"
    low, high = int(np.argmin(offsets)), int(np.argmax(offsets))
    apart = offsets[high] - offsets[low]
    by = f"{100 * np.expm1(apart):.1f} %" if seen.scale == "log" else number_text(apart)
    unit = " (log odds)" if seen.scale in SHARES else ""
    return f"'{labels[high][:40]}' lies {by}{unit} above '{labels[low][:40]}' at the same sizes"


def _grouping(seen: Seen, name: str, values: np.ndarray) -> tuple[str, np.ndarray, list[str]] | None:
    """A text column as groups [run], from 0, and their labels; None where it is none, or a size by another name."""
    if is_called(name, "state"):
        return None
    codes, labels = pd.factorize(values)
    if len(labels) > GROUPS_MAX or pd.to_numeric(pd.Series(labels), errors="coerce").notna().mean() > 0.5:
        return None  # a label a run, or numbers with gaps
    counts = np.bincount(codes)
    if not 2 <= len(labels) <= min(GROUPS_MAX, seen.number // 3) or (counts >= GROUP_RUNS_MIN).sum() < 2:
        return None
    for size in seen.sizes.values():
        several = pd.Series(size).groupby(codes).nunique()
        if (several[counts >= GROUP_RUNS_MIN] == 1).mean() > 0.5:
            return None
    return name, codes, [str(label) for label in labels]


def _apart(seen: Seen, surface: Surface, codes: np.ndarray, level: float) -> tuple[np.ndarray, float] | None:
    """Offsets of groups [group] and the share of the scatter that they leave, where both are worth a word."""
    p, left, offsets = offsets_of(seen, surface, codes)
    return None if p > level or left > SCATTER_LEFT_MAX or np.ptp(offsets) < GROUP_OFFSET_MIN else (offsets, left)


def offsets_of(seen: Seen, surface: Surface, codes: np.ndarray) -> tuple[float, float, np.ndarray]:
    """p of the F test of offsets of groups, the share of the scatter that they leave, and the offsets [group].

    The offsets are NaN where the sizes leave one of them open.
    """
    from scipy.special import fdtrc

    nothing = 1.0, 1.0, np.zeros(codes.max() + 1)
    shape = design_of(seen.sizes, seen.others, surface.middle, surface.degree)
    cut = np.clip(surface.residual, -3 * surface.sd, 3 * surface.sd)
    kept = np.flatnonzero(np.bincount(codes) >= GROUP_RUNS_MIN)
    some = np.isin(codes, kept)
    dummies = (codes[some, None] == kept[None, :]).astype(float)
    shape, target = shape[some], (seen.target - surface.residual + cut)[some]
    both = np.concatenate([shape[:, 1:], dummies], axis=1)
    if len(target) < 2 * both.shape[1] or _told_by_sizes(shape, dummies):
        return nothing
    (off_one, rank_one, _), (off_many, rank_many, solved) = (_least_squares(x, target) for x in (shape, both))
    one, many = float(off_one @ off_one), float(off_many @ off_many)
    free = len(target) - rank_many
    if rank_many <= rank_one or free < 1 or not many > 0:
        return nothing
    f = max(0.0, one - many) / (rank_many - rank_one) / (many / free)
    left = float(np.sqrt((many / free) / (one / (len(target) - rank_one))))
    offsets = np.full(codes.max() + 1, np.median(solved[-dummies.shape[1] :]))
    offsets[kept] = solved[-dummies.shape[1] :]
    if _contrast_left(shape, dummies) < CONTRAST_LEFT_MIN:
        offsets[:] = np.nan
    return float(fdtrc(rank_many - rank_one, free, f)), left, offsets


def _least_squares(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, int, np.ndarray]:
    solved, _, rank, _ = np.linalg.lstsq(x, y, rcond=None)
    return y - x @ solved, int(rank), solved


def _told_by_sizes(shape: np.ndarray, dummies: np.ndarray) -> bool:
    """Whether the sizes nearly determine the group of a run: a bend of the curve then looks like an offset."""
    left = sum(float(off @ off) for off in (_least_squares(shape, one)[0] for one in dummies.T))
    return left < 0.2 * float(((dummies - dummies.mean(axis=0)) ** 2).sum())


def _contrast_left(shape: np.ndarray, dummies: np.ndarray) -> float:
    """The share of a contrast of groups that the sizes do not tell, for the contrast of which they tell most.

    Two groups may differ by what is a bend in the sizes, although neither group alone is told by them.
    """
    contrasts = np.linalg.svd(dummies - dummies.mean(axis=0), full_matrices=False)[0][:, : dummies.shape[1] - 1]
    off = _least_squares(shape, contrasts)[0]
    return float(np.linalg.svd(off, compute_uv=False).min(initial=1.0)) ** 2
