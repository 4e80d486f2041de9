"""What measuring processes time: log calls, in a row or between work, and training steps in alternating blocks."""

import time
from collections.abc import Callable
from typing import Any

from benchmarks.sources import Log, ten_scalars

Step = Callable[[], object]


def time_calls(log: Log, calls: int, work: Step | None = None, first: int = 0) -> list[float]:
    """Time each of so many log calls, in microseconds; *work* is done before each, and not timed."""
    clock = time.perf_counter_ns
    times = []
    for step in range(first, first + calls):
        values = ten_scalars(step)
        if work is not None:
            work()
        began = clock()
        log(values, step)
        times.append((clock() - began) / 1e3)
    return times


def time_steps(step: Step, log: Log | None, duration_s: float, first: int = 0) -> list[float]:
    """Time training steps for a while, in microseconds each, with or without a log call in every one."""
    clock = time.perf_counter_ns
    times: list[float] = []
    end = clock() + duration_s * 1e9
    while clock() < end:
        number = first + len(times)
        values = ten_scalars(number)  # made in both cases, timed in neither
        began = clock()
        step()
        if log is not None:
            log(values, number)
        times.append((clock() - began) / 1e3)
    return times


def alternate(
    step: Step, log: Log, *, pairs: int, block_s: float, first: int = 0, settle: Step = lambda: None
) -> list[dict[str, list[float]]]:
    """Time blocks of steps with and without logging, in turn; what this process started is stopped during the latter.

    Args:
        step: One training step.
        log: Logs ten scalars.
        pairs: How many blocks of each kind.
        block_s: How long a block lasts, in seconds.
        first: The first step number.
        settle: Called after a block with logging, untimed: waits until what it logged is delivered.
    """
    blocks: list[dict[str, list[float]]] = []
    for pair in range(pairs):
        block: dict[str, list[float]] = {}
        for kind in ("with", "without") if pair % 2 else ("without", "with"):
            if kind == "with":
                block[kind] = time_steps(step, log, block_s, first)
                first += len(block[kind])
                settle()
            else:
                with Stopped():
                    block[kind] = time_steps(step, None, block_s)
        blocks.append(block)
    return blocks


class Stopped:
    """Stops all descendants of this process for a while."""

    def __enter__(self) -> None:
        import psutil

        self.processes: list[Any] = psutil.Process().children(recursive=True)
        for process in self.processes:
            process.suspend()

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            process.resume()


def busy_work(target_ms: float) -> Step:
    """Return work on one core that takes about so many milliseconds and, like training, turns the caches over."""
    import numpy as np

    numbers = np.random.default_rng(0).random(2**16)  # 512 KiB

    def work(times: int) -> None:
        for _ in range(times):
            np.add(numbers, 1.0) * 2.0

    work(20)
    began = time.perf_counter()
    work(50)
    count = max(1, round(target_ms / 1e3 / ((time.perf_counter() - began) / 50)))
    return lambda: work(count)


def training_step(target_ms: float) -> Step:
    """Return a step of a small PyTorch network (forward, backward, SGD) that is as wide as the time allows."""
    return _network(fitting_width(_network, target_ms))


def fitting_width(network: Callable[[int], Step], target_ms: float) -> int:
    """Find the width at which the step of a network takes so many milliseconds."""
    low, high = 4, 4096
    while high - low > max(2, low // 32):
        middle = (low + high) // 2
        if _step_ms(network(middle)) < target_ms:
            low = middle
        else:
            high = middle
    return low


def _network(width: int) -> Step:
    from torch import nn, optim, randint, randn

    model = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10))
    optimizer = optim.SGD(model.parameters(), lr=1e-3)
    inputs, targets = randn(64, 64), randint(0, 10, (64,))

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(model(inputs), targets).backward()
        optimizer.step()

    return step


def _step_ms(step: Step) -> float:
    """Measure a step by its quicker tenth, which other processes of the machine spoil least."""
    time_steps(step, None, 0.05)
    times = sorted(time_steps(step, None, 0.15))
    return times[len(times) // 10] / 1e3
