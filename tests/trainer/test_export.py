"""An exported model gives the answers of the trained one, read back by what will run it."""

import pytest
import torch
from torch import nn

from runcast.core.errors import OptionError
from runcast.trainer.settings.arguments import TrainingArguments
from runcast.trainer.trainer import Trainer

pytestmark = pytest.mark.filterwarnings("ignore")  # of onnxscript and torch.export, about their own insides


@pytest.fixture
def trained(make):
    """Return a trainer whose model has learned a little, with the events of its exports."""
    trainer = make(max_steps=3)
    trainer.train()
    trainer.seen = []
    for event in ("on_export_begin", "on_export_end"):
        trainer.add_callback(
            event, lambda *_, path, event=event, **told: trainer.seen.append((event, path.name, told["format"]))
        )
    return trainer


def expected(trainer, *inputs, **named):
    """Return what the model says in evaluation."""
    with torch.no_grad():
        return trainer.model.eval()(*inputs, **named)


def run_onnx(path, **inputs):
    """Run an ONNX file with the reference implementation of its standard."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    model = onnx.load(str(path))
    onnx.checker.check_model(model)
    names = [value.name for value in model.graph.input]
    outputs = ReferenceEvaluator(model).run(None, dict(zip(names, (v.numpy() for v in inputs.values()), strict=True)))
    return torch.from_numpy(outputs[0])


def test_safetensors_are_read_back(make, trained, tmp_path):
    """Into a fresh module."""
    from safetensors.torch import load_model

    path = trained.export(tmp_path / "model")

    model = make.Net()
    load_model(model, path)
    images = make.Digits(3).images
    torch.testing.assert_close(model.eval()(images), expected(trained, images))
    assert trained.seen == [
        ("on_export_begin", "model", "safetensors"),
        ("on_export_end", "model.safetensors", "safetensors"),
    ]


def test_an_exported_program_is_read_back(make, trained, tmp_path):
    """By torch.export.load, for any number of examples; the model trains on afterwards."""
    path = trained.export(tmp_path / "model", "torch")

    for count in (1, 5):
        images = make.Digits(count).images
        torch.testing.assert_close(torch.export.load(path).module()(image=images), expected(trained, images))
    assert trained.seen == [("on_export_begin", "model", "torch"), ("on_export_end", "model.pt2", "torch")]


@pytest.mark.slow
def test_onnx_is_read_back(make, trained, tmp_path):
    """By the reference implementation of ONNX, in one file, for any number of examples."""
    path = trained.export(tmp_path / "folder" / "model", "onnx")

    for count in (1, 5):
        images = make.Digits(count).images
        torch.testing.assert_close(run_onnx(path, image=images), expected(trained, images), atol=1e-5, rtol=1e-4)
    assert [file.name for file in path.parent.iterdir()] == ["model.onnx"]
    assert trained.seen == [("on_export_begin", "model", "onnx"), ("on_export_end", "model.onnx", "onnx")]


@pytest.mark.slow
def test_a_transformers_model_is_exported(tmp_path):
    """With its inputs by name; the labels of the data are no input."""
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, num_labels=3
    )
    data = [
        {"input_ids": torch.randint(0, 20, (6,)), "attention_mask": torch.ones(6, dtype=torch.long), "labels": i % 3}
        for i in range(4)
    ]
    args = TrainingArguments(output_dir=str(tmp_path), report_to="none", use_cpu=True, disable_tqdm=True)
    trainer = Trainer(transformers.BertForSequenceClassification(config), args, train_dataset=data)

    program = torch.export.load(trainer.export(tmp_path / "bert", "torch")).module()
    folder = trainer.save_model(tmp_path / "whole")

    batch = {name: torch.stack([example[name] for example in data[:3]]) for name in ("input_ids", "attention_mask")}
    wanted = expected(trainer, **batch).logits
    torch.testing.assert_close(program(**batch).logits, wanted, atol=1e-5, rtol=1e-4)
    again = transformers.BertForSequenceClassification.from_pretrained(folder).eval()
    torch.testing.assert_close(again(**batch).logits, wanted)


@pytest.mark.parametrize(
    ("format", "message"), [("pickle", "Valid values are: safetensors, torch, onnx"), ("torch", "needs to see a batch")]
)
def test_what_cannot_be_exported_is_refused(tmp_path, format, message):
    """An unknown format; a format that needs an example, without any data."""
    trainer = Trainer(nn.Linear(2, 2), TrainingArguments(report_to="none", use_cpu=True, disable_tqdm=True))

    with pytest.raises(OptionError, match=message):
        trainer.export(tmp_path / "model", format)
    assert list(tmp_path.iterdir()) in ([], [tmp_path / "home"])
