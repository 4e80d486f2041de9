"""A run directory that a stranger made: nothing in it runs code, leads out of it, or is used without being trusted."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast.autodetect import decide
from runcast.core.errors import JournalError
from runcast.history.replaying import replay
from runcast.history.sync import sync
from runcast.history.verify import verify
from runcast.journal.layout import RunDirectory
from runcast.journal.records import Artifact, Media, Metrics, encode_line
from runcast.journal.seal import is_own
from tests.delivery.conftest import HERE
from tests.properties.conftest import PROFILE

MakeRun = Callable[..., RunDirectory]

EVIL = """
from pathlib import Path
Path({mark!r}).write_text("it ran")
raise SystemExit(1)
"""


@pytest.fixture
def foreign(make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., RunDirectory]:
    """Make a run that somebody else began: with another home, so with another key."""

    def make(report_to: object = "tensorboard") -> RunDirectory:
        home = os.environ["HOME"]
        (tmp_path / "stranger").mkdir()
        monkeypatch.setenv("HOME", str(tmp_path / "stranger"))
        directory = make_run(report_to)
        monkeypatch.setenv("HOME", home)
        return directory

    return make


def rewrite(directory: RunDirectory, **changes: Any) -> None:
    """Change run.json as a stranger would: with a text editor."""
    content = json.loads(directory.run_json.read_text())
    for name, choice in changes.pop("trackers", {}).items():
        content["trackers"].setdefault(name, {"tracker": "", "online": False, "reason": ""}).update(choice)
    directory.run_json.write_text(json.dumps(content | changes))


def everything_below(folder: Path) -> dict[str, bytes]:
    """Read every file of a folder."""
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_of_ones_own_is_known_wherever_it_lies(make_run: MakeRun, tmp_path: Path) -> None:
    """A run is sealed when it begins; a copy keeps the seal, one that was changed by hand has lost it."""
    directory = make_run("tensorboard")

    copied = RunDirectory(shutil.copytree(directory.path, tmp_path / "copy"))
    rewrite(directory, trackers={"tensorboard": {"options": {"log_dir": "/tmp"}}})

    assert is_own(copied.load())
    assert not is_own(directory.load())


def test_a_class_named_in_a_foreign_run_is_not_imported(
    foreign: Callable[..., RunDirectory], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither under a name of its own, nor under the name of a tracker that is installed here."""
    directory = foreign("tensorboard")
    (tmp_path / "evil.py").write_text(EVIL.format(mark=str(tmp_path / "mark")))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    rewrite(directory, trackers={"mine": {"tracker": "evil:Evil"}, "tensorboard": {"tracker": "evil:Evil"}})

    outcomes = {outcome.name: outcome for outcome in sync(directory, decide=decide)}
    verdicts = {verdict.name: verdict for verdict in verify(directory, decide=decide)}

    assert not (tmp_path / "mark").exists()
    assert outcomes["tensorboard"].result == "complete"
    assert outcomes["mine"].result == "unavailable"
    assert "--class mine=module:Class" in str(outcomes["mine"].note)
    assert verdicts["mine"].error is not None


def test_a_class_that_the_user_names_is_used(foreign: Callable[..., RunDirectory], tmp_path: Path) -> None:
    """With a class named here and now, the run is delivered, and remembers the class from then on."""
    directory = foreign("none")
    rewrite(directory, trackers={"plain": {"tracker": "evil:Evil"}})
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (HERE, os.environ.get("PYTHONPATH"))))

    named = sync(directory, decide=decide, classes={"plain": "plain_trackers:PlainTracker"})
    again = sync(directory, decide=decide)

    assert [outcome.result for outcome in (*named, *again)] == ["complete", "complete"]
    assert directory.load().trackers["plain"].tracker == "plain_trackers:PlainTracker"


