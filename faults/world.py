"""What the world does to a run: servers that are away, full disks, clocks that jump, kills, suspensions.

`trials` lists them. Each trains a small network (`world_training.py`), plays its fault, takes the fault away, syncs
twice, from another directory, moves the runs, and reads the tracker back: every point has to be there once.
"""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

from faults import machine
from faults.cell import Cell, Trial
from faults.servers import RETRY_AFTER_S, MlflowServer
from faults.stage import HALF, LATER, STEPS, Stage, whole

MANY_REQUESTS = 400  # for ten seconds: a batch at most every quarter of a second, and some requests around it
PART = "what the world does"
LOCAL = ("tensorboard", "dvclive", "mlflow", "wandb", "comet_ml", "clearml")
ONLINE = ("mlflow", "wandb", "comet_ml", "clearml")


def trials() -> list[Trial]:
    """List every trial of this part."""
    found: list[Trial] = []

    def add(fault: str, moment: str, tracker: str, play: Callable[[Path], Cell], *, fast: bool = False) -> None:
        def run(folder: Path) -> Cell:
            return dataclasses.replace(play(folder), part=PART, fault=fault, moment=moment)

        online = " online" if tracker in ONLINE and play.__name__.startswith("online") else ""
        found.append(Trial(part=PART, fault=fault, moment=moment, tracker=tracker + online, fast=fast, run=run))

    for tracker in ONLINE:
        add(
            "the server is down",
            "at the start",
            tracker,
            _online(tracker, down_at_the_start),
            fast=tracker == "clearml",
        )
        add("the server dies and comes back", "in the middle", tracker, _online(tracker, dies_and_comes_back))
        for mood, words in MOODS.items():
            add(f"the server {words}", "in the middle", tracker, _online(tracker, moody(mood)))
        add("the run is deleted there", "in the middle", tracker, _online(tracker, deleted_in_the_middle))
        add("the run is deleted there", "before it is resumed", tracker, _online(tracker, deleted_before_a_resume))
        add("the run is deleted there", "after the end", tracker, _online(tracker, deleted_after_the_end))
        add("the delivery is killed 3 times", "while it trains", tracker, _online(tracker, killed_while_it_trains))
        add("10,000 calls of log in 10 s", "in the middle", tracker, _online(tracker, many_calls))
    for fault, moment, trackers, play, fast in _of_the_machine():
        for tracker in trackers:
            add(fault, moment, tracker, _local(tracker, play), fast=tracker in fast)
    return found


def _of_the_machine() -> Iterator[tuple[str, str, tuple[str, ...], Callable[[Stage], Cell], tuple[str, ...]]]:
    """Yield fault, moment, trackers, what to play, and the trackers with which it belongs to `make test`."""
    yield "the disk is full", "at the start", ("tensorboard",), machine.full_at_the_start, ("tensorboard",)
    yield "the disk is full, then is not", "in the middle", LOCAL, machine.full_in_the_middle, ("tensorboard",)
    yield "the disk is full", "until the end", LOCAL, machine.full_at_the_end, ()
    yield "the folder is read-only", "at the start", ("tensorboard",), machine.read_only_at_the_start, ()
    yield "the folder becomes read-only", "in the middle", LOCAL, machine.read_only_in_the_middle, ("clearml",)
    yield "the clock jumps back an hour", "in the middle", LOCAL, machine.clock_jumps_back, ()
    yield "the delivery is killed 3 times", "while it trains", LOCAL, machine.delivery_killed_while_it_trains(3), ()
    again = machine.delivery_killed_again_and_again
    yield "the delivery is killed 50 times", "at random moments", LOCAL, again(50), ()
    yield "the delivery is killed 3 times", "at random moments", ("dvclive",), again(3), ("dvclive",)
    cut = machine.killed_and_cut
    yield "all is killed and files are cut", "at 12 random bytes", LOCAL, cut(12), ()
    yield "all is killed and files are cut", "at a random byte", ("tensorboard",), cut(1), ("tensorboard",)
    yield "the run is deleted there", "in the middle", ("mlflow",), machine.deleted_in_the_store, ("mlflow",)
    yield "all is suspended and resumed", "in the middle", LOCAL, machine.suspended, ()


def _local(tracker: str, play: Callable[[Stage], Cell]) -> Callable[[Path], Cell]:
    def local(folder: Path) -> Cell:
        with Stage(folder, tracker) as stage:
            return play(stage)

    return local


MOODS = {
    "500": "answers 500",
    "429": "answers 429 with Retry-After",
    "hole": "never answers",
    "slow": "answers late",
    "taken": "takes requests and answers 500",
}


# Servers


def _online(tracker: str, play: Callable[[Stage], Cell]) -> Callable[[Path], Cell]:
    def online(folder: Path) -> Cell:
        with Stage(folder, tracker, online=True) as stage:
            return play(stage)

    return online


def down_at_the_start(stage: Stage) -> Cell:
    """The server is not there while the training runs; later it is."""
    training = stage.train()
    code = training.end()
    stage.wait_for_deliveries()
    stage.serve()
    stage.settle()
    return stage.cell(training, code, command=True)


