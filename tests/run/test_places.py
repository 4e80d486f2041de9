"""Where a run's files lie: whatever the working directory, the home, the temporary folder or the umask becomes."""

import errno
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast.journal.file import Journal
from runcast.journal.layout import RunDirectory
from runcast.journal.paths import private_temporary_folder, shown
from runcast.journal.reader import JournalReader
from runcast.journal.records import Artifact, Finish, Media, Metrics
from runcast.journal.state import load_state
from tests.journals import records

Start = Callable[..., runcast.Run]

LOGS_ALL = """
import os, sys, runcast
run = runcast.init("p", report_to=sys.argv[1] or None, id="one", **eval(sys.argv[2]))
print(run.dir)
run.log({"loss": 0.5}, step=0)
exec(sys.argv[3])
run.log({"loss": 0.25, "note": runcast.Text("text")}, step=1)
run.log_artifact(__file__)
run.log_summary({"best": 1})
print(run.statistics().dropped)
run.finish()
print({name: each.phase for name, each in run.statistics().trackers.items()})
"""


def run_script(
    tmp_path: Path, *arguments: str, cwd: Path | None = None, **environment: str
) -> "subprocess.CompletedProcess[str]":
    """Run the script above."""
    script = tmp_path / "script.py"
    script.write_text(LOGS_ALL)
    return subprocess.run(
        [sys.executable, str(script), *arguments],
        cwd=cwd or tmp_path,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("tracker", ["", "tensorboard", "dvclive"])
def test_a_change_of_the_working_directory_moves_nothing(tracker: str, tmp_path: Path) -> None:
    """With the default folder of runs, all of a run lies where it began, and its trackers have all of it."""
    pytest.importorskip(tracker or "os")
    (tmp_path / "other").mkdir()

    done = run_script(tmp_path, tracker, "{}", "os.chdir('other')")

    assert done.returncode == 0, done.stderr
    assert os.listdir(tmp_path / "other") == []
    run = RunDirectory(tmp_path / "runs" / "one")
    assert done.stdout.splitlines()[:2] == [str(run.path), "{}"]
    assert len(os.listdir(run.path / "media")) == 1
    assert len(list((run.path / "artifacts").rglob("script.py"))) == 1
    if tracker:
        state = load_state(run.tracker(tracker))
        assert state is not None
        assert (state.phase, state.points) == ("finished", 2)
        assert not [reason for reason in state.refused if "not supported" not in reason]


@pytest.mark.parametrize("when", ["before init", "after init"])
@pytest.mark.parametrize("tracker", ["", "tensorboard", "dvclive"])
def test_a_deleted_working_directory_stops_nothing(when: str, tracker: str, tmp_path: Path) -> None:
    """Deleted before `init`, the run is in the temporary folder; deleted later, with a folder elsewhere, all goes on."""
    pytest.importorskip(tracker or "os")
    (tmp_path / "tmp").mkdir()
    folder = tmp_path / "gone"
    folder.mkdir()
    options = (
        f"(os.rmdir({str(folder)!r}), {{}})[1]" if when == "before init" else f"{{'dir': {str(tmp_path / 'runs')!r}}}"
    )
    then = "" if when == "before init" else f"os.rmdir({str(folder)!r})"

    done = run_script(tmp_path, tracker, options, then, cwd=folder, TMPDIR=str(tmp_path / "tmp"))

    assert done.returncode == 0, done.stderr
    root = tmp_path / "tmp" / f"runcast-{os.getuid()}" if when == "before init" else tmp_path / "runs"
    assert done.stdout.splitlines()[0] == str(root / "one")
    if tracker:
        state = load_state(RunDirectory(root / "one").tracker(tracker))
        assert state is not None
        assert (state.phase, state.points) == ("finished", 2)


@pytest.mark.parametrize("tracker", ["tensorboard", "dvclive"])
def test_a_locale_without_unicode_costs_no_metric(tracker: str, tmp_path: Path) -> None:
    """A cluster's POSIX or Latin-1 locale cannot name every key in a file; the trackers get it all the same."""
    pytest.importorskip(tracker)
    locale = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

    done = run_script(tmp_path, tracker, "{}", r"run.log({'\u0442\u043e\u0447\u043d\u043e': 1.0}, step=0)", **locale)

    assert done.returncode == 0, done.stderr
    state = load_state(RunDirectory(tmp_path / "runs" / "one").tracker(tracker))
    assert state is not None
    assert (state.phase, state.points) == ("finished", 3)


@pytest.mark.parametrize("fate", ["deleted", "moved"])
def test_a_folder_that_goes_away_loses_no_record(fate: str, tmp_path: Path) -> None:
    """Someone clears old runs, or moves them, while a training is going on: its journal is whole, and says where."""
    pytest.importorskip("tensorboard")
    how = {
        "deleted": "\nwhile run.dir.exists(): shutil.rmtree(run.dir, ignore_errors=True)",  # the delivery may be writing
        "moved": "os.rename('runs', 'elsewhere')",
    }[fate]

    done = run_script(tmp_path, "tensorboard", "{}", f"import shutil; run.flush(600); {how}")

    assert done.returncode == 0, done.stderr
    assert f"was {fate} while the run was going on" in done.stderr
    assert "safe in the journal" not in done.stderr
    run = tmp_path / {"deleted": "runs", "moved": "elsewhere"}[fate] / "one"
    kinds = [type(record) for record in JournalReader(run / "journal.jsonl")]
    assert (kinds.count(Metrics), kinds.count(Finish)) == (2, 1)
    synced = subprocess.run(
        [sys.executable, "-m", "runcast", "sync", str(run)], cwd=tmp_path, capture_output=True, text=True
    )
    state = load_state(RunDirectory(run).tracker("tensorboard"))
    assert state is not None, synced.stderr
    assert (state.phase, state.points) == ("finished", 2)


def test_relative_options_of_a_tracker_are_meant_from_where_the_run_began(tmp_path: Path) -> None:
    """A log directory of TensorBoard that is relative does not follow a script that goes elsewhere."""
    pytest.importorskip("tensorboard")
    (tmp_path / "other").mkdir()
    options = "{'setup': {'tensorboard': {'log_dir': 'tb'}}}"

    done = run_script(tmp_path, "tensorboard", f"(os.environ, {options})[1]", "os.chdir('other')")

    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "tb" / "one").glob("events.out.tfevents.*"))


