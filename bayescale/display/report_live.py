"""The interactive part of a report: what its script reads, and a small chart."""

import json
from typing import Any

import numpy as np

from bayescale.budgets.problem import DEFAULT_BUDGET_TIMES
from bayescale.display.explorer import explorer, inputs_of
from bayescale.display.question import BEYOND
from bayescale.display.report_asked import Asked, Forecasts
from bayescale.field import band_ends, number_text, size_text
from bayescale.forecasts.pointwise import forecast_each
from bayescale.reading import plain as as_json
from bayescale.runs.loss_unit import NATS_IN, PERPLEXITY, UNITS, from_nats, to_nats

LEFT, RIGHT, TOP, BOTTOM = 46, 372, 12, 150  # of the small chart


def live_part(asked: Asked, forecasts: Forecasts) -> dict[str, Any] | None:
    """What the template needs of the interactive part: its data, and a small chart drawn here; None where the page
    does no arithmetic of its own."""
    study, plain = asked.study, asked.plain
    if plain is None:
        return None
    data = explorer(plain, asked.questions)
    low, high = data["first"], data["last"] + BEYOND
    starts = [float(one.budgets[0]) if one.budgets.size else None for one in asked.questions]
    data |= {"starts": starts, "level": asked.level}
    data["start"] = starts[0] or DEFAULT_BUDGET_TIMES * asked.questions[0].cost_of_runs[1]
    scripts = [one.pop("script") for one in data["questions"]]
    budgets, N = np.array(data["budgets"]), np.array(data.pop("params"))
    tokens = np.median(plain.frontier["D"].values, axis=(0, 1))
    band = forecast_each(study, N, tokens, covariates=inputs_of(plain), level=asked.level, seed=asked.seed)
    first, last = band_ends(asked.level)
    least, most = float(band[first].min()), float(band[last].max())
    data |= {"perplexity": study.loss_unit == PERPLEXITY, "natsIn": NATS_IN.get(study.loss_unit, 1.0)}
    data["chart"] = {"low": low, "high": high, "least": least, "most": most}

    def across(log_budget: Any) -> Any:
        return LEFT + (RIGHT - LEFT) * (log_budget - low) / (high - low)

    def up(loss: Any) -> Any:
        return BOTTOM - (BOTTOM - TOP) * (loss - least) / (most - least)

    def path(xs: np.ndarray, ys: np.ndarray) -> str:
        return "M" + "L".join(f"{a:.1f} {b:.1f}" for a, b in zip(xs, ys, strict=True))

    x, edges = across(budgets), {name: up(band[name].values) for name in (first, "q50", last)}

    unit = study.loss_unit
    ends = [float(from_nats(end, unit)) for end in (least, most)]
    steps = (a * 10.0**power for power in range(-2, 12) for a in (1, 2, 5))
    step = next(s for s in steps if s >= 0.02 and (ends[1] - ends[0]) / s <= 5)
    losses = np.arange(np.ceil(ends[0] / step), np.floor(ends[1] / step) + 1) * step
    decades = range(int(np.ceil(low)), int(np.floor(high)) + 1)
    decades = decades[:: 1 + len(decades) // 6]
    points = forecasts[0][1]["predictions_constant_data"].dataset if forecasts else None
    sizes = [7e9, 140e9] if points is None else [float(points[name].values[0]) for name in ("params", "tokens")]
    helpers, law_script = data.pop("helpers"), data.pop("script")
    return {
        "helpers": helpers,
        "law_script": law_script,
        "cost_scripts": scripts,
        "json": json.dumps(as_json(data)).replace("<", "\\u003c"),
        "count": data["count"],
        "every": data["every"],
        "units": [one["unit"] or "the unit of the cost" for one in data["questions"]],
        "start_text": number_text(data["start"]),
        "run_n": size_text(sizes[0]),
        "target": "" if asked.target is None else number_text(asked.target[1], 6),
        "run_d": size_text(sizes[1]),
        "path": path(np.concatenate([x, x[::-1]]), np.concatenate([edges[last], edges[first][::-1]])) + "Z",
        "middle": path(x, edges["q50"]),
        "edge": f"{across(data['last']):.1f}",
        "ticks_x": [(f"{across(decade):.1f}", f"1e{decade}") for decade in decades],
        "ticks_y": [(f"{up(to_nats(loss, unit)):.1f}", number_text(loss, 4)) for loss in losses],
        "loss_unit": UNITS[unit],
    }
