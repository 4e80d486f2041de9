"""Starting delivery processes: one by itself, or several in one session."""

import contextlib
import fcntl
import os
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from runcast.delivery.courier import launcher
from runcast.delivery.courier.exit_status import open_self
from runcast.journal.layout import RunDirectory
from runcast.journal.paths import absolute

# A starting interpreter would take the processor from `init`, which has yet to start the others. A shell needs little;
# it lowers its priority (see `priority.py`) and becomes the interpreter at the first line of its input, once all are
# there.
WAITING = ("/bin/sh", "-c", '{ echo 19 >/proc/$$/autogroup; } 2>/dev/null; read -r _ && exec "$0" "$@"')
NO_SIGNAL = getattr(socket, "MSG_NOSIGNAL", 0)  # a script may die of SIGPIPE; a dead delivery must not cause that


END_S = 1.0


class Plan(NamedTuple):
    """What to start: a command, the line for its standard input, and its log file."""

    command: list[str]
    log: Path
    line: socket.socket


class Process(Protocol):
    """The interface of a started process."""

    returncode: Any

    @property
    def pid(self) -> int:
        """Return the process id, or that of a process in its session."""

    def poll(self) -> int | None:
        """Return its exit status, or None."""


def start_alone(plan: Plan, environment: Mapping[str, str], keep: Sequence[int]) -> "subprocess.Popen[bytes]":
    """Start a process in a session of its own, out of reach of Ctrl-C.

    It waits for a line of input.

    Raises:
        OSError: It could not be started.
    """
    with open(os.open(plan.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as log:
        return subprocess.Popen(
            [*WAITING, *plan.command],
            pass_fds=keep,
            stdin=plan.line.fileno(),
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=environment,
        )


class Launch:
    """The start of several processes in one session. Each waits for a line of input, and all for `go`.

    Raises:
        OSError: They could not be started.
    """

    def __init__(self, plans: Sequence[Plan], environment: Mapping[str, str], keep: Sequence[int]) -> None:
        self._line, theirs = socket.socketpair()
        lines = [above_standard(plan.line.fileno()) for plan in plans]
        with theirs, contextlib.ExitStack() as stack:
            for line in lines:
                stack.callback(os.close, line)
            failed = stack.enter_context(contextlib.ExitStack())
            failed.callback(self._line.close)
            self.launcher = subprocess.Popen(
                [*WAITING, sys.executable, "-I", "-S", launcher.__file__],
                pass_fds=[*keep, *lines],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env=environment,
            )
            failed.pop_all()
        # Each begins as a shell, too, and reads its line of input like a process that was started alone.
        self._plans = [
            (str(plan.log.resolve()), line, [*WAITING, *plan.command]) for plan, line in zip(plans, lines, strict=True)
        ]
        self._answer = b""
        self.processes = [Launched(self, index) for index in range(len(plans))]

    def go(self) -> None:
        """Let them begin."""
        with contextlib.suppress(OSError):  # it is dead, which `check` will notice
            self._line.sendall(b"\n" + msgspec.json.encode(self._plans) + b"\n", NO_SIGNAL)
            self._line.setblocking(False)

    def pids(self) -> list[int]:
        """Return the ids of the processes created so far; -1 for one that failed."""
        is_over = self.launcher.poll() is not None
        with contextlib.suppress(OSError):
            while part := self._line.recv(4096):
                self._answer += part
        found = [int(line) for line in self._answer.split(b"\n")[:-1]]
        return found + [-1] * (len(self._plans) - len(found)) if is_over else found

    def forget(self) -> None:
        """Release the launcher, in a fork or at the end."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.launcher.wait(END_S)  # it has ended, or is about to
        self.launcher.returncode = self.launcher.returncode or 0
        with contextlib.suppress(OSError):  # a daemon has closed it
            self._line.close()


def above_standard(descriptor: int) -> int:
    """Copy a descriptor to a number above the standard streams, which a script may have closed, as daemons do."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 3)


class Launched:
    """A process that was started by a launcher, and is a child of this process."""

    def __init__(self, launch: Launch, index: int) -> None:
        self._launch, self._index = launch, index
        self._pid: int | None = None
        self.returncode: int | None = None

    @property
    def pid(self) -> int:
        """Return the process id; until it is known, that of the launcher, which is in the same session."""
        if self._pid is None:
            known = self._launch.pids()
            if len(known) > self._index:
                self._pid = known[self._index]
        return self._launch.launcher.pid if self._pid is None else self._pid

    @property
    def never_began(self) -> bool:
        """Return whether this system refused to create it."""
        return self.pid == -1

    def poll(self) -> int | None:
        """Return its exit status, or None."""
        if self.returncode is None and self.pid != self._launch.launcher.pid:
            try:
                ended, status = os.waitpid(self.pid, os.WNOHANG) if self.pid > 0 else (-1, 0)
            except ChildProcessError:  # other code has already waited for it
                ended, status = self.pid, 0
            if ended:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


OF_THE_SCRIPT = frozenset(
    f"PYTHON{name}" for name in ("OPTIMIZE", "WARNINGS", "INSPECT", "DEVMODE", "VERBOSE", "PROFILEIMPORTTIME")
)


# The working directory may hold modules named like ours or an SDK's; the path comes with the orders. Python 3.10 has
# no -P, so this does the same for every version.
_BEGIN = "import sys; sys.path[:1] = []; import runpy; runpy.run_module(sys.argv.pop(1), None, '__main__', True)"


@contextlib.contextmanager
def training_itself() -> Iterator[tuple[int, ...]]:
    """Open a descriptor that tells the children how this process ended; yield None if unsupported."""
    own = open_self()
    if own is None:
        yield ()
        return
    kept = above_standard(own)
    os.close(own)
    try:
        yield (kept,)
    finally:
        os.close(kept)


def delivery_command(directory: RunDirectory, name: str, *mode: str) -> list[str]:
    """Return the command of a delivery process."""
    return module_command("runcast.delivery", str(absolute(directory.path)), name, *mode)


def module_command(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module of ours without importing from the working directory."""
    return [sys.executable, "-c", _BEGIN, module, *arguments]


def child_environment() -> dict[str, str]:
    """Return the environment of a process that runs our modules.

    It lets a fresh interpreter find this runcast, and lacks the variables that change how Python treats the training
    script's code, because an SDK may not work under them.
    """
    environment = {name: value for name, value in os.environ.items() if name not in OF_THE_SCRIPT}
    root = str(Path(__file__).resolve().parents[3])
    if root not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    return environment
