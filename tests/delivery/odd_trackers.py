"""Trackers that fail, die or hang in chosen ways, on top of one that keeps every promise."""

import os
import signal
import threading
import warnings
from collections.abc import Sequence
from typing import Any, ClassVar

from runcast.core.errors import FinalError, GoneError, RetryableError
from runcast.integrations.contract import Ending, Reading, TrackedRun
from runcast.testing import MemoryTracker
from runcast.values.points import Point


class Refusing(MemoryTracker):
    """Has the wrong key."""

    name = "refusing"

    def setup(self, run: TrackedRun) -> None:
        raise FinalError("the key is wrong. Log in with: refusing login")


class Exploding(MemoryTracker):
    """Raises what no contract knows, each time it is given points."""

    name = "exploding"

    def log_metrics(self, points: Sequence[Point]) -> None:
        raise ZeroDivisionError("in the SDK")


class Deprecated(MemoryTracker):
    """Uses something deprecated, and needs its own docstring."""

    name = "deprecated"

    def setup(self, run: TrackedRun) -> None:
        warnings.warn("use another", DeprecationWarning, stacklevel=1)
        assert type(self).__doc__.startswith("Uses")
        super().setup(run)


class Hanging(MemoryTracker):
    """Never returns from setup."""

    name = "hanging"

    def setup(self, run: TrackedRun) -> None:
        threading.Event().wait()


class DyingLate(MemoryTracker):
    """Kills its process when it is given the run once more, once."""

    name = "dying_late"

    def setup(self, run: TrackedRun) -> None:
        super().setup(run)
        marker = self._path.with_name("died")
        if run.resumed and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)


class Dying(MemoryTracker):
    """Kills its process in the middle of the first batch, once."""

    name = "dying"

    def log_metrics(self, points: Sequence[Point]) -> None:
        marker = self._path.with_name("died")
        if not marker.exists():
            marker.touch()
            super().log_metrics(points[: len(points) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        super().log_metrics(points)


class Optional(MemoryTracker):
    """Writes down what it was given."""

    name = "optional"

    def setup(self, run: TrackedRun) -> None:
        super().setup(run)
        facts = {
            "pid": os.getpid(),
            "session": os.getsid(0),
            "nice": os.nice(0),
            "parent": os.getppid(),
            "cwd": os.getcwd(),
        }
        self._append(["params", {**run.options, **facts, "resumed": run.resumed}])


class Moody(MemoryTracker):
    """Raises, for each call of a method, what its `plan` holds for it; an entry of None lets the call through."""

    name = "moody"

    def __init__(self, **plan: list[BaseException | None]) -> None:
        self.plan = plan
        self.calls: list[tuple[str, Any]] = []

    def _meet(self, method: str, argument: Any = None) -> None:
        self.calls.append((method, argument))
        if self.plan.get(method) and (error := self.plan[method].pop(0)) is not None:
            raise error

    def setup(self, run: TrackedRun) -> None:
        self._meet("setup", run.resumed)
        super().setup(run)

    def log_params(self, params: Any) -> None:
        self._meet("log_params", params)
        super().log_params(params)

    def log_metrics(self, points: Sequence[Point]) -> None:
        self._meet("log_metrics", len(points))
        super().log_metrics(points)

    def finish(self, ending: Ending) -> None:
        self._meet("finish", (ending.status, ending.error))
        super().finish(ending)

    def read(self, run: TrackedRun) -> Reading:
        self._meet("read")
        return super().read(run)


class HalfThenAway(MemoryTracker):
    """Takes half of its first batch, then its server is away; the second attempt succeeds."""

    name = "half"
    failed = False

    def log_metrics(self, points: Sequence[Point]) -> None:
        if not self.failed:
            self.failed = True
            super().log_metrics(points[::2])
            raise RetryableError("the connection was lost")
        super().log_metrics(points)


class Picky(MemoryTracker):
    """Refuses a batch that holds a negative number, as services refuse a whole request for one bad value."""

    name = "picky"
    sizes: ClassVar[list[int]] = []

    def log_metrics(self, points: Sequence[Point]) -> None:
        if any(point.value < 0 for point in points):
            raise FinalError("negative numbers are refused")
        super().log_metrics(points)


class Deletable(MemoryTracker):
    """Has a page where anybody can delete the run: by a file beside its own."""

    name = "deletable"
    identities = frozenset(("id",))

    def setup(self, run: TrackedRun) -> None:
        if "id" not in run.ids:
            run.local.joinpath("deleted").unlink(missing_ok=True)
            self.path_of(run).unlink(missing_ok=True)
            run.remember(id=f"run-{run.generation}", place="kept")
        super().setup(run)

    def exists(self, run: TrackedRun) -> bool:
        return not (run.local / "deleted").exists()

    def log_metrics(self, points: Sequence[Point]) -> None:
        if self._path.with_name("deleted").exists():
            raise GoneError("there is no such run")
        super().log_metrics(points)


class Death(BaseException):
    """Stands for SIGKILL within one process: nothing may catch it."""


class Mortal(MemoryTracker):
    """Dies at a chosen one of its writes: before it, after it, or having written a part."""

    name = "mortal"

    def __init__(self, at: int, how: str) -> None:
        self.left, self.how = at, how

    def _append(self, *lines: list[Any]) -> None:
        self.left -= 1
        if self.left:
            super()._append(*lines)
            return
        if self.how == "after":
            super()._append(*lines)
        elif self.how == "part":
            super()._append(*lines[: len(lines) // 2])
            with open(self._path, "ab") as file:
                file.write(b'\n["point", "los')
        raise Death


class Unreachable(MemoryTracker):
    """Has a server that is away."""

    name = "unreachable"

    def setup(self, run: TrackedRun) -> None:
        raise RetryableError("the server is away")
