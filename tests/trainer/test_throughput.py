"""Rates, tokens, floating-point operations and MFU are those of the work that was done."""

import time

import pytest
import torch
from torch import nn

from runcast.trainer.engine import Engine
from runcast.trainer.meter.peaks import peak_of_name
from runcast.trainer.meter.throughput import Throughput
from runcast.trainer.ranks.ranks import Ranks
from runcast.trainer.settings.arguments import TrainingArguments

CPU = torch.device("cpu")


def counter(model=None, peak=None, **settings):
    """Make a Throughput for one process on the CPU."""
    return Throughput(model or nn.Linear(4, 2), TrainingArguments(**settings), CPU, Ranks(), peak)


def tokens(examples, length, padding=0):
    """Make a batch of token numbers, of which so many in each example are padding."""
    mask = torch.ones(examples, length, dtype=torch.long)
    mask[:, length - padding :] = 0
    return {"input_ids": torch.zeros(examples, length, dtype=torch.long), "attention_mask": mask}


def test_a_training_logs_its_rates(make):
    """Samples and steps a second at each log, and of the whole at the end; the CPU has no memory of its own to report."""
    trainer = make(max_steps=4, logging_steps=2, per_device_train_batch_size=8)

    output = trainer.train()

    first = trainer.state.log_history[0]
    assert first["samples_per_second"] == pytest.approx(8 * first["steps_per_second"])
    assert output.metrics["train_samples_per_second"] == pytest.approx(8 * output.metrics["train_steps_per_second"])
    assert output.metrics["train_steps_per_second"] >= 4 / output.metrics["train_runtime"]
    assert not {"tokens_per_second", "mfu", "memory_gib"} & first.keys()


def test_tokens_are_counted_where_the_model_takes_tokens():
    """All of them, or with non_padding those that the attention mask has."""
    everything, without = counter(), counter(include_num_input_tokens_seen="non_padding")
    for one in (everything, without):
        one.count(tokens(3, 5, padding=2))
        one.count(tokens(1, 4))

    assert everything.reduce(1)["tokens"] == 19
    assert without.reduce(1)["tokens"] == 13
    assert everything.rates()["tokens_per_second"] > 0


def test_the_operations_of_a_token_model_are_six_per_parameter_and_token():
    """Embeddings, which only look up, do not count; nor does it matter what is padding."""

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.layer = nn.Embedding(11, 4), nn.Linear(4, 2, bias=False)

    one = counter(Model(), peak=1e12, include_num_input_tokens_seen="non_padding")
    one.count(tokens(3, 5, padding=2))

    assert one.reduce(1)["flops"] == 6 * 8 * 15
    assert one.rates()["mfu"] > 0


def test_the_operations_of_any_other_model_are_counted_in_its_first_batch():
    """Forward, gradient of the weights, and of the inputs where there is a layer before."""
    model = nn.Sequential(nn.Linear(4, 8, bias=False), nn.Linear(8, 2, bias=False))
    one, batch = counter(model, peak=1e12), (torch.randn(3, 4), torch.zeros(3, 2))
    one.count(batch)
    one.count(batch)

    engine = Engine(model, TrainingArguments(use_cpu=True), nn.functional.mse_loss)
    engine.must_measure = True
    for _ in range(2):
        engine.backward(engine.forward(batch)[0])

    forward = 2 * 3 * (4 * 8 + 8 * 2)
    assert one.reduce(1, engine.flops_per_example)["flops"] == 2 * (2 * forward + 2 * 3 * 8 * 2)
    assert not engine.must_measure


@pytest.mark.parametrize("settings", [{}, {"torch_compile": True, "torch_compile_backend": "aot_eager"}], ids=str)
def test_counting_operations_does_not_change_the_training(make, settings):
    """The step in which they are counted computes what it always does, also where the others are compiled."""

    def train(counts):
        trainer = make(max_steps=3, **settings)
        trainer.add_callback("on_train_begin", lambda *_, **__: setattr(trainer.engine, "must_measure", counts))
        trainer.train()
        assert bool(trainer.state.total_flos) == counts
        return trainer.model

    assert make.same_weights(train(False), train(True))


def test_without_a_known_peak_nothing_is_measured():
    """On the CPU no operation is counted, as there is nothing to compare with."""
    assert not counter().needs_flops
    assert counter(peak=1e12).needs_flops


@pytest.mark.parametrize(
    ("name", "precision", "tflops"),
    [
        ("NVIDIA H100 80GB HBM3", "half", 989.4),
        ("NVIDIA H100 PCIe", "half", 756),
        ("NVIDIA H200", "half", 989.4),
        ("NVIDIA A100-SXM4-80GB", "single", 19.5),
        ("NVIDIA A100-SXM4-80GB", "tf32", 156),
        ("NVIDIA GeForce RTX 4090", "half", 165.2),
        ("NVIDIA L40S", "half", 362),
        ("Tesla T4", "half", 65),
    ],
)
def test_the_peak_of_a_card_is_that_of_its_precision(name, precision, tflops):
    """The special name comes before the general one."""
    assert peak_of_name(name, precision) == pytest.approx(tflops * 1e12)


def test_the_peak_of_an_unknown_card_is_not_known():
    """No MFU is better than a wrong one."""
    assert peak_of_name("NVIDIA B999", "half") is None


def test_an_evaluation_does_not_slow_the_reported_rate(make):
    """Its time is no training time."""
    spent = []

    def take_time(*_, **__):
        began = time.perf_counter()
        sum(number for number in range(300_000))
        spent.append(time.perf_counter() - began)

    trainer = make(max_steps=4, logging_steps=4, eval_strategy="steps", eval_steps=2, save_strategy="no")
    trainer.add_callback("on_evaluate_begin", take_time)

    output = trainer.train()

    trained = 4 / output.metrics["train_steps_per_second"]
    assert len(spent) == 2
    assert output.metrics["train_runtime"] - trained >= sum(spent)


@pytest.mark.parametrize("value", ["all", True])
def test_tokens_seen_are_logged_and_continued_after_a_resume(make, tmp_path, value):
    """state.num_input_tokens_seen counts over all sessions; tokens a second over this one."""
    settings = {
        "output_dir": str(tmp_path),
        "include_num_input_tokens_seen": value,
        "per_device_train_batch_size": 2,
        "train_dataset": [{"input_ids": torch.arange(6), "labels": torch.tensor(1)}] * 20,
        "save_strategy": "steps",
        "logging_steps": 1,
    }

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(6, 3)

        def forward(self, input_ids):
            return self.embedding(input_ids).mean(1)

    make(model=Model(), max_steps=3, **settings).train()
    trainer = make(model=Model(), max_steps=5, **settings)
    output = trainer.train(resume_from_checkpoint=True)

    assert [entry["num_input_tokens_seen"] for entry in trainer.state.log_history if "loss" in entry] == [
        12,
        24,
        36,
        48,
        60,
    ]
    assert trainer.state.num_input_tokens_seen == 60
    assert output.metrics["train_tokens_per_second"] * 2 / 24 == pytest.approx(output.metrics["train_steps_per_second"])
