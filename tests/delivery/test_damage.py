"""A state that was lost is not a delivery that never was: the tracker is asked, and each point is there once."""

from collections.abc import Callable
from pathlib import Path

import pytest

from runcast.autodetect import decide
from runcast.history.sync import sync
from runcast.history.verify import verify
from runcast.journal.layout import RunDirectory

MakeRun = Callable[..., RunDirectory]


@pytest.mark.parametrize("damage", ["emptied", "cut", "zeroed", "state gone", "ids gone, too"])
def test_a_damaged_state_delivers_nothing_twice(make_run: MakeRun, damage: str) -> None:
    """However it was damaged, and whether or not the tracker's own ids are left: 20 of 20 points, each once."""
    directory = make_run(["tensorboard", "dvclive"])
    sync(directory, decide=decide)
    for name in ("tensorboard", "dvclive"):
        state, ids = directory.tracker(name) / "state.json", directory.tracker(name) / "ids.json"
        whole = state.read_bytes()
        damaged = {"emptied": b"", "cut": whole[: len(whole) // 2], "zeroed": bytes(len(whole))}
        state.write_bytes(damaged.get(damage, b"{}"))
        if damage == "state gone":
            state.unlink()
        if damage == "ids gone, too":
            ids.unlink()

    outcomes = sync(directory, decide=decide)

    assert [(outcome.result, outcome.delivered, outcome.points) for outcome in outcomes] == [("complete", 0, 20)] * 2
    found = [(verdict.found, verdict.missing, verdict.extra, verdict.status) for verdict in verify(directory)]
    assert found == [(20, 0, 0, "finished")] * 2


def test_what_is_lacking_is_sent_after_damage(make_run: MakeRun) -> None:
    """The state is lost while half of the run waits: that half arrives, and the other one does not come again."""
    directory = make_run(["tensorboard"])
    lines = directory.journal.read_bytes().splitlines(keepends=True)
    directory.journal.write_bytes(b"".join(lines[: len(lines) // 2]))
    sync(directory, decide=decide)
    (directory.tracker("tensorboard") / "state.json").write_bytes(b"")
    directory.journal.write_bytes(b"".join(lines))

    sync(directory, decide=decide)

    (verdict,) = verify(directory)
    assert (verdict.found, verdict.missing, verdict.extra, verdict.status) == (20, 0, 0, "finished")


def test_nothing_is_left_among_the_runs(make_run: MakeRun, tmp_path: Path) -> None:
    """What a killed writer left beside a file is replaced by the next one."""
    directory = make_run(["tensorboard"])
    folder = directory.tracker("tensorboard")
    folder.mkdir(parents=True)
    (folder / ".state.json.new").write_bytes(b"half")

    sync(directory, decide=decide)

    assert not [path.name for path in folder.iterdir() if path.name.startswith(".")]
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [directory.path.name]


@pytest.mark.slow
def test_an_offline_session_whose_name_was_lost_is_found(make_run: MakeRun) -> None:
    """ClearML gives each session a name by chance: the one in the run's own folder is continued, not doubled."""
    directory = make_run(["clearml"])
    sync(directory, decide=decide)
    folder = directory.tracker("clearml")
    (folder / "state.json").write_bytes(b"")
    (folder / "ids.json").unlink()

    sync(directory, decide=decide)

    (verdict,) = verify(directory)
    assert (verdict.found, verdict.missing, verdict.extra, verdict.status) == (20, 0, 0, "finished")
    assert len([path for path in (folder / "offline").iterdir() if path.is_dir()]) == 1
