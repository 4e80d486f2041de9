"""The parts of a snapshot that take time, the diff and the list of packages, collected by a thread."""

import tempfile
import threading
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

from runcast.core.foreign import attempt, described
from runcast.run.options import SNAPSHOT
from runcast.run.snapshot.checkout import find_checkout
from runcast.run.snapshot.differences import diff_of
from runcast.run.snapshot.packages import list_packages

PARTS = ("diff", "packages")
PATIENCE_S = 45.0  # more than Git gets for all that it is asked


class Found:
    """What was found.

    It is the files of one artifact, whether the work tree differs from its commit (None: unknown), and why a part lacks
    something, if it does.
    """

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.is_dirty: bool | None = None
        self.lacking: dict[str, str] = {}


def record_found(run: Any, found: Found) -> None:
    """Record what was found of a `Run`."""
    if found.is_dirty is not None:
        run._log_params({SNAPSHOT: {"git": {"dirty": found.is_dirty}}})
    if found.files:
        with tempfile.TemporaryDirectory(prefix="runcast-") as temporary:
            for name, text in found.files.items():
                Path(temporary, name).write_text(text, encoding="utf-8", errors="replace", newline="")
            run.log_artifact(temporary, SNAPSHOT, SNAPSHOT)
    for part, reason in found.lacking.items():
        run._drop(f"{SNAPSHOT}/{part}", f"lacks something: {reason}")


class Collector:
    """A thread that collects, and gives what it has found to `record`, unless nobody waits for it any more.

    Args:
        parts: What to collect.
        record: Is called once, by the thread.
    """

    def __init__(self, parts: Collection[str], record: Callable[[Found], None]) -> None:
        self._parts, self._record = parts, record
        self._checkout = attempt(find_checkout, lambda _: None)  # now: the script may change its directory
        self._is_awaited, self._recording = True, threading.RLock()
        self._thread = threading.Thread(target=self._collect, name="runcast-snapshot", daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float) -> None:
        """Wait until all is recorded; after the timeout nothing is recorded any more."""
        self._thread.join(min(timeout_s, PATIENCE_S))
        with self._recording:
            self._is_awaited = False

    def _collect(self) -> None:
        found = Found()
        for part, collect in zip(PARTS, (self._add_diff, self._add_packages), strict=True):
            if part in self._parts and (reason := attempt(lambda: collect(found), described)):  # noqa: B023 - at once
                found.lacking[part] = reason
        with self._recording:
            if self._is_awaited:
                attempt(lambda: self._record(found), lambda _: None)

    def _add_diff(self, found: Found) -> str:
        if self._checkout is None:
            return "the script is in no work tree of Git"
        text, problem = diff_of(self._checkout.root)
        if text or not problem:
            found.is_dirty = bool(text)
        if text:
            found.files["diff.patch"] = text
        return problem

    def _add_packages(self, found: Found) -> str:
        found.files["packages.txt"] = list_packages()
        return ""
