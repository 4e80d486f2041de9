"""The page of events is the docstring of the events, and a training announces what it says."""

import inspect
import re
from pathlib import Path

import runcast.core.events
from runcast.core.events import EVENTS, TrainerCallback
from runcast.trainer.loop import TrainingLoop

PAGE = Path(__file__).parents[2] / "docs" / "events.md"


def test_the_page_shows_the_docstring_of_the_events():
    """The pseudocode has one owner; every event stands in it, and no other."""
    assert "\n::: runcast.core.events\n" in PAGE.read_text(encoding="utf-8")
    assert set(re.findall(r"\b(?:on_[a-z_]+|teardown)\b", inspect.getdoc(runcast.core.events))) == set(EVENTS)


def test_a_training_announces_what_the_page_says(make, tmp_path):
    """Literally: two epochs of three batches, two for a step; an evaluation and a checkpoint at each epoch; then the other calls."""
    trace = []
    kind = type(
        "Tracer",
        (TrainerCallback,),
        {event: lambda self, *_, event=event, **__: trace.append(event) for event in EVENTS},
    )
    settings = {
        "train_dataset": make.Digits(12),
        "eval_dataset": make.Digits(8),
        "per_device_train_batch_size": 4,
        "per_device_eval_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "logging_steps": 2,
        "eval_strategy": "epoch",
        "save_strategy": "epoch",
        "output_dir": str(tmp_path),
    }
    trainer = make(num_train_epochs=2, callbacks=[kind()], **settings)
    trainer.train()

    step = ["on_step_begin", "on_pre_optimizer_step", "on_optimizer_step", "on_step_end"]
    two_batches = ["on_step_begin", "on_substep_end", *step[1:]]
    evaluation_ = ["on_evaluate_begin", "on_prediction_step", "on_prediction_step", "on_log", "on_evaluate"]
    epoch = ["on_epoch_begin", *two_batches, *step, "on_log", "on_epoch_end", *evaluation_, "on_save"]
    assert trace == ["on_init_end", "on_train_begin", *epoch, *epoch, "on_log", "on_train_end", "teardown"]

    trace.clear()
    trainer.predict(make.Digits(4))
    trainer.export(tmp_path / "model")
    assert trace == [
        "on_predict_begin",
        "on_prediction_step",
        "on_predict",
        "teardown",
        "on_export_begin",
        "on_export_end",
        "teardown",
    ]

    trace.clear()
    make(num_train_epochs=2, callbacks=[kind()], **settings).train(
        resume_from_checkpoint=str(tmp_path / "checkpoint-2")
    )
    assert trace == [
        "on_init_end",
        "on_checkpoint_load",
        "on_train_begin",
        *epoch,
        "on_log",
        "on_train_end",
        "teardown",
    ]


def test_the_loop_fits_on_one_screen():
    """The method that trains has at most 55 lines."""
    assert len(inspect.getsource(TrainingLoop.run).splitlines()) <= 55
