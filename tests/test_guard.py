"""A test run that is interrupted leaves no process behind."""

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from tests.guard import VARIABLE, marked
from tests.waiting import wait_for

ROOT = Path(__file__).parents[1]
STARTS = """
import subprocess, sys, threading
from pathlib import Path

def test_that_starts_processes_and_hangs():
    wait = "import threading; threading.Event().wait()"
    again = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {wait!r}], start_new_session=True).wait()"
    subprocess.Popen([sys.executable, "-c", wait])
    subprocess.Popen([sys.executable, "-c", again], start_new_session=True)
    Path("started").touch()
    threading.Event().wait()
"""


@pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="leftovers are found on Linux only")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("processes", [0, 1], ids=["alone", "in xdist"])
def test_an_interrupted_run_leaves_no_process_behind(tmp_path: Path, how: signal.Signals, processes: int) -> None:
    """Neither a child nor one in a session of its own, nor what that has started."""
    (tmp_path / "test_it.py").write_text(STARTS)
    mark = uuid.uuid4().hex
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "tests.guard",
        "-p",
        "no:cacheprovider",
        "-n",
        str(processes),
    ]
    with (tmp_path / "output").open("w") as output:
        run = subprocess.Popen(
            [*command, str(tmp_path / "test_it.py"), "--rootdir", str(tmp_path), "-c", os.devnull],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT), VARIABLE: mark},
            stdout=output,
            stderr=output,
        )
    wait_for(lambda: (tmp_path / "started").exists())
    wait_for(lambda: len(marked(mark)) >= 4 + processes)  # itself, two, and the one of the second

    run.send_signal(how)

    wait_for(lambda: not [pid for pid in marked(mark) if pid != run.pid])
    run.wait()
