"""The same training in each framework, run in a measuring process: with nothing, its own integrations, or runcast."""

import atexit
import contextlib
import importlib
import itertools
import signal
import statistics
import time
from collections.abc import Callable
from typing import Any

PROJECT = "benchmark"
BATCH, WIDTH = 64, 256
WARM_UP = 5  # steps
END_S = 60.0  # at most for what follows the last step: ClearML's end sometimes takes minutes
IMPORTS = {
    "train_transformers": ("transformers.trainer", "runcast.callbacks.reporting"),
    "train_lightning": ("runcast.adapters.lightning",),
    "train_accelerate": ("runcast.adapters.accelerate",),
    "train_ignite": ("runcast.adapters.ignite",),
}
Mark = Callable[[], None]


def measure(train: str, kind: str, trackers: list[str], steps: int) -> dict[str, float]:
    """Train; the framework is imported before the clock starts, its trackers after.

    Args:
        train: The function of this module that trains.
        kind: "nothing", "empty" (a logger that does nothing), "theirs" or "ours".
        trackers: Their names.
        steps: How many optimizer steps, each of which is logged.
    """
    for module in IMPORTS[train]:
        importlib.import_module(module)
    import torch

    torch.set_num_threads(1)  # a step this small is spoilt by a pool of threads, and the deliveries need a core
    marks: list[float] = []
    spent: list[float] = []

    def mark() -> None:
        marks.append(time.perf_counter())
        spent.append(time.thread_time())
        if len(marks) == steps:
            signal.setitimer(signal.ITIMER_REAL, END_S)

    signal.signal(signal.SIGALRM, _too_late)
    began = time.perf_counter()
    with contextlib.suppress(TimeoutError):
        globals()[train](kind, trackers, steps, mark)
        atexit._run_exitfuncs()
    signal.setitimer(signal.ITIMER_REAL, 0)
    ended = time.perf_counter()
    times = [(after - before) * 1e6 for before, after in itertools.pairwise(marks[WARM_UP:])]
    return {
        "median_us": statistics.median(times),
        "mean_us": statistics.fmean(times),
        "cpu_us": (spent[-1] - spent[WARM_UP]) * 1e6 / len(times),
        "first_step_s": marks[0] - began,
        "end_s": ended - marks[-1],
    }


def _too_late(*_: object) -> None:
    raise TimeoutError


def _network() -> Any:
    from torch import nn

    return nn.Sequential(nn.Linear(64, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 10))


def _data(steps: int) -> Any:
    """Return one batch again and again: loading is not what is measured."""
    import torch

    torch.manual_seed(0)
    return [(torch.randn(BATCH, 64), torch.randint(0, 10, (BATCH,)))] * steps


