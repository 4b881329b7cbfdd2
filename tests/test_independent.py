"""The page of numbers that nobody here wrote: its tables say what is true, and every test that it names is there."""

import re

import pytest
from test_docs import DOCS, ROOT, load

from bayescale.laws.law import law_names, load_law

PAGE = (DOCS / "independent.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def tables():
    """Rows [cell] of the made tables, by their mark."""
    made = {mark: make() for mark, make in load("pages").TABLES.items()}
    rows = {mark: re.findall(r"^\|(.+)\|$", text, flags=re.MULTILINE)[2:] for mark, text in made.items()}
    return {
        mark: [[cell.strip() for cell in re.split(r"(?<!\\)\|", row)] for row in found] for mark, found in rows.items()
    }


def test_tables_are_put_where_the_page_has_their_marks(tables):
    shown = load("pages").on_page_markdown(PAGE)
    for mark, rows in tables.items():
        assert mark in PAGE and mark not in shown and rows
        assert all(f"| {row[0]} |" in shown for row in rows)


def test_every_printed_number_is_in_the_table(tables):
    """As many as the law files have, of eight papers at least, each reproduced; three digits are printed at least."""
    answers = [
        answer for name in law_names() for preset in load_law(name).presets.values() for answer in preset.answers
    ]
    rows = tables["<!-- printed numbers -->"]
    assert len(rows) == len(answers)
    assert len({re.search(r"\d{4}\.\d{4,5}", row[0])[0] for row in rows}) >= 8
    coarsest = max(answer.within for answer in answers) + 0.005
    for *_, there, here in rows:
        assert float(here) == pytest.approx(float(there), rel=coarsest)


def test_posteriors_are_the_other_engines(tables):
    """Of some 300 differences in Monte Carlo errors the largest is near 3."""
    rows = tables["<!-- reference posteriors -->"]
    assert len(rows) >= 5 and all(float(row[3]) < 4 and 0.4 < float(row[4]) < 1.6 for row in rows)


@pytest.mark.parametrize(("file", "name"), re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", PAGE))
def test_what_the_page_names_is_there(file, name):
    assert f"def {name}" in (ROOT / file).read_text(encoding="utf-8")


def test_every_test_on_the_page_is_named_in_full():
    assert len(re.findall(r"tests/[\w/]+\.py", PAGE)) == len(re.findall(r"`tests/[\w/]+\.py::\w+`", PAGE)) > 20
