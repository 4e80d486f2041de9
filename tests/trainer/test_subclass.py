"""A subclass written for transformers is heard by our Trainer: the same methods, called at the same places."""

import pytest
import torch
from torch import nn

import runcast
from runcast.core.errors import OptionError
from runcast.trainer.trainer import Trainer
from tests.adapters.tiny_transformers import TinyConfig, TinyModel, transformers

HEARD = (
    *("compute_loss", "training_step", "prediction_step", "evaluation_loop", "get_train_dataloader", "save_model"),
    *("get_eval_dataloader", "get_test_dataloader", "create_optimizer", "create_scheduler", "log", "evaluate"),
    *("predict", "compute_loss_context_manager", "_prepare_inputs"),
)


class Line(nn.Module):
    """w·x, from w = 0, with the squared error as its loss."""

    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))

    def forward(self, x, labels=None):
        logits = self.w * x
        return {"loss": None if labels is None else ((logits - labels) ** 2).mean(), "logits": logits}


DATA = [{"x": torch.tensor([1.0]), "labels": torch.tensor([2.0])} for _ in range(8)]
SETTINGS = {"max_steps": 2, "per_device_train_batch_size": 4, "learning_rate": 0.1, "optim": "sgd", "use_cpu": True}
SETTINGS |= {"lr_scheduler_type": "constant", "max_grad_norm": 0.0, "logging_steps": 1, "report_to": "none"}
SETTINGS |= {"disable_tqdm": True, "save_strategy": "no"}


def make(kind, folder, **settings):
    """Make a Trainer of either library, of a class made of *kind*."""
    library = transformers if issubclass(kind, transformers.Trainer) else runcast
    args = library.TrainingArguments(str(folder), **SETTINGS | settings)
    return kind(Line(), args, train_dataset=DATA, eval_dataset=DATA[:5])


def tracing(base):
    """Derive a class that notes which of its methods are called, and passes every call on."""
    calls = []

    def passing(name):
        def method(self, *arguments, **options):
            calls.append(name)
            return getattr(super(kind, self), name)(*arguments, **options)

        return method

    kind = type("Tracing", (base,), {name: passing(name) for name in HEARD})
    return kind, calls


@pytest.mark.filterwarnings("ignore")
def test_both_trainers_call_the_same_methods_in_the_same_order(tmp_path):
    """While training, evaluating, saving and predicting; the events too are the same, and so are the losses."""
    traces, losses = [], []
    for base in (transformers.Trainer, Trainer):
        kind, calls = tracing(base)
        settings = {"eval_strategy": "steps", "eval_steps": 1, "save_strategy": "steps", "save_steps": 1}
        trainer = make(kind, tmp_path / base.__module__, gradient_accumulation_steps=2, **settings)
        trainer.train()
        trainer.predict(DATA)
        traces.append(calls)
        losses.append([e.get("loss", e.get("eval_loss")) for e in trainer.state.log_history if "train_loss" not in e])

    assert traces[1] == traces[0]
    assert set(traces[1]) == set(HEARD)
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)


