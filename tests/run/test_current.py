"""`runcast.log` and its siblings, as scripts that were written for W&B call them."""

import asyncio
import json
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import runcast
from runcast.journal.records import Finish, Media, Metrics, Params, Summary, points
from runcast.run.current import Current
from tests.journals import records

Start = Callable[..., runcast.Run]


@pytest.fixture(autouse=True)
def no_run_of_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin without a current run."""
    monkeypatch.setattr(Current, "begun", [])


def logged(run: runcast.Run) -> list[tuple[str, object, int]]:
    """List the points of a run's journal."""
    return [(key, value, step) for record in records(run, Metrics) for key, value, step, _ in points(record)]


def test_the_functions_mean_the_current_run(start: Start) -> None:
    """What is logged, configured, summarized and finished with them is that of the run in progress."""
    run = start(config={"lr": 0.5})

    assert runcast.run is run
    runcast.config.lr = 3
    runcast.config["seed"] = 1
    runcast.config = {"depth": 2}  # as scripts for W&B do now and then
    runcast.log({"loss": 0.25}, step=4)
    runcast.log_samples([{"prompt": "a"}])
    runcast.alert("done")
    runcast.summary["best"] = 0.125
    assert runcast.finish()

    assert run.status == "finished"
    assert runcast.run is None
    assert logged(run) == [("loss", 0.25, 4)]
    assert [record.values for record in records(run, Params)] == [
        *({"lr": 0.5}, {"lr": 3}, {"seed": 1}),
        {"depth": 2},
    ]
    assert [record.values for record in records(run, Summary)] == [{"best": 0.125}]
    assert [(record.key, record.kind, record.step) for record in records(run, Media)] == [
        ("samples", "table", 4),
        ("alerts", "text", 4),
    ]


def test_the_current_run_is_the_newest_that_is_open(start: Start) -> None:
    """When it is finished, an older one that is still open is meant again."""
    first, second = start(), start()

    assert runcast.run is second
    second.finish()
    assert runcast.run is first


