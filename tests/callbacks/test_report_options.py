"""A ReportCallback checks what it is given when it is made, and is one run in every process that has a copy."""

import copy
import os
import pickle
import tempfile
from pathlib import Path

import pytest
import torch
import torch._dynamo  # our Trainer imports it; it makes its cache where the temporary folder is then, which a test changes

import runcast
from runcast import ReportCallback
from runcast.callbacks.trackers import DVCLiveCallback, TensorBoardCallback
from tests import warm
from tests.adapters.kit import only_run_in, runs_in

ROOT = Path(__file__).parents[2]


def train(folder, *callbacks):
    """Train two steps with our Trainer."""
    data = torch.utils.data.TensorDataset(torch.ones(8, 2), torch.ones(8, 1))
    settings = {"max_steps": 2, "logging_steps": 1, "report_to": "none", "save_strategy": "no"}
    args = runcast.TrainingArguments(str(folder / "out"), use_cpu=True, disable_tqdm=True, **settings)
    loss = torch.nn.functional.mse_loss
    runcast.Trainer(
        torch.nn.Linear(2, 1), args, train_dataset=data, compute_loss=loss, callbacks=list(callbacks)
    ).train()


@pytest.fixture(autouse=True)
def quiet(tmp_path, monkeypatch):
    """Keep the runs with the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RUNCAST_QUIET", "1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tag": ["a"]}, "no option 'tag'. Did you mean 'tags'"),
        ({"run_name": "mine"}, "Did you mean 'name'"),
        ({"delivery": "pigeon"}, "Valid values are: process, thread, later"),
        ({"id": "a/b"}, "cannot name a run"),
        ({"id": "mine", "resume": "must"}, "there is no run 'mine'"),
        ({"setup": {"wandbb": {}}}, "wandb"),
        ({"setup": {"wandb": {"entty": "team"}}}, "Did you mean 'entity'"),
    ],
)
def test_a_wrong_option_is_an_error_at_once(options, message):
    """Not in the middle of on_train_begin, where the reporter would be disabled."""
    with pytest.raises(runcast.OptionError, match=message):
        ReportCallback("none", **options)
    with pytest.raises(runcast.OptionError, match=message):
        runcast.get_reporting_integration_callbacks("none", **options)


def test_a_run_that_cannot_be_written_is_an_error_before_the_first_step(tmp_path, monkeypatch):
    """Neither in its folder nor in the temporary one: the training does not go unreported."""
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "file" / "tmp"))
    seen = []

    with pytest.raises(runcast.OptionError, match="cannot be written"):
        train(
            tmp_path,
            ReportCallback("none", dir=tmp_path / "file" / "runs"),
            ("on_step_begin", lambda *a, **k: seen.append(1)),
        )

    assert seen == []


def test_what_the_user_configured_is_with_the_run(tmp_path):
    """Beside the arguments and the model."""
    train(tmp_path, ReportCallback("none", config={"data": {"name": "digits"}}))

    params = only_run_in(tmp_path).params
    assert (params["data/name"], params["max_steps"]) == ("digits", 2)


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_a_copy_reports_to_the_same_run(tmp_path, duplicate):
    """Made before a training, or after one."""
    callback = ReportCallback("none")

    train(tmp_path, duplicate(callback))
    train(tmp_path, callback)
    train(tmp_path, duplicate(callback))

    told = only_run_in(tmp_path)
    assert told.steps("train/loss") == [1, 2] * 3
    assert told.endings == ["finished"] * 3


SPAWN = """
import multiprocessing, sys
from pathlib import Path
from runcast import ReportCallback
from tests.callbacks.test_report_options import train

def spawn(callback):
    process = multiprocessing.get_context(sys.argv[1]).Process(target=train, args=(Path(), callback))
    process.start()
    process.join()
    assert process.exitcode == 0

if __name__ == "__main__":
    callback = ReportCallback("none")
    multiprocessing.set_forkserver_preload(["torch._dynamo"])
    spawn(callback)
    train(Path(), callback)
    spawn(callback)
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["forkserver", "fork"])
def test_processes_of_one_script_report_to_one_run(tmp_path, method):
    """A training in a process of its own, one here, and one in another process."""
    (tmp_path / "script.py").write_text(SPAWN)
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = warm.run(warm.TORCH, [tmp_path / "script.py", method], folder=tmp_path, environment=settings)
    assert done.returncode == 0, done.stderr

    told = only_run_in(tmp_path)
    assert told.steps("train/loss") == [1, 2] * 3
    assert told.endings == ["finished"] * 3


def test_each_trial_is_a_run_also_with_a_callback_for_each_tracker(tmp_path, monkeypatch):
    """Of a search that a framework makes with one list of callbacks."""
    monkeypatch.setenv("RUNCAST_DELIVERY", "later")
    from runcast.core.events import TrainerControl, TrainerState

    callbacks = [TensorBoardCallback(), DVCLiveCallback()]
    args = runcast.TrainingArguments(str(tmp_path / "out"), use_cpu=True)
    for trial in range(2):
        state = TrainerState(is_hyper_param_search=True, trial_name=f"trial-{trial}", trial_params={"lr": trial})
        for event in ("on_train_begin", "on_epoch_begin", "on_train_end", "teardown"):
            for callback in callbacks:
                getattr(callback, event)(args, state, TrainerControl(), model=None)

    assert sorted(told.name for told in runs_in(tmp_path)) == ["trial-0", "trial-1"]