def test_a_module_in_the_working_directory_is_not_imported(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`runcast sync` in a stranger's folder imports nothing from there, whatever its files are called."""
    directory = make_run("tensorboard")
    for name in ("runcast", "msgspec", "tensorboard", "json", "logging", "sitecustomize"):
        (directory.path / f"{name}.py").write_text(EVIL.format(mark=str(tmp_path / "mark")))
    monkeypatch.chdir(directory.path)

    outcomes = sync(RunDirectory(Path.cwd()), decide=decide)
    verdicts = verify(RunDirectory(Path.cwd()))

    assert not (tmp_path / "mark").exists()
    assert [outcome.result for outcome in outcomes] == ["complete"]
    assert [verdict.is_right for verdict in verdicts] == [True]


@pytest.mark.parametrize(
    "brought",
    [
        {"options": {"log_dir": "../../outside"}},
        {"options": {"tags": {"x": "y"}, "settings": {"a": [None]}, "purge_step": 1}},
    ],
    ids=["a place", "settings"],
)
def test_options_of_a_foreign_run_wait_for_trust(
    brought: dict[str, Any], foreign: Callable[..., RunDirectory], tmp_path: Path
) -> None:
    """An option may lead anywhere, so it is used only when the user says --trust; the message says so."""
    directory = foreign("tensorboard")
    rewrite(directory, trackers={"tensorboard": brought})
    before = set(tmp_path.rglob("*"))

    outcome = sync(directory, decide=decide)[0]

    assert (outcome.result, outcome.waiting) == ("unavailable", 20)
    assert re.search(
        r"brings its own options for tensorboard \((log_dir|purge_step, settings)\).*--trust", str(outcome.note)
    )
    assert set(tmp_path.rglob("*")) - before <= {directory.tracker("tensorboard"), directory.path / "trackers"}


def test_labels_of_a_foreign_run_are_used(foreign: Callable[..., RunDirectory]) -> None:
    """Options that only describe the run, such as a project, need no trust."""
    directory = foreign("tensorboard")
    rewrite(directory, trackers={"tensorboard": {"options": {"project": "shapes", "tags": ["a"]}}})

    first, second = sync(directory, decide=decide), sync(directory, decide=decide)

    assert [outcome.result for outcome in (*first, *second)] == ["complete", "complete"]
    assert [verdict.is_right for verdict in verify(directory)] == [True]


def test_what_was_delivered_elsewhere_waits_for_trust(foreign: Callable[..., RunDirectory], tmp_path: Path) -> None:
    """A tracker's files from elsewhere may hold anything, so they are read and continued only with --trust."""
    directory = foreign("dvclive")
    secret = tmp_path / "outside" / "dvclive"
    secret.mkdir(parents=True)
    folder = directory.tracker("dvclive")
    folder.mkdir(parents=True)
    (folder / "state.json").write_text(json.dumps({"ids": {"dir": str(secret)}, "attempts": 1, "url": str(secret)}))

    wary, unread = sync(directory, decide=decide)[0], verify(directory)[0]
    untouched = list(secret.iterdir())
    trusted = sync(directory, decide=decide, trust=True)[0]

    assert (wary.result, untouched) == ("unavailable", [])
    assert "what a delivery to dvclive left there" in str(wary.note)
    assert "--trust" in str(unread.error)
    assert trusted.result == "complete"
    assert is_own(directory.load())


@pytest.mark.parametrize(
    "changes",
    [
        {"id": "../outside"},
        {"id": "/etc"},
        {"trackers": {"../../outside": {"tracker": "runcast.integrations.tensorboard:TensorboardTracker"}}},
        {"trackers": {"/tmp/outside": {}}},
        {"trackers": {"..": {}}},
    ],
    ids=str,
)
def test_a_name_that_leads_out_of_the_folder_is_refused(changes: dict[str, Any], make_run: MakeRun) -> None:
    """The id of a run and the names of its trackers are names of folders: no path is taken for one."""
    directory = make_run("tensorboard")
    rewrite(directory, **changes)

    with pytest.raises(JournalError, match="was not written by runcast"):
        sync(directory, decide=decide)


@pytest.mark.parametrize("what", ["run.json", "journal.jsonl", "trackers", "trackers/tensorboard"])
def test_a_link_in_place_of_our_own_files_is_refused(what: str, make_run: MakeRun, tmp_path: Path) -> None:
    """Nothing is read or written through a link that a stranger has put where runcast's files are."""
    directory = make_run("tensorboard")
    place, outside = directory.path / what, tmp_path / "outside"
    if place.exists():
        place.rename(outside)
    else:
        outside.mkdir()
        place.parent.mkdir(exist_ok=True)
    place.symlink_to(outside)
    before = everything_below(outside) if outside.is_dir() else outside.read_bytes()

    with pytest.raises(JournalError, match="runcast did not write this run"):
        sync(directory, decide=decide)

    assert (everything_below(outside) if outside.is_dir() else outside.read_bytes()) == before


def test_a_record_reads_nothing_outside(make_run: MakeRun, tmp_path: Path) -> None:
    """A path that leads out, absolutely, by dots or by links, is refused and counted; nothing of it reaches a tracker."""
    directory = make_run("dvclive")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "private.txt").write_text("do not read this")
    artifacts = directory.path / "artifacts"
    (artifacts / "folder").mkdir(parents=True)
    (artifacts / "folder" / "innocent.txt").symlink_to(outside / "private.txt")
    (artifacts / "linked").symlink_to(outside)
    (artifacts / "file.txt").symlink_to(outside / "private.txt")
    paths = (
        "../../outside/private.txt",
        str(outside / "private.txt"),
        "artifacts/folder",
        "artifacts/linked",
        "artifacts/file.txt",
    )
    with directory.journal.open("ab") as journal:
        for number, path in enumerate(paths):
            journal.write(encode_line(Artifact(time=1.0, name=f"a{number}", kind="file", path=path, size_bytes=1)))
            journal.write(encode_line(Media(time=1.0, key=f"m{number}", step=0, kind="text", path=path)))

    sync(directory, decide=decide)

    delivered = everything_below(directory.tracker("dvclive"))
    state = json.loads((directory.tracker("dvclive") / "state.json").read_text())
    assert not [path for path, content in delivered.items() if b"do not read this" in content]
    assert sum(state["refused"].values()) == 2 * len(paths)


