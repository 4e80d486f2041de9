"""Where a trial of `world.py` is played: a run's folder, a training, a tracker, and what became of all three."""

import contextlib
import ctypes
import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import psutil

from faults.cell import Cell
from faults.servers import MlflowServer, Proxy, Standin, credentials
from faults.trackio_server import TrackioServer
from runcast.delivery.lock import is_held
from runcast.journal.layout import RunDirectory
from runcast.journal.state import DeliveryState, load_state

TRAINING = Path(__file__).with_name("world_training.py")
PREFIXES = ("RUNCAST_", "WANDB_", "MLFLOW_", "COMET_", "CLEARML_", "TRAINS_", "DVC", "CODECARBON_", "TENSORBOARD_")
SERVICES = {
    "mlflow": "mlflow",
    "wandb": "wandb",
    "comet_ml": "comet",
    "clearml": "clearml",
    "swanlab": "swanlab",
    "trackio": "trackio",
}
REAL = {"mlflow": MlflowServer, "trackio": TrackioServer}
QUICK = {"PYTHONDONTWRITEBYTECODE": "1", "MPLCONFIGDIR": str(Path(tempfile.gettempdir()) / "runcast-faults-matplotlib")}
FINISH_S = 4.0
EXIT_SLACK_S = 12.0  # for an interpreter that ends on a machine with other work to do
SHARE = 0.25  # of a step that `log` may take here; `make bench` measures it properly
STEPS = 400
HALF, LATER = STEPS // 2, STEPS * 3 // 4


class Training:
    """A training in a process of its own (`world_training.py`), which stops at given points."""

    def __init__(
        self, environment: dict[str, str], cwd: Path, options: dict[str, Any], *, limited: bool, apart: bool = False
    ) -> None:
        # A network namespace of its own has no network.
        prefix = ["unshare", "--net"] if apart else []
        self.errors = cwd / f"stderr-{time.monotonic_ns()}"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, str(TRAINING), json.dumps(options)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=cwd,
                env=environment,
                preexec_fn=_respect_permissions if limited else None,
            )
        self.exit_s: float | None = None
        self.facts: dict[str, Any] = {}
        self.at: int | None = None
        self._end_at = 0.0

    def reach(self) -> int | None:
        """Wait until it stops; return the step, or None if it comes to its end instead."""
        assert self.process.stdout is not None
        said = json.loads(self.process.stdout.readline() or "{}")
        self.at, self._end_at = said.get("at"), time.monotonic()
        return self.at

    def go(self) -> None:
        """Let it continue."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self, timeout_s: float = 120.0) -> int:
        """Let it come to its end; return its exit code, and keep how long that took."""
        assert self.process.stdout is not None
        if self.at is not None:
            self.go()
            while self.reach() is not None:
                self.go()
        began = self._end_at
        with watchdog(self.process, timeout_s):
            for line in self.process.stdout:
                said = json.loads(line)
                began = time.monotonic() if "end" in said else began
                self.facts = said.get("done", self.facts)
            code = self.process.wait()
        self.exit_s = time.monotonic() - began
        return code

    def stop(self) -> None:
        """Kill it, if it still lives."""
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with contextlib.suppress(OSError):
                pipe.close()


def couriers_below(folder: Path) -> list[psutil.Process]:
    """List the couriers of the runs in a folder, without the deliveries, which are forks of them."""

    def is_one(process: psutil.Process | None) -> bool:
        words = process.cmdline() if process is not None else []
        return "runcast.delivery.courier" in words and any(str(folder) in word for word in words)

    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if is_one(process) and not is_one(process.parent()):
                found.append(process)
    return found


@contextlib.contextmanager
def watchdog(process: "subprocess.Popen[str]", timeout_s: float) -> Any:
    """Kill a process that does not end."""
    timer = threading.Timer(timeout_s, process.kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _respect_permissions() -> None:
    """Make root respect the permissions of files, as anybody else has to; runs before exec, and does nothing else."""
    if os.getuid() == 0:
        ctypes.CDLL(None).prctl(24, 1, 0, 0, 0)  # PR_CAPBSET_DROP of CAP_DAC_OVERRIDE


@functools.cache
def baseline(steps: int = STEPS) -> dict[str, Any]:
    """Train without any tracker: what every other training is compared with."""
    with tempfile.TemporaryDirectory() as folder:
        options = {"init": {"report_to": "none", "dir": folder, "id": "run"}, "steps": steps}
        training = Training(clean_environment(Path(folder)), Path(folder), options, limited=False)
        try:
            assert training.end() == 0, training.errors.read_text()
        finally:
            training.stop()
        return training.facts


def clean_environment(home: Path) -> dict[str, str]:
    """Return this environment without any tracker's variables, and with another home."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIXES)}
    root = str(Path(__file__).parents[1])
    python = os.pathsep.join(filter(None, (root, kept.get("PYTHONPATH"))))
    return {**kept, "HOME": str(home), "PYTHONPATH": python, "TMPDIR": str(home), **QUICK}


