"""Numbers, sizes and rows as people write them."""

import math
import re

import numpy as np
import pytest

from bayescale.field import listed, number_text, quantity_text, rows_text, size_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (999.9e9, "1T"), (1e9, "1B"), (999_499_999, "999M"), (70e9, "70B"), (1.4e12, "1.4T"), (12_345, "12.3K"),
        (3.645e25, "3.65e25"), (999.6e12, "1e15"), (1e15, "1e15"), (500.0, "500"), (0.25, "0.25"), (1.0, "1"),
    ],
)  # fmt: skip
def test_sizes(value, text):
    assert size_text(value) == text and size_text(1.2345e9, 4) == "1.234B"


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        (99.96, 3, "100"), (99.6, 2, "100"), (1234.5, 3, "1230"), (0.0, 3, "0"), (-0.0123456, 3, "-0.0123"),
        (1e22, 3, "1e22"), (2.5e-7, 2, "2.5e-7"), (-3.14159e-9, 4, "-3.142e-9"), (math.inf, 3, "inf"),
        (math.nan, 3, "nan"), (10.0, 3, "10"), (1e5, 3, "100000"), (9.9996e5, 3, "1e6"), (0.1, 1, "0.1"),
    ],
)  # fmt: skip
def test_numbers(value, digits, text):
    assert number_text(value, digits) == text


def test_no_number_is_written_as_a_machine_would_and_each_is_right_to_its_digits(rng):
    for value in np.concatenate([10 ** rng.uniform(-30, 30, 2000), -(10 ** rng.uniform(-9, 9, 200))]):
        for digits in (1, 2, 3, 4, 6):
            text = number_text(value, digits)
            assert not re.search(r"e\+|e-?0", text) and float(text) == pytest.approx(
                value, rel=0.501 * 10 ** (1 - digits)
            )
        text = size_text(abs(value))
        factor = {"T": 1e12, "B": 1e9, "M": 1e6, "K": 1e3}.get(text[-1], 1.0)
        assert "e+" not in text and (factor == 1 or "e" not in text)
        number = float(text[:-1] if factor > 1 else text)
        assert number * factor == pytest.approx(abs(value), rel=0.00501) and (factor == 1 or 1 <= number < 1000)


def test_quantities_have_their_unit():
    assert quantity_text("compute", 3.645e25) == "3.645e25 FLOP" and quantity_text("params", 405e9) == "405B"
    assert quantity_text("epochs", 4.0) == "4" and quantity_text("score", -1.25) == "-1.25"


def test_rows():
    assert rows_text("line", [14]) == "line 14" and rows_text("row", [0, 3]) == "rows 0 and 3"
    assert rows_text("line", range(2, 8)) == "lines 2, 3, 4, 5, 6 and 7"
    assert rows_text("line", range(2, 40)) == "lines 2, 3, 4, 5, 6 and 33 more"
    assert listed(["a"]) == "a" and listed([]) == "" and listed(["a", "b", "c"]) == "a, b and c"
