"""DVCLive, written by the tracker in a process of its own and read back from the files that DVC reads."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integrations.driving import DRIVE, driver

DVC = str(Path(sys.executable).with_name("dvc"))
SETUP, READ = ["setup", {}], ["read", {}]


drive = driver("dvclive")


def shell(folder: Path, *command: str) -> str:
    """Run a command as a user with a name and without a configuration of Git; return what it prints."""
    user = {
        f"GIT_{role}_{field}": "someone@example.com" for role in ("AUTHOR", "COMMITTER") for field in ("NAME", "EMAIL")
    }
    environment = {**os.environ, **user, "GIT_CONFIG_GLOBAL": os.devnull, "DVC_NO_ANALYTICS": "1"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


def files(run: Path) -> Path:
    """Return the folder in which DVCLive keeps a run."""
    return run / "trackers" / "dvclive" / "dvclive"


def test_what_is_logged_is_read_back(tmp_path: Path) -> None:
    """Any key, any step in any order, NaN and the infinities come back, to the last bit."""
    image, sound, folder = tmp_path / "image.png", tmp_path / "sound.wav", tmp_path / "folder"
    image.write_bytes(b"an image")
    sound.write_bytes(b"a sound")
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / "file").write_text("1")
    loss = [
        ["train/loss", 0.1, 3, 1.5],
        ["train/loss", 0.1, 3, 1.5],
        ["train/loss", 1 / 3, 0, 1.5],
        ["train/loss", -7, -5, 1.5],
    ]
    rare = [
        ["x", "NaN", 0, 4.0],
        ["x", "Infinity", 0, 4.0],
        ["x", "-Infinity", 0, 4.0],
        ["x", 5e-324, 1, 4.0],
        ["x", 2**53 + 1, 2**40, 4.0],
    ]
    odd = [
        [key, 1, 1, 1.0]
        for key in ("", "step", "train/step", "status", "a.tsv/b", "a", 'quote"\t\n', "é" * 60, "损/失", "a//b", "end/")
    ]
    params = {f"p{number}": number for number in range(1000)} | {
        "lr": 1e-5,
        "big": 2**70,
        "none": None,
        "on": True,
        "a/b": "1e-5",
        "": "é\0\u2028",
        "long": "".join(f"{'x' * width} \\n" for width in range(90)) + "\n",
    }

    *_, seen = drive(
        tmp_path / "run",
        SETUP,
        ["log_params", {"lr": 1, "gone": "no"}],
        ["log_params", params],
        ["log_metrics", loss + rare + odd],
        ["log_summary", {"best": 0.1, "train/loss": 5}],
        ["log_summary", {"best": 0.2, "verdict": "good", "done": True}],
        ["log_media", "samples", 3, "image", str(image)],
        ["log_media", "samples", 4, "audio", str(sound)],
        ["log_artifact", "model/best", "model", str(image)],
        ["log_artifact", "model/best", "model", str(folder)],
        ["finish", "crashed"],
        ["finish", "crashed"],
        READ,
    )

    assert seen["points"] == sorted(([key, value, step] for key, value, step, _ in loss + rare + odd), key=str)
    assert seen["params"] == {**params, "gone": "no"}
    assert seen["summary"] == {"best": 0.2, "verdict": "good", "done": True, "train/loss": 5}
    assert (seen["status"], seen["artifacts"], seen["media"]) == (
        "crashed",
        ["model/best"],
        [["samples", 3], ["samples", 4]],
    )
    assert (files(tmp_path / "run") / "plots" / "images" / "samples" / "3.png").read_bytes() == b"an image"


def test_no_name_leads_out_of_the_folder(tmp_path: Path) -> None:
    """A name is a path for DVCLive.

    One that leads elsewhere or is too long for a file system stays inside all the same.
    """
    keys = ["..", "../../x", "/x", "a/../../../x", "./x", "x" * 300, "损" * 300, "/" * 3000, "p/" * 2500]
    before = sorted(tmp_path.rglob("*"))
    run = tmp_path / "run"

    artifacts = [["log_artifact", key, "file", str(DRIVE)] for key in keys]
    *_, seen = drive(
        run, SETUP, ["log_metrics", [[key, 1, 1, 1.0] for key in keys]], *artifacts, ["finish", "finished"], READ
    )

    assert [point[1:] for point in seen["points"]] == [[1, 1]] * 9
    assert len(seen["artifacts"]) == 9
    assert [path for path in sorted(tmp_path.rglob("*")) if not path.is_relative_to(run)] == before
    assert sorted(path.name for path in files(run).iterdir()) == ["artifacts", "metrics.json", "plots"]


@pytest.mark.parametrize("keys", [["loss", "loss/train"], ["loss/train", "loss"]])
@pytest.mark.parametrize("is_resumed", [False, True])
def test_a_metric_and_a_group_may_have_the_same_name(tmp_path: Path, keys: list[str], is_resumed: bool) -> None:
    """`loss` and `loss/train` are both there whichever comes first, also in metrics.json and over a resume.

    So is what was there before.
    """
    run = tmp_path / "run"
    first, second = ([["log_metrics", [[key, 0.5, 1, 1.0], ["val/acc", 1, 1, 1.0]]]] for key in keys)

    if is_resumed:
        drive(run, SETUP, *first, ["finish", "failed"])
        drive(run, ["setup", {"resumed": True}], *second, ["finish", "finished"])
    else:
        drive(run, SETUP, *first, *second, ["finish", "finished"])
    [seen] = drive(run, READ)

    assert seen["points"] == [["loss", 0.5, 1], ["loss/train", 0.5, 1], ["val/acc", 1, 1], ["val/acc", 1, 1]]
    metrics = json.loads((files(run) / "metrics.json").read_text())
    assert metrics == {"loss": 0.5, "loss/train": 0.5, "val": {"acc": 1}, "status": "finished", "step": 1}


def test_a_kill_loses_nothing_and_a_resume_adds_to_the_run(tmp_path: Path) -> None:
    """What log_metrics has returned from is on disk.

    A line that was torn is no point, and the next one does not grow onto it.
    """
    run = tmp_path / "run"
    resume = ["setup", {"resumed": True}]

    killed = drive(
        run,
        SETUP,
        ["log_params", {"lr": 1}],
        ["log_metrics", [["loss", 0.25, 1, 1.0], ["loss", 0.5, 2, 2.0]]],
        ["kill"],
    )
    with (files(run) / "plots" / "metrics" / "loss.tsv").open("a") as table:
        table.write("3\t0.12")
    [after_kill] = drive(run, READ)
    drive(run, resume, ["finish", "crashed"])
    closed = json.loads((files(run) / "metrics.json").read_text())
    drive(run, resume, ["log_params", {"depth": 2}], ["log_metrics", [["loss", 0.125, 3, 3.0]]], ["finish", "finished"])
    [after_resume] = drive(run, READ)

    assert killed == []
    assert after_kill["points"] == [["loss", 0.25, 1], ["loss", 0.5, 2]]
    assert (after_kill["params"], after_kill["status"]) == ({"lr": 1}, "running")
    assert closed == {"loss": 0.5, "status": "crashed", "step": 2}
    assert after_resume["points"] == [["loss", 0.125, 3], ["loss", 0.25, 1], ["loss", 0.5, 2]]
    assert (after_resume["params"], after_resume["status"]) == ({"lr": 1, "depth": 2}, "finished")


@pytest.mark.parametrize("kind", ["empty", "dirty"])
def test_a_git_repository_is_left_as_it_is(tmp_path: Path, kind: str) -> None:
    """Nothing is initialised, added or committed in the user's repository, though Live itself would run `dvc init` there."""
    repository = tmp_path / "repository"
    repository.mkdir()
    shell(repository, "git", "init", "--quiet")
    (repository / "file").write_text("1")
    if kind == "dirty":
        shell(repository, "git", "add", "file")
        shell(repository, "git", "commit", "--quiet", "--message", "first")
        (repository / "file").write_text("2")
    before = shell(repository, "git", "status", "--porcelain"), shell(repository, "git", "for-each-ref")

    *_, seen = drive(
        tmp_path / "run", SETUP, ["log_metrics", [["loss", 1, 1, 1.0]]], ["finish", "finished"], READ, cwd=repository
    )

    assert seen["points"] == [["loss", 1, 1]]
    assert (shell(repository, "git", "status", "--porcelain"), shell(repository, "git", "for-each-ref")) == before
    assert sorted(path.name for path in repository.iterdir()) == [".git", "file"]


