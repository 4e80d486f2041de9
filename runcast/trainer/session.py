"""The calls of a Trainer from beginning to end, including the handling of exceptions."""

import contextlib
import itertools
from collections.abc import Callable, Iterator

from runcast.core.errors import RankError
from runcast.core.events import TrainerControl
from runcast.trainer.ranks.ranks import Ranks

_NUMBERS = itertools.count(1)  # every process of a job makes the same calls


class Sessions:
    """The outermost calls of a Trainer: callbacks receive an event for an exception, and always one for the end.

    Args:
        event: Calls the callbacks.
        control: The switches.
        ranks: The processes of the job, which learn the reason of a failure.
    """

    def __init__(self, event: Callable[..., None], control: TrainerControl, ranks: Ranks) -> None:
        self._event, self._control, self._ranks = event, control, ranks
        self._is_inside = False

    @contextlib.contextmanager
    def session(self, save_last: Callable[[int], None] | None = None) -> Iterator[None]:
        """Begin a call; one inside another is part of it.

        After an exception, `should_save` of the control wants the last step saved: `save_last` does, given the number
        of the session, which is the same in every process.
        """
        if self._is_inside:
            yield
            return
        self._is_inside, number = True, next(_NUMBERS)
        try:
            yield
        except BaseException as error:
            self._fail(error, number, save_last)
            raise
        finally:
            try:
                self._event("teardown")
            finally:
                self._is_inside = False

    def _fail(self, error: BaseException, number: int, save_last: Callable[[int], None] | None) -> None:
        other = self._ranks.failure(error, number)
        told = error if other is None else RankError(other)
        self._control.should_save = False
        self._event("on_exception", exception=told)
        if self._control.should_save and save_last is not None:
            save_last(number)
        if told is not error:
            raise told from error


@contextlib.contextmanager
def keeping(control: TrainerControl, switch: str) -> Iterator[None]:
    """Leave a switch set: a log or an evaluation of a callback's own stands for none that the loop is asked for."""
    was_set = getattr(control, switch)
    yield
    if was_set:
        setattr(control, switch, True)
