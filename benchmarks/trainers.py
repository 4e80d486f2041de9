"""What does a trainer add to the step of the loop that one would write by hand?"""

import statistics
import time
from collections.abc import Sequence
from typing import Any

from benchmarks.harness import interleaved, run_child
from benchmarks.peers import STEPS_MS
from benchmarks.report import Answer, Budget, Table, duration, ratio

SMALL, BIG = STEPS_MS
LIMITS = {SMALL: 1.03, BIG: 1.01}
STEADY = 1.25
SUBJECTS = ("by hand", "runcast", "transformers", "lightning")
NOTE = (
    "× is the median over the rounds of the median step / that of the loop by hand in the same round. One thread; "
    "batches are ready; fused AdamW, a linear schedule, clipped gradients."
)
WARM = 10  # the first steps of a block are slower


def measure(quick: bool) -> Answer:
    """Train the same network with each, block by block in turn, in one process; nothing is reported or shown."""
    rounds, steps = (1, {SMALL: 40, BIG: 15}) if quick else (9, {SMALL: 400, BIG: 60})
    subjects: dict[str, Any] = {
        f"{size} ms": lambda number, size=size: run_child(
            "benchmarks.trainers:train", timeout_s=400, size=size, steps=steps[size], rounds=rounds
        )
        for size in STEPS_MS
    }
    answers, failures = interleaved(subjects, 1)
    table = Table(
        "Training step by hand and with trainers, nothing reported",
        ("step", "trainer", "median", "× by hand", "added", "p10", "p90"),
        notes=[NOTE],
    )
    budgets = []
    for size in STEPS_MS:
        name = f"{size} ms"
        value = None
        for answer in answers[name]:
            ratios = {subject: _ratio(answer, subject) for subject in SUBJECTS}
            table.rows += [_row(name, subject, answer, ratios[subject]) for subject in SUBJECTS]
            medians = [statistics.median(block) for block in answer["by hand"]]
            if (drift := max(medians) / min(medians)) > STEADY:
                table.notes.append(f"{name}: no verdict, as the loop by hand differs {ratio(drift)}-fold by itself.")
            else:
                value = ratios["runcast"]
        budgets.append(Budget(f"step with the reference trainer / by hand, {name}", value, LIMITS[size], "×"))
    table.rows += [[name, reason, "", "", "", "", ""] for name, reason in failures.items()]
    return Answer([table], budgets)


def _ratio(answer: dict[str, list[list[float]]], subject: str) -> float:
    pairs = zip(answer[subject], answer["by hand"], strict=True)
    return statistics.median(statistics.median(mine) / statistics.median(hand) for mine, hand in pairs)


def _row(name: str, subject: str, answer: dict[str, list[list[float]]], times: float) -> list[str]:
    steps = sorted(time for block in answer[subject] for time in block)
    hand = statistics.median(time for block in answer["by hand"] for time in block)
    spots = [steps[int(share * len(steps))] for share in (0.1, 0.9)]
    added = duration(max(0.0, (times - 1) * hand))
    return [name, subject, duration(statistics.median(steps)), ratio(times), added, *map(duration, spots)]


def train(size: float, steps: int, rounds: int, subjects: Sequence[str] = SUBJECTS) -> dict[str, list[list[float]]]:
    """In a measuring process: return the times of the steps, in microseconds, of each subject in each round.

    Args:
        size: How long a step by hand shall take, in milliseconds.
        steps: The steps of each block, after its first ones.
        rounds: How many blocks each subject has.
        subjects: Names in `benchmarks.trainer_loops.LOOPS`.
    """
    import torch

    from benchmarks.timing import fitting_width
    from benchmarks.trainer_loops import LOOPS, Work, deep_network, quietly, random_batches

    torch.set_num_threads(1)
    batches = random_batches(16, 64)
    width = fitting_width(lambda width: _plain_step(deep_network(width), batches[0]), size)
    work = Work(lambda: deep_network(width), batches, WARM + steps)
    times: dict[str, list[list[float]]] = {subject: [] for subject in subjects}
    with quietly():
        for number in range(rounds + 1):
            for subject in list(subjects)[:: -1 if number % 2 else 1]:
                ticks: list[int] = []
                LOOPS[subject](work, lambda ticks=ticks: ticks.append(time.perf_counter_ns()))  # type: ignore[misc]
                steps_ns = [b - a for a, b in zip(ticks[WARM - 1 :], ticks[WARM:], strict=False)]
                if number:  # the first round fills caches
                    times[subject].append([ns / 1e3 for ns in steps_ns])
    return times


def _plain_step(model: Any, batch: dict[str, Any]) -> Any:
    """Return the step of the loop by hand, for finding the size of the network."""
    import torch

    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, fused=True)

    def step() -> None:
        model(**batch)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step
