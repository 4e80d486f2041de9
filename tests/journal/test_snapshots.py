"""An artifact is what a file or a folder is now: whatever is in it, and whatever happens to it later."""

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

import runcast
from runcast.journal.records import Artifact, Dropped
from runcast.values import copying
from tests.journals import records

Start = Callable[..., runcast.Run]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Make a folder with two files."""
    (tmp_path / "data" / "inner").mkdir(parents=True)
    (tmp_path / "data" / "a.txt").write_text("first")
    (tmp_path / "data" / "inner" / "b.txt").write_text("second")
    return tmp_path / "data"


def kept(run: runcast.Run) -> dict[str, str]:
    """Map the names of the files in a run's only artifact to their contents."""
    (record,) = records(run, Artifact)
    path = run.dir / record.path
    return {file.relative_to(path).as_posix(): file.read_text() for file in path.rglob("*") if file.is_file()}


TWO = {"a.txt": "first", "inner/b.txt": "second"}


def reasons(run: runcast.Run) -> str:
    """Return what was said of what could not be kept."""
    return "\n".join(record.reason for record in records(run, Dropped))


@pytest.mark.parametrize("runs", ["runs", "inner/deep/runs", "."])
def test_a_folder_with_the_runs_in_it_is_kept_without_them(
    runs: str, folder: Path, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`log_artifact(".")` beside the default folder of runs keeps the user's files, time and again."""
    monkeypatch.chdir(folder)
    start(dir=folder / runs, id="earlier").finish()
    run = start(dir=folder / runs, id="now")

    for _ in range(3):
        run.log_artifact(".")

    for record in records(run, Artifact):
        path = run.dir / record.path
        assert {each.relative_to(path).as_posix() for each in path.rglob("*") if each.is_file()} == set(TWO)
        assert record.size_bytes == 11
    assert len(records(run, Artifact)) == 3
    assert "runs of runcast" in reasons(run)


def test_a_run_or_the_folder_of_runs_can_be_an_artifact(start: Start, tmp_path: Path) -> None:
    """What the user names is kept, and never the copy itself."""
    run = start(id="now")
    run.log({"loss": 0.5}, step=0)

    run.log_artifact(run.dir, name="run")
    run.log_artifact(tmp_path / "runs", name="runs")

    first, second = (run.dir / record.path for record in records(run, Artifact))
    assert (first / "journal.jsonl").is_file()
    assert not (first / "artifacts").exists()
    assert list(second.rglob("*")) == []


def test_what_is_no_file_is_left_out_and_told(folder: Path, start: Start) -> None:
    """Dangling links, circles, a pipe, a socket: the files beside them are kept, and each is named with its reason."""
    (folder / "dangling").symlink_to("nowhere")
    (folder / "itself").symlink_to("itself")
    (folder / "inner" / "up").symlink_to("..")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(folder)
        try:
            server.bind("socket")
        finally:
            os.chdir(here)
        run = start()
        run.log_artifact(folder)

    assert kept(run) == TWO
    for name in ("dangling", "itself", "inner/up", "pipe", "socket"):
        assert name in reasons(run)
    assert run.statistics().dropped == {"data": 1}


def test_links_to_files_and_folders_elsewhere_are_followed(folder: Path, start: Start, tmp_path: Path) -> None:
    """A folder of links, such as a hub's cache, is kept with the contents, and so without links."""
    (tmp_path / "store" / "deep").mkdir(parents=True)
    (tmp_path / "store" / "deep" / "blob").write_text("content")
    (folder / "file").symlink_to(tmp_path / "store" / "deep" / "blob")
    (folder / "folder").symlink_to(tmp_path / "store")
    run = start()

    run.log_artifact(folder)

    assert kept(run) == {**TWO, "file": "content", "folder/deep/blob": "content"}
    assert not [path for path in (run.dir / "artifacts").rglob("*") if path.is_symlink()]
    assert not run.statistics().dropped


def test_an_unreadable_file_costs_no_other(folder: Path, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that may not be opened, and one that vanishes, are named; the others are kept."""
    real = os.open

    def denied(path: object, flags: int, *mode: int) -> int:
        if Path(str(path)).parent == folder and Path(str(path)).name in ("secret", "gone"):
            raise (
                PermissionError(13, "Permission denied")
                if "secret" in str(path)
                else FileNotFoundError(2, "No such file")
            )
        return real(path, flags, *mode)  # type: ignore[arg-type]

    (folder / "secret").write_text("x")
    (folder / "gone").write_text("x")
    run = start()
    monkeypatch.setattr(os, "open", denied)

    run.log_artifact(folder)

    assert kept(run) == TWO
    assert "secret (Permission denied)" in reasons(run)
    assert "gone (No such file)" in reasons(run)


@pytest.mark.parametrize(
    "make", [os.mkfifo, lambda path: os.symlink(path, path), lambda path: os.symlink("/dev/zero", path)]
)
def test_a_path_that_is_no_file_is_refused_at_once(make: Callable[[Path], None], start: Start, tmp_path: Path) -> None:
    """A pipe is not waited for, an endless device not read, a circle not followed."""
    make(tmp_path / "odd")
    run = start()

    run.log_artifact(tmp_path / "odd")

    assert records(run, Artifact) == []
    assert sum(run.statistics().dropped.values()) == 1


def test_a_whole_file_system_is_refused(start: Start) -> None:
    """`log_artifact("/")` is a mistake."""
    run = start()

    run.log_artifact("/")

    assert records(run, Artifact) == []
    assert sum(run.statistics().dropped.values()) == 1


def test_an_artifact_that_finds_no_room_leaves_nothing(
    folder: Path, start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its size is compared with the disk before a byte is written."""
    run = start()
    with open(folder / "huge", "wb") as file:
        file.write(b"x" * 5_000_000)
    real = os.statvfs(folder)
    small = os.statvfs_result((*real[:4], (copying.RESERVE_BYTES + 1_000_000) // real.f_frsize, *real[5:]))
    monkeypatch.setattr(os, "statvfs", lambda path: small)

    run.log_artifact(folder)

    assert records(run, Artifact) == []
    assert list((run.dir / "artifacts").rglob("*")) == []
    assert "it takes 5 MB, and 1 MB are free" in caplog.text


def test_a_big_file_is_a_copy_too(start: Start, tmp_path: Path) -> None:
    """Rewriting a checkpoint of 100 MB in place changes no snapshot of it."""
    model = tmp_path / "model.pt"
    model.write_bytes(b"a" * 100_000_000)
    run = start()

    run.log_artifact(model)
    with open(model, "r+b") as file:
        file.write(b"b" * 1000)

    (record,) = records(run, Artifact)
    assert record.size_bytes == 100_000_000
    assert (run.dir / record.path).read_bytes()[:1000] == b"a" * 1000


def test_holes_stay_holes(start: Start, tmp_path: Path) -> None:
    """A sparse file of 1 GB takes no gigabyte, and has its content where it was."""
    sparse = tmp_path / "sparse"
    with open(sparse, "wb") as file:
        file.seek(500_000_000)
        file.write(b"middle")
        file.truncate(1_000_000_000)
    run = start()

    run.log_artifact(sparse)

    (record,) = records(run, Artifact)
    copy = run.dir / record.path
    assert record.size_bytes == copy.stat().st_size == 1_000_000_000
    assert copy.stat().st_blocks * 512 < 10_000_000
    with open(copy, "rb") as file:
        file.seek(500_000_000)
        assert file.read(7) == b"middle\0"


def test_a_file_that_grows_all_the_time_is_as_long_as_it_was(folder: Path, start: Start) -> None:
    """A log that somebody writes while it is copied ends the copy, and no later."""
    stop = threading.Event()

    def grow() -> None:
        with open(folder / "log", "ab", buffering=0) as file:
            while not stop.is_set():
                file.write(b"line\n" * 1000)

    (folder / "log").write_bytes(b"line\n" * 1000)
    thread = threading.Thread(target=grow)
    thread.start()
    try:
        run = start()
        run.log_artifact(folder)
    finally:
        stop.set()
        thread.join()

    assert set(kept(run)) == {*TWO, "log"}
    copied = kept(run)["log"]
    # The copy may end within a line, as the length of a file grows during a write.
    assert (folder / "log").read_text().startswith(copied)
    assert len(copied) >= 5000


def test_hard_links_and_rights_are_the_copies_own(folder: Path, start: Start) -> None:
    """Two names of one file are two copies; what could be executed can be, by its owner only."""
    os.link(folder / "a.txt", folder / "same.txt")
    (folder / "a.txt").chmod(0o755)
    (folder / "inner" / "b.txt").chmod(0o444)
    run = start()

    run.log_artifact(folder)

    path = run.dir / records(run, Artifact)[0].path
    assert (path / "a.txt").stat().st_nlink == 1
    assert {file.name: oct(file.stat().st_mode & 0o777) for file in path.rglob("*")} == {
        "a.txt": "0o700",
        "same.txt": "0o700",
        "inner": "0o700",
        "b.txt": "0o600",
    }


def test_a_folder_of_any_depth_and_names_is_kept(start: Start, tmp_path: Path) -> None:
    """Folders in one another are no recursion, and a name need not be UTF-8."""
    deep = tmp_path / "deep"
    deep.mkdir()
    here = os.getcwd()
    os.chdir(deep)
    try:
        for _ in range(150):
            os.mkdir("d")
            os.chdir("d")
    finally:
        os.chdir(here)
    os.mkdir(os.fsencode(tmp_path / "odd") + b"\xff")
    (tmp_path / "odd\udcff" / "größe\udcff").write_text("x")
    run = start()

    run.log_artifact(deep)
    run.log_artifact(tmp_path / "odd\udcff")

    first, second = records(run, Artifact)
    assert (run.dir / first.path / "d" / "d").is_dir()
    assert [path.read_text() for path in (run.dir / second.path).iterdir()] == ["x"]


@pytest.mark.parametrize("address", ["s3://bucket/model", "https://example.org/model.pt", "gs://bucket"])
def test_an_address_is_no_artifact(address: str, start: Start) -> None:
    """As W&B's references are: it was a missing file of another name, as a path has one slash of the two."""
    run = start()

    run.log_artifact(address, name="model")

    scheme = address.partition(":")[0]
    assert f"artifact that was not kept: {scheme}:// is the beginning of an address, not of a path." in reasons(run)


def test_a_path_may_be_bytes(folder: Path, start: Start) -> None:
    """As `os.listdir(b"…")` gives them."""
    run = start()

    run.log_artifact(os.fsencode(folder))  # type: ignore[arg-type]

    assert kept(run) == TWO
