"""trainer_state.json of Hugging Face's Trainer: a row for each step at which something was logged."""

from collections.abc import Mapping
from typing import Any

TOTALS = {"total_flos": "total_flops", "num_input_tokens_seen": "num_input_tokens_seen"}
AT_END = ("train_runtime", "train_loss")  # the first is in the summary that ends a training alone


def is_trainer_state(value: Any) -> bool:
    """Whether an object is the state of a trainer."""
    log = value.get("log_history") if isinstance(value, Mapping) else None
    return isinstance(log, list) and all(isinstance(entry, Mapping) for entry in log)


def records_of_trainer(state: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows in the order of their steps: what was logged of training and evaluation at one step is one row.

    ``loss``, which is that of the last training steps, is called ``train_loss``. The totals of the state, compute and
    tokens, belong to its last step.
    """
    rows: dict[Any, dict[str, Any]] = {}
    for entry in state["log_history"]:
        step = entry.get("step", "")
        step = step if isinstance(step, int | float | str) else ""
        row = rows.setdefault(step, {"step": step})
        left_out = AT_END if AT_END[0] in entry else ()
        logged = {name: value for name, value in entry.items() if name not in left_out}
        if "loss" in logged:
            logged["train_loss"] = logged.pop("loss")
        row |= {TOTALS.get(str(name), str(name)): value for name, value in logged.items()}
    if rows:
        last = rows[max(rows, key=lambda step: step if isinstance(step, int | float) else -1)]
        for name, called in TOTALS.items():
            if isinstance(state.get(name), int | float) and state[name] > 0:
                last.setdefault(called, state[name])
    return list(rows.values())
