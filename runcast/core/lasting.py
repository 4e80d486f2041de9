"""One run for as long as a trainer lives, whatever is trained, evaluated or tested with it."""

from types import TracebackType
from typing import Any

from runcast.core.init import check_report_to, init
from runcast.core.options import reports_nothing
from runcast.core.records import Status
from runcast.core.run import Run
from runcast.core.status import Watch, status_of


class LastingRun:
    """Holds the run of an adapter: opened when there is something to report, and again for what comes after its end.

    Inside a `with` the run stays open until the block is left, and gets the status with which that happens. A run that
    was open before stays open: whoever opened it finishes it.

    Args:
        report_to: "all", "none", or trackers by name, class or instance, as for `runcast.init`.
        run: An open run to report to.
        options: The other arguments of `runcast.init`.

    Raises:
        OptionError: A tracker's name is wrong.
        TrackerUnavailableError: A tracker asked for by name cannot be used here.
    """

    def __init__(self, report_to: Any = ..., run: Run | None = None, **options: Any) -> None:
        self.run = run
        self.id: str | None = options.pop("id", None)
        self._report_to, self._options = report_to, options
        self._resume = options.pop("resume", None)
        self._is_mine, self._is_held = run is None, False
        self._watch: Watch | None = None
        self._opened = Watch()
        if run is None and not reports_nothing(report_to):
            check_report_to(report_to, options.get("offline"))

    @property
    def is_open(self) -> bool:
        """Tell whether there is a run that takes records now."""
        return self.run is not None and self.run.status is None

    def open(self, **defaults: Any) -> Run:
        """Return the open run; start it, or go on with it, if there is none.

        Args:
            defaults: Arguments of `runcast.init` that the user's own beat.
        """
        if self.run is None or (self._is_mine and self.run.status is not None):
            own = {name: value for name, value in self._options.items() if value is not None}
            own |= {} if self._report_to is ... else {"report_to": self._report_to}
            options = {**defaults, **own}
            resume = self._resume or (None if self.id is None else "allow")
            self.run = init(id=self.id, resume=resume, **options)
            self._opened = Watch()
            self.id, self._resume = self.run.id, "allow"
            self._options.pop("config", None)  # it is with the run now
        return self.run

    def begin(self, **defaults: Any) -> Run:
        """Open the run for work that may break off: if the process ends before `end`, the run has failed."""
        run = self.open(**defaults)
        if self._is_mine:
            self._watch = self._watch or Watch()
            run.ending = self._watch.ending
        return run

    def end(self, *, failed: bool = False) -> None:
        """Finish the run as what it is here: it failed, if an exception passes that was not there when it began.

        Args:
            failed: Whether it has failed in any case.
        """
        status, error = status_of((self._watch or self._opened).handled())
        self.finish("failed" if failed and status == "finished" else status, error)

    def finish(self, status: Status = "finished", error: str | None = None) -> None:
        """Finish the run, unless it is held open."""
        self._watch = None
        if self._is_mine and self.run is not None:
            self.run.ending = None
            if not self._is_held:
                self.run.finish(status, error=error)

    def forget(self) -> None:
        """Let what is opened next be a run of its own, unless this one is held open."""
        if self._is_mine and not self._is_held:
            self.run = self.id = self._resume = None

    def __enter__(self) -> "LastingRun":
        self._is_held = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_held = False
        self.finish(*status_of(error))

    def __getstate__(self) -> dict[str, Any]:
        """Travel to another process, which opens the run for itself."""
        own = {"run": None} if self._is_mine else {}
        return {**self.__dict__, "_watch": None, "_opened": None, **own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _opened=Watch())
