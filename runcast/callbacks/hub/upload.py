"""Uploads of folders to a hub, each as one commit, in a child process: the newest wins, and nothing waits.

The child receives its orders, including the token, on standard input, so that neither its command line nor its
environment holds it. It ends by itself when its time is over, also when the training process is long gone.
"""

import contextlib
import importlib.metadata
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from runcast.core.errors import OptionError
from runcast.journal.paths import absolute
from runcast.redaction.console import say, warn
from runcast.redaction.tree import redact_text

CHILD = (
    "import json, sys; job = json.load(sys.stdin); sys.path[:] = job['path']; "
    "from runcast.callbacks.hub.upload import main; main(job)"
)
_REQUEST_ID = re.compile(r"\(Request ID: [^)]*\)")  # another one each time: the trouble would look new each time


class Uploads:
    """Uploads of folders to a hub: one at a time, and of those that wait only the newest.

    Args:
        repo: The repository, with or without its owner.
        endpoint: The hub's address; None is huggingface_hub's own.
        token: The token; None is huggingface_hub's own.
        private: Whether a new repository is private; None is what its owner has set.
        timeout_s: How long one upload may take.
    """

    def __init__(
        self, repo: str, *, endpoint: str | None, token: str | None, private: bool | None, timeout_s: float
    ) -> None:
        self.repo, self.url = repo, ""
        self._token, self._timeout_s = token, timeout_s
        self._job = {
            "repo": repo,
            "endpoint": endpoint,
            "private": private,
            "timeout_s": timeout_s,
            "path": [str(absolute(each)) for each in sys.path],
        }
        self._child: subprocess.Popen[bytes] | None = None
        self._folder: Path | None = None
        self._deadline = 0.0
        self._next: tuple[Path, str] | None = None
        self._trouble: tuple[str, Path | None] = ("", None)

    def push(self, folder: Path, message: str, revision: str | None = None) -> None:
        """Upload a folder, then delete it; a folder that waits for an older upload gives way to a newer one."""
        self._job["revision"] = revision
        if self._next is not None:
            _replace(self._next[0], folder)
        self._next = (folder, message)
        self.tend()

    def tend(self) -> None:
        """Check on the upload: report its end, stop it if it takes too long, start the next one. Never waits."""
        if self._child is not None and (self._child.poll() is not None or time.monotonic() >= self._deadline):
            self._end(f"it took more than {self._timeout_s:g} s")
        if self._child is None and self._next is not None:
            (folder, message), self._next = self._next, None
            self._start(folder, message)

    def wait(self, timeout_s: float) -> bool:
        """Wait for the current upload and the next one; return whether all of them have arrived.

        After the timeout, the rest is given up, and a message says how to push it.
        """
        deadline = time.monotonic() + timeout_s
        while self._child is not None or self._next is not None:
            self.tend()
            if (child := self._child) is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(max(0.0, min(deadline, self._deadline) - time.monotonic()))
            if time.monotonic() >= deadline and self._child is not None and self._child.poll() is None:
                left, self._next = self._next, None
                if left is not None:  # the newer one is the one to push by hand
                    _replace(self._folder, left[0])
                    self._folder = left[0]
                self._end(f"{timeout_s:g} s were over")
        if self._folder is not None and self._trouble[1] != self._folder:
            self._tell(self._trouble[0])
        return self._folder is None

    def _start(self, folder: Path, message: str) -> None:
        if self._folder is not None:  # of an upload that failed: this one is newer
            _replace(self._folder, folder)
        self._folder = folder
        job = {**self._job, "folder": str(folder), "message": message, "token": self._token}
        try:
            child = subprocess.Popen(
                [sys.executable, "-I", "-c", CHILD],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as error:
            self._tell(f"no process could be started ({error.strerror})")
            return
        self._child, self._deadline = child, time.monotonic() + self._timeout_s
        assert child.stdin is not None
        with contextlib.suppress(OSError):  # it is dead already: `tend` will see
            child.stdin.write(json.dumps(job).encode())
            child.stdin.close()

    def _end(self, why: str) -> None:
        """Take the child's answer; one that is still alive is ended, for the reason given."""
        child, self._child = self._child, None
        assert child is not None
        assert child.stdout is not None
        is_late = child.poll() is None
        if is_late:
            with contextlib.suppress(OSError):
                os.killpg(child.pid, signal.SIGKILL)
        answer = child.stdout.read()
        child.stdout.close()
        child.wait()
        try:
            result: dict[str, Any] = json.loads(answer)
        except ValueError:
            is_late = is_late or child.returncode == -signal.SIGALRM
            result = {"error": why if is_late else f"its process ended with {child.returncode}"}
        if "url" in result:
            if not self.url:
                say(f"the model is at {result['url']}")
            self.url, self._folder, self._trouble = str(result["url"]), None, ("", None)
        elif result["error"] == self._trouble[0]:
            pass  # reported already: a hub that is away for a day produces one line, and one at the end
        else:
            self._tell(str(result["error"]))

    def _tell(self, what: str) -> None:
        self._trouble = (what, self._folder)
        hidden = redact_text(what.replace(self._token, "[redacted]") if self._token else what)
        warn(
            f"the model was not pushed to {self.repo}: {hidden}. Training continues. It is in {self._folder}: push "
            f"it with: hf upload {self.repo} {self._folder}"
        )


def _replace(older: Path | None, newer: Path) -> None:
    """Remove a folder that a newer one replaces, except for checkpoints that are to be pushed one and all."""
    if older is not None:
        with contextlib.suppress(OSError):
            for each in older.glob("checkpoint-*"):
                if not (newer / each.name).exists():
                    each.rename(newer / each.name)
        shutil.rmtree(older, ignore_errors=True)


def check_settings(strategies: tuple[str, ...], save_strategy: str, save_steps: int | None) -> None:
    """Raise OptionError if a callback that pushes cannot do so: when it is to is unclear, or a package is missing."""
    if save_strategy not in strategies:
        raise OptionError(f"save_strategy={save_strategy!r} is unknown. Valid values are: {', '.join(strategies)}.")
    if (save_strategy == "steps") != (save_steps is not None) or (save_steps is not None and save_steps < 1):
        raise OptionError(
            f"save_strategy={save_strategy!r} does not suit save_steps={save_steps!r}: give a number of steps with "
            "'steps', and only then."
        )
    try:
        importlib.metadata.version("huggingface_hub")
    except importlib.metadata.PackageNotFoundError:
        raise OptionError(
            "PushToHubCallback needs huggingface_hub, which is not installed. Install it with: pip install "
            "'runcast[hub]'"
        ) from None


def main(job: dict[str, Any]) -> None:
    """Do the job and print the answer; this is all that the child does."""
    signal.alarm(max(1, int(job["timeout_s"])))
    os.nice(10)
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    try:
        answer = {"url": upload(job)}
    except Exception as error:  # noqa: BLE001 - huggingface_hub and what it uses may raise anything; it is told
        text = " ".join(_REQUEST_ID.sub("", str(error)).split())[:300]
        answer = {"error": f"{type(error).__name__}: {text}"}
    sys.stdout.write(json.dumps(answer))


def upload(job: dict[str, Any]) -> str:
    """Make the repository if need be, commit every file of the folder at once, and delete the folder."""
    from huggingface_hub import CommitOperationAdd, HfApi

    folder = Path(job["folder"])
    api = HfApi(endpoint=job["endpoint"], token=job["token"])
    repo = api.create_repo(job["repo"], private=job["private"], exist_ok=True)
    if job["revision"]:
        api.create_branch(repo.repo_id, branch=job["revision"], exist_ok=True)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    operations = [CommitOperationAdd(path.relative_to(folder).as_posix(), str(path)) for path in files]
    api.create_commit(repo.repo_id, operations, commit_message=job["message"], revision=job["revision"])
    shutil.rmtree(folder, ignore_errors=True)
    return str(repo)
