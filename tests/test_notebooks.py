"""The notebooks: stored without outputs, run to the end in time, and show what their text says they show."""

import re
import time
from pathlib import Path

import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed (extra: docs)")

FOLDER = Path(__file__).resolve().parent.parent / "notebooks"
NAMES = ["quick_start", "which_law", "how_far", "jump_or_metric"]
MINUTES = 3
# what the text around the cells rests on, in the outputs
SHOWS = {
    "quick_start": ["measured 1.519; 90 % band .*: inside", "least expected loss", "converged"],
    "which_law": ["'coupled' .* cannot be told from it: a tie", "the truth: 1.974", "the runs decide it"],
    "how_far": [
        "0.7 decades: .*: held",
        "4.0 decades: .*: MISSED",
        "not identified: N and D move together",
        "the truth: 2.142",
    ],
    # the rise of one token as of ten, and what stands in the text of each
    "jump_or_metric": ["accuracy is 1.[567] times as sharp", "accuracy is 2.[3-7] times as sharp", "least budget"],
}


def read(name):
    return nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)


def test_all_notebooks_are_known():
    assert {path.stem for path in FOLDER.glob("*.ipynb")} == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_stored_without_outputs(name):
    notebook = read(name)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert not cell.outputs and cell.execution_count is None, f"{name}: cell {cell.id} keeps an output"
    assert (FOLDER / f"{name}.ipynb").stat().st_size < 20_000


@pytest.mark.parametrize("name", NAMES)
def test_needs_no_network(name):
    code = "\n".join(cell.source for cell in read(name).cells if cell.cell_type == "code")
    assert not re.search(r"load_dataset\((?!\"pile\")|https?://|urllib|requests", code)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_runs_to_the_end_in_time(name, tmp_path):
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed (extra: docs)")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed (extra: docs)")
    notebook, began = read(name), time.monotonic()
    client = nbclient.NotebookClient(
        notebook, timeout=60 * MINUTES, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    took = time.monotonic() - began
    assert took < 60 * MINUTES, f"{name} took {took:.0f} s"
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    said = "\n".join(output.get("text") or output.get("data", {}).get("text/plain", "") for output in outputs)
    for pattern in SHOWS[name]:
        assert re.search(pattern, said), f"{name} no longer shows '{pattern}'"
    # no warning of Python or of a library, and tables as HTML
    assert not [output.text for output in outputs if output.get("name") == "stderr"]
    assert any("<table" in output.get("data", {}).get("text/html", "") for output in outputs)
