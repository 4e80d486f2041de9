"""Runs scripts in processes forked from one that has already imported what they need, like multiprocessing's forkserver.

    python tests/warm.py FD MODULE …

Importing PyTorch takes two seconds of a processor, a framework beside it five more: most of what a short script costs.
A script runs as `python SCRIPT` runs it: as `__main__`, with its own arguments, environment and folder, to the very end
of the interpreter. Only the listed modules are imported before it; no module of runcast is among them.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, NamedTuple


class Warm(NamedTuple):
    """Modules that are imported before a script, beside those of another one, from whose process this one is forked."""

    modules: tuple[str, ...]
    beside: "Warm | None" = None


# PyTorch with all that a training of ours imports, and the frameworks. torch._dynamo imports tabulate, where it is
# installed, when the interpreter exits: then Python forgets that an interrupt ended the script.
TORCH = Warm(
    (
        "tabulate",
        "torch",
        "torch._dynamo",
        "torch.distributed.checkpoint.hf_storage",
        "torch.distributed.checkpoint.state_dict",
        "torch.distributed.fsdp",
    )
)
ACCELERATE = Warm(("accelerate",), TORCH)
IGNITE = Warm(("ignite.engine", "ignite.handlers", "ignite.metrics"), TORCH)
KERAS = Warm(("keras",), TORCH)
LIGHTNING = Warm(("lightning.pytorch", "lightning.pytorch.cli"), TORCH)
TRANSFORMERS = Warm(("transformers.trainer",), TORCH)
# What the trackers' SDKs need. Most SDKs read variables as they are imported, so that each process imports its own; MLflow
# reads them when it needs them.
SDK_NEEDS = Warm(
    (
        "google.protobuf.message",
        "numpy",
        "opentelemetry.sdk.trace",
        "pandas",
        "PIL.Image",
        "pydantic",
        "requests",
        "ruamel.yaml",
        "sqlalchemy.orm",
    )
)
MLFLOW = Warm(("alembic.command", "mlflow", "mlflow.store.tracking.sqlalchemy_store"), SDK_NEEDS)
VARIABLES = {
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "KERAS_BACKEND": "torch",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "OMP_NUM_THREADS": "1",  # no threads, which a fork would lose
    "TOKENIZERS_PARALLELISM": "false",
}


class Script:
    """A script that was started."""

    def __init__(self, answer: socket.socket) -> None:
        self._answer = answer
        self.pid = int(answer.recv(64))
        self.returncode: int | None = None

    def wait(self, timeout_s: float) -> int:
        """Return the exit status, as `subprocess` gives it."""
        if self.returncode is None:
            self._answer.settimeout(timeout_s)
            try:
                self.returncode = int(self._answer.recv(64))
            except TimeoutError:
                raise subprocess.TimeoutExpired(f"script {self.pid}", timeout_s) from None
            self._answer.close()
        return self.returncode

    def kill(self) -> None:
        """End it at once, if it still runs; nobody waits for it any more."""
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)
            self._answer.close()


@functools.cache
def server(warm: Warm) -> socket.socket:
    """Start a process that imports modules and then forks the scripts; it ends with this process."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    atexit.register(ours.close)
    with theirs:
        if warm.beside is not None:
            socket.send_fds(server(warm.beside), [json.dumps({"modules": warm.modules}).encode()], [theirs.fileno()])
            return ours
        process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno()), *warm.modules],
            env={**os.environ, **VARIABLES},
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
    process.returncode = 0  # it outlives us; no ResourceWarning for that
    return ours


def start(
    warm: Warm,
    command: Sequence[str | Path],
    *,
    folder: Path,
    environment: Mapping[str, str],
    stdin: IO[str] | None = None,
    stdout: IO[str],
    stderr: IO[str],
) -> Script:
    """Start a script.

    Args:
        warm: What is imported before it.
        command: Its path and its arguments.
        folder: Its working directory.
        environment: All of its variables.
        stdin: A file to read; None is an empty one.
        stdout: A file for what it prints.
        stderr: A file for its errors.
    """
    request = {"command": [str(part) for part in command], "folder": str(folder), "environment": dict(environment)}
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs, open(os.devnull) as nothing:
        files = [theirs.fileno(), *(file.fileno() for file in (stdin or nothing, stdout, stderr))]
        socket.send_fds(server(warm), [json.dumps(request).encode()], files)
    return Script(ours)


def run(
    warm: Warm,
    command: Sequence[str | Path],
    *,
    folder: Path,
    environment: Mapping[str, str],
    given: str = "",
    timeout_s: float = 600.0,
) -> "subprocess.CompletedProcess[str]":
    """Run a script to its end; the arguments are those of `start`, *given* is what it reads from its standard input."""
    with contextlib.ExitStack() as stack:
        stdin, stdout, stderr = (stack.enter_context(tempfile.TemporaryFile("w+")) for _ in range(3))
        stdin.write(given)
        stdin.seek(0)
        files = {"stdin": stdin, "stdout": stdout, "stderr": stderr}
        script = start(warm, command, folder=folder, environment=environment, **files)
        try:
            code = script.wait(timeout_s)
        finally:
            script.kill()
        texts = [file.seek(0) or file.read() for file in (stdout, stderr)]
    return subprocess.CompletedProcess(list(command), code, *texts)


def serve(control: socket.socket) -> tuple[dict, list[int]]:
    """Fork a process for each request until nobody asks any more; in that process, return the request and its files."""
    bell, ringer = socket.socketpair()
    ringer.setblocking(False)
    signal.signal(signal.SIGCHLD, lambda *_: None)  # a handler, or no bell rings
    signal.set_wakeup_fd(ringer.fileno())
    answers: dict[int, int] = {}
    while True:
        rings, _, _ = select.select([control, bell], [], [])
        if bell in rings:
            bell.recv(4096)
            report_ended(answers)
        if control in rings:
            message, files, *_ = socket.recv_fds(control, 1 << 20, 4)
            if not message:
                os._exit(0)
            request = json.loads(message)
            if (pid := os.fork()) == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                for answer in answers.values():
                    os.close(answer)
                control.close()
                return request, files
            if "command" in request:
                answers[pid] = os.dup(files[0])
                os.write(files[0], str(pid).encode())
            for file in files:
                os.close(file)


def report_ended(answers: dict[int, int]) -> None:
    """Answer with the exit status of every script that has ended."""
    for pid in list(answers):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            answer = answers.pop(pid)
            with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
                os.write(answer, str(os.waitstatus_to_exitcode(status)).encode())
            os.close(answer)


def become(files: list[int], command: list[str], folder: str, environment: dict[str, str]) -> None:
    """Go on as the process of a script."""
    os.close(files[0])
    for number, file in enumerate(files[1:]):
        os.dup2(file, number)
        os.close(file)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    paths = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.argv, sys.path[:1] = command, [os.path.dirname(os.path.abspath(command[0])), *paths]
    main = types.ModuleType("__main__")
    main.__dict__.update(__file__=command[0], __builtins__=__builtins__)
    sys.modules["__main__"] = main
    exec(compile(Path(command[0]).read_text(encoding="utf-8"), command[0], "exec"), main.__dict__)


def main(control: int, modules: Sequence[str]) -> None:
    """Import modules, then serve; each request is for a script, or for another server with more modules."""
    for name in modules:
        importlib.import_module(name)
    gc.freeze()  # or the first collection in a child copies the memory of all modules
    request, files = serve(socket.socket(fileno=control))
    if "modules" in request:
        main(files[0], request["modules"])
    else:
        become(files, **request)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