def test_a_user_who_asks_for_a_dvc_experiment_gets_one(tmp_path: Path) -> None:
    """The options of setup go to Live, and DVC_EXP_NAME keeps its meaning; DVC's own command shows the run."""
    repository = tmp_path / "repository"
    repository.mkdir()
    shell(repository, "git", "init", "--quiet")
    shell(repository, DVC, "init", "--quiet")
    shell(repository, "git", "commit", "--quiet", "--message", "first")
    options = {"save_dvc_exp": True, "dvcyaml": "dvc.yaml", "dir": "live"}
    user = {
        f"GIT_{role}_{field}": "someone@example.com" for role in ("AUTHOR", "COMMITTER") for field in ("NAME", "EMAIL")
    }

    drive(
        tmp_path / "run",
        ["setup", {"options": options}],
        ["log_params", {"lr": 0.5}],
        ["log_metrics", [["train/loss", 0.25, 7, 1.0]]],
        ["log_artifact", "model", "model", str(DRIVE)],
        ["finish", "finished"],
        cwd=repository,
        **user,
        DVC_EXP_NAME="by-name",
    )

    [seen] = drive(tmp_path / "run", READ)
    assert (seen["points"], seen["artifacts"]) == ([["train/loss", 0.25, 7]], ["model"])
    assert (
        shell(repository, "git", "for-each-ref", "--format=%(refname)", "refs/exps/*/*/by-name").count("by-name") == 1
    )
    shown = json.loads(shell(repository, DVC, "metrics", "show", "--json"))
    assert shown[""]["data"]["live/metrics.json"]["data"] == {"train": {"loss": 0.25}, "status": "finished", "step": 7}
    assert (repository / "live" / "artifacts" / "model.dvc").exists()