def test_a_name_in_a_record_writes_nothing_outside(make_run: MakeRun, tmp_path: Path) -> None:
    """Keys and names of artifacts become names of files in some trackers: none of them leads out of its folder."""
    names = ("../../../../evil", "/evil", "a/../../../../../evil", "..", "~/evil", "C:\\evil", "a\0b", "%2e%2e/evil")
    trackers = (
        ("dvclive", "tensorboard") if PROFILE == "default" else ("wandb", "mlflow", "clearml", "dvclive", "tensorboard")
    )
    directory = make_run(trackers)
    inside = directory.path / "artifacts" / "0"
    inside.mkdir(parents=True)
    (inside / "x.txt").write_text("x")
    with directory.journal.open("ab") as journal:
        for name in names:
            journal.write(encode_line(Metrics(time=1.0, step=1, values={name: 1.0})))
            journal.write(
                encode_line(Artifact(time=1.0, name=name, kind="file", path="artifacts/0/x.txt", size_bytes=1))
            )
            journal.write(encode_line(Media(time=1.0, key=name, step=0, kind="text", path="artifacts/0/x.txt")))
    ours = (directory.path, directory.path.parent / "mlflow.db", directory.path.parent / "mlartifacts")

    outcomes = sync(directory, decide=decide)

    strays = [
        path
        for path in tmp_path.rglob("*")
        if not any(path == own or own in path.parents for own in ours)
        and path.name not in ("home", "runs")
        and Path(os.environ["HOME"]) not in path.parents
    ]
    assert strays == []
    assert {outcome.name: outcome.result for outcome in outcomes} == dict.fromkeys(trackers, "complete")
    assert [verdict.problems() for verdict in verify(directory)] == [[] for _ in trackers]


