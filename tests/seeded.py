"""Which tests depend on seeds: a list of those that drew from a generator or sampled, themselves or by a fixture.

    pytest -m "not slow" --list-seeded=FILE
    BAYESCALE_SEED_SHIFT=3 pytest -m "not slow" @FILE

The others give the same under every shift of the seeds, so that ``make shifts`` need not run them again.
"""

from pathlib import Path

import numpy as np
import pytest

from bayescale.fitting import sampling


class Watch:
    """A plugin of pytest that notes who asks for random numbers while it collects, sets up and runs."""

    def __init__(self, path):
        self.path, self.drew = Path(path), False
        self.sources = set()  # (node id of a file or folder, fixture or "") whose values were drawn
        self.tests = []
        for module, name in ((np.random, "default_rng"), (sampling, "sample")):
            setattr(module, name, self.noting(getattr(module, name)))

    def noting(self, function):
        def noted(*args, **options):
            self.drew = True
            return function(*args, **options)

        return noted

    @pytest.hookimpl(wrapper=True)
    def pytest_make_collect_report(self, collector):
        self.drew = False
        report = yield
        if self.drew and isinstance(collector, pytest.Module):  # at the module's import
            self.sources.add((collector.nodeid, ""))
        return report

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef):
        before, self.drew = self.drew, False
        value = yield
        if self.drew:
            self.sources.add((fixturedef.baseid, fixturedef.argname))
        self.drew |= before
        return value

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item, call):
        if call.when == "call":
            given = {"", *item.fixturenames}
            drawn = any(item.nodeid.startswith(node) and name in given for node, name in self.sources)
            item.user_properties.append(("seeded", self.drew or drawn))
            self.drew = False
        return (yield)

    def pytest_runtest_logreport(self, report):
        if report.when == "call" and dict(report.user_properties).get("seeded"):
            self.tests.append(report.nodeid)

    def pytest_sessionfinish(self, session):
        if not hasattr(
            session.config, "workerinput"
        ):  # the workers' tests are reported to the process that started them
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text("".join(f"{test}\n" for test in sorted(self.tests)), encoding="utf-8")
