"""transformers.Trainer reports through ReportCallback: one run, whatever is done with the trainer."""

import contextlib
import gc
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

import runcast
from runcast import ReportCallback
from runcast.run.init import init
from tests.adapters.kit import only_run_in, runs_in
from tests.adapters.tiny_transformers import Fail, TinyConfig, examples, make_trainer


def report(**options):
    """Make the callback; the journal alone is written."""
    return ReportCallback("none", **options)


def test_a_training_is_told_completely(folder):
    """Losses at optimizer steps, evaluations, params of arguments and model, the summary, the status."""
    make_trainer([report()], eval_strategy="steps", eval_steps=3).train()

    told = only_run_in(folder)
    assert told.steps("train/loss") == [2, 4, 6]
    assert told.steps("eval/loss") == [3, 6]
    assert told.steps("train/epoch") == [2, 3, 4, 6]
    assert {"train/grad_norm", "train/learning_rate", "eval/runtime"} <= set(told.points)
    assert told.params["gradient_accumulation_steps"] == 2
    assert told.params["model/width"] == 2
    assert told.params["model/class"] == "TinyModel"
    assert told.params["model/num_parameters"] == 10
    assert {"train/mean_loss", "train/runtime", "train/flops"} <= set(told.summary)
    assert told.endings == ["finished"]


def test_what_follows_the_training_goes_on_with_its_run(folder):
    """evaluate, predict and a second training make no other run, and test metrics are told too."""
    callback = report()
    trainer = make_trainer([callback])

    trainer.train()
    trainer.evaluate()
    trainer.evaluate(metric_key_prefix="holdout")
    trainer.predict(examples(8))
    trainer.train()
    trainer.evaluate()
    callback.run.finish()

    told = only_run_in(folder)
    assert {"eval/loss", "holdout/loss", "holdout/runtime", "test/loss"} <= set(told.points)
    assert told.steps("train/loss") == [2, 4, 6, 2, 4, 6]
    assert told.endings == ["finished"] * 3


def test_an_evaluation_alone_is_a_run(folder):
    """A trainer that only evaluates reports as well."""
    callback = report()

    make_trainer([callback]).evaluate()
    callback.run.finish()

    assert only_run_in(folder).steps("eval/loss") == [0]


def test_a_resumed_training_goes_on_with_its_run(folder):
    """Another process that resumes from a checkpoint, with trackers of its own choice, is the same run."""
    make_trainer([report()], save_strategy="steps", save_steps=3, max_steps=3).train()

    again = make_trainer([report()], save_strategy="steps", save_steps=3)
    again.train(resume_from_checkpoint=str(folder / "out" / "checkpoint-3"))

    told = only_run_in(folder)
    assert told.steps("train/loss") == [2, 4, 6]
    assert told.endings == ["finished"] * 2


def test_resuming_into_a_chosen_run_is_possible(folder, monkeypatch):
    """RUNCAST_RUN_ID and `id` beat what the checkpoint says."""
    make_trainer([report()], save_strategy="steps", save_steps=3, max_steps=3).train()
    monkeypatch.setenv("RUNCAST_RUN_ID", "mine")

    make_trainer([report()]).train(resume_from_checkpoint=str(folder / "out" / "checkpoint-3"))

    assert [told.path.name == "mine" for told in runs_in(folder)] == [False, True]


def test_restoring_callbacks_from_a_checkpoint_leaves_this_one_alone(folder):
    """Transformers may construct callbacks anew when it resumes; this one keeps its choice of trackers."""
    make_trainer([report()], save_strategy="steps", save_steps=3, max_steps=3).train()
    callback = report()
    trainer = make_trainer([callback], restore_callback_states_from_checkpoint=True)

    trainer.train(resume_from_checkpoint=str(folder / "out" / "checkpoint-3"))

    assert callback in trainer.callback_handler.callbacks
    only_run_in(folder)


