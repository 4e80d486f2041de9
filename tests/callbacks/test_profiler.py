"""A profile of chosen steps, in both trainers."""

import gzip
import json

import pytest

from runcast.callbacks.profiler import ProfilerCallback
from runcast.core.errors import OptionError


def names_in(path):
    """List the names of what a trace has recorded."""
    with gzip.open(path) as file:
        return {event.get("name") for event in json.load(file)["traceEvents"]}


def test_the_trace_of_the_steps_is_an_artifact_of_the_run(make):
    """Of steps 2 and 3: the forward pass and the optimizer are in it."""
    trainer, report = make(max_steps=6)
    callback = ProfilerCallback(first_step=2, steps=2, every=3)
    trainer.add_callback(callback)

    trainer.train()

    assert [path.name for path in callback.traces] == [
        f"rank-0-steps-{steps}.pt.trace.json.gz" for steps in ("2-3", "5-6")
    ]
    assert {"aten::linear", "aten::mse_loss"} & names_in(callback.traces[0])
    lines = (report.run.dir / "journal.jsonl").read_text().splitlines()
    kinds = [record["kind"] for record in map(json.loads, lines) if record["type"] == "artifact"]
    assert kinds.count("profile") == 2


def test_a_training_that_ends_earlier_has_the_rest_profiled_and_one_that_fails_is_stopped(make):
    """A step that was begun is in the trace; after an exception the profiler is off, and the next one works."""
    trainer, _ = make(max_steps=3)
    callback = ProfilerCallback(first_step=3, steps=5)
    trainer.add_callback(callback)
    trainer.train()
    assert [path.name for path in callback.traces] == ["rank-0-steps-3-3.pt.trace.json.gz"]

    def fail(args, state, control, **kwargs):
        raise ValueError("out of luck")

    trainer, _ = make(max_steps=3)
    trainer.add_callback(broken := ProfilerCallback(first_step=1, steps=5))
    trainer.add_callback("on_step_end", fail)
    with pytest.raises(ValueError, match="out of luck"):
        trainer.train()
    assert broken.traces == []
    assert broken._profile is None


@pytest.mark.parametrize("wrong", [{"first_step": 0}, {"steps": 0}, {"steps": 3, "every": 2}])
def test_numbers_that_describe_no_steps_are_refused(wrong):
    """At construction."""
    with pytest.raises(OptionError, match="describe no steps"):
        ProfilerCallback(**wrong)
