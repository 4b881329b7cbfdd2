"""Hostile inputs for every parser of bayescale; ``TARGETS`` says how each is made, borne and changed."""

from functools import partial

from benchmarks.hostile.events import make_events
from benchmarks.hostile.fits import bear_fit_bytes, bear_fit_changes, make_fit_bytes, make_fit_changes
from benchmarks.hostile.inputs import CANARY, MEGABYTES, SECONDS, Target, change_text, flipped
from benchmarks.hostile.laws import bear_formula, bear_law, make_formula, make_law
from benchmarks.hostile.options import bear_options, make_options
from benchmarks.hostile.runs import bear_file, bear_frame, make_frame, make_parquet, make_table
from benchmarks.hostile.tables import TEXTS, bear_conditions, make_conditions, make_excel, make_tables, make_text

__all__ = ["CANARY", "FORMATS", "MEGABYTES", "SECONDS", "TARGETS"]

TARGETS = {
    "formulas": Target(make_formula, bear_formula, change_text),
    "laws": Target(make_law, bear_law, change_text, "toml"),
    "runs": Target(make_table, partial(bear_file, name="runs.csv"), change_text, "csv"),
    "tables": Target(make_tables, bear_file, flipped),
    "conditions": Target(make_conditions, bear_conditions, change_text),
    "events": Target(make_events, bear_file, flipped),
    "parquet": Target(make_parquet, bear_file, flipped, "parquet"),
    "frames": Target(make_frame, bear_frame, lambda rng, raw: make_frame(rng), "json"),
    "fits": Target(make_fit_bytes, bear_fit_bytes, flipped, "nc"),
    "contents": Target(make_fit_changes, bear_fit_changes, lambda rng, raw: make_fit_changes(rng), "json"),
    "options": Target(make_options, bear_options, lambda rng, raw: make_options(rng), "json"),
}
FORMATS = {  # each of what ``tables`` mixes
    **{kind: Target(partial(make_text, kind=kind), bear_file, flipped) for kind in TEXTS},
    "excel": Target(make_excel, bear_file, flipped, "xlsx"),
}