def train_transformers(kind: str, trackers: list[str], steps: int, mark: Mark) -> None:
    """Train with transformers.Trainer."""
    import torch
    import transformers

    import runcast

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = _network()

        def forward(self, x: Any, labels: Any) -> Any:
            return {"loss": torch.nn.functional.cross_entropy(self.network(x), labels)}

    class Marking(transformers.TrainerCallback):
        def on_step_begin(self, *args: Any, **kwargs: Any) -> None:
            mark()

    class Empty(transformers.TrainerCallback):
        def on_log(self, *args: Any, **kwargs: Any) -> None:
            pass

    reporting: dict[str, list[Any]] = {"nothing": [], "empty": [Empty()], "theirs": []}
    reporting["ours"] = [runcast.ReportCallback(trackers, project=PROJECT)] if kind == "ours" else []
    inputs, labels = _data(1)[0]
    arguments = transformers.TrainingArguments(
        "out",
        report_to=trackers if kind == "theirs" else "none",
        max_steps=steps,
        per_device_train_batch_size=BATCH,
        logging_steps=1,
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    trainer = transformers.Trainer(
        Model(),
        arguments,
        train_dataset=[{"x": x, "labels": label} for x, label in zip(inputs, labels, strict=True)],
        callbacks=[Marking(), *reporting[kind]],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()


def train_lightning(kind: str, trackers: list[str], steps: int, mark: Mark) -> None:
    """Train with lightning.Trainer."""
    import lightning
    import torch
    from lightning.pytorch import loggers

    from runcast.adapters.lightning import RuncastLogger

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = _network()

        def training_step(self, batch: Any, index: int) -> Any:
            loss = torch.nn.functional.cross_entropy(self.network(batch[0]), batch[1])
            self.log("train_loss", loss)
            return loss

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 1e-3)

    class Marking(lightning.Callback):
        def on_train_batch_start(self, *args: Any, **kwargs: Any) -> None:
            mark()

    class Empty(loggers.Logger):
        name = version = ""

        def log_metrics(self, *args: Any, **kwargs: Any) -> None:
            pass

        def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
            pass

    makers: dict[str, Callable[[], Any]] = {
        "tensorboard": lambda: loggers.TensorBoardLogger("logs"),
        "mlflow": lambda: loggers.MLFlowLogger(PROJECT, tracking_uri="sqlite:///mlflow.db"),
        "wandb": lambda: loggers.WandbLogger(project=PROJECT, offline=True),
        "comet_ml": lambda: loggers.CometLogger(project=PROJECT, online=False),
    }
    chosen = [makers[name]() for name in trackers] if kind == "theirs" else [Empty()] if kind == "empty" else []
    trainer = lightning.Trainer(
        logger=[RuncastLogger(trackers, project=PROJECT)] if kind == "ours" else chosen,
        callbacks=[Marking()],
        max_epochs=1,
        log_every_n_steps=1,
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Module(), torch.utils.data.DataLoader(_data(steps), batch_size=None))


def train_accelerate(kind: str, trackers: list[str], steps: int, mark: Mark) -> None:
    """Train with an Accelerator."""
    import torch
    from accelerate import Accelerator
    from accelerate.tracking import GeneralTracker

    from runcast.adapters.accelerate import RuncastTracker

    class Empty(GeneralTracker):
        name, requires_logging_directory, tracker = "empty", False, None

    chosen = {"nothing": [], "empty": [Empty()], "theirs": trackers, "ours": [RuncastTracker(report_to=trackers)]}
    accelerator = Accelerator(log_with=chosen[kind], project_dir="logs", cpu=True)
    accelerator.init_trackers(PROJECT, config={"lr": 1e-3})
    network = _network()
    model, optimizer = accelerator.prepare(network, torch.optim.SGD(network.parameters(), 1e-3))
    for step, (inputs, labels) in enumerate(_data(steps)):
        mark()
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(inputs), labels)
        accelerator.backward(loss)
        optimizer.step()
        accelerator.log({"loss": loss.item(), "lr": 1e-3}, step=step)
    accelerator.end_training()


def train_ignite(kind: str, trackers: list[str], steps: int, mark: Mark) -> None:
    """Train with an Engine of Ignite."""
    import torch
    from ignite.engine import Events, create_supervised_trainer
    from ignite.handlers.base_logger import BaseLogger
    from ignite.handlers.clearml_logger import ClearMLLogger
    from ignite.handlers.mlflow_logger import MLflowLogger
    from ignite.handlers.tensorboard_logger import TensorboardLogger
    from ignite.handlers.wandb_logger import WandBLogger

    from runcast.adapters.ignite import RuncastLogger

    network = _network()
    optimizer = torch.optim.SGD(network.parameters(), 1e-3)
    loss = torch.nn.functional.cross_entropy
    trainer = create_supervised_trainer(network, optimizer, loss, output_transform=lambda *made: made[-1])
    trainer.add_event_handler(Events.ITERATION_STARTED, mark)
    makers: dict[str, Callable[[], Any]] = {
        "tensorboard": lambda: TensorboardLogger(log_dir="logs"),
        "mlflow": lambda: MLflowLogger(tracking_uri="sqlite:///mlflow.db"),
        "wandb": lambda: WandBLogger(project=PROJECT, mode="offline"),
        "clearml": lambda: ClearMLLogger(project_name=PROJECT, task_name=PROJECT),
    }

    class Empty(BaseLogger):  # type: ignore[misc]
        def _create_output_handler(self, *args: Any, **kwargs: Any) -> Callable[..., None]:
            return lambda engine, logger, event: None

        _create_opt_params_handler = _create_output_handler

    loggers = {
        "nothing": list,
        "empty": lambda: [Empty()],
        "theirs": lambda: [makers[name]() for name in trackers],
        "ours": lambda: [RuncastLogger(trackers, project=PROJECT)],
    }[kind]()
    for logger in loggers:
        logger.attach_output_handler(
            trainer, Events.ITERATION_COMPLETED, tag="train", output_transform=lambda loss: {"loss": loss}
        )
        logger.attach_opt_params_handler(trainer, Events.ITERATION_COMPLETED, optimizer=optimizer)
    trainer.run(_data(steps))
    for logger in loggers:
        logger.close()
