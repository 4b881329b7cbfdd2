"""Would the fast tests notice? Wrong lines put into the statistics, one at a time, and the fast tests of their module.

    python -m benchmarks.mutants [--only WORD] [--json]

Each mutant is one line of the package changed in a copy of the checkout, where the named test files are run until the
first failure. A mutant that passes them all survives. Exit status 1 if more than SURVIVORS_MAX survive, or if a line is
no longer there: then the mutant wants to be written anew.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SURVIVORS_MAX = 2
SECONDS_MAX = 600  # for the tests of one mutant: a mutant that never ends is noticed too


@dataclass(frozen=True)
class Mutant:
    room: str  # of bayescale/
    right: str  # stands once in the room
    wrong: str
    tests: tuple[str, ...]


EXACT = ("tests/forecasts/test_drift_exact.py",)
DRIFT = (*EXACT, "tests/forecasts/test_drift.py")
LOO = ("tests/evidence/test_loo.py",)
COMPARE = ("tests/evidence/test_compare.py", "tests/evidence/test_weights.py")
DESIGN = ("tests/budgets/test_design.py",)
OPTIMUM = ("tests/budgets/test_optimum.py",)
DECIDE = ("tests/budgets/test_decide.py",)
STARTS = ("tests/fitting/test_starts.py",)
ALLOCATE = ("tests/budgets/test_allocate.py",)
CLUSTERS = ("tests/fitting/test_clusters.py",)
FORECAST = ("tests/forecasts/test_forecast.py",)
GROUPS = ("tests/fitting/test_pooling.py",)
DEFAULT_LAW = ("tests/fitting/test_default_law.py",)

MUTANTS = [
    # the discrepancy
    Mutant("forecasts", "(shift - prior.decline)", "(shift + prior.decline)", DRIFT),
    Mutant("forecasts", "(beyond_group - beyond_all)", "(beyond_all - beyond_group)", GROUPS),
    Mutant("forecasts", "log_scale=self.log_scale + float", "log_scale=self.log_scale - float", DRIFT),
    Mutant("forecasts", "/ (nu + 1)", "/ (nu + 2)", DRIFT),
    Mutant("forecasts", "np.isinf(fitted), fitted, prior.tail_df)", "np.isinf(fitted), fitted, fitted)", DRIFT),
    Mutant("forecasts", "tail_df - 2}", "tail_df}", DRIFT),
    Mutant("forecasts", " + np.log(np.diag(spread)).sum()", "", DRIFT),
    Mutant("forecasts", "sigma_sd = float(1 / np.sqrt(", "sigma_sd = float(2 / np.sqrt(", DRIFT),
    Mutant("forecasts", "of_noise = np.log(sigma_sd) - 0.5", "of_noise = np.log(sigma_sd) + 0.5", DRIFT),
    Mutant("forecasts", "(one.residual @ solved)[one.times]", "-(one.residual @ solved)[one.times]", DRIFT),
    Mutant("forecasts", "variance = np.exp(2 * one.at.log_scale)", "variance = np.exp(one.at.log_scale)", DRIFT),
    Mutant("forecasts", "1 + share * (spread - 1)", "1 + (spread - 1)", DRIFT),
    Mutant("forecasts", " - covariance.half_log_determinant - 0.5 * (z**2)", " - 0.5 * (z**2)", DRIFT),
    Mutant("forecasts", "np.exp(2 * tilt *", "np.exp(tilt *", DRIFT),
    Mutant("forecasts", "(1 + r) * np.exp(-r)", "np.exp(-r)", DRIFT),
    Mutant("forecasts", "count * log_fit + centre", "count * log_fit - centre", DRIFT),
    # leaving runs out
    Mutant("evidence", "smoothed_weights(-flat,", "smoothed_weights(flat,", LOO),
    Mutant("evidence", "min(PARETO_K_MAX, 1 - 1 /", "max(PARETO_K_MAX, 1 - 1 /", LOO),
    Mutant("evidence", '"p_loo": lppd - elpd', '"p_loo": elpd - lppd', LOO),
    Mutant("evidence", "logsumexp(left_out) - np.log(left_out.size)", "left_out.mean()", LOO),
    Mutant("evidence", "refit(task.study, ~task.out,", "refit(task.study, task.out,", LOO),
    # the next run
    Mutant("budgets", "scale / np.sqrt(1 - 2 /", "scale * np.sqrt(1 - 2 /", DESIGN),
    Mutant("budgets", "np.diag(joint)[1:] + scatter**2", "np.diag(joint)[1:] + scatter", DESIGN),
    Mutant("budgets", "joint - np.outer(column, column)", "joint + np.outer(column, column)", DESIGN),
    Mutant("budgets", "log_weight[truth] = -np.inf", "log_weight[truth] += 0", DESIGN),
    Mutant("budgets", "(TAIL_DF + 1) / (TAIL_DF +", "(TAIL_DF + 1) / (1 +", DESIGN),
    Mutant("budgets", "log_n[i] + shift * step", "log_n[i] - shift * step", DESIGN),
    Mutant("budgets", "return np.sign(missed) *", "return -np.sign(missed) *", DESIGN),
    # the best split
    Mutant("budgets", "~(f_left < 0) & (left > low)", "(f_left < 0) & (left > low)", OPTIMUM),
    Mutant("budgets", "np.where(f_left >= 0, -1,", "np.where(f_left >= 0, 1,", OPTIMUM),
    Mutant("budgets", "(value_other < value)", "(value_other > value)", OPTIMUM),
    Mutant("budgets", "item[2] < best[2]", "item[2] > best[2]", OPTIMUM),
    # the decision
    Mutant("budgets", "np.nanargmin(expected_log_loss(", "np.nanargmax(expected_log_loss(", DECIDE),
    Mutant("budgets", "<= np.log(factor)", "<= factor", DECIDE),
    Mutant("budgets", "np.exp(loss.mean(axis=0))", "np.exp(loss).mean(axis=0)", DECIDE),
    Mutant("budgets", "loss - np.log(split.loss),", "loss - np.log(split.loss).mean(),", DECIDE),
    Mutant("budgets", "step = np.log(there / wanted)", "step = np.log(wanted / there)", DECIDE),
    Mutant("budgets", "(1 - excess[end]) /", "excess[end] /", DECIDE),
    Mutant("budgets", "- law if abs(law)", "+ law if abs(law)", DECIDE),
    Mutant("budgets", "np.hypot(EXCHANGE_SD, self", "np.hypot(2 * EXCHANGE_SD, self", DECIDE),
    Mutant("budgets", "contrast / (2 * width * bend)", "contrast / (width * bend)", DECIDE),
    Mutant("budgets", "default_rng([seed, 201 + use])", "default_rng(seed)", ALLOCATE),
    # clusters, and what is believed
    Mutant("fitting", "np.maximum(stretch, 1.0)", "np.minimum(stretch, 1.0)", CLUSTERS),
    Mutant("fitting", "(by_chance >= seen).sum()", "(by_chance <= seen).sum()", CLUSTERS),
    Mutant("fitting", "slope.T @ self.score[some]", "slope.T @ np.abs(self.score[some])", CLUSTERS),
    Mutant("forecasts", "(z**2).sum(axis=1) + model.log_weight(z)", "(z**2).sum(axis=1)", EXACT),
    Mutant("forecasts", "/ 2 / max(at[4] - at[1]", "/ max(at[4] - at[1]", FORECAST),
    # where chains start
    Mutant("fitting", "elpd > np.maximum(", "elpd < np.maximum(", DEFAULT_LAW),
    Mutant("fitting", "each = one - other", "each = other - one", DEFAULT_LAW),
    Mutant("fitting", "limit = behind if name in", "limit = far_behind if name in", DEFAULT_LAW),
    Mutant("fitting", "elpd[chosen])) else chosen", "elpd[first])) else chosen", DEFAULT_LAW),
    Mutant("fitting", "len(self.seen) * np.log(sigma)", "np.log(sigma)", STARTS),
    Mutant("fitting", "-value[modes] - 0.5 *", "-value[modes] + 0.5 *", STARTS),
    Mutant("fitting", "slope[..., None])[..., 0]", "-slope[..., None])[..., 0]", STARTS),
    # which law
    Mutant("evidence", "np.sqrt(count * difference.var(", "np.sqrt(difference.var(", COMPARE),
    Mutant("evidence", "difference = elpd - elpd.isel(law=0)", "difference = elpd.isel(law=0) - elpd", COMPARE),
    Mutant("evidence", "(not converged[name], -float(", "(not converged[name], float(", COMPARE),
    Mutant("evidence", '(result["pit"] > 0.05) &', '(result["pit"] > 0.0) &', COMPARE),
]


def place(mutant: Mutant, checkout: Path) -> Path:
    """The file in which the right line stands."""
    paths = [path for path in (checkout / "bayescale" / mutant.room).rglob("*.py")]
    counts = [path.read_text(encoding="utf-8").count(mutant.right) for path in paths]
    if sum(counts) != 1:
        raise SystemExit(f"error: {mutant.room}: {mutant.right!r} stands there {sum(counts)} times, not once")
    return paths[counts.index(1)]


def tests_fail(tests: tuple[str, ...], checkout: Path) -> bool:
    """Whether one of the fast tests of these files fails in the checkout; an end that is neither is an error."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-m", "not slow", "-p", "no:cacheprovider", *tests]
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    try:
        done = subprocess.run(
            command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=SECONDS_MAX
        )
    except subprocess.TimeoutExpired:
        return True
    if done.returncode not in (0, 1):  # pytest: 0 all passed, 1 some failed, others: the tests did not run
        raise SystemExit(f"error: the tests did not run\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.returncode == 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--only", default="", help="mutants whose room or line holds this")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if args.only in f"{mutant.room}: {mutant.right}"]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder) / "checkout"
        ignored = shutil.ignore_patterns(".venv", ".git", "site", ".cache", "__pycache__", ".hypothesis", "demo")
        shutil.copytree(ROOT, checkout, ignore=ignored)
        places = [place(mutant, checkout) for mutant in chosen]
        if tests_fail(tuple({test: None for mutant in chosen for test in mutant.tests}), checkout):
            raise SystemExit("error: the tests fail without any wrong line")
        for mutant, path in zip(chosen, places, strict=True):
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace(mutant.right, mutant.wrong), encoding="utf-8")
            killed = tests_fail(mutant.tests, checkout)
            path.write_text(text, encoding="utf-8")
            file = str(path.relative_to(checkout / "bayescale"))
            rows.append({"file": file, "right": mutant.right, "wrong": mutant.wrong, "killed": killed})
            if not args.json:
                verdict = "killed  " if killed else "SURVIVED"
                print(f"{verdict} {file}: {mutant.right}  ->  {mutant.wrong}", flush=True)
    survivors = sum(not row["killed"] for row in rows)
    print(json.dumps(rows) if args.json else f"{len(rows) - survivors} of {len(rows)} killed")
    raise SystemExit(int(survivors > SURVIVORS_MAX))


if __name__ == "__main__":
    main()
