"""One run for the whole life of a trainer, whatever it trains, evaluates or tests."""

import os
import weakref
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from runcast.core.errors import OptionError
from runcast.journal.random_name import random_id
from runcast.journal.records import Status
from runcast.journal.status import status_of
from runcast.run.borrowed import Loan, borrow, find_open, lend, share
from runcast.run.current import Current
from runcast.run.identity import resumed_run
from runcast.run.init import check, init_for_trainer, trackers_of
from runcast.run.options import OF_ADAPTERS, RunOptions, Unpack, means_all
from runcast.run.ranks import may_be_first
from runcast.run.run import Run
from runcast.run.status import Watch
from runcast.values.params import plain
from runcast.values.settings import check_names

MILD = {"name", "project"}  # options that a trainer has of its own, and that say nothing against an open run


class LastingRun:
    """The run of an adapter: opened when there is something to report, and resumed for anything after its end.

    Inside a `with` the run stays open until the block is left, and ends with the matching status. A run that was open
    before stays open: its opener finishes it. That is the one given as `run`; without one, that of the script's own
    `init`, unless options, an id, or a tracker that it has not, ask for another.

    The run's id is fixed here, so that copies of an adapter, in this process or in processes that it spawns, report to
    one run. A copy shares an open run; in a spawned process it writes to that run and leaves finishing to the owner.

    Args:
        report_to: "all", "none", or trackers by name, class or instance, as for `runcast.init`.
        run: An open run to report to.
        root: The folder that holds the runs, for frameworks that have another name for `dir`.
        project: Groups runs in the trackers. Default: the name of the working directory.
        options: The other arguments of `runcast.init`, those of `RunOptions`.

    Raises:
        OptionError: An option or a tracker's name is wrong or unknown.
        TrackerUnavailableError: A tracker requested by name cannot be used here.
    """

    def __init__(
        self,
        report_to: Any = ...,
        run: Run | None = None,
        *,
        root: str | os.PathLike[str] | None = None,
        project: str | None = None,
        **options: Unpack[RunOptions],
    ) -> None:
        if run is not None and not isinstance(run, Run):
            raise OptionError(f"run={run!r} is no run of runcast. Pass one that runcast.init has returned.")
        if root is not None:
            options.setdefault("dir", root)
        if options.get("id") is not None and options.get("resume") is None:
            options["resume"] = "allow"
        self._settled = check("none" if run is not None else report_to, project=project, **options)
        self.run = run
        self.id: str | None = self._settled.id or fresh_id()
        self._report_to = report_to
        chosen = {name for name, value in options.items() if value is not None} - MILD
        self._may_join_script = run is None and not chosen
        self._options = {n: value for n, value in options.items() if n not in ("id", "resume")} | {"project": project}
        for name in {"tags", "snapshot"}.intersection(options):  # an iterator is empty by now
            if self._options[name] is not None:
                self._options[name] = getattr(self._settled, name)
        self._instead: dict[str, Any] = {}  # replace the user's options, for this run only
        self._root: Path | None = None  # the folder of the runs, once the run has been in it
        self.is_mine, self._is_held, self.begun = run is None, False, 0  # the last counts the trainings
        self._has_config = self._has_joined = False
        self._loan: Loan | None = None
        self._watch: Watch | None = None
        self._opened = Watch()
        self._left: weakref.finalize[..., Any] | None = None  # set from `begin` to the end
        if run is not None:
            share(run)
        self._join_script()

    @property
    def is_open(self) -> bool:
        """Return whether there is a run that accepts records now."""
        return self.run is not None and self.run.status is None

    @property
    def is_begun(self) -> bool:
        """Return whether work has begun and not ended."""
        return self._watch is not None

    @property
    def dir(self) -> Path:
        """The run's folder, even before the run is opened."""
        if self.run is not None:
            return self.run.dir.absolute()
        return ((self._root or self._settled.dir) / (self.id or "")).absolute()

    def open(self, **defaults: Any) -> Run:
        """Return the open run; start or resume it if there is none.

        Args:
            defaults: Arguments of `runcast.init`; the user's own take precedence.
        """
        self._join_script()
        if (run := self.run) is None and self._settled.id is None and defaults.get("id") is not None:
            self.id = str(defaults["id"])
        if run is None or self._loan is not None or (run.status is not None and self.is_mine):
            joined = self._join()
            self._has_joined = joined is not None
            self.run = run = joined or (self._init(defaults) if run is None or self.is_mine else run)
            self._opened = Watch()
            self.id = run.id
            if run.dir.name == run.id:  # another rank's is elsewhere
                self._root = run.dir.absolute().parent
        elif self._watch is not None:
            self._watch.note()
        return run

    @property
    def _is_in_script(self) -> bool:
        """Whether the run is the script's own, found by itself and not given."""
        return self._may_join_script and not self.is_mine

    def _join_script(self) -> None:
        """Report to the run that the script itself has begun and not finished, as the trackers' own callbacks do."""
        if self._is_in_script and not self.is_open:
            self._leave_script()
        if not self._may_join_script or self.run is not None or (run := Current.of_script()) is None:
            return
        if not means_all(self._report_to):
            wanted = trackers_of(self._report_to, self._settled)
            if not wanted or not wanted <= run._file.trackers.keys():
                return
        self.run, self.is_mine, self.id = run, False, run.id
        share(run)

    def _leave_script(self) -> None:
        self.run, self.is_mine, self.id = None, True, fresh_id()

    def _join(self) -> Run | None:
        """Return the run if it is open here, or in the process that spawned this one."""
        loan, self._loan = self._loan, None
        return find_open(str(self.dir)) or borrow(loan)

    def _init(self, defaults: dict[str, Any]) -> Run:
        check_names((name for name in defaults if name != "report_to"), OF_ADAPTERS)
        own = {name: value for name, value in self._options.items() if value is not None}
        own |= {} if self._report_to is ... else {"report_to": self._report_to}
        if defaults.get("config") is not None:
            own["config"] = {**plain(defaults["config"]), **plain(own.get("config"))}
        elif self._has_config:
            own.pop("config", None)
        own |= self._instead | ({} if self._root is None else {"dir": self._root})
        options = {**defaults, **own, "id": self.id}
        if self._has_config or options.get("resume") is None:  # else by the defaults: to begin with
            options["resume"] = None if self.id is None else "allow"
        run = init_for_trainer(**options)
        share(run)
        self._has_config = True
        return run

    def begin(self, **defaults: Any) -> Run:
        """Open the run for work that may fail: if it is dropped, or the process ends, before `end`, it has failed."""
        run = self.open(**defaults)
        self.begun += 1
        if self.is_mine:
            self._stop_watching()
            self._watch = Watch()
            run.ending = self._watch.ending
            if not self._has_joined:
                self._left = weakref.finalize(self, _finish_left, run)
                self._left.atexit = False  # at exit the run ends by itself
        return run

    def break_off(self) -> None:
        """Finish the run if its work was abandoned, for example by an exception that the script has caught."""
        if self._left is not None:
            self._left()
        self._stop_watching()

    def _stop_watching(self) -> None:
        if self._left is not None:
            self._left.detach()
        self._watch = self._left = None

    def end(self, *, failed: bool = False) -> None:
        """Finish the run with its status here: failed, if an exception that arose since `begin` is propagating.

        Args:
            failed: Whether it has failed regardless.
        """
        status, error = status_of((self._watch or self._opened).handled())
        self.finish("failed" if failed and status == "finished" else status, error)

    def finish(self, status: Status = "finished", error: str | None = None) -> None:
        """Finish the run, unless it is held open."""
        self.pause()
        if self.is_mine and self.run is not None and not self._is_held:
            self.run.finish(status, error=error)

    def pause(self) -> None:
        """Note that the work is done, and that more may follow: if the process ends now, the run has finished."""
        self._stop_watching()
        if self.is_mine and self.run is not None:
            self.run.ending = None

    def abandon(self) -> None:
        """Finish the run of a training that has begun and will not end, with the status that its exception implies."""
        self.finish(*(self._watch or self._opened).ending())

    def forget(self, id: str | None = None, **options: Any) -> None:
        """Make the next opened run a new one, unless this one is held open.

        Args:
            id: Its id; by default a new one.
            options: Arguments of `runcast.init` that replace the user's.
        """
        if self._is_in_script:  # the script's run was for one training only
            self._leave_script()
            self._may_join_script = False
        if self.is_mine and not self._is_held:
            self.run, self.id, self._root, self._has_config = None, id or fresh_id(), None, False
            self._instead = options

    def resume(self, run_id: str | None, checkpoint: Path | None) -> str | None:
        """Select the run of a checkpoint, unless a run is open or the user has chosen one by its id.

        Args:
            run_id: The run's id, if the training itself remembers it.
            checkpoint: The folder that the training is resumed from.

        Returns:
            The id of the run to link the next one to, if they differ: the checkpoint's run is gone, or the user passed
            `resume="never"`.
        """
        if not self.is_mine or self.is_open or self._settled.id is not None or run_id == self.id:
            return None
        found, root = resumed_run(run_id, checkpoint, self._settled)
        if root is None:
            return found
        self.run, self.id, self._root = None, found, root
        return None

    def cast_to(self, setup: Mapping[str, Mapping[str, Any]]) -> None:
        """Replace the trackers and their options; an open run continues with the new ones."""
        if self.is_mine and setup != self._options.get("setup"):
            self._report_to, self._options["setup"] = list(setup), dict(setup)
            if self.run is not None:
                self.run.finish()

    def __enter__(self) -> "LastingRun":
        self._is_held = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_held = False
        self.finish(*status_of(error))

    def another(self) -> "LastingRun":
        """Return one for another training, with a new run; itself if the user has chosen the run or holds it open."""
        if not self.is_mine or self._is_held or self._settled.id is not None:
            return self
        other = object.__new__(type(self))
        fresh = {"id": fresh_id(), "begun": 0, "_loan": None, "_root": None, "_has_config": False}
        other.__setstate__({**self.__getstate__(), **fresh})
        return other

    def __deepcopy__(self, memo: Any = None) -> "LastingRun":
        return self  # all copies of an adapter in one process report to one run

    __copy__ = __deepcopy__

    def __getstate__(self) -> dict[str, Any]:
        """Pickle for another process, which shares an open run and otherwise opens its own."""
        loan = lend(self.run) if self.run is not None and self.run.status is None else self._loan
        own = {"run": None} if self.is_mine else {}
        here = {"_loan": loan, "_watch": None, "_left": None, "_opened": None, "_is_held": False}
        return {**self.__dict__, **here, **own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _opened=Watch())


def _finish_left(run: Run) -> None:
    if run.ending is not None:
        status, error = run.ending()
        run.finish(status, error=error)


def fresh_id() -> str | None:
    """Return an id for a run opened by rank 0; the other ranks of a job do not know it."""
    return random_id() if may_be_first() else None