def test_a_loss_of_its_own_is_trained_and_evaluated(tmp_path):
    """W moves by 0.1·10·2·(2 − w): from 0 to 4 to 0; three of four labels of an evaluation are popped without harm."""

    class Mine(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            labels = inputs.pop("labels")
            outputs = model(**inputs)
            loss = 10 * ((outputs["logits"] - labels) ** 2).mean()
            return (loss, outputs) if return_outputs else loss

    trainer = make(Mine, tmp_path)
    trainer.train()

    assert [entry["loss"] for entry in trainer.state.log_history[:2]] == [40.0, 40.0]
    assert trainer.model.w.item() == pytest.approx(0.0, abs=1e-6)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(40.0)
    assert trainer.predict(DATA).predictions.shape == (8, 1)


@pytest.mark.parametrize("settings", [{}, {"gradient_accumulation_steps": 4, "per_device_train_batch_size": 1}])
def test_a_loss_of_its_own_is_a_part_of_the_step(tmp_path, settings):
    """Four batches of one example move w as one batch of four does: by 0.1·2·(2 − w), to 0.4."""

    class Mine(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False):
            outputs = model(inputs["x"])
            loss = nn.functional.mse_loss(outputs["logits"], inputs["labels"])
            return (loss, outputs) if return_outputs else loss

    trainer = make(Mine, tmp_path, **{**settings, "max_steps": 1})
    trainer.train()

    assert trainer.model.w.item() == pytest.approx(0.4)


def test_a_step_of_its_own_uses_the_accelerator_of_the_trainer(tmp_path):
    """As subclasses of transformers write it: prepare the inputs, compute, `self.accelerator.backward`."""

    class Mine(Trainer):
        def training_step(self, model, inputs, num_items_in_batch=None):
            model.train()
            inputs = self._prepare_inputs(inputs)
            with self.compute_loss_context_manager():
                loss = self.compute_loss(model, inputs)
            loss = loss / self.accelerator.num_processes
            self.accelerator.backward(loss)
            assert self.accelerator.unwrap_model(model) is self.model
            return loss.detach()

    trainer = make(Mine, tmp_path)
    trainer.train()

    assert [entry["loss"] for entry in trainer.state.log_history[:2]] == pytest.approx([4.0, 2.56])
    with pytest.raises(AttributeError, match=r"accelerator\.save_state no counterpart"):
        trainer.accelerator.save_state("folder")


def test_an_optimizer_and_a_schedule_of_its_own_are_used(tmp_path):
    """create_optimizer and create_scheduler may set the attribute, or only return."""

    class Mine(Trainer):
        def create_optimizer(self, model=None):
            self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.2)
            return self.optimizer

        def create_scheduler(self, num_training_steps, optimizer=None):
            return torch.optim.lr_scheduler.LambdaLR(
                optimizer, lambda step: 1.0 if step < num_training_steps / 2 else 0
            )

    trainer = make(Mine, tmp_path)
    trainer.train()

    assert [entry["learning_rate"] for entry in trainer.state.log_history[:2]] == [0.2, 0.0]
    assert trainer.model.w.item() == pytest.approx(0.8)
    assert trainer.optimizer.param_groups[0]["lr"] == 0.0


def test_the_optimizer_stays_after_a_training_and_the_next_one_begins_anew(tmp_path):
    """`trainer.optimizer` and `trainer.lr_scheduler` are those of the last training; a given one is used again."""
    trainer = make(Trainer, tmp_path, lr_scheduler_type="linear")
    trainer.train()
    first = trainer.optimizer
    trainer.train()

    assert first.param_groups[0]["lr"] == 0.0
    assert trainer.optimizer is not first
    assert trainer.lr_scheduler.optimizer is trainer.optimizer
    assert trainer.state.log_history[0]["learning_rate"] == 0.1


def test_loaders_of_its_own_are_used_unchanged(tmp_path):
    """A DataLoader, or anything that yields batches."""
    loader = torch.utils.data.DataLoader(DATA, batch_size=2)

    class Mine(Trainer):
        def get_train_dataloader(self):
            return [next(iter(loader))] * 3

        def get_eval_dataloader(self, eval_dataset=None):
            return loader

    trainer = make(Mine, tmp_path, max_steps=-1, num_train_epochs=2)
    trainer.train()

    assert trainer.state.global_step == 6
    assert trainer.evaluate()["eval_steps_per_second"] > 0
    assert trainer.callback_handler.context["eval_dataloader"] is loader


def test_an_evaluation_loop_of_its_own_is_logged(tmp_path):
    """Its metrics are those that are logged, with the time that it took."""

    class Mine(Trainer):
        def evaluation_loop(
            self, dataloader, description, prediction_loss_only=None, ignore_keys=None, metric_key_prefix="eval"
        ):
            output = super().evaluation_loop(
                dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix
            )
            return output._replace(metrics={f"{metric_key_prefix}_mine": output.num_samples})

    metrics = make(Mine, tmp_path).evaluate()

    assert metrics["eval_mine"] == 5
    assert {"eval_runtime", "eval_samples_per_second", "epoch"} <= set(metrics)


