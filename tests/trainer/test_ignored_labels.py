"""Labels that are ignored weigh nothing, also where all of a batch, or of a step, are."""

import math

import pytest
import torch
from torch import nn

from tests.trainer.language_model import OUT, loss_by_hand, sequences, tiny_language_model

LN_4 = 1.3862943611198906


class Tokens(nn.Module):
    """Gives each of four tokens a probability by its input: a half for the token that the input names, if it is 1 to 3."""

    def __init__(self):
        super().__init__()
        self.scores = nn.Embedding(4, 4)
        with torch.no_grad():
            self.scores.weight.zero_()
            self.scores.weight[1, 0] = math.log(3)  # 3/6, 1/6, 1/6, 1/6

    def forward(self, tokens, labels=None):
        logits = self.scores(tokens)
        loss = None if labels is None else nn.functional.cross_entropy(logits.flatten(0, -2), labels.flatten())
        return {"loss": loss, "logits": logits}


def example(tokens, labels):
    """Make an example of lists, or of numbers."""
    return {"tokens": torch.tensor(tokens), "labels": torch.tensor(labels)}


MASKED = example([0, 0], [OUT, OUT])
EVEN = example([0, 0], [1, OUT])  # ln 4 for one token
HALF = example([1, 1], [0, 0])  # ln 2 for each of two


def logged(trainer, key="loss"):
    """List what was logged."""
    return [entry[key] for entry in trainer.state.log_history if key in entry]


class InOrder:
    """A stream, so that nothing is shuffled."""

    def __init__(self, examples):
        self.examples = examples

    def __iter__(self):
        return iter(self.examples)


def train(make, examples, accumulation=1, logging_steps=1, **settings):
    """Train on the examples, one a batch, in order; the weights stay as they are."""
    settings = {"learning_rate": 1e-30, "optim": "sgd", "model": Tokens(), "per_device_eval_batch_size": 1} | settings
    trainer = make(
        train_dataset=InOrder(examples),
        max_steps=math.ceil(len(examples) / accumulation),
        per_device_train_batch_size=1,
        gradient_accumulation_steps=accumulation,
        logging_steps=logging_steps,
        **settings,
    )
    trainer.train()
    return trainer


@pytest.mark.parametrize("order", [[MASKED, EVEN, HALF], [EVEN, MASKED, HALF], [EVEN, HALF, MASKED]])
def test_a_masked_batch_of_a_step_weighs_nothing(make, order):
    """The loss is the mean over the three tokens that count: (ln 4 + 2 ln 2) / 3 = 0.924196."""
    trainer = train(make, order, accumulation=3)

    assert logged(trainer) == pytest.approx([0.9241962407465937])
    assert logged(trainer, "train_loss") == pytest.approx([0.9241962407465937])
    # by hand: of the token of ln 4, (1/4, -3/4, 1/4, 1/4) / 3; of the two of ln 2, (-1/2, 1/6, 1/6, 1/6) * 2/3
    by_hand = math.sqrt((3 * (1 / 12) ** 2 + (1 / 4) ** 2) + ((1 / 3) ** 2 + 3 * (1 / 9) ** 2))
    assert logged(trainer, "grad_norm") == pytest.approx([by_hand])


def test_a_masked_step_has_no_loss_and_does_not_spoil_the_others(make):
    """The loss of two steps, of which one has none, is that of the other; where no step has any, none is logged."""
    trainer = train(make, [EVEN, MASKED, MASKED, MASKED, HALF, HALF], logging_steps=2)

    assert logged(trainer) == pytest.approx([LN_4, LN_4 / 2])
    assert [entry["step"] for entry in trainer.state.log_history if "learning_rate" in entry] == [2, 4, 6]
    assert logged(trainer, "train_loss") == pytest.approx([2 * LN_4 / 3])
    assert logged(trainer, "grad_norm")[1] == 0


@pytest.mark.parametrize("optimizer", ["sgd", "adamw_torch_fused"])
def test_steps_without_a_label_leave_finite_weights(make, optimizer):
    """All batches of a step, in every step."""
    trainer = train(make, [MASKED] * 4, accumulation=2, learning_rate=0.1, optim=optimizer)

    assert torch.equal(trainer.model.scores.weight, Tokens().scores.weight)
    assert logged(trainer) == []
    assert logged(trainer, "train_loss") == [0.0]


def test_labels_of_whole_examples_are_ignored_too(make):
    """With one label for each example, as in classification: ln 4 and ln 2, of three examples."""
    numbers = [example(0, OUT), example(0, 1), example(1, 0), example(1, 0)]
    trainer = train(make, numbers, accumulation=4)

    assert logged(trainer) == pytest.approx([0.9241962407465937])


