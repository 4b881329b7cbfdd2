"""Sizes that a table does not have, guessed from what it has: layers and width, steps and batches, names, ratios."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from bayescale.field import SUFFIXES, clipped, listed
from bayescale.runs.cells import as_numbers, texts_of
from bayescale.runs.headings import factor_of, unit_in
from bayescale.runs.question import Question
from bayescale.runs.spellings import SPELLINGS, is_called, is_name, last_part, plainly
from bayescale.runs.tables.formats import Table

STEPS = ("step", "steps", "planned steps")
A_TOKEN = re.compile(r"[\s_-]*(?:per|/|a)[\s_-]*tok(?:en)?s?\b", re.IGNORECASE)
REPEATED_EPOCHS_MIN = 1.5  # passes over the data that are worth a note
STEP_TOKENS_MAX = 1e8  # where batch x length is more, the batch is counted in tokens: the largest batches have 6e7
BATCH_SEQUENCES_MAX = 16384  # batches of more sequences are rare; such numbers may be of tokens
NUMBER = r"(?P<number>[0-9]+(?:\.[0-9]+)?)"
START, END = r"(?<![A-Za-z0-9.])", r"(?![A-Za-z0-9])"
IN_NAMES = {
    "params": re.compile(rf"{START}[NnPp]?{NUMBER}(?P<suffix>[KkMmBb]){END}(?![-_ ]?tok)"),
    "tokens": re.compile(rf"{START}(?:[Dd]{NUMBER}(?P<suffix>[KMBTkmbt]){END})"),
    "tokens said": re.compile(rf"{START}{NUMBER}(?P<suffix>[KMBTkmbt])(?:[-_ ]?tok(?:en)?s?|[Tt]){END}"),
    "ratio": re.compile(rf"{START}{NUMBER}(?P<suffix>)[-_ ]?(?:tpp|TPP){END}"),
}


@dataclass(frozen=True)
class Guess:
    """The values of a size, NaN where there is none [run], what they were made of, and what is to be known of that."""

    values: np.ndarray
    made_of: str
    note: str
    names: Any = None  # the column of the names that say it


type Sizes = Mapping[str, np.ndarray]  # role -> what is known of it, as counts [run]


def guesses(table: Table, known: Sizes) -> dict[str, Guess]:
    """Guesses by role, so that with the sizes that are known there are two, and compute; fewer where nothing fits.

    Raises
    ------
    Question
        If two guesses fit.
    """
    found: dict[str, Guess] = {}
    for role, ways in WAYS.items():
        sizes = {**known, **{one: guess.values for one, guess in found.items()}}
        if role in sizes or (len(sizes) >= 2 and role != "compute"):
            continue
        for way in ways:
            guess = way(table.frame, sizes)
            if guess is not None and (np.isnan(guess.values) | (guess.values < np.inf)).all():
                found[role] = guess
                break
    return found


def _numbers(frame: pd.DataFrame, *kinds: str) -> tuple[Any, np.ndarray] | None:
    """The column of the likeliest spelling of these kinds, with its numbers, NaN where they are not above 0.

    Columns of W&B's own, such as ``_step``, which counts calls, come last.
    """
    spellings = [spelling for kind in kinds for spelling in SPELLINGS[kind]]
    found = []
    for name in frame.columns:
        bare, unit = unit_in("tokens", name)  # steps (K), batch (M tokens)
        for one, factor in ((name, 1.0), (bare, factor_of("tokens", unit) or 1.0)):
            if places := [spellings.index(plain) for plain in _plain_parts(one) if plain in spellings]:
                found.append((str(name).startswith("_"), min(places), name, factor))
                break
    for _, _, name, factor in sorted(found, key=lambda one: one[:2]):
        values = as_numbers(frame[name]) * factor
        values = np.where(values > 0, values, np.nan)
        if np.isfinite(values).any():
            return name, values
    return None


def _plain_parts(name: Any) -> tuple[str, str]:
    return plainly(name), plainly(last_part(name))


def steps_in(frame: pd.DataFrame) -> tuple[Any, np.ndarray] | None:
    """The column that counts steps, by its name, with its numbers, NaN where they are not above 0; None without one."""
    return _numbers(frame, "step", "steps")


def _by_layers(frame: pd.DataFrame, _: Sizes) -> Guess | None:
    layers, width = _numbers(frame, "layers"), _numbers(frame, "width")
    if layers is None or width is None:
        return None
    note = "params is a guess of 12 x layers x width^2, without embeddings (--column params=... if a column has it)"
    made_of = f"12 {clipped(layers[0])} {clipped(width[0])}^2"
    return Guess(12 * layers[1] * width[1] ** 2, made_of, note)


def _by_steps(frame: pd.DataFrame, _: Sizes) -> Guess | None:
    steps, whole = _numbers(frame, *STEPS), _numbers(frame, "tokens a step")
    if steps is None:
        return None
    if whole is not None:
        return _product([steps, whole])
    batch, length, device = (_numbers(frame, kind) for kind in ("batch", "length", "device batch"))
    times = [found for kind in ("accumulation", "devices") if (found := _numbers(frame, kind)) is not None]
    if batch is None and device is not None:
        return _product([steps, device, *times, length]) if len(times) == 2 else None
    if batch is None and (batch := _numbers(frame, "vague batch")) is not None and length is not None:
        if more := [clipped(name) for name, values in times if not np.nanmax(values) <= 1]:
            raise Question(
                f"{clipped(batch[0])} may be the batch of one device, as {listed(more)} is there, and tokens so many "
                "times more; add a column of tokens, or call it global_batch_size or per_device_batch_size"
            )
    if batch is not None and length is not None:
        if np.nanmedian(batch[1] * length[1]) > STEP_TOKENS_MAX:
            return _product([steps, batch])
        if np.nanmedian(batch[1]) > BATCH_SEQUENCES_MAX and "sequences" not in plainly(batch[0]):
            raise Question(
                f"{clipped(batch[0])} may count sequences or tokens: call it batch_size_sequences or "
                "batch_size_tokens, or add a column of tokens"
            )
    return _product([steps, batch, length])


def _by_epochs(frame: pd.DataFrame, _: Sizes) -> Guess | None:
    if (epochs := _numbers(frame, "epochs")) is None:
        return _product([_numbers(frame, "tokens of the data")])
    guess = _product([_numbers(frame, "unique tokens", "tokens of the data"), epochs])
    if guess is None or (most := np.nanmax(epochs[1])) <= REPEATED_EPOCHS_MIN:
        return guess
    return replace(guess, note=f"{guess.note}; {repeated_text(most)}")


def _by_ratio(frame: pd.DataFrame, sizes: Sizes) -> Guess | None:
    """Tokens as parameters times tokens per parameter, or parameters as tokens over them."""
    ratio = _numbers(frame, "tokens a parameter")
    if ratio is None or not {"params", "tokens"} & sizes.keys():
        return None
    name = clipped(ratio[0])
    if "params" in sizes:
        note = f"tokens is a guess of params x {name} (--column tokens=... if a column has it)"
        return Guess(sizes["params"] * ratio[1], f"params x {name}", note)
    note = f"params is a guess of tokens over {name} (--column params=... if a column has it)"
    return Guess(sizes["tokens"] / ratio[1], f"tokens / {name}", note)


def _by_flop_a_token(frame: pd.DataFrame, sizes: Sizes) -> Guess | None:
    found = next(((name, unit) for name in frame.columns if (unit := flop_a_token(name))), None)
    if found is None or "tokens" not in sizes:
        return None
    name, unit = found
    note = f"compute is a guess of {clipped(name)} x tokens (--column compute=... if a column has it)"
    return Guess(as_numbers(frame[name]) * unit * sizes["tokens"], f"{clipped(name)} x tokens", note)


def flop_a_token(name: Any) -> float | None:
    """FLOP in the unit of a column that has compute a token, by its name; None of other columns."""
    bare, times = A_TOKEN.subn("", str(name))
    bare, unit = unit_in("compute", bare)
    return (factor_of("compute", unit) if unit else 1.0) if times == 1 and is_name("compute", bare) else None


def repeated_text(most: float) -> str:
    """What is said of tokens that repeat up to so many times."""
    return (
        f"tokens repeat, up to {most:.3g} times: such tokens are worth less than new ones; the law data_constrained "
        "knows them (--law data_constrained)"
    )


def _product(parts: Sequence[tuple[Any, np.ndarray] | None]) -> Guess | None:
    """Tokens as the product of columns, if all are there."""
    there = [part for part in parts if part is not None]
    if len(there) < len(parts):
        return None
    made_of = " x ".join(clipped(name) for name, _ in there)
    values = np.prod([numbers for _, numbers in there], axis=0)
    return Guess(values, made_of, f"tokens is a guess of {made_of} (--column tokens=... if a column has it)")


def _tokens_in_names(frame: pd.DataFrame, _: Sizes) -> Guess | None:
    """Tokens at the end of a run by its name; on the way, as many as the share of its steps."""
    guess = _in_names(frame, "tokens said") or _in_names(frame, "tokens")
    ratio, params = _in_names(frame, "ratio"), _in_names(frame, "params")
    if guess is None and ratio is not None and params is not None:
        guess = Guess(ratio.values * params.values, f"tokens in {clipped(ratio.names)}", "", ratio.names)
    if guess is None:
        return None
    step, share, along = _numbers(frame, *STEPS), 1.0, ""
    if step is not None:
        last = (
            pd.Series(step[1]).groupby(np.array(texts_of(frame[guess.names]), dtype=object)).transform("max").to_numpy()
        )
        if not (step[1] >= last).all():  # a step of 0 is none
            share, along = step[1] / last, f", along {clipped(step[0])} up to the last of each run"
    note = (
        f"tokens is a guess, from the names in {clipped(guess.names)}{along} (--column tokens=... if a column has it)"
    )
    return Guess(guess.values * share, guess.made_of, note)


def _in_names(frame: pd.DataFrame, what: str) -> Guess | None:
    """What every name of a run says in the same way."""
    for name in frame.columns:
        if not is_called(name, "run", "model"):
            continue
        texts = texts_of(frame[name])
        values = {text: _said(text, what) for text in set(texts)}
        if texts and all(value is not None for value in values.values()):
            role = what.partition(" ")[0]
            note = f"{role} is a guess, from the names in {clipped(name)} (--column {role}=... if a column has it)"
            return Guess(np.array([values[text] for text in texts]), f"{role} in {clipped(name)}", note, name)
    return None


def _said(text: str, what: str) -> float | None:
    found = {(one["number"], one["suffix"].upper()) for one in IN_NAMES[what].finditer(text[:200])}
    if len(found) != 1:
        return None
    number, suffix = found.pop()
    return float(f"{number}e{dict(SUFFIXES)[suffix]}") if suffix else float(number)


WAYS: dict[str, tuple[Callable[[pd.DataFrame, Sizes], Guess | None], ...]] = {
    "params": (_by_layers, lambda frame, _: _in_names(frame, "params"), _by_ratio),
    "tokens": (
        _by_ratio,
        _by_steps,
        lambda frame, _: _product([_numbers(frame, "samples"), _numbers(frame, "length")]),
        _by_epochs,
        _tokens_in_names,
    ),
    "compute": (_by_flop_a_token,),
}
