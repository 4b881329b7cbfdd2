"""Results of lm-evaluation-harness: a row for each task, with the standard error and how many items it has."""

from collections.abc import Mapping
from typing import Any


def is_evaluation(value: Any) -> bool:
    """Whether an object holds results by task, as the harness writes them."""
    results = value.get("results") if isinstance(value, Mapping) else None
    if not isinstance(results, Mapping) or not results or not ({"versions", "config", "configs"} & value.keys()):
        return False
    return all(isinstance(one, Mapping) for one in results.values())


def records_of_evaluation(value: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Rows with ``model``, ``params``, ``task``, ``filter``, ``items`` and each metric with its ``_stderr``."""
    config = value.get("config")
    config = config if isinstance(config, Mapping) else {}
    about = {"model": value.get("model_name") or config.get("model_args") or config.get("model") or ""}
    if (params := config.get("model_num_parameters")) is not None:
        about["params"] = params
    about = {name: one if isinstance(one, str | int | float) else str(one) for name, one in about.items()}
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for task, metrics in value["results"].items():
        for name, number in metrics.items():
            metric, _, chosen = str(name).partition(",")
            if metric in ("alias", "name", "sample_len") or isinstance(number, Mapping | list):
                continue
            chosen = "" if chosen == "none" else chosen
            row = rows.setdefault((str(task), chosen), about | {"task": str(task), "filter": chosen})
            row.setdefault("items", _items(value, task))
            row[metric] = "" if number == "N/A" else number
    return list(rows.values())


def _items(value: Mapping[str, Any], task: Any) -> Any:
    counts = value.get("n-samples")
    count = counts.get(task, "") if isinstance(counts, Mapping) else ""
    if isinstance(count, Mapping):
        count = count.get("effective", count.get("original", ""))
    return count if isinstance(count, int | float) else ""
