"""A system without /proc, scheduling groups, process descriptors and on_exit, as macOS is: the same code, and what it lacks."""

import os
import pwd
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from runcast.delivery.courier.spawning import child_environment
from runcast.journal.layout import RunDirectory
from runcast.journal.state import DeliveryState, load_state
from runcast.testing import MemoryTracker
from tests.waiting import wait_for

ROOT = Path(__file__).resolve().parents[3]
ELSEWHERE = Path(__file__).with_name("elsewhere")
POINTS = [("loss", step / 4, step) for step in range(30)]
SCRIPT = """
import os, signal, sys, time
import runcast
from runcast.delivery.courier.system import open_self, waited_s, write_exit_code
from runcast.journal.layout import process_began
from runcast.testing import MemoryTracker
assert (open_self(), waited_s(), write_exit_code(2), process_began(os.getpid())) == (None, 0.0, False, 0)
run = runcast.init(dir=sys.argv[1], id="run", report_to=MemoryTracker)
def log(*steps):
    for step in range(*steps):
        run.log({"loss": step / 4}, step=step)
log(10)
run.flush(600)
"""
STATE = "from runcast.journal.state import load_state\nstate = lambda: load_state(run.dir / 'trackers' / 'memory')\n"
REST = "log(10, 30)\nrun.finish()\n"
# What happens after ten points → the script's exit code, and the status of the run.
CASES = {
    "the end": (REST, 0, "finished"),
    "an exception": ("log(10, 30)\n1 / 0", 1, "failed"),
    # Without on_exit, `sys.exit` cannot be told from an end.
    "exit code 3": ("log(10, 30)\nsys.exit(3)", 3, "finished"),
    # Without process descriptors, no signal is known.
    "SIGTERM": ("log(10, 30)\nos.kill(os.getpid(), signal.SIGTERM)", -15, "crashed"),
    "SIGKILL": ("log(10, 30)\nos.kill(os.getpid(), signal.SIGKILL)", -9, "crashed"),
    "the delivery is killed": (f"{STATE}os.kill(state().pid, signal.SIGKILL)\n{REST}", 0, "finished"),
    "the courier is killed": (f"os.kill(run._carrier._courier.pid, signal.SIGKILL)\n{REST}", 0, "finished"),
    "a fork": ("pid = os.fork()\nif not pid:\n    os._exit(0)\nos.waitpid(pid, 0)\n" + REST, 0, "finished"),
}


def state_of(folder: Path) -> DeliveryState:
    """Read what the delivery last said."""
    return load_state(RunDirectory(folder).tracker("memory")) or DeliveryState()


@pytest.fixture
def environment() -> dict[str, str]:
    """Make Python find the module that takes away what only Linux has."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(ELSEWHERE), str(ROOT)))}


@pytest.mark.parametrize(("then", "code", "status"), CASES.values(), ids=CASES)
def test_everything_arrives_once_with_the_status_that_can_be_known(
    then: str, code: int, status: str, tmp_path: Path, environment: dict[str, str]
) -> None:
    """Training, kills and forks, without a single part that only Linux has."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + then, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == code, done.stderr
    wait_for(lambda: state_of(tmp_path / "run").phase == "finished")
    reading = MemoryTracker.reading_of(tmp_path / "run")
    assert [point[:3] for point in reading.points] == POINTS
    assert reading.status == status


def test_a_later_sync_delivers(tmp_path: Path, environment: dict[str, str]) -> None:
    """The command line runs the same courier."""
    script = SCRIPT.replace("report_to=MemoryTracker", "report_to=MemoryTracker, delivery='later'") + REST
    for command in (["-c", script, str(tmp_path)], ["-m", "runcast", "sync", str(tmp_path / "run"), "--trust"]):
        subprocess.run([sys.executable, *command], env=environment, capture_output=True, check=True)

    reading = MemoryTracker.reading_of(tmp_path / "run")
    assert [point[:3] for point in reading.points] == POINTS
    assert reading.status == "finished"


def test_a_sandbox_without_proc_delivers_and_knows_that_the_training_is_alive(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    """Linux without /proc, in a chroot or a sandbox: no load of the processors, no start of a process."""
    ask = "from runcast.run.init import is_running\nfrom runcast.journal.layout import RunDirectory\n"
    ask += "folder = RunDirectory(run.dir)\nprint(is_running(folder, folder.load()))\n"
    rank = {"RUNCAST_PER_RANK": "1", "WORLD_SIZE": "2", "RANK": "0"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT + ask + REST, str(tmp_path)],
        env={**environment, **rank, "WITHOUT_PROC": "1", "RUNCAST_FINISH_TIMEOUT_S": "20"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr
    assert "died" not in done.stderr
    wait_for(lambda: state_of(tmp_path / "run").phase == "finished")
    assert [point[:3] for point in MemoryTracker.reading_of(tmp_path / "run").points] == POINTS


def test_a_user_without_a_home_gets_one_for_its_deliveries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container's random user is in no list of users; without HOME, SDKs fail, or write into a folder called ~."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.delenv("HOME")
    assert "HOME" not in child_environment()  # a known user has one all the same

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.setattr(pwd, "getpwuid", unknown)

    assert Path(child_environment()["HOME"]).parent == tmp_path
