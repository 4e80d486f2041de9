"""What callbacks ask for is done, whoever else asks; what is logged is complete; modes come back."""

import pytest
import torch
from torch import nn

from runcast.callbacks.saving import ModelCheckpointCallback
from runcast.core.events import TrainerCallback


def steps_of(folder):
    """Return the steps of the checkpoints in a folder."""
    return sorted(int(path.name.removeprefix("checkpoint-")) for path in folder.glob("checkpoint-*"))


@pytest.mark.parametrize("strategy", ["no", "steps", "epoch", "best"])
def test_a_checkpoint_that_a_callback_asks_for_is_written_whatever_the_strategy(make, tmp_path, strategy):
    """Evaluations that do not improve clear no request; two strategies save what both ask for."""
    scores = iter([0.5, 0.4, 0.3, 0.6, 0.1, 0.2])
    trainer = make(
        output_dir=str(tmp_path),
        callbacks=[ModelCheckpointCallback(every_steps=3)],
        max_steps=6,
        save_strategy=strategy,
        save_steps=4,
        eval_strategy="steps",
        eval_steps=1,
        metric_for_best_model="score",
        compute_metrics=lambda p: {"score": next(scores)},
    )

    trainer.train()

    assert steps_of(tmp_path) == {"no": [3, 6], "steps": [3, 4, 6], "epoch": [3, 6], "best": [1, 3, 4, 6]}[strategy]


def test_an_evaluation_or_a_log_of_a_callbacks_own_stands_for_none_of_the_others(make):
    """The loop still logs and evaluates at that step."""

    class Own(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            trainer.log({"own": 1.0})
            trainer.evaluate(make.Digits(8), metric_key_prefix="own")

    trainer = make(callbacks=[Own], max_steps=2, logging_steps=1, eval_strategy="steps", eval_steps=1)

    trainer.train()

    for key in ("loss", "eval_loss", "own", "own_loss"):
        assert [entry["step"] for entry in trainer.state.log_history if key in entry] == [1, 2], key


def logged(trainer, key="loss"):
    """Return the steps at which something was logged."""
    return [entry["step"] for entry in trainer.state.log_history if key in entry]


def stop_at_4(args, state, control, **kwargs):
    """Stop the training at step 4."""
    control.should_training_stop |= state.global_step == 4


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"logging_steps": 3, "max_steps": 7}, [3, 6, 7]),
        ({"logging_steps": 0.4, "max_steps": 7}, [3, 6, 7]),
        ({"logging_steps": 100, "max_steps": 5}, [5]),
        ({"logging_steps": 5, "num_train_epochs": 1, "per_device_train_batch_size": 8}, [5, 10, 12]),
        ({"logging_steps": 3, "max_steps": 6}, [3, 6]),
        ({"logging_strategy": "epoch", "max_steps": 14, "per_device_train_batch_size": 8}, [12, 14]),
        ({"logging_strategy": "no", "max_steps": 5}, []),
        ({"logging_steps": 3, "max_steps": 9, "callbacks": [("on_step_end", stop_at_4)]}, [3, 4]),
        ({"logging_steps": 3, "max_steps": 9, "callbacks": [("on_step_begin", stop_at_4)]}, [3, 5]),
        ({"logging_steps": 4, "max_steps": 9, "callbacks": [("on_log", stop_at_4)]}, [4]),
        (
            {
                "logging_steps": 3,
                "max_steps": 9,
                "callbacks": [("on_evaluate", stop_at_4)],
                "eval_strategy": "steps",
                "eval_steps": 2,
            },
            [3, 4],
        ),
        (
            {"logging_steps": 3, "max_steps": 9, "train_dataset": iter([(torch.zeros(64), torch.tensor(1))] * 32)},
            [3, 4],
        ),
    ],
)
@pytest.mark.filterwarnings("ignore:.*ended.*")
def test_the_last_step_is_logged_however_the_training_ends(make, settings, expected):
    """Between two logs, at one, by a callback, with the data."""
    trainer = make(**settings)

    trainer.train()

    assert logged(trainer) == expected


def test_a_resumed_training_logs_its_own_last_step_once(make, tmp_path):
    """And at the steps at which one that was left alone would."""
    settings = {"logging_steps": 3, "output_dir": str(tmp_path), "save_strategy": "steps", "save_steps": 2}
    make(max_steps=4, **settings).train()
    trainer = make(max_steps=8, **settings)

    trainer.train(resume_from_checkpoint="last")

    assert logged(trainer) == [3, 6, 8]