def test_best_and_last_checkpoint_are_kept_when_asked_for(folder):
    """log_model="end": two artifacts of type model, with the weights as they were saved."""
    settings = {"save_strategy": "steps", "save_steps": 2, "eval_strategy": "steps", "eval_steps": 2}
    trainer = make_trainer([report(log_model="end")], metric_for_best_model="loss", **settings)

    trainer.train()

    told = only_run_in(folder)
    best = int(Path(trainer.state.best_model_checkpoint).name.removeprefix("checkpoint-"))
    assert told.artifacts == [("model-best", "model"), ("model-last", "model")]
    kept = [told.path / record["path"] for record in told.of_type("artifact") if record["kind"] == "model"]
    assert [path.name for path in kept] == [f"checkpoint-{best}", "checkpoint-6"]
    assert all((path / "model.safetensors").is_file() for path in kept)
    assert told.summary["best/step"] == best
    assert told.summary["best/eval/loss"] == trainer.state.best_metric


def test_every_checkpoint_is_kept_when_asked_for(folder):
    """log_model="all": also those that transformers deletes afterwards."""
    make_trainer([report(log_model="all")], save_strategy="steps", save_steps=2, save_total_limit=1).train()

    assert [name for name, _ in only_run_in(folder).artifacts] == ["checkpoint-2", "checkpoint-4", "checkpoint-6"]


def test_asking_for_checkpoints_of_a_trainer_that_saves_none_is_told(folder, caplog):
    """The training goes on, and the user is told what to set."""
    make_trainer([report(log_model=True)]).train()

    assert "no checkpoint was kept" in caplog.text
    assert only_run_in(folder).endings == ["finished"]


def test_a_wrong_log_model_is_an_error_at_once():
    """It names the valid values."""
    with pytest.raises(runcast.OptionError, match="end, all, false"):
        ReportCallback("none", log_model="sometimes")


def run_search(trainer, trials, fails=()):
    """Train once for each trial as transformers' own search does; an optuna that is not installed is not needed."""
    for trial in trials:
        try:
            trainer.train(trial=trial)
        except RuntimeError:
            assert trial in fails


def test_each_trial_of_a_search_is_a_run_of_its_own(folder):
    """All in one group, each with its params and its status; a training afterwards is none of them."""
    trials = [{"learning_rate": 0.1}, {"learning_rate": 0.2}, {"learning_rate": 0.3}]
    error = RuntimeError("diverged")

    class FailSecond(transformers.TrainerCallback):
        def on_step_begin(self, args, state, control, model=None, **kwargs):
            model.error = error if state.trial_params == trials[1] else None

    trainer = make_trainer([report(), FailSecond()], run_name="sweep")
    run_search(trainer, trials, fails=trials[1:2])
    trainer.evaluate()
    trainer.train()

    told = sorted(runs_in(folder), key=lambda one: one.file.created)
    assert [one.name for one in told] == ["sweep-1", "sweep-2", "sweep-3", "sweep"]
    assert [one.group for one in told] == ["sweep", "sweep", "sweep", None]
    assert [one.params.get("trial/learning_rate") for one in told] == [0.1, 0.2, 0.3, None]
    assert [one.endings[0] for one in told] == ["finished", "failed", "finished", "finished"]


def test_the_callbacks_of_single_trackers_make_one_run_a_trial_too(folder, monkeypatch):
    """They share one run in each trial, and one id is not taken for two trials."""
    monkeypatch.setenv("RUNCAST_DELIVERY", "later")
    trainer = make_trainer([runcast.MLflowCallback(), runcast.TensorBoardCallback()])

    run_search(trainer, [{"learning_rate": 0.1}, {"learning_rate": 0.2}])

    first, second = runs_in(folder)
    assert sorted(first.file.trackers) == sorted(second.file.trackers) == ["mlflow", "tensorboard"]
    assert first.group == second.group is not None
    assert first.endings == second.endings == ["finished"]


def test_the_checkpoint_of_a_trial_is_found_where_it_is(folder):
    """D12: trials save in a folder of their own; theirs look in output_dir/checkpoint-N."""
    state = transformers.TrainerState(global_step=4, is_hyper_param_search=True)
    args = transformers.TrainingArguments(output_dir=str(folder / "out"), report_to="none", use_cpu=True)
    callback = report(log_model="all")
    (folder / "out" / "run-7" / "checkpoint-4").mkdir(parents=True)
    (folder / "out" / "run-7" / "checkpoint-4" / "model.safetensors").write_text("weights")

    callback.on_train_begin(args, state, transformers.TrainerControl())
    callback.on_save(args, state, transformers.TrainerControl())
    callback.run.finish()

    assert only_run_in(folder).artifacts == [("checkpoint-4", "model")]


