"""Termination by SIGTERM (preemption, scancel, a scaled-down pod): a training saves a checkpoint first."""

import signal
import threading
from types import FrameType
from typing import Any

from runcast.core.errors import RuncastError
from runcast.core.events import TrainerCallback, TrainerControl, TrainerState

EXIT_CODE = 128 + signal.SIGTERM


class Leaving(RuncastError):
    """The reaction to SIGTERM: raised in all ranks at the same place, to save and end the process."""


class TerminationCallback(TrainerCallback):
    """The handler of SIGTERM while a training lasts.

    `is_asked` says that it came to this process. The Trainer looks at it after each step, and after each batch of an
    evaluation or prediction: the step is completed, the evaluation is not, a checkpoint is written, and the process
    ends with code 143.
    """

    def __init__(self) -> None:
        self.is_asked = False
        self._previous: Any = None

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Take the signal; only the main thread can."""
        self.is_asked = False
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._ask)

    def teardown(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Give the signal back."""
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)
            self._previous = None

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.is_asked = True
