"""What goes wrong says what happened, where, and what to do: one clear message each."""

import os

import pytest
import torch
from torch import nn

from runcast.core.errors import OptionError
from runcast.trainer.settings.arguments import TrainingArguments
from runcast.trainer.trainer import Trainer

HUGE = 2**50  # elements: more than any machine has


class Hungry(nn.Module):
    """Wants more memory than there is, in training or in evaluation."""

    def __init__(self, when):
        super().__init__()
        self.when, self.layer = when, nn.Linear(64, 10)

    def forward(self, image):
        if self.training == (self.when == "train"):
            torch.empty(HUGE)
        return self.layer(image)


class DiesAt(torch.utils.data.Dataset):
    """Ends the process that reads one of its examples."""

    def __init__(self, index):
        self.index = index

    def __len__(self):
        return 32

    def __getitem__(self, index):
        if index == self.index and torch.utils.data.get_worker_info() is not None:
            os._exit(1)
        return torch.zeros(64), 1


def test_out_of_memory_in_training_says_which_step_and_batch_and_what_to_try(make):
    """The error keeps its type, and its cause."""
    expected = (
        r"Out of memory at step 1, with a batch of \{'image': \[8, 64\], 'labels': \[8\]\}. Try a per_device_train_"
    )

    with pytest.raises(torch.OutOfMemoryError, match=expected) as caught:
        make(model=Hungry("train")).train()

    assert isinstance(caught.value.__cause__, RuntimeError)


def test_out_of_memory_in_an_evaluation_says_so(make):
    """It recommends the settings of an evaluation."""
    trainer = make(model=Hungry("eval"), eval_strategy="steps", eval_steps=2, max_steps=4)

    with pytest.raises(
        torch.OutOfMemoryError, match=r"in an evaluation or prediction at step 2\. Try a per_device_eval_"
    ):
        trainer.train()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_a_dying_worker_is_an_error_that_says_what_to_look_at(make):
    """The training does not hang."""
    trainer = make(train_dataset=DiesAt(6), dataloader_num_workers=1)  # the first one in the order of the seed

    with pytest.raises(
        RuntimeError, match=r"A process that loads data died at step \d.*dataloader_num_workers=0 loads"
    ):
        trainer.train()


def test_the_exception_that_callbacks_are_told_is_the_one_that_explains(make):
    """A tracker shows the same message as the terminal."""
    seen = []
    trainer = make(model=Hungry("train"))
    trainer.add_callback("on_exception", lambda *_, exception, **__: seen.append(str(exception)[:24]))

    with pytest.raises(torch.OutOfMemoryError):
        trainer.train()

    assert seen == ["Out of memory at step 1,"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_was_asked_for_and_is_not_there_is_an_error(make):
    """It says why torch finds none, as far as that is known."""
    with pytest.raises(
        OptionError, match=r"device='cuda' was asked for, but torch .* Leave device out to train on what"
    ):
        make(use_cpu=False, device="cuda")


def test_one_gpu_for_all_processes_is_refused(make, monkeypatch):
    """Each takes its own."""
    monkeypatch.setenv("WORLD_SIZE", "2")

    with pytest.raises(OptionError, match=r"each process takes a device of its own\. Say device='cuda'"):
        make(use_cpu=False, device="cuda:1")


def test_a_device_that_does_not_exist_is_refused_at_once():
    """The valid ones are listed."""
    with pytest.raises(OptionError, match=r"device='gpu' is unknown\. Valid values are: cpu, cuda, xpu, mps"):
        TrainingArguments(device="gpu")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"device": "cuda", "use_cpu": True}, "use_cpu=True and device='cuda' contradict each other"),
        ({"fsdp": True, "fp16": True}, "fsdp=True and fp16=True do not go together"),
        ({"fsdp_config": {"min_num_params": 1}}, "fsdp_config is given, but nothing is sharded"),
        (
            {"fsdp": True, "fsdp_config": {"strategy": 1}},
            "fsdp_config has no 'strategy'. Valid names are: transformer_",
        ),
        ({"include_num_input_tokens_seen": "some"}, "Valid values are: no, all, non_padding"),
        ({"hub_strategy": "never"}, "Valid values are: end, every_save, checkpoint"),
        ({"push_to_hub": True, "save_steps": 0.1}, "needs save_steps=0.1 as a whole number"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(given, message):
    """When they are made, not an hour later."""
    with pytest.raises(OptionError, match=message):
        TrainingArguments(**given)


def test_sharding_without_torchrun_says_how_to_start(make):
    """There is nothing to shard over."""
    with pytest.raises(OptionError, match="torchrun --nproc-per-node 2"):
        make(fsdp=True)


def test_evaluations_without_data_are_refused_before_the_training(make):
    """Not at the first of them."""
    with pytest.raises(OptionError, match="eval_strategy='epoch', but there is no eval dataset"):
        make(eval_strategy="epoch", eval_dataset=None)


def test_a_metric_that_is_never_reported_is_named_with_those_that_are(make):
    """At the first evaluation."""
    trainer = make(eval_strategy="steps", eval_steps=1, metric_for_best_model="f1", max_steps=3)

    with pytest.raises(OptionError, match=r"the evaluation has no 'eval_f1'\. It has: .*eval_loss"):
        trainer.train()


def test_an_optimizer_of_another_model_is_refused(make):
    """It would train nothing, and nobody would notice."""
    other = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)

    with pytest.raises(OptionError, match="none of the model's parameters"):
        make(optimizers=(other, None)).train()


