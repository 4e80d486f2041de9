"""Labels under the names that scripts of transformers use."""

import numpy as np
import pytest
import torch
from torch import nn

import runcast
from runcast.trainer.data.collate import collate_examples
from runcast.trainer.trainer import Trainer
from tests.adapters.tiny_transformers import transformers

SETTINGS = {"max_steps": 2, "per_device_train_batch_size": 2, "report_to": "none", "disable_tqdm": True}
SETTINGS |= {"use_cpu": True, "save_strategy": "no", "logging_steps": 1}


class TwoHeads(nn.Module):
    """Two classifications of an input, each with labels of its own."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3, 4)

    def forward(self, x, slot_labels=None, intent_labels=None):
        slots, intents = self.linear(x).chunk(2, dim=1)
        loss = nn.functional.cross_entropy(slots, slot_labels) + nn.functional.cross_entropy(intents, intent_labels)
        return {"loss": loss, "slots": slots, "intents": intents}


class Conditional(nn.Module):
    """Logits of an input, given a class of it, which is no label."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x, class_labels):
        return self.linear(x) + class_labels[:, None]


def rows(**labels):
    """Make eight examples."""
    return [{"x": np.full(3, 0.1 * n, dtype=np.float32), **{k: v(n) for k, v in labels.items()}} for n in range(8)]


def losses(library, model, data, folder):
    """Train with a library and return the logged losses."""

    class Mine(library.Trainer):
        def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
            labels = inputs.pop("labels")
            outputs = model(**inputs)
            loss = nn.functional.cross_entropy(outputs, labels)
            return (loss, {"logits": outputs}) if return_outputs else loss

    args = library.TrainingArguments(str(folder / library.__name__), **SETTINGS)
    trainer = Mine(model(), args, train_dataset=data, eval_dataset=data)
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


class Plain(nn.Module):
    """Takes no labels: a subclass computes the loss."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3, 2)

    def forward(self, x):
        return self.linear(x)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["label", "label_ids", "labels"])
def test_a_loss_of_its_own_takes_a_column_called_label_as_labels(tmp_path, name):
    """Datasets have `label`, and every such script pops `labels`: the collators of transformers rename it."""
    expected = losses(transformers, Plain, rows(label=lambda n: n % 2), tmp_path)

    found = losses(runcast, Plain, rows(**{name: lambda n: n % 2}), tmp_path)

    assert found == pytest.approx(expected, rel=1e-6)


def test_a_model_that_takes_label_still_gets_it(tmp_path):
    """Also where it asks for nothing else."""

    class Own(Plain):
        def forward(self, x, label):
            return {"loss": nn.functional.cross_entropy(self.linear(x), label)}

    data = rows(label=lambda n: n % 2)
    trainer = Trainer(Own(), runcast.TrainingArguments(str(tmp_path), **SETTINGS), train_dataset=data)

    assert set(next(iter(trainer.get_train_dataloader()))) == {"x", "label"}
    assert trainer.train().global_step == 2


@pytest.mark.filterwarnings("ignore")
def test_labels_of_any_name_that_the_model_takes_reach_the_metrics(tmp_path):
    """As a tuple, in the order of `forward`, where no label_names say otherwise."""
    data, found = rows(intent_labels=lambda n: n // 4, slot_labels=lambda n: n % 2), []
    for library in (transformers, runcast):
        args = library.TrainingArguments(str(tmp_path / library.__name__), **SETTINGS)
        trainer = library.Trainer(
            TwoHeads(), args, eval_dataset=data, compute_metrics=lambda p: {"n": len(p.label_ids)}
        )
        predicted = trainer.predict(data)
        found.append(
            (trainer.label_names, trainer.evaluate()["eval_n"], [part.tolist() for part in predicted.label_ids])
        )

    assert found[1] == found[0]
    assert found[1] == (["slot_labels", "intent_labels"], 2, [[0, 1] * 4, [0] * 4 + [1] * 4])


@pytest.mark.filterwarnings("ignore")
def test_the_answers_of_question_answering_are_labels(tmp_path):
    """Start and end."""
    config = transformers.BertConfig(
        vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=1, intermediate_size=8
    )
    data = [{"input_ids": [1, 2, 3], "start_positions": n % 2, "end_positions": 2} for n in range(4)]
    args = runcast.TrainingArguments(str(tmp_path), **SETTINGS)
    trainer = Trainer(transformers.BertForQuestionAnswering(config), args)

    predicted = trainer.predict(data)

    assert [part.tolist() for part in predicted.label_ids] == [[0, 1, 0, 1], [2, 2, 2, 2]]
    assert [part.shape for part in predicted.predictions] == [(4, 3), (4, 3)]
    assert predicted.metrics["test_loss"] > 0


def test_an_input_called_like_a_label_is_an_input_where_there_are_others(tmp_path):
    """The class of a conditional model is given; what it does not take is to be predicted."""
    data = rows(class_labels=float, labels=lambda n: n % 2)
    trainer = Trainer(Conditional(), runcast.TrainingArguments(str(tmp_path), **SETTINGS), train_dataset=data)

    trainer.train()

    assert trainer.predict(data).label_ids.tolist() == [0, 1] * 4


def test_python_numbers_become_numbers_of_the_precision_of_weights():
    """Float64 cannot be multiplied with a weight, and MPS has none."""
    batch = collate_examples([{"x": 0.5, "y": np.float64(2.0), "n": 1}, {"x": 1.5, "y": np.float64(3.0), "n": 2}])
    pair = collate_examples([(0.5, 1), (1.5, 2)])

    assert {name: value.dtype for name, value in batch.items()} == {
        "x": torch.float32,
        "y": torch.float32,
        "n": torch.int64,
    }
    assert [part.tolist() for part in pair] == [[0.5, 1.5], [1, 2]]
    assert pair[0].dtype is torch.float32


def test_examples_of_a_plain_class_are_their_attributes(tmp_path):
    """Older scripts make their features so."""

    class Features:
        def __init__(self, x, label):
            self.x, self.label = x, label

    data = [Features(row["x"], n % 2) for n, row in enumerate(rows())]
    trainer = Trainer(Plain(), runcast.TrainingArguments(str(tmp_path), **SETTINGS), train_dataset=data)

    assert set(next(iter(trainer.get_train_dataloader()))) == {"x", "labels"}
    assert trainer.train().global_step == 2


def test_pictures_stay_what_they_are():
    """They have attributes, too."""
    image = pytest.importorskip("PIL.Image").new("RGB", (2, 2))

    assert collate_examples([image, image]) == [image, image]
