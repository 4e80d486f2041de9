"""What the world does to a run: servers that are away, full disks, clocks that jump, kills, suspensions.

`trials` lists them. Each trains a small network (`world_training.py`), plays its fault, takes the fault away, syncs
twice, from another directory, moves the runs, and reads the tracker back: every point has to be there once.
"""

import dataclasses
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from faults import machine
from faults.cell import Cell, Trial
from faults.laboratory import HALF, LATER, SERVICES, STEPS, Laboratory, whole
from faults.servers import RETRY_AFTER_S, Standin

MANY_REQUESTS = 400  # for ten seconds: a batch at most every quarter of a second, and some requests around it
PART = "what the world does"
MORE = tuple(name for name in ("swanlab", "trackio", "aim") if find_spec(name) is not None)  # see `make trackers`
LOCAL = ("tensorboard", "dvclive", "mlflow", "wandb", "comet_ml", "clearml", *MORE)
ONLINE = ("mlflow", "wandb", "comet_ml", "clearml", *(name for name in MORE if name in SERVICES))


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
        add("the watcher is killed 10 times", "while it trains elsewhere", tracker, _online(tracker, watcher_killed))
        add("10,000 calls of log in 10 s", "in the middle", tracker, _online(tracker, many_calls))
    for fault, moment, trackers, play, fast in _of_the_machine():
        for tracker in trackers:
            add(fault, moment, tracker, _local(tracker, play), fast=tracker in fast)
    return found


def _of_the_machine() -> Iterator[tuple[str, str, tuple[str, ...], Callable[[Laboratory], Cell], tuple[str, ...]]]:
    """Yield fault, moment, trackers, what to play, and the trackers with which it belongs to `make test`."""
    yield "the disk is full", "at the start", ("tensorboard",), machine.full_at_the_start, ()
    yield "the disk is full, then is not", "in the middle", LOCAL, machine.full_in_the_middle, ("tensorboard",)
    yield "the disk is full", "until the end", LOCAL, machine.full_at_the_end, ()
    yield "the folder is read-only", "at the start", ("tensorboard",), machine.read_only_at_the_start, ()
    yield "the folder becomes read-only", "in the middle", LOCAL, machine.read_only_in_the_middle, ("tensorboard",)
    yield "the clock jumps back an hour", "in the middle", LOCAL, machine.clock_jumps_back, ()
    yield "the delivery is killed 3 times", "while it trains", LOCAL, machine.delivery_killed_while_it_trains(3), ()
    courier = machine.courier_killed_while_it_trains
    yield "the courier is killed 3 times", "while it trains", LOCAL, courier(3), ("tensorboard",)
    yield "the courier is killed 50 times", "while it trains", ("tensorboard", "wandb", "mlflow"), courier(50), ()
    watcher = machine.watcher_killed
    yield "the watcher is killed 50 times", "while it trains elsewhere", ("tensorboard", "dvclive"), watcher(50), ()
    again = machine.delivery_killed_again_and_again
    yield "the delivery is killed 50 times", "at random moments", LOCAL, again(50), ()
    yield "the delivery is killed 3 times", "at random moments", ("dvclive",), again(3), ("dvclive",)
    cut = machine.killed_and_cut
    yield "all is killed and files are cut", "at 12 random bytes", LOCAL, cut(12), ()
    yield "all is killed and files are cut", "at a random byte", ("tensorboard",), cut(1), ("tensorboard",)
    yield "the run is deleted there", "in the middle", ("mlflow",), machine.deleted_in_the_store, ()
    yield "all is suspended and resumed", "in the middle", LOCAL, machine.suspended, ()


def _local(tracker: str, play: Callable[[Laboratory], Cell]) -> Callable[[Path], Cell]:
    def local(folder: Path) -> Cell:
        with Laboratory(folder, tracker) as laboratory:
            return play(laboratory)

    return local


MOODS = {
    "500": "answers 500",
    "429": "answers 429 with Retry-After",
    "hole": "never answers",
    "slow": "answers late",
    "taken": "takes requests and answers 500",
}


# Servers


def _online(tracker: str, play: Callable[[Laboratory], Cell]) -> Callable[[Path], Cell]:
    def online(folder: Path) -> Cell:
        with Laboratory(folder, tracker, online=True) as laboratory:
            return play(laboratory)

    return online


def down_at_the_start(laboratory: Laboratory) -> Cell:
    """The server is not there while the training runs; later it is."""
    training = laboratory.train()
    code = training.end()
    laboratory.wait_for_deliveries()
    laboratory.serve()
    laboratory.settle()
    return laboratory.cell(training, code, command=True)


def dies_and_comes_back(laboratory: Laboratory) -> Cell:
    """The server dies, and comes back during the training; no sync is needed."""
    laboratory.serve()
    laboratory.environment["RUNCAST_FINISH_TIMEOUT_S"] = "90"
    training = laboratory.train(HALF, LATER)
    training.reach()
    laboratory.wait_until(lambda: laboratory.state().points)
    if not isinstance(laboratory.server, Standin):
        laboratory.server.stop()
    laboratory.proxy.close()
    training.go()
    training.reach()
    laboratory.wait_until(lambda: laboratory.state().phase == "retrying", 5)
    laboratory.serve()
    code = training.end()
    state = laboratory.state()
    problems = [] if state.phase == "finished" else [f"the delivery is {state.phase}: {state.error}"]
    laboratory.settle()
    return laboratory.cell(training, code, exit_within_s=60, problems=problems)


