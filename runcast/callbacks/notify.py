"""A callback that tells a person how a training ended."""

import json
import logging
import os
import urllib.request
from typing import Any

from runcast.core.events import TrainerCallback, TrainerControl, TrainerState

_log = logging.getLogger("runcast.callbacks")


class NotifyCallback(TrainerCallback):
    """Posts a JSON object to a webhook when the training is over, has stopped early, or has failed.

    It has `text` (what Slack, Mattermost and Discord's Slack route show), `status`, `name`, `step`, `epoch`, `metrics`,
    and `error` after a failure.

    Args:
        url: The webhook; by default the variable RUNCAST_WEBHOOK. It is a secret, and never logged.
        name: What the message calls the training; by default its run name or output folder.
        timeout_s: How long the webhook may take.
    """

    reports = True

    def __init__(self, url: str | None = None, *, name: str | None = None, timeout_s: float = 10.0) -> None:
        self._url = url or os.environ.get("RUNCAST_WEBHOOK")
        self._name = name
        self._timeout_s = timeout_s
        self._latest: dict[str, Any] = {}
        self._told = False

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Forget an earlier training."""
        self._latest, self._told = {}, False

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **kwargs: Any
    ) -> None:
        """Remember the latest values."""
        self._latest.update({key: value for key, value in logs.items() if isinstance(value, int | float)})

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Tell that it is over."""
        early = state.global_step < state.max_steps
        self._tell(args, state, "stopped early" if early else "finished")

    def on_exception(
        self, args: Any, state: TrainerState, control: TrainerControl, exception: BaseException, **kwargs: Any
    ) -> None:
        """Tell that it failed."""
        interrupted = isinstance(exception, KeyboardInterrupt)
        self._tell(args, state, "interrupted" if interrupted else "failed", f"{type(exception).__name__}: {exception}")

    def _tell(self, args: Any, state: TrainerState, status: str, error: str | None = None) -> None:
        if not self._url or not state.is_world_process_zero or self._told:
            return
        self._told = True
        name = self._name or getattr(args, "run_name", None) or args.output_dir
        text = f"{name}: {status} at step {state.global_step} of {state.max_steps}" + (f": {error}" if error else "")
        message = {
            "text": text,
            "status": status,
            "name": name,
            "step": state.global_step,
            "epoch": state.epoch,
            "metrics": self._latest,
            "error": error,
        }
        request = urllib.request.Request(  # noqa: S310 - the user's own address
            self._url, json.dumps(message).encode(), {"Content-Type": "application/json"}
        )
        try:
            urllib.request.urlopen(request, timeout=self._timeout_s).close()  # noqa: S310
        except (OSError, ValueError) as problem:
            _log.warning("The webhook was not told that the training %s: %s.", status, type(problem).__name__)