def test_a_batch_that_is_nothing_known_is_refused(make):
    """The type is named, and what may stand for it."""
    with pytest.raises(OptionError, match=r"A batch is a str, and must be a mapping, .* data_collator"):
        make(data_collator=lambda examples: "text").train()


def test_a_token_of_the_hub_stays_out_of_what_is_written(make, tmp_path):
    """Neither the params of a run nor a checkpoint holds it."""
    make(hub_token="hf_secret", save_strategy="steps", max_steps=1, output_dir=str(tmp_path)).train()

    assert TrainingArguments(hub_token="hf_secret").to_dict()["hub_token"] == "<HUB_TOKEN>"
    assert all(b"hf_secret" not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def returned(made):
    """Make a Trainer whose compute_loss returns something else of its loss."""

    class Own(Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            loss = nn.functional.cross_entropy(model(inputs["image"]), inputs["labels"], reduction="none")
            return made(loss)

    return Own


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda loss: (loss.mean(), {}), "The loss is a tuple, but must be a tensor"),
        (lambda loss: None, "The model returned no loss"),
        (lambda loss: loss.mean().item(), "The loss is a float, but must be a tensor"),
        (lambda loss: loss, r"The loss has the shape \(8,\), but must be one number"),
        (lambda loss: loss.mean().detach(), "The loss does not require a gradient"),
    ],
)
def test_a_loss_that_cannot_be_minimised_is_refused_with_what_it_is(make, tmp_path, made, message):
    """That of an overridden compute_loss, of a criterion and of a model alike."""
    data = make.Digits(16)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = make.Net()

        def forward(self, image, labels=None):
            return {"loss": made(nn.functional.cross_entropy(self.net(image), labels, reduction="none"))}

    args = TrainingArguments(str(tmp_path), report_to="none", use_cpu=True, disable_tqdm=True)
    criterion = lambda outputs, labels: made(nn.functional.cross_entropy(outputs, labels, reduction="none"))  # noqa: E731
    trainers = [returned(made)(make.Net(), args, train_dataset=data)]
    trainers.append(Trainer(make.Net(), args, train_dataset=data, compute_loss=criterion))
    trainers.append(Trainer(Model(), args, train_dataset=data))

    for trainer in trainers:
        with pytest.raises(OptionError, match=message):
            trainer.train()
