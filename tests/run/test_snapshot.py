"""What a run was made with: its commit, the changes since, the packages and the hardware."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

import runcast
from runcast.run.snapshot import differences
from runcast.run.snapshot.checkout import read_source, without_credentials
from tests.waiting import wait_for

WHO = ["-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "protocol.file.allow=always"]


def git(folder: Path, *arguments: str) -> str:
    """Ask Git."""
    done = subprocess.run(["git", "-C", str(folder), *WHO, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def make(folder: Path, text: str = "lr = 0.1\n") -> Path:
    """Make a repository with one commit of one file."""
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch", "main")
    (folder / "train.py").write_text(text)
    git(folder, "add", "train.py")
    git(folder, "commit", "--quiet", "--message", "first")
    return folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let neither the tests' own program nor their working directory be in a repository."""
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(tmp_path / "elsewhere" / "program.py"), raising=False)
    monkeypatch.chdir(tmp_path)


def submodule(root: Path) -> Path:
    """Return a submodule, whose `.git` is a file."""
    git(root, "submodule", "--quiet", "add", str(make(root.parent / "part")), "part")
    return root / "part"


def further_tree(root: Path) -> Path:
    """Return a second work tree, whose refs are packed in the first one's folder."""
    git(root, "worktree", "add", "--quiet", "-b", "topic", str(root.parent / "tree"))
    git(root, "pack-refs", "--all")
    return root.parent / "tree"


def subfolder(root: Path) -> Path:
    """Return a folder inside."""
    (root / "a" / "b").mkdir(parents=True)
    return root / "a" / "b"


def packed(root: Path) -> Path:
    """Pack the refs."""
    git(root, "gc", "--quiet")
    return root


def detached(root: Path) -> Path:
    """Leave the branch."""
    git(root, "checkout", "--quiet", "--detach")
    return root


def windows(root: Path) -> Path:
    """Give Git's files the line ends of Windows."""
    for name in ("HEAD", "config", "refs/heads/main"):
        path = root / ".git" / name
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    return root


@pytest.mark.parametrize("state", [subfolder, packed, detached, submodule, further_tree])
def test_the_commit_is_the_one_that_git_names(
    state: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is read from Git's own files, in whatever form they keep it, and so is the branch."""
    folder = state(make(tmp_path / "repository"))
    monkeypatch.chdir(folder)

    source = read_source()

    branch = {"detached": None, "further_tree": "topic"}.get(state.__name__, "main")
    assert source is not None
    assert (source.commit, source.branch) == (git(folder, "rev-parse", "HEAD"), branch)


def test_the_line_ends_of_windows_belong_to_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git's files may have been written on Windows."""
    root = make(tmp_path / "repository")
    git(root, "remote", "add", "origin", "https://me:a-password@example.com/x.git")
    commit = git(root, "rev-parse", "HEAD")
    monkeypatch.chdir(windows(root))

    source = read_source()

    assert source is not None
    assert (source.commit, source.branch, source.remote) == (commit, "main", "https://example.com/x.git")


def test_a_script_outside_of_its_working_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the working directory is in no work tree, that of the script counts; a deleted directory is in none."""
    root, gone = make(tmp_path / "repository"), tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    without = read_source()
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(root / "train.py"))

    source = read_source()

    monkeypatch.chdir(tmp_path)
    assert without is None
    assert source is not None
    assert source.commit == git(root, "rev-parse", "HEAD")


def test_what_holds_no_commit_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bare repository, one without commits, and files that only look like one: there is nothing to say, nor to wait for."""
    git(tmp_path, "init", "--quiet", "--bare", "bare")
    git(tmp_path, "init", "--quiet", "empty")
    for name in ("pipe", "folder", "text"):
        (tmp_path / name / ".git").mkdir(parents=True)
    os.mkfifo(tmp_path / "pipe" / ".git" / "HEAD")
    (tmp_path / "folder" / ".git" / "HEAD").mkdir()
    (tmp_path / "text" / ".git" / "HEAD").write_text("ref: ../../../../../../../etc/passwd\n")

    found = {}
    for name in ("bare", "empty", "pipe", "folder", "text"):
        monkeypatch.chdir(tmp_path / name)
        found[name] = read_source()

    assert found == dict.fromkeys(found)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://me:word@example.com/a/b.git", "https://example.com/a/b.git"),
        ("https://a-token@example.com:8443/a@v1", "https://example.com:8443/a@v1"),
        ("https://me:wo/rd@example.com/a", "https://example.com/a"),
        ("https://example.com:8443/a@v1", "https://example.com:8443/a@v1"),
        ("ssh://git:word@example.com:22/a.git", "ssh://git@example.com:22/a.git"),
        ("git@example.com:a/b.git", "git@example.com:a/b.git"),
        ("/srv/git/a.git", "/srv/git/a.git"),
    ],
)
def test_a_remote_is_shown_without_credentials(url: str, shown: str) -> None:
    """Neither a password nor a token leaves, and the place remains."""
    assert without_credentials(url) == shown


