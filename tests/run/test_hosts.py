"""What a script, or the program that it is a part of, has made of its interpreter: none of it reaches the training."""

import subprocess
import sys
from pathlib import Path

import pytest

from runcast.journal.layout import RunDirectory
from runcast.journal.reader import JournalReader
from runcast.journal.records import Finish, Metrics
from runcast.journal.state import load_state

LOGS = """
import runcast
run = runcast.init("p", id="one", report_to="tensorboard")
run.log({"loss": 0.5}, step=0)
"""
NO_SOCKETS = """
import socket
class Guarded(socket.socket):
    def __new__(cls, *_, **__):
        raise RuntimeError("no sockets in tests")
socket.socket = Guarded
"""
NO_PROCESSES = """
import sys
def forbid(event, _):
    if event == "subprocess.Popen":
        raise RuntimeError("no processes here")
sys.addaudithook(forbid)
"""


def run_script(folder: Path, text: str) -> "subprocess.CompletedProcess[str]":
    """Run a script."""
    (folder / "script.py").write_text(text)
    return subprocess.run([sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, check=False)


def kept(folder: Path) -> tuple[int, list[str]]:
    """Return how many records of metrics a run has, and its statuses."""
    records = list(JournalReader(folder / "runs" / "one" / "journal.jsonl"))
    return (
        sum(isinstance(record, Metrics) for record in records),
        [record.status for record in records if isinstance(record, Finish)],
    )


@pytest.mark.parametrize(
    "change",
    [
        "import sys; del sys.argv",
        pytest.param(
            "import pathlib, sys; sys.path.insert(0, pathlib.Path('.')); sys.path.insert(0, b'.')",
            marks=pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 itself trips over bytes"),
        ),
        "import sys; sys.path.append('/caf\\udce9')",
        "import sys; sys.executable = None",
        "import sys; sys.executable = ''",
        "import sys; sys.frozen = True",
    ],
    ids=[
        "no arguments",
        "paths and bytes to import from",
        "a folder to import from that is not UTF-8",
        "no interpreter",
        "an interpreter without a name",
        "frozen",
    ],
)
def test_an_odd_interpreter_delivers_all_the_same(change: str, tmp_path: Path) -> None:
    """Embedded interpreters have no arguments, and Python itself skips what is no text in its path.

    A program without an interpreter of its own could only start itself once more, so it delivers in threads.
    """
    pytest.importorskip("tensorboard")

    done = run_script(tmp_path, change + LOGS)

    assert done.returncode == 0, done.stderr
    assert kept(tmp_path) == (1, ["finished"])
    state = load_state(RunDirectory(tmp_path / "runs" / "one").tracker("tensorboard"))
    assert state is not None, done.stderr
    assert (state.phase, state.points) == ("finished", 1)
    assert len(done.stderr.splitlines()) == 2, done.stderr  # the greeting and the farewell


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (NO_SOCKETS, "no sockets in tests"),
        (NO_PROCESSES, "no processes here"),
    ],
    ids=["no sockets", "no processes"],
)
def test_deliveries_that_cannot_start_are_named_once_and_stop_nothing(change: str, reason: str, tmp_path: Path) -> None:
    """The journal has all, and the end of the script does not wait for what cannot come."""
    pytest.importorskip("tensorboard")

    done = run_script(tmp_path, f"{change}\n{LOGS}\nimport time; at = time.monotonic(); run.finish()\n"
                                "print(time.monotonic() - at)")  # fmt: skip

    assert done.returncode == 0, done.stderr
    assert done.stderr.count(reason) == 1
    assert kept(tmp_path) == (1, ["finished"])
    assert float(done.stdout) < 50  # of the 60 s that it would wait


def test_a_script_that_imports_ipython_fails_like_any_other(tmp_path: Path) -> None:
    """To import it, as for `display`, is not to run in it: the last error does end this process."""
    pytest.importorskip("IPython")

    done = run_script(tmp_path, f"import IPython\n{LOGS.replace('tensorboard', 'none')}\nraise ValueError('diverged')")

    assert done.returncode == 1
    assert kept(tmp_path) == (1, ["failed"])


def test_a_short_script_with_threads_delivers_all(tmp_path: Path) -> None:
    """Python imports nothing that registers an exit handler once it shuts down, and this script ends at once."""
    pytest.importorskip("tensorboard")

    done = run_script(tmp_path, LOGS.replace('report_to="tensorboard"', 'report_to="tensorboard", delivery="thread"'))

    state = load_state(RunDirectory(tmp_path / "runs" / "one").tracker("tensorboard"))
    assert state is not None, done.stderr
    assert (state.phase, state.points) == ("finished", 1)


def test_a_signal_handler_may_end_a_run_in_the_middle_of_a_call(tmp_path: Path) -> None:
    """It runs between two lines of ours, in the thread that is in the middle of logging."""
    handler = (
        "import signal; signal.signal(signal.SIGUSR1, lambda *_: (run.log_artifact(__file__), run.finish('killed')))"
    )
    inside = "with run._lock: signal.raise_signal(signal.SIGUSR1)"

    done = run_script(tmp_path, "\n".join((LOGS.replace("tensorboard", "none"), handler, inside)))

    assert done.returncode == 0, done.stderr
    assert kept(tmp_path) == (1, ["killed"])
