"""Verification: compares each tracker, through its own reader, with the journal, point by point.

Each tracker is read in a process of its own, because reading imports its SDK.
"""

import contextlib
import subprocess
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from typing import IO

import msgspec

from runcast.core.errors import TrackerUnavailableError
from runcast.delivery.addresses import open_command, place
from runcast.delivery.courier.spawning import child_environment, module_command, where_to_start
from runcast.delivery.ranks import gather_ranks
from runcast.delivery.trust import OF_SCRIPT, Decide, Orders, orders_for
from runcast.history.comparison import LEFT, Verdict
from runcast.journal.layout import RunDirectory, RunFile
from runcast.journal.paths import absolute, argument
from runcast.journal.records import UNREADABLE
from runcast.journal.seal import is_own
from runcast.journal.state import DeliveryState, load_state, waiting_for
from runcast.journal.status import error_line
from runcast.values.settings import seconds

READ_S = 300.0
POLL_S = 0.05


def verify(
    directory: RunDirectory,
    names: Collection[str] | None = None,
    progress: Callable[[Verdict], None] | None = None,
    *,
    decide: Decide | None = None,
    trust: bool = False,
    classes: Mapping[str, str] | None = None,
) -> list[Verdict]:
    """Read every tracker of a run back, all at once, and compare it with the journal.

    Args:
        directory: The run's folder.
        names: The trackers to read; default: all.
        progress: Called with each verdict.
        decide: Finds trackers that are installed beside those of the table.
        trust: Whether to trust a run that was begun elsewhere.
        classes: The user's own tracker classes, as "module:Class" by name.
    """
    file = directory.load()
    gather_ranks(directory, file)
    own = trust or is_own(file)
    verdicts: dict[str, Verdict] = {}
    readers: dict[str, _Reader] = {}
    for name in file.trackers if names is None else names:
        state = load_state(directory.tracker(name))
        if name in file.trackers and not file.trackers[name].tracker and name not in (classes or {}):
            command = f"runcast verify {argument(directory.path)}"
            verdicts[name] = Verdict(
                name=name, where=place(directory, name, state), note=OF_SCRIPT.format(name=name, command=command)
            )
        elif state is None or not (state.url or state.cursor or state.phase == "unknown"):
            verdicts[name] = _unopened(directory, file, name, state)
        else:
            try:
                orders = orders_for(directory, file, name, own=own, decide=decide, classes=classes)
            except TrackerUnavailableError as error:
                verdicts[name] = Verdict(name=name, error=str(error))
            else:
                readers[name] = _Reader(directory, name, orders)
    try:
        while readers:
            for name, reader in list(readers.items()):
                verdict = reader.verdict()
                if verdict is not None:
                    del readers[name]
                    verdicts[name] = verdict
                    if verdict.error is not None:
                        _describe(verdict, directory, file)
                    if progress is not None:
                        progress(verdict)
            if readers:
                time.sleep(POLL_S)
    finally:
        for reader in readers.values():
            reader.stop()
    return [verdicts[name] for name in (file.trackers if names is None else names)]


class _Reader:
    """The process that reads one tracker."""

    def __init__(self, directory: RunDirectory, name: str, orders: Orders) -> None:
        self.name = name
        self.limit_s = seconds("RUNCAST_CALL_TIMEOUT_S", READ_S)
        self.deadline = time.monotonic() + self.limit_s
        self.answer: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop
        self.errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop
        command = module_command("runcast.history.reading", str(absolute(directory.path)), name)
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=self.answer,
            stderr=self.errors,
            cwd=where_to_start(directory.path),
            env=child_environment(),
        )
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self.process.stdin as orders_go_here:
            orders_go_here.write(msgspec.json.encode(orders) + b"\n")

    def verdict(self) -> Verdict | None:
        """Return the verdict, or None if the process is still reading."""
        if self.process.poll() is None:
            if time.monotonic() < self.deadline:
                return None
            self.stop()
            return Verdict(
                name=self.name, error=f"it could not be read: its reader has not responded for {self.limit_s:.0f} s"
            )
        self.answer.seek(0)
        self.errors.seek(0)
        answer, errors = self.answer.read(), self.errors.read().decode(errors="replace")
        self.stop()
        try:
            return msgspec.json.decode(answer, type=Verdict)
        except UNREADABLE:
            reason = error_line(errors) or f"its reader ended with exit status {self.process.returncode}"
            return Verdict(name=self.name, error=f"it could not be read: {reason[:400]}")

    def stop(self) -> None:
        """End the process if it is still running, and discard its output."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait()
        self.answer.close()
        self.errors.close()


def _unopened(directory: RunDirectory, file: RunFile, name: str, state: DeliveryState | None) -> Verdict:
    if name not in file.trackers:
        return Verdict(
            name=name,
            error=f"it has no part in this run. Send the run there with: "
            f"runcast replay {argument(directory.path)} --to {name}",
        )
    choice, waiting = file.trackers[name], waiting_for(directory.journal, name, 0).points
    if choice.left:
        return Verdict(name=name, online=choice.online, note=LEFT)
    if choice.measures and state is None:
        return Verdict(name=name, note="it measured nothing, as it was not there while the run trained")
    error = (
        state.error
        if state is not None and state.error
        else f"nothing was delivered to it yet. Run: runcast sync {argument(directory.path)}"
    )
    return Verdict(name=name, online=choice.online, logged=waiting, waiting=waiting, error=error)


def _describe(verdict: Verdict, directory: RunDirectory, file: RunFile) -> None:
    """Add what is known about a tracker that could not be read."""
    verdict.online = file.trackers[verdict.name].online
    verdict.where = place(directory, verdict.name, load_state(directory.tracker(verdict.name)))
    verdict.open_command = open_command(directory, verdict.name, verdict.where)
    verdict.logged = waiting_for(directory.journal, verdict.name, 0).points
