"""One training of several ranks, started by torchrun: `torchrun … train_ranks.py PLAN` (see `train.py`)."""

import hashlib
import json
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist

STEPS = 40


def main() -> None:
    """Train: every rank logs, as scripts do that know nothing of ranks."""
    plan_file = Path(sys.argv[1])
    plan = json.loads(plan_file.read_text())

    import runcast

    dist.init_process_group("gloo")
    generator = torch.Generator().manual_seed(dist.get_rank())
    weight = torch.ones(16)
    points = []
    with runcast.init(config={"lr": 0.1}, **plan["init"]) as run:
        for step in range(STEPS):
            gradient = weight + torch.randn(16, generator=generator)
            own = float(gradient.norm())
            dist.all_reduce(gradient)
            weight -= 0.1 * gradient / dist.get_world_size()
            points += [("loss", float(weight.norm()), step), ("own", own, step)]
            run.log({"loss": float(weight.norm()), "own": own}, step=step)
        done = time.monotonic()
    rank = dist.get_rank()
    dist.barrier()
    dist.destroy_process_group()
    digest = hashlib.sha256(weight.numpy().tobytes()).hexdigest()
    result = {"weights": digest, "points": points, "done": done, "left": time.monotonic()}
    plan_file.with_name(f"result-{rank}.json").write_text(json.dumps(result))


if __name__ == "__main__":
    main()
