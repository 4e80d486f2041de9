"""The Trainer as a user meets it: it learns, it stops as told, and bad input is named."""

import os
import re
import signal
import subprocess
import sys
import textwrap

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from runcast.core.errors import OptionError
from runcast.core.events import TrainerCallback


def test_it_learns_the_digits(make):
    """Loss falls, accuracy rises, in a few epochs."""
    trainer = make(
        train_dataset=make.Digits(512),
        eval_dataset=make.Digits(128),
        num_train_epochs=6,
        per_device_train_batch_size=16,
        compute_metrics=lambda p: {"accuracy": (p.predictions.argmax(1) == p.label_ids).mean()},
    )

    output = trainer.train()

    assert output.global_step == 192
    assert output.metrics["train_loss"] == output.training_loss < 1.5
    assert output.metrics["epoch"] == 6.0
    assert trainer.evaluate()["eval_accuracy"] > 0.9


def test_scripts_find_the_output_folder(make, tmp_path):
    """Also where nothing is saved; one that cannot be made does not matter to an evaluation."""
    make(output_dir=str(tmp_path / "a" / "b"))
    (tmp_path / "file").touch()

    assert (tmp_path / "a" / "b").is_dir()
    assert make(output_dir=str(tmp_path / "file" / "c")).evaluate()["eval_loss"] > 0


def test_a_model_that_is_put_in_place_of_another_is_the_one_that_is_used(make):
    """For an evaluation, and for the next training, whose callbacks see it."""
    seen = []
    trainer, other = (
        make(max_steps=2, callbacks=[("on_step_end", lambda *_, model, **__: seen.append(model))]),
        make.Net(),
    )
    other.layers[3].bias.data += 100 * torch.eye(10)[0]
    before = other.layers[0].weight.clone()

    trainer.model = other

    assert (trainer.predict(make.Digits(8)).predictions.argmax(1) == 0).all()
    trainer.train()
    assert not torch.equal(other.layers[0].weight, before)
    assert set(seen) == {other}


def test_a_model_that_is_compiled_already_has_the_weights_of_a_plain_one(make):
    """In its checkpoints, and in what it saves."""
    plain = make.Net()
    trainer = make(model=torch.compile(plain, backend="eager"), max_steps=1, save_strategy="steps")

    trainer.train()

    folder = trainer.save_model()
    for path in (folder, folder / "checkpoint-1"):
        assert set(load_file(path / "model.safetensors")) == set(plain.state_dict())
    assert trainer.model is plain
    assert trainer.train(resume_from_checkpoint=True).global_step == 1


def test_unequal_batches_weigh_as_one_big_batch_would(make):
    """With accumulation, the last, smaller batch does not count more than its examples."""
    data = make.Digits(10)
    big, small = make.Net(), make.Net()
    for net in (big, small):
        net.layers[2] = nn.Identity()  # no dropout
    settings = {
        "train_dataset": data,
        "max_steps": 1,
        "max_grad_norm": 0,
        "optim": "sgd",
        "lr_scheduler_type": "constant",
        "learning_rate": 1.0,
    }

    make(model=big, per_device_train_batch_size=10, **settings).train()
    make(model=small, per_device_train_batch_size=4, gradient_accumulation_steps=3, **settings).train()

    for one, other in zip(big.parameters(), small.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_tokens_weigh_as_tokens_with_accumulation(make):
    """A batch with more labels that count has a greater share, so that padding changes nothing."""

    class Tagger(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.embedding = nn.Embedding(5, 3)

        def forward(self, tokens):
            return self.embedding(tokens)

    tokens = torch.tensor([[0, 1, 2, 3], [1, 2, 0, 0]])
    labels = torch.tensor([[0, 1, 2, 0], [1, -100, -100, -100]])
    data = [{"tokens": t, "labels": y} for t, y in zip(tokens, labels, strict=True)]
    settings = {
        "train_dataset": data,
        "max_steps": 1,
        "max_grad_norm": 0,
        "optim": "sgd",
        "lr_scheduler_type": "constant",
        "learning_rate": 1.0,
    }
    one, two = Tagger(), Tagger()

    make(model=one, per_device_train_batch_size=2, **settings).train()
    make(model=two, per_device_train_batch_size=1, gradient_accumulation_steps=2, **settings).train()

    torch.testing.assert_close(one.embedding.weight, two.embedding.weight)


def test_prediction_returns_every_example_in_order(make):
    """Also where the last batch is smaller, and where there are no labels."""
    data = make.Digits(21)
    trainer = make(per_device_eval_batch_size=8)

    output = trainer.predict(data)
    unlabelled = trainer.predict([{"image": image} for image in data.images])

    with torch.no_grad():
        expected = trainer.model.eval()(data.images)
    torch.testing.assert_close(torch.from_numpy(output.predictions), expected)
    assert output.label_ids.tolist() == data.labels.tolist()
    assert unlabelled.predictions.shape == (21, 10)
    assert unlabelled.label_ids is None
    assert "test_loss" in output.metrics
    assert "test_loss" not in unlabelled.metrics


def test_several_evaluation_sets_have_their_own_names(make):
    """eval_<name>_loss for each."""
    metrics = make(eval_dataset={"easy": make_few(make, 8), "hard": make_few(make, 16)}).evaluate()

    assert {"eval_easy_loss", "eval_hard_loss"} <= metrics.keys()


def make_few(make, count):
    """Return a few digits."""
    return make.Digits(count)


def test_the_seed_settles_everything(make):
    """Two trainings with the same seed have the same weights, another seed has others."""
    one, same, other = make(max_steps=5), make(max_steps=5), make(max_steps=5, seed=1)
    for trainer in (one, same, other):
        trainer_seeded(trainer)

    assert make.same_weights(one.model, same.model)
    assert not make.same_weights(one.model, other.model)


def trainer_seeded(trainer):
    """Seed as the constructor did, as three trainers were made at once, and train."""
    from runcast.trainer.model.device import set_seed

    set_seed(trainer.args)
    trainer.train()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"train_dataset": []}, "train dataset is empty"),
        ({"train_dataset": None}, "There is no train dataset"),
        ({"model": nn.Linear(64, 10).requires_grad_(False)}, "nothing to train"),
        ({"compute_loss": lambda outputs, labels: outputs.detach().sum()}, "does not require a gradient"),
        ({"compute_loss": lambda outputs, labels: outputs}, r"has the shape \(8, 10\)"),
        ({"train_dataset": [{"image": torch.zeros(64)}]}, "The model returned no loss"),
        ({"train_dataset": iter([])}, "length of the train dataset is unknown"),
        (
            {"eval_strategy": "epoch", "metric_for_best_model": "f1", "max_steps": 1},
            "'f1', but the evaluation has no 'eval_f1'. It has: epoch, eval_loss",
        ),
    ],
)
def test_bad_input_is_named(make, given, message):
    """One clear message: what happened, and what to do."""
    with pytest.raises(OptionError, match=message):
        make(**given).train()


