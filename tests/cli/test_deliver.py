"""`runcast sync`, `replay`, `verify` and `demo`: what they print and how they end."""

import json
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import runcast
from runcast.journal.layout import RunDirectory

NEEDS_TORCH = pytest.mark.skipif(find_spec("torch") is None, reason="the demo trains a network")


@pytest.fixture
def later_run(cli) -> runcast.Run:  # type: ignore[no-untyped-def]
    """A run that waits to be delivered to TensorBoard."""
    with runcast.init("shapes", "first-try", {"lr": 0.5}, report_to="tensorboard", delivery="later") as run:
        for step in range(10):
            run.log({"loss": 1.0 / (step + 1)}, step=step)
    return run


def test_sync_delivers_and_verify_agrees(cli, later_run: runcast.Run) -> None:  # type: ignore[no-untyped-def]
    """Before: status 1 and nothing there. After: status 0 and every point. The command that opens the tracker is on one line."""
    before = cli("verify")
    synced = cli("sync")
    after = cli("verify")

    assert before.status == 1
    assert "0 of 10" in before.out
    assert synced.status == after.status == 0
    assert "complete" in synced.out
    assert "10 of 10" in after.out
    assert "32-bit floats" in after.out
    where = f"runs/{later_run.id}/trackers/tensorboard"
    assert f"tensorboard --logdir_spec {later_run.name}:{where}" in after.out.splitlines()[-1]


def test_sync_and_verify_speak_json(cli, later_run: runcast.Run) -> None:  # type: ignore[no-untyped-def]
    """Programs get the same facts, and nothing else on standard output."""
    synced = json.loads(cli("sync", "--json").out)
    verdicts = json.loads(cli("verify", "--json").out)

    assert [outcome["result"] for outcome in synced[later_run.id]] == ["complete"]
    assert [(verdict["logged"], verdict["found"], verdict["is_right"]) for verdict in verdicts] == [(10, 10, True)]
    assert verdicts[0]["problems"] == []


def test_replay_adds_a_tracker(cli, later_run: runcast.Run) -> None:  # type: ignore[no-untyped-def]
    """A tracker that had no part gets the run, under any of its names and in any case."""
    runcast.init("shapes", "bare", report_to="none").finish()

    replayed = cli("replay", "bare", "--to", "TensorBoard", "--json")

    assert replayed.status == 0
    assert json.loads(replayed.out)["result"] == "complete"


def test_all_runs_are_synced(cli, later_run: runcast.Run) -> None:  # type: ignore[no-untyped-def]
    """`--all` goes through the folder; a run without the named tracker is passed by."""
    runcast.init("shapes", "bare", report_to="none").finish()

    synced = json.loads(cli("sync", "--all", "--tracker", "tensorboard", "--json").out)

    assert {run: [outcome["result"] for outcome in outcomes] for run, outcomes in synced.items()}[later_run.id] == [
        "complete"
    ]
    assert len(synced) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("sync", "--tracker", "wanb"), "Did you mean 'wandb'?"),
        (("sync", "--tracker", "wandb"), "wandb has no part in this run"),
        (("sync", "--close", "done"), "finished, failed, killed, crashed"),
        (("sync", "--close", "failed"), "has already ended"),
        (("sync", "--all", "--close", "failed"), "omit --close"),
        (("sync", "--all", "first-try"), "omit RUN"),
        (("sync", "nothing"), "No run in runs matches"),
        (("replay",), "--to"),
        (("replay", "--to", "codecarbon"), "measures a running training"),
        (("verify", "--tracker", "wanb"), "Did you mean 'wandb'?"),
        pytest.param(("demo", "--report-to", "wanb"), "Did you mean 'wandb'?", marks=NEEDS_TORCH),
        (("demo", "--epochs", "0"), "--epochs"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_done_is_one_message(
    cli, later_run: runcast.Run, arguments: tuple[str, ...], message: str
) -> None:  # type: ignore[no-untyped-def]
    """A wrong word ends with status 2, a message that helps, no traceback, and nothing on standard output."""
    answer = cli(*arguments)

    assert (answer.status, answer.out) == (2, "")
    assert message in " ".join(answer.err.split())
    assert "Traceback" not in answer.err


def test_sync_that_is_interrupted_delivers_the_rest_later(cli, later_run: runcast.Run) -> None:  # type: ignore[no-untyped-def]
    """Control-C ends with status 130, leaves no process behind, and the next sync still delivers each point once."""
    process = subprocess.Popen(
        [sys.executable, "-m", "runcast", "sync"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    state = RunDirectory(later_run.dir).tracker("tensorboard") / "state.json"
    while not state.exists():
        assert process.poll() is None
        os.sched_yield()
    process.send_signal(signal.SIGINT)

    assert process.wait() == 130
    assert cli("sync").status == 0
    assert json.loads(cli("verify", "--json").out)[0]["found"] == 10


def test_sync_takes_several_runs_and_skips_what_is_none(cli, later_run: runcast.Run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """As a shell writes `runs/*`: the store and the files of MLflow beside the runs are named once."""
    (later_run.dir.parent / "mlflow.db").touch()
    (later_run.dir.parent / "mlartifacts").mkdir()

    answer = cli("sync", *sorted(str(path) for path in later_run.dir.parent.iterdir()))
    nothing = cli("sync", "no", "such")

    assert answer.status == 0
    assert answer.err.count("skipped, not a run: ") == 1
    assert "mlartifacts" in answer.err
    assert "mlflow.db" in answer.err
    assert (nothing.status, "Traceback" in nothing.err) == (2, False)


def test_verify_takes_several_runs(cli, later_run: runcast.Run) -> None:  # type: ignore[no-untyped-def]
    """All of `runs/*`, or `--all`: one that is wrong decides the status, one that cannot be read hides no other."""
    bare = runcast.init("shapes", "bare", report_to="none")
    bare.finish()
    lost = runcast.init("shapes", "lost", report_to="none")
    lost.finish()
    folders = [str(run.dir) for run in (later_run, bare, lost)]

    waiting = cli("verify", *folders)
    cli("sync", later_run.id)
    answers = [cli("verify", *folders, "--json"), cli("verify", "--all", "--json", "--tracker", "tensorboard")]
    (lost.dir / "run.json").write_text("{")
    damaged = cli("verify", *folders)

    assert waiting.status == 1
    assert "0 of 10" in waiting.out
    for answer in answers:
        assert answer.status == 0, answer.err
        found = {run: [verdict["found"] for verdict in verdicts] for run, verdicts in json.loads(answer.out).items()}
        assert found == {later_run.id: [10], bare.id: [], lost.id: []}
    with open("/dev/full", "w") as full:
        cannot_print = subprocess.run([sys.executable, "-m", "runcast", "verify", *folders], stdout=full, check=False)
    assert cannot_print.returncode == 2
    assert damaged.status == 1
    assert "10 of 10" in damaged.out
    assert "run.json is damaged" in damaged.err


@pytest.mark.slow
def test_the_demo_ends_with_the_table(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """One epoch, one tracker: it trains, delivers, reads back, and says where everything is."""
    answer = cli("demo", "--epochs", "1", "--report-to", "tensorboard")

    assert answer.status == 0, answer.err
    assert "tensorboard" in answer.out
    assert "finished" in answer.out
    assert "Open it with" in answer.out
    verdicts = json.loads(cli("verify", "--json").out)
    assert verdicts[0]["found"] == verdicts[0]["logged"] > 10
