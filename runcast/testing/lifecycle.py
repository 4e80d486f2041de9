"""Checks of a tracker's lifecycle, from construction to death; each docstring is the promise that is checked."""

import sys
import threading
from collections.abc import Callable
from typing import Any, get_args

from runcast.delivery.sending.refusals import unsupported
from runcast.integrations.contract import ALL_KINDS, METHODS, Ending, Kind
from runcast.journal.reader import JournalReader
from runcast.journal.records import Metrics, Status, Summary
from runcast.testing.stage import Skipped, Stage, expect
from runcast.values.media.kinds import Text
from runcast.values.names import NameRule

IO_EVENTS = frozenset(
    (
        *("open", "os.listdir", "os.mkdir", "os.remove", "os.rename", "os.scandir", "sqlite3.connect"),
        *("os.fork", "os.posix_spawn", "os.system", "os.exec", "subprocess.Popen", "_thread.start_new_thread"),
        *("socket.__new__", "socket.connect", "socket.getaddrinfo", "socket.gethostbyname"),
    )
)


def declaration(stage: Stage) -> None:
    """The class has a name that can be typed in `report_to`, supports kinds that exist, and has rules for names."""
    kind = type(stage.tracker)
    name = getattr(kind, "name", None)
    expect(
        isinstance(name, str) and name.replace("_", "a").replace("-", "a").isalnum() and name == name.lower(),
        f"name = {name!r} is not a lower-case word",
    )
    expect(
        (kind.declared or ALL_KINDS) <= ALL_KINDS,
        f"supports holds {sorted(set(kind.declared or ()) - ALL_KINDS)}, which are none of {sorted(ALL_KINDS)}",
    )
    expect(kind.precision in ("float64", "float32"), f"precision = {kind.precision!r} is neither float64 nor float32")
    for field in ("names", "param_names", "tag_names", "artifact_names"):
        rule = getattr(kind, field)
        expect(
            isinstance(rule, NameRule) and rule.max_length >= 20,
            f"{field} = {rule!r} is not a NameRule of 20 characters or more",
        )
        for key in ("loss", "train/loss", "größe", "", "..", "x" * 300):
            expect(
                rule.encode(key) != "" and len(rule.encode(key)) <= rule.max_length,
                f"{field} makes {rule.encode(key)!r} of {key!r}",
            )


def kinds(stage: Stage) -> None:
    """Every kind of record is kept, or counted as refused: nothing of a kind without a method is lost silently."""
    tracker, file = stage.tracker, stage.subject.folder / f"{stage.check}.txt"
    without = [kind for kind in METHODS if kind in (tracker.declared or ()) and kind not in tracker.supports]
    expect(not without, f"supports names {', '.join(without)}, but there is no {', '.join(map(METHODS.get, without))}")  # type: ignore[arg-type]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("kept")
    with stage.start(tags=["a tag"]) as run:
        run.log_params({"lr": 0.5})
        run.log({"loss": 0.5, "note": Text("x")}, step=0)
        run.log_summary({"best": 0.5})
        run.log_artifact(file)
    state, reading = stage.deliver(), stage.read()
    held: dict[Kind, Any] = {
        "params": reading.params,
        "metrics": reading.points,
        "summary": reading.summary,
        "tags": reading.tags,
        "media": reading.media,
        "artifacts": reading.artifacts,
        "status": reading.status,
    }
    for kind, found in held.items():
        counted = unsupported(kind) in state.refused or tracker.measures
        if found is None and kind in tracker.supports:
            stage.notes.append(f"{kind} cannot be read back")
        else:
            expect(bool(found) or counted, f"{kind} was logged, is not read back, and is not counted as refused")


def construction(stage: Stage) -> None:
    """Constructing the tracker takes no argument and does no I/O: no file, no socket, no process, no thread."""
    seen: list[str] = []
    watching, me, threads = True, threading.get_ident(), threading.active_count()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if watching and event in IO_EVENTS and threading.get_ident() == me:
            seen.append(f"{event} {arguments[0] if arguments else ''}")

    sys.addaudithook(hook)  # an audit hook cannot be removed, only silenced
    try:
        stage.subject.make()
    finally:
        watching = False
    expect(not seen, f"the constructor did: {', '.join(seen[:5])}")
    expect(threading.active_count() == threads, "the constructor started a thread")


def setup_and_finish_twice(stage: Stage) -> None:
    """A second `setup` makes no second run; a second `finish`, or one without `setup`, does nothing."""
    stage.subject.make().finish(Ending("crashed"))
    with stage.start() as run:
        run.log({"loss": 0.5}, step=0)
    tracker = stage.subject.make()
    setattr(tracker, "setup", _twice(tracker.setup))  # noqa: B010 - mypy rightly forbids the assignment
    stage.deliver(tracker=tracker)
    tracker.finish(Ending("failed", "a second call"))
    stage.expect_points([("loss", 0.5, 0)])
    expect_status(stage, "finished")


