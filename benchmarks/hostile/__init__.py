"""Hostile inputs for every parser of bayescale; ``TARGETS`` says how each is made, borne and changed."""

from benchmarks.hostile.events import bear_events, make_events
from benchmarks.hostile.fits import bear_fit_bytes, bear_fit_changes, make_fit_bytes, make_fit_changes
from benchmarks.hostile.inputs import CANARY, MEGABYTES, SECONDS, Target, change_text, flipped
from benchmarks.hostile.laws import bear_formula, bear_law, make_formula, make_law
from benchmarks.hostile.options import bear_options, make_options
from benchmarks.hostile.runs import bear_frame, bear_parquet, bear_table, make_frame, make_parquet, make_table
from benchmarks.hostile.tables import bear_conditions, bear_tables, make_conditions, make_tables

__all__ = ["CANARY", "MEGABYTES", "SECONDS", "TARGETS"]

TARGETS = {
    "formulas": Target(make_formula, bear_formula, change_text),
    "laws": Target(make_law, bear_law, change_text, "toml"),
    "runs": Target(make_table, bear_table, change_text, "csv"),
    "tables": Target(make_tables, bear_tables, flipped),
    "conditions": Target(make_conditions, bear_conditions, change_text),
    "events": Target(make_events, bear_events, flipped),
    "parquet": Target(make_parquet, bear_parquet, flipped, "parquet"),
    "frames": Target(make_frame, bear_frame, lambda rng, raw: make_frame(rng), "json"),
    "fits": Target(make_fit_bytes, bear_fit_bytes, flipped, "nc"),
    "contents": Target(make_fit_changes, bear_fit_changes, lambda rng, raw: make_fit_changes(rng), "json"),
    "options": Target(make_options, bear_options, lambda rng, raw: make_options(rng), "json"),
}
