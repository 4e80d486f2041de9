"""Delivery in processes: training gains no thread and no SDK, and whatever dies, everything arrives once."""

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import runcast
from runcast.core.errors import OptionError
from runcast.delivery.courier.system import wants_processor
from runcast.delivery.liveness import last_status
from runcast.journal.layout import RunDirectory
from runcast.journal.records import Metrics, encode
from runcast.journal.state import DeliveryState, load_state
from runcast.testing import MemoryTracker
from tests.delivery.odd_trackers import Deprecated, Dying, DyingLate, Hanging, Optional, Refusing, Unreachable
from tests.waiting import wait_for

Begin = Callable[..., runcast.Run]

FLUSH_S = 3.0
TWO = [MemoryTracker, Optional]


@pytest.fixture
def start(tmp_path: Path) -> Begin:
    """Start a run in the test's folder."""

    def begin(report_to: Any = MemoryTracker, **arguments: Any) -> runcast.Run:
        return runcast.init(**{"dir": tmp_path / "runs", "id": "run", "report_to": report_to, **arguments})

    return begin


def state_of(run_directory: Path, name: str = "memory") -> DeliveryState:
    """Read what a delivery last said."""
    return load_state(run_directory / "trackers" / name) or DeliveryState()


def points_of(run_directory: Path, tracker: type[MemoryTracker] = MemoryTracker) -> list[tuple[Any, ...]]:
    """List the points that a tracker has."""
    return [point[:3] for point in tracker.reading_of(run_directory).points]


# With a real SDK


TRAINING = """
import json, sys, threading
import runcast
before = threading.active_count()
with runcast.init(dir=sys.argv[1], id="run", report_to=["tensorboard"]) as run:
    for step in range(300):
        run.log({"loss": step / 4, "lr": 0.5}, step=step)
    during = threading.active_count()
print(json.dumps({"before": before, "during": during, "modules": [name for name in sys.modules if name.split(".")[0] in
    ("tensorboard", "torch", "numpy", "google", "wandb", "mlflow")]}))
"""
READ = """
import sys, json
from pathlib import Path
from runcast.journal.layout import RunDirectory
from runcast.delivery.tracked import tracked_run
from runcast.integrations.tensorboard import TensorboardTracker
directory = RunDirectory(Path(sys.argv[1]))
file = directory.load()
reading = TensorboardTracker().read(tracked_run(directory, file, "tensorboard", file.trackers["tensorboard"]))
print(json.dumps({"points": sorted(point[:3] for point in reading.points), "status": reading.status}))
"""


