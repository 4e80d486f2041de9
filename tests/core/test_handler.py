"""Callbacks are called in order, only for what they override; a broken reporter hurts nobody."""

import logging
import sys

import pytest

from runcast.core.errors import OptionError
from runcast.core.events import EVENTS, TrainerCallback, TrainerControl, TrainerState
from runcast.core.handler import CallbackHandler


class Recorder(TrainerCallback):
    """Remembers the events that it overrides."""

    def __init__(self, log=None, name="recorder"):
        self.log, self.name = [] if log is None else log, name

    def on_step_end(self, args, state, control, **kwargs):
        self.log.append((self.name, "on_step_end", kwargs))


def call(handler, event, **about):
    """Call an event with an empty state."""
    return handler.call(event, None, TrainerState(), TrainerControl(), **about)


def test_callbacks_are_called_in_the_order_in_which_they_were_added():
    """The second sees what the first did."""
    log = []
    handler = CallbackHandler([Recorder(log, "first"), Recorder(log, "second")])

    call(handler, "on_step_end")

    assert [name for name, _, _ in log] == ["first", "second"]


def test_a_hook_gets_the_context_and_what_the_event_is_about():
    """The model comes with every event."""
    recorder = Recorder()
    handler = CallbackHandler([recorder], model="the model")

    call(handler, "on_step_end", extra=1)

    assert recorder.log[0][2] == {"model": "the model", "extra": 1}


def test_a_hook_that_nobody_overrides_is_not_called():
    """Only overridden hooks are filed, also those of a callback of transformers and those set on the instance."""
    transformers = pytest.importorskip("transformers")

    class Theirs(transformers.TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            """Do nothing."""

    instance = TrainerCallback()
    instance.on_log = lambda *args, **kwargs: None
    handler = CallbackHandler([Recorder(), Theirs(), instance])

    assert [event for event in EVENTS if handler.has(event)] == ["on_step_end", "on_save", "on_log"]


def test_a_class_is_made_into_an_instance():
    """One may add a callback by its class."""
    handler = CallbackHandler([Recorder])

    assert isinstance(handler.callbacks[0], Recorder)


def test_what_is_no_callback_is_refused():
    """A typo is found when it is made."""
    with pytest.raises(OptionError, match="is not a callback"):
        CallbackHandler([42])
    with pytest.raises(OptionError, match=r"'on_setp_end' is not an event.*on_step_end"):
        CallbackHandler([("on_setp_end", print)])
    with pytest.raises(OptionError, match="needs a function"):
        CallbackHandler().add_callback("on_step_end")
    with pytest.raises(OptionError, match="every=0"):
        CallbackHandler().add_callback("on_step_end", print, every=0)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"every": 2}, [2, 4, 6]),
        ({"once": True}, [1]),
        ({"once": 4}, [4]),
        ({"before": 3}, [1, 2]),
        ({"after": 4}, [5, 6]),
        ({"every": 2, "after": 2, "before": 6}, [4]),
    ],
)
def test_a_function_is_called_when_its_filters_let_it(filters, expected):
    """Filters count the event from 1, and combine."""
    seen, count = [], 0
    handler = CallbackHandler()
    handler.add_callback("on_step_end", lambda *args, **kwargs: seen.append(count), **filters)

    for _ in range(6):
        count += 1
        call(handler, "on_step_end")

    assert seen == expected


def test_the_count_of_a_filter_survives_a_resume():
    """every=3 means every third step of the training, not of the session."""
    seen = []
    first, second = CallbackHandler(), CallbackHandler()
    first.add_callback("on_step_end", lambda *a, **k: None, every=3)
    second.add_callback("on_step_end", lambda *a, **k: seen.append(1), every=3)
    call(first, "on_step_end")
    call(first, "on_step_end")

    second.load_states(first.states())
    call(second, "on_step_end")

    assert seen == [1]


def test_callbacks_are_taken_out_by_class_instance_or_function():
    """What was taken out is not called again."""
    recorder = Recorder()
    handler = CallbackHandler([recorder])
    handler.add_callback("on_step_end", print)

    assert handler.pop_callback(Recorder) is recorder
    assert handler.pop_callback(Recorder) is None
    handler.remove_callback(print)

    assert handler.callbacks == []
    assert not handler.has("on_step_end")


def test_a_callback_may_return_another_control():
    """As in transformers, what a hook returns is the control from then on.

    None, or what a lambda happens to return, changes nothing.
    """
    other = TrainerControl(should_save=True)
    handler = CallbackHandler(
        [("on_step_end", lambda *a, **k: other), Recorder(), ("on_step_end", lambda *a, **k: 0.5)]
    )

    assert call(handler, "on_step_end") is other


