"""What draws are worth, where arviz-stats alone would raise or return what looks like an answer."""

import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose

from bayescale.fitting.draws import e_bfmi, ess_bulk, ess_tail, r_hat

ENDS = (0.05, 0.95)


def test_quantities_are_told_apart(rng):
    """In one call: independent draws, autoregressive ones worth (1 - .9) / (1 + .9) of them, chains of other widths."""
    steps = rng.standard_normal((4, 4000))
    slow = np.zeros_like(steps)
    for i in range(1, steps.shape[1]):
        slow[:, i] = 0.9 * slow[:, i - 1] + steps[:, i]
    wide = steps * np.array([1.0, 1.0, 1.0, 3.0])[:, None]
    draws = np.stack([steps, slow, wide])
    assert_allclose(ess_bulk(draws)[:2], [16_000, 16_000 * 0.1 / 1.9], rtol=0.25)
    assert np.all(r_hat(draws)[:2] < 1.03) and r_hat(draws)[2] > 1.05
    assert ess_tail(draws, ENDS)[0] > 10_000 > 4000 > ess_tail(draws, ENDS)[1]


@pytest.mark.parametrize("bad", [np.full((4, 100), np.nan), np.zeros((4, 3))])
def test_draws_that_tell_nothing_are_nan(bad):
    assert np.isnan([r_hat(bad), ess_bulk(bad), ess_tail(bad, ENDS)]).all()
    one = np.where(np.arange(100) == 1, np.nan, np.random.default_rng(0).standard_normal((4, 100)))
    assert np.isnan([r_hat(one), ess_bulk(one), ess_tail(one, ENDS)]).all()


def test_constant_chains_have_no_r_hat_and_constant_energy_no_e_bfmi():
    assert np.isnan(r_hat(np.full((4, 100), 3.0)))
    assert np.isnan(e_bfmi(np.full((4, 100), 3.0))).all()


def test_an_installed_jax_is_not_loaded(tmp_path):
    (tmp_path / "jax.py").write_text("raise SystemExit('JAX was loaded')")
    script = (
        "import numpy as np; from scipy.special import logsumexp; from bayescale.fitting.draws import r_hat; "
        "r_hat(np.random.default_rng(0).standard_normal((4, 100))); logsumexp(np.zeros(3))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
