"""What a path of a media object may have become when it is logged: nothing hangs, and nothing fills the disk."""

import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast.journal.records import Dropped, Media, Metrics
from tests.journals import records


def make_fifo(path: Path) -> None:
    """Stand for a pipe that nobody writes to."""
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    """Stand for a server's socket."""
    here = os.getcwd()
    os.chdir(path.parent)  # the name of a socket has some hundred characters at most
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


def make_huge(path: Path) -> None:
    """Stand for a dump of memory: 5 GB, of which none takes room on the disk."""
    with path.open("wb") as file:
        file.truncate(5_000_000_000)


BECOMES: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda path: None, "No such file or directory"),
    "a folder": (Path.mkdir, "it is no longer a file"),
    "a pipe": (make_fifo, "it is no longer a file"),
    "a socket": (make_socket, "No such device or address"),
    "endless": (lambda path: path.symlink_to("/dev/zero"), "it is no longer a file"),
    "empty": (lambda path: path.symlink_to("/dev/null"), "it is no longer a file"),
    "huge": (make_huge, "it has 5,000 MB of at most 1,074. Log it with run.log_artifact"),
}


@pytest.mark.parametrize("kind", [runcast.Image, runcast.Audio, runcast.Video])
@pytest.mark.parametrize("what", BECOMES)
def test_a_file_that_became_something_else_is_refused_once(
    what: str, kind: Any, tmp_path: Path, start: Callable[..., runcast.Run]
) -> None:
    """The object was made of a file: what is there when it is logged is not read, and the other values are kept."""
    path, run = tmp_path / "file.png", start()
    path.write_bytes(b"x")
    media = kind(path)
    path.unlink()
    become, reason = BECOMES[what]
    become(path)

    run.log({"sample": media, "loss": 0.5}, step=3)
    run.log({"sample": media, "loss": 0.25}, step=4)

    [dropped] = records(run, Dropped)
    assert (dropped.key, run.statistics().dropped) == ("sample", {"sample": 2})
    assert reason in dropped.reason
    assert [record.values for record in records(run, Metrics)] == [{"loss": 0.5}, {"loss": 0.25}]
    assert records(run, Media) == []
    assert os.listdir(run.dir / "media") == []


def test_a_file_with_holes_is_kept_with_its_holes(tmp_path: Path, start: Callable[..., runcast.Run]) -> None:
    """A megabyte at the end of 500 takes one on the disk, and is read back as it was."""
    path, run = tmp_path / "film.mp4", start()
    with path.open("wb") as file:
        file.truncate(499_000_000)
        file.seek(499_000_000)
        file.write(b"x" * 1_000_000)

    run.log({"film": runcast.Video(path)}, step=0)

    [kept] = (run.dir / "media").iterdir()
    assert kept.stat().st_size == 500_000_000
    assert kept.stat().st_blocks * 512 < 3_000_000
    with kept.open("rb") as file:
        file.seek(498_999_999)
        assert file.read() == b"\0" + b"x" * 1_000_000
