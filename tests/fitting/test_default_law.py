"""The law where none is named."""

import json

import numpy as np
import pytest
import xarray as xr

import bayescale
from bayescale.errors import FitError
from bayescale.fitting.default_law import ONE_SIZE_LAWS, behind, chosen_fit, default_laws, far_behind
from bayescale.laws.law import load_law, size_column

TOKENS = np.geomspace(1e8, 1e11, 24)


def curve(law_of, seed=0):
    noise = 1 + 2e-3 * np.random.default_rng(seed).standard_normal(len(TOKENS))
    return {"tokens": TOKENS, "loss": law_of(TOKENS / 1e9) * noise}


def names(laws):
    return [law.name for law in laws]


def test_which_laws_there_are_to_choose_from():
    assert names(default_laws({"params": TOKENS, "tokens": TOKENS[::-1], "loss": TOKENS})) == ["coupled"]
    for size, laws in ONE_SIZE_LAWS.items():
        assert tuple(names(default_laws({size: TOKENS, "loss": TOKENS}))) == laws
        assert {size_column(load_law(name)) for name in laws} == {size}


@pytest.mark.parametrize(
    ("law_of", "laws"),
    [
        # m4 holds these too, and is ahead of m3 by 4 elpd in a few of a hundred sets
        (lambda x: 3.0 * x**-0.08, {"m3_tokens", "m4_tokens"}),  # a power law cannot be told from m3
        (lambda x: 3.0 * (1 / x + 0.1) ** 0.3, {"m3_tokens", "m4_tokens"}),
        (lambda x: 1.8 + 0.1 * x**-1.5, {"floor_tokens", "m4_tokens"}),  # it can: m3 has no such floor
        (lambda x: 1.5 + 1.5 / (1 + x**0.8 / 3), {"m4_tokens"}),  # it starts near the loss of guessing
    ],
)
def test_the_first_law_is_left_only_for_a_better_one(law_of, laws):
    fit = bayescale.fit(curve(law_of), draws=300, chains=2)
    note, law = json.loads(fit.attrs["notes"])[0], fit.attrs["law"]
    assert law in laws and note["code"] == "law_chosen"
    assert note["text"].startswith(f"no law was named and the runs differ in one size: '{law}' is taken, ")
    assert all(other.name == law or f"'{other.name}'" in note["text"] for other in default_laws(curve(law_of)))


def test_behind_is_by_standard_errors_and_by_elpd():
    assert [behind(*apart) for apart in ((3.9, 0.1), (4.1, 2.0), (4.1, 2.1), (9.0, 4.6))] == [False, True, False, False]


def test_far_behind_is_by_standard_errors_and_by_elpd():
    assert list(far_behind(np.array([9.0, 11.0, 11.0, 50.0]), np.array([1.0, 1.0, 3.0, 20.0]))) == [0, 1, 0, 0]


@pytest.mark.parametrize(
    ("ahead", "law"),
    [
        ({"m4_tokens": 6.0}, "m4_tokens"),  # more than 4
        ({"floor_tokens": 6.0}, "m3_tokens"),  # less than 10
        ({"floor_tokens": 30.0, "m4_tokens": 33.0}, "floor_tokens"),
        ({"floor_tokens": 30.0, "power_tokens": 39.0, "m4_tokens": 36.0}, "m4_tokens"),
    ],
)
def test_a_law_has_to_be_ahead_of_that_chosen_before_it(ahead, law):
    def fit_one(law):
        flat = np.full((2, 50, 24), ahead.get(law.name, 0.0) / 24)
        flat += 1e-6 * np.random.default_rng(0).standard_normal(flat.shape)
        likelihood = xr.Dataset({"loss": (("chain", "draw", "run"), flat)})
        about = xr.Dataset(attrs={"law": law.name, "notes": "[]"})
        return xr.DataTree.from_dict({"/": about, "log_likelihood": likelihood})

    laws = default_laws({"tokens": TOKENS, "loss": TOKENS})
    assert chosen_fit(laws, fit_one).attrs["law"] == law


def test_a_law_that_cannot_be_fitted_is_out():
    runs = curve(lambda x: 3.0 * x**-0.08)

    def fit_one(law):
        if law.name != "power_tokens":
            raise FitError(f"law '{law.name}' did not converge")
        return bayescale.fit(runs, law, draws=300, chains=2)

    only = chosen_fit(default_laws(runs), fit_one)
    assert only.attrs["law"] == "power_tokens"
    assert (
        "; 'm3_tokens', 'floor_tokens' and 'm4_tokens' could not be fitted"
        in json.loads(only.attrs["notes"])[0]["text"]
    )
    with pytest.raises(FitError, match="law 'm3_tokens' did not converge"):
        chosen_fit(default_laws(runs)[:2], fit_one)
