"""Names, cells and places that nobody expects: dollar signs, escapes, no home, a full disk behind the output."""

import os
import subprocess
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

import bayescale
from bayescale.cli.main import app
from bayescale.display.figures import save_figure
from bayescale.display.table import table
from bayescale.display.terminal import say
from bayescale.errors import FileError, FitError, LawError
from bayescale.field import printable
from bayescale.fitting import fit as fit_module
from bayescale.jobs.files import check_writable, write_table, write_whole
from bayescale.laws.law import load_law, models_folder

ESCAPES = "a\x1b[2Jb", "tail\u202egpj.exe", "zero\u200bwidth", "half\udcff", "bell\x07", "new\u2028line"

# ---- what is printed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ESCAPES)
def test_what_a_terminal_would_obey_is_spelt_out(text, capsys):
    say(f"one\n{text}")
    shown = capsys.readouterr().out
    assert shown.startswith("one\n") and shown.replace("\n", "").isprintable()
    assert "\\" in shown


def test_what_can_be_read_stays_as_it_is(capsys):
    for text in ("café, 名前, Δ", "two\nlines", "a\\b", "no\u00a0break"):
        assert printable(text) == text.replace("\u00a0", " ")


@pytest.mark.parametrize("text", ESCAPES)
def test_tables_and_errors_are_printable(text):
    shown = table(text, ("", text), [(text, "1")])
    assert str(shown).replace("\n", "").isprintable() and text not in shown._repr_html_()
    for kind in (FitError, LawError, FileError, bayescale.RunsError):
        assert str(kind(f"{text}: no such file")).isprintable()


def test_all_that_is_printed_goes_through_one_function():
    package = Path(bayescale.__file__).parent
    printing = {path.name for path in package.rglob("*.py") if "\n    print(" in path.read_text(encoding="utf-8")}
    assert printing == {"terminal.py"}


def run(*arguments, **options):
    command = [sys.executable, "-c", "from bayescale.cli.main import main; main()", *arguments]
    return subprocess.run(command, capture_output="stdout" not in options, text=True, check=False, **options)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
@pytest.mark.parametrize("arguments", [("laws", "chinchilla"), ("laws", "--json"), ("--help",)])
def test_a_full_output_is_one_sentence(arguments):
    with open("/dev/full", "w") as full:
        done = run(*arguments, stdout=full, stderr=subprocess.PIPE)
    assert done.stderr == "error: the output cannot be written: No space left on device\n" and done.returncode == 1


def test_a_terminal_of_few_letters_shows_the_others_by_their_numbers(tmp_path):
    done = run("fit", "名前.csv", cwd=tmp_path, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert done.stderr.startswith("error: \\u540d\\u524d.csv: no such file") and done.returncode == 1


# ---- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["cost_$5_vs_$10", "$\\frac$ 100%_{a}^b"])
@pytest.mark.usefixtures("drift_once")
def test_a_name_is_not_mathematics(name, true_fit, tmp_path):
    """matplotlib reads what stands between two dollar signs as TeX, and fails where it is none."""
    fit = true_fit(draws=40)
    fit.attrs |= {"source": name, "law": name}
    figure = bayescale.plot_residuals(fit)
    assert name in figure._suptitle.get_text()
    save_figure(figure, tmp_path / "a.png")
    figure = bayescale.plot_forecast(fit, bayescale.forecast(fit, 1e10, 1e12))
    save_figure(figure, tmp_path / "b.svg")
    assert (tmp_path / "a.png").stat().st_size and (tmp_path / "b.svg").stat().st_size
    plt.close("all")


@pytest.mark.parametrize("stem", [*ESCAPES, "new\nline"])
def test_a_law_file_whose_name_cannot_be_printed_is_refused(stem, tmp_path):
    path = tmp_path / f"{stem}.toml"
    path.write_bytes((models_folder() / "chinchilla.toml").read_bytes())
    with pytest.raises(LawError, match="its name is that of the law, and must be printable; rename it") as refused:
        load_law(path)
    assert str(refused.value).replace("\n", "").isprintable()


@pytest.mark.parametrize("name", [*ESCAPES, "new\nline", "nul\x00", "n" * 300, ""])
def test_a_file_that_cannot_be_written_is_refused_before_the_work(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileError) as refused:
        check_writable(name)
    assert len(str(refused.value)) < 200
    if "\0" in name:
        return  # no shell can pass it
    monkeypatch.setattr(fit_module, "model_of", lambda *_: pytest.fail("the work has begun"))
    done = CliRunner().invoke(app, ["fit", "pile", "-o", name], standalone_mode=False)
    assert isinstance(done.exception, FileError), done.exception
    assert list(tmp_path.iterdir()) == []


def test_other_places_that_cannot_be_written(tmp_path):
    text = "N,D,loss\n" + "".join(f"{1e8 * (1 + i % 4)},{1e10 * (1 + i // 4)},{3 - 0.1 * i}\n" for i in range(12))
    (tmp_path / "runs.csv").write_text(text)
    (tmp_path / "link.csv").symlink_to("runs.csv")
    os.link(tmp_path / "runs.csv", tmp_path / "hard.csv")
    for place, said in (
        (tmp_path, "is a folder; the name of a file in it is expected"),
        (tmp_path / "no" / "fit.nc", "the folder .* does not exist"),
        (tmp_path / "runs.csv" / "fit.nc", "does not exist"),
        (tmp_path / "link.csv", "is an input"),
        (tmp_path / "hard.csv", "is an input"),
    ):
        done = CliRunner().invoke(app, ["fit", str(tmp_path / "runs.csv"), "-o", str(place)], standalone_mode=False)
        with pytest.raises(ValueError, match=said):
            raise done.exception
    assert (tmp_path / "runs.csv").read_text() == text


@pytest.mark.parametrize("count", [200, 230, 240, 255])
def test_every_name_that_the_file_system_takes(count, tmp_path):
    path = tmp_path / ("é" * 10 + "y" * (count - 24) + ".csv")
    assert len(os.fsencode(path.name)) == count
    write_whole(path, lambda draft: draft.write_text("new"))
    write_whole(path, lambda draft: draft.write_text("newer"))
    assert path.read_text() == "newer" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444])