def test_a_batch_size_that_did_not_fit_makes_no_other_run(folder):
    """auto_find_batch_size begins the training again without ending it; transformers tells that by no event."""
    fits = iter([False, True])

    class Full(transformers.TrainerCallback):
        def on_train_begin(self, args, state, control, model=None, **kwargs):
            model.error = None if next(fits) else RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")

    make_trainer([report(), Full()], auto_find_batch_size=True).train()

    assert only_run_in(folder).endings == ["finished"]


@pytest.mark.parametrize(("error", "status"), [(RuntimeError("diverged"), "failed"), (KeyboardInterrupt(), "killed")])
def test_in_a_with_block_a_caught_exception_is_known(folder, error, status):
    """Whoever catches what leaves `train` gets the true status so, with the traceback."""
    callback = report()
    trainer = make_trainer([callback, Fail(error)])

    with pytest.raises(type(error)), callback:
        trainer.train()

    told = only_run_in(folder)
    assert told.endings == [status]
    assert type(error).__name__ in told.of_type("finish")[0]["error"]


def test_a_trainer_that_is_dropped_after_a_failure_ends_its_run(folder):
    """A loop that catches an error and makes the next trainer leaves no run open behind it."""
    trainer = make_trainer([report(id="first"), Fail(RuntimeError("out of memory"))])
    with contextlib.suppress(RuntimeError):
        trainer.train()
    assert only_run_in(folder).endings == []

    trainer = make_trainer([report(id="second")])
    gc.collect()

    assert only_run_in(folder).endings == ["failed"]
    assert trainer.state.global_step == 0


def test_a_second_training_after_a_caught_failure_decides_the_status(folder):
    """The run is what its last training was."""
    fail = Fail(RuntimeError("diverged"))
    trainer = make_trainer([report(), fail])
    with pytest.raises(RuntimeError):
        trainer.train()
    fail.error = None

    trainer.train()

    assert only_run_in(folder).endings == ["finished"]


def test_a_run_of_the_user_stays_open_and_takes_the_status_of_its_block(folder):
    """`with runcast.init()` around everything: one session, whatever happens inside."""
    run = init(report_to="none", id="mine")
    trainer = make_trainer([ReportCallback(run=run), Fail(RuntimeError("diverged"))])

    with pytest.raises(RuntimeError), run:
        trainer.train()

    assert only_run_in(folder).endings == ["failed"]


class Trl(transformers.Trainer):
    """Does what the trainers of trl do: a loss of its own, extra metrics averaged into each log."""

    def __init__(self, *args, **kwargs):
        self._metrics = {"train": {}, "eval": {}}
        super().__init__(*args, **kwargs)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        outputs = model(inputs["x"])
        margins = outputs["logits"][:, 1] - outputs["logits"][:, 0]
        signs = inputs["labels"] * 2.0 - 1
        mode = "train" if model.training else "eval"
        self._metrics[mode].setdefault("rewards/margins", []).append(margins.detach().mean().item())
        self._metrics[mode].setdefault("mean_token_accuracy", []).append(0.5)
        loss = -torch.nn.functional.logsigmoid(margins * signs).mean()
        return (loss, outputs) if return_outputs else loss

    def log(self, logs, start_time=None):
        mode = "train" if self.model.training else "eval"
        metrics = {key: sum(values) / len(values) for key, values in self._metrics[mode].items()}
        prefix = "eval_" if mode == "eval" else ""
        super().log({**logs, **{f"{prefix}{key}": value for key, value in metrics.items()}}, start_time)
        self._metrics[mode].clear()


def test_a_trainer_that_inherits_reports_its_own_metrics_too(folder):
    """As trl's do: overridden log and compute_loss; names with a slash stay as they are."""
    trainer = make_trainer([report()], kind=Trl, eval_strategy="epoch")

    trainer.train()

    told = only_run_in(folder)
    assert told.steps("train/loss") == [2, 4, 6]
    assert told.steps("rewards/margins") == [2, 4, 6]
    assert told.steps("train/mean_token_accuracy") == [2, 4, 6]
    assert told.steps("eval_rewards/margins") == [3, 6]
    assert told.steps("eval/mean_token_accuracy") == [3, 6]


