"""Trackers whose SDK leaves the process, each in its own way and at its own moment."""

import os
from typing import Any, ClassVar

from runcast.core.errors import RestartError
from runcast.integrations.contract import TrackedRun
from runcast.testing import MemoryTracker

EXIT = SystemExit(3)


class Panic(BaseException):
    """What an SDK written in another language raises."""


class LeavesInSetup(MemoryTracker):
    name = "in_setup"
    error: ClassVar[type[BaseException]] = SystemExit

    def setup(self, run: TrackedRun) -> None:
        raise self.error("no more")


class LeavesInLog(MemoryTracker):
    name = "in_log"

    def log_metrics(self, points: Any) -> None:
        raise SystemExit(0)


class LeavesInFinish(MemoryTracker):
    name = "in_finish"

    def finish(self, ending: Any) -> None:
        raise KeyboardInterrupt


class LeavesInConstructor(MemoryTracker):
    name = "in_constructor"

    def __init__(self) -> None:
        raise SystemExit("licence")


class Panics(MemoryTracker):
    name = "panics"

    def setup(self, run: TrackedRun) -> None:
        raise Panic("unreachable code")


class Restarting(MemoryTracker):
    """Wants a fresh process (or, in a thread, a fresh Tracker) after half of its first batch, once."""

    name = "restarting"

    def log_metrics(self, points: Any) -> None:
        marker = self._path.with_name("restarted")
        if not marker.exists():
            marker.write_text(str(os.getpid()))
            super().log_metrics(points[: len(points) // 2])
            raise RestartError("the core of the SDK is gone")
        super().log_metrics(points)


if os.environ.get("LEAVING_AT_IMPORT"):
    raise SystemExit("at import")
