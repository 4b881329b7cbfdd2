"""Which column of a table plays which role: the field's spellings, and a question where two columns fit."""

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bayescale.field import clipped, listed
from bayescale.runs.headings import unit_in

SIZES = ("params", "tokens", "compute")
# full names, compared by `plainly`; two of them in one table are a question
SPELLINGS = {
    "params": """
        params param parameters parameter_count param_count params_count num_params n_params num_parameters n_parameters
        number_of_params number_of_parameters model_size model_params model_parameters model_n_params model_num_params
        total_params total_parameters n_params_total num_params_total params_total n_total_params num_total_params
        trainable_params trainable_parameters n_trainable_params num_trainable_params n_trainable_parameters
        non_embedding_params non_embedding_parameters params_non_embedding n_params_non_embedding
        num_params_non_embedding n_non_embedding_params num_non_embedding_params num_non_embedding_parameters
        non_emb_params n_params_non_emb params_no_embedding active_params n_active_params num_active_params
        active_parameters model_parameter_count n_model_params""",
    "tokens": """
        tokens n_tokens num_tokens token_count tokens_count number_of_tokens total_tokens tokens_total n_tokens_total
        n_total_tokens num_total_tokens training_tokens train_tokens n_train_tokens num_train_tokens n_training_tokens
        num_training_tokens tokens_trained trained_tokens tokens_seen seen_tokens n_tokens_seen num_tokens_seen
        total_tokens_seen train_tokens_seen training_tokens_seen tokens_processed consumed_tokens tokens_consumed
        consumed_train_tokens d_tokens
        num_input_tokens_seen input_tokens_seen n_input_tokens total_input_tokens""",
    "compute": """
        compute flops flop n_flops num_flops total_flops total_flop flops_total flop_total training_flop training_flops
        train_flop train_flops total_compute training_compute train_compute compute_flops compute_flop
        total_training_flops total_train_flops""",
    "loss": """
        loss val_loss valid_loss validation_loss eval_loss evaluation_loss test_loss dev_loss held_out_loss final_loss
        final_val_loss final_eval_loss final_test_loss val_loss_final best_val_loss min_val_loss train_loss
        training_loss final_train_loss train_loss_final avg_loss mean_loss lm_loss cross_entropy cross_entropy_loss
        ce_loss val_cross_entropy nll nll_loss val_nll test_nll xent loss_nats""",
}
VAGUE_NAMES = {"params": "size"}  # used where no other name fits
LETTERS = {"params": "n", "tokens": "d", "compute": "c", "loss": "l"}
# a column with a smaller median is something else: layers, width, context length
LETTER_MEDIAN_MIN = {"params": 1e4, "tokens": 1e6, "compute": 1e9}
# words of names that may be meant although no list has them
WORDS = {
    "params": {"params", "param", "parameters"},
    "tokens": {"tokens"},
    "compute": {"compute", "flop", "flops"},
    "loss": {"loss", "nll", "entropy"},
}
OTHER_MEANINGS = {"per", "batch", "se", "sem", "std", "sd", "stderr", "err", "error", "var", "max", "min"}
OTHER_MEANINGS |= {"scale", "ratio"}
# losses in other units: words of their names, the unit (--unit loss=...), a description
OTHER_LOSSES = {
    "perplexity": ({"ppl", "perplexity", "perplexities"}, "perplexity", "a perplexity"),
    "bits": ({"bpc"}, "bits", "a loss in bits"),
    "bits_per_byte": ({"bpb"}, "bits_per_byte", "a loss in bits per byte"),
}
SE_NAMES = ("se", "sem", "stderr", "std_err", "std_error", "standard_error", "std", "sd", "err", "error", "uncertainty")
QUESTION_NAMES_MAX = 6  # of columns
EQUAL_RELATIVE = 1e-3  # relative difference of columns that count as equal


RENAMED_COLUMNS = {"run": "run_name"}  # in a Dataset of runs: run is the dimension there