def test_what_a_callback_adds_to_a_log_is_in_the_history(make, tmp_path):
    """A value of its own, or another one in place of the trainer's; also of an evaluation, and in the checkpoint."""

    class Adds(TrainerCallback):
        def on_log(self, args, state, control, logs, **kwargs):
            if "loss" in logs:
                logs["perplexity"], logs["loss"] = torch.tensor(2.0), 0.25
            if "eval_loss" in logs:
                logs["eval_gap"] = 0.5
            state.log_history.append({"note": "of a callback", "step": state.global_step})

    trainer = make(callbacks=[Adds], max_steps=1, logging_steps=1, eval_strategy="steps", eval_steps=1)

    trainer.train()

    training, evaluation = (next(e for e in trainer.state.log_history if key in e) for key in ("loss", "eval_loss"))
    assert (training["perplexity"], training["loss"]) == (2.0, 0.25)
    assert evaluation["eval_gap"] == 0.5
    assert all(set(entry) == {"note", "step"} for entry in trainer.state.log_history if "note" in entry)


class Frozen(nn.Module):
    """A model with a part that is to stay in evaluation mode, and one that counts how often its mode is set."""

    def __init__(self):
        super().__init__()
        self.norm, self.inner = nn.BatchNorm1d(64), nn.Sequential(nn.Dropout(0.1), nn.BatchNorm1d(64))
        self.head, self.merged = nn.Linear(64, 10), False

    def train(self, mode=True):
        self.merged = not mode  # as LoRA does
        return super().train(mode)

    def forward(self, image):
        return self.head(self.inner(self.norm(image)))


@pytest.mark.parametrize("call", ["evaluate", "predict", "export", "fails"])
def test_every_module_comes_back_in_its_own_mode(make, tmp_path, call):
    """What was put into evaluation mode stays there, at any depth, also after an exception."""
    model = Frozen()
    trainer = make(model=model)
    model.train()
    model.norm.eval()
    model.inner[1].eval()
    modes = [module.training for module in model.modules()]

    if call == "evaluate":
        trainer.evaluate()
    elif call == "predict":
        trainer.predict(make.Digits(4))
    elif call == "export":
        trainer.export(tmp_path / "model", "torch")
    else:
        with pytest.raises(RuntimeError):
            trainer.evaluate([{"image": torch.zeros(3), "labels": 1}])

    assert [module.training for module in model.modules()] == modes
    assert not model.merged
    model.eval()
    trainer.evaluate()
    assert not any(module.training for module in model.modules())


def test_an_evaluation_in_a_training_leaves_a_frozen_part_frozen(make):
    """Its statistics are those of before."""
    model = Frozen()
    trainer = make(model=model, max_steps=3, eval_strategy="steps", eval_steps=1)
    trainer.add_callback("on_train_begin", lambda *_, **__: model.norm.eval() and None)

    trainer.train()

    assert int(model.norm.num_batches_tracked) == 0
    assert int(model.inner[1].num_batches_tracked) == 3


def test_an_interrupt_while_it_is_torn_down_leaves_a_trainer_that_works(make):
    """Each teardown was called, the interrupt is not lost, and the Trainer can be used again."""
    seen = []

    class Slow(TrainerCallback):
        def teardown(self, args, state, control, **kwargs):
            seen.append("slow")
            if len(seen) < 2:
                raise KeyboardInterrupt

    trainer = make(callbacks=[Slow, ("teardown", lambda *_, **__: seen.append("other"))], max_steps=1)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()

    trainer.evaluate()

    assert seen == ["slow", "other", "slow", "other"]


@pytest.mark.parametrize("event", ["on_step_begin", "on_step_end", "on_log", "on_evaluate", "on_epoch_end"])
def test_a_callback_that_leaves_the_model_in_evaluation_mode_changes_no_training(make, event):
    """As one does that generates samples: transformers sets the mode at every step, so nobody sets it back."""
    seen = []

    class Watched(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = make.Net()

        def forward(self, image):
            if torch.is_grad_enabled():
                seen.append((self.training, self.net.training))
            return self.net(image)

    trainer = make(
        model=Watched(),
        max_steps=3,
        num_train_epochs=3,
        train_dataset=make.Digits(8),
        eval_strategy="steps",
        eval_steps=1,
        logging_steps=1,
        callbacks=[(event, lambda *_, model, **__: model.eval())],
    )
    trainer.train()

    assert seen == [(True, True)] * 3