def moody(mood: str) -> Callable[[Laboratory], Cell]:
    """The server has a mood from the middle on, until the training is over."""

    def play(laboratory: Laboratory) -> Cell:
        laboratory.serve()
        if mood == "hole":
            laboratory.environment["RUNCAST_CALL_TIMEOUT_S"] = "15"
        training = laboratory.train(HALF)
        training.reach()
        laboratory.wait_until(lambda: laboratory.state().points)
        laboratory.proxy.set(mood)
        code = training.end()
        hasty = _hasty(laboratory) if mood == "429" else []
        if laboratory.tracker in ("wandb", "comet_ml"):  # their SDKs try again by themselves, and we can only tell
            laboratory.notes, hasty = [*laboratory.notes, *hasty], []
        laboratory.wait_for_deliveries()
        laboratory.proxy.set("open")
        laboratory.settle()
        cell = laboratory.cell(training, code, problems=hasty, command=mood != "slow")
        if (
            mood == "taken" and laboratory.tracker == "comet_ml"
        ):  # whether Comet keeps what its SDK repeats is not known
            cell = dataclasses.replace(cell, twice=None, note=f"repeated by the SDK; {cell.note}")
        return cell

    return play


def _hasty(laboratory: Laboratory) -> list[str]:
    """Name requests of one kind that came sooner than Retry-After allows after a 429."""
    refused = [(moment, path) for moment, path, mood in laboratory.proxy.requests if mood == "429"]
    gaps = [
        later - moment
        for at, (moment, path) in enumerate(refused)
        for later, other in refused[at + 1 : at + 2]
        if other == path
    ]
    hasty = [gap for gap in gaps if gap < RETRY_AFTER_S - 0.5]
    return [f"{len(hasty)} of {len(gaps)} requests came {min(hasty):.1f} s after a 429"] if hasty else []


def deleted_in_the_middle(laboratory: Laboratory) -> Cell:
    """Somebody deletes the run on the server while it trains."""
    laboratory.serve()
    laboratory.environment["RUNCAST_FINISH_TIMEOUT_S"] = "60"
    training = laboratory.train(HALF)
    training.reach()
    laboratory.wait_until(lambda: laboratory.state().points)
    assert laboratory.server is not None
    laboratory.server.delete()
    code = training.end()
    laboratory.settle()
    return laboratory.cell(training, code, exit_within_s=60)


def deleted_before_a_resume(laboratory: Laboratory) -> Cell:
    """Somebody deletes the run on the server before it is resumed."""
    laboratory.serve()
    laboratory.environment["RUNCAST_FINISH_TIMEOUT_S"] = "60"
    first = laboratory.train(steps=HALF)
    first.end()
    assert laboratory.server is not None
    laboratory.server.delete()
    second = laboratory.train(init={"resume": "must"}, first=HALF, steps=HALF)
    second.end()
    laboratory.settle()
    losses = [*first.facts["losses"], *second.facts["losses"]]
    points = [p for step, loss in enumerate(losses) for p in (("train/loss", loss, step), ("train/index", step, step))]
    return laboratory.cell(None, None, points)


def deleted_after_the_end(laboratory: Laboratory) -> Cell:
    """The run is deleted on the server after everything was delivered, and then restored."""
    laboratory.serve()
    laboratory.environment["RUNCAST_FINISH_TIMEOUT_S"] = "60"
    training = laboratory.train()
    code = training.end()
    assert laboratory.server is not None
    laboratory.server.delete()
    laboratory.runcast("sync", "run", "--dir", str(laboratory.root), "--mend")
    laboratory.settle()
    return laboratory.cell(training, code, exit_within_s=60)


def killed_while_it_trains(laboratory: Laboratory) -> Cell:
    """The delivery is killed at random moments, with requests under way."""
    laboratory.serve()
    return machine.delivery_killed_while_it_trains(3)(laboratory)


def watcher_killed(laboratory: Laboratory) -> Cell:
    """The watcher is killed at random moments, with requests under way; the training has no network."""
    laboratory.serve()
    return machine.watcher_killed(10)(laboratory)


def many_calls(laboratory: Laboratory) -> Cell:
    """Ten thousand calls within ten seconds are a few requests: their number depends on the time, not on the calls."""
    laboratory.serve()
    laboratory.environment["RUNCAST_FINISH_TIMEOUT_S"] = "60"
    training = laboratory.train(1, steps_per_s=STEPS / 8, burst=24)
    training.reach()
    laboratory.wait_until(lambda: laboratory.state().url)
    before = len(laboratory.proxy.requests)
    code = training.end()
    requests = len(laboratory.proxy.requests) - before
    laboratory.notes.append(f"{requests} requests for {training.facts.get('bursts', 0):,} calls")
    laboratory.settle()
    problems = [] if requests < MANY_REQUESTS else [f"{requests} requests"]
    points = [*whole(), *(("train/burst", float(n), step) for step in range(STEPS) for n in range(24))]
    return laboratory.cell(training, code, points, problems=problems, exit_within_s=60)