def dies_and_comes_back(stage: Stage) -> Cell:
    """The server dies, and comes back while the training still runs; nobody needs to sync."""
    stage.serve()
    stage.environment["RUNCAST_FINISH_TIMEOUT_S"] = "90"
    training = stage.train(HALF, LATER)
    training.reach()
    stage.wait_until(lambda: stage.state().points)
    if isinstance(stage.server, MlflowServer):
        stage.server.stop()
    stage.proxy.close()
    training.go()
    training.reach()
    stage.wait_until(lambda: stage.state().phase == "retrying", 5)
    stage.serve()
    code = training.end()
    state = stage.state()
    problems = [] if state.phase == "finished" else [f"the delivery is {state.phase}: {state.error}"]
    stage.settle()
    return stage.cell(training, code, exit_within_s=60, problems=problems)


def moody(mood: str) -> Callable[[Stage], Cell]:
    """The server has a mood from the middle on, until the training is over."""

    def play(stage: Stage) -> Cell:
        stage.serve()
        if mood == "hole":
            stage.environment["RUNCAST_CALL_TIMEOUT_S"] = "15"
        training = stage.train(HALF)
        training.reach()
        stage.wait_until(lambda: stage.state().points)
        stage.proxy.set(mood)
        code = training.end()
        hasty = _hasty(stage) if mood == "429" else []
        if stage.tracker in ("wandb", "comet_ml"):  # their SDKs try again by themselves, and we can only tell
            stage.notes, hasty = [*stage.notes, *hasty], []
        stage.wait_for_deliveries()
        stage.proxy.set("open")
        stage.settle()
        cell = stage.cell(training, code, problems=hasty, command=mood != "slow")
        if mood == "taken" and stage.tracker == "comet_ml":  # whether Comet keeps what its SDK repeats is not known
            cell = dataclasses.replace(cell, twice=None, note=f"repeated by the SDK; {cell.note}")
        return cell

    return play


def _hasty(stage: Stage) -> list[str]:
    """Name requests of one kind that came sooner than Retry-After allows after a 429."""
    refused = [(moment, path) for moment, path, mood in stage.proxy.requests if mood == "429"]
    gaps = [
        later - moment
        for at, (moment, path) in enumerate(refused)
        for later, other in refused[at + 1 : at + 2]
        if other == path
    ]
    hasty = [gap for gap in gaps if gap < RETRY_AFTER_S - 0.5]
    return [f"{len(hasty)} of {len(gaps)} requests came {min(hasty):.1f} s after a 429"] if hasty else []


def deleted_in_the_middle(stage: Stage) -> Cell:
    """Somebody deletes the run on the server while it trains."""
    stage.serve()
    stage.environment["RUNCAST_FINISH_TIMEOUT_S"] = "60"
    training = stage.train(HALF)
    training.reach()
    stage.wait_until(lambda: stage.state().points)
    assert stage.server is not None
    stage.server.delete()
    code = training.end()
    stage.settle()
    return stage.cell(training, code, exit_within_s=60)


def deleted_before_a_resume(stage: Stage) -> Cell:
    """Somebody deletes the run on the server before it is resumed."""
    stage.serve()
    stage.environment["RUNCAST_FINISH_TIMEOUT_S"] = "60"
    first = stage.train(steps=HALF)
    first.end()
    assert stage.server is not None
    stage.server.delete()
    second = stage.train(init={"resume": "must"}, first=HALF, steps=HALF)
    second.end()
    stage.settle()
    losses = [*first.facts["losses"], *second.facts["losses"]]
    points = [p for step, loss in enumerate(losses) for p in (("train/loss", loss, step), ("train/index", step, step))]
    return stage.cell(None, None, points)


def deleted_after_the_end(stage: Stage) -> Cell:
    """Somebody deletes the run on the server when all was delivered, and somebody else wants it back."""
    stage.serve()
    stage.environment["RUNCAST_FINISH_TIMEOUT_S"] = "60"
    training = stage.train()
    code = training.end()
    assert stage.server is not None
    stage.server.delete()
    stage.runcast("sync", "run", "--dir", str(stage.root), "--mend")
    stage.settle()
    return stage.cell(training, code, exit_within_s=60)


def killed_while_it_trains(stage: Stage) -> Cell:
    """The delivery is killed at random moments, with requests under way."""
    stage.serve()
    return machine.delivery_killed_while_it_trains(3)(stage)


def many_calls(stage: Stage) -> Cell:
    """Ten thousand calls within ten seconds are a few requests: their number depends on the time, not on the calls."""
    stage.serve()
    stage.environment["RUNCAST_FINISH_TIMEOUT_S"] = "60"
    training = stage.train(1, steps_per_s=STEPS / 8, burst=24)
    training.reach()
    stage.wait_until(lambda: stage.state().url)
    before = len(stage.proxy.requests)
    code = training.end()
    requests = len(stage.proxy.requests) - before
    stage.notes.append(f"{requests} requests for {training.facts.get('bursts', 0):,} calls")
    stage.settle()
    problems = [] if requests < MANY_REQUESTS else [f"{requests} requests"]
    points = [*whole(), *(("train/burst", float(n), step) for step in range(STEPS) for n in range(24))]
    return stage.cell(training, code, points, problems=problems, exit_within_s=60)