def plainly(name: Any) -> str:
    """A name for comparison: letters and digits in lower case (``eval/loss`` and ``evalLoss`` are equal)."""
    return "".join(character for character in str(name).casefold() if character.isalnum())


NAMES = {role: frozenset(map(plainly, names.split())) for role, names in SPELLINGS.items()}


type Numbers = Callable[[Any], np.ndarray | None]  # name -> the numbers of a column, or None where it has none


@dataclass(frozen=True)
class Found:
    """Which column plays each role, and notes on columns that play none."""

    roles: dict[str, Any]
    notes: tuple[str, ...]


class Question(ValueError):
    """Two columns fit one role, or none does: the user has to choose."""


def find_columns(
    names: Sequence[Any],
    given: Mapping[str, Any],
    needs: Sequence[str],
    units: Mapping[str, str],
    numbers: Numbers,
) -> Found:
    """Role -> column: as given, else the only column with a fitting name.

    Full names precede the last part of a path (``model.n_params``), which precedes letters. Two names of one rank are a
    question, unless their numbers are equal. A column may play two roles.

    Parameters
    ----------
    given : role -> column, as the user says
    needs : roles that must be found, or asked for; other sizes are taken where a full name leaves no question
    units : role -> unit: a unit given for a role says that there is such a column
    numbers : the numbers of a column by its name

    Raises
    ------
    Question
        If two columns could be meant.
    """
    roles, notes = dict(given), _given_loss(given.get("loss"), units)
    own = [role for role in needs if role not in SPELLINGS and role not in given]
    for role in own:
        if (name := _own(role, names)) is not None:
            roles[role] = name
    taken = [*given.values(), *(roles[role] for role in own if role in roles)]
    for role in SPELLINGS:
        if role in given:
            continue
        asked = role in {*needs, *units} or (role == "compute" and {"params", "tokens"} <= set(needs))
        if not asked and role == "loss":
            continue
        other = [given[one] for one in SPELLINGS if one in given]
        free = [name for name in names if name not in other and (asked or name not in taken)]
        name, said = _guess(role, free, asked, units.get(role), numbers)
        notes += said
        if name is not None:
            roles[role] = name
    if said := _no_compute(roles, given, units, numbers):
        del roles["compute"]
        notes.append(said)
    return Found(roles, tuple(notes + _unused(names, roles)))


def _own(role: str, names: Sequence[Any]) -> Any:
    """The column of an input that only this law has: of its exact name, else of the only other spelling."""
    if role in names:
        return role
    alike = [name for name in names if plainly(name) == plainly(role)]
    if len(alike) > 1:
        raise Question(_which(role, alike))
    return alike[0] if alike else None


def _guess(role: str, names: Sequence[Any], asked: bool, unit: str | None, numbers: Numbers) -> tuple[Any, list[str]]:
    """The column of a role that the user has not named, or None; and notes on others."""
    bare = {name: plainly(unit_in(role, name)[0]) for name in names}
    with_unit = [name for name in names if bare[name] == LETTERS[role] and unit_in(role, name)[1]]
    full = [name for name in names if bare[name] in NAMES[role] or name in with_unit]
    others = [name for name in names if role == "loss" and other_loss(name)]
    meant = [name for name in others if unit and _kin(unit) == _kin(OTHER_LOSSES[other_loss(name)][1])]
    if meant:  # a perplexity is never called a loss, bits may be
        return _one(role, meant if unit == "perplexity" else [*meant, *full], numbers), []
    last = [name for name in names if name not in full and plainly(re.split(r"[./:|\\]", str(name))[-1]) in NAMES[role]]
    vague = [name for name in names if plainly(name) == VAGUE_NAMES.get(role)]
    letters = [name for name in names if plainly(name) == LETTERS[role]]
    if not asked:
        if len(full) > 1 and not _all_same(full, numbers):
            return None, [f"{_names(full)} could each be {role}, and none is read (--column {role}=...)"]
        return (full[0] if full else None), []
    if not (full or last or vague):
        if others and not letters:
            raise Question(_other_loss(others[0]))
        return _by_letter(role, letters, [*others, *names], numbers), []
    full, passed_over = _without_training(full) if role == "loss" else (full, [])
    name = _one(role, full or last or vague, numbers)
    notes = passed_over + [
        f"{clipped(other)} is not read as {role}, {clipped(name)} is (--column {role}={clipped(other)} if it should be)"
        for other in (*(last if full else ()), *letters)
        if not (_all_same([name, other], numbers) or _proportional(name, other, numbers))
    ]
    for letter in letters:
        if _could_be(role, letter, numbers) and not _proportional(name, letter, numbers):
            raise Question(_which(role, [name, letter]))
    return name, notes