def test_what_is_written_over_keeps_its_mode(mode, tmp_path):
    path = tmp_path / "private.nc"
    path.write_text("old")
    path.chmod(mode)
    write_whole(path, lambda draft: draft.write_text("new"))
    assert path.read_text() == "new" and path.stat().st_mode & 0o777 == mode


# ---- cells ----------------------------------------------------------------------------------------------------------


def test_no_cell_is_a_formula(tmp_path):
    cells = ["=1+1", "+1", "-x", "@sum(a1)", "\tx", "plain", "a=b", "\x1b[2J", ""]
    frame = pd.DataFrame({"=head": cells, "number": np.linspace(-1, 1, len(cells))})
    write_table(frame, tmp_path / "a.csv")
    read = pd.read_csv(tmp_path / "a.csv", keep_default_na=False)
    assert list(read.columns) == ["'=head", "number"]
    assert list(read["'=head"]) == ["'=1+1", "'+1", "'-x", "'@sum(a1)", "'\\tx", "plain", "a=b", "\\x1b[2J", ""]
    np.testing.assert_allclose(read["number"], frame["number"])


# ---- no home, too much ----------------------------------------------------------------------------------------------

NO_HOME = """
import os, pwd, sys
for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "BAYESCALE_KERNELS", "MPLCONFIGDIR"):
    os.environ.pop(name, None)
def unknown(uid):
    raise KeyError(uid)
pwd.getpwuid = unknown
"""


def test_a_user_without_a_home_compiles_without_keeping():
    script = NO_HOME + (
        "from bayescale.engine.numba_density import _default_folder\n"
        "from bayescale.engine.cache import compiled_module\n"
        "assert _default_folder() is None\n"
        "assert compiled_module('CACHE = True\\ntwo = 2\\n', None).two == 2\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_user_without_a_home_gets_a_fit_and_a_report(tmp_path):
    for arguments in (["fit", "pile", "-o", "fit.nc", "-q"], ["report", "fit.nc", "-o", "report.html", "-q"]):
        script = NO_HOME + f"sys.argv = ['bayescale', *{arguments}]\nfrom bayescale.cli.main import main; main()"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
    assert {path.name for path in tmp_path.iterdir()} == {"fit.nc", "report.html"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"draws": 10**9}, "4 chains of 1000000000 draws: at most 1000000 draws in all are kept"),
        ({"draws": 10**21}, "at most 1000000 draws in all are kept"),
        ({"chains": 10**6}, r"chains = 1000000 \(a whole number from 2 to 100 is expected\)"),
        ({"seed": 2**63}, r"seed = 9223372036854775808 \(a whole number below 2\*\*63 is expected\)"),
    ],
)
def test_more_than_makes_sense_is_refused_before_the_work(options, said, pile, monkeypatch):
    monkeypatch.setattr(fit_module, "model_of", lambda *_: pytest.fail("the work has begun"))
    with pytest.raises(FitError, match=said):
        bayescale.fit(pile, "chinchilla", **options)


def test_a_fit_that_no_file_has_room_for_is_refused_before_the_work(crossed_runs, monkeypatch):
    monkeypatch.setattr(fit_module, "SAVED_BYTES_MAX", 8 * 4000 * 40)
    monkeypatch.setattr(fit_module, "model_of", lambda *_: pytest.fail("the work has begun"))
    with pytest.raises(FitError, match=r"4000 draws of \d+ numbers each are more than the file of a fit has room for"):
        bayescale.fit(crossed_runs(), "chinchilla")


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: bayescale.plan_runs(noise=1e300), r"noise = 1e\+300: an sd of log loss of at most 1 is expected"),
        (lambda: bayescale.calibrate(simulations=10**9), "simulations = 1000000000"),
        (lambda: bayescale.calibrate(draws=10**9), "draws = 1000000000"),
    ],
)
def test_other_limits(call, said):
    with pytest.raises(FitError, match=said):
        call()