def test_a_checkpoint_has_what_save_model_writes_and_can_be_resumed(tmp_path):
    """It is called for each checkpoint, as by transformers; what it leaves out is written beside it."""
    seen = []

    class Mine(Trainer):
        def save_model(self, output_dir=None, _internal_call=False):
            seen.append(_internal_call)
            (runcast.trainer.trainer.Path(output_dir) / "mine.txt").write_text("mine")

    trainer = make(Mine, tmp_path, save_strategy="steps", save_steps=1)
    trainer.train()
    again = make(Mine, tmp_path, max_steps=3)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))

    assert seen == [True, True]
    assert (tmp_path / "checkpoint-1" / "mine.txt").is_file()
    assert again.model.w.item() == pytest.approx(2 - 2 * 0.8**3)


def test_outputs_that_are_ignored_are_no_predictions(tmp_path):
    """Without ignore_keys they are the logits; with it, all but the loss and what it names."""
    trainer = make(Trainer, tmp_path)
    trainer.model.forward = lambda x, labels=None: {"logits": x, "hidden": x + 1}

    assert trainer.predict(DATA).predictions.shape == (8, 1)
    assert len(trainer.predict(DATA, ignore_keys=[]).predictions) == 2
    assert trainer.predict(DATA, ["logits"]).predictions.tolist() == [[2.0]] * 8


def test_a_method_set_on_a_trainer_is_heard(tmp_path):
    """Between two trainings, too; taken away again, the Engine computes by itself."""
    trainer = make(Trainer, tmp_path)
    plain = trainer.engine
    trainer.compute_loss = lambda model, inputs, return_outputs=False: 0 * model(**inputs)["loss"]
    trainer.train()
    assert trainer.model.w.item() == 0.0

    del trainer.compute_loss
    trainer.train()

    assert trainer.model.w.item() == pytest.approx(0.72)
    assert trainer.engine is plain


def test_a_step_that_returns_no_loss_is_refused(tmp_path):
    """With the name of the method."""

    class Mine(Trainer):
        def training_step(self, model, inputs):
            return None

    with pytest.raises(OptionError, match="training_step returned None"):
        make(Mine, tmp_path).train()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("share", [0.0, 0.2])
def test_a_copy_of_the_loss_of_transformers_finds_what_it_looks_at(tmp_path, share):
    """Many scripts have one: it asks for the label smoother, and divides by the batches of the step."""

    def classify(kind):
        class Copied(kind):
            def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
                labels = inputs.pop("labels") if self.label_smoother is not None and "labels" in inputs else None
                outputs = model(**inputs)
                loss = outputs["loss"] if labels is None else self.label_smoother(outputs, labels)
                return (loss, outputs) if return_outputs else loss

            def training_step(self, model, inputs, num_items_in_batch=None):
                loss = self.compute_loss(model, self._prepare_inputs(inputs))
                loss = loss / self.current_gradient_accumulation_steps
                assert self.accelerator.distributed_type != "DEEPSPEED"
                assert not self.can_return_loss
                self.accelerator.backward(loss)
                return loss.detach()

        library = transformers if issubclass(kind, transformers.Trainer) else runcast
        settings = SETTINGS | {"label_smoothing_factor": share, "gradient_accumulation_steps": 2}
        args = library.TrainingArguments(str(tmp_path / library.__name__), **settings)
        data = [{"x": torch.full((4,), n / 12), "labels": n % 2} for n in range(12)]
        trainer = Copied(TinyModel(TinyConfig()), args, train_dataset=data, eval_dataset=data)
        trainer.train()
        return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]

    assert classify(Trainer) == pytest.approx(classify(transformers.Trainer), rel=1e-6)


@pytest.mark.parametrize("shape", [(), (1,), (4,)])
def test_a_prediction_step_may_return_the_losses_of_its_examples(tmp_path, shape):
    """Their mean is that of the batch."""

    class Mine(Trainer):
        def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
            return torch.full(shape, 3.0), None, None

    assert make(Mine, tmp_path).evaluate()["eval_loss"] == 3.0
