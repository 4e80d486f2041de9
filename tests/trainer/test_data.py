"""Every kind of data trains: map-style or a stream, of dicts, tuples, dataclasses or tensors, or a ready DataLoader."""

import dataclasses

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from runcast.core.errors import OptionError
from runcast.core.events import TrainerCallback
from runcast.trainer.data.collate import collate_examples
from runcast.trainer.data.loader import RankStream
from runcast.trainer.ranks.ranks import Ranks


@dataclasses.dataclass
class Digit:
    """One example."""

    image: torch.Tensor
    labels: int


class Stream(IterableDataset):
    """Yields examples, knows its position, and counts what it reads."""

    def __init__(self, examples):
        self.examples, self.position, self.reads = examples, 0, 0

    def __iter__(self):
        while self.position < len(self.examples):
            self.position += 1
            self.reads += 1
            yield self.examples[self.position - 1]
        self.position = 0

    def state_dict(self):
        return {"position": self.position}

    def load_state_dict(self, state):
        self.position = state["position"]


def kinds(digits):
    """Return the same digits in every form."""
    dicts = [digits[index] for index in range(len(digits))]
    return {
        "dicts": dicts,
        "tuples": [(d["image"], d["labels"]) for d in dicts],
        "dataclasses": [Digit(d["image"], int(d["labels"])) for d in dicts],
        "a dataset": digits,
        "a stream": Stream(dicts),
        "an iterable": Again(dicts),
        "a DataLoader": DataLoader(digits, batch_size=8),
    }


class Again:
    """Can be iterated as often as one likes, and nothing else."""

    def __init__(self, examples):
        self.examples = examples

    def __iter__(self):
        return iter(self.examples)


@pytest.mark.parametrize(
    "kind", ["dicts", "tuples", "dataclasses", "a dataset", "a stream", "an iterable", "a DataLoader"]
)
def test_every_kind_of_data_trains_evaluates_and_predicts(make, kind):
    """The same loss and as many predictions, whatever the form."""
    digits = make.Digits(16)
    trainer = make(
        model=nn.Sequential(nn.Linear(64, 10)) if kind == "tuples" else make.Net(),
        train_dataset=kinds(digits)[kind],
        eval_dataset=kinds(digits)[kind],
        max_steps=3,
        per_device_train_batch_size=8,
    )

    assert trainer.train().global_step == 3
    assert trainer.evaluate()["eval_loss"] > 0
    assert trainer.predict(kinds(digits)[kind]).predictions.shape == (16, 10)


def test_what_no_tensor_can_hold_stays_a_list():
    """Texts, objects, lists of texts, and entries that only some examples have; nothing at all is None."""
    rows = [
        {"x": 1, "none": None, "some": None, "text": "a", "words": ["a"], "object": Again([]), "ids": [1, 2]},
        {"x": 2, "none": None, "some": 3, "text": "b", "words": ["b", "c"], "object": Again([]), "ids": [3, 4]},
    ]

    batch = collate_examples(rows)

    assert batch["x"].tolist() == [1, 2]
    assert batch["ids"].tolist() == [[1, 2], [3, 4]]
    assert batch["none"] is None
    assert (batch["some"], batch["text"], batch["words"]) == ([None, 3], ["a", "b"], [["a"], ["b", "c"]])
    assert len(batch["object"]) == 2


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        (
            [{"x": torch.ones(2)}, {"x": torch.ones(3)}],
            r"The values of 'x' in a batch have different sizes: \[2\], \[3\]",
        ),
        ([{"x": [1, 2]}, {"x": [1, 2, 3]}], r"The values of 'x' in a batch have different sizes: \[2\], \[3\]"),
        ([(torch.ones(2), 0), (torch.ones(3), 0)], r"The values of 0 in a batch have different sizes: \[2\], \[3\]"),
        ([torch.ones(2), torch.ones(3)], r"The examples in a batch have different sizes"),
        ([{"x": 1}, {"y": 1}], "The examples of a batch differ in their entries: x, y"),
    ],
)
def test_examples_that_make_no_batch_are_said(make, examples, message):
    """With what differs, and that a collator helps."""
    with pytest.raises(OptionError, match=message):
        make(model=nn.Linear(2, 2)).predict(examples)


def test_an_autoencoder_trains_on_bare_tensors(make):
    """A batch without labels, and a loss that the model computes."""

    class Autoencoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(64, 64)

        def forward(self, x):
            return {"loss": (self.layer(x) - x).square().mean(), "rebuilt": self.layer(x)}

    images = list(make.Digits(16).images)

    assert make(model=Autoencoder(), train_dataset=images, eval_dataset=images, max_steps=2).train().training_loss > 0


class SaveAndStop(TrainerCallback):
    """Saves at a step, and is interrupted then."""

    def on_step_end(self, args, state, control, **kwargs):
        control.should_save = state.global_step == 3

    def on_save(self, args, state, control, **kwargs):
        raise KeyboardInterrupt


@pytest.mark.parametrize("wraps", [False, True], ids=["dataset", "DataLoader"])
def test_a_stream_that_knows_its_position_is_continued_without_reading_it_again(make, tmp_path, wraps):
    """With state_dict and load_state_dict, as the streams of `datasets` and StatefulDataLoader have them; bit-identical."""
    examples = [make.Digits(40)[index] for index in range(40)]
    settings = {"max_steps": 7, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}

    def run(folder, callbacks=(), **how):
        stream = Stream(examples)
        data = DataLoader(stream, batch_size=4) if wraps else stream
        trainer = make(train_dataset=data, output_dir=str(folder), callbacks=list(callbacks), **settings)
        if callbacks:
            with pytest.raises(KeyboardInterrupt):
                trainer.train()
        else:
            trainer.train(**how)
        return trainer, stream.reads

    whole, all_reads = run(tmp_path / "whole")
    _, first_reads = run(tmp_path / "parts", [SaveAndStop()])
    resumed, later_reads = run(tmp_path / "parts", resume_from_checkpoint=True)

    assert (all_reads, first_reads, later_reads) == (56, 24, 32)
    assert make.same_weights(whole.model, resumed.model)


@pytest.mark.parametrize(
    ("even", "expected"), [(True, [[0, 3], [1, 4], [2, 5]]), (False, [[0, 3, 6], [1, 4, 7], [2, 5]])]
)
def test_a_stream_is_shared_out_in_turn(even, expected):
    """For training as many for each rank; for an evaluation every example."""
    source = Stream(list(range(8)))

    shares = [
        list(RankStream(source, Ranks(rank, 3), even=even)) for rank in range(3) if not setattr(source, "position", 0)
    ]

    assert shares == expected
