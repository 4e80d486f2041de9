"""One training in two processes on the CPU.

Gradients are averaged, one run is reported, all ranks end with the same weights.

Run it with: torchrun --nproc-per-node 2 examples/two_processes.py
"""

import sys

import torch
from sklearn.datasets import load_digits
from torch import nn

from runcast import Trainer, TrainingArguments

SETTINGS = (
    "--use_cpu --num_train_epochs 3 --per_device_train_batch_size 16 --learning_rate 1e-2 "
    "--logging_steps 10 --eval_strategy epoch --save_strategy no"
)


def main(arguments: list[str] | None = None) -> dict[str, float]:
    digits = load_digits()
    data = torch.utils.data.TensorDataset(
        torch.tensor(digits.data, dtype=torch.float32) / 16, torch.tensor(digits.target)
    )
    test, train = torch.utils.data.random_split(data, [360, len(data) - 360], torch.Generator().manual_seed(0))
    args = TrainingArguments.from_command_line([*SETTINGS.split(), *(sys.argv[1:] if arguments is None else arguments)])
    trainer = Trainer(nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)), args, train, test)
    trainer.train()
    checksums = trainer.ranks.gather(float(sum(parameter.detach().sum() for parameter in trainer.model.parameters())))
    assert len(set(checksums)) == 1, checksums
    return trainer.evaluate()


if __name__ == "__main__":
    print(main())
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
