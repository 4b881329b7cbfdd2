"""What many tests share: a seed, runs of a known law, fits put together by hand, and one that is really sampled."""

import ctypes
import dataclasses
import json
import os
import subprocess
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import xarray as xr
from seeded import Watch

from bayescale.engine.numba_density import block, compiled
from bayescale.fitting import sampling
from bayescale.laws.law import column, load_law, reference_constants
from bayescale.laws.noises import NOISES, default_noise
from bayescale.laws.scatter import Scatter
from bayescale.runs.datasets import load_dataset
from bayescale.runs.read import read_runs

matplotlib.use("Agg")
from bayescale.budgets import design as design_module
from bayescale.budgets import exchange as exchange_module
from bayescale.display import explorer as explorer_module
from bayescale.display import question as question_module
from bayescale.display import report as report_module
from bayescale.display import report_figures
from bayescale.fitting import fit as fit_module
from bayescale.forecasts import discrepancy_posterior as posterior_module
from bayescale.forecasts import forecast as forecast_module
from bayescale.forecasts import pointwise as pointwise_module
from bayescale.study import Study

SEED = 20260101
# every seed is shifted by this: no test may pass by the luck of one seed, or of one processor's rounding (make shifts)
SEED_SHIFT = int(os.environ.get("BAYESCALE_SEED_SHIFT", "0"))
BESIROGLU = {"E": 1.8172, "A": 482.01, "B": 2085.43, "alpha": 0.3478, "beta": 0.3659}
# real runs of published studies, which are not part of the project
STUDIES = Path(__file__).resolve().parent.parent.parent / "shared" / "data" / "studies"
needs_studies = pytest.mark.skipif(not STUDIES.is_dir(), reason="the real runs (../shared/data/studies) are not here")
# its logarithm is linear in the parameters: posteriors with normal noise have closed forms
LOG_LINEAR = """
title = "A power of N times a power of D: its logarithm is linear in the parameters"
cite = "test"
formula = "L_ref * level * (N/N_ref)**(-alpha) * (D/D_ref)**(-beta)"
[priors]
level = { dist = "LogNormal", mu = 0.1, sigma = 0.3, about = "loss at the reference point" }
alpha = { dist = "Normal", mu = 0.08, sigma = 0.05, about = "exponent of N" }
beta = { dist = "Normal", mu = 0.06, sigma = 0.05, about = "exponent of D" }
[derived]
both = { formula = "alpha + beta", about = "exponent of N and D together" }
"""


LINE = """
title = "Line"
cite = "own"
formula = "c0 + c*x"
[observed]
column = "y"
symbol = "y"
scale = "linear"
[priors]
c0 = { dist = "Normal", mu = 0, sigma = 2, about = "offset" }
c = { dist = "Normal", mu = 0, sigma = 2, about = "slope" }
"""


def shift_seeds(shift):
    """NumPy's generators and the sampler start elsewhere, from the same seed at the same place.

    So are the seeds of fixtures, of tests, the defaults of the package and those it keeps to itself.
    """
    fresh, sample = np.random.default_rng, sampling.sample

    def default_rng(seed=None):
        if seed is None or isinstance(seed, (np.random.SeedSequence, np.random.BitGenerator, np.random.Generator)):
            return fresh(seed)
        return fresh([*(seed if isinstance(seed, list) else [seed]), shift])

    def shifted_sample(model, draws, tune, chains, seed, target_accept, progress):
        return sample(model, draws, tune, chains, (seed + 1_000_003 * shift) % 2**63, target_accept, progress)

    np.random.default_rng, sampling.sample = default_rng, shifted_sample


if SEED_SHIFT:
    shift_seeds(SEED_SHIFT)


def pytest_addoption(parser):
    parser.addoption("--list-seeded", metavar="FILE", help="write the tests that depend on seeds to a file")


def pytest_configure(config):
    if path := config.getoption("--list-seeded"):
        config.pluginmanager.register(Watch(path))


@pytest.fixture
def rng():
    return np.random.default_rng(SEED)


def chinchilla_loss(N, D, *, E, A, B, alpha, beta):
    return E + A / N**alpha + B / D**beta


def without(table, *names):
    return {name: values for name, values in table.items() if name not in names}


def with_and_without(table, columns):
    """Quick fits of Chinchilla's law: knowing what ``columns`` say of single runs, and not knowing it."""
    options = {"law": "chinchilla", "noise": "normal", "quick": True, "seed": 1}
    known = fit_module.fit(table, columns=columns, **options)
    return known, fit_module.fit(without(table, *columns.values()), **options)


@pytest.fixture(scope="session")
def crossed_runs():
    """Runs on a grid of N x D that follow the law of Besiroglu et al. 2024, with normal scatter of log loss."""

    def make(sizes=6, lengths=4, scatter=0.003, seed=SEED):
        rng = np.random.default_rng(seed)
        N, D = (
            grid.ravel()
            for grid in np.meshgrid(np.logspace(7.5, 9.5, sizes), np.logspace(9, 11, lengths), indexing="ij")
        )
        loss = chinchilla_loss(N, D, **BESIROGLU) * np.exp(scatter * rng.standard_normal(N.size))
        return read_runs({"params": N, "tokens": D, "loss": loss})

    return make


