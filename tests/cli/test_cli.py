import csv
import functools
import importlib
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import typer

import bayescale
from bayescale.cli import main as cli
from bayescale.cli.arguments import number
from bayescale.display import terminal
from bayescale.display.gallery import OF_A_FIT
from bayescale.fitting import sampling
from bayescale.fitting.store import open_fit, save_fit
from bayescale.laws.law import load_law

pytestmark = pytest.mark.usefixtures("drift_once")

QUANTILES = {"q05", "q25", "q50", "q75", "q95"}
SIZES = [(n, d) for n in (1e7, 1e8, 1e9, 1e10) for d in (1e9, 1e10, 1e11)]
SCATTER = 1 + 0.004 * np.random.default_rng(1).standard_normal(12)
LOSSES = [(2 + 400 / n**0.34 + 400 / d**0.28) * scatter for (n, d), scatter in zip(SIZES, SCATTER, strict=True)]
GOOD = "N,D,loss\n" + "".join(f"{n:g},{d:g},{loss:.4f}\n" for (n, d), loss in zip(SIZES, LOSSES, strict=True))


made_once = functools.cache(typer.main.get_command)  # typer makes all commands anew in every call: half of its time


@pytest.fixture
def command(monkeypatch, capsys):
    """A command in this process, as the shell would run it: status, output, errors."""

    monkeypatch.setattr(typer.main, "get_command", made_once)

    def run(*args):
        monkeypatch.setattr(sys, "argv", ["bayescale", *map(str, args)])
        with pytest.raises(SystemExit) as exit:
            cli.main()
        out, err = capsys.readouterr()
        return exit.value.code, out, err

    return run


@pytest.fixture
def parsed(command):
    """The JSON that a command prints; nothing else may stand on its output."""

    def run(*args):
        status, out, err = command(*args, "--json")
        assert status == 0, err
        return json.loads(out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))

    return run


@pytest.fixture(scope="module")
def saved(true_fit, tmp_path_factory):
    return save_fit(true_fit(draws=1000), tmp_path_factory.mktemp("cli") / "fit.nc")