@pytest.mark.parametrize(
    ("event", "about", "switches"),
    [
        ("on_train_begin", {}, ["should_training_stop"]),
        ("on_epoch_begin", {}, ["should_epoch_stop"]),
        ("on_step_begin", {}, ["should_log", "should_evaluate", "should_save"]),
        ("on_evaluate", {"metrics": {}}, ["should_evaluate"]),
        ("on_save", {}, ["should_save"]),
        ("on_log", {"logs": {}}, ["should_log"]),
    ],
)
def test_a_switch_goes_back_when_the_loop_has_done_what_it_says(event, about, switches):
    """The same switches as in transformers, at the same events."""
    control = TrainerControl(*[True] * 5)

    CallbackHandler().call(event, None, TrainerState(), control, **about)

    assert sorted(name for name, value in vars(control).items() if not value) == sorted(switches)


def test_a_callback_that_raises_is_named_with_its_hook():
    """The exception keeps its type, and the user learns which callback and where."""

    class Broken(TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            raise ZeroDivisionError("one over none")

    with pytest.raises(ZeroDivisionError, match="one over none") as caught:
        call(CallbackHandler([Broken]), "on_step_end")

    if sys.version_info >= (3, 11):  # exceptions had no notes before
        assert caught.value.__notes__ == ["The callback Broken raised in on_step_end at step 0."]


class Pruned(Exception):
    """Says something to whoever called the Trainer, as optuna's TrialPruned does."""


@pytest.mark.parametrize(
    "kind", [Pruned, StopIteration, StopAsyncIteration, KeyboardInterrupt, SystemExit, GeneratorExit]
)
def test_an_exception_with_a_meaning_leaves_as_what_it_is(kind):
    """A caller waits for it."""
    raised = kind("enough")

    def stop(*arguments, **context):
        raise raised

    with pytest.raises(kind) as caught:
        call(CallbackHandler([("on_step_end", stop)]), "on_step_end")

    assert caught.value is raised


def test_a_callback_that_reports_and_raises_is_disabled_and_hurts_nobody(caplog, swallowed):
    """One traceback, then silence; the others are called, the failure is counted."""

    class Broken(Recorder):
        reports = True

        def on_step_end(self, args, state, control, **kwargs):
            super().on_step_end(args, state, control)
            raise OSError("no route to host")

    broken, other = Broken(), Recorder(name="other")
    handler = CallbackHandler([broken, other])

    with caplog.at_level(logging.ERROR):
        call(handler, "on_step_end")
        call(handler, "on_step_end")

    assert (len(broken.log), len(other.log), handler.failures) == (1, 2, 1)
    assert [record.message for record in caplog.records] == [
        "The callback recorder raised in on_step_end and has been disabled. Training continues without it."
    ]
    assert caplog.records[0].exc_info[0] is OSError


def test_a_wrong_setting_is_an_error_even_of_a_callback_that_reports():
    """What runcast raises on purpose is meant for the user."""

    class Wrong(TrainerCallback):
        reports = True

        def on_train_begin(self, args, state, control, **kwargs):
            raise OptionError("report_to='wnadb': did you mean wandb?")

    with pytest.raises(OptionError, match="did you mean wandb"):
        call(CallbackHandler([Wrong]), "on_train_begin")


@pytest.mark.parametrize("event", ["teardown", "on_exception"])
def test_every_callback_gets_the_ways_out_whatever_another_does_there(event, caplog, swallowed):
    """A callback that raises in teardown keeps no other from its own."""
    seen = []
    handler = CallbackHandler([(event, lambda *a, **k: 1 / 0), (event, lambda *a, **k: seen.append(1))])

    with caplog.at_level(logging.ERROR):
        call(handler, event, exception=None)

    assert seen == [1]
    assert "The other callbacks are still called" in caplog.text


@pytest.mark.parametrize("broken_in", ["on_log", "on_exception"])
def test_a_disabled_callback_is_still_torn_down_once(swallowed, broken_in):
    """It gives back what it took: a terminal, a file, a run. Another training then does without it."""
    seen = []

    class Broken(TrainerCallback):
        reports = True

        def on_log(self, args, state, control, **kwargs):
            seen.append("on_log")
            assert broken_in != "on_log"

        def on_exception(self, args, state, control, **kwargs):
            seen.append("on_exception")
            assert broken_in != "on_exception"

        def teardown(self, args, state, control, **kwargs):
            seen.append("teardown")

    handler = CallbackHandler([Broken])

    for event in ("on_log", "on_log", "on_exception", "on_exception", "teardown", "on_log", "teardown"):
        call(handler, event, **{"logs": {}} if event == "on_log" else {"exception": None})

    logged = ["on_log"] if broken_in == "on_log" else ["on_log"] * 2
    raised = ["on_exception"] * (2 if broken_in == "on_log" else 1)
    assert seen == [*logged, *raised, "teardown"]
    assert handler.failures == 1


@pytest.mark.parametrize("event", ["teardown", "on_exception"])
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit(3)])
def test_an_interrupt_on_a_way_out_comes_after_the_others_were_called(event, interrupt):
    """Ctrl-C in one teardown keeps no other callback from its own, and is not lost; the callback is not disabled."""
    seen = []

    class Slow(TrainerCallback):
        reports = True

        def teardown(self, args, state, control, **kwargs):
            seen.append("slow")
            raise interrupt

        on_exception = teardown

    handler = CallbackHandler([Slow, (event, lambda *a, **k: seen.append("other"))])

    for _ in range(2):
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            call(handler, event, exception=None)

    assert seen == ["slow", "other"] * 2
    assert handler.failures == 0