@pytest.fixture(scope="session")
def make_fit():
    """Fits put together from given draws, without sampling, as :func:`bayescale.fit` would have put them together."""

    def make(law, parameters, runs, *, noise="student_t", scatter=None, seed=0, **report):
        law = load_law(law)
        runs = read_runs(runs, law)
        noise = default_noise(law.observed.scale) if law.observed.count else noise
        study = Study.bound(law, Scatter.of(law, noise), runs)
        values = {"sigma": 0.003, "tilt": 0.0, "nu_minus_2": 30.0, "overdispersion": 0.02} | (scatter or {})
        values = {name: value for name, value in values.items() if name in NOISES[noise].priors} | dict(parameters)
        count = max(np.size(value) for value in values.values())
        again = max(1, 8 // count)  # a fit has at least 4 draws of each of 2 chains: fewer come again
        draws = {
            name: (("chain", "draw"), np.repeat(np.broadcast_to(value, count).astype(float), again).reshape(2, -1))
            for name, value in values.items()
        }
        count *= again
        coords = {"chain": [0, 1], "draw": np.arange(count // 2)}
        posterior = xr.Dataset(draws, coords=coords)
        stats = xr.Dataset({"diverging": (("chain", "draw"), np.zeros((2, count // 2), dtype=bool))}, coords=coords)
        tree = fit_module.assemble(study, posterior, stats)
        convergence = {"converged": True, "clean": True, "why": "", "divergences": 0, "r_hat_max": 1.0}
        tree.attrs = {
            "bayescale_format": fit_module.FORMAT,
            "seed": seed,
            "data_hash": fit_module.data_hash(runs, law),
            "diagnostics": json.dumps(
                {
                    **convergence,
                    **{"ess_min": 1000.0, "r_hat": {}, "ess_bulk": {}},
                    **{"prior_share": {}, "not_identified": [], "collinear": False, **report},
                }
            ),
            "notes": "[]",
            "versions": "{}",
        } | fit_module.attributes(study)
        return tree

    return make


def chinchilla_parameters(runs, *, E, A, B, alpha, beta):
    """The parameters in which the law 'chinchilla' is sampled, from those that papers print."""
    references = reference_constants(load_law("chinchilla"), runs)
    u, v = A / references["N_ref"] ** alpha, B / references["D_ref"] ** beta
    level, share = E + u + v, u / (u + v)
    odds = E / (u + v) / (references["N_ref"] * references["D_ref"] / 1e18) ** 0.11
    return {
        "level": level / references["L_ref"],
        "floor": odds / (1 + odds),
        "share": share,
        "lean": np.log(alpha / beta),
        "slope": alpha * (1 - E / level) * (share + (1 - share) * beta / alpha),
    }


@pytest.fixture(scope="session")
def true_fit(crossed_runs, make_fit):
    """A fit by hand around the truth: Besiroglu's constants, each with a little spread, for runs of that very law."""

    def make(draws=2000, spread=0.01, runs=None, **options):
        rng = np.random.default_rng(SEED)
        runs = crossed_runs() if runs is None else runs
        constants = {name: value * np.exp(spread * rng.standard_normal(draws)) for name, value in BESIROGLU.items()}
        return make_fit("chinchilla", chinchilla_parameters(runs, **constants), runs, **options)

    return make


@pytest.fixture(scope="session")
def coverage_fit(make_fit):
    """A fit by hand of what samples bring at a loss: -log coverage = 2 exp(3 (L - 2.5)) k**-.3."""
    rng = np.random.default_rng(2)
    loss, samples = np.repeat([2.0, 2.3, 2.6, 2.9], 6), np.tile(np.geomspace(1, 1000, 6), 4)
    L_ref, samples_ref = np.exp(np.log(loss).mean()), np.exp(np.log(samples).mean())
    runs = {"loss": loss, "samples": samples, "items": np.full(24, 2000.0)}
    runs["coverage"] = np.round(np.exp(-2 * np.exp(3 * (loss - 2.5)) * samples**-0.3), 3)
    draws = {"rate": 2 * np.exp(3 * (L_ref - 2.5)) * samples_ref**-0.3}
    draws |= {"steepness": 3 * np.exp(1e-4 * rng.standard_normal(200)), "decay": 0.3}
    return make_fit("coverage_of_loss", draws, runs)


@pytest.fixture(scope="session")
def pile():
    """The embedded runs below 1e22 FLOP, as in the demo."""
    runs = load_dataset("pile")
    return runs.isel(run=(runs["compute"] < 1e22).values)


@pytest.fixture(scope="session")
def many_runs():
    """As many as make the posterior nearly normal: a quick answer vouches for itself at every seed."""
    rng = np.random.default_rng(SEED)
    params = 10 ** rng.uniform(7, 10, 300)
    tokens = params * 10 ** rng.uniform(0.5, 2.5, 300)
    loss = (1.8 + 480 / params**0.34 + 2000 / tokens**0.36) * np.exp(rng.normal(0, 0.01, 300))
    return read_runs({"params": params, "tokens": tokens, "loss": loss})


@pytest.fixture(scope="session")
def sampled(pile):
    """A fit that is really sampled; its structure (law, noise) is compiled once a session, in 15 s."""
    return fit_module.fit(pile, "chinchilla", seed=SEED)


_DRIFTS = {}  # of the session, by the numbers of the fit and the kind of its loss


@pytest.fixture(scope="module")
def drift_once():
    """The posterior with drift depends on the numbers of a fit and the kind of its loss alone: where one fit is asked
    again and again it is computed once, on a coarser grid of scales."""
    real = posterior_module.discrepancy_of

    def remembered(study):
        parts = (study.fit[name].to_dataset() for name in ("posterior", "constant_data", "observed_data"))
        arrays = [np.asarray(values) for part in parts for values in part.data_vars.values()]
        of_kind = posterior_module.prior_of(study.law, study.runs)  # of texts, or of another loss with the same numbers
        named = (study.attrs[name] for name in ("law_text", "noise", "seed"))
        key = (of_kind, *named, *(array.tobytes() for array in arrays))
        if hash(key) not in _DRIFTS:
            _DRIFTS[hash(key)] = real(study)
        return dataclasses.replace(_DRIFTS[hash(key)], study=study)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(posterior_module, "LOG_SCALES", posterior_module.LOG_SCALES[::3])
        for module in (forecast_module, pointwise_module, explorer_module, exchange_module, design_module):
            patch.setattr(module, "discrepancy_of", remembered)
        yield


@pytest.fixture
def coarse(monkeypatch):
    """Frontiers of few budgets: for tests of what is said of them, not of where they lie."""
    monkeypatch.setattr(question_module, "BUDGETS", 5)
    monkeypatch.setattr(question_module, "EDGE_BUDGETS", np.zeros(0))


@pytest.fixture
def unfigured(coarse, monkeypatch):
    """Reports without figures, and with a coarse grid in the interactive part."""
    names = report_figures.CAPTIONS
    monkeypatch.setattr(report_module, "figures_part", lambda *given: dict.fromkeys(names))
    monkeypatch.setattr(explorer_module, "GRID_STEP_DECADES", 1.0)


@pytest.fixture
def undrawn(unfigured, monkeypatch):
    """Reports without figures and interactive part: for tests of what a page says."""
    monkeypatch.setattr(report_module, "live_part", lambda *given: None)


@pytest.fixture(scope="session")
def design():
    """Inputs [point] spread over a law's published range, and the reference constants that runs there would have."""

    def make(law, rng, points=40):
        inputs = {}
        for symbol, (low, high) in law.range.items():
            spread = (rng.permutation(points) + rng.uniform(size=points)) / points  # one in each part of the range
            inputs[symbol] = low * (high / low) ** spread if low > 0 else low + (high - low) * spread
        columns = {column(symbol): values for symbol, values in inputs.items()}
        seen = [2.0, 3.0] if law.observed.scale != "linear" else [-4.0, -1.0]
        return inputs, reference_constants(law, columns | {law.observed.column: np.array(seen)})

    return make


@pytest.fixture(scope="session")
def caller():
    """A compiled density as position -> status, value, gradient, through the C interface that the sampler uses."""
    doubles = ctypes.POINTER(ctypes.c_double)
    interface = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_uint64, doubles, doubles, doubles, ctypes.c_void_p)

    def make(density, data):
        density, values = interface(compiled(density).density.address), block(density, data)

        def call(position):
            position = np.ascontiguousarray(position, dtype=float)
            gradient, value = np.zeros_like(position), np.zeros(1)
            pointers = (array.ctypes.data_as(doubles) for array in (position, gradient, value))
            status = density(len(position), *pointers, values.ctypes.data)
            return status, value[0], gradient

        return call

    return make


# ---- disks that fail ------------------------------------------------------------------------------------------------


def mounted(folder, options):
    """A tiny disk in the memory at this folder; taken away again by what is yielded to."""
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", folder], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"this user may not mount a disk ({made.stderr.strip()})")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.fixture
def full_disk(tmp_path):
    """A folder on a disk of 16 kB with 12 kB in use: file names still find a place, what is in them does not."""
    (tmp_path / "full").mkdir()
    for folder in mounted(tmp_path / "full", "size=16k,mode=755"):
        (folder / "others").write_bytes(bytes(12_000))
        yield folder


@pytest.fixture
def read_only(tmp_path):
    """A function that makes a folder and all in it read-only, also for the superuser."""
    undo = []

    def make(folder):
        if os.geteuid() == 0:
            flags = ["mount", "--bind"], ["mount", "-o", "remount,ro,bind"]
            for command in ([*flags[0], folder, folder], [*flags[1], folder]):
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    pytest.skip(f"the superuser may write anywhere, and no disk can be mounted ({done.stderr.strip()})")
                if command[1] == "--bind":
                    undo.append(lambda: subprocess.run(["umount", "-l", folder], check=True))
        else:
            folder.chmod(0o500)
            undo.append(lambda: folder.chmod(0o700))
        return folder

    yield make
    for one in undo:
        one()