def test_the_adapters_of_a_model_are_params(folder):
    """What PEFT keeps at a model as peft_config, by the name of each adapter."""
    trainer = make_trainer([report()])
    trainer.model.peft_config = {"default": TinyConfig(width=8)}

    trainer.train()

    assert only_run_in(folder).params["peft/default/width"] == 8


def test_tokens_among_the_arguments_stay_secret(folder):
    """Neither the hub's token nor a push token reaches the journal."""
    make_trainer([report()], hub_token="hf_" + "abcdefghijklmnopqrstuvwxyz12345678").train()

    assert "abcdefghijklmnop" not in (only_run_in(folder).path / "journal.jsonl").read_text()


def test_an_event_that_runcast_does_not_know_is_none_of_its_business():
    """A newer transformers calls every callback for every event."""
    assert report().on_something_new(None, None, None) is None
    with pytest.raises(AttributeError, match="something_else"):
        report().something_else  # noqa: B018


def test_reporting_twice_is_told(folder, caplog):
    """Trackers that transformers reports to as well would get everything twice."""
    callback = report()
    args = transformers.TrainingArguments("out", report_to="tensorboard", use_cpu=True)

    callback.on_init_end(args, transformers.TrainerState(), None)

    assert re.search(r"reports to tensorboard by itself.*report_to=\"none\"", caplog.text)


@pytest.mark.parametrize("off", ["none", None, [], ["none"], "", False])
def test_the_integration_function_of_transformers_has_an_equal(off):
    """get_reporting_integration_callbacks(report_to) extends a list of callbacks; nothing to report is an empty list."""
    assert runcast.get_reporting_integration_callbacks(off) == []

    (callback,) = runcast.get_reporting_integration_callbacks(["tensorboard"], project="p")

    assert isinstance(callback, ReportCallback)
    assert make_trainer([*runcast.get_reporting_integration_callbacks(off), callback]) is not None


def test_the_project_and_the_name_of_the_arguments_are_those_of_the_run(folder):
    """`run_name` and `project`; the default project of transformers says nothing."""
    make_trainer([report()], run_name="baseline", project="digits").train()
    make_trainer([report()], run_name="baseline").train()

    assert [(told.name, told.project) for told in runs_in(folder)] == [
        ("baseline", "digits"),
        ("baseline", folder.name),
    ]


VARIABLES = {
    "wandb": "WANDB_PROJECT",
    "mlflow": "MLFLOW_EXPERIMENT_NAME",
    "comet_ml": "COMET_PROJECT_NAME",
    "clearml": "CLEARML_PROJECT",
}


def project_for(told, tracker):
    """Ask for the project as that tracker's integration does."""
    run = runcast.TrackedRun(
        variables={"project": VARIABLES[tracker]},
        id=told.file.id,
        name=told.name,
        project=told.project,
        directory=told.path,
        local=told.path,
        created=0.0,
        online=False,
        given=frozenset(told.file.given),
    )
    return run.setting("project")


def test_the_variables_that_name_a_project_are_not_overruled(folder, monkeypatch):
    """WANDB_PROJECT, MLFLOW_EXPERIMENT_NAME, COMET_PROJECT_NAME, CLEARML_PROJECT … hold where the user gave no argument."""
    for variable in VARIABLES.values():
        monkeypatch.setenv(variable, "theirs")
    monkeypatch.delenv("RUNCAST_SNAPSHOT")
    choice = list(VARIABLES)

    make_trainer([ReportCallback(choice, delivery="later", id="plain")], max_steps=1).train()
    make_trainer([ReportCallback(choice, delivery="later", id="named")], run_name="n", project="p", max_steps=1).train()

    plain, named = sorted(runs_in(folder), key=lambda told: told.path.name, reverse=True)
    assert set(plain.file.given) == {"delivery", "id", "resume"}
    assert set(named.file.given) == {"delivery", "id", "resume", "name", "project"}
    assert {name: project_for(plain, name) for name in choice} == dict.fromkeys(choice, "theirs")
    assert {name: project_for(named, name) for name in choice} == dict.fromkeys(choice, "p")


