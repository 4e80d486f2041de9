"""A small language model of transformers, built from a configuration.

It learns to write its own licence, letter by letter.

Run it with: python examples/language_model.py --max_steps 300
"""

import sys
from pathlib import Path

import torch
import transformers

from runcast import Trainer, TrainerCallback, TrainingArguments

LENGTH = 64
SETTINGS = (
    "--max_steps 300 --per_device_train_batch_size 16 --gradient_accumulation_steps 2 "
    "--learning_rate 3e-3 --warmup_steps 0.1"
)
STEPS = "--logging_steps 10 --eval_strategy steps --eval_steps 100 --save_strategy no --output_dir out/lm"


class Letters(torch.utils.data.Dataset):
    """Overlapping pieces of a text, a number for each letter."""

    def __init__(self, text: str) -> None:
        self.alphabet = sorted(set(text))
        self._numbers = torch.tensor([self.alphabet.index(letter) for letter in text])

    def __len__(self) -> int:
        return (len(self._numbers) - LENGTH) // 16

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        piece = self._numbers[index * 16 : index * 16 + LENGTH]
        return {"input_ids": piece, "labels": piece}


class WriteCallback(TrainerCallback):
    """Lets the model write a line after each evaluation."""

    def __init__(self, alphabet: list[str]) -> None:
        self._alphabet = alphabet

    def on_evaluate(self, args, state, control, model=None, **kwargs) -> None:
        """Print what it writes after the letter L."""
        start = torch.tensor([[self._alphabet.index("L")]], device=next(model.parameters()).device)
        written = model.generate(
            start, attention_mask=torch.ones_like(start), max_new_tokens=60, do_sample=False, pad_token_id=0
        )
        print("".join(self._alphabet[number] for number in written[0].tolist()).replace("\n", " "))


def main(arguments: list[str] | None = None) -> dict[str, float]:
    data = Letters((Path(__file__).parent.parent / "LICENSE").read_text(encoding="utf-8"))
    config = transformers.GPT2Config(
        vocab_size=len(data.alphabet),
        n_positions=128,
        n_embd=64,
        n_layer=2,
        n_head=2,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = transformers.GPT2LMHeadModel(config)
    model.loss_type = "ForCausalLM"  # transformers does not find it from the name of this class, and says so
    args = TrainingArguments.from_command_line(
        [*SETTINGS.split(), *STEPS.split(), *(sys.argv[1:] if arguments is None else arguments)]
    )
    trainer = Trainer(
        model,
        args,
        train_dataset=data,
        eval_dataset=torch.utils.data.Subset(data, range(0, len(data), 8)),
        callbacks=[WriteCallback(data.alphabet)],
    )
    trainer.train()
    return trainer.evaluate()


if __name__ == "__main__":
    print({name: round(value, 4) for name, value in main().items()})
