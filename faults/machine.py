"""What a machine does to a run: disks that are full or read-only, clocks that jump, kills, cuts, suspensions."""

import contextlib
import os
import random
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable

import psutil

from faults.cell import Cell
from faults.laboratory import HALF, LATER, STEPS, Laboratory, Training, journal_points, suspend
from runcast.journal.reader import journal_size

MIB = 2**20
GROWING = {  # the files that a tracker only appends to, which is what a kill can cut
    "tensorboard": "**/events.out.tfevents*",
    "dvclive": "**/*.tsv",
    "wandb": "**/run-*.wandb",
    "comet_ml": "**/messages.json",
    "clearml": "**/metrics.jsonl",
    "swanlab": "**/run-*.swanlab",
}
CLOCK = """
import os, time
real, jumped = time.time, os.environ["FAULTS_JUMPED"]
def shifted():
    return real() - (3600 if os.path.exists(jumped) else 0)
time.time = shifted
"""


# Disks


class SmallDisk:
    """The disk of a trial's runs, which can be filled: a tmpfs of its own, or, without the right to mount one, a limit.

    Without the right, the training and its deliveries get the signal's default off and a limit on the size of each
    file (RLIMIT_FSIZE), which fails writes with EFBIG instead of ENOSPC, and is lifted with prlimit.
    """

    def __init__(self, laboratory: Laboratory, size_bytes: int = 24 * MIB) -> None:
        self.laboratory, self.root = laboratory, laboratory.root
        self.root.mkdir(exist_ok=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "runcast-faults", str(self.root)]
        self.is_mounted = (
            os.getuid() == 0 and subprocess.run(mount, stderr=subprocess.DEVNULL, check=False).returncode == 0
        )
        if self.is_mounted:
            laboratory.at_exit(self._unmount)

    def fill(self, training: Training | None = None) -> None:
        """Leave no room."""
        if not self.is_mounted:
            self._limit(training, 1)
            return
        with (self.root / "filling").open("wb", buffering=0) as file:
            try:
                while file.write(b"x" * 4096):
                    pass
            except OSError:
                return

    def free(self, training: Training | None = None) -> None:
        """Make room again."""
        if self.is_mounted:
            (self.root / "filling").unlink()
        else:
            self._limit(training, None)

    def _limit(self, training: Training | None, size_bytes: int | None) -> None:
        limit = psutil.RLIM_INFINITY if size_bytes is None else size_bytes
        for process in [*([psutil.Process(training.process.pid)] if training else []), *self.laboratory.deliveries()]:
            process.rlimit(psutil.RLIMIT_FSIZE, (limit, psutil.RLIM_INFINITY))

    def _unmount(self) -> None:
        self.laboratory.wait_until(lambda: not self.laboratory.deliveries(), 5)
        if subprocess.run(["umount", str(self.root)], stderr=subprocess.DEVNULL, check=False).returncode:
            subprocess.run(["umount", "-l", str(self.root)], check=False)

    def leave(self) -> None:
        """Move the runs to an ordinary disk, as the trial moves them again."""
        self.laboratory.wait_for_deliveries()
        copy = self.laboratory.folder / "copy"
        shutil.copytree(self.root, copy, symlinks=True)
        self.laboratory.root = copy


def full_at_the_start(laboratory: Laboratory) -> Cell:
    """The disk is full when the run begins: it is kept elsewhere, and a message says where."""
    disk = SmallDisk(laboratory)
    if not disk.is_mounted:  # a limit cannot be there before the process is
        return read_only_at_the_start(laboratory)
    disk.fill()
    return _elsewhere(laboratory)


def full_in_the_middle(laboratory: Laboratory) -> Cell:
    """The disk is full for a quarter of the training, then it is not."""
    disk = SmallDisk(laboratory)
    laboratory.environment["RUNCAST_FINISH_TIMEOUT_S"] = "90"
    training = laboratory.train(HALF, LATER)
    training.reach()
    laboratory.wait_until(lambda: laboratory.state().points)
    disk.fill(training)
    training.go()
    training.reach()
    threading.Event().wait(1.5)  # so long the disk is full for the deliveries, too
    disk.free(training)
    code = training.end(180)
    disk.leave()
    laboratory.settle()
    return laboratory.cell(training, code, exit_within_s=110)