# What a user who switches keeps: the variable, and the tracker that has to be selected for it to mean anything.
ASKING = [
    ({"WANDB_LOG_MODEL": "end"}, "wandb", ["model-last"]),
    ({"WANDB_LOG_MODEL": "checkpoint"}, "wandb", ["checkpoint-3", "checkpoint-6"]),
    ({"WANDB_LOG_MODEL": "false"}, "wandb", []),
    ({"WANDB_LOG_MODEL": "sometimes"}, "wandb", []),
    ({"HF_MLFLOW_LOG_ARTIFACTS": "1"}, "mlflow", ["checkpoint-3", "checkpoint-6"]),
    ({"COMET_LOG_ASSETS": "TRUE"}, "comet_ml", ["model-last"]),
    ({"CLEARML_LOG_MODEL": "True"}, "clearml", ["checkpoint-3", "checkpoint-6"]),
    ({"HF_DVCLIVE_LOG_MODEL": "true"}, "dvclive", ["model-last"]),
    ({"HF_DVCLIVE_LOG_MODEL": "all"}, "dvclive", ["checkpoint-3", "checkpoint-6"]),
    ({"WANDB_LOG_MODEL": "checkpoint"}, "mlflow", []),
    ({"WANDB_LOG_MODEL": "end", "HF_MLFLOW_LOG_ARTIFACTS": "1"}, "wandb,mlflow", ["checkpoint-3", "checkpoint-6"]),
]


@pytest.mark.parametrize(("variables", "report_to", "expected"), ASKING)
def test_the_variables_that_ask_for_checkpoints_keep_their_meaning(folder, monkeypatch, variables, report_to, expected):
    """Each counts if its tracker is selected; delivery waits, as only the journal is looked at."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    make_trainer([ReportCallback(report_to, delivery="later")], save_strategy="epoch").train()

    assert [name for name, _ in only_run_in(folder).artifacts] == expected


def test_numbers_of_every_kind_are_metrics(folder):
    """D11: theirs drop NumPy's and torch's scalars; and the dict that others share is not changed."""
    callback = report()
    trainer = make_trainer([callback])
    logs = {
        "a": np.float32(0.5),
        "b": np.int64(3),
        "c": torch.tensor(0.25),
        "d": torch.tensor([2]),
        "e": np.array(1.5),
        "f": float("nan"),
        7: 0.75,
    }

    trainer.log({"train_loss": 0.1})
    trainer.log(logs)
    callback.run.finish()

    told = only_run_in(folder)
    values = {key: pairs[0][1] for key, pairs in told.points.items()}
    assert values == {
        "train/a": 0.5,
        "train/b": 3,
        "train/c": 0.25,
        "train/d": 2,
        "train/e": 1.5,
        "train/f": "NaN",
        "train/7": 0.75,
        "train/epoch": 0,
    }
    assert told.summary == {"train/mean_loss": 0.1}
    assert set(logs) == {"a", "b", "c", "d", "e", "f", 7, "epoch"}


@pytest.mark.parametrize("order", [lambda model, logs: (model, logs), lambda model, logs: (logs,)])
def test_a_subclass_may_pass_everything_by_position(folder, order):
    """As the callbacks of transformers itself take it, each in another order."""

    class Mine(ReportCallback):
        def on_log(self, args, state, control, model=None, logs=None, **kwargs):
            super().on_log(args, state, control, *order(model, logs), **kwargs)

        def on_train_end(self, args, state, control, model=None, processing_class=None, **kwargs):
            super().on_train_end(args, state, control, model, processing_class, **kwargs)

    make_trainer([Mine("none")]).train()

    told = only_run_in(folder)
    assert (told.steps("train/loss"), told.endings) == ([2, 4, 6], ["finished"])


def test_a_saved_state_names_the_run(folder):
    """A checkpoint of transformers holds the run's id in its state file."""
    callback = report()
    make_trainer([callback], save_strategy="steps", save_steps=3, max_steps=3).train()

    state = transformers.TrainerState.load_from_json(str(folder / "out" / "checkpoint-3" / "trainer_state.json"))

    assert state.stateful_callbacks["runcast"]["attributes"] == {"run_id": callback.run.id}
