"""How long a training stands still for a checkpoint: `python -m benchmarks.checkpoints`.

The reference trainer saves at once and with async_save, and in the same loop `torch.distributed.checkpoint.async_save`
does, with a thread and with a process: weights and AdamW state of the same network, on a GPU if there is one.
`--tiny` runs the same code in a few seconds.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console

from benchmarks import report
from benchmarks.harness import Failed, run_child
from benchmarks.trainer_loops import deep_network, quietly, random_batches

BUDGET = 0.2
WAYS = ("at once", "async_save", "torch's, thread", "torch's, process")
WARM = 3  # steps before the first save
NOTE = (
    "The stall is what passes between two steps: at the save and, in the background, until it is announced. The first "
    "one in the background also allocates the memory for copies. torch's own computes no checksums."
)


def main() -> int:
    """Measure each way in a process of its own, and show the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.checkpoints", description="Measure stalls of saves.")
    parser.add_argument("--tiny", action="store_true", help="a small network: shows that everything runs")
    parser.add_argument("--saves", type=int, default=5, help="checkpoints of each way, two or more (default: 5)")
    given = parser.parse_args()
    began, (width, layers) = time.monotonic(), (64, 2) if given.tiny else (2048, 24)
    columns = ("way", "first stall", "later ones", "× at once", "on disk after", "a step meanwhile", "other steps")
    title = f"The stall of a checkpoint: {layers} linear layers of {width}, with their AdamW state"
    table = report.Table(title, columns, notes=[NOTE])
    medians: dict[str, float] = {}
    for way in WAYS:
        print(f"{way}:", file=sys.stderr)
        try:
            measured = run_child(
                "benchmarks.checkpoints:train", timeout_s=900, way=way, width=width, layers=layers, saves=given.saves
            )
        except Failed as error:
            table.rows.append([way, str(error), *[""] * 5])
            continue
        medians[way] = statistics.median(measured["stalls"][1:])
        share = report.ratio(medians[way] / medians["at once"]) if "at once" in medians else "–"
        table.rows.append([way, _time(measured["stalls"][:1]), _time(measured["stalls"][1:]), share])
        table.rows[-1] = [*table.rows[-1], *(_time(measured[name]) for name in ("whole", "meanwhile", "other"))]
    value = medians["async_save"] / medians["at once"] if {"async_save", "at once"} <= medians.keys() else None
    answer = report.Answer([table], [report.Budget("stall of a save, async_save / at once", value, BUDGET, "×")])
    found = report.new_report([answer], quick=given.tiny, took_s=time.monotonic() - began, load=0.0)
    report.show(found, Console(width=max(Console().width, 130)))
    return 0


def _time(seconds: list[float]) -> str:
    return report.duration(statistics.median(seconds) * 1e6) if seconds else "–"


def train(way: str, width: int, layers: int, saves: int) -> dict[str, list[float]]:
    """In a measuring process: return times in seconds: of stalls, until a checkpoint is there, and of steps.

    Args:
        way: One of `WAYS`.
        width: The width of the network.
        layers: Its layers.
        saves: How many checkpoints are written.
    """
    import torch

    from runcast import Trainer, TrainingArguments

    torch.set_num_threads(1)
    clock = _clock(way, saves)
    if way == "torch's, process":  # it wants a job
        torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    with quietly(), tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        args = TrainingArguments(
            output_dir=folder,
            max_steps=10_000,
            per_device_train_batch_size=8,
            report_to="none",
            save_strategy="no",
            save_total_limit=1,
            logging_strategy="no",
            async_save=way == "async_save",
            disable_tqdm=True,
        )
        batch = random_batches(1, 80_000)[0]
        data = [dict(zip(batch, example, strict=True)) for example in zip(*batch.values(), strict=True)]
        Trainer(deep_network(width, layers), args, train_dataset=data, callbacks=[clock]).train()
    return dict(clock.times)


def _clock(way: str, saves: int) -> Any:
    from runcast import TrainerCallback

    class Clock(TrainerCallback):
        """What asks for a save when the last one is on disk, and times what happens."""

        def __init__(self) -> None:
            self.times: dict[str, list[float]] = {"stalls": [], "whole": [], "meanwhile": [], "other": []}
            self.is_saving, self.asked, self.stall, self.ended, self.began = False, 0.0, 0.0, 0.0, 0.0
            self.written: Any = None

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            self.began = time.perf_counter()
            if self.asked:
                self.stall += self.began - self.ended
                if self.written is not None and self.written.done():
                    self.written = self.written.result() and None
                    self.is_saving = False
                if not self.is_saving:
                    self.times["stalls"].append(self.stall)
                    self.times["whole"].append(self.began - self.asked)
                    self.asked = self.stall = 0.0

        def on_step_end(self, args: Any, state: Any, control: Any, model: Any, optimizer: Any, **_: Any) -> None:
            self.ended = time.perf_counter()
            self.times["meanwhile" if self.is_saving else "other"].append(self.ended - self.began)
            if len(self.times["stalls"]) == saves:
                control.should_training_stop = True
            elif not self.is_saving and state.global_step >= WARM:
                self.is_saving, self.asked = True, self.ended
                if way.startswith("torch"):
                    self.written = _save_with_torch(way, model, optimizer, Path(args.output_dir) / "torch")
                else:
                    control.should_save = True

        def on_save(self, *_: Any, **__: Any) -> None:
            self.is_saving = False

    return Clock()


def _save_with_torch(way: str, model: Any, optimizer: Any, folder: Path) -> Any:
    from torch.distributed import checkpoint
    from torch.distributed.checkpoint.state_dict_saver import AsyncCheckpointerType

    shutil.rmtree(folder, ignore_errors=True)
    kind = AsyncCheckpointerType.THREAD if way.endswith("thread") else AsyncCheckpointerType.PROCESS
    state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
    return checkpoint.async_save(
        state, checkpoint_id=folder, async_checkpointer_type=kind, no_dist=kind is AsyncCheckpointerType.THREAD
    )


if __name__ == "__main__":
    sys.exit(main())