def records(run: runcast.Run) -> list[dict[str, Any]]:
    """Read the journal as plain JSON."""
    return [json.loads(line) for line in (run.dir / "journal.jsonl").read_text().splitlines()]


def params(run: runcast.Run) -> dict[str, Any]:
    """Join the params of the journal."""
    return {key: value for each in records(run) if each["type"] == "params" for key, value in each["values"].items()}


def test_a_snapshot_has_all_that_was_asked_for(
    start: Callable[..., runcast.Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Params and one artifact, without secrets, are in the journal before the run's end; Git's index is not touched."""
    root = make(tmp_path / "repository", "lr = 0.1\r\nkey = load()\r\n")
    (root / "train.py").write_bytes(b'lr = 0.2\r\nkey = load()\r\npassword = "hunter2"\r\n')
    (root / "new.py").write_text("untracked")
    before = (root / ".git" / "index").read_bytes()
    monkeypatch.chdir(root)

    run = start(snapshot=["hardware", "packages", "diff", "git"])
    run.finish()

    found = params(run)
    assert found["snapshot/git/commit"] == git(root, "rev-parse", "HEAD")
    assert (found["snapshot/git/branch"], found["snapshot/git/dirty"]) == ("main", True)
    assert found["snapshot/hardware/cpus"] == os.cpu_count()
    assert found["snapshot/hardware/memory_gib"] == pytest.approx(psutil.virtual_memory().total / 2**30, abs=0.1)
    assert found["snapshot/hardware/cpu"]
    (artifact,) = [each for each in records(run) if each["type"] == "artifact"]
    assert (artifact["name"], artifact["kind"]) == ("snapshot", "snapshot")
    folder = run.dir / artifact["path"]
    assert {path.name for path in folder.iterdir()} == {"diff.patch", "packages.txt"}
    lines = (folder / "diff.patch").read_bytes().split(b"\n")
    assert [line for line in lines if line[:1] in (b"+", b"-") and line[:3] not in (b"+++", b"---")] == [
        b"-lr = 0.1\r",
        b"+lr = 0.2\r",
        b'+password = "[redacted]"\r',
    ]
    assert f"psutil=={psutil.__version__}" in (folder / "packages.txt").read_text().splitlines()
    assert records(run)[-1]["type"] == "finish"
    assert (root / ".git" / "index").read_bytes() == before


def test_the_usual_snapshot_is_the_commit_and_the_hardware(
    start: Callable[..., runcast.Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a word from the user there is no artifact; a resumed run says that its commit is another one."""
    root = make(tmp_path / "repository")
    monkeypatch.chdir(root)
    monkeypatch.delenv("RUNCAST_SNAPSHOT")
    first = start(id="a-run")
    first.finish()
    git(root, "commit", "--quiet", "--allow-empty", "--message", "second")

    second = start(id="a-run", resume="allow")
    second.finish()

    assert params(first).keys() >= {"snapshot/git/commit", "snapshot/git/branch", "snapshot/hardware/cpu"}
    assert params(second)["snapshot/git/commit"] == git(root, "rev-parse", "HEAD")
    assert [each for each in records(second) if each["type"] in ("artifact", "dropped")] == []


def test_a_wrong_part_is_named(start: Callable[..., runcast.Run]) -> None:
    """The message lists the valid parts."""
    with pytest.raises(runcast.OptionError, match=r"'gitt' is unknown\. Valid parts are: git, diff, packages, hard"):
        start(snapshot=["gitt"])


SCRIPT = """
import os, sys, runcast

os.mkdir("gone")
os.chdir("gone")
os.rmdir("../gone")
run = runcast.init(project="test", dir=sys.argv[1], report_to=None, snapshot="git,diff,packages,hardware")
try:
    print("a child", os.waitpid(-1, os.WNOHANG))
except ChildProcessError:
    print("no child")
run.finish()
"""


def test_a_script_without_a_working_directory_has_no_child_to_wait_for(tmp_path: Path) -> None:
    """Nothing is raised, the diff is counted as missing, and the script finds no child that it did not start."""
    (tmp_path / "script.py").write_text(SCRIPT)  # with -c, Python 3.13.0 imports no `socket` there
    command = [sys.executable, "script.py", str(tmp_path / "runs")]

    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "no child\n"), done.stderr
    (journal,) = tmp_path.glob("runs/*/journal.jsonl")
    found = [json.loads(line) for line in journal.read_text().splitlines()]
    assert [each["reason"] for each in found if each["type"] == "dropped"] == [
        "lacks something: the script is in no work tree of Git"
    ]


def slow_git(folder: Path) -> Path:
    """Make a Git that never answers, and that leaves the id of its process."""
    folder.mkdir()
    (folder / "git").write_text(f"#!/bin/sh\necho $$ > {folder}/new; mv {folder}/new {folder}/pid\nexec sleep 1000\n")
    (folder / "git").chmod(0o755)
    return folder


def test_git_that_is_missing_slow_or_refuses_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A work tree of another user is refused by Git; then nothing is known, which is not "clean"."""
    root = make(tmp_path / "repository")
    answers = {}
    with monkeypatch.context() as changed:
        changed.setenv("PATH", "")
        answers["missing"] = differences.diff_of(str(root))
    with monkeypatch.context() as changed:
        changed.setenv("PATH", f"{slow_git(tmp_path / 'slow')}:{os.environ['PATH']}")
        changed.setattr(differences, "GIT_S", 0.2)
        answers["slow"] = differences.diff_of(str(root))
    with monkeypatch.context() as changed:
        changed.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
        answers["refuses"] = differences.diff_of(str(root))

    assert answers["missing"] == ("", "git could not be started (No such file or directory)")
    assert answers["slow"] == ("", "git took more than 0.2 s")
    assert answers["refuses"][0] == ""
    assert "dubious ownership" in answers["refuses"][1]


def test_a_large_diff_is_cut_at_a_line_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fits is kept, in whole lines."""
    root = make(tmp_path / "repository", "".join(f"{number:03}\n" for number in range(200)))
    (root / "train.py").write_text("".join(f"{number:03}!\n" for number in range(200)))
    monkeypatch.setattr(differences, "DIFF_BYTES", 1000)

    text, problem = differences.diff_of(str(root))

    assert problem == "it has more than 1,000 bytes"
    assert text.endswith(f"\n[cut: {problem}]\n")
    assert all(line in (f"-{number:03}" for number in range(200)) for line in text.split("\n")[5:-2])
    assert 900 < len(text) < 1050


def test_nothing_follows_the_end_of_a_run(
    start: Callable[..., runcast.Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`finish` waits no longer than it may, and what is found later is left out."""
    root, slow = make(tmp_path / "repository"), slow_git(tmp_path / "slow")
    monkeypatch.chdir(root)
    monkeypatch.setenv("PATH", f"{slow}:{os.environ['PATH']}")
    run = start(snapshot=["git", "diff", "packages"])
    wait_for((slow / "pid").exists)
    (collecting,) = [thread for thread in threading.enumerate() if thread.name == "runcast-snapshot"]

    run.finish(timeout_s=0.0)

    psutil.Process(int((slow / "pid").read_text())).kill()
    collecting.join()
    assert [each["type"] for each in records(run)] == ["start", "params", "finish"]
