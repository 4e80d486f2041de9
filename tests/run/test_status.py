"""How a training ends whose trainer has no event for an exception."""

import sys

import pytest

from runcast.journal.status import status_of
from runcast.run.status import Watch


@pytest.fixture(autouse=True)
def no_last_error(monkeypatch):
    """Forget what another test has left."""
    monkeypatch.setattr(sys, "last_value", None, raising=False)
    monkeypatch.setattr(sys, "last_exc", None, raising=False)


def test_an_error_that_is_being_handled_is_the_ending():
    """With its status and its traceback."""
    watch = Watch()

    try:
        raise KeyboardInterrupt("enough")
    except KeyboardInterrupt:
        status, error = watch.ending()

    assert status == "killed"
    assert "enough" in error


def test_an_error_that_was_there_before_is_not_the_ending():
    """A training that begins in an except block has not failed with that block's error."""
    try:
        raise ValueError("earlier")
    except ValueError:
        watch = Watch()

        assert watch.handled() is None
        assert "earlier" not in watch.ending()[1]


def test_an_error_that_nobody_caught_is_the_ending(monkeypatch):
    """As a notebook leaves it: the error is gone, and remembered by the interpreter."""
    watch = Watch()

    monkeypatch.setattr(sys, "last_value", RuntimeError("diverged"))

    assert watch.ending()[0] == "failed"
    assert "diverged" in watch.ending()[1]


def test_an_error_that_was_noted_is_remembered_without_being_held():
    """Its text stays; the error itself, and the memory that it holds, can go."""
    import gc
    import weakref

    class Diverged(RuntimeError):
        pass

    watch = Watch()
    try:
        raise Diverged("lost")
    except Diverged as error:
        seen = weakref.ref(error)
        watch.note()
    gc.collect()

    assert seen() is None
    assert watch.ending()[0] == "failed"
    assert "lost" in watch.ending()[1]


def test_a_training_that_ends_without_a_known_error_has_failed():
    """It has begun and not ended: someone caught what left it."""
    assert Watch().ending() == ("failed", "The training ended with an exception that the script has caught.")


def test_an_exit_with_success_is_no_failure():
    """sys.exit(0) and no error are the same."""
    assert status_of(SystemExit(0)) == status_of(None) == ("finished", None)


def test_a_closed_generator_has_finished():
    """Whoever consumes it has enough; that is no failure of the training in it."""
    assert status_of(GeneratorExit()) == ("finished", None)


def test_a_pruned_trial_was_killed():
    """Optuna's study stops it; it has not failed."""
    optuna = pytest.importorskip("optuna")

    assert status_of(optuna.TrialPruned())[0] == "killed"
    assert status_of(optuna.exceptions.OptunaError())[0] == "failed"


def test_a_cancelled_task_was_killed():
    """Ctrl-C cancels the main task of asyncio, and a nursery of trio raises it in a group."""
    import asyncio
    import builtins

    assert status_of(asyncio.CancelledError())[0] == "killed"
    if (group := getattr(builtins, "BaseExceptionGroup", None)) is not None:  # from Python 3.11
        assert status_of(group("", [ValueError(), KeyboardInterrupt()]))[0] == "killed"
        assert status_of(group("", [ValueError()]))[0] == "failed"