def read_tensorboard(run_directory: Path) -> dict[str, Any]:
    """Read a run back with TensorBoard's own reader, in a process of its own, as this one imports no SDK."""
    done = subprocess.run([sys.executable, "-c", READ, str(run_directory)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.slow
def test_training_gains_no_thread_and_no_sdk(tmp_path: Path) -> None:
    """With a tracker on, training has the threads and the imports that it had without; the run arrives whole."""
    done = subprocess.run([sys.executable, "-c", TRAINING, str(tmp_path)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"before": 1, "during": 1, "modules": []}
    reading = read_tensorboard(tmp_path / "run")
    points = [["loss", step / 4, step] for step in range(300)] + [["lr", 0.5, step] for step in range(300)]
    assert reading == {"points": sorted(points), "status": "finished"}


@pytest.mark.slow
def test_a_killed_delivery_is_started_again_and_doubles_nothing(start: Begin) -> None:
    """SIGKILL to the delivery process in mid-run costs no point and makes none twice, in TensorBoard's own files."""
    run = start("tensorboard")
    for step in range(200):
        run.log({"loss": step / 4}, step=step)
    assert run.flush(600)
    killed = state_of(run.dir, "tensorboard").pid
    for step in range(200, 400):
        run.log({"loss": step / 4}, step=step)
    os.kill(killed, signal.SIGKILL)
    for step in range(400, 600):
        run.log({"loss": step / 4}, step=step)

    run.finish(timeout_s=600)

    assert state_of(run.dir, "tensorboard").pid != killed
    assert read_tensorboard(run.dir) == {
        "points": [["loss", step / 4, step] for step in range(600)],
        "status": "finished",
    }


# Around the process


def test_a_tracker_has_a_process_of_its_own(start: Begin) -> None:
    """It is a child of the courier, in whose session it has a low priority and the training's working directory."""
    with start(Optional, setup={"optional": {"entity": "team", "token": "hunter2hunter2"}}) as run:
        courier = run._carrier._courier.pid  # type: ignore[union-attr]

    params = Optional.reading_of(run.dir).params or {}
    assert params["pid"] not in (None, os.getpid(), courier)
    assert params["session"] == params["parent"] == courier
    assert (params["nice"], params["cwd"]) == (10, os.getcwd())
    assert (params["entity"], params["token"], params["resumed"]) == ("team", "hunter2hunter2", False)
    assert "hunter2hunter2" not in (run.dir / "run.json").read_text()


def test_the_process_is_gone_when_the_run_is_finished(start: Begin) -> None:
    """After `finish` no process of ours is left, nor a zombie."""
    run = start()
    wait_for(lambda: state_of(run.dir).pid)
    pid = state_of(run.dir).pid

    run.finish()

    assert not psutil.pid_exists(pid)
    assert run.statistics().trackers["memory"].phase == "finished"


def test_a_tracker_that_dies_in_mid_batch_gets_the_rest_once(
    start: Begin, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A delivery process that is killed within a call is restarted; the half that had arrived is not sent again."""
    run = start(Dying)
    for step in range(100):
        run.log({"loss": step / 4}, step=step)

    run.finish(timeout_s=600)

    assert sorted(points_of(run.dir, Dying)) == [("loss", step / 4, step) for step in range(100)]
    assert Dying.reading_of(run.dir).status == "finished"
    died = [message for message in caplog.messages if "died (exit status -9) and is started again" in message]
    assert len(died) == 1
    assert "delivery.log" in died[0]


def test_a_refused_tracker_costs_the_others_nothing(start: Begin, caplog: pytest.LogCaptureFixture) -> None:
    """A wrong key ends that delivery alone; the user is told once, with the command for later."""
    with start([Refusing, MemoryTracker]) as run:
        run.log({"loss": 0.5}, step=0)

    assert points_of(run.dir) == [("loss", 0.5, 0)]
    assert [message for message in caplog.messages if message.startswith("refusing")] == [
        (
            "refusing has failed: the key is wrong. Log in with: refusing login. Training continues and nothing "
            f"is lost. Fix the cause, then run: runcast sync {run.dir}"
        )
    ]
    assert run.statistics().trackers["refusing"].phase == "refused"


def test_a_tracker_that_cannot_be_imported_is_told(
    tmp_path: Path, start: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Tracker whose module raises in the child process is refused with what it raised."""
    (tmp_path / "fragile_tracker.py").write_text(
        "import os\nfrom runcast.testing import MemoryTracker\n"
        f"if os.getpid() != {os.getpid()}:\n    raise RuntimeError('no libcuda')\n"
        "class Fragile(MemoryTracker):\n    name = 'fragile'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import fragile_tracker  # type: ignore[import-not-found]

    with start(fragile_tracker.Fragile) as run:
        run.log({"loss": 0.5}, step=0)

    state = state_of(run.dir, "fragile")
    assert state.phase == "refused"
    assert "is installed but broken: importing it raised RuntimeError: no libcuda" in (state.error or "")


def test_the_end_comes_in_time_when_a_tracker_hangs(start: Begin, caplog: pytest.LogCaptureFixture) -> None:
    """`finish` returns when its time is over, whatever a tracker does; the other one has everything."""
    run = start([Hanging, MemoryTracker])
    run.log({"loss": 0.5}, step=0)
    wait_for(lambda: state_of(run.dir, "hanging").pid)
    wait_for(lambda: state_of(run.dir).points)
    try:
        run.finish(timeout_s=2.0)  # it returns: the tracker never does

        wait_for(lambda: state_of(run.dir).phase == "finished")
        assert points_of(run.dir) == [("loss", 0.5, 0)]
        assert any(message.startswith("hanging (starting) does not have everything yet") for message in caplog.messages)
    finally:
        os.kill(state_of(run.dir, "hanging").pid, signal.SIGKILL)


IN_A_TERMINAL = """
import os, pty, sys
def read(descriptor):
    return os.read(descriptor, 1 << 16)
sys.exit(os.waitstatus_to_exitcode(pty.spawn([sys.executable, "-c", sys.argv[1], *sys.argv[2:]], read)))
"""
SLOW_END = """
import sys, runcast
from runcast.testing import MemoryTracker
from tests.delivery.odd_trackers import Hanging
run = runcast.init(dir=sys.argv[1], id="run", name="slow-end", report_to=[MemoryTracker, Hanging])
run.log({"loss": 0.5}, step=0)
run.finish(timeout_s=3.5)
"""


def test_in_a_terminal_the_end_says_on_one_line_what_it_waits_for(tmp_path: Path) -> None:
    """The line is written over and removed; the last one names the run, and how to see it."""
    command = [sys.executable, "-c", IN_A_TERMINAL, SLOW_END, str(tmp_path)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    os.kill(state_of(tmp_path / "run", "hanging").pid, signal.SIGKILL)

    lines = done.stdout.decode().split("\r\n")
    written_over = [line for line in lines if "waiting up to" in line]
    assert len(written_over) == 1
    assert "\rruncast: 1 of 2 delivered; waiting up to 1 s for hanging\x1b[K" in written_over[0]
    assert "\r\x1b[Kruncast: hanging (starting) does not have everything yet." in written_over[0]
    assert lines[-2] == f"runcast: run slow-end is finished; see it with: runcast show {tmp_path / 'run'}"


@pytest.mark.parametrize(("code", "expected"), [("while True: pass", True), ("input()", False)])
def test_only_a_process_that_computes_wants_a_processor(code: str, expected: bool) -> None:
    """A delivery that hangs in a call must not raise the share of the others."""
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as process:
        try:
            wait_for(lambda: psutil.Process(process.pid).cpu_times().user > 0.01 or not expected)
            wait_for(lambda: wants_processor(process.pid) is expected)
        finally:
            process.kill()
    assert not wants_processor(process.pid)


def test_in_the_background_the_end_returns_at_once(start: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    """With RUNCAST_FINISH=background everything arrives without being waited for."""
    monkeypatch.setenv("RUNCAST_FINISH", "background")
    run = start(TWO)
    run.log({"loss": 0.5}, step=0)

    began = time.monotonic()
    run.finish()
    took_s = time.monotonic() - began

    assert took_s < 1.0
    for tracker in TWO:
        wait_for(lambda name=tracker.name: state_of(run.dir, name).phase == "finished")
        assert points_of(run.dir, tracker) == [("loss", 0.5, 0)]


def test_an_option_that_cannot_travel_is_an_error(start: Begin) -> None:
    """An object in `setup` that another process cannot get is refused at once, with what to do."""
    with pytest.raises(OptionError, match=r"setup\['memory'\] holds an object that cannot travel.*delivery='thread'"):
        start(setup={"memory": {"callback": object()}})


def test_later_is_later(start: Begin) -> None:
    """With delivery="later" nothing is started, and everything is in the journal for `runcast sync`."""
    with start(delivery="later") as run:
        run.log({"loss": 0.5}, step=0)

    assert not (run.dir / "trackers").exists()
    assert run.urls == {}


def test_a_run_knows_where_it_is_seen(start: Begin) -> None:
    """Once a tracker has opened the run, its address is known, and how much it has."""
    run = start()
    run.log({"loss": 0.5, "acc": 1}, step=0)
    assert run.flush(600)

    assert run.urls == {"memory": str((run.dir / "trackers" / "memory" / "memory.jsonl").resolve())}
    assert (run.statistics().trackers["memory"].delivered, run.statistics().trackers["memory"].waiting) == (2, 0)
    run.finish()


def test_a_resumed_run_is_flushed_for_real(start: Begin) -> None:
    """After a resume `flush` waits for the new points, whatever the last session's state says."""
    with start() as run:
        run.log({"loss": 0.5}, step=0)
    with start(resume="allow") as run:
        run.log({"loss": 0.25}, step=1)
        assert run.flush(600)

        assert points_of(run.dir) == [("loss", 0.5, 0), ("loss", 0.25, 1)]
    assert MemoryTracker.reading_of(run.dir).status == "finished"


SIGPIPE_DEFAULT = """
import os, signal, sys, runcast
from runcast.testing import MemoryTracker
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
run = runcast.init(dir=sys.argv[1], id="run", report_to=MemoryTracker)
run.log({"loss": 0.5}, step=0)
assert run.flush(600)
os.kill(int(sys.stdin.readline()), signal.SIGKILL)
sys.stdin.readline()
run.log({"loss": 0.25}, step=1)
run.finish(timeout_s=600)
"""


def test_a_dead_delivery_does_not_kill_a_script_that_lets_sigpipe_do_so(tmp_path: Path) -> None:
    """Scripts that give SIGPIPE its default back, for `| head`, are not ended by waking a delivery that has died."""
    with subprocess.Popen(
        [sys.executable, "-c", SIGPIPE_DEFAULT, str(tmp_path)], stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as training:
        assert training.stdin is not None
        wait_for(lambda: state_of(tmp_path / "run").points)
        killed = state_of(tmp_path / "run").pid
        training.stdin.write(f"{killed}\n")
        training.stdin.flush()
        wait_for(lambda: not psutil.pid_exists(killed) or psutil.Process(killed).status() == psutil.STATUS_ZOMBIE)
        _, errors = training.communicate("\n")

    assert training.returncode == 0, errors
    assert points_of(tmp_path / "run") == [("loss", 0.5, 0), ("loss", 0.25, 1)]


def test_a_folder_that_cannot_be_made_costs_the_training_nothing(
    tmp_path: Path, start: Begin, caplog: pytest.LogCaptureFixture
) -> None:
    """A delivery that finds no place for its files is not started, and the user gets the command for later."""
    (tmp_path / "runs" / "run").mkdir(parents=True)
    (tmp_path / "runs" / "run" / "trackers").write_text("in the way")

    with start(report_to="tensorboard") as run:
        run.log({"loss": 0.5}, step=0)
        wait_for(lambda: run._carrier.check() or "could not be started" in caplog.text)  # type: ignore[union-attr]
        run.finish(timeout_s=0.1)

    assert "the delivery to tensorboard could not be started" in caplog.text
    assert f"runcast sync {run.dir}" in caplog.text


def test_what_a_tracker_measured_itself_does_not_wait_for_it(start: Begin) -> None:
    """`statistics` counts as waiting what a tracker has yet to get, and not its own measurements."""
    run = start()
    run.log({"loss": 0.5}, step=0)
    assert run.flush(600)
    os.kill(state_of(run.dir).pid, signal.SIGSTOP)
    with (run.dir / "journal.jsonl").open("ab") as journal:
        journal.write(encode(Metrics(time=1.0, step=0, values={"energy": 7}, by="memory")) + b"\n")
    run.log({"loss": 0.25}, step=1)

    waiting = run.statistics().trackers["memory"].waiting

    os.kill(state_of(run.dir).pid, signal.SIGCONT)
    run.finish()
    assert waiting == 1


# How training ends

# Linux 6.15 is the first that says of somebody else's process by which signal it ended.
KERNEL = tuple(map(int, os.uname().release.replace("-", ".").split(".")[:2])) if sys.platform == "linux" else (0, 0)
TOLD_TO_GO = "killed" if KERNEL >= (6, 15) else "crashed"
ENDS = {
    "end": ("pass", 0, "finished"),
    "exception": ("1 / 0", 1, "failed"),
    "interrupt": ("raise KeyboardInterrupt", -2, "killed"),
    "exit 3": ("sys.exit(3)", 3, "failed"),
    "SIGKILL": ("run.flush(600); os.kill(os.getpid(), signal.SIGKILL)", -9, "crashed"),
    "SIGTERM": ("run.flush(600); os.kill(os.getpid(), signal.SIGTERM)", -15, TOLD_TO_GO),
    "SIGTERM at once": ("os.kill(os.getpid(), signal.SIGTERM)", -15, TOLD_TO_GO),
    "exit 143": ("sys.exit(143)", 143, "killed"),
    "os._exit": ("os._exit(7)", 7, "crashed"),
}


@pytest.mark.parametrize(("ending", "code", "status"), ENDS.values(), ids=ENDS)
def test_the_tracker_learns_how_training_ended(ending: str, code: int, status: str, tmp_path: Path) -> None:
    """Whatever ends a training, its exit code is its own, every point arrives, and the tracker has the right status."""
    script = (
        "import os, signal, sys, runcast\nfrom runcast.testing import MemoryTracker\n"
        f"with runcast.init(dir={str(tmp_path)!r}, id='run', report_to=MemoryTracker) as run:\n"
        f"    for step in range(50):\n        run.log({{'loss': step / 4}}, step=step)\n    {ending}\n"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert done.returncode == code, done.stderr
    wait_for(lambda: state_of(tmp_path / "run").phase == "finished")
    assert points_of(tmp_path / "run") == [("loss", step / 4, step) for step in range(50)]
    assert MemoryTracker.reading_of(tmp_path / "run").status == status


def test_a_job_that_is_told_to_end_is_delivered_with_its_end(tmp_path: Path) -> None:
    """Slurm and systemd send SIGTERM to every process of a job at once: training, courier and delivery."""
    script = (
        "import sys, runcast\nfrom runcast.testing import MemoryTracker\n"
        f"run = runcast.init(dir={str(tmp_path)!r}, id='run', report_to=MemoryTracker)\n"
        "run.log({'loss': 0.5}, step=0)\nrun.flush(600)\nrun.log({'loss': 0.25}, step=1)\nprint('ready', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as training:
        assert training.stdout is not None
        training.stdout.readline()
        for process in [*psutil.Process(training.pid).children(recursive=True), training]:
            process.send_signal(signal.SIGTERM)

    assert training.returncode == -signal.SIGTERM
    wait_for(lambda: state_of(tmp_path / "run").phase == "finished")
    assert points_of(tmp_path / "run") == [("loss", 0.5, 0), ("loss", 0.25, 1)]
    assert MemoryTracker.reading_of(tmp_path / "run").status == TOLD_TO_GO


def test_a_run_that_nobody_finished_is_finished_at_the_exit(tmp_path: Path) -> None:
    """Without `with` and without `finish` the exit of the interpreter ends the run, as what it is."""
    script = (
        "import runcast\nfrom runcast.testing import MemoryTracker\n"
        f"run = runcast.init(dir={str(tmp_path)!r}, id='run', report_to=MemoryTracker)\n"
        "run.log({'loss': 0.5}, step=0)\n1 / 0\n"
    )

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert points_of(tmp_path / "run") == [("loss", 0.5, 0)]
    assert MemoryTracker.reading_of(tmp_path / "run").status == "failed"


LETS_GO = """
import sys, runcast
from runcast.testing import MemoryTracker
def main():
    run = runcast.init(dir=sys.argv[1], id='run', report_to=MemoryTracker)
    run.log({'loss': 0.5}, step=0)
    sys.exit(int(sys.argv[2]))
main()
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "on_exit"), reason="the C library does not tell exit codes")
@pytest.mark.parametrize(("code", "status"), [(0, "finished"), (3, "failed"), (143, "killed")])
def test_an_exit_code_says_how_a_run_ended_that_nobody_finished(code: int, status: str, tmp_path: Path) -> None:
    """`sys.exit` outside of `with`, with the run already let go of: the journal and the tracker have the right status."""
    done = subprocess.run([sys.executable, "-c", LETS_GO, str(tmp_path), str(code)], capture_output=True, check=False)

    assert done.returncode == code
    wait_for(lambda: MemoryTracker.reading_of(tmp_path / "run").status == status)
    wait_for(lambda: last_status(RunDirectory(tmp_path / "run")) == status)
    assert points_of(tmp_path / "run") == [("loss", 0.5, 0)]


def test_nobody_waits_for_deliveries_that_have_given_up(
    start: Begin, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The patience of a delivery may be shorter than that of `finish`: another courier would only begin anew."""
    monkeypatch.setenv("RUNCAST_LINGER_S", "0")
    run = start(Unreachable)
    run.log({"loss": 0.5}, step=0)

    assert run.finish(timeout_s=600) is False
    assert state_of(run.dir, "unreachable").attempts == 1
    assert "is started again" not in caplog.text


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "on_exit"), reason="the C library does not tell exit codes")
def test_a_delivery_that_dies_over_the_exit_code_is_started_again(tmp_path: Path) -> None:
    """Nobody else would tell the tracker that the run has failed."""
    script = LETS_GO.replace("from runcast.testing import MemoryTracker", "from tests.delivery.odd_trackers import *")
    script = script.replace("MemoryTracker", "DyingLate")
    subprocess.run([sys.executable, "-c", script, str(tmp_path), "3"], capture_output=True, check=False)

    wait_for(lambda: DyingLate.reading_of(tmp_path / "run").status == "failed")
    assert points_of(tmp_path / "run", DyingLate) == [("loss", 0.5, 0)]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_leaves_the_deliveries_to_its_parent(start: Begin) -> None:
    """A child of the training process that ends does not end the run, and the parent's deliveries go on."""
    run = start()
    run.log({"parent": 0.5}, step=0)
    child = os.fork()
    if not child:
        try:
            run.log({"child": 0.5}, step=1)
            run.finish("failed")
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    run.log({"parent": 0.25}, step=2)

    run.finish()

    assert points_of(run.dir) == [("parent", 0.5, 0), ("child", 0.5, 1), ("parent", 0.25, 2)]
    assert MemoryTracker.reading_of(run.dir).status == "finished"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="needs python -P")
def test_a_folder_named_like_our_dependencies_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The delivery process finds the modules that the training script finds, whatever lies in the working directory."""
    (tmp_path / "msgspec.py").write_text("raise AssertionError('the wrong msgspec')\n")
    monkeypatch.chdir(tmp_path)

    with runcast.init(dir="runs", report_to=MemoryTracker) as run:
        run.log({"loss": 0.5}, step=0)

    assert points_of(run.dir) == [("loss", 0.5, 0)]


@pytest.mark.slow
def test_a_file_beside_the_script_that_is_named_like_an_sdk_does_no_harm(tmp_path: Path) -> None:
    """The SDK finds itself and what it needs; a Tracker of the user's, in a file beside the script, is found as well."""
    for name in ("tensorboard", "absl"):
        (tmp_path / f"{name}.py").write_text("raise AssertionError('the wrong module')\n")
    (tmp_path / "mine.py").write_text(
        "from runcast.testing import MemoryTracker\nclass Mine(MemoryTracker):\n    name = 'mine'\n"
    )
    (tmp_path / "train.py").write_text(
        "import runcast, mine\n"
        "with runcast.init(id='run', report_to=['tensorboard', mine.Mine]) as run:\n"
        "    for step in range(3):\n        run.log({'loss': step / 4}, step=step)\n"
    )

    subprocess.run([sys.executable, "train.py"], check=True, cwd=tmp_path, capture_output=True)

    assert state_of(tmp_path / "runs" / "run", "mine").points == 3
    reading = read_tensorboard(tmp_path / "runs" / "run")
    assert reading["points"] == [["loss", step / 4, step] for step in range(3)]


def test_a_script_that_closes_every_open_file_loses_nothing(tmp_path: Path) -> None:
    """So daemons do when they begin, and some do it after `init`."""
    script = """
import os, sys
import runcast
from tests.delivery.odd_trackers import Optional
from runcast.testing import MemoryTracker
run = runcast.init(dir=sys.argv[1], id="run", report_to=[MemoryTracker, Optional])
run.log({"loss": 0.5}, step=0)
os.closerange(3, 1024)
run.log({"loss": 0.25}, step=1)
run.finish()
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "runs")], check=True)

    assert sorted(points_of(tmp_path / "runs" / "run")) == [("loss", 0.25, 1), ("loss", 0.5, 0)]


def test_what_a_daemon_opens_after_it_has_closed_all_files_stays_its_own(tmp_path: Path) -> None:
    """Its files get the lowest free numbers; no record goes into one, and `finish` closes none."""
    script = """
import os, sys
import runcast
from runcast.testing import MemoryTracker
run = runcast.init(dir=sys.argv[1], id="run", report_to=MemoryTracker)
run.log({"loss": 0.5}, step=0)
os.closerange(3, 1024)
files = [open(f"{sys.argv[1]}/file{number}", "w") for number in range(40)]
run.log({"loss": 0.25}, step=1)
assert run.finish()
for file in files:
    file.write("mine")
    file.close()
"""
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True)

    assert sorted(points_of(tmp_path / "run")) == [("loss", 0.25, 1), ("loss", 0.5, 0)]
    assert {path.read_text() for path in tmp_path.glob("file*")} == {"mine"}


@pytest.mark.parametrize(("variable", "value"), [("PYTHONOPTIMIZE", "2"), ("PYTHONWARNINGS", "error")])
def test_how_the_script_wants_its_code_treated_is_not_for_the_sdks(
    variable: str, value: str, start: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without docstrings, or with warnings as errors, many an SDK does not work."""
    monkeypatch.setenv(variable, value)

    with start(Deprecated) as run:
        run.log({"loss": 0.5}, step=0)

    assert state_of(run.dir, "deprecated").phase == "finished"
    assert points_of(run.dir, Deprecated) == [("loss", 0.5, 0)]


def test_the_deliveries_of_a_run_share_one_session(start: Begin) -> None:
    """Together they take one small share of the processors from the training; each is a child of the courier."""
    before = set(psutil.Process().children())
    with start(TWO) as run:
        wait_for(lambda: all(state_of(run.dir, name).pid for name in ("memory", "optional")))
        pids = [state_of(run.dir, name).pid for name in ("memory", "optional")]
        (courier,) = {psutil.Process(pid).ppid() for pid in pids}
        assert psutil.Process(courier).ppid() == os.getpid()
        assert {os.getsid(pid) for pid in (courier, *pids)} == {courier}
        assert len({os.getpgid(pid) for pid in (courier, *pids)}) == 3
        run.log({"loss": 0.5}, step=0)

    for tracker in TWO:
        assert points_of(run.dir, tracker) == [("loss", 0.5, 0)]
    assert set(psutil.Process().children()) <= before


def test_one_of_several_that_dies_is_started_again(start: Begin, caplog: pytest.LogCaptureFixture) -> None:
    """The others do not notice; the user is told which, and how it ended."""
    with start(TWO) as run:
        wait_for(lambda: state_of(run.dir).pid and state_of(run.dir, "optional").pid)
        first, other = state_of(run.dir).pid, state_of(run.dir, "optional").pid
        os.kill(first, signal.SIGKILL)
        step = 0
        while state_of(run.dir).pid in (0, first):
            run.log({"loss": 0.5}, step=step)
            step += 1
            time.sleep(0.05)
        assert state_of(run.dir, "optional").pid == other

    for tracker in TWO:
        assert points_of(run.dir, tracker) == [("loss", 0.5, each) for each in range(step)]
    assert "the delivery to memory died (exit status -9) and is started again" in caplog.text


@pytest.mark.parametrize("trackers", ["MemoryTracker", "[MemoryTracker, Optional]"])
def test_a_training_that_is_killed_at_once_is_closed_by_all_deliveries(tmp_path: Path, trackers: str) -> None:
    """They come up when it is gone already, and deliver what it logged."""
    script = f"""
import os, signal, runcast
from runcast.testing import MemoryTracker
from tests.delivery.odd_trackers import Optional
run = runcast.init(dir={str(tmp_path)!r}, id="run", report_to={trackers})
run.log({{"loss": 0.5}}, step=0)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)

    assert done.returncode == -signal.SIGKILL
    for tracker in TWO if "Optional" in trackers else TWO[:1]:
        wait_for(lambda name=tracker.name: state_of(tmp_path / "run", name).phase == "finished")
        assert points_of(tmp_path / "run", tracker) == [("loss", 0.5, 0)]
        assert tracker.reading_of(tmp_path / "run").status == "crashed"


def test_where_no_courier_can_be_started_deliveries_wait_for_sync(
    start: Begin, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A system that forbids it is reported, and training continues."""
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    with start(TWO) as run:
        run.log({"loss": 0.5}, step=0)
        run.finish(timeout_s=0.1)

    assert "the deliveries could not be started" in caplog.text


@pytest.mark.skipif(not Path("/proc/self/autogroup").exists(), reason="sessions are scheduling groups on Linux only")
@pytest.mark.parametrize("trackers", [[MemoryTracker], TWO])
def test_deliveries_step_back_unless_someone_waits_for_them(start: Begin, trackers: list[Any]) -> None:
    """While `flush` waits, in whichever thread, they get their share; afterwards the training comes first; then `finish`."""
    run = start(trackers)
    run.log({"loss": 0.5})
    assert run.flush(600)
    pid = state_of(run.dir).pid
    group = Path(f"/proc/{pid}/autogroup")
    wait_for(lambda: group.read_text().endswith(" nice 19\n"))
    os.kill(pid, signal.SIGSTOP)
    try:
        run.log({"loss": 0.25})
        flushing = threading.Thread(target=run.flush, args=(FLUSH_S,))
        flushing.start()
        wait_for(lambda: group.read_text().endswith(" nice 0\n"))
        flushing.join()
        wait_for(lambda: not group.read_text().endswith(" nice 0\n"))
        run.finish(timeout_s=0.1)

        wait_for(lambda: group.read_text().endswith(" nice 0\n"))
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_for(lambda: state_of(run.dir).phase == "finished")
