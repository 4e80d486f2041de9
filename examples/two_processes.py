"""One training in two processes on the CPU.

Gradients are averaged (DDP), or the whole training is sharded (FSDP2). One run is reported, and all ranks end with the
same weights.

Run it with: python examples/two_processes.py
Sharded:     python examples/two_processes.py --fsdp true

It launches itself with torchrun, as you would: torchrun --nproc-per-node 2 examples/two_processes.py
"""

import os
import subprocess
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
    trainer = Trainer(
        nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)), args, train_dataset=train, eval_dataset=test
    )
    trainer.train()
    weights = [weight.full_tensor() if args.fsdp else weight for weight in trainer.model.parameters()]
    checksums = trainer.ranks.gather(float(sum(weight.detach().sum() for weight in weights)))
    assert len(set(checksums)) == 1, checksums
    return trainer.evaluate()


if __name__ == "__main__":
    if "RANK" not in os.environ:
        torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
        sys.exit(subprocess.call([*torchrun, *sys.argv]))
    result = main()
    if torch.distributed.get_rank() == 0:
        print({name: round(value, 4) for name, value in result.items()})
    torch.distributed.destroy_process_group()