@pytest.fixture
def runs(tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text(GOOD)
    return path


# ---- a user's mistake is one plain sentence and status 1 ------------------------------------------------------------


def complains(command, message, *args):
    """Status 1, nothing on the output, and on the error stream one line that matches ``message``."""
    status, out, err = command(*args)
    assert status == 1, err
    assert out == ""
    assert err.startswith("error: ") and err.endswith("\n") and err.count("\n") == 1, err
    assert "Traceback" not in err and len(err) < 500
    assert message in err, err


def rows(*lines, header="N,D,loss"):
    return "\n".join([header, *lines]) + "\n"


BAD_RUNS = {
    "missing column": (rows("1e7,1e9", header="N,D"), "no column for loss among N, D"),
    "text in a number": (rows("1e7,1e9,3", "70X,1e9,3"), "line 3: N = '70X' is not a number (write 70e6"),
    "empty cell": (
        rows("1e7,,3"),
        "line 2: D is empty (a number > 0 is expected; --drop-missing leaves such rows out)",
    ),
    "NaN": (
        rows("1e7,1e9,nan"),
        "line 2: loss is missing or NaN (give its value, or leave such rows out: --drop-missing)",
    ),
    "zero": (rows("1e7,0,3"), "line 2: D = 0 (must be > 0)"),
    "negative": (rows("1e7,1e9,-3"), "line 2: loss = -3 (must be > 0)"),
    "infinite": (rows("1e7,1e9,inf"), "line 2: loss = inf (must be finite)"),
    "overflow": (rows("1e200,1e200,3"), "line 2: compute comes out as inf, by the units and C = 6 N D"),
    "duplicate header": (rows("1e7,1e9,3,3", header="N,D,loss,loss"), "columns ['loss'] stand twice"),
    "empty file": ("", "is empty; a header line and one line for each run are expected"),
    "header alone": (rows(), "no runs; a header line and one line for each run are expected"),
    "ragged": (rows("1e7,1e9,3", "1e7,1e9"), "line 3: 2 field(s), the header has 3"),
    "latin-1": (rows("1e7,1e9,3").replace("loss", "größe").encode("latin-1"), "no column for loss among N, D, größe"),
    "binary": (b"\x00\xff\xfe\x80" * 50, "is not UTF-8 or UTF-16 text"),
    "open quote": (rows('"1e7,1e9,3'), "not CSV"),
}


@pytest.mark.parametrize("kind", BAD_RUNS)
@pytest.mark.parametrize("name", ["check", "fit"])
def test_bad_runs(command, tmp_path, name, kind):
    content, message = BAD_RUNS[kind]
    (tmp_path / "runs.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    complains(command, message, name, tmp_path / "runs.csv")


def test_version(command):
    assert command("--version") == (0, f"{bayescale.__version__}\n", "")


def test_integers_whose_product_leaves_int64_are_read(command, tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text(rows("70000000000,1400000000000,1.9", "100000000000000,9000000000000000,1.5"))
    status, out, err = command("check", path)
    assert status == 0 and "compute 5.88e23 to 5.4e30 FLOP" in out and not err


LAW = """
title = "mine"
cite = "none"
formula = "L_ref * level * (N/N_ref)**(-slope)"
[priors]
level = { dist = "LogNormal", mu = 0.0, sigma = 0.3, about = "a" }
slope = { dist = "LogNormal", mu = -2.3, sigma = 0.6, about = "b" }
"""
BAD_LAWS = {
    "not TOML": (("title", "title title"), "law 'mine': not valid TOML"),
    "no formula": (('formula = "L_ref * level * (N/N_ref)**(-slope)"', ""), "'formula' is missing or empty"),
    "no prior": (("slope = {", "slop = {"), "no prior for ['slope']; priors not in the formula ['slop']"),
    "unknown distribution": (('"LogNormal", mu = 0.0', '"Cauchy", mu = 0.0'), "unknown distribution 'Cauchy'"),
    "wrong parameters": (("mu = 0.0, sigma = 0.3", "mu = 0.0"), "LogNormal takes ['mu', 'sigma'], given ['mu']"),
    "no scale": (("sigma = 0.3", "sigma = -0.3"), "prior 'level': sigma = -0.3 (must be > 0)"),
    "unknown key": (("[priors]", "colour = 1\n[priors]"), "unknown keys ['colour']"),
    "attribute": (("(-slope)", "(-slope.real)"), "attribute access 'slope.real' is not allowed in a formula"),
    "call": (("L_ref * level", "eval(level)"), "unknown function 'eval' in formula; the functions are exp"),
    "huge power": (("(-slope)", "9**9**9"), "exponent inf in formula"),
    "deep nesting": (("L_ref * level", "(" * 100 + "level" + ")" * 100), "formula is nested more than 60 deep"),
}


@pytest.mark.parametrize("kind", BAD_LAWS)
def test_bad_law_file(command, runs, tmp_path, kind):
    (old, new), message = BAD_LAWS[kind]
    assert old in LAW
    path = tmp_path / "mine.toml"
    path.write_text(LAW.replace(old, new, 1))
    complains(command, message, "fit", runs, "--law", path)
    complains(command, message, "laws", path)


@pytest.mark.parametrize(
    "hostile",
    [
        "__import__('os').system('touch {canary}')",
        "open('{canary}', 'w')",
        "(lambda: open('{canary}', 'w'))()",
        "[open('{canary}', 'w') for N in (1,)]",
        'exec(\'open("{canary}", "w")\')',
    ],
)
def test_hostile_formula_runs_nothing(command, runs, tmp_path, hostile):
    canary, path = tmp_path / "canary", tmp_path / "mine.toml"
    formula = json.dumps(hostile.format(canary=canary) + " * level * N**slope")
    path.write_text(LAW.replace('"L_ref * level * (N/N_ref)**(-slope)"', formula))
    status, _, err = command("fit", runs, "--law", path)
    assert status == 1 and err.startswith("error: law 'mine', formula: ") and err.count("\n") == 1
    assert not canary.exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ["check", "{folder}/absent.csv"],
            "absent.csv: no such file; a CSV, JSON, parquet, Excel, Markdown or event file of runs",
        ),
        (["check", "{empty}"], "is a folder without tables; a CSV, JSON, parquet, Excel, Markdown or event file"),
        (
            ["check", "{runs}", "--column", "loss"],
            "--column loss: ROLE=NAME is expected, such as --column loss=val_loss",
        ),
        (["check", "{runs}", "--column", "loss=ppl"], "no column 'ppl' for loss; the columns are N, D, loss"),
        (["check", "{runs}", "--column", "size=N"], "unknown role 'size' for column 'N'; the roles are params, tokens"),
        (["check", "{runs}", "--unit", "params=Gi"], "unknown unit 'Gi' for params; allowed are 1, K, M, B, T"),
        (
            ["fit", "{runs}", "--law", "chinchila"],
            "unknown law 'chinchila'; did",
        ),
        (["fit", "{runs}", "--law", "{folder}/absent.toml"], "absent.toml': No such file or directory"),
        (["fit", "{runs}", "--law", "{folder}/"], "Is a directory"),
        (["fit", "{runs}", "--noise", "cauchy"], "unknown noise 'cauchy'; the noises are student_t, normal"),
        (["fit", "{runs}", "--draws", "10"], "draws = 10 (a whole number of at least 100 is expected)"),
        (["fit", "{runs}", "--draws", "many"], "invalid value for '--draws'"),
        (["fit", "{runs}", "--seed", "-1"], "invalid value for '--seed'"),
        (["fit", "{runs}", "--below", "1e10"], "--below 1e10 leaves no run: the smallest compute is 6e16 FLOP"),
        (["fit", "{runs}", "--below", "17e"], "--below 17e: not a number (write 70e9 or 70B)"),
        (["fit", "{runs}", "--below", "7e16"], "1 run(s); a fit needs at least 4, and 12 or more to say much"),
        (
            ["fit", "{one_size}", "--law", "coupled"],
            "all 4 runs have params = 10M; law 'coupled' needs at least two different values",
        ),
        (["fit", "{constant}"], "all 4 losses are 3; there is nothing to learn from"),
        (["fit", "{runs}", "-o", "{folder}/absent/fit.nc"], "absent does not exist; make it"),
        (
            ["fit", "{runs}", "-o", "/dev/null"],
            "/dev/null is a device or a pipe; the name of a file is expected, such as",
        ),
        (["fit", "{runs}", "-o", "/proc/fit.nc"], "nothing can be written in the folder /proc (No such"),
        (["backtest", "{runs}", "-o", "{folder}/no/x.csv"], "/no does not exist"),
        (["backtest", "{runs}", "--figure", "{folder}/no/x.png"], "/no does not exist"),
        (["compare", "{runs}", "-o", "{folder}/no/x.csv"], "/no does not exist"),
        (["allocate", "{fit}", "-C", "1e22", "-o", "{folder}/no/x.csv"], "/no does not exist"),
        (["next", "{fit}", "-B", "1e21", "-o", "{folder}/no/x.csv"], "/no does not exist"),
        (["fit", "{runs}", "-o", "{folder}"], "is a folder; the name of a file in it is expected, such as"),
        (["fit", "{runs}", "--colour", "red"], "no such option: --colour"),
        (["fit"], "missing argument 'RUNS'"),
        (["fitt", "{runs}"], "no such command 'fitt'"),
        (["forecast", "{fit}"], "law 'chinchilla' also needs params, tokens; its inputs are params, tokens"),
        (["forecast", "{folder}/absent.nc", "-N", "7B", "-D", "1T"], "no such file; 'bayescale fit RUNS -o"),
        (
            ["forecast", "{folder}", "-N", "7B", "-D", "1T"],
            "is a folder; a fit saved by bayescale (fit.nc) is expected",
        ),
        (["forecast", "{runs}", "-N", "7B", "-D", "1T"], "not a readable NetCDF file; it may be truncated"),
        (["forecast", "{truncated}", "-N", "7B", "-D", "1T"], "not a readable NetCDF file; it may be truncated"),
        (
            ["forecast", "{fit}", "-N", "7B,70B", "-D", "1T"],
            "--params 7B,70B: not a number (write 70e9 or 70B; for several",
        ),
        (
            ["forecast", "{fit}", "-N", "7B", "--at", "epochs=1", "--at", "epochs=2"],
            "--at epochs is given twice, 1 and 2",
        ),
        (["fit", "{runs}", "--law", "kaplan", "-l", "chinchilla"], "--law / -l is given 2 times; it takes one value"),
        (["fit", "{runs}", "-lkaplan", "-lchinchilla"], "--law / -l is given 2 times; it takes one value"),
        (["next", "{fit}", "-B1e21", "-N7B", "-qN8B"], "--params / -N is given 2 times; it takes one value"),
        (["fit", "{runs}", "--seed=1", "--seed=2"], "--seed is given 2 times; it takes one value"),
        (
            ["allocate", "{fit}", "-C", "10ZFLOP"],
            "--compute 10ZFLOP: not a number (write 1e22: FLOP as the runs count",
        ),
        (["forecast", "{fit}", "-N", "7B", "-D", "1T", "--level", ".9"], "--level 0.9: percent between"),
        (["forecast", "{fit}", "-N", "7", "-D", "140"], "--params 7: 7 parameters, where the runs of the fit have "),
        (["next", "{fit}", "-B", "1e21", "-N", "7B", "-D", "140"], "or more; write the unit, 140B or 140M"),
        (["forecast", "{fit}", "-N", "7Q", "-D", "1T"], "--params 7Q: not a number (write 70e9 or 70B)"),
        (["forecast", "{fit}", "-N", "7B", "-D", "0"], "--tokens 0: a finite number above 0 is expected"),
        (["forecast", "{fit}", "-N", "nan", "-D", "1T"], "--params nan: a finite number above 0 is expected"),
        (
            ["forecast", "{fit}", "-N", "1B", "-N", "2B", "-D", "1B", "-D", "2B", "-D", "3B"],
            "or sequences of one length",
        ),
        (["forecast", "{fit}", "-N", "7B", "-D", "1T", "--target", "low"], "--target low: not a number (write 1.95"),
        (
            ["allocate", "{fit}", "-C", "1e22", "--cost", "6*N*D + 2*N*T"],
            "no value for ['T']; give them by name (given={'T': ...}, --given T=...)",
        ),
        (["forecast", "{fit}", "-N", "7B", "-D", "1T", "-o", "{folder}/no/x.csv"], "/no does not exist; make it"),
        (["allocate", "{fit}", "--compute", "-1e22"], "--compute -1e22: a finite number above 0 is expected"),
        (["allocate", "{fit}", "--compute", "1"], "compute = 1: a budget must be finite and above 6 FLOP"),
        (["allocate", "{fit}"], "missing option '--compute' / '-C'"),
        (["allocate", "{fit}", "-C", "1e22", "--params", "7B..1B"], "the least is above the most"),
        (["allocate", "{fit}", "-C", "1e22", "--ratio", "many"], "--ratio many: not a number"),
        (["allocate", "{fit}", "-C", "1e22", "--menu", "none.csv"], "--menu none.csv: No such file or directory"),
        (["allocate", "{fit}", "-C", "1e22", "--cost", "6*N"], "what a run costs must depend on both N and D"),
        (
            ["allocate", "{fit}", "-C", "1e22", "--given", "T"],
            "--given T: NAME=VALUE is expected, such as --given T=1e12",
        ),
        (["reach", "{fit}", "-L", "0"], "loss = 0: a loss above 0 is expected"),
        (["gain", "{fit}", "none.nc", "-C", "1e22"], "none.nc: no such file"),
        (["approaches", "{fit}", "-C", "1"], "a budget must be finite and above 6 FLOP"),
        (["next", "{fit}", "-B", "1e21"], "give its params and tokens (--params, --tokens)"),
        (["next", "{fit}", "-B", "1e21", "--target", "fame"], "unknown target 'fame'"),
        (["plan", "--quantity", "zeta"], "law 'coupled' has no quantity 'zeta'"),
        (["plan", "--params", "2B..1B"], "0 < smallest < largest"),
        (["backtest", "{runs}", "--horizon", "0"], "horizon = 0: a number of decades above 0 is expected"),
        (
            ["backtest", "{runs}", "--workers", "0"],
            "--workers 0: a number of worker processes of at least 1 is expected",
        ),
        (["backtest", "{runs}", "--workers", "2", "--scheduler", "tcp://a:1"], "give one of them"),
        (["compare", "{runs}", "--scheduler", "nowhere"], "executor = 'nowhere': None, a number of worker processes"),
        (["backtest", "{one_size}"], "no cut leaves 12 runs of 4 sizes"),
        (["calibrate", "nosuch"], "unknown law 'nosuch'"),
        (
            ["calibrate", "coupled", "--simulations", "3"],
            "simulations = 3 (a whole number from 10 to 100000",
        ),
        (["calibrate", "coupled", "--design", "{runs}", "--posterior", "{runs}"], "give it or --design"),
        (["calibrate", "coupled", "--design", "{empty}"], "is a folder without tables; a CSV"),
        (["calibrate", "vocabulary"], "its noise is in units of the range of the observed values"),
        (["calibrate", "coupled", "-o", "{folder}/no/x.csv"], "/no does not exist"),
        (["calibrate", "coupled", "--workers", "0"], "a number of worker processes of at least 1 is expected"),
        (["report", "{fit}", "-o", "{folder}/no/report.html"], "/no does not exist"),
        (["report", "{fit}", "-o", "{folder}/r.html", "-D", "..1T", "-D", "..2T"], "limits are given twice"),
        (["forecast", "{fit}", "-N", "7B", "-D", "1T", "--level", "0.5e3"], "percent between 1 and 100 are expected"),
        (["plot", "{fit}", "pie", "-o", "{folder}/pie.png"], "'pie' is no figure; they are forecast, frontier"),
        (["plot", "{fit}", "priors", "-C", "1e23", "-o", "{folder}/p.png"], "--compute does not go with the figure"),
        (["plot", "{fit}", "forecast", "-o", "{folder}/p.png"], "needs a planned run: -N 70B -D 1.4T"),
        (["report", "{fit}", "-o", "{folder}"], "is a folder; the name of a file in it is expected"),
        (["reproduce", "{truncated}", "{runs}"], "not a readable NetCDF file"),
        (["reproduce", "{fit}", "{folder}/absent.csv"], "absent.csv: no such file"),
        (["reproduce", "{fit}"], "missing argument 'RUNS'"),
        (["report", "{truncated}"], "not a readable NetCDF file"),
        (["report", "{fit}", "-o", "{folder}/report.html", "-N", "7B"], "params and tokens go together"),
        (["report", "{fit}", "-o", "{folder}/report.html", "-C", "much"], "--compute much: not a number"),
        (["report", "{fit}", "-o", "{folder}/report.html", "--compare", "kaplann"], "did you mean 'kaplan'?"),
        (["demo", "-o", "{runs}"], "runs.csv: cannot be made: File exists"),
        (
            ["datasets", "pyle"],
            "no data set 'pyle'; there are pile, chinchilla, ",
        ),
        (["laws", "nosuch"], "unknown law 'nosuch'; a law file of your own"),
    ],
)
def test_mistakes(command, args, message, runs, saved, tmp_path):
    (tmp_path / "one_size.csv").write_text(rows(*(f"1e7,{d},3.{d[0]}" for d in ("1e9", "2e9", "3e9", "4e9"))))
    (tmp_path / "constant.csv").write_text(rows("1e7,1e9,3", "1e8,1e9,3", "1e7,1e10,3", "1e8,1e10,3"))
    (tmp_path / "truncated.nc").write_bytes(saved.read_bytes()[:5000])
    (tmp_path / "empty").mkdir()
    files = {"folder": tmp_path, "runs": runs, "fit": saved, "truncated": tmp_path / "truncated.nc"}
    files |= {name: tmp_path / f"{name}.csv" for name in ("one_size", "constant")} | {"empty": tmp_path / "empty"}
    complains(command, message, *(arg.format(**files) for arg in args))


