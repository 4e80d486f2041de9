"""Whatever models return and batches hold, `evaluate` and `predict` give it back for all examples, in order."""

import collections
import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from runcast.trainer.data.arrays import concatenate, join

COUNT = 5  # examples, in batches of two: the last one has one
X = torch.arange(10.0).reshape(5, 2)
LOGITS = X.repeat(1, 2)[:, :3]


class Data(torch.utils.data.Dataset):
    """Examples with an id as label, and what else is asked for."""

    def __init__(self, count=COUNT, **more):
        self.count, self.more = count, more

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        example = {"x": X[index], "labels": torch.tensor(index % 3)}
        return example | {key: value[index] for key, value in self.more.items()}


Pair = collections.namedtuple("Pair", ["loss", "logits"])
Late = collections.namedtuple("Late", ["logits", "loss", "scale"])
Plain = collections.namedtuple("Plain", ["first", "second"])


@dataclasses.dataclass
class Output:
    """A plain dataclass."""

    logits: Any = None
    loss: Any = None
    extra: Any = None


class Cache:
    """Keys and values, as transformers keeps them: no tensor, and no collection of any."""


class Model(nn.Module):
    """Returns its logits in the form that it is told to; computes the loss."""

    def __init__(self, form):
        super().__init__()
        self.form = form
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x, labels=None):
        logits = x.repeat(1, 2)[:, :3] * self.weight
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return self.form(logits, loss)


class Silent(nn.Module):
    """Returns its logits in the form that it is told to, and knows of no labels."""

    def __init__(self, form):
        super().__init__()
        self.form = form

    def forward(self, x):
        return self.form(x.repeat(1, 2)[:, :3])


class Attributes:
    """An object of one's own."""

    def __init__(self, logits, loss):
        self.logits, self.loss = logits, loss


def modeling_output(logits, loss):
    """Return what a model of transformers returns."""
    outputs = pytest.importorskip("transformers.modeling_outputs")
    return outputs.SequenceClassifierOutput(loss=loss, logits=logits, hidden_states=None)


WHOLE = {
    "tuple": lambda logits, loss: (loss, logits),
    "list": lambda logits, loss: [loss, logits],
    "loss behind": lambda logits, loss: (logits, loss),
    "dict": lambda logits, loss: {"loss": loss, "logits": logits},
    "named tuple": lambda logits, loss: Pair(loss, logits),
    "loss in the middle": lambda logits, loss: Late(logits, loss, torch.tensor(3.0)),
    "dataclass": lambda logits, loss: Output(logits, loss),
    "object": lambda logits, loss: Attributes(logits, loss),
    "transformers": modeling_output,
    "None beside it": lambda logits, loss: {"loss": loss, "logits": logits, "attentions": None},
    "none in a tuple": lambda logits, loss: (loss, logits, None),
    "a cache": lambda logits, loss: {"loss": loss, "logits": logits, "past_key_values": Cache()},
    "a cache without logits": lambda logits, loss: {"loss": loss, "scores": logits, "past_key_values": Cache()},
    "a loss of one element": lambda logits, loss: {"loss": None if loss is None else loss[None], "logits": logits},
    "bfloat16": lambda logits, loss: {"loss": loss, "logits": logits.bfloat16()},
    "half": lambda logits, loss: {"loss": loss, "logits": logits.half()},
    "float64": lambda logits, loss: {"loss": loss, "logits": logits.double()},
    "with a gradient": lambda logits, loss: {"loss": loss, "logits": logits.detach().requires_grad_()},
}
LOSS = np.mean([-np.log(np.exp(row[i % 3]) / np.exp(row).sum()) for i, row in enumerate(LOGITS.double().numpy())])


@pytest.mark.parametrize("form", WHOLE)
@pytest.mark.parametrize("host", [None, 1, 2])
def test_the_form_of_outputs_does_not_matter(make, form, host):
    """The loss by hand, and the logits of all examples in order; the metrics get the same."""
    seen = []
    trainer = make(
        model=Model(WHOLE[form]),
        train_dataset=Data(),
        eval_dataset=Data(),
        per_device_eval_batch_size=2,
        eval_accumulation_steps=host,
        compute_metrics=lambda result: seen.append(result) or {"count": len(result.predictions)},
    )

    metrics, output = trainer.evaluate(), trainer.predict(Data())

    assert metrics["eval_loss"] == pytest.approx(LOSS, rel=1e-6)
    assert (metrics["eval_count"], output.metrics["test_count"]) == (5, 5)
    for predictions, labels in (output[:2], *seen):
        assert np.allclose(predictions, LOGITS)
        assert labels.tolist() == [0, 1, 2, 0, 1]
    assert trainer.train().global_step == 3


