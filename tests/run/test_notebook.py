"""A run in a notebook."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import runcast

Start = Callable[..., runcast.Run]

CELLS = """
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
for cell in (
    "import runcast; first = runcast.init('p', 'one', report_to='none', dir={folder!r}); other = runcast.init('p', 'two', "
    "report_to='none', dir={folder!r})",
    "print(first.status, other.status)",
    "third = runcast.init('p', 'three', report_to='none', dir={folder!r}); print(first.status, other.status, third.status)",
):
    shell.run_cell(cell, store_history=True).raise_error()
"""


def test_init_in_another_cell_finishes_the_earlier_runs_and_says_so(tmp_path: Path) -> None:
    """As W&B does; two runs of one cell are left alone."""
    pytest.importorskip("IPython")

    done = subprocess.run(
        [sys.executable, "-c", CELLS.format(folder=str(tmp_path / "runs"))], capture_output=True, text=True, check=True
    )

    assert done.stdout == "None None\nfinished finished None\n"
    assert "the run one of an earlier cell is finished, because another one begins" in done.stderr


def test_in_a_script_runs_are_left_open(start: Start) -> None:
    """Two runs at a time are two runs."""
    first, _ = start(), start()

    assert first.status is None


def test_a_run_shows_itself(start: Start) -> None:
    """Its name, its status, its last values and what was dropped; nothing in it is taken for HTML."""
    run = start(name="<b>one</b>")
    for step in range(3):
        run.log({"loss": 3 - step, "bad": None, "tokens": 1_234_567, "lr": 0.123456}, step=step)

    shown = run._repr_html_()
    run.finish()

    assert "&lt;b&gt;one&lt;/b&gt;</b> running · step 2" in shown
    assert "<td>loss</td><td>1</td>" in shown
    assert "<td>tokens</td><td>1,234,567</td>" in shown
    assert "<td>lr</td><td>0.1235</td>" in shown
    assert "3 dropped: <code>runcast show " in shown
    assert "finished" in run._repr_html_()
