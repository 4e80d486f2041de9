"""The same training by hand, with our Trainer, with transformers and with Lightning: what the trainers are measured on.

Each loop trains on ready batches with fused AdamW, a linear schedule and clipped gradients, and calls `tick` at the end
of every step. Nothing is shown; where a tracker is on, it is TensorBoard, which all of them know, every ten steps.
"""

import contextlib
import io
import itertools
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Tick = Callable[[], None]
LEARNING_RATE, LIMIT, LOG_STEPS = 1e-3, 1.0, 10


@dataclass
class Work:
    """Says what is to be trained: a model whose output holds its loss, on batches that are given again and again."""

    make_model: Callable[[], Any]
    batches: list[dict[str, Any]]
    steps: int
    device: str = "cpu"
    bf16: bool = False
    compile: bool = False
    backend: str = "inductor"
    tracks: bool = False

    def loader(self) -> Any:
        """Make the DataLoader that all of them are given, or make themselves."""
        from torch.utils.data import DataLoader

        return DataLoader(self.dataset(), batch_size=1, shuffle=True, collate_fn=_first, pin_memory=self.pins)

    def dataset(self) -> Any:
        """Return as many batches as there are steps."""
        return [self.batches[number % len(self.batches)] for number in range(self.steps)]

    @property
    def pins(self) -> bool:
        """Tell whether batches are pinned, so that they are copied without waiting."""
        return self.device == "cuda"


def by_hand(work: Work, tick: Tick) -> None:
    """Train as one would write it down."""
    import torch
    from torch import nn, optim

    model = work.make_model().to(work.device).train()
    parameters = list(model.parameters())
    step_model = torch.compile(model, backend=work.backend) if work.compile else model
    optimizer = optim.AdamW(parameters, lr=LEARNING_RATE, fused=True)
    scheduler = optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / work.steps)
    total = torch.zeros((), device=work.device)
    precision: Any = torch.autocast(work.device, torch.bfloat16) if work.bf16 else contextlib.nullcontext()
    with _summary_writer(work.tracks) as writer:
        for number, batch in enumerate(work.loader(), 1):
            moved = {key: value.to(work.device, non_blocking=True) for key, value in batch.items()}
            with precision:
                loss = step_model(**moved)["loss"]
            loss.backward()
            total += loss.detach()
            nn.utils.clip_grad_norm_(parameters, LIMIT)
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            if writer is not None and number % LOG_STEPS == 0:
                writer.add_scalar("train/loss", total.item() / number, number)
            tick()


def runcast(work: Work, tick: Tick) -> None:
    """Train with our Trainer."""
    from runcast import Trainer, TrainerCallback, TrainingArguments

    class Ticker(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            tick()

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        args = TrainingArguments(
            output_dir=folder,
            report_to=["tensorboard"] if work.tracks else "none",
            device=work.device,
            torch_compile=work.compile,
            torch_compile_backend=work.backend if work.compile else None,
            **_settings(work),
        )
        trainer = Trainer(work.make_model(), args, _first, work.dataset(), callbacks=[Ticker])
        trainer.train()


def transformers(work: Work, tick: Tick) -> None:
    """Train with transformers."""
    import transformers as field

    class Ticker(field.TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *_: Any, **__: Any) -> None:
            tick()

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        args = field.TrainingArguments(
            output_dir=folder,
            report_to=["tensorboard"] if work.tracks else "none",
            use_cpu=work.device == "cpu",
            dataloader_pin_memory=work.pins,
            remove_unused_columns=False,
            torch_compile=work.compile,
            torch_compile_backend=work.backend if work.compile else None,
            **_settings(work),
        )
        trainer = field.Trainer(
            work.make_model(), args, train_dataset=work.dataset(), data_collator=_first, callbacks=[Ticker]
        )
        trainer.remove_callback(field.PrinterCallback)
        trainer.train()


def lightning(work: Work, tick: Tick) -> None:
    """Train with Lightning."""
    import torch
    from lightning import pytorch as pl
    from lightning.pytorch.loggers import TensorBoardLogger

    class Module(pl.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            model = work.make_model()
            self.model = torch.compile(model, backend=work.backend) if work.compile else model

        def training_step(self, batch: Any, number: int) -> Any:
            loss = self.model(**batch)["loss"]
            if work.tracks:
                self.log("train/loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.AdamW(self.parameters(), lr=LEARNING_RATE, fused=True)
            scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / work.steps)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

        def on_before_optimizer_step(self, optimizer: Any) -> None:  # its own clipping refuses fused optimizers
            torch.nn.utils.clip_grad_norm_(self.parameters(), LIMIT)

    class Ticker(pl.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, *_: Any) -> None:
            tick()

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        trainer = pl.Trainer(
            max_steps=work.steps,
            accelerator=work.device,
            devices=1,
            precision="bf16-mixed" if work.bf16 else "32-true",
            logger=TensorBoardLogger(folder) if work.tracks else False,
            log_every_n_steps=LOG_STEPS,
            callbacks=[Ticker()],
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            default_root_dir=folder,
        )
        trainer.fit(Module(), work.loader())


LOOPS: dict[str, Callable[[Work, Tick], None]] = {
    "by hand": by_hand,
    "runcast": runcast,
    "transformers": transformers,
    "lightning": lightning,
}


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Keep what the peers say from the terminal."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def deep_network(width: int, layers: int = 2, inputs: int = 64, classes: int = 10) -> Any:
    """Make a network of linear layers that computes its loss, as the models of transformers do."""
    import torch
    from torch import nn

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            sizes = [inputs, *[width] * layers]
            parts = [part for a, b in itertools.pairwise(sizes) for part in (nn.Linear(a, b), nn.ReLU())]
            self.layers = nn.Sequential(*parts, nn.Linear(width, classes))

        def forward(self, x: Any, labels: Any) -> dict[str, Any]:
            logits = self.layers(x)
            return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}

    return Network()


def random_batches(count: int, size: int, inputs: int = 64, classes: int = 10) -> list[dict[str, Any]]:
    """Make batches for `deep_network`."""
    import torch

    return [{"x": torch.randn(size, inputs), "labels": torch.randint(0, classes, (size,))} for _ in range(count)]


def _settings(work: Work) -> dict[str, Any]:
    return {
        "max_steps": work.steps,
        "per_device_train_batch_size": 1,
        "learning_rate": LEARNING_RATE,
        "max_grad_norm": LIMIT,
        "optim": "adamw_torch_fused",
        "lr_scheduler_type": "linear",
        "bf16": work.bf16,
        "logging_strategy": "steps" if work.tracks else "no",
        "logging_steps": LOG_STEPS,
        "save_strategy": "no",
        "disable_tqdm": True,
    }


def _first(examples: list[Any]) -> Any:
    return examples[0]


@contextlib.contextmanager
def _summary_writer(wanted: bool) -> Iterator[Any]:
    if not wanted:
        yield None
        return
    from torch.utils.tensorboard import SummaryWriter

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        writer = SummaryWriter(Path(folder))
        yield writer
        writer.close()