def test_a_replay_of_a_foreign_run_needs_no_trust(foreign: Callable[..., RunDirectory]) -> None:
    """Casting a stranger's run to a tracker of one's own is decided here alone."""
    directory = foreign("none")

    outcome = replay(directory, "tensorboard", decide=decide)

    assert (outcome.result, outcome.points) == ("complete", 20)
    assert [verdict.is_right for verdict in verify(directory)] == [True]


def test_the_key_is_private_and_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The key lies in the user's own folder for state, for the user only; a second run uses the same one."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    key = tmp_path / "state" / "runcast" / "key"

    first = runcast.init("p", report_to="none", dir=tmp_path / "runs")
    content = key.read_bytes()
    second = runcast.init("p", report_to="none", dir=tmp_path / "runs")
    for run in (first, second):
        run.finish()

    assert (len(content), key.read_bytes()) == (32, content)
    assert (key.stat().st_mode & 0o777, key.parent.stat().st_mode & 0o777) == (0o600, 0o700)


@pytest.mark.parametrize("content", [b"", b"short", None])
def test_a_damaged_key_is_replaced(content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that was full may have left an empty key: the next run makes another one and is its user's own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    key = tmp_path / "state" / "runcast" / "key"
    key.parent.mkdir(parents=True)
    if content is not None:
        key.write_bytes(content)

    with runcast.init("p", report_to="tensorboard", dir=tmp_path / "runs", delivery="later") as run:
        pass

    assert len(key.read_bytes()) == 32
    assert is_own(RunDirectory(run.dir).load())


HOMELESS = """
import runcast
run = runcast.init("p", report_to="tensorboard", dir="runs", id="homeless", setup={"tensorboard": {"max_queue": 5}})
run.log({"loss": 1.0}, step=0)
run.finish()
"""


def test_a_run_is_its_users_own_though_the_home_cannot_be_written(tmp_path: Path) -> None:
    """`init` says what follows on other machines; on this one verify and sync need no --trust."""
    (tmp_path / "temporary").mkdir()
    environment = {
        **os.environ,
        "HOME": "/dev/null",
        "XDG_STATE_HOME": "/dev/null/state",
        "TMPDIR": str(tmp_path / "temporary"),
    }

    started = subprocess.run(
        [sys.executable, "-c", HOMELESS], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    verified = subprocess.run(
        [sys.executable, "-m", "runcast", "verify", "--json"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "your home cannot be written, so on other machines, runcast sync and verify need --trust" in started.stderr
    assert (verified.returncode, "trust" in verified.stdout + verified.stderr) == (0, False)
    (key,) = (tmp_path / "temporary").glob("runcast-*/key")
    assert (key.stat().st_mode & 0o777, key.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_run_without_any_place_for_a_key_is_delivered_all_the_same(tmp_path: Path) -> None:
    """Where no key can be kept at all, training and its own deliveries go on; later ones need --trust."""
    nowhere = (
        "import tempfile; tempfile.gettempdir = lambda: '/dev/null'; tempfile.mkdtemp = lambda **_: open('/dev/null/x')"
    )
    script = f"{nowhere}\n{HOMELESS}"
    environment = {**os.environ, "HOME": "/dev/null", "XDG_STATE_HOME": "/dev/null/state", "RUNCAST_QUIET": "1"}

    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True)

    file = RunDirectory(tmp_path / "runs" / "homeless").load()
    assert (done.returncode, file.seal) == (0, ""), done.stderr
    assert json.loads((tmp_path / "runs/homeless/trackers/tensorboard/state.json").read_text())["phase"] == "finished"
