"""Units of counts (K, M, B, T, powers of ten, and their words) and of compute (FLOP with prefixes, MAC, PFLOP-days)."""

import re

import numpy as np

from bayescale.field import SUFFIXES, number_text

POWER_WORDS = {  # power of ten -> words; _ stands for a blank that may be there
    3: "k tsd thousand thousands tausend тыс тысяч 千",
    4: "万 萬",
    5: "lac lacs lakh lakhs",
    6: """m mm mn mio million millions millionen millón millones milioni milione milhão milhões
        mln млн миллион миллиона миллионов 百万""",
    7: "cr crore crores",
    8: "亿 億",
    9: """b bn g mrd mld md billion billions milliard milliards milliarde milliarden miliardo miliardi mil_millones
        miles_de_millones bilhão bilhões млрд миллиард миллиарда миллиардов 十亿 十億""",
    12: """t tn trillion trillions billionen billones trilhão trilhões трлн триллион триллиона триллионов 万亿""",
}
HEADING_WORDS = {"mil": 6, "mill": 6, "bil": 9, "bill": 9}  # in a cell they may be thousands
POWERS = {word.replace("_", ""): power for power, words in POWER_WORDS.items() for word in words.split()}
WORD = "|".join(  # as an expression; the longest first
    word.replace("_", r"\s?") for word in sorted(" ".join(POWER_WORDS.values()).split(), key=len, reverse=True)
)
POWER_LETTERS = {power: letter for letter, power in SUFFIXES}
POWER_OF_TEN = re.compile(r"(?:1e|10\^)\+?(?P<power>[0-9]{1,2})")
PFLOP_DAY = 86400e15  # FLOP
NAMED_UNITS = {"FLOP": 1.0, "GFLOP": 1e9, "TFLOP": 1e12, "PFLOP": 1e15, "EFLOP": 1e18, "ZFLOP": 1e21}
NAMED_UNITS |= {"PFLOP-day": PFLOP_DAY, "MAC": 2.0}  # a multiply-accumulate is two operations
PREFIXES = ("kilo", "mega", "giga", "tera", "peta", "exa", "zetta")
PREFIX_POWERS = {name[0]: 3 * power for power, name in enumerate(PREFIXES, start=1)}
TIME_SECONDS = {"day": 86400.0, "hour": 3600.0}
COUNTED_UNIT = re.compile("(?P<prefix>[kmgtpez])?(?P<what>flop|mac)s?")
WORKED_UNIT = re.compile("(?P<prefix>[gtpez])f(?:lop)?s?(?:-s)?-?(?P<time>day|hour)s?")  # PF-days: at so many a second


def counts_in(text: str) -> float | None:
    """The number that a unit of counts stands for: 1, K, M, B, T or a power of ten; None of others."""
    if text in POWER_LETTERS.values():
        return 10.0 ** dict(SUFFIXES)[text]
    found = POWER_OF_TEN.fullmatch(text)
    return 10.0 ** int(found["power"]) if found else 1.0 if text == "1" else None


def unit_named(text: str) -> str:
    """The unit that a heading names, as :func:`counts_in` takes it: ``millions`` is M, ``lakh`` 1e5; or ""."""
    text = text.casefold().rstrip(".")
    found = POWER_OF_TEN.fullmatch(text)
    power = int(found["power"]) if found else (POWERS | HEADING_WORDS).get(re.sub(r"\s", "", text))
    return "" if power is None else POWER_LETTERS.get(power, f"1e{power}")


def flop_in(text: str) -> float | None:
    """FLOP in a unit of compute: ``GFLOP``, ``PF-days``, ``MAC``, ``1e21``; None where the text is no unit."""
    plain = re.sub(r"[-_/\s]+", "-", text.strip().lower().replace("10^", "1e"))
    for name in PREFIXES:
        plain = re.sub(f"^{name}-?", name[0], plain)
    if found := WORKED_UNIT.fullmatch(plain):
        return 10.0 ** PREFIX_POWERS.get(found["prefix"], 0) * TIME_SECONDS[found["time"]]
    if found := COUNTED_UNIT.fullmatch(plain):
        return 10.0 ** PREFIX_POWERS.get(found["prefix"], 0) * (2.0 if found["what"] == "mac" else 1.0)
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