def test_a_loss_that_is_nan_for_another_reason_stays_nan(make):
    """It is not hidden."""

    class Broken(Tokens):
        def forward(self, tokens, labels=None):
            return {"loss": super().forward(tokens, labels)["loss"] * float("nan")}

    trainer = make(model=Broken(), train_dataset=[EVEN] * 2, max_steps=1, logging_steps=1)
    trainer.train()

    assert math.isnan(logged(trainer)[0])


@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_an_evaluation_leaves_masked_batches_out(make, batch_size):
    """The mean over the tokens that count, however they are batched."""
    data = [MASKED, EVEN, MASKED, MASKED, HALF, MASKED]
    trainer = make(model=Tokens(), train_dataset=data, eval_dataset=data, per_device_eval_batch_size=batch_size)

    assert trainer.evaluate()["eval_loss"] == pytest.approx(0.9241962407465937)
    assert "eval_loss" not in trainer.evaluate([MASKED, MASKED])


def test_a_resumed_training_remembers_the_steps_without_a_loss(make, tmp_path):
    """Saved between two logs."""
    settings = {"logging_steps": 4, "output_dir": str(tmp_path), "save_strategy": "steps", "save_steps": 2}
    whole = train(make, [EVEN, MASKED, HALF, MASKED], **settings)

    trainer = make(
        model=Tokens(),
        train_dataset=InOrder([EVEN, MASKED, HALF, MASKED]),
        max_steps=4,
        per_device_train_batch_size=1,
        learning_rate=1e-30,
        optim="sgd",
        **settings,
    )
    trainer.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))

    assert logged(trainer) == logged(whole) == pytest.approx([0.75 * LN_4])
    assert logged(trainer, "train_loss") == logged(whole, "train_loss")


# A language model of transformers, which predicts the next token: the first label of an example never counts


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("accumulation", [2, 4])
@pytest.mark.parametrize(
    "masked",
    [{"batches": {0}}, {"batches": {1}}, {"steps": {0}}, {"steps": {1}}, {"steps": {2}}, {"steps": {0, 1, 2}}],
    ids=["first of a step", "second of a step", "first step", "middle step", "last step", "all steps"],
)
def test_a_language_model_loses_what_its_tokens_lose(make, masked, accumulation, bf16):
    """The mean over all tokens of a step, computed with NumPy; of 32 tokens, a model that knows nothing loses ln 32."""
    model, examples = tiny_language_model(), sequences(3 * accumulation)
    for place, one in enumerate(examples):
        if place % accumulation in masked.get("batches", ()) or place // accumulation in masked.get("steps", ()):
            one["labels"][:] = OUT
            one["labels"][0] = 1  # of the token before the first, which nothing predicts
    expected = [loss_by_hand(model, examples[at : at + accumulation]) for at in range(0, len(examples), accumulation)]
    trainer = train(make, examples, accumulation, model=model, bf16=bf16, eval_dataset=examples)

    found = {entry["step"]: entry.get("loss") for entry in trainer.state.log_history if "learning_rate" in entry}
    evaluated = trainer.evaluate()

    tolerance = {"abs": 0.01 if bf16 else 1e-5}
    assert [found[step] for step in (1, 2, 3)] == [
        None if value is None else pytest.approx(value, **tolerance) for value in expected
    ]
    assert all(value is None or abs(value - math.log(32)) < 0.1 for value in expected)
    whole = loss_by_hand(model, examples)
    assert evaluated.get("eval_loss") == (None if whole is None else pytest.approx(whole, **tolerance))
    assert all(bool(weight.isfinite().all()) for weight in model.parameters())


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("masked_at", [0, 1, 2])
def test_a_criterion_that_is_nan_for_a_masked_batch_spoils_nothing(make, masked_at, bf16):
    """Torch's own, given to the Trainer or called in the model: (ln 4 + 2 ln 2) / 3."""
    examples = [EVEN, HALF]
    examples.insert(masked_at, MASKED)
    criterion = nn.CrossEntropyLoss(ignore_index=OUT)
    assert math.isnan(criterion(torch.zeros(2, 4), torch.tensor([OUT, OUT])))

    def compute_loss(outputs, labels):
        return criterion(outputs.flatten(0, -2), labels.flatten())

    class Scores(Tokens):
        def forward(self, tokens):
            return self.scores(tokens)

    given = train(make, examples, 3, model=Scores(), compute_loss=compute_loss, bf16=bf16, eval_dataset=examples)

    assert logged(given) == pytest.approx([0.9241962407465937], abs=0.01 if bf16 else 1e-6)
    assert given.evaluate()["eval_loss"] == pytest.approx(0.9241962407465937, abs=0.01 if bf16 else 1e-6)