def full_at_the_end(laboratory: Laboratory) -> Cell:
    """The disk is full from the middle on, and is cleared after the training."""
    disk = SmallDisk(laboratory)
    if not disk.is_mounted:  # a limit would hold for every other disk, too
        return full_in_the_middle(laboratory)
    training = laboratory.train(HALF)
    training.reach()
    laboratory.wait_until(lambda: laboratory.state().points)
    disk.fill(training)
    code = training.end()
    laboratory.wait_for_deliveries()
    disk.free()
    told = re.search(r"When there is space again, append them with: (cat .*)", training.errors.read_text())
    if told:
        subprocess.run(told[1], shell=True, check=True)
    disk.leave()
    laboratory.settle()
    return laboratory.cell(training, code, problems=[] if told else ["it did not say where the rest is"])


def read_only_at_the_start(laboratory: Laboratory) -> Cell:
    """The folder of the runs cannot be written to: the run is kept elsewhere, and a message says where."""
    laboratory.root.mkdir(exist_ok=True)
    laboratory.root.chmod(0o555)
    return _elsewhere(laboratory, limited=True)


def _elsewhere(laboratory: Laboratory, *, limited: bool = False) -> Cell:
    training = laboratory.train(limited=limited, init={"delivery": "later"})
    code = training.end()
    told = "cannot be written" in training.errors.read_text()
    laboratory.root = laboratory.home / f"runcast-{os.getuid()}"
    laboratory.settle()
    return laboratory.cell(training, code, problems=[] if told else ["it did not say where the run is"])


def read_only_in_the_middle(laboratory: Laboratory) -> Cell:
    """The run's folders become read-only while it trains; later they can be written again."""
    training = laboratory.train(HALF, limited=True)
    training.reach()
    laboratory.wait_until(lambda: laboratory.state().points)
    folders = [folder for folder in laboratory.root.rglob("*") if folder.is_dir()]
    modes = {folder: folder.stat().st_mode for folder in [laboratory.root, *folders]}
    for folder in modes:
        folder.chmod(0o555)
    code = training.end()
    laboratory.wait_for_deliveries()
    for folder, mode in modes.items():
        folder.chmod(mode)
    laboratory.settle()
    return laboratory.cell(training, code, command=True)


# Clocks


def clock_jumps_back(laboratory: Laboratory) -> Cell:
    """The clock goes back an hour while the run trains."""
    faked, jumped = laboratory.folder / "faked", laboratory.folder / "jumped"
    faked.mkdir()
    (faked / "sitecustomize.py").write_text(CLOCK)
    laboratory.environment["PYTHONPATH"] = os.pathsep.join([str(faked), laboratory.environment["PYTHONPATH"]])
    laboratory.environment |= {"FAULTS_JUMPED": str(jumped), "RUNCAST_FINISH_TIMEOUT_S": "60"}
    training = laboratory.train(HALF, LATER)
    training.reach()
    laboratory.wait_until(lambda: laboratory.state().points)
    jumped.touch()
    training.go()
    training.reach()
    code, answer = laboratory.runcast("sync", "run", "--dir", str(laboratory.root))
    kinds = {outcome["result"] for outcome in answer.get("run", [])} if isinstance(answer, dict) else set()
    problems = [] if kinds <= {"busy", "open"} else [f"a sync of the living run: {answer}"]
    code = training.end()
    laboratory.settle()
    return laboratory.cell(training, code, problems=problems, exit_within_s=60)


# Kills


def delivery_killed_while_it_trains(kills: int) -> Callable[[Laboratory], Cell]:
    """The delivery is killed at random moments of a training."""

    def play(laboratory: Laboratory) -> Cell:
        chance = random.Random(f"{laboratory.tracker}, alive")
        stops = sorted(chance.sample(range(1, STEPS), kills))
        laboratory.environment["RUNCAST_FINISH_TIMEOUT_S"] = "90"
        training = laboratory.train(*stops, steps_per_s=400)
        killed = 0
        while training.reach() is not None:
            laboratory.wait_until(
                lambda: laboratory.state().phase == "delivering" and psutil.pid_exists(laboratory.state().pid)
            )
            threading.Event().wait(chance.uniform(0, 0.5))
            for process in laboratory.deliveries():
                laboratory.kill(process.pid)
                killed += 1
            training.go()
        code = training.end(180)
        laboratory.settle()
        laboratory.notes.append(f"{killed} processes were killed")
        return laboratory.cell(training, code, exit_within_s=110)

    return play


