"""Scaled losses and TF32: what callbacks see, what is skipped, and what torch's two ways of setting it say then."""

import json
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

SETTINGS = {"lr_scheduler_type": "linear", "learning_rate": 0.5, "max_steps": 4, "logging_steps": 1}


class Line(nn.Module):
    """One weight; the gradient of w·x is x."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1, 1))

    def forward(self, x):
        return x @ self.weight


@pytest.fixture
def scaled(make):
    """Return a function that makes a Trainer on the CPU with a scaled loss, as fp16 has on a GPU."""

    def scaled(gradients, optimizer=None, **settings):
        model = Line()
        data = [{"x": torch.tensor([gradient]), "labels": torch.tensor(0.0)} for gradient in gradients]
        trainer = make(
            model=model,
            train_dataset=torch.utils.data.DataLoader(data, batch_size=1),
            compute_loss=lambda outputs, labels: outputs.sum(),
            optimizers=(None, None) if optimizer is None else (optimizer(model.parameters()), None),
            **SETTINGS | settings,
        )
        trainer.args.fp16 = True  # refused on the CPU when it is made
        return trainer

    return scaled


@pytest.mark.parametrize("limit", [0, 1.5])
@pytest.mark.parametrize("accumulation", [1, 2])
def test_callbacks_see_gradients_without_the_scale(scaled, limit, accumulation):
    """With and without clipping, before and after the optimizer's step; the weights are those of a plain loss."""
    seen = []
    trainer = scaled(
        [1.0, 2.0, 3.0, 4.0] * accumulation,
        max_grad_norm=limit,
        optim="sgd",
        gradient_accumulation_steps=accumulation,
        lr_scheduler_type="constant",
    )
    for event in ("on_pre_optimizer_step", "on_optimizer_step"):
        trainer.add_callback(event, lambda *_, model, **__: seen.append(round(model.weight.grad.item(), 3)))

    trainer.train()

    by_step = [1.0, 2.0, 3.0, 4.0] if accumulation == 1 else [1.5, 3.5, 1.5, 3.5]
    clipped = [min(gradient, limit) if limit else gradient for gradient in by_step]
    assert seen == pytest.approx([gradient for gradient in clipped for _ in range(2)], abs=1e-3)
    assert trainer.model.weight.item() == pytest.approx(-0.5 * sum(clipped), abs=1e-3)
    norms = [entry["grad_norm"] for entry in trainer.state.log_history if "grad_norm" in entry]
    assert norms == (pytest.approx(by_step) if limit else [])


INF = float("inf")


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda parameters: torch.optim.SGD(parameters, lr=0.5),
        lambda parameters: torch.optim.SGD(parameters, lr=0.5, fused=True),
    ],
    ids=["plain", "fused"],
)
@pytest.mark.parametrize("limit", [0, 100.0])
def test_a_step_with_infinite_gradients_is_skipped_and_counted(scaled, optimizer, limit):
    """The weights stay finite and the log says how many steps were skipped."""
    trainer = scaled(
        [1.0, INF, 1.0, 1.0], optimizer, max_grad_norm=limit, logging_steps=2, lr_scheduler_type="constant"
    )

    trainer.train()

    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert [entry["skipped_steps"] for entry in logs] == [1.0, 0.0]
    assert trainer.model.weight.item() == pytest.approx(-1.5)
    assert trainer.state.global_step == 4


def test_the_schedule_waits_for_a_skipped_step(scaled):
    """As in transformers: rates of 0.5, 0.5 (skipped), 0.375, 0.25."""
    trainer = scaled([INF, 1.0, 1.0, 1.0], lambda parameters: torch.optim.SGD(parameters, lr=0.5), max_grad_norm=0)

    trainer.train()

    rates = [entry["learning_rate"] for entry in trainer.state.log_history if "loss" in entry]
    assert rates == pytest.approx([0.5, 0.5, 0.375, 0.25])


def test_a_training_without_a_scaled_loss_counts_nothing(make):
    """The key is that of fp16 alone."""
    trainer = make(**SETTINGS)

    trainer.train()

    assert not any("skipped_steps" in entry for entry in trainer.state.log_history)


BEFORE = [
    "pass",
    "torch.backends.fp32_precision = 'tf32'",
    "torch.backends.fp32_precision = 'ieee'",
    "torch.backends.cuda.matmul.fp32_precision = 'tf32'",
    "torch.backends.cuda.matmul.fp32_precision = 'ieee'",
    "torch.backends.cudnn.fp32_precision = 'tf32'",
    "torch.backends.cudnn.fp32_precision = 'ieee'",
    "torch.backends.cudnn.conv.fp32_precision = 'ieee'",
    "torch.backends.cudnn.rnn.fp32_precision = 'tf32'",
    "torch.backends.cuda.matmul.allow_tf32 = True",
    "torch.backends.cudnn.allow_tf32 = False",
    "torch.set_float32_matmul_precision('high')",
    "torch.set_float32_matmul_precision('medium')",
    "torch.backends.mkldnn.matmul.fp32_precision = 'bf16'",
    "torch.backends.fp32_precision = 'tf32'; torch.backends.cuda.matmul.allow_tf32 = False",
    "torch.backends.cuda.matmul.allow_tf32 = True; torch.backends.cudnn.conv.fp32_precision = 'ieee'",
]
SCRIPT = """
import json, os, sys
import torch
from runcast.trainer.settings.arguments import TrainingArguments
from runcast.trainer.model.device import set_seed, uses_tf32

cuda, cudnn, answers = torch.backends.cuda.matmul, torch.backends.cudnn, []
for before in json.loads(sys.argv[1]):
    for wanted in (True, False):
        if not os.fork():  # torch keeps these settings for the process
            exec(before)
            set_seed(TrainingArguments(tf32=None))
            uses_tf32()
            set_seed(TrainingArguments(tf32=wanted))
            found = [cuda.allow_tf32, cudnn.allow_tf32, uses_tf32(), torch.get_float32_matmul_precision() == "high"]
            found += [part.fp32_precision == "tf32" for part in (cuda, cudnn.conv, cudnn.rnn)]
            assert found == [wanted] * 7, (before, wanted, found)
            os._exit(0)
        assert os.wait()[1] == 0
print("all")
"""


@pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="torch has one way of setting TF32")
def test_tf32_is_on_or_off_whatever_was_set_before_in_either_way():
    """Both of torch's ways say the same afterwards, and none raises when it is read."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(BEFORE)],
        env=os.environ | {"PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
    )

    assert done.stdout == "all\n", done.stderr
