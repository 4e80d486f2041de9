"""What has changed since the commit, as Git says; nothing is changed, executed or fetched by asking it.

The user's own diff and text converters are left out, and so are monitors of files. Git refuses a repository of another
user ("dubious ownership"), whose configuration could execute anything; so do we.
"""

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
from typing import NamedTuple

from runcast.redaction.diff import redact_diff

GIT_S = 20.0  # for each question; a large work tree on a network share may take longer
DIFF_BYTES = 2**21
PLACES = {
    f"GIT_{name}"
    for name in ("DIR", "WORK_TREE", "INDEX_FILE", "COMMON_DIR", "OBJECT_DIRECTORY", "PREFIX", "NAMESPACE")
}
QUIET = {"GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_ALLOW_PROTOCOL": "none"}


class Answer(NamedTuple):
    """What Git said, up to a limit; `problem` is why that is not all of it, or empty."""

    output: bytes
    problem: str


def diff_of(root: str) -> tuple[str, str]:
    """Return the diff to the commit without secrets, and what is missing in it, if anything."""
    options = ("--no-ext-diff", "--no-textconv", "--no-color", "--no-renames", "--src-prefix=a/", "--dst-prefix=b/")
    _, problem = _ask(root, "rev-parse", "--verify", "HEAD", limit=100)
    if problem:  # `git diff` would answer with its usage
        return "", problem
    output, problem = _ask(root, "diff", "HEAD", *options, limit=DIFF_BYTES)
    if problem:
        output = output[: output.rfind(b"\n") + 1]
    text = redact_diff(output.decode(errors="replace"))
    return (f"{text}[cut: {problem}]\n" if problem and text else text), problem


def _ask(root: str, *question: str, limit: int) -> Answer:
    # The script may be part of a hook, whose variables mean another work tree.
    environment = {name: value for name, value in os.environ.items() if name not in PLACES}
    command = ["git", "-C", root, "-c", "core.fsmonitor=false", "--no-pager", *question]
    with tempfile.TemporaryFile() as complaints:  # a pipe would fill up with a warning for each file
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=complaints,
                env={**environment, **QUIET},
                start_new_session=True,
            )
        except OSError as error:
            return Answer(b"", f"git could not be started ({error.strerror})")
        output, is_late = _read_within(process, limit + 1)
        complaints.seek(0)
        said = [line for line in complaints.read(2000).decode(errors="replace").splitlines() if "fatal:" in line]
    if len(output) > limit:
        return Answer(output[:limit], f"it has more than {limit:,} bytes")
    if is_late:
        return Answer(output, f"git took more than {GIT_S:g} s")
    return Answer(output, f"git says: {said[0] if said else process.returncode}" if process.returncode else "")


def _read_within(process: subprocess.Popen[bytes], size: int) -> tuple[bytes, bool]:
    """Read at most *size* bytes of a process's output, and end it; return whether it took too long."""
    was_late = threading.Event()

    def end() -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with the Git of each submodule

    def end_late() -> None:
        was_late.set()
        end()

    timer = threading.Timer(GIT_S, end_late)
    timer.daemon = True
    timer.start()
    with process:
        output = process.stdout.read(size) if process.stdout is not None else b""
        if len(output) == size:
            end()
    timer.cancel()
    return output, was_late.is_set()
