"""A training that is told to go (SIGTERM: preemption, scancel, a scaled-down pod) saves a checkpoint first."""

import signal
import threading
from types import FrameType
from typing import Any

import torch

from runcast.core.console import say
from runcast.core.events import Control, TrainerCallback, TrainerControl, TrainerState
from runcast.trainer.distribution import Ranks

EXIT_CODE = 128 + signal.SIGTERM


class TerminationCallback(TrainerCallback):
    """Takes SIGTERM while a training lasts.

    The step is completed, a checkpoint written, and the process left with code 143.

    All ranks stop at the same step, which costs them one small sum a step.
    """

    def __init__(self, ranks: Ranks, device: torch.device) -> None:
        self._ranks, self._device = ranks, device
        self._asked = False
        self._previous: Any = None

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Take the signal; only the main thread can."""
        self._asked = False
        if threading.current_thread() is threading.main_thread():
            self._previous = signal.signal(signal.SIGTERM, self._ask)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> Control:
        """Save and stop, if any rank was asked to."""
        if self._ranks.size > 1:
            self._asked = bool(self._ranks.total(torch.tensor(float(self._asked), device=self._device)))
        if self._asked:
            control.should_save = control.should_training_stop = True
        return control

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Leave the process, as the signal wanted."""
        if self._asked:
            if state.is_world_process_zero:
                say(
                    f"SIGTERM: the training stopped at step {state.global_step}. Continue it with "
                    "resume_from_checkpoint='last'."
                )
            raise SystemExit(EXIT_CODE)

    def teardown(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Give the signal back."""
        if self._previous is not None:
            signal.signal(signal.SIGTERM, self._previous)
            self._previous = None

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True
