"""What does a training cost in each framework: nothing reported, its own integrations, runcast?"""

import statistics
from typing import Any, NamedTuple

from benchmarks.harness import interleaved, run_child
from benchmarks.report import Answer, Budget, Table, duration, ratio

LIMIT = 1.05
KINDS = {
    "nothing": "nothing reported",
    "empty": "a logger that does nothing",  # what a framework spends by itself as soon as there is one
    "theirs": "its own integrations",
    "ours": "runcast",
}


class Framework(NamedTuple):
    """Names the function of `benchmarks.framework_loops` that trains, and the trackers that both sides support."""

    train: str
    trackers: tuple[str, ...]


SIX = ("tensorboard", "mlflow", "wandb", "comet_ml", "clearml", "dvclive")
FRAMEWORKS = {
    "transformers": Framework("train_transformers", SIX),
    "Lightning": Framework("train_lightning", ("tensorboard", "mlflow", "wandb", "comet_ml")),
    "Accelerate": Framework("train_accelerate", SIX),
    "Ignite": Framework("train_ignite", ("tensorboard", "mlflow", "wandb", "clearml")),
}


def measure(quick: bool) -> Answer:
    """Train the same in a process for each framework and kind, in turn, and compare step, start and end."""
    rounds, steps = (1, 60) if quick else (3, 1000)

    def training(framework: Framework, kind: str) -> Any:
        trackers = list(framework.trackers) if kind in ("theirs", "ours") else []
        arguments = {"train": framework.train, "kind": kind, "trackers": trackers, "steps": steps}
        return run_child("benchmarks.framework_loops:measure", peers=True, timeout_s=400, **arguments)

    subjects: dict[tuple[str, str], str] = {
        (name, kind): f"{name}, {what}" + (f", {len(of.trackers)} trackers" if kind in ("theirs", "ours") else "")
        for name, of in FRAMEWORKS.items()
        for kind, what in KINDS.items()
    }
    calls: dict[str, Any] = {
        subject: lambda number, of=FRAMEWORKS[name], kind=kind: training(of, kind)
        for (name, kind), subject in subjects.items()
    }
    answers, failures = interleaved(calls, rounds)
    table = Table(
        "The same training in each framework, every step logged",
        (
            "subject",
            "step: median",
            "×",
            "mean",
            "×",
            "CPU of its thread",
            "×",
            "to the first step",
            "last step to end",
        ),
        notes=[
            "× is against nothing reported; all are medians over the rounds. The end is that of the interpreter, waited for for a minute."
        ],
    )
    budgets = []
    for (name, kind), subject in subjects.items():
        if not answers[subject]:
            continue
        base = answers[subjects[name, "nothing"]]
        cells: list[str] = []
        against: dict[str, float] = {}
        for key in ("median_us", "mean_us", "cpu_us"):
            value = _over_rounds(answers[subject], key)
            if base:
                against[key] = value / _over_rounds(base, key)
            cells += [duration(value), ratio(against[key]) if base else "–"]
        ends = [duration(_over_rounds(answers[subject], key) * 1e6) for key in ("first_step_s", "end_s")]
        table.rows.append([subject, *cells, *ends])
        if kind == "ours":
            budgets.append(
                Budget(f"step in {name} with runcast / nothing: median", against.get("median_us"), LIMIT, "×")
            )
    table.rows += [[subject, reason, *[""] * 7] for subject, reason in failures.items()]
    return Answer([table], budgets)


def _over_rounds(answers: list[Any], key: str) -> float:
    return float(statistics.median(answer[key] for answer in answers))