def test_a_path_is_shown_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As short as it can be typed, and as it is where there is no here."""
    (tmp_path / "here" / "gone").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here" / "gone")
    assert shown(tmp_path / "here" / "gone" / "runs") == "runs"
    assert shown(tmp_path / "runs") == str(tmp_path / "runs")

    (tmp_path / "here" / "gone").rmdir()
    assert shown(tmp_path / "runs") == str(tmp_path / "runs")
    assert shown(Path("runs")) == "runs"


# The temporary folder


def make_file(place: Path) -> None:
    """Stand for a file of somebody else's."""
    place.write_text("")


def make_open_folder(place: Path) -> None:
    """Stand for a folder in which anybody may write."""
    place.mkdir()
    place.chmod(0o777)


def make_link(place: Path) -> None:
    """Stand for a trap."""
    (place.parent / "trap").mkdir()
    place.symlink_to(place.parent / "trap")


def make_dangling_link(place: Path) -> None:
    """Stand for a link to where nothing is yet."""
    place.symlink_to(place.parent / "nowhere")


def make_folder_of_another_user(place: Path) -> None:
    """Stand for a folder that somebody else made."""
    if os.getuid():
        pytest.skip("only root may give a folder away")
    place.mkdir(mode=0o700)
    os.chown(place, 12345, 12345)


