"""What is given in place of a part of a Trainer by mistake is refused when it is given, with what to give instead."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import runcast
from runcast.core.errors import OptionError
from runcast.trainer.trainer import Trainer

X, Y = torch.randn(16, 64), torch.randint(0, 10, (16,))


class Frame:
    """As a data frame of pandas: its items are columns, and it has a length."""

    iloc = None

    def __len__(self):
        return 16

    def __getitem__(self, name):
        raise KeyError(name)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((X, Y), r"is a tuple, and no examples .* columns: give torch\.utils\.data\.TensorDataset"),
        ((X.numpy(), Y.numpy()), "is a tuple, and no examples"),
        ({"image": X, "labels": Y}, "is a dict, and no examples .* It has 'image', 'labels': give one of these"),
        ({"train": [1], "test": [2]}, "is a dict, and no examples .* It has 'train', 'test': give one of these"),
        ("train.csv", "is a str, and no examples can be read from it. Read the file first"),
        (Path("train.csv"), "is a .*Path, and no examples can be read from it. Read the file first"),
        (Frame(), r"is a Frame, .* Give its rows: frame\.to_dict\('records'\)"),
    ],
)
def test_what_holds_data_and_is_no_dataset_is_refused(make, data, message):
    """As X and y of Keras and scikit-learn, all splits of `datasets`, or the name of a file."""
    with pytest.raises(OptionError, match=f"The train dataset {message}"):
        make(train_dataset=data).train()
    if not isinstance(data, dict | str):  # which name datasets of the Trainer
        with pytest.raises(OptionError, match=f"The eval dataset {message}"):
            make().evaluate(data)


@pytest.mark.parametrize(
    "data",
    [
        tuple(zip(X, Y, strict=True)),
        dict(enumerate(zip(X, Y, strict=True))),
        tuple({"image": x, "labels": y} for x, y in zip(X[:2], Y[:2], strict=True)),
    ],
)
def test_tuples_and_numbered_mappings_of_examples_are_datasets(make, data):
    """They have examples under 0, 1, 2."""
    assert make(train_dataset=data, max_steps=2).train().global_step == 2


def test_columns_in_place_of_several_evaluation_datasets_are_refused(make):
    """A mapping is several datasets by name."""
    with pytest.raises(OptionError, match="eval_dataset has 'labels' among its names, so it is columns"):
        make(eval_dataset={"image": X, "labels": Y})


def test_arguments_of_transformers_are_refused(tmp_path):
    """The import of the arguments was forgotten."""
    TrainingArguments = dataclasses.make_dataclass("TrainingArguments", ["output_dir"])
    TrainingArguments.__module__ = "transformers.training_args"

    with pytest.raises(
        OptionError, match=r"args is a TrainingArguments of transformers\.training_args\. Give a runcast"
    ):
        runcast.Trainer(nn.Linear(2, 2), TrainingArguments(str(tmp_path)))
    with pytest.raises(OptionError, match="args is a dict of builtins"):
        runcast.Trainer(nn.Linear(2, 2), {"max_steps": 1})


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"compute_metrics": "accuracy"}, "compute_metrics is a str, not a function"),
        ({"compute_metrics": {"accuracy": np.mean}}, "compute_metrics is a dict, not a function"),
        ({"compute_loss": nn.MSELoss}, r"compute_loss is the class MSELoss\. Give an instance: MSELoss\(\)"),
        (
            {"callbacks": runcast.ProgressCallback()},
            r"callbacks is a ProgressCallback\. Give a list: callbacks=\[\.\.\.\]",
        ),
        ({"callbacks": "wandb"}, "callbacks is a str"),
    ],
)
def test_parts_of_the_wrong_kind_are_refused_before_the_training(part, message):
    """Not at the first evaluation."""
    with pytest.raises(OptionError, match=message):
        Trainer(nn.Linear(2, 2), **part)


def test_arguments_of_an_older_or_misspelt_name_are_refused_with_the_right_one():
    """But not those that a subclass takes itself."""

    class Mine(Trainer):
        """A Trainer that takes the older name."""

        def __init__(self, *parts, tokenizer=None, **named):
            super().__init__(*parts, processing_class=tokenizer, **named)

    with pytest.raises(OptionError, match=r"'tokenizer' is no argument of Trainer\. Use processing_class\."):
        Trainer(nn.Linear(2, 2), tokenizer=None)
    with pytest.raises(OptionError, match=r"'train_datset' is no argument of Trainer\. Did you mean 'train_dataset'\?"):
        Trainer(nn.Linear(2, 2), train_datset=[])
    tokenizer = object()
    assert (
        Mine(nn.Linear(2, 2), runcast.TrainingArguments(report_to="none"), tokenizer=tokenizer).processing_class
        is tokenizer
    )


@pytest.mark.parametrize("name", ["out", "out/deeper/still"])
def test_a_file_in_place_of_the_output_folder_is_refused(make, tmp_path, name):
    """Before a training of which no checkpoint could be written; one that writes none does not need the folder."""
    (tmp_path / "out").write_text("")
    seen = []
    trainer = make(
        output_dir=str(tmp_path / name),
        save_strategy="steps",
        max_steps=1,
        callbacks=[("on_step_begin", lambda *_, **__: seen.append(1))],
    )

    with pytest.raises(
        OptionError, match=r"No checkpoint could be written, .* Set output_dir, or save_strategy='no'\."
    ):
        trainer.train()

    assert not seen
    assert make(output_dir=str(tmp_path / name), save_strategy="no", max_steps=1).train().global_step == 1


def test_an_empty_dataset_to_evaluate_is_refused_before_the_training(make):
    """It is named, if there are several."""
    with pytest.raises(OptionError, match=r"The eval dataset 'b' is empty\."):
        make(eval_strategy="steps", eval_dataset={"a": make.Digits(4), "b": []})
    with pytest.raises(OptionError, match=r"The eval dataset is empty\."):
        make(eval_strategy="steps", eval_dataset=[])
