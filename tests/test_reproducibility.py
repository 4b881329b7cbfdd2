"""The same seed gives the same bits: in another process, on one core or more, with any number of BLAS threads."""

import json
import os
import shutil
import subprocess
import sys

import pytest

# every kind of result, of few and of many runs, as a checksum of all its numbers
DIGESTS = """
import hashlib, json
import numpy as np, pandas as pd, xarray as xr
import bayescale
from bayescale.evidence.loo import loo

def digest(result):
    found = hashlib.sha256()
    def add(what):
        if isinstance(what, xr.DataTree):
            for group in what.subtree:
                add(group.to_dataset())
        elif isinstance(what, xr.Dataset):
            for name in sorted(map(str, what.variables)):
                add(what[name].values)
        elif isinstance(what, pd.DataFrame):
            add(what.to_csv())
        elif isinstance(what, np.ndarray) and what.dtype != object:
            found.update(f"{what.dtype}{what.shape}".encode() + what.tobytes())
        else:
            found.update(str(what).encode())
    add(result)
    return found.hexdigest()[:16]

pile = bayescale.load_dataset("pile")
pile = pile.isel(run=(pile["compute"] < 1e22).values)
rng = np.random.default_rng(1)
N, D = 10 ** rng.uniform(7, 10, 400), 10 ** rng.uniform(9, 11.5, 400)
loss = (1.8 + 480 / N**0.35 + 2085 / D**0.37) * np.exp(0.004 * rng.standard_normal(400))
many = {"params": N, "tokens": D, "loss": loss}
found, sizes = {}, ([7e9, 70e9], [3e11, 1.4e12])
for label, runs in (("few", pile), ("many", many)):
    fit = bayescale.fit(runs, "chinchilla", seed=5)
    found[f"fit {label}"] = digest(fit)
    found[f"quick {label}"] = digest(bayescale.fit(runs, "chinchilla", seed=5, quick=True))
    found[f"forecast {label}"] = digest(bayescale.forecast(fit, *sizes, seed=5))
    found[f"allocate {label}"] = digest(bayescale.allocate(fit, 1e23, seed=5))
    found[f"decide {label}"] = digest(bayescale.decide(fit, 1e23, seed=5))
    found[f"reach {label}"] = digest(bayescale.least_compute(fit, 2.2, seed=5))
    found[f"approaches {label}"] = digest(bayescale.approaches(fit, 1e21, seed=5))
    found[f"next {label}"] = digest(bayescale.next_run(fit, 1e21, params=70e9, tokens=1.4e12, seed=5))
    found[f"sensitivity {label}"] = digest(bayescale.prior_sensitivity(fit))
    found[f"loo {label}"] = digest(loo(fit))
    found[f"report {label}"] = digest(bayescale.report(fit, compute=1e23, params=7e10, tokens=1.4e12, seed=5))
tall = {name: np.tile(column, 4) * (1 + 1e-3 * np.arange(1600)) for name, column in many.items()}
found["quick tall"] = digest(bayescale.fit(tall, "chinchilla", seed=5, quick=True))  # of compiled code
fits = bayescale.fit_laws(pile, ["chinchilla", "kaplan"], seed=5)
found["compare"] = digest(bayescale.compare(fits, forward=True, horizon=0.5, seed=5))
found["backtest"] = digest(bayescale.backtest(many, "chinchilla", horizon=0.5, seed=5))
found["plan"] = digest(bayescale.plan_runs("chinchilla", quantity="alpha", sd=0.05, seed=5))
print(json.dumps(found))
"""


def digests(threads, cores, **environment):
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    given = os.environ | dict.fromkeys(names, str(threads)) | environment
    command = ["taskset", "-c", cores, sys.executable, "-c", DIGESTS]
    done = subprocess.run(command, env=given, capture_output=True, text=True, timeout=1500)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which("taskset") is None or os.cpu_count() < 2, reason="needs two cores, and taskset to hide one of them"
)
def test_neither_cores_nor_threads_nor_the_process_change_a_bit():
    one = digests(1, "0", PYTHONHASHSEED="1")
    more = digests(os.cpu_count(), f"0-{os.cpu_count() - 1}", PYTHONHASHSEED="2")
    assert len(one) == 26 and {name for name in one if one[name] != more[name]} == set()
