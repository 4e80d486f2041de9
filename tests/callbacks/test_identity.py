"""A checkpoint says which run it is of, in every tracker; resuming it goes on with that run, or links a new one to it."""

import json
import shutil
from pathlib import Path

import pytest

import runcast
from runcast.callbacks.reporting import ReportCallback
from runcast.journal.reader import JournalReader
from runcast.journal.records import Params, Start
from runcast.run.identity import read_identity, write_identity
from runcast.testing import MemoryTracker
from runcast.trainer.checkpoints.files import verify


@pytest.fixture
def make(make):
    """Let the Trainer save at every second step."""
    return lambda report=None, **settings: make(report, **({"save_strategy": "steps", "save_steps": 2} | settings))


def records(run, kind):
    """Read the records of one kind of a run."""
    return [record for record in JournalReader(run.dir / "journal.jsonl") if isinstance(record, kind)]


def params(run):
    """Read the last value of each param."""
    return {key: value for record in records(run, Params) for key, value in record.values.items()}


def test_a_checkpoint_names_its_run_in_every_tracker(make, tmp_path):
    """The run's id, folder and project lie beside the weights, and each tracker's own ids and address."""
    report = ReportCallback(MemoryTracker, dir=str(tmp_path / "runs"), project="shapes", delivery="thread")
    trainer, _ = make(report)
    trainer.add_callback("on_step_end", lambda args, state, control, **kwargs: report.run.flush())

    trainer.train()

    identity = read_identity(tmp_path / "out" / "checkpoint-4")
    assert (identity.id, identity.project, identity.dir) == (report.run.id, "shapes", str(report.run.dir.absolute()))
    assert identity.session == 1
    assert identity.trackers["memory"].url == str(report.run.dir / "trackers" / "memory" / "memory.jsonl")


def test_the_file_does_not_spoil_the_checkpoint(make, tmp_path):
    """Our Trainer verifies what it wrote; this file is not a part of that, and may be deleted."""
    trainer, _ = make()
    trainer.train()
    checkpoint = tmp_path / "out" / "checkpoint-4"

    assert verify(checkpoint)["step"] == 4
    (checkpoint / "runcast.json").unlink()
    assert verify(checkpoint)["step"] == 4


def test_a_resumed_training_lists_what_has_changed(make, tmp_path, capsys, monkeypatch):
    """It is the same run, a session longer; what is configured otherwise is in run.json and told once."""
    monkeypatch.delenv("RUNCAST_QUIET")
    trainer, report = make(learning_rate=0.1)
    trainer.train()
    capsys.readouterr()

    again, resumed = make(learning_rate=0.2, max_steps=6)
    again.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2"))

    file = json.loads((report.run.dir / "run.json").read_text())
    assert resumed.run.id == report.run.id
    assert [session["session"] for session in file["sessions"]] == [2]
    assert {"learning_rate", "max_steps"} <= set(file["sessions"][0]["changed"])
    assert capsys.readouterr().err.count("resumed with changed params") == 1
    assert len(records(resumed.run, Start)) == 2
    assert params(resumed.run)["learning_rate"] == 0.2


def test_a_checkpoint_that_was_moved_finds_its_run(make, tmp_path):
    """Wherever the checkpoint lies now, and whatever the new training calls its runs' folder: the run is where it was."""
    trainer, report = make()
    trainer.train()
    moved = Path(shutil.copytree(tmp_path / "out" / "checkpoint-2", tmp_path / "elsewhere" / "checkpoint-2"))

    again, resumed = make(ReportCallback("none", dir=str(tmp_path / "other runs")), output_dir=str(tmp_path / "out2"))
    again.train(resume_from_checkpoint=str(moved))

    assert resumed.run.id == report.run.id
    assert resumed.run.dir == report.run.dir
    assert not (tmp_path / "other runs").exists()


def test_a_run_that_is_gone_is_linked(make, tmp_path):
    """On another machine, without the run's folder, the training is a new run that says what it goes on with."""
    trainer, report = make()
    trainer.train()
    shutil.rmtree(tmp_path / "runs")

    again, resumed = make()
    again.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2"))

    assert resumed.run.id != report.run.id
    assert params(resumed.run)["resumed_from"] == report.run.id


def test_a_fork_is_a_new_run(make, tmp_path):
    """With resume="never" the training is a new run that says what it was forked from; the first is left alone."""
    trainer, report = make()
    trainer.train()
    before = (report.run.dir / "journal.jsonl").read_bytes()

    again, fork = make(ReportCallback("none", dir=str(tmp_path / "runs"), resume="never"))
    again.train(resume_from_checkpoint=str(tmp_path / "out" / "checkpoint-2"))
    again.evaluate()

    assert fork.run.id != report.run.id
    assert params(fork.run)["resumed_from"] == report.run.id
    assert (report.run.dir / "journal.jsonl").read_bytes() == before
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_a_file_of_a_stranger_leads_nowhere(make, tmp_path):
    """A checkpoint that names a folder which is no run of that id opens nothing there: the training is a new run."""
    trainer, _ = make()
    trainer.train()
    outside = tmp_path / "outside"
    outside.mkdir()
    checkpoint = tmp_path / "out" / "checkpoint-2"
    shutil.rmtree(tmp_path / "runs")
    identity = json.loads((checkpoint / "runcast.json").read_text())
    for run_id in ("..", "../outside", "outside", identity["id"]):
        (checkpoint / "runcast.json").write_text(json.dumps(identity | {"id": run_id, "dir": str(outside / "x")}))

        again, resumed = make()
        again.train(resume_from_checkpoint=str(checkpoint))

        assert resumed.run.dir.parent == tmp_path / "runs"
        assert list(outside.iterdir()) == []


@pytest.mark.parametrize(("again", "runs"), [("same", 1), ("new", 2)])
def test_a_second_training_is_what_was_chosen(again, runs, make, tmp_path):
    """By default it goes on with the run, with again="new" it is one of its own; an evaluation stays with its training."""
    trainer, report = make(ReportCallback("none", dir=str(tmp_path / "runs"), again=again))

    trainer.train()
    trainer.evaluate()
    first = report.run.id
    trainer.train()
    trainer.evaluate()

    assert len(list((tmp_path / "runs").iterdir())) == runs
    assert (report.run.id == first) == (runs == 1)
    assert len(records(report.run, Start)) == (4 if runs == 1 else 2)


def test_a_wrong_choice_is_told_at_once():
    """The message lists the valid ones."""
    with pytest.raises(runcast.OptionError, match=r"again='other' is unknown. Valid values are: same, new"):
        ReportCallback("none", again="other")


def test_a_file_that_cannot_be_written_costs_a_message(tmp_path, caplog):
    """The training goes on, with its checkpoint as it is."""
    run = runcast.init("p", report_to="none", dir=tmp_path / "runs")
    (tmp_path / "runcast.json").mkdir()

    write_identity(run.identity(), tmp_path)
    run.finish()

    assert "could not be written" in caplog.text
    assert read_identity(tmp_path) is None
