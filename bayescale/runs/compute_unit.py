"""Units of compute: FLOP with prefixes, multiply-accumulates, PFLOP-days, powers of ten."""

import re

import numpy as np

from bayescale.field import number_text

PFLOP_DAY = 86400e15  # FLOP
NAMED_UNITS = {"FLOP": 1.0, "GFLOP": 1e9, "TFLOP": 1e12, "PFLOP": 1e15, "EFLOP": 1e18, "ZFLOP": 1e21}
NAMED_UNITS |= {"PFLOP-day": PFLOP_DAY, "MAC": 2.0}  # a multiply-accumulate is two operations
PREFIXES = ("kilo", "mega", "giga", "tera", "peta", "exa", "zetta")
POWERS = {None: 1.0} | {name[0]: 10.0 ** (3 * power) for power, name in enumerate(PREFIXES, start=1)}
SECONDS = {"day": 86400.0, "hour": 3600.0}
COUNTED_UNIT = re.compile("(?P<prefix>[kmgtpez])?(?P<what>flop|mac)s?")
WORKED_UNIT = re.compile("(?P<prefix>[gtpez])f(?:lop)?s?(?:-s)?-?(?P<time>day|hour)s?")  # PF-days: at so many a second


def unit_of(text: str) -> float | None:
    """FLOP in a unit of compute: ``GFLOP``, ``PF-days``, ``MAC``, ``1e21``; None where the text is no unit."""
    plain = re.sub(r"[-_/\s]+", "-", text.strip().lower().replace("10^", "1e"))
    for name in PREFIXES:
        plain = re.sub(f"^{name}-?", name[0], plain)
    if found := WORKED_UNIT.fullmatch(plain):
        return POWERS[found["prefix"]] * SECONDS[found["time"]]
    if found := COUNTED_UNIT.fullmatch(plain):
        return POWERS[found["prefix"]] * (2.0 if found["what"] == "mac" else 1.0)
    plain = re.sub("flops?$", "", plain).strip("-*")
    try:
        value = float(plain)
    except ValueError:
        return None
    if not (np.isfinite(value) and value > 0):
        return None
    power = np.log10(value)
    return value if abs(power - round(power)) < 1e-9 else None


def unit_name(factor: float) -> str:
    """The name of a unit of ``factor`` FLOP."""
    named = [name for name, value in NAMED_UNITS.items() if value == factor]
    return named[0] if named and factor != 1e21 else number_text(factor)
