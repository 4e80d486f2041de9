"""What is saved is loaded again by the library that the model is of: the right class, in its precision, its adapters."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from runcast.trainer.settings.arguments import TrainingArguments
from runcast.trainer.trainer import Trainer

transformers = pytest.importorskip("transformers")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_the_configuration_says_the_class_and_the_precision_of_what_is_saved(tmp_path, dtype):
    """Not those of the model that it was made of: `from_pretrained` loads in the precision that is written there."""
    config = transformers.BertConfig(
        vocab_size=30,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=8,
        architectures=["BertForMaskedLM"],
        dtype=torch.float32 if dtype is torch.bfloat16 else torch.bfloat16,
    )
    model = transformers.BertForSequenceClassification(config).to(dtype)
    data = [{"input_ids": [1, 2 + index], "labels": index % 2} for index in range(8)]
    args = TrainingArguments(str(tmp_path / "out"), max_steps=1, report_to="none", use_cpu=True, disable_tqdm=True)
    trainer = Trainer(model, args, train_dataset=data)

    trainer.train()
    trainer.save_model(tmp_path / "model")

    for folder in (tmp_path / "model", tmp_path / "out" / "checkpoint-1"):
        written = json.loads((folder / "config.json").read_text())
        assert (written["architectures"], written["dtype"]) == (["BertForSequenceClassification"], str(dtype)[6:])
        loaded = transformers.AutoModelForSequenceClassification.from_pretrained(folder)
        assert all(
            torch.equal(one, other)
            for one, other in zip(model.state_dict().values(), loaded.state_dict().values(), strict=True)
        )
    assert model.config.architectures == ["BertForMaskedLM"]


class Adapted(nn.Module):
    """As a model of peft: a frozen model inside, and an adapter, which alone `save_pretrained` writes."""

    def __init__(self, model):
        super().__init__()
        self.inside, self.adapter = model.requires_grad_(False), nn.Linear(10, 10)
        self.peft_config = {"default": {"r": 8}}

    def get_base_model(self):
        return self.inside

    def forward(self, image):
        return self.adapter(self.inside(image))

    def save_pretrained(self, folder, state_dict=None):
        Path(folder, "adapter_config.json").write_text(json.dumps(self.peft_config["default"]))
        save_file(self.adapter.state_dict(), str(Path(folder, "adapter_model.safetensors")))


@pytest.mark.parametrize("wrap", [lambda model: model, lambda model: torch.compile(model, backend="eager")])
def test_adapters_are_saved_as_their_library_reads_them(make, tmp_path, wrap):
    """`save_model` writes them alone, as in transformers; a checkpoint has them beside the whole model."""
    model = Adapted(make.Net())
    settings = {"output_dir": str(tmp_path), "save_strategy": "steps", "save_steps": 2}
    trainer = make(model=wrap(model), max_steps=2, **settings)

    trainer.train()
    trainer.save_model(tmp_path / "model")

    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]
    for folder in (tmp_path / "model", tmp_path / "checkpoint-2"):
        assert torch.equal(load_file(folder / "adapter_model.safetensors")["weight"], model.adapter.weight)
    again = make(model=Adapted(make.Net()), max_steps=4, **settings)
    assert again.train(resume_from_checkpoint=True).global_step == 4