def predicted(make, form, data=None, **settings):
    """Predict five examples in batches of two with a model that has no loss."""
    trainer = make(model=Silent(form), **{"per_device_eval_batch_size": 2} | settings)
    return trainer.predict(data or Data())


def test_several_outputs_stay_a_tuple_or_a_dict(make):
    """Nested as they are: named tuples keep their names, numbers of a batch are one for each batch."""

    def form(logits):
        keys = (logits[:, None, :, None], logits[:, None, :, None] + 1)
        return {
            "start": logits[:, 0],
            "end": Plain(logits[:, 1], {"deep": logits}),
            "layers": [logits, logits[:, :2]],
            "temperature": torch.tensor(2.0),
            "number": 3,
            "caches": (keys, keys),
            "nothing": None,
            "object": Cache(),
        }

    start, end, layers, temperature, number, caches, other = predicted(make, form).predictions

    assert np.array_equal(start, LOGITS[:, 0])
    assert np.array_equal(end.first, LOGITS[:, 1])
    assert np.array_equal(end.second["deep"], LOGITS)
    assert [layer.shape for layer in layers] == [(5, 3), (5, 2)]
    assert (temperature.tolist(), number.tolist()) == ([2.0] * 3, [3] * 3)
    assert [[part.shape for part in layer] for layer in caches] == [[(5, 1, 3, 1)] * 2] * 2
    assert other is None


@pytest.mark.parametrize("as_list", [False, True])
def test_ragged_outputs_are_padded_with_the_ignored_label(make, as_list):
    """In each dimension, as transformers pads; the type can hold it."""

    def form(logits):
        width = int(logits[0, 0]) // 2 + 1  # 1, 3 and 5 for the three batches
        grown = logits[:, :1, None].expand(-1, width, width + 1)
        mask, small = grown > 2, grown.to(torch.uint8)
        return [grown, mask, small] if as_list else (grown, mask, small)

    grown, mask, small = predicted(make, form).predictions

    assert grown.shape == mask.shape == small.shape == (5, 5, 6)
    assert grown[0, 0].tolist() == [0.0, 0.0, -100.0, -100.0, -100.0, -100.0]
    assert mask[2, :, 0].tolist() == [1, 1, 1, -100, -100]
    assert small[4, 4].tolist() == [8] * 6
    assert small[0, 4, 5] == -100


def test_ragged_labels_are_padded_too(make):
    """Batches of token labels, each as long as its longest."""
    lengths = [2, 2, 4, 4, 3]
    labels = [torch.full((n,), n) for n in lengths]

    class Data_(Data):
        def __getitem__(self, index):
            return {"x": X[index], "labels": labels[index]}

    found = predicted(make, lambda logits: logits, Data_()).label_ids

    assert found.tolist() == [[2, 2, -100, -100]] * 2 + [[4] * 4] * 2 + [[3, 3, 3, -100]]


