"""A subclass of the Trainer trains as it says, or is refused."""

import inspect

import pytest
import torch

import runcast
from runcast.core.errors import OptionError
from runcast.trainer.methods.refused import NOT_CALLED
from runcast.trainer.trainer import Trainer
from tests.adapters.tiny_transformers import transformers

data = torch.utils.data.TensorDataset(torch.ones(8, 2), torch.ones(8, 1))


def make(kind, folder, **settings):
    """Make a Trainer of a class that trains four steps and evaluates after each second one."""
    defaults = {"max_steps": 4, "eval_strategy": "steps", "eval_steps": 2, "logging_steps": 1, "report_to": "none"}
    args = runcast.TrainingArguments(str(folder), use_cpu=True, disable_tqdm=True, **defaults | settings)
    return kind(
        torch.nn.Linear(2, 1), args, train_dataset=data, eval_dataset=data, compute_loss=torch.nn.functional.mse_loss
    )


@pytest.mark.parametrize(
    ("name", "instead"),
    [
        ("get_batch_samples", "training_step"),
        ("_get_num_items_in_batch", "training_step"),
        ("_get_train_sampler", "get_train_dataloader"),
        ("_remove_unused_columns", "get_train_dataloader"),
        ("get_decay_parameter_names", "create_optimizer"),
        ("_evaluate", "evaluation_loop"),
        ("_save_checkpoint", "save_model"),
        ("_inner_training_loop", "training_step"),
    ],
)
def test_what_the_loop_would_not_call_is_refused_by_name(tmp_path, name, instead):
    """At construction, with what to use instead; in a subclass of a subclass and in a mixin on either side, too."""
    own = {name: lambda self, *arguments, **options: None}
    mine = type("Mine", (Trainer,), own)
    mixin = type("Mixin", (), own)

    for kind in (
        mine,
        type("Derived", (mine,), {}),
        type("Left", (mixin, Trainer), {}),
        type("Right", (Trainer, mixin), {}),
    ):
        with pytest.raises(OptionError, match=rf"\.{name}\. .*{instead}"):
            make(kind, tmp_path)


def test_several_are_named_at_once(tmp_path):
    """So that one reads the whole list at the first try."""

    class Mine(Trainer):
        def _save(self, output_dir=None, state_dict=None):
            return 0

        def _run_epoch(self, *arguments):
            return 0

    with pytest.raises(OptionError, match=r"Mine\._save\..*Mine\._run_epoch\..*transformers\.Trainer"):
        make(Mine, tmp_path)


@pytest.mark.parametrize("name", ["_save", "get_batch_samples"])
def test_setting_such_a_method_on_a_trainer_is_refused_too(tmp_path, name):
    """Before and after it is constructed."""

    class Early(Trainer):
        def __init__(self, *arguments, **options):
            setattr(self, name, print)
            super().__init__(*arguments, **options)

    with pytest.raises(OptionError, match=f"Setting {name} "):
        make(Early, tmp_path)
    with pytest.raises(OptionError, match=f"Setting {name} "):
        setattr(make(Trainer, tmp_path), name, print)


def test_a_method_put_into_the_class_is_refused_too(tmp_path, monkeypatch):
    """As scripts patch it into transformers' Trainer."""
    monkeypatch.setattr(Trainer, "_run_epoch", lambda self, *arguments: 0, raising=False)

    with pytest.raises(OptionError, match=r"Trainer\._run_epoch\."):
        make(Trainer, tmp_path)


def test_what_the_loop_calls_is_heard(tmp_path):
    """evaluate, log and event, in a subclass with helpers of its own, and with the arguments of transformers."""
    seen = []

    class Mine(Trainer):
        best = None

        def helper(self):
            return 1

        def evaluate(self, eval_dataset=None, ignore_keys=None, metric_key_prefix="eval"):
            seen.append("evaluate")
            return super().evaluate(eval_dataset, metric_key_prefix=metric_key_prefix)

        def log(self, logs, start_time=None):
            seen.append("log")
            super().log(logs)

    trainer = make(Mine, tmp_path)
    trainer.eval_dataset = {"a": data, "b": data}
    trainer.train()

    assert seen.count("evaluate") == 6
    assert seen.count("log") == 4 + 4 + 1
    assert {"eval_a_loss", "eval_b_loss"} <= {key for entry in trainer.state.log_history for key in entry}


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("evaluate", lambda self: {}),
        ("evaluate", lambda self, data: {}),
        ("log", lambda self: None),
        ("log", lambda self, logs, start: None),
    ],
)
def test_an_override_that_cannot_be_called_is_refused(tmp_path, name, method):
    """Not an hour later, at the first evaluation."""
    with pytest.raises(OptionError, match=rf"Mine\.{name} cannot be called as this Trainer calls it"):
        make(type("Mine", (Trainer,), {name: method}), tmp_path)


def test_an_evaluation_set_on_a_trainer_is_heard(tmp_path):
    """As a method of a subclass would be."""
    trainer = make(Trainer, tmp_path)
    seen = []
    trainer.evaluate = lambda *arguments, **options: seen.append(trainer.state.global_step) or {"eval_loss": 1.0}

    trainer.train()

    assert seen == [2, 4]


def test_every_method_of_theirs_is_called_or_refused():
    """The list keeps up with the version of transformers that is tested."""
    theirs = {name for name, value in vars(transformers.Trainer).items() if inspect.isroutine(value)}

    called = {name for name in dir(Trainer) if not name.startswith("__")}
    assert {name for name in theirs if not name.startswith("__")} - called - set(NOT_CALLED) == set()
    # These are there for scripts, and no loop calls them: overriding them is refused.
    assert set(NOT_CALLED) & called == {
        *("call_model_init", "create_model_card", "get_learning_rates", "hyperparameter_search", "num_examples"),
        *("is_local_process_zero", "is_world_process_zero", "push_to_hub"),
    }


@pytest.mark.parametrize("kind", [StopIteration, LookupError])
def test_an_exception_with_a_meaning_leaves_train_as_it_is(tmp_path, kind):
    """Also StopIteration, which Python would turn into something else on its way through a generator."""
    Stop = kind if kind is StopIteration else type("TrialPruned", (Exception,), {})
    trainer = make(Trainer, tmp_path)
    trainer.add_callback(
        "on_step_end",
        lambda *arguments, **options: (_ for _ in ()).throw(Stop) if kind is not StopIteration else next(iter(())),
    )

    with pytest.raises(Stop):
        trainer.train()

    assert trainer.state.global_step == 1