def test_a_model_that_is_none_is_refused(make):
    """The type is named."""
    with pytest.raises(OptionError, match=r"model is a str, not a torch\.nn\.Module"):
        make(model="gpt2")


def test_fp16_on_the_cpu_is_refused(make):
    """The message names what the CPU has."""
    with pytest.raises(OptionError, match="fp16=True needs a GPU"):
        make(fp16=True)


def test_bf16_trains_on_the_cpu(make):
    """Autocast, with weights in float32."""
    trainer = make(bf16=True, max_steps=2)

    trainer.train()

    assert next(trainer.model.parameters()).dtype is torch.float32


def test_a_batch_of_one_trains(make):
    """The smallest batch there is."""
    assert make(per_device_train_batch_size=1, max_steps=2).train().global_step == 2


def test_a_part_of_an_epoch_is_trained(make):
    """96 examples in batches of 8 are 12 steps; half of it is 6."""
    assert make(num_train_epochs=0.5, per_device_train_batch_size=8).train().global_step == 6


def test_a_callback_may_stop_an_epoch_or_the_training(make):
    """should_epoch_stop goes on with the next epoch, should_training_stop does not."""

    def stop_epoch(args, state, control, **kwargs):
        control.should_epoch_stop = state.global_step == 2

    def stop(args, state, control, **kwargs):
        control.should_training_stop = state.global_step == 7

    trainer = make(
        num_train_epochs=3,
        per_device_train_batch_size=8,
        callbacks=[("on_step_end", stop_epoch), ("on_step_end", stop)],
    )

    assert trainer.train().global_step == 7
    assert trainer.state.epoch == pytest.approx(1 + 5 / 12)


@pytest.mark.parametrize("error", [RuntimeError("broken"), KeyboardInterrupt()])
def test_an_exception_is_announced_and_goes_on_and_teardown_comes_last(make, error):
    """Whatever it is, and in whatever call."""
    seen = []

    class Watcher(TrainerCallback):
        def on_exception(self, args, state, control, exception, **kwargs):
            seen.append(exception)

        def teardown(self, args, state, control, **kwargs):
            seen.append("teardown")

    def fail(outputs, labels):
        raise error

    trainer = make(callbacks=[Watcher], compute_loss=fail)

    for call in (trainer.train, trainer.evaluate, lambda: trainer.predict(make.Digits(8))):
        with pytest.raises(type(error)):
            call()

    assert seen == [error, "teardown"] * 3


def test_a_broken_callback_ends_the_training_with_its_name(make):
    """The exception keeps its type; a note says which callback it was."""
    with pytest.raises(ZeroDivisionError) as caught:
        make(callbacks=[("on_step_end", lambda args, state, control, **kw: 1 / (3 - state.global_step))]).train()

    assert re.search("The callback .* raised in on_step_end at step 3", caught.value.__notes__[0])


def test_a_loss_that_is_no_number_is_told_once(make, caplog):
    """Training goes on; who wants it to stop takes TerminateOnNaNCallback."""
    make(compute_loss=lambda outputs, labels: outputs.sum() * float("nan"), max_steps=4, logging_steps=1).train()

    assert [record.message[:16] for record in caplog.records] == ["The loss is nan "]


SCRIPT = """
import os, signal, sys, torch
from runcast.trainer.settings.arguments import TrainingArguments
from runcast.trainer.trainer import Trainer
data = [(torch.randn(4), torch.tensor(1)) for _ in range(64)]
args = TrainingArguments(output_dir=sys.argv[1], max_steps=50, report_to="none", use_cpu=True, enable_jit_checkpoint=True, disable_tqdm=True)
def kill(args, state, control, **kwargs):
    os.kill(os.getpid(), signal.SIGTERM)
trainer = Trainer(torch.nn.Linear(4, 2), args, train_dataset=data)
trainer.add_callback("on_step_begin", kill, once=6)
trainer.train()
"""


def test_sigterm_saves_a_checkpoint_and_ends_the_process_as_terminated(tmp_path):
    """The step that was under way is in it, and the exit code is that of the signal."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        capture_output=True,
    )

    assert done.returncode == 128 + signal.SIGTERM, done.stderr.decode()
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-6"]
    assert b"resume_from_checkpoint='last'" in done.stderr
