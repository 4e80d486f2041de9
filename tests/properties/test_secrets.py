"""No secret leaves the training, wherever its user has left it; what only looks like one arrives."""

import os
import stat
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from runcast.history.finding import list_runs
from runcast.history.verify import verify
from runcast.journal.reader import JournalReader
from runcast.journal.records import Params
from runcast.values.params import flatten, plain
from tests.properties.conftest import PROFILE
from tests.properties.corpus import HARMLESS, LOOK_ALIKES, draw, planted

ROOT = Path(__file__).parents[2]
FAST = ("tensorboard", "mlflow", "dvclive", "wandb")
TRACKERS = (*FAST, "comet_ml", "clearml", "codecarbon") if PROFILE == "faults" else FAST
SECRETS = list(planted())
IN_ARGV, IN_ENVIRONMENT, IN_GIT = (draw("abcdefghijkmnopqrstuvwxyz23456789", 40, place) for place in ("a", "e", "g"))


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Yield every file in a folder, and what is in the archives among them, with its name."""
    for path in folder.rglob("*"):
        yield str(path), str(path.relative_to(folder)).encode()
        if path.is_file():
            yield str(path), path.read_bytes()
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    yield from ((f"{path}:{name}", name.encode() + archive.read(name)) for name in archive.namelist())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, "subprocess.CompletedProcess[bytes]"]:
    """Train with secrets everywhere: in the script, its arguments, its environment and its repository."""
    folder = tmp_path_factory.mktemp("secrets")
    work, home, out = folder / "work", folder / "home", folder / "out"
    for each in (work, home, out):
        each.mkdir()
    subprocess.run(["git", "init", "-q", str(work)], check=True)
    remote = f"https://bob:{IN_GIT}@host/x.git"
    subprocess.run(["git", "-C", str(work), "remote", "add", "origin", remote], check=True)
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("RUNCAST_", "WANDB_", "MLFLOW_"))},
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "DB_PASSWORD": IN_ENVIRONMENT,
        "DATABASE_URL": f"postgres://bob:{IN_ENVIRONMENT}@db/runs",
        "RUNCAST_FINISH_TIMEOUT_S": "300",
    }
    script = str(ROOT / "tests" / "properties" / "secret_run.py")
    arguments = [",".join(TRACKERS), str(out), "--api-key", IN_ARGV, f"--password={IN_ARGV}", f"https://b:{IN_ARGV}@h/"]
    begin = f"import os, runpy; os.umask(0); runpy.run_path({script!r}, run_name='__main__')"
    done = subprocess.run(
        [sys.executable, "-c", begin, *arguments],
        cwd=work,
        env=environment,
        capture_output=True,
    )
    assert done.returncode == 1, done.stderr.decode()[-3000:]
    return folder, done


@pytest.mark.slow
def test_no_secret_is_in_any_byte_that_runcast_or_a_tracker_wrote(
    finished: tuple[Path, "subprocess.CompletedProcess[bytes]"],
) -> None:
    """Not in the run's files, the trackers' stores and archives, caches in the home, names of files, or command lines."""
    folder, _ = finished
    hidden = {piece.encode(): secret.label for secret in SECRETS for piece in secret.pieces}
    hidden |= {s[-12:].encode(): "argv, environment or git" for s in (IN_ARGV, IN_ENVIRONMENT, IN_GIT)}

    found = [
        (name, label)
        for place in (folder / "out", folder / "home")
        for name, data in contents(place)
        if not name.startswith(str(folder / "out" / "files"))  # the user's own
        for piece, label in hidden.items()
        if piece in data
    ]

    assert found == []


@pytest.mark.slow
def test_no_secret_is_printed(finished: tuple[Path, "subprocess.CompletedProcess[bytes]"]) -> None:
    """What runcast prints holds no secret; Python's own traceback, which is the script's, comes after it."""
    _, done = finished
    printed = [line for line in (done.stdout + done.stderr).decode().splitlines() if line.startswith("runcast")]

    assert len(printed) > 3
    assert [secret.label for secret in SECRETS for piece in secret.pieces if piece in "\n".join(printed)] == []


@pytest.mark.slow
def test_what_only_looks_like_a_secret_arrives_everywhere(
    finished: tuple[Path, "subprocess.CompletedProcess[bytes]"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each look-alike is in the journal as it was given, and each tracker, read back, has all that the journal has."""
    folder, _ = finished
    monkeypatch.setenv("HOME", str(folder / "home"))
    directory = list_runs(folder / "out" / "runs")[0]
    given = flatten(plain({"looks": LOOK_ALIKES, "harmless": {f"h{n}": text for n, text in enumerate(HARMLESS)}}))

    logged = next(r for r in JournalReader(directory.journal) if isinstance(r, Params)).values
    verdicts = verify(directory)

    assert {key: logged.get(key) for key in given} == given
    assert {verdict.name: verdict.problems() for verdict in verdicts} == {
        name: [] for name in sorted(TRACKERS, key=str)
    }
    assert {verdict.status for verdict in verdicts} <= {"failed", None}


@pytest.mark.slow
def test_every_file_is_for_its_owner_only(finished: tuple[Path, "subprocess.CompletedProcess[bytes]"]) -> None:
    """Also under a umask of zero, nobody else may read or write what a run and its trackers leave."""
    folder, _ = finished

    open_to_others = [
        f"{stat.filemode(path.lstat().st_mode)} {path.relative_to(folder)}"
        for path in (folder / "out" / "runs", *(folder / "out" / "runs").rglob("*"), *(folder / "home").rglob("*"))
        if not path.is_symlink() and path.lstat().st_mode & 0o077
    ]

    assert open_to_others == []