def _given_loss(name: Any, units: Mapping[str, str]) -> list[str]:
    """Notes on a column that is given as the loss, without a unit, and whose name says another unit."""
    if name is None or "loss" in units or (kind := other_loss(name)) is None:
        return []
    if kind == "perplexity":
        raise Question(_other_loss(name))
    _, unit, what = OTHER_LOSSES[kind]
    return [f"{clipped(name)} is read in nats; its name says {what} (--unit loss={unit} if it is)"]


def _kin(unit: str) -> str:
    """The kind of a unit: bits and bits per byte are one, as names of columns often leave out the second half."""
    return unit.partition("_")[0]


def _other_loss(name: Any) -> str:
    _, unit, what = OTHER_LOSSES[other_loss(name)]
    return (
        f"the column {clipped(name)} looks like {what}, not a loss in nats; say what it is "
        f"(columns={{'loss': {name!r}}}, units={{'loss': {unit!r}}}, --column loss={clipped(name)} --unit loss={unit}, "
        "or loss=nats)"
    )


def _by_letter(role: str, letters: list[Any], names: Sequence[Any], numbers: Numbers) -> Any:
    """The column called by a letter, where no other column could be meant."""
    if not letters:
        return None
    related = [name for name in names if name not in letters and numbers(name) is not None]
    related = [name for name in related if _related(role, name) or (role == "loss" and other_loss(name))]
    if len(letters) > 1 or related:
        raise Question(_which(role, [*letters, *related]))
    values = numbers(letters[0])
    if role == "loss" and values is not None and len(values) > 3 and (values >= 2).all() and _whole(values):
        raise Question(
            f"the column {clipped(letters[0])} has whole numbers only, {values.min():g} to {values.max():g}: is it the "
            f"loss? If so say it (columns={{'loss': {letters[0]!r}}}, --column loss={clipped(letters[0])})"
        )
    return letters[0]


def _without_training(losses: list[Any]) -> tuple[list[Any], list[str]]:
    """Drop training losses where there is another loss."""
    training = [name for name in losses if "train" in plainly(name)]
    if len(training) == len(losses):
        return losses, []
    notes = [
        f"{clipped(name)} is not read as loss (--column loss={clipped(name)} if it should be)" for name in training
    ]
    return [name for name in losses if name not in training], notes


def _one(role: str, found: list[Any], numbers: Numbers) -> Any:
    """The only column found; the first of several equal ones."""
    if len(found) == 1:  # comparing numbers of very many runs is slow
        return found[0]
    filled = [name for name in found if numbers(name) is not None] or found
    in_units = all(_proportional(filled[0], name, numbers) for name in filled[1:]) and any(
        unit_in(role, name)[1] for name in filled
    )
    if len(filled) > 1 and not (in_units or _all_same(filled, numbers)):
        raise Question(_which(role, filled))
    return filled[0]


