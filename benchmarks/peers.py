"""The peers' measuring processes. Each answers several questions, so it runs once per round and is remembered."""

import functools
import signal
import time
from typing import Any

from benchmarks.harness import run_child

# Log calls of ten scalars with an SDK by itself, and of points that are delivered to it: the slow ones get fewer.
LOGS = {
    "wandb": 5_000,
    "mlflow": 1_000,
    "comet_ml": 5_000,
    "clearml": 300,
    "dvclive": 1_000,
    "tensorboard": 5_000,
    "trackio": 5_000,
}
QUICK_LOGS = 100
CLOSE_S = 20.0  # ClearML's `close` with its default settings sometimes takes minutes
STEPS_MS = (0.7, 20.0)


def logs_of(name: str, quick: bool) -> int:
    """Say how many log calls a tracker gets."""
    return QUICK_LOGS if quick else LOGS[name]


@functools.cache
def itself(name: str, number: int, quick: bool) -> Any:
    """Measure an SDK called as its documentation shows: the time of each call, and how long until the run is closed."""
    return run_child("benchmarks.peers:call_itself", peers=True, name=name, logs=logs_of(name, quick), close_s=CLOSE_S)


@functools.cache
def accelerate(name: str, number: int, quick: bool) -> Any:
    """Measure `Accelerator.log` with one tracker: the time of each call."""
    return run_child("benchmarks.peers:call_accelerate", peers=True, name=name, calls=20 if quick else 150)


@functools.cache
def transformers(number: int, quick: bool) -> Any:
    """Measure transformers with the seven: how long until the first step, log calls, memory, training steps."""
    calls, pairs, block_s = (20, 1, 0.5) if quick else (150, 2, 2.0)
    return run_child(
        "benchmarks.peers:call_transformers", peers=True, timeout_s=300, calls=calls, pairs=pairs, block_s=block_s
    )


def call_itself(name: str, logs: int, close_s: float) -> dict[str, Any]:
    """In a measuring process: log with one SDK and close its run. `closed` is false if that took too long."""
    from benchmarks.sources import ITSELF
    from benchmarks.timing import time_calls

    signal.signal(signal.SIGALRM, _too_late)
    closed = True
    try:
        with ITSELF[name]() as log:
            began = time.perf_counter()
            times = time_calls(log, logs)
            ended = time.perf_counter()
            signal.setitimer(signal.ITIMER_REAL, close_s)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except TimeoutError:
        closed = False
    end = time.perf_counter()
    return {"times_us": times, "calls_s": ended - began, "closed_s": end - began, "closed": closed}


def _too_late(*_: object) -> None:
    raise TimeoutError


def call_accelerate(name: str, calls: int) -> dict[str, Any]:
    """In a measuring process: log with accelerate. The run is left open: closing is not asked for, and may be slow."""
    from benchmarks.sources import through_accelerate
    from benchmarks.timing import time_calls

    source = through_accelerate(name)
    return {"times_us": time_calls(source.__enter__(), calls)}


def call_transformers(calls: int, pairs: int, block_s: float) -> dict[str, Any]:
    """In a measuring process: do what `transformers.Trainer` does with its callbacks, before and in its loop."""
    import psutil
    import torch  # noqa: F401 - any training has it: neither its time nor its memory is the callbacks'

    from benchmarks.sources import Transformers
    from benchmarks.timing import alternate, time_calls, training_step

    steps = {size: training_step(size) for size in STEPS_MS}
    memory = psutil.Process().memory_info
    before = memory().rss
    began = time.perf_counter()
    subject = Transformers()
    built = time.perf_counter()
    subject.begin()
    ready = time.perf_counter()
    times = time_calls(subject.log, calls)
    blocks = {}
    for number, (size, step) in enumerate(steps.items(), 1):
        blocks[str(size)] = alternate(step, subject.log, pairs=pairs, block_s=block_s, first=number * 100_000)
    return {
        "import_and_build_s": built - began,
        "train_begin_s": ready - built,
        "first_step_s": ready - began,
        "times_us": times,
        "rss_added": memory().rss - before,
        "blocks": blocks,
    }