def test_read_only_folder_is_found_before_the_work(command, runs, saved, tmp_path, read_only):
    (tmp_path / "locked").mkdir()
    read_only(tmp_path / "locked")
    complains(command, "nothing can be written in the folder", "fit", runs, "-o", tmp_path / "locked" / "fit.nc")
    kept = ("--resume", tmp_path / "locked" / "kept")
    complains(command, "kept: cannot be made: ", "backtest", "pile", "--law", "chinchilla", *kept)


def test_unconverged_fit_is_one_sentence_too(command, runs, tmp_path, monkeypatch):
    from bayescale.fitting import diagnostics

    monkeypatch.setattr(diagnostics, "r_hat_limit", lambda *_: 0.5)
    monkeypatch.setattr(sampling, "SETTINGS", ((200, 0.9),))
    monkeypatch.setattr(sampling, "TIMES_MAX", 1)
    fit = ("fit", runs, "--law", "chinchilla", "--draws", "110", "-o", tmp_path / "fit.nc")
    complains(command, "did not converge after 1 attempt:", *fit)
    assert not (tmp_path / "fit.nc").exists()
    status, out, err = command(*fit, "--allow-unconverged")
    assert status == 0 and "NOT CONVERGED" in out and "warning: the chains did not converge" in err
    _, _, err = command("forecast", tmp_path / "fit.nc", "-N", "7B", "-D", "1T")
    assert "warning: the chains did not converge" in err