@pytest.mark.parametrize(
    "prepare", [make_file, make_open_folder, make_link, make_dangling_link, make_folder_of_another_user]
)
def test_a_folder_that_somebody_else_made_is_not_used(
    prepare: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may make a folder of our name among the temporary files: then the run is in a fresh one."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    place = tmp_path / f"runcast-{os.getuid()}"
    prepare(place)

    folder = private_temporary_folder()

    assert folder != place
    assert folder.parent == tmp_path
    assert stat.S_IMODE(folder.lstat().st_mode) == 0o700
    assert not (tmp_path / "nowhere").exists()


def test_our_own_temporary_folder_is_used_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second run finds the folder of the first, and both are for their owner only."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    assert private_temporary_folder() == private_temporary_folder() == tmp_path / f"runcast-{os.getuid()}"
    assert stat.S_IMODE((tmp_path / f"runcast-{os.getuid()}").stat().st_mode) == 0o700


def test_records_are_rescued_beside_what_somebody_laid_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines that found no room are in a file that nobody could have foreseen."""
    (tmp_path / "run").mkdir()
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp" / f"run-{os.getpid()}.jsonl").symlink_to(tmp_path / "stolen")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    journal = Journal(tmp_path / "run" / "journal.jsonl")
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: 0 if fd == journal._fd else real(fd, data))

    journal.append(b'{"lost":1}\n')
    journal.close()

    rescued = [path for path in (tmp_path / "tmp").iterdir() if not path.is_symlink()]
    assert [path.read_bytes().strip() for path in rescued] == [b'{"lost":1}']
    assert not (tmp_path / "stolen").exists()
    assert journal.lost_records == 0


# What a machine may lack


def test_nowhere_to_write_stops_no_training(tmp_path: Path) -> None:
    """Where neither the folder of runs nor a temporary one can be made, the script runs on, and is told that nothing is kept."""
    (tmp_path / "file").write_text("")
    options = f"{{'dir': {str(tmp_path / 'file' / 'runs')!r}}}"
    nowhere = "import tempfile; tempfile.tempdir = '/dev/null'"

    done = run_script(tmp_path, "", f"(exec({nowhere!r}), {options})[1]", "")

    assert done.returncode == 0, done.stderr
    assert "nothing of this run is kept" in done.stderr


@pytest.mark.parametrize(
    "environment",
    [
        {"HOME": ""},
        {"HOME": "/nonexistent"},
        {"HOME": "/proc"},
        {"HOME": "/dev/null"},
        {"TMPDIR": "/nonexistent"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"},
    ],
    ids=str,
)
def test_a_bare_machine_is_enough(environment: dict[str, str], tmp_path: Path) -> None:
    """No home, no temporary folder, an ASCII locale: a run is recorded and delivered."""
    pytest.importorskip("tensorboard")

    done = run_script(tmp_path, "tensorboard", r"{'name': 'gr\xf6\xdfe', 'tags': ['\xfc']}", "", **environment)

    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "{'tensorboard': 'finished'}"
    assert "UnicodeEncodeError" not in done.stderr


@pytest.mark.parametrize("umask", [0o777, 0o077, 0])
def test_a_umask_changes_no_rights(umask: int, start: Start) -> None:
    """Folders are 0700 and files 0600, whatever the umask takes or leaves."""
    before = os.umask(umask)
    try:
        run = start(config={"a": 1})
        run.log({"note": runcast.Text("x")}, step=0)
        run.finish()
    finally:
        os.umask(before)

    folders = [run.dir, run.dir / "media", run.dir / "artifacts", *(run.dir / "artifacts").iterdir()]
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in folders} == {0o700}
    files = [path for path in run.dir.rglob("*") if path.is_file()]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert len(files) == 4


@pytest.mark.parametrize("says", ["nothing", "an error"])
def test_a_file_system_without_rights_and_sizes_is_written(
    says: str, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many that programs provide (FUSE) refuse to change rights, and do not say how much room they have."""

    def refuse(*_: object) -> os.statvfs_result:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    for name in ("chmod", "fchmod"):
        monkeypatch.setattr(os, name, refuse)
    monkeypatch.setattr(os, "statvfs", refuse if says == "an error" else lambda _: os.statvfs_result((512, *9 * [0])))
    (tmp_path / "model" / "inner").mkdir(parents=True)
    (tmp_path / "model" / "inner" / "weights").write_text("x" * 10)

    run = start()
    run.log({"note": runcast.Text("x")}, step=0)
    run.log_artifact(tmp_path / "model")
    run.finish()

    assert run.dir.parent == tmp_path / "runs"
    assert [record.size_bytes for record in records(run, Artifact)] == [10]
    assert len(records(run, Media)) == 1
    assert run.statistics().dropped == {}


def test_a_host_may_be_called_anything(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is no UTF-8 is written down so that it can be read back."""
    real = os.uname()
    monkeypatch.setattr(os, "uname", lambda: os.uname_result((real[0], "h\udcff/st", *real[2:])))

    run = start()
    run.finish()

    assert RunDirectory(run.dir).load().host == "h\\udcff/st"


def test_a_system_without_file_locks_is_told_what_is_supported(tmp_path: Path) -> None:
    """The package can be imported, and `init` says in one sentence where it works."""
    code = (
        "import sys; sys.modules['fcntl'] = None; import runcast; print('imported')\n"
        "try: runcast.init('p', report_to=None)\n"
        "except runcast.RuncastError as error: print(error)\n"
    )

    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)

    assert done.stderr == ""
    assert done.stdout.startswith("imported\nruncast runs on Linux and macOS only")


@pytest.mark.parametrize("closed", ["2>&-", "<&-", ">&-", "<&- >&- 2>&-"])
def test_a_closed_standard_stream_is_not_the_journal(closed: str, tmp_path: Path) -> None:
    """What is written to a stream that the shell has closed ends nowhere, and not in a file of the run."""
    pytest.importorskip("tensorboard")
    code = (
        "import os, runcast\n"
        "run = runcast.init('p', report_to='tensorboard', dir='runs', id='one')\n"
        "run.log({'loss': 0.5}, step=0)\n"
        "for number in range(3):\n"
        "    try: os.write(number, b'garbage')\n"
        "    except OSError: pass\n"
        "run.log({'word': 'text'}, step=1)\n"
        "run.log({'loss': 0.25}, step=2)\n"
        "run.finish()\n"
        "assert run.statistics().trackers['tensorboard'].phase == 'finished'\n"
    )
    (tmp_path / "script.py").write_text(code)

    done = subprocess.run(f"{sys.executable} script.py {closed}", shell=True, cwd=tmp_path)

    assert done.returncode == 0
    journal = (tmp_path / "runs" / "one" / "journal.jsonl").read_bytes()
    assert b"garbage" not in journal
    assert b"was not logged" not in journal


def test_a_late_record_of_another_thread_is_told_as_what_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An append after the close blames no disk."""
    journal = Journal(tmp_path / "journal.jsonl")
    journal.close()

    journal.append(b"{}\n")

    assert journal.lost_records == 1
    assert "was logged after the end of the run" in caplog.text
    assert "disk" not in caplog.text


def test_without_a_home_a_folder_in_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """`dir="~/runs"` where nobody has a home is our error, and names the option."""

    def homeless(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)

    with pytest.raises(runcast.OptionError, match="dir='~/runs' cannot name a folder"):
        runcast.init("p", report_to=None, dir="~/runs")


def kinds(run: runcast.Run) -> set[Any]:
    """List the kinds of records in a run's journal."""
    return {type(record) for record in records(run)}


def test_a_relative_folder_is_absolute_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Media, artifacts and the statistics of a run follow no change of the working directory."""
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    run = runcast.init("p", report_to=None)
    monkeypatch.chdir("other")

    run.log({"note": runcast.Text("x"), "loss": 0.5}, step=0)
    run.log_artifact(__file__)
    run.statistics()
    run.finish()

    assert run.dir.parent == tmp_path / "runs"
    assert kinds(run) >= {Artifact, Media, Metrics, Finish}
    assert os.listdir(tmp_path / "other") == []


@pytest.mark.parametrize("when", ["before init", "before finish", "never"])
def test_a_command_that_is_printed_works_where_the_script_was_started(when: str, tmp_path: Path) -> None:
    """Many a script changes into its own folder first; the shell of the user does not follow it."""
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "train.py").write_text(
        "import os, sys, runcast\n"
        "if sys.argv[1] == 'before init':\n"
        "    os.chdir(os.path.dirname(__file__))\n"
        "run = runcast.init('p', 'one', id='one', report_to='none')\n"
        "if sys.argv[1] == 'before finish':\n"
        "    os.chdir('/')\n"
        "run.finish()\n"
    )

    command = [sys.executable, "code/train.py", when]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)

    folder = {"before init": tmp_path / "code" / "runs", "before finish": tmp_path / "runs", "never": Path("runs")}[
        when
    ]
    assert done.stderr.splitlines()[-1] == f"runcast: run one is finished; see it with: runcast show {folder / 'one'}"