@pytest.mark.parametrize("switch", vars(TrainerControl()))
def test_a_control_of_ones_own_clears_nothing_that_another_callback_asked_for(switch):
    """Whatever the switch, and whoever comes first."""
    handler = CallbackHandler(
        [
            ("on_step_end", lambda args, state, control, **k: setattr(control, switch, True)),
            ("on_step_end", lambda *a, **k: TrainerControl(should_log=True)),
            ("on_step_end", lambda *a, **k: TrainerControl()),
        ]
    )

    assert vars(call(handler, "on_step_end")) == vars(TrainerControl()) | {"should_log": True, switch: True}


def test_an_event_that_nobody_listens_to_needs_no_call() -> None:
    """`events` are those with a callback, and those that reset a switch, whoever listens."""
    handler = CallbackHandler()
    resets = {"on_train_begin", "on_epoch_begin", "on_step_begin", "on_evaluate", "on_save", "on_log"}
    assert handler.events == resets

    handler.add_callback("on_optimizer_step", lambda *_, **__: None)

    assert handler.events == {*resets, "on_optimizer_step"}


def test_the_handler_has_what_that_of_transformers_has():
    """Hooks by name with their values by position, the parts, the names, and an event that resets no switch."""
    seen = []

    class Watcher(TrainerCallback):
        def on_log(self, args, state, control, logs, model=None, **kwargs):
            seen.append((logs, model, control.should_log))

        def on_evaluate(self, args, state, control, metrics, **kwargs):
            seen.append(metrics)

    handler, control = CallbackHandler([Watcher], model="the model"), TrainerControl(should_log=True)

    assert handler.on_log(None, TrainerState(), control, {"loss": 1}) is control
    control.should_log = True
    handler.call_event("on_log", None, TrainerState(), control, logs={})
    handler.on_evaluate(None, TrainerState(), control, {"eval_loss": 2})

    assert seen == [({"loss": 1}, "the model", False), ({}, "the model", True), {"eval_loss": 2}]
    assert (handler.callback_list, handler.model) == ("Watcher", "the model")
    with pytest.raises(AttributeError, match="no 'on_break'"):
        handler.on_break  # noqa: B018 - asked for on purpose


def test_a_callback_that_is_there_already_is_mentioned(caplog):
    """A class given twice, or an instance; two of one class that were made on purpose are not."""
    handler = CallbackHandler([Recorder(), Recorder()])
    assert not caplog.records

    handler.add_callback(Recorder)
    handler.add_callback(handler.callbacks[0])

    assert [record.getMessage().split(" among")[0] for record in caplog.records] == [f"There is a {Recorder}"] * 2


def test_a_restored_callback_gets_its_arguments_and_says_where_they_differ(caplog):
    """Attributes and arguments of the checkpoint count; a callback that is missing is mentioned."""

    class Patient(TrainerCallback):
        def __init__(self, patience=3):
            self.patience, self.count = patience, 0

        def state(self):
            return {"args": {"patience": self.patience}, "attributes": {"count": self.count}}

    saved = {**CallbackHandler([Patient(5)]).states(), "Missing": {"args": {}, "attributes": {}}}
    saved["Patient"]["attributes"]["count"] = 4
    handler = CallbackHandler([Patient])
    handler.load_states(saved)

    assert (handler.callbacks[0].patience, handler.callbacks[0].count) == (5, 4)
    assert [record.getMessage() for record in caplog.records] == [
        "Patient goes on with patience=5 as saved, not 3.",
        "The checkpoint has the state of a Missing, which this training does not have.",
    ]


def test_the_switches_are_reset_and_kept_as_in_transformers():
    """A callback may call the methods of a control, and a checkpoint keeps its state."""
    control = TrainerControl(*[True] * 5)
    control._new_step()
    control._new_epoch()

    assert control.state() == {
        "args": {
            "should_training_stop": True,
            **dict.fromkeys(("should_epoch_stop", "should_save", "should_evaluate", "should_log"), False),
        },
        "attributes": {},
    }
    control._new_training()
    assert not control.should_training_stop