def test_a_thread_that_has_begun_a_run_means_its_own(start: Start) -> None:
    """As for the trials of a sweep, one a thread; one that has begun none means the newest."""
    main, together = start(), threading.Barrier(2, timeout=60)
    own: list[runcast.Run] = [main, main]

    def train(number: int) -> None:
        own[number] = start()
        together.wait()
        runcast.log({"thread": number}, step=number)
        together.wait()
        runcast.finish()
        together.wait()
        runcast.log({"thread after its run": number}, step=number)

    threads = [threading.Thread(target=train, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    runcast.log({"main": 5}, step=5)
    other = threading.Thread(target=lambda: runcast.log({"helper": 6}, step=6))
    other.start()
    other.join()

    assert [logged(run) for run in own] == [[("thread", 0, 0)], [("thread", 1, 1)]]
    assert sorted(logged(main)) == [
        ("helper", 6, 6),
        ("main", 5, 5),
        ("thread after its run", 0, 0),
        ("thread after its run", 1, 1),
    ]


def test_a_task_that_has_begun_a_run_means_its_own(start: Start) -> None:
    """Of asyncio, whose tasks take turns in one thread."""

    async def train(number: int, turns: list[asyncio.Event]) -> runcast.Run:
        run = start()
        turns[number].set()
        await turns[1 - number].wait()
        runcast.log({"task": number}, step=number)
        return run

    async def main() -> list[runcast.Run]:
        turns = [asyncio.Event(), asyncio.Event()]
        return await asyncio.gather(*(train(number, turns) for number in range(2)))

    assert [logged(run) for run in asyncio.run(main())] == [[("task", 0, 0)], [("task", 1, 1)]]


@pytest.mark.parametrize("name", ["config", "summary"])
def test_without_a_run_an_error_says_what_to_call(name: str, start: Start) -> None:
    """Also after the run was finished."""
    assert not hasattr(runcast, name)
    with pytest.raises(runcast.RuncastError, match=rf"runcast\.{name} is for the current run.*Call runcast\.init"):
        getattr(runcast, name)
    start().finish()
    with pytest.raises(runcast.RuncastError, match=r"runcast\.log.* is for the current run.*Call runcast\.init"):
        runcast.log({"loss": 0.5})
    assert runcast.run is None
    assert runcast.finish()


def test_the_room_named_run_can_still_be_imported() -> None:
    """`runcast.run` is the current run, and its modules are where they were."""
    from runcast.run import init as module

    assert module.init is runcast.init
    assert runcast.run is None


def test_config_and_summary_are_kept_of_a_run(start: Start) -> None:
    """`run.config` and `run.summary` hold what any of the ways to set them has set."""
    run = start(config={"lr": 0.5})

    run.config.lr = 3
    run.log_params({"seed": 1})
    run.summary.best = 0.5
    run.log_summary({"last": 0.25})

    assert run.config == {"lr": 3, "seed": 1}
    assert run.summary == {"best": 0.5, "last": 0.25}


def test_a_config_that_is_assigned_is_recorded(start: Start) -> None:
    """To a run as to the module: it is added to what is there, and so is a summary."""
    run = start(config={"lr": 0.5})

    run.config = {"depth": 2}
    run.config |= {"width": 3}
    run.summary = SimpleNamespace(best=0.25)
    run.finish()

    assert run.config == {"lr": 0.5, "depth": 2, "width": 3}
    assert [record.values for record in records(run, Params)] == [{"lr": 0.5}, {"depth": 2}, {"width": 3}]
    assert [record.values for record in records(run, Summary)] == [{"best": 0.25}]


class OnDevice:
    """A result that is on a device."""

    shape, dtype, device = (), "float32", "cuda:0"

    def __getitem__(self, key: Any) -> "OnDevice":
        return self

    def item(self) -> float:
        return 0.5


def test_a_result_on_a_device_is_waited_for(start: Start) -> None:
    """A summary is of the end, where waiting costs nothing; a config describes what would have to be waited for."""
    run = start(config={"scale": OnDevice()})

    run.summary["best"] = OnDevice()
    run.log_summary({"test": {"loss": OnDevice()}, "word": "good"})

    assert [record.values for record in records(run, Summary)] == [{"best": 0.5}, {"test/loss": 0.5, "word": "good"}]
    assert run.config == {"scale": "OnDevice(float32, [], cuda:0)"}


def test_what_a_script_puts_into_a_list_of_the_config_raises_nothing_at_the_end(start: Start) -> None:
    """A list in a config is a plain one: whatever is in it when the run ends is kept for the next session."""
    run = start(id="run-1", config={"layers": [1]})
    run.config.layers += [np.int64(2), {3}]
    run.config["layers"].append(object)

    assert run.finish()

    assert start(id="run-1", resume="allow").config == {"layers": [1, 2, [3], "object"]}


def test_a_step_can_be_logged_in_parts(start: Start) -> None:
    """`commit=False` keeps the next call at the same step, as in W&B."""
    run = start()

    run.log({"a": 1}, commit=False)
    run.log({"b": 2})
    run.log({"a": 3})

    assert logged(run) == [("a", 1, 0), ("b", 2, 0), ("a", 3, 1)]


def test_a_text_is_kept_when_it_changes(start: Start) -> None:
    """A script that logs a word at every step gets one file for each change, not for each step."""
    run = start()

    for step, phase in enumerate(["warm-up", np.str_("warm-up"), "training", "training", "warm-up"]):
        run.log({"phase": phase, "loss": 0.5}, step=step)

    assert [(record.step, (run.dir / record.path).read_text()) for record in records(run, Media)] == [
        (0, "warm-up"),
        (2, "training"),
        (4, "warm-up"),
    ]
    assert run.statistics().dropped == {}


def test_a_resumed_run_has_the_config_that_was_set(start: Start) -> None:
    """What the script has changed in it is kept for the next session."""
    run = start(id="run-1", config={"lr": 0.5})
    run.config.lr = 3
    run.config["net"] = {"depth": 2}
    run.finish()

    again = start(id="run-1", resume="allow")

    assert again.config == {"lr": 3, "net": {"depth": 2}}
    assert again.config.net.depth == 2


@pytest.mark.parametrize(("code", "status"), [(0, "finished"), (1, "failed"), (255, "failed")])
def test_a_run_is_finished_with_an_exit_code(start: Start, code: int, status: str) -> None:
    """By keyword or first, as in scripts for W&B; also of the current run."""
    runs = [start(), start(), start()]

    runs[0].finish(exit_code=code)
    runs[1].finish(code)
    runcast.finish(exit_code=code)

    assert [run.status for run in runs] == [status] * 3
    assert [record.status for run in runs for record in records(run, Finish)] == [status] * 3


def test_a_run_is_renamed(start: Start, capsys: pytest.CaptureFixture[str]) -> None:
    """Its new name is the one in its folder, and the terminal says once who keeps the old one."""
    run = start(name="first")

    run.name = "lr 0.1"
    run.name = "lr 0.1"
    run.finish()

    assert run.name == "lr 0.1"
    assert json.loads((run.dir / "run.json").read_text())["name"] == "lr 0.1"
    assert (
        capsys.readouterr().err.count("the run first is now lr 0.1; a tracker that has opened it keeps the old name")
        == 1
    )


@pytest.mark.parametrize(("given", "name"), [(None, "first"), ("", "first"), (np.array([1, 2]), "[1 2]"), (0, "0")])
def test_a_run_is_renamed_to_anything(start: Start, given: Any, name: str) -> None:
    """Nothing keeps the name; an array is neither true nor false."""
    run = start(name="first")

    run.name = given

    assert run.name == name


def test_a_name_that_cannot_be_read_is_counted(start: Start) -> None:
    """As a value of `log` is."""

    class Raising:
        def __str__(self) -> str:
            raise ValueError

    run = start(name="first")
    run.name = Raising()  # type: ignore[assignment]

    assert run.name == "first"
    assert run.statistics().dropped == {"name": 1}
