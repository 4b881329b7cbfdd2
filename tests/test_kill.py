"""Twenty kills at random moments: no half file under a name, and what runs again ends with the same bytes."""

import os

import pytest

from benchmarks import kill


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_killed_at_random_moments():
    rows = kill.run(20, seed=0)
    assert [row["job"] for row in rows] == ["fit", "backtest", "fit_many", "report"]
    assert sum(row["kills"] for row in rows) == 20 and sum(row["half_written"] for row in rows) >= 3, rows
    assert all(row["finished"] >= 1 and row["files"] >= 1 for row in rows), rows
    assert [row["wrong"] + row["finished_different"] + row["left_at_the_end"] for row in rows] == [0, 0, 0, 0], rows
