"""Lets a W&B run start when its training did, and not when it is delivered.

It is apart from `wandb.py` because the SDK has no argument for it: `wandb.Run` takes the present when it is made, from
the module `time` as `wandb_run` knows it. Seen in wandb 0.22.0 and 0.31.0, 2026-11-30.
"""

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from wandb.sdk import wandb_run

from runcast.integrations.contract import TrackedRun


class _Clock:
    """The module `time` with another present."""

    def __init__(self, moment: float) -> None:
        self._moment = moment

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def time(self) -> float:
        return self._moment


@contextlib.contextmanager
def beginning(run: TrackedRun) -> Iterator[None]:
    """Let a run that is made meanwhile start when its training did; one that is resumed has its start already.

    `wandb sync` takes the files of several processes in the order of their starts, which must differ.
    """
    if run.resumed:
        yield
        return
    wandb_run.time = _Clock(run.created)
    try:
        yield
    finally:
        wandb_run.time = time