def empty_run(stage: Stage) -> None:
    """A run without records can be opened, finished and read, and `setup` sets its address."""
    with stage.start():
        pass
    state = stage.deliver()
    expect(isinstance(state.url, str) and bool(state.url), "setup did not set run.url")
    stage.expect_points([])


def identity(stage: Stage) -> None:
    """The run has the user's name, group and notes, of any characters, if its reader knows them."""
    given = {"name": "größe 1/2 🔥", "group": "a group", "notes": "two\nlines, größe"}
    with stage.start(**given):
        pass
    stage.deliver()
    reading = stage.read()
    for field, value in given.items():
        found = getattr(reading, field)
        expect(found in (None, value), f"the {field} {value!r} is read as {found!r}")


def statuses(stage: Stage) -> None:
    """A run ends with its true status: finished, failed, killed or crashed."""
    for status in get_args(Status):
        run = stage.start(status)
        run.log({"loss": 0.5}, step=0)
        run.finish(status, error="Traceback …\nValueError: größe" if status == "failed" else None)
        stage.deliver()
        expect_status(stage, status)


def open_run(stage: Stage) -> None:
    """A run can be read while it is open: it has no end, and contains nothing that was not logged."""
    seen: list[Any] = []
    run = stage.start()
    run.log({"loss": 0.5, "acc": 0.25}, step=0)

    def meanwhile() -> None:
        seen.append(stage.read())
        run.log({"loss": 0.25}, step=1)
        run.finish()

    stage.deliver(meanwhile)
    names = stage.tracker.names.encode
    early = [point[:3] for point in seen[0].points]
    wrong = [
        point
        for point in early
        if point not in ((names("loss"), 0.5, 0), (names("acc"), 0.25, 0)) or early.count(point) > 1
    ]
    expect(not wrong, f"the open run shows {wrong}")
    expect(seen[0].status in (None, "running"), f"the open run's status is {seen[0].status!r}")
    stage.expect_points([("loss", 0.5, 0), ("acc", 0.25, 0), ("loss", 0.25, 1)])


def resume(stage: Stage) -> None:
    """Resuming continues the same run: points, params and tags of all sessions are there, and the last status wins."""
    logged = []
    for session, status in enumerate(("failed", "killed", "finished")):
        run = stage.start(resume="allow")
        run.log_params({f"session {session}": session})
        run.add_tags(f"session-{session}")
        for value, step in ((session, session * 2), (session + 0.25, session * 2 + 1), (session + 0.5, 2)):
            run.log({"loss": value}, step=step)
            logged.append(("loss", value, step))
        run.finish(status)  # type: ignore[arg-type]
        stage.deliver()
    reading, tracker = stage.read(), stage.tracker
    stage.expect_points(logged)
    if "params" in tracker.supports:
        stage.expect_params({f"session {session}": session for session in range(3)}, reading)
    if "tags" in tracker.supports:
        stage.expect_names_found(
            "tags", {tracker.tag_names.encode(f"session-{session}") for session in range(3)}, reading.tags
        )
    expect_status(stage, "finished")


def foreign_run(stage: Stage) -> None:
    """A run that the user opened with the service's own API stays open when ours is finished."""
    if stage.subject.foreign is None:
        raise Skipped("no `foreign` was given, which opens a run with the service's own API")
    with stage.start() as run:
        run.log({"loss": 0.5}, step=0)
    with stage.subject.foreign(stage.subject.folder) as is_open:
        expect(is_open(), "`foreign` did not open a run")
        stage.deliver()
        expect(is_open(), "the run that was open before is closed")
    if "metrics" in stage.tracker.supports:  # the user's own points may be there too
        found = [point[:3] for point in stage.read().points].count((stage.tracker.names.encode("loss"), 0.5, 0))
        expect(found == 1, f"our point is there {found} times")


def measurements(stage: Stage) -> None:
    """Measurements of a meter are in the journal when the run has ended, as finite numbers under the meter's name."""
    if not stage.tracker.measures:
        raise Skipped("it is no meter")
    run = stage.start()
    run.log({"loss": 0.5}, step=7)
    stage.deliver(meanwhile=run.finish)
    measured = [
        record
        for record in JournalReader(stage.directory.journal)
        if isinstance(record, Metrics | Summary) and record.by == stage.tracker.name
    ]
    expect(bool(measured), "nothing was measured")
    wrong = {key: value for record in measured for key, value in record.values.items() if isinstance(value, str)}
    expect(not wrong, f"measured values are not finite numbers: {wrong}")


def _twice(call: Callable[..., object]) -> Callable[..., object]:
    def doubled(*arguments: Any) -> object:
        call(*arguments)
        return call(*arguments)

    return doubled


def expect_status(stage: Stage, status: str) -> None:
    """Require that the run is read back with this status."""
    found = stage.read().status
    if found is None:
        stage.notes.append("the status cannot be read back")
    else:
        expect(found == status, f"a run that ended as {status!r} is read as {found!r}")