@pytest.mark.parametrize("state", ["without a commit", "with a broken config"])
def test_a_repository_of_dvc_that_cannot_be_read_stops_nothing(state: str, tmp_path: Path) -> None:
    """Of a project that has just begun, `Live` itself says "Empty git repo", although it saves no experiment."""
    repository = tmp_path / "repository"
    repository.mkdir()
    shell(repository, "git", "init", "--quiet")
    shell(repository, DVC, "init", "--quiet")
    if state == "with a broken config":
        (repository / ".dvc" / "config").write_text("[core\n")

    drive(
        tmp_path / "run",
        ["setup", {}],
        ["log_metrics", [["loss", 0.25, 7, 1.0]]],
        ["log_artifact", "model", "model", str(DRIVE)],
        ["finish", "finished"],
        cwd=repository,
    )

    [seen] = drive(tmp_path / "run", READ)
    assert (seen["points"], seen["artifacts"]) == ([["loss", 0.25, 7]], ["model"])


def test_a_folder_that_live_has_filled_before_is_kept_if_the_user_says_so(tmp_path: Path) -> None:
    """DVCLIVE_RESUME keeps its meaning: without it Live clears the folder that the user names."""
    calls = [
        ["setup", {"options": {"dir": str(tmp_path / "live")}}],
        ["log_metrics", [["loss", 1, 1, 1.0]]],
        ["finish", "finished"],
    ]

    drive(tmp_path / "one", *calls)
    drive(tmp_path / "two", *calls, DVCLIVE_RESUME="1")
    [kept] = drive(tmp_path / "two", READ)
    drive(tmp_path / "three", *calls)
    [cleared] = drive(tmp_path / "three", READ)

    assert kept["points"] == [["loss", 1, 1], ["loss", 1, 1]]
    assert cleared["points"] == [["loss", 1, 1]]


def test_an_option_that_live_does_not_know_is_named(tmp_path: Path) -> None:
    """A wrong option is a final error that says which one."""
    [refused] = drive(tmp_path / "run", ["setup", {"options": {"folder": "x"}}])

    assert refused[0] == "FinalError"
    assert "'folder'" in refused[1]


FULL_DISK = """
import resource, sys
from pathlib import Path
from runcast.core.errors import RetryableError
from runcast.delivery.attempts import explained
from runcast.integrations.contract import Point, TrackedRun
from runcast.integrations.dvclive import DvcliveTracker
local = Path(sys.argv[1])
run = TrackedRun(id="run", name="", project="", directory=local, local=local, created=1.0, online=False)
tracker = DvcliveTracker()
tracker.setup(run)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (900, hard))
points = [Point(key, step, step, 1.0) for key in ("fits", "is too long") for step in range(100 if key == "fits" else 200)]
for attempt in range(2):
    try:
        explained(tracker.explain, lambda: (tracker.log_metrics(points), tracker.flush()))
    except RetryableError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
print(sorted(point[:3] for point in tracker.read(run).points) == sorted(point[:3] for point in points))
"""


def test_a_batch_that_finds_no_room_leaves_no_trace(tmp_path: Path) -> None:
    """On a full disk a batch fails as a whole, in all of its files, and may be sent again: each point is there once."""
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, check=True)

    failed, complete = done.stdout.splitlines()
    assert "File too large" in failed
    assert complete == "True"


@pytest.fixture(autouse=True)
def needs_git() -> None:
    """Skip where there is no Git."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
