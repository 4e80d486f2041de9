"""Every way to log that is compared: context managers that open the trackers and yield a function `log(values, step)`.

Entered in a measuring process only. The SDKs are called as the first example of their own documentation does it.
"""

import contextlib
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any, TypeAlias

Log: TypeAlias = Callable[[dict[str, float], int], object]
Source: TypeAlias = Callable[[], AbstractContextManager[Log]]

SEVEN = ("wandb", "mlflow", "comet_ml", "clearml", "dvclive", "codecarbon", "tensorboard")
METRICS = tuple(f"train/metric_{number}" for number in range(10))
PROJECT = "benchmark"


def ten_scalars(step: int) -> dict[str, float]:
    """Make the values of one log call: ten floats with all their digits."""
    draw = random.Random(step).random
    return {key: draw() for key in METRICS}


@contextlib.contextmanager
def wandb_itself() -> Iterator[Log]:
    import wandb

    with wandb.init(project=PROJECT) as run:
        yield lambda values, step: run.log(values)
    wandb.teardown()  # offline, `finish` returns before the file is whole


@contextlib.contextmanager
def mlflow_itself() -> Iterator[Log]:
    import mlflow

    with mlflow.start_run():
        yield lambda values, step: mlflow.log_metrics(values, step=step)


@contextlib.contextmanager
def comet_itself() -> Iterator[Log]:
    import comet_ml

    experiment = comet_ml.start(project_name=PROJECT)
    yield lambda values, step: experiment.log_metrics(values, step=step)
    experiment.end()


@contextlib.contextmanager
def clearml_itself() -> Iterator[Log]:
    from clearml import Task

    task = Task.init(project_name=PROJECT, task_name="log")
    logger = task.get_logger()

    def log(values: dict[str, float], step: int) -> None:
        for key, value in values.items():
            logger.report_scalar(title="train", series=key, value=value, iteration=step)

    yield log
    task.close()


@contextlib.contextmanager
def dvclive_itself() -> Iterator[Log]:
    from dvclive import Live

    with Live() as live:

        def log(values: dict[str, float], step: int) -> None:
            for key, value in values.items():
                live.log_metric(key, value)
            live.next_step()

        yield log


@contextlib.contextmanager
def tensorboard_itself() -> Iterator[Log]:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter() as writer:

        def log(values: dict[str, float], step: int) -> None:
            for key, value in values.items():
                writer.add_scalar(key, value, step)

        yield log


@contextlib.contextmanager
def trackio_itself() -> Iterator[Log]:
    import trackio

    trackio.init(project=PROJECT)
    yield lambda values, step: trackio.log(values, step=step)
    trackio.finish()  # type: ignore[no-untyped-call]


ITSELF: Mapping[str, Source] = {
    "wandb": wandb_itself,
    "mlflow": mlflow_itself,
    "comet_ml": comet_itself,
    "clearml": clearml_itself,
    "dvclive": dvclive_itself,
    "tensorboard": tensorboard_itself,
    "trackio": trackio_itself,
}
ACCELERATE = ("wandb", "mlflow", "comet_ml", "clearml", "dvclive", "tensorboard", "trackio")


@contextlib.contextmanager
def through_accelerate(tracker: str) -> Iterator[Log]:
    """Open one tracker through accelerate."""
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=True, log_with=tracker, project_dir="logs")
    accelerator.init_trackers(PROJECT, config={"lr": 0.1})
    if not accelerator.trackers:  # it only warns
        raise ImportError(f"accelerate cannot use {tracker} here")
    yield lambda values, step: accelerator.log(values, step=step)
    accelerator.end_training()


class Transformers:
    """A `transformers.Trainer` that reports to the seven; its callbacks are called as in its own loop."""

    def __init__(self) -> None:
        import torch
        import transformers

        arguments = transformers.TrainingArguments(
            output_dir="out", report_to=list(SEVEN), use_cpu=True, disable_tqdm=True
        )
        self.trainer: Any = transformers.Trainer(model=torch.nn.Linear(2, 2), args=arguments)
        self.trainer.remove_callback(transformers.PrinterCallback)

    def begin(self) -> None:
        """Do what happens between `train()` and the first step."""
        trainer = self.trainer
        trainer.callback_handler.on_train_begin(trainer.args, trainer.state, trainer.control)

    def log(self, values: dict[str, float], step: int) -> None:
        """Call `on_log` of every callback."""
        trainer = self.trainer
        trainer.state.global_step = step
        trainer.callback_handler.on_log(trainer.args, trainer.state, trainer.control, values)


def wait_until_settled(run: Any, timeout_s: float = 120.0) -> dict[str, str]:
    """Wait until every delivery of a runcast run has caught up; return each tracker's phase."""
    run.flush(timeout_s)
    return {name: tracker.phase for name, tracker in run.statistics().trackers.items()}