def delivery_killed_again_and_again(kills: int) -> Callable[[Laboratory], Cell]:
    """Deliveries of a living run are killed at random moments, one after the other, while its journal grows."""

    def play(laboratory: Laboratory) -> Cell:
        chance = random.Random(f"{laboratory.tracker}, again and again")
        laboratory.environment["RUNCAST_FINISH_TIMEOUT_S"] = "60"
        every = STEPS // (kills + 1)
        training = laboratory.train(*range(every, STEPS, every), init={"delivery": "later"})
        command = [sys.executable, "-m", "runcast", "sync", str(laboratory.run.path)]
        killed, whole_s, work_s = 0, 0.0, 0.0
        while training.reach() is not None:
            attempts, began = laboratory.state().attempts, time.monotonic()
            laboratory.run.tracker(laboratory.tracker).mkdir(parents=True, exist_ok=True)
            delivery = subprocess.Popen(
                command,
                env=laboratory.environment,
                cwd=laboratory.folder,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            if whole_s:
                if chance.random() < 0.75:  # most of its time it imports the SDK: kill it rather while it delivers
                    _wait_for_work(laboratory, delivery, attempts)
                    threading.Event().wait(chance.uniform(0, work_s))
                else:
                    threading.Event().wait(chance.uniform(0, whole_s))
                killed += delivery.poll() is None
                laboratory.kill(delivery.pid)
            else:
                _wait_for_work(laboratory, delivery, attempts)
                work_s = time.monotonic()
                delivery.wait()
                whole_s, work_s = time.monotonic() - began, time.monotonic() - work_s
            delivery.wait()
            training.go()
        code = training.end()
        laboratory.settle()
        laboratory.notes.append(
            f"{killed} deliveries were killed; a whole one takes {whole_s:.1f} s, its work {work_s:.1f} s"
        )
        return laboratory.cell(training, code)

    return play


def courier_killed_while_it_trains(kills: int) -> Callable[[Laboratory], Cell]:
    """The courier alone is killed at random moments of a training; its deliveries end with it."""

    def play(laboratory: Laboratory) -> Cell:
        chance = random.Random(f"{laboratory.tracker}, courier")
        every = STEPS // (kills + 1)
        laboratory.environment["RUNCAST_FINISH_TIMEOUT_S"] = "90"
        # A dead courier is noticed once a second, when something is logged.
        training = laboratory.train(*range(every, STEPS, every), steps_per_s=every / 1.3)
        killed = left = 0
        while training.reach() is not None:
            laboratory.wait_until(laboratory.couriers, 10)
            threading.Event().wait(chance.uniform(0, 1.0))
            deliveries = laboratory.deliveries()
            for courier in laboratory.couriers():
                courier.kill()
                killed += 1
            left += not laboratory.wait_until(lambda gone=deliveries: not any(map(_lives, gone)), 10)
            training.go()
        code = training.end(180)
        laboratory.settle()
        laboratory.notes.append(f"{killed} couriers were killed")
        problems = [f"a delivery outlived its courier {left} times"] if left else []
        return laboratory.cell(training, code, problems=problems, exit_within_s=110)

    return play


def watcher_killed(kills: int) -> Callable[[Laboratory], Cell]:
    """A training without network leaves its deliveries to `sync --watch` outside, which is killed at random moments."""

    def play(laboratory: Laboratory) -> Cell:
        chance = random.Random(f"{laboratory.tracker}, watcher")
        every = STEPS // (kills + 1)
        command = [sys.executable, "-m", "runcast", "sync", "--watch", "--dir", str(laboratory.root)]
        laboratory.root.mkdir(parents=True, exist_ok=True)
        training = laboratory.train(*range(every, STEPS, every), apart=True, init={"delivery": "later"})
        killed, lags = 0, []
        while (stop := training.reach()) is not None:
            attempts, began = laboratory.state().attempts, time.monotonic()
            watcher = subprocess.Popen(
                command, env=laboratory.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            if killed:
                if chance.random() < 0.75:  # most of its time it imports the SDK: kill it rather while it delivers
                    laboratory.wait_until(lambda before=attempts: laboratory.state().attempts > before)
                threading.Event().wait(chance.uniform(0, 0.5))
            else:
                size = journal_size(laboratory.run.journal)
                laboratory.wait_until(lambda size=size: laboratory.state().cursor >= size)
                lags.append(time.monotonic() - began)
            laboratory.kill(watcher.pid) if chance.random() < 0.5 else watcher.kill()
            watcher.wait()
            killed += 1
            laboratory.wait_for_deliveries()
            assert stop
            training.go()
        code = training.end()
        laboratory.settle()
        laboratory.notes.append(
            f"{killed} watchers were killed; the first points were there {lags[0]:.1f} s after its start"
        )
        return laboratory.cell(training, code)

    return play


def _lives(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _wait_for_work(laboratory: Laboratory, delivery: "subprocess.Popen[bytes]", attempts: int) -> None:
    """Wait until a delivery has imported its SDK, which takes most of its time."""
    laboratory.wait_until(lambda: laboratory.state().attempts > attempts or delivery.poll() is not None)


def killed_and_cut(cuts: int) -> Callable[[Laboratory], Cell]:
    """Training and delivery are killed, and the ends of the journal and of the tracker's own file are cut off."""

    def play(laboratory: Laboratory) -> Cell:
        chance = random.Random(f"{laboratory.tracker}, cut")
        training = laboratory.train(HALF, LATER)
        training.reach()
        laboratory.wait_until(lambda: laboratory.state().points)
        everybody = [*laboratory.couriers(), *laboratory.deliveries()]
        suspend(everybody, signal.SIGSTOP)  # so that no delivery is restarted, and has what is cut off below
        training.go()
        training.reach()
        training.stop()
        for process in everybody:
            laboratory.kill(process.pid)
        laboratory.wait_for_deliveries()
        original, cells = laboratory.root, []
        for number in range(cuts):
            laboratory.root = laboratory.folder / f"cut-{number}"
            shutil.copytree(original, laboratory.root, symlinks=True)
            cells.append(_cut_and_recover(laboratory, chance))
        worst = [max(cell.lost or 0 for cell in cells), max(cell.twice or 0 for cell in cells)]
        right = all(cell.status_right for cell in cells)
        return Cell(
            part="", fault="", moment="", tracker=laboratory.tracker, unharmed=None, lost=worst[0], twice=worst[1],
            status_right=right, exit_s=None, note="; ".join(dict.fromkeys(laboratory.notes)),
        )  # fmt: skip

    return play


def _cut_and_recover(laboratory: Laboratory, chance: random.Random) -> Cell:
    journal = laboratory.run.journal.read_bytes()
    last = len(journal) - journal[:-1].rfind(b"\n") - 1
    cut = chance.randrange(1, last)  # of the last record at least a byte is left, and a byte is gone
    laboratory.run.journal.write_bytes(journal[:-cut])
    for file in laboratory.run.tracker(laboratory.tracker).glob(GROWING.get(laboratory.tracker, "nothing")):
        size = file.stat().st_size
        os.truncate(file, max(0, size - chance.randrange(min(size, 4000) + 1)))
    points = journal_points(laboratory)
    shutil.rmtree(laboratory.folder / "moved", ignore_errors=True)
    laboratory.settle()
    cell = laboratory.cell(None, None, points, status="crashed")
    _, about = laboratory.runcast("status", "run", "--dir", str(laboratory.root))
    torn = int(cut > 1)  # only the newline is no loss
    if about.get("damaged") != torn:
        laboratory.notes.append(f"status counts {about.get('damaged')} records that were cut, not {torn}")
        return Cell(**{**vars(cell), "status_right": False})
    return cell


# Suspensions


def suspended(laboratory: Laboratory) -> Cell:
    """Everything is suspended for a while and resumed, with calls under way."""
    usual_s = laboratory.environment["RUNCAST_CALL_TIMEOUT_S"]
    laboratory.environment |= {"RUNCAST_FINISH_TIMEOUT_S": "60", "RUNCAST_CALL_TIMEOUT_S": "2"}
    training = laboratory.train(HALF, steps_per_s=200)
    training.reach()
    laboratory.wait_until(lambda: laboratory.state().points)
    training.go()
    everybody = [training.process.pid, *laboratory.deliveries()]
    suspend(everybody, signal.SIGSTOP)
    threading.Event().wait(3)
    suspend(everybody, signal.SIGCONT)
    training.at = None
    code = training.end()
    laboratory.environment["RUNCAST_CALL_TIMEOUT_S"] = usual_s  # reading the tracker back may take longer
    laboratory.settle()
    return laboratory.cell(training, code, exit_within_s=60)


# Deletions


def deleted_in_the_store(laboratory: Laboratory) -> Cell:
    """Somebody deletes the run from MLflow's own database while it trains."""
    laboratory.environment["RUNCAST_FINISH_TIMEOUT_S"] = "60"
    training = laboratory.train(HALF)
    training.reach()
    laboratory.wait_until(lambda: laboratory.state().points)
    with contextlib.closing(sqlite3.connect(laboratory.root / "mlflow.db", timeout=30)) as database, database:
        database.execute("update runs set lifecycle_stage = 'deleted'")
    code = training.end()
    laboratory.settle()
    return laboratory.cell(training, code, exit_within_s=60)