def _no_compute(roles: Mapping[str, Any], given: Mapping[str, Any], units: Mapping[str, str], numbers: Numbers) -> str:
    """Why a column C is not compute: it does not follow N D where both are known."""
    name = roles.get("compute")
    if name is None or plainly(name) != LETTERS["compute"] or "compute" in {*given, *units}:
        return ""
    if not {"params", "tokens"} <= roles.keys():
        return ""
    N, D, C = (numbers(roles[role]) for role in SIZES)
    if C is None or N is None or D is None:
        return ""
    with np.errstate(all="ignore"):
        scale, ratio = np.log(N) + np.log(D), np.log(C) - np.log(N) - np.log(D)
    if not np.isfinite(ratio).all():
        return ""  # reading the cells reports which is wrong
    goes_along = np.ptp(ratio) <= max(np.log(10.0), 0.5 * np.ptp(scale))
    if goes_along and np.median(C) >= LETTER_MEDIAN_MIN["compute"]:
        return ""
    return (
        f"{clipped(name)} is not read as compute: its values, {C.min():.4g} to {C.max():.4g}, do not go with 6 N D "
        f"(--column compute={clipped(name)} if it is)"
    )


def _unused(names: Sequence[Any], roles: Mapping[str, Any]) -> list[str]:
    """Notes on columns of standard errors, which nothing uses."""
    loss = plainly(roles["loss"]) if "loss" in roles else "loss"
    pairs = [(about, error) for about in (loss, "loss") for error in map(plainly, SE_NAMES)]
    endings = {about + error for about, error in pairs} | {error + about for about, error in pairs}
    return [
        f"{clipped(name)} looks like the standard error of the loss and is not used: a fit learns from the runs how "
        "far losses scatter"
        for name in names
        if plainly(name) in endings and name not in roles.values()
    ]


def other_loss(name: Any) -> str | None:
    """The key of OTHER_LOSSES that the name of a column implies, or None."""
    words = _words(name)
    kind = next((kind for kind, (those, _, _) in OTHER_LOSSES.items() if words & those), None)
    if kind is None and {"bits", "per"} <= words:
        return "bits_per_byte" if "byte" in words else "bits"
    return kind


def related_columns(role: str, names: Sequence[Any]) -> list[Any]:
    """Columns whose names are related to a role."""
    return [name for name in names if role in WORDS and _related(role, name)]


def _related(role: str, name: Any) -> bool:
    words = _words(name)
    return bool(words & WORDS[role]) and not words & OTHER_MEANINGS


def _words(name: Any) -> set[str]:
    apart = re.sub(r"([a-z])([A-Z])", r"\1 \2", str(name))
    return set(re.split(r"[\W_]+", apart.casefold()))


def _could_be(role: str, letter: Any, numbers: Numbers) -> bool:
    """Whether the numbers of a column called by a letter could be those of its role."""
    values = numbers(letter)
    if values is None or not (np.isfinite(values) & (values > 0)).all():
        return False
    return not _whole(values) if role == "loss" else bool(np.median(values) >= LETTER_MEDIAN_MIN[role])


def _whole(values: np.ndarray) -> bool:
    return bool((values == np.round(values)).all())


def _all_same(names: Sequence[Any], numbers: Numbers) -> bool:
    columns = [numbers(name) for name in names]
    if any(column is None for column in columns):
        return False
    return all(np.allclose(a, b, rtol=EQUAL_RELATIVE, atol=0, equal_nan=True) for a, b in itertools.pairwise(columns))


def _proportional(name: Any, other: Any, numbers: Numbers) -> bool:
    """Whether one column is the other in another unit."""
    a, b = numbers(name), numbers(other)
    if a is None or b is None or len(a) < 2:
        return False
    with np.errstate(all="ignore"):
        ratio = np.log(a) - np.log(b)
    return bool(np.isfinite(ratio).all() and np.ptp(ratio) <= EQUAL_RELATIVE and np.ptp(a) > 0)


def _names(found: Sequence[Any]) -> str:
    return listed([clipped(name) for name in found[:QUESTION_NAMES_MAX]])


def _which(role: str, found: Sequence[Any]) -> str:
    first = clipped(found[0])
    return (
        f"{_names(found)} could each be {role}; say which it is "
        f"(columns={{'{role}': '{first}'}}, --column {role}={first})"
    )
