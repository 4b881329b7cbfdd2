"""Units of counts: K, M, B and T, powers of ten, and the words that people write for them, in headings and in cells."""

import re

from bayescale.field import SUFFIXES

WORDS = {  # power of ten -> words; _ stands for a blank that may be there
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
POWERS = {word.replace("_", ""): power for power, words in WORDS.items() for word in words.split()}
WORD = "|".join(  # as an expression; the longest first
    word.replace("_", r"\s?") for word in sorted(" ".join(WORDS.values()).split(), key=len, reverse=True)
)
LETTERS = {power: letter for letter, power in SUFFIXES}
POWER_OF_TEN = re.compile(r"(?:1e|10\^)\+?(?P<power>[0-9]{1,2})")


def unit_of(text: str) -> float | None:
    """The number that a unit of counts stands for: 1, K, M, B, T or a power of ten; None of others."""
    if text in LETTERS.values():
        return 10.0 ** dict(SUFFIXES)[text]
    found = POWER_OF_TEN.fullmatch(text)
    return 10.0 ** int(found["power"]) if found else 1.0 if text == "1" else None


def unit_named(text: str) -> str:
    """The unit that a heading names, as :func:`unit_of` takes it: ``millions`` is M, ``lakh`` 1e5; or ""."""
    text = text.casefold().rstrip(".")
    found = POWER_OF_TEN.fullmatch(text)
    power = int(found["power"]) if found else (POWERS | HEADING_WORDS).get(re.sub(r"\s", "", text))
    return "" if power is None else LETTERS.get(power, f"1e{power}")