class Laboratory:
    """The resources of one trial. As a context manager it leaves no process and no mount behind."""

    def __init__(self, folder: Path, tracker: str, *, online: bool = False) -> None:
        self.folder, self.tracker, self.online = folder, tracker, online
        self.root, self.elsewhere = folder / "runs", folder / "elsewhere"
        self.elsewhere.mkdir(parents=True)
        self.home = folder / "home"
        self.home.mkdir(exist_ok=True)
        self.environment = clean_environment(self.home) | {
            "RUNCAST_QUIET": "1",
            "RUNCAST_FINISH_TIMEOUT_S": str(FINISH_S),
            "RUNCAST_LINGER_S": "2",
            "RUNCAST_CALL_TIMEOUT_S": "60",
        }
        self.server: MlflowServer | TrackioServer | Standin | None = None
        self.trainings: list[Training] = []
        self.notes: list[str] = []
        self._cleanup = contextlib.ExitStack()
        self._stopped: set[int] = set()
        if online:
            kind = SERVICES[tracker]
            self.server = REAL[kind](folder) if kind in REAL else Standin(kind, folder)
            self._cleanup.callback(self.server.stop)
            self.proxy = Proxy(self.server.url)
            self._cleanup.callback(self.proxy.close)
            self.environment |= credentials(kind, self.proxy.url)

    def __enter__(self) -> "Laboratory":
        return self

    def __exit__(self, *_: object) -> None:
        for training in self.trainings:
            self.kill(training.process.pid)
            training.stop()
        for process in self.deliveries():
            self.kill(process.pid)
        self._cleanup.close()

    def at_exit(self, call: Callable[..., object], *arguments: Any) -> None:
        """Call something when the trial is over, however it ends."""
        self._cleanup.callback(call, *arguments)

    @property
    def run(self) -> RunDirectory:
        """The run's folder."""
        return RunDirectory(self.root / "run")

    def state(self) -> DeliveryState:
        """Return what the delivery last said."""
        return load_state(self.run.tracker(self.tracker)) or DeliveryState()

    def serve(self) -> None:
        """Start the server and what stands before it."""
        if isinstance(self.server, MlflowServer | TrackioServer):
            self.server.start()
        self.proxy.open()

    def train(
        self, *stops: int, limited: bool = False, apart: bool = False, report_to: Any = None, **options: Any
    ) -> Training:
        """Start a training that stops before these steps; *apart*, it has no network."""
        init = {"report_to": [self.tracker] if report_to is None else report_to, "dir": str(self.root), "id": "run"}
        init |= options.pop("init", {})
        told = {"init": init, "steps": STEPS, "stops": stops, **options}
        self.trainings.append(Training(self.environment, self.folder, told, limited=limited, apart=apart))
        return self.trainings[-1]

    def couriers(self) -> list[psutil.Process]:
        """List the couriers of this trial's run."""
        return couriers_below(self.folder)

    def deliveries(self) -> list[psutil.Process]:
        """List the delivery processes of this trial's run, which are forks of a courier, and what they started."""
        return [child for courier in self.couriers() for child in courier.children(recursive=True)]

    @staticmethod
    def kill(pid: int) -> None:
        """Kill a process with what it started."""
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            for one in (process, *process.children(recursive=True)):
                with contextlib.suppress(psutil.Error):
                    one.kill()

    def wait_until(self, condition: Callable[[], object], timeout_s: float = 60.0) -> bool:
        """Wait for another process; return whether it came true in time."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True

    def wait_for_deliveries(self) -> None:
        """Wait until no delivery is at work any more."""
        folder = self.run.tracker(self.tracker)
        if not self.wait_until(lambda: not folder.exists() or not is_held(folder), 90):
            self.notes.append("a delivery did not end")

    def runcast(self, command: str, *arguments: str, cwd: Path | None = None) -> tuple[int, Any]:
        """Call the command line, as a user does; return its exit code and what it printed as JSON."""
        done = subprocess.run(
            [sys.executable, "-m", "runcast", command, *arguments, "--json"],
            cwd=cwd or self.elsewhere,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        try:
            return done.returncode, json.loads(done.stdout)
        except ValueError:
            return done.returncode, done.stderr

    def settle(self) -> None:
        """Sync until everything is delivered, from another directory; again; and again after the runs were moved."""
        self.wait_for_deliveries()
        for _ in range(2):
            code, answer = self.runcast("sync", str(self.root / "run"))
        if code:
            self.notes.append(f"sync: {_reasons(answer)}")
        moved = self.folder / "moved"
        shutil.move(self.root, moved)
        self.root = moved
        code, answer = self.runcast("sync", "run", "--dir", str(moved))
        if code:
            self.notes.append(f"sync after the move: {_reasons(answer)}")

    # The verdict

    def cell(
        self,
        training: Training | None,
        code: int | None,
        expected: Iterable[tuple[str, float, int]] | None = None,
        *,
        status: str = "finished",
        exit_within_s: float = FINISH_S + EXIT_SLACK_S,
        problems: Iterable[str] = (),
        command: bool = False,
    ) -> Cell:
        """Fill in the cell: look at the training, read the tracker, and ask its server.

        Args:
            training: The training that the fault met; None if nothing is to be said of it.
            code: Its exit code.
            expected: The points that were logged; default: those of a whole training.
            status: How the run ended.
            exit_within_s: How long the end of the training may take.
            problems: What else is wrong with the training.
            command: Whether the training must have said how to deliver the rest.
        """
        harm = [*problems]
        if training is not None:
            harm += self._harm(training, code, exit_within_s)
            if command and "runcast sync " not in training.errors.read_text():
                harm.append("it did not say how to deliver the rest")
        points = whole() if expected is None else list(expected)
        lost, twice, right = self._verdict(points, status)
        return Cell(
            part="what the world does",
            fault="",
            moment="",
            tracker=self.tracker + (" online" if self.online else ""),
            unharmed=not harm if training is not None or harm else None,
            lost=lost,
            twice=twice,
            status_right=right,
            exit_s=training.exit_s if training else None,
            note="; ".join([*harm, *self.notes]),
        )

    def _harm(self, training: Training, code: int | None, exit_within_s: float) -> list[str]:
        facts, without = training.facts, baseline()
        harm = [f"exit code {code}"] if code != 0 else []
        if not facts:
            return [*harm, f"it ended early: {training.errors.read_text()[-300:]}"]
        harm += ["other weights"] if facts["weights"] != without["weights"] else []
        harm += ["other losses"] if facts["losses"] != without["losses"] else []
        harm += [f"{facts['threads']} threads more"] if facts["threads"] else []
        harm += [f"imported {facts['imported']}"] if facts["imported"] else []
        harm += [f"log took {facts['share']:.1%} of a step"] if facts["share"] > SHARE else []
        late = training.exit_s is not None and training.exit_s > exit_within_s
        return [*harm, *([f"the end took {training.exit_s:.1f} s"] if late else [])]

    def _verdict(self, points: list[tuple[str, float, int]], status: str) -> tuple[int, int, bool]:
        _, answer = self.runcast("verify", "run", "--dir", str(self.root))
        if not isinstance(answer, list) or not answer or answer[0].get("error"):
            self.notes.append(f"verify: {answer if isinstance(answer, str) else answer and answer[0].get('error')}")
            return len(points), 0, False
        verdict = answer[0]
        lost = verdict["missing"] + verdict["waiting"] + verdict["waiting_records"] + verdict["refused"]
        lost += abs(len(points) - verdict["logged"])
        lost += sum(tally["logged"] - tally["found"] for tally in verdict["others"].values())
        if verdict["problems"]:
            self.notes.append("; ".join(verdict["problems"]))
        if self.server is None:
            return lost, verdict["extra"], verdict["status"] == status
        held = Counter((key, float(value), step) for key, value, step in self.server.held() if key.startswith("train/"))
        there = Counter((key, float(value), step) for key, value, step in points)
        missing, extra = (there - held).total(), (held - there).total()
        if missing or extra:
            self.notes.append(f"the server lacks {missing} and has {extra} too many")
        return max(lost, missing), max(verdict["extra"], extra), verdict["status"] == status


def whole() -> list[tuple[str, float, int]]:
    """List the points of a whole training."""
    losses = baseline()["losses"]
    return [p for step, loss in enumerate(losses) for p in (("train/loss", loss, step), ("train/index", step, step))]


def journal_points(laboratory: Laboratory) -> list[tuple[str, float, int]]:
    """List the points that a run's journal holds, read without runcast."""
    points: list[tuple[str, float, int]] = []
    for line in laboratory.run.journal.read_bytes().split(b"\n"):
        with contextlib.suppress(ValueError):
            record = json.loads(line)
            if record.get("type") == "metrics":
                points += [(key, value, record["step"]) for key, value in record["values"].items()]
    return points


def suspend(processes: Iterable[psutil.Process | int], sign: signal.Signals) -> None:
    """Send SIGSTOP or SIGCONT."""
    for process in processes:
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            os.kill(process if isinstance(process, int) else process.pid, sign)


def _reasons(answer: Any) -> str:
    if not isinstance(answer, dict):
        return str(answer)[-300:]
    return "; ".join(f"{o['result']}: {o['note']}" for outcomes in answer.values() for o in outcomes)[:400]
