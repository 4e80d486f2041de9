"""Checks of what a tracker answers: about errors, about the run, about the contents of files."""

import errno
from pathlib import Path
from typing import Any

from runcast.core.errors import FinalError, RestartError, RetryableError, TrackerError
from runcast.testing.stage import Stage, expect
from runcast.values.media.kinds import Text


def explanation(stage: Stage) -> None:
    """What an SDK raises is explained or left unknown: a lost connection may pass, a missing file may not."""
    explain = stage.tracker.explain
    for error in (ConnectionResetError("gone"), TimeoutError("too late"), OSError(errno.ENOSPC, "full")):
        found = explain(error)
        may_pass = isinstance(found, RetryableError | RestartError)
        expect(may_pass, f"{error!r} may pass, but is explained as {found!r}")
    for other in (FileNotFoundError(errno.ENOENT, "missing", "file"), RuntimeError("unknown"), KeyError("key")):
        found = explain(other)
        expect(found is None or isinstance(found, TrackerError), f"{other!r} is explained as {found!r}")
        is_final = isinstance(found, FinalError) or not isinstance(other, OSError)
        expect(is_final, f"{other!r} will not pass, but is explained as {found!r}")


def existence(stage: Stage) -> None:
    """A run that was delivered is not said to be gone, and one that was never delivered is not said to be there."""
    with stage.start("here"):
        pass
    stage.deliver()
    found = stage.subject.make().exists(stage.tracked())
    expect(found is not False, "a run that was just delivered does not exist")
    if found is None:
        stage.notes.append("it cannot be asked whether a run exists")
    with stage.start("nowhere"):
        pass
    expect(stage.subject.make().exists(stage.tracked()) is not True, "a run that was never delivered exists")


def contents(stage: Stage) -> None:
    """Where the contents of artifacts and media can be read back, they are those that were logged.

    A name may be that of a folder in which another one lies.
    """
    folder = stage.subject.folder / f"{stage.check}-files"
    (folder / "inner").mkdir(parents=True)
    (folder / "weights").write_bytes(b"\x00weights")
    (folder / "inner" / "notes").write_text("größe")
    names = ("model.bin", "model.bin/part", "all/part", "all", "all/inner/notes", "both", "both/part")
    folders = {"all", "both"}
    with stage.start() as run:
        for name in names:
            run.log_artifact(folder if name in folders else folder / "weights", name=name)
        run.log({"sample": Text("größe\n")}, step=3)
    stage.deliver()
    reading, tracker = stage.read(), stage.tracker
    media, artifacts = tracker.media_names or tracker.names, tracker.artifact_names
    file, whole = {"": b"\x00weights"}, {"weights": b"\x00weights", "inner/notes": "größe".encode()}
    expected: dict[Any, dict[str, bytes]] = {
        **{artifacts.encode(name): whole if name in folders else file for name in names},
        (media.encode("sample"), 3): {"": "größe\n".encode()},
    }
    for name, content in expected.items():
        place = reading.contents.get(name)
        if place is None:
            stage.notes.append(f"the content of {name} cannot be read back")
        else:
            found = _files(place)
            expect(found == content, f"the content of {name} is read as {str(found)[:200]}")


def _files(place: Path) -> dict[str, bytes]:
    """Read a file, or the files of a folder, by their paths in it."""
    if place.is_file():
        return {"": place.read_bytes()}
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in place.rglob("*") if path.is_file()}