def test_ragged_examples_of_a_batch_come_as_a_list(make):
    """What a collator leaves unpadded, and what a detector returns: an entry for each example, of any kind."""

    def collate(examples):
        return {
            "x": torch.stack([example["x"] for example in examples]),
            "labels": [torch.arange(int(example["labels"]) + 1) for example in examples],
            "name": [f"example {int(example['x'][0])}" for example in examples],
        }

    def form(logits):
        return {
            "boxes": [{"box": row[: int(row[0]) // 4 + 1]} for row in logits],
            "text": [str(row[0]) for row in logits],
        }

    output = predicted(make, form, data_collator=collate)
    boxes, texts = output.predictions

    assert [box["box"].tolist() for box in boxes][::2] == [[0.0], [4.0, 5.0], [8.0, 9.0, 8.0]]
    assert texts.tolist() == [f"tensor({n}.)" for n in (0, 2, 4, 6, 8)]
    assert [label.tolist() for label in output.label_ids] == [[0], [0, 1], [0, 1, 2], [0], [0, 1]]
    assert output.metrics["test_samples_per_second"] > 0


def test_labels_may_be_a_dict_or_have_several_names(make):
    """Both come back in their structure; a criterion of one's own gets the same."""

    class Two(Data):
        def __getitem__(self, index):
            return {"x": X[index], "start": torch.tensor(index), "end": torch.tensor([index, 1])}

    class Nested(Data):
        def __getitem__(self, index):
            return {"x": X[index], "labels": {"id": index, "mask": torch.ones(2), "text": "a"}}

    def loss(outputs, labels):
        first = labels["id"] if isinstance(labels, dict) else labels[0]
        return (outputs[:, 0] - first).mean()

    form = Silent(lambda logits: logits)
    two = make(model=form, compute_loss=loss, label_names=["start", "end"], per_device_eval_batch_size=2).predict(Two())
    nested = make(model=form, compute_loss=loss, per_device_eval_batch_size=2).predict(Nested())

    assert [part.tolist() for part in two.label_ids] == [[0, 1, 2, 3, 4], [[n, 1] for n in range(5)]]
    assert nested.label_ids["id"].tolist() == [0, 1, 2, 3, 4]
    assert nested.label_ids["mask"].shape == (5, 2)
    assert nested.label_ids["text"].tolist() == ["a"] * 5
    assert two.metrics["test_loss"] == nested.metrics["test_loss"] == pytest.approx(2.0)  # of 2n - n, for n up to 4


@pytest.mark.parametrize(
    "first", ["text", 1.5, None, {"a": torch.zeros(5, 2)}, ["a"] * 5, (torch.zeros(5, 2), torch.zeros(5))], ids=str
)
def test_what_comes_first_in_a_batch_does_not_matter(make, first):
    """Texts, numbers, nothing or a structure before the tensors: the examples are counted right."""

    def collate(examples):
        whole = {key: torch.stack([example[key] for example in examples]) for key in ("x", "labels")}
        return {"first": first, **whole}

    output = predicted(make, lambda logits: logits, data_collator=collate, per_device_eval_batch_size=5)

    assert np.array_equal(output.predictions, LOGITS)
    assert output.metrics["test_loss"] == pytest.approx(LOSS, rel=1e-6)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_examples_and_squeezed_outputs(make, count):
    """A model that squeezes its output away where a batch has one example."""
    output = predicted(make, lambda logits: logits[:, :1].squeeze(), Data(count))
    matrix = predicted(make, lambda logits: logits.squeeze(), Data(count))

    assert output.predictions.tolist() == LOGITS[:count, 0].tolist()
    assert matrix.predictions.tolist() == (LOGITS[:count].tolist() if count > 1 else LOGITS[0].tolist())


def test_without_labels_there_are_no_metrics(make):
    """compute_metrics is not asked about labels that are not there."""

    class Unlabelled(Data):
        def __getitem__(self, index):
            return {"x": X[index]}

    output = predicted(make, lambda logits: logits, Unlabelled(), compute_metrics=lambda result: {"n": len(result[1])})

    assert np.array_equal(output.predictions, LOGITS)
    assert output.label_ids is None
    assert not {"test_loss", "test_n"} & output.metrics.keys()


def test_a_model_that_returns_only_its_loss_is_evaluated(make):
    """Nothing is predicted, and metrics of predictions are not asked for."""
    trainer = make(
        model=Model(lambda logits, loss: loss),
        eval_dataset=Data(),
        per_device_eval_batch_size=2,
        compute_metrics=lambda result: {"n": len(result.predictions)},
    )

    metrics = trainer.evaluate()
    assert metrics["eval_loss"] == pytest.approx(LOSS, rel=1e-6)
    assert "eval_n" not in metrics
    assert trainer.predict(Data()).predictions is None


@pytest.mark.parametrize(
    "tensor",
    [
        torch.eye(3).to_sparse(),
        torch.eye(3).to(torch.float8_e4m3fn),
        torch.eye(3, dtype=torch.complex64).conj(),
        torch.eye(3).bool(),
        torch.eye(3).t().neg(),
    ],
    ids=lambda tensor: f"{tensor.dtype} {tensor.layout}",
)
def test_every_kind_of_tensor_becomes_an_array(tensor):
    """Sparse ones, short floats, and those that are conjugated or negated when they are read."""
    whole = concatenate([tensor, tensor], [3, 3])

    assert np.array_equal(np.abs(whole), np.concatenate([np.eye(3)] * 2))


@pytest.mark.filterwarnings("ignore:.*nested tensors")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_nested_tensors_are_padded(layout):
    """The examples of a nested tensor have lengths of their own."""
    nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=layout)

    assert concatenate([nested, torch.ones(1, 4)], [2, 1]).tolist() == [[1, 1, -100, -100], [1, 1, 1, -100], [1] * 4]


@pytest.mark.parametrize("in_turn", [False, True])
def test_the_parts_of_ranks_are_joined_in_order(in_turn):
    """Also where one has nothing, where widths differ, and of structures and texts."""
    texts = np.array(list("abcde"))
    numbers = np.arange(5)
    take = (lambda rank: slice(rank, None, 3)) if in_turn else lambda rank: slice(2 * rank, 2 * rank + 2)
    parts = [
        {"n": numbers[take(rank)], "t": (texts[take(rank)], np.ones((len(numbers[take(rank)]), rank + 1)), None)}
        for rank in range(3)
    ]

    whole = join(parts, in_turn=in_turn)

    assert whole["n"].tolist() == [0, 1, 2, 3, 4]
    assert whole["t"][0].tolist() == list("abcde")
    assert whole["t"][1].shape == (5, 3)
    assert whole["t"][2] is None
    assert join([None, numbers[:1], None], in_turn=in_turn).tolist() == [0]
    assert join([None, None], in_turn=in_turn) is None