def test_our_own_mistakes_are_not_hidden(command, monkeypatch):
    def broken():
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(bayescale, "law_names", broken)
    monkeypatch.setattr(sys, "argv", ["bayescale", "laws"])
    with pytest.raises(ZeroDivisionError):
        cli.main()


def test_a_command_that_is_stopped_says_so(command, monkeypatch):
    def stopped():
        raise KeyboardInterrupt

    monkeypatch.setattr(bayescale, "law_names", stopped)
    assert command("laws") == (130, "", "stopped\n")


def test_no_command_prints_the_help(command):
    status, out, err = command()
    assert status == 1 and "Usage: bayescale" in out
    assert err == "error: a command is expected; 'bayescale --help' lists them\n"


def test_the_installed_command_is_this_function():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, name = project["scripts"]["bayescale"].partition(":")
    assert getattr(importlib.import_module(module), name) is cli.main


# ---- real processes -------------------------------------------------------------------------------------------------


def shell(*args, **options):
    return subprocess.run(
        [sys.executable, "-c", "from bayescale.cli.main import main; main()", *map(str, args)],
        capture_output=True,
        text=True,
        timeout=60,
        **options,
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("pille", "no data set 'pille'; there are pile, "),
        ("pile.cvs", "pile.cvs: no such file"),
        ("mine", "mine: no such"),
    ],
)
def test_runs_that_are_not_there(command, given, message):
    status, _, err = command("check", given)
    assert status == 1 and err.startswith(f"error: {message}") and ("did you mean 'pile'" in err) == (given == "pille")


def test_status_of_the_process(tmp_path):
    done = shell("laws", tmp_path / "absent.toml")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1


GRAPHS = {"pymc", "pytensor", "matplotlib", "arviz_plots", "distributed"}  # dask itself xarray imports, where it is
STATISTICS = {"arviz_stats", "scipy.stats", "scipy.optimize"}  # a second of imports, and 40 MB


@pytest.mark.parametrize(
    ("args", "heavy"),
    [
        (["laws", "chinchilla"], GRAPHS | STATISTICS | {"nutpie", "numba", "xarray"}),
        pytest.param(["fit", "--help"], GRAPHS | STATISTICS | {"nutpie", "numba"}, marks=pytest.mark.slow),
        (["check", "pile"], GRAPHS | STATISTICS | {"nutpie", "numba"}),
        pytest.param(["fit", "pile"], {"pymc", "pytensor", "distributed"}, marks=pytest.mark.slow),
        pytest.param(["fit", "pile", "--quick"], GRAPHS | {"nutpie"}, marks=pytest.mark.slow),
    ],
)
def test_commands_import_only_what_they_need(args, heavy):
    script = (
        "import sys; from bayescale.cli.main import main\n"
        "try: main()\n"
        "except SystemExit as exit: assert not exit.code\n"
        f"found = [name for name in {sorted(heavy)} if sys.modules.get(name) is not None]\n"
        "assert not found, found"
    )
    done = subprocess.run([sys.executable, "-c", script, *args], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout


def test_a_process_ends_without_a_last_search_for_garbage():
    """Which takes half a second after all that a report imports."""
    script = (
        "import atexit, gc; from bayescale.cli.main import main\n"
        "atexit.register(lambda: print('frozen:', gc.get_freeze_count() > 0)); main()"
    )
    done = subprocess.run([sys.executable, "-c", script, "laws"], capture_output=True, text=True, timeout=120)
    assert done.stdout.endswith("frozen: True\n"), done.stderr


@pytest.mark.slow
def test_a_scheduler_brings_dask():
    pytest.importorskip("distributed")
    script = (
        "import sys; from bayescale.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert 'distributed' in sys.modules"
    )
    args = ["backtest", "pile", "--scheduler=tcp://127.0.0.1:1"]
    done = subprocess.run([sys.executable, "-c", script, *args], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "tcp://127.0.0.1:1" in done.stderr and "pip install" not in done.stderr


def test_closed_pipe_is_no_traceback():
    done = subprocess.run(
        f"{sys.executable} -c 'from bayescale.cli.main import main; main()' laws chinchilla --json | head -c 10",
        shell=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "Traceback" not in done.stderr


# ---- what the commands print ----------------------------------------------------------------------------------------


def test_show(command, parsed, saved):
    status, out, _ = command("show", saved)
    assert status == 0 and "What is in this fit" in out and "Priors and what became of them" in out
    assert {"law", "priors", "runs", "versions", "warnings", "notes"} <= set(parsed("show", saved))


@pytest.mark.parametrize("kind", OF_A_FIT)
def test_plot(command, saved, tmp_path, kind, coarse):
    """Each kind with the options that the gallery gives it."""
    path = tmp_path / "figure.svg"
    status, out, err = command("plot", saved, kind, *OF_A_FIT[kind].example.split(), "-o", path)
    assert status == 0 and not err and out == f"Written: {path}\n" and path.read_bytes().startswith(b"<?xml")


def test_plot_as_json(parsed, saved, tmp_path):
    path = tmp_path / "figure.svg"
    assert parsed("plot", saved, "residuals", "-o", path) == {"file": str(path)}


def test_check(command, parsed, runs):
    status, out, err = command("check", "pile")
    assert status == 0 and not err
    assert out.startswith("pile: 30 runs; params 70.4M to 20.6B, tokens ")
    summary = parsed("check", runs)
    keys = {"source", "runs", "counted_by", "read", "columns", "notes", "would_leave_out", "next"}
    assert set(summary) == keys and summary["next"] == f"bayescale fit {runs} -o fit.nc"
    assert out.endswith("nothing to object to\nnext: bayescale fit pile -o fit.nc\n")
    assert summary["read"] == "loss = loss [nats], params = N, tokens = D, compute = 6 N D"
    assert "\nread: loss = loss [nats], params = params, tokens = tokens, compute = 6 N D\n" in out
    assert (
        summary["source"] == "runs.csv"
        and summary["runs"] == 12
        and summary["columns"][:3] == ["params", "tokens", "compute"]
    )


def test_check_chooses_rows_of_several_files_and_saves_them(command, parsed, tmp_path):
    head = "run,step,State,lr,params,tokens,loss\n"
    sweep = "".join(
        f"r{i},{s},finished,{i}e-4,70M,{s}e8,{3 + i / 100 - s / 100}\n" for i in range(1, 7) for s in (10, 20)
    )
    (tmp_path / "one.csv").write_text(head + sweep)
    (tmp_path / "two.csv").write_text(head + "r7,20,crashed,1e-4,1B,2e9,3\nr8,20,finished,1e-4,1B,2e9,\n")
    files, saved = [tmp_path / "one.csv", tmp_path / "two.csv"], tmp_path / "runs.csv"
    summary = parsed("check", *files)
    assert summary["source"] == "2 files" and summary["runs"] == 13
    assert summary["next"].endswith("""--drop-missing --where 'State not in ["crashed"]' -o fit.nc""")
    options = ["--where", "State == 'finished'", "--above-step", "10", "--drop-missing", "--last-of", "run"]
    status, out, _ = command("check", *files, *options, "--best-of", "params,tokens", "-o", saved)
    assert status == 0 and f"saved: {saved}" in out and out.startswith("2 files: 1 runs; ")
    assert (
        "left out 13 rows: 1 not meeting State == 'finished', 6 up to step 10, 1 without loss (all rows of r8), " in out
    )
    assert "5 not the lowest loss of their (params, tokens), chosen from 6 in each of 1" in out
    assert saved.read_text().startswith("params,tokens,loss,")


def test_check_takes_columns_and_units(parsed, tmp_path):
    (tmp_path / "runs.csv").write_text("size_m,seen,bits\n10,1e9,4.5\n100,1e9,4\n")
    options = ["--column", "params=size_m", "--column", "tokens=seen", "--column", "loss=bits"]
    summary = parsed("check", tmp_path / "runs.csv", *options, "--unit", "params=M", "--unit", "loss=bits")
    assert summary["runs"] == 2 and "units" not in {note["code"] for note in summary["notes"]}


def test_words_of_a_law_file_are_no_markup(command):
    path = Path(__file__).parent.parent / "corpus/laws/ok_words_that_are_markup_elsewhere.toml"
    status, out, _ = command("laws", path)
    assert status == 0
    for words in ("[/] [bold]t[/bold] :smile:", "[/] :smile:\n", "[bold] ", "[/bold]", "amplitude [/]"):
        assert words in out, words


def test_laws(command, parsed):
    status, out, _ = command("laws")
    assert status == 0 and "chinchilla(N, D): E + A*N**(-alpha) + B*D**(-beta)" in out
    names = [law["name"] for law in parsed("laws")["laws"]]
    assert len(names) >= 30 and {"chinchilla", "coupled", "kaplan"} <= set(names)
    card = parsed("laws", "chinchilla")
    assert (
        card["published"]["besiroglu2024"]["values"]["E"] == 1.8172
        and card["cite"]
        and card["priors"]["slope"]["about"]
    )
    _, out, _ = command("laws", "chinchilla")
    assert "As published   L = E + A*N**(-alpha) + B*D**(-beta)" in out and "Trap: " in out


def test_cite(command, parsed, tmp_path):
    _, out, err = command("cite")
    assert "@software{bayescale," in out and "The No-U-Turn Sampler" in out and "2203.15556" not in out and not err
    status, out, _ = command("cite", "chinchilla")
    assert status == 0 and "eprint = {2203.15556}" in out and out.count("@software{") == 1
    assert out.count("{") == out.count("}")
    found = parsed("cite", "chinchilla")
    assert out.strip() == "\n\n".join(found[part] for part in ("package", "method", "law"))
    own = tmp_path / "mine.toml"
    own.write_text(load_law("chinchilla").text.replace("arXiv:", "paper "))
    status, out, err = command("cite", own)
    assert status == 0 and "2203.15556" not in out and "names no arXiv number" in err and err.count("\n") == 1
    complains(command, "nosuch", "cite", "nosuch")


def test_fit(parsed, runs, tmp_path, sampled):
    summary = parsed("fit", runs, "--law", "chinchilla", "--seed", "3", "-o", tmp_path / "fit.nc")
    assert {"law", "runs", "parameters", "diagnostics"} <= set(summary)
    assert summary["law"] == "chinchilla" and summary["runs"] == 12
    for name in ("E", "A", "B", "alpha", "beta"):
        assert {"median", "q05", "q95", "r_hat", "ess_bulk"} <= set(summary["parameters"][name])
    assert {"divergences", "r_hat_max", "ess_min", "converged"} <= set(summary["diagnostics"])
    fit = open_fit(tmp_path / "fit.nc")
    assert fit.attrs["seed"] == 3 and fit.attrs["source"] == "runs.csv"
    assert summary["parameters"]["E"]["median"] == pytest.approx(float(fit["posterior"]["E"].median()))


def test_very_many_runs_are_said_beforehand(command, parsed, many_runs, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.import_module("bayescale.fitting.fit"), "MANY_RUNS", 200)
    many_runs[["params", "tokens", "loss"]].to_dataframe().to_csv(tmp_path / "many.csv", index=False)
    args = ("fit", tmp_path / "many.csv", "--law", "chinchilla", "--draws", "300")
    status, out, error = command(*args)
    assert status == 0 and "note: chains of 300 runs take minutes; a quick answer is tried first (--no-quick:" in error
    assert "quick answer by importance sampling" in out and "--no-quick samples them" in out
    assert parsed(*args)["diagnostics"]["quick_because"] == "chains of 300 runs take minutes"


def test_fit_prints_a_table(command, sampled):
    status, out, _ = command("fit", "pile", "--law", "chinchilla", "--below", "1e22")
    assert status == 0
    assert "law 'chinchilla' on 23 runs: posterior median and 90 % band" in out and ": converged" in out


@pytest.mark.slow
def test_reproduce(command, parsed, sampled, tmp_path):
    fit = tmp_path / "fit.nc"
    assert command("fit", "pile", "--law", "chinchilla", "--below", "1e22", "--seed", "3", "-o", fit)[0] == 0
    assert open_fit(fit).attrs["below"] == 1e22
    status, out, _ = command("reproduce", fit, "pile")
    assert status == 0 and "Same bits: every draw of all" in out and "made again" in out
    summary = parsed("reproduce", fit, "pile")
    assert summary["verdict"] == "same_bits" and {row["apart"] for row in summary["quantities"]} == {0}
    status, out, _ = command("reproduce", fit, "pile", "--below", "1e21")
    assert status == 1 and "Other runs: " in out and "Nothing was fitted" in out
    assert command("reproduce", fit, "pile", "--below", "1e21", "--quiet") == (1, "", "")


def test_forecast(command, parsed, saved, tmp_path):
    summary = parsed("forecast", saved, "--params", "70e9", "--tokens", "1.4T")
    (point,) = summary["points"]
    assert {"params", "tokens", "compute", "decades_beyond", "law_loss", "loss"} <= set(point)
    assert set(point["law_loss"]) == set(point["loss"]) - {"q99"} == QUANTILES
    assert point["params"] == 7e10 and point["tokens"] == 1.4e12 and point["compute"] == pytest.approx(5.88e23)
    assert summary["diagnostics"]["converged"] is True
    point = parsed("forecast", saved, "-N", "70B", "-D", "1.4e12", "--target", "2")["points"][0]
    assert point["target"] == 2 and 0 < point["p_reach"] < 1
    status, out, _ = command("forecast", saved, "-N", "1B", "-N", "70B", "-D", "1T", "-o", tmp_path / "table.csv")
    assert status == 0 and "70B" in out and "loss, 90 % band" in out
    with open(tmp_path / "table.csv", newline="") as file:
        table = list(csv.DictReader(file))
    assert [row["params"] for row in table] == ["1000000000.0", "70000000000.0"] and "loss_q95" in table[0]


def test_allocate(command, parsed, saved, tmp_path):
    summary = parsed("allocate", saved, "--compute", "5.76e23", "-C", "1e22")
    assert [budget["compute"] for budget in summary["budgets"]] == [5.76e23, 1e22]
    for budget in summary["budgets"]:
        assert {"compute", "params", "tokens", "tokens_per_param", "loss", "identified"} <= set(budget)
        assert budget["identified"] is True and set(budget["tokens_per_param"]) == QUANTILES
    status, out, _ = command("allocate", saved, "-C", "1e22", "-o", tmp_path / "table.csv")
    assert status == 0 and "tokens per param" in out and (tmp_path / "table.csv").exists()

    assert "What to train, and what other choices cost" in out and "costs less than 0.1 % of the loss more" in out
    choices = summary["decision"]["choices"]
    assert [choice["choice"] for choice in choices[:3]] == [
        *("least expected loss", "median of N*", "20 tokens per parameter"),
    ]


@pytest.mark.slow
def test_allocate_with_costs_and_limits(command, parsed, saved, tmp_path):
    (tmp_path / "menu.csv").write_text("params,layers\n1e9,16\n7e9,32\n")
    args = ["allocate", saved, "-C", "1e22", "--law-only"]
    held = parsed(*args, "--ratio", "200..", "--params", "100M..100B")["budgets"][0]
    assert held["held"].startswith("tokens per parameter >= 200") and held["tokens_per_param"]["q05"] is None
    menu = parsed(*args, "--menu", tmp_path / "menu.csv", "--cost", "(6*N + 1e6*layers)*D")["budgets"][0]
    assert menu["params"]["q50"] in (1e9, 7e9)
    summary = parsed(*args, "--cost", "6*N*D + 2*N*T", "--given", "T=1T", "--candidate", "1B")
    assert summary["cost"] == "6*N*D + 2*N*T"
    assert "N = 1B" in [row["choice"] for row in summary["decision"]["choices"]]
    status, out, err = command(*args, "--tokens", "1T")
    assert status == 0 and "held by" in out and "tokens = 1T" in out and "held by your limit" in err


def test_a_budget_with_its_unit(command, parsed, saved):
    cost = ["--cost", "6*N*D/1e18", "--law-only"]
    assert parsed("allocate", saved, "-C", "1e4 dollars", *cost)["budgets"][0]["compute"] == 1e4
    status, _, err = command("allocate", saved, "-C", "1e4 dollars", *cost, "--tokens", "..10B")
    assert status == 0 and "1e4 dollars: held by your limit" in err.replace("10000", "1e4").replace("10,000", "1e4")


def test_reach(command, parsed, saved):
    (near, far) = parsed("reach", saved, "--loss", "2.2", "-L", "1.2")["targets"]
    assert near["compute"]["q05"] < near["compute"]["q95"] and near["identified"] and near["p_reached"] == 1
    assert far["compute"]["q50"] is None and not far["identified"]
    status, out, err = command("reach", saved, "-L", "1.2")
    assert status == 0 and "not identified" in out and "of the draws do not reach it" in err


def test_gain(command, parsed, saved):
    (row,) = parsed("gain", saved, saved, "-C", "1e22")["budgets"]
    assert row["gain_q50"] == pytest.approx(1, abs=1e-4) and row["p_better"] == 0
    assert "Compute-equivalent gain" in command("gain", saved, saved, "-C", "1e22")[1]


def test_approaches(command, parsed, saved):
    summary = parsed("approaches", saved, "-C", "1e22")
    assert [row["approach"][0] for row in summary["approaches"]] == ["1", "2", "3"]
    assert summary["agree"] in (True, False, None) and summary["statement"]
    assert "3 law, posterior" in command("approaches", saved, "-C", "1e22")[1]


def test_next(command, parsed, saved, tmp_path):
    (tmp_path / "could.csv").write_text("params,tokens\n1e8,1e10\n1e9,2e10\n")
    args = ["next", saved, "--budget", "1e21", "-N", "70B", "-D", "1.4T", "--law-only"]
    summary = parsed(*args, "--runs", "3")
    assert 1 <= len(summary["plan"]) <= 3 and summary["width_after"] < summary["width_now"]
    plan = parsed(*args, "--candidates", tmp_path / "could.csv")["plan"]
    assert plan[0]["params"] in (1e8, 1e9)
    status, out, _ = command(*args, "-o", tmp_path / "plan.csv")
    assert status == 0 and "The 90 % band of log loss" in out and (tmp_path / "plan.csv").exists()
    other = ["next", saved, "--budget", "1e21", "--target", "params", "-C", "1e24", "--law-only"]
    assert "log N* at 1e24 FLOP" in parsed(*other)["target"]


def test_plan(command, parsed):
    summary = parsed("plan", "--law", "kaplan", "--quantity", "alpha_N", "--params", "50M..2B")
    assert summary["rows"][0]["runs"] == 8 and "alpha_N" in summary["statement"]
    assert "sd of alpha_N" in command("plan", "--law", "kaplan", "--quantity", "alpha_N")[1]


def test_allocation_that_is_not_identified(command, parsed, true_fit, tmp_path):
    path = save_fit(true_fit(draws=100, collinear=True), tmp_path / "fit.nc")
    budget = parsed("allocate", path, "-C", "1e22")["budgets"][0]
    assert budget["identified"] is False and set(budget["params"].values()) == {None} and budget["why_not"]
    _, out, err = command("allocate", path, "-C", "1e22")
    assert out.count("not identified") == 4 and "warning: 1e22 FLOP: not identified: N and D move together" in err


def test_backtest(parsed, tmp_path, crossed_runs, sampled):
    runs = crossed_runs(8, 4)
    runs.to_dataframe().to_csv(tmp_path / "runs.csv", index=False)
    args = ["backtest", tmp_path / "runs.csv", "--law", "chinchilla", "--horizon", "0.5", "--resume", tmp_path / "kept"]
    summary = parsed(*args)
    assert summary["statement"].startswith("With the law 'chinchilla', forecasts 0 to 0.5 decades")
    (row,) = summary["backtest"]
    assert row["forecasts"] >= 2 and 0 <= row["cover90"] <= 1 and row["crps"] > 0
    assert parsed(*args) == summary and list((tmp_path / "kept").iterdir())
    assert parsed(*args, "--workers", "1") == summary and summary["failed"] == {"chinchilla": []}


@pytest.mark.slow
def test_calibrate(command, parsed, tmp_path, crossed_runs):
    crossed_runs(4, 3).to_dataframe().to_csv(tmp_path / "runs.csv", index=False)
    args = ["calibrate", "power_compute", "--design", tmp_path / "runs.csv", "--simulations", "10", "--draws", "300"]
    args += ["--resume", tmp_path / "kept", "-o", tmp_path / "ranks.csv", "--figure", tmp_path / "ranks.png"]
    summary = parsed(*args)
    assert summary["law"] == "power_compute" and summary["runs"] == 12 and summary["kind"] == "prior"
    assert sum(summary["status"].values()) == 10 and summary["statement"].startswith("Law 'power_compute', parameters")
    rows = {row["quantity"]: row for row in summary["rows"]}
    assert {"level", "sigma", "log_likelihood", "loss_beyond"} <= set(rows)
    assert all(0 < row["p"] <= 1 and 0 <= row["cover90"] <= 1 for row in rows.values())
    assert (tmp_path / "ranks.png").read_bytes().startswith(b"\x89PNG")
    with open(tmp_path / "ranks.csv", newline="") as file:
        assert {row["quantity"] for row in csv.DictReader(file)} == set(rows)
    status, out, _ = command(*args)  # from the folder
    assert status == 0 and "p of ranks" in out and summary["statement"] in out


def test_datasets(command, parsed):
    rows = parsed("datasets")["datasets"]
    assert [row["name"] for row in rows[:2]] == ["pile", "chinchilla"]
    assert [row["embedded"] for row in rows] == [True] + [False] * (len(rows) - 1) and all(
        row["licence"] for row in rows
    )
    one = parsed("datasets", "pile")
    assert one["runs"] == 30 and one["file"].endswith("pile.csv") and "arXiv" in one["cite"]
    status, out, _ = command("datasets", "pile")
    assert status == 0 and out.strip() == one["file"]


@pytest.mark.parametrize(
    "args",
    [
        ["check", "pile"],
        ["laws"],
        ["laws", "coupled"],
        ["cite", "coupled"],
        ["datasets"],
        ["datasets", "pile"],
        ["fit", "pile", "--law", "chinchilla", "--below", "1e22"],
        ["forecast", "{fit}", "-N", "70B", "-D", "100T"],
        ["allocate", "{fit}", "-C", "1e22"],
        ["plan", "--law", "kaplan", "--quantity", "alpha_N"],
        *(
            pytest.param(arguments, marks=pytest.mark.slow)
            for arguments in (
                ["reach", "{fit}", "-L", "2.2"],
                ["gain", "{fit}", "{fit}", "-C", "1e22"],
                ["approaches", "{fit}", "-C", "1e22"],
                ["next", "{fit}", "-B", "1e21", "-N", "70B", "-D", "1.4T", "--law-only"],
            )
        ),
    ],
)
def test_quiet(command, args, saved, sampled):
    status, out, err = command(*(arg.format(fit=saved) for arg in args), "--quiet")
    assert (status, out, err) == (0, "", "")


def test_same_seed_same_numbers(parsed, saved):
    a, b, c = (parsed("forecast", saved, "-N", "70B", "-D", "1T", "--seed", seed) for seed in (1, 1, 2))
    assert a == b != c


@pytest.mark.parametrize(
    ("text", "value"), [("70e9", 7e10), ("70B", 7e10), ("1.4T", 1.4e12), ("350m", 3.5e8), ("12k", 1.2e4), ("7", 7.0)]
)
def test_numbers_as_people_write_them(text, value):
    assert number("--params", text) == value


def test_json_has_no_nan():
    plain = terminal.plain({"a": np.float64("nan"), "b": [np.inf, np.int64(2)], "c": (np.bool_(True), "x"), "d": None})
    assert plain == {"a": None, "b": [None, 2], "c": [True, "x"], "d": None}


# ---- slow: the demonstration ----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_demo(parsed, tmp_path):
    summary = parsed("demo", "-o", tmp_path / "demo")
    assert {"fit", "forecast", "measured", "allocation", "backtest", "verdict", "files"} <= set(summary)
    assert len(summary["measured"]) == len(summary["forecast"]["points"]) == 7
    made = {path.name for path in (tmp_path / "demo").iterdir()}
    tables = {"fit.nc", "forecasts.csv", "allocation.csv", "backtest.csv"}
    assert made == {*tables, "forecast.png", "backtest.png", "report.html"}
    assert "A run of 20.6B parameters on 472B tokens" in (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")
    assert (tmp_path / "demo" / "forecast.png").read_bytes().startswith(b"\x89PNG")
    assert open_fit(tmp_path / "demo" / "fit.nc").attrs["source"] == "pile"
    pairs = zip(summary["forecast"]["points"], summary["measured"], strict=True)
    assert sum(point["loss"]["q05"] <= loss <= point["loss"]["q95"] for point, loss in pairs) >= 5


# ---- laws of other inputs, and of other quantities ------------------------------------------------------------------


def test_published_constants_at_a_size(command, parsed):
    found = parsed("laws", "chinchilla", "--at", "params=70B,tokens=1.4T")
    assert found["at"] == {"params": 7e10, "tokens": 1.4e12}
    assert found["loss"]["besiroglu2024"] == pytest.approx(1.9737, abs=1e-4)
    status, out, _ = command("laws", "transfer", "--at", "params=1e9,finetune_data=1e6")
    assert status == 0 and out.startswith("transfer: transferred_data by published constants, at params = 1B")


def test_published_constants_split_a_budget(command, parsed):
    found = parsed("laws", "chinchilla", "--at", "compute=5.76e23")
    assert found["compute"] == 5.76e23
    assert [round(row["ratio"], 1) for row in found["constants"]] == [58.9, 18.3]
    status, out, _ = command("laws", "chinchilla", "--at", "compute=5.76e23")
    assert status == 0 and "tokens per parameter" in out and "hoffmann2022" in out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["laws", "--at", "params=1"], "--at goes with a law"),
        (["laws", "chinchilla", "--at", "params=1"], "law 'chinchilla' takes params, tokens: tokens is missing"),
        (["laws", "chinchilla", "--at", "params"], "--at params: ROLE=NAME is expected"),
        (["laws", "chinchilla", "--at", "params=many"], "--at params=many: not a number"),
        (["laws", "broken2", "--at", "x=1"], "law 'broken2' comes without published constants"),
        (
            ["fit", "{runs}", "--law", "m4"],
            "no column for x among N, D, loss, which law 'm4' uses",
        ),
        (["fit", "{runs}", "--law", "accuracy_sigmoid"], "no column for accuracy among"),
        (["fit", "{runs}", "--noise", "beta_binomial"], "noise 'beta_binomial' is not for what law 'coupled' explains"),
        (["backtest", "{runs}", "--law", "coverage"], "no column for samples"),
        (["forecast", "{fit}", "-N", "7B", "-D", "1T", "--at", "epochs=4"], "'epochs' is not an input of law"),
    ],
    ids=lambda value: " ".join(value[:4]) if isinstance(value, list) else "",
)
def test_mistakes_with_other_laws(command, args, message, runs, saved):
    complains(command, message, *(arg.format(runs=runs, fit=saved) for arg in args))


def test_own_law_of_another_column_in_every_command(command, parsed, make_fit, tmp_path):
    """A law in a file beside the runs: card, forecast with its own input, and what is said of a budget."""
    path = tmp_path / "mine.toml"
    path.write_text(
        'title = "repeated data"\ncite = "my notes"\n'
        'formula = "L_ref * level * ((N/N_ref)**(-slope) + (D/D_ref)**(-slope)) * (epochs/epochs_ref)**gain"\n'
        "[priors]\n"
        'level = { dist = "LogNormal", mu = 0.0, sigma = 0.3, about = "a" }\n'
        'slope = { dist = "LogNormal", mu = -2.3, sigma = 0.6, about = "b" }\n'
        'gain = { dist = "LogNormal", mu = -4.0, sigma = 0.6, about = "c" }\n'
    )
    assert "As sampled     L = L_ref * level" in command("laws", path)[1]
    rng = np.random.default_rng(1)
    runs = {"params": np.logspace(7, 9, 16), "tokens": np.logspace(9, 11, 16)[rng.permutation(16)]}
    runs |= {"epochs": np.tile([1.0, 4.0], 8), "loss": np.linspace(4, 3, 16)}
    values = {"level": 0.6 + 0.01 * rng.uniform(size=400), "slope": 0.1 + 0.01 * rng.uniform(size=400)}
    fit = make_fit(path, values | {"gain": 0.02 + 0.002 * rng.uniform(size=400)}, runs)
    saved = save_fit(fit, tmp_path / "mine.nc")
    once, often = (
        parsed("forecast", saved, "-N", "1B", "-D", "100B", "--at", "epochs=1")["points"],
        parsed("forecast", saved, "-N", "1B", "-D", "100B", "--at", "epochs=4")["points"],
    )
    assert often[0]["law_loss"]["q50"] == pytest.approx(once[0]["law_loss"]["q50"] * 4**0.021, rel=0.003)
    assert "epochs" in command("forecast", saved, "-N", "1B", "-D", "100B", "--at", "epochs=4")[1]


def test_forecast_of_an_accuracy(command, parsed, make_fit, tmp_path):
    runs = {"loss": np.linspace(2.0, 3.0, 12), "accuracy": np.linspace(0.8, 0.3, 12), "items": np.full(12, 500.0)}
    parameters = {"low": 0.25, "reach": 0.9, "shift": 0.0, "steepness": 3.0}
    fit = make_fit("accuracy_sigmoid", {name: np.full(400, value) for name, value in parameters.items()}, runs)
    saved = save_fit(fit, tmp_path / "accuracy.nc")
    (point,) = parsed("forecast", saved, "--at", "loss=1.8", "--target", "0.8")["points"]
    assert point["law_accuracy"]["q50"] < 1 and 0 <= point["p_reach"] <= 1 and point["items"] == 500
    status, out, err = command("forecast", saved, "--at", "loss=1.8")
    assert status == 0 and "accuracy, 90 % band" in out and "the law and its noise only" not in err


def test_what_is_read_is_not_overwritten(command, tmp_path):
    path = tmp_path / "runs.csv"
    path.write_text("params,tokens,loss\n1e7,1e9,4\n1e8,1e9,3.5\n1e7,1e10,3.6\n1e8,1e10,3\n")
    before = path.read_bytes()
    complains(command, "is an input; give the result another name, such as fit.nc", "fit", path, "-o", path)
    assert path.read_bytes() == before


def test_a_comparison_without_a_look_forward_asks_for_no_averages():
    from bayescale.cli.evidence import _averages

    found = _averages({}, bayescale.load_dataset("pile"), ([[], []], []), 0.9, 0)  # which has no forward weights
    assert found == {"forecast": None, "allocation": None}
