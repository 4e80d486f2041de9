"""A callback that notifies a person of the end of a training."""

import atexit
import math
import os
import weakref
from typing import Any

from runcast.callbacks.host import is_transformers
from runcast.callbacks.stopping import reason_of
from runcast.core.events import TrainerCallback, TrainerControl, TrainerState
from runcast.redaction.tree import redact_text
from runcast.run.alerts.webhook import TIMEOUT_S, post, post_beside
from runcast.run.options import WEBHOOK_VARIABLE
from runcast.run.status import last_error
from runcast.values.numbers import as_json, leaves


class NotifyCallback(TrainerCallback):
    """A JSON object posted to a webhook when the training is over, has stopped early, or has failed.

    It has `text` (what Slack, Mattermost and Discord's Slack route show), `status` ("finished", "stopped early",
    "failed" or "interrupted"), `name`, `step`, `epoch`, `metrics`, `reason` after an early stop and `error` after a
    failure. It is sent from a thread of its own: the training does not wait for it, only the end of the program does,
    and no longer than `timeout_s`. A webhook that does not answer costs a line in the log.

    Under transformers, which has no event for a failure, it notifies at the end of the program.

    Args:
        url: The webhook; by default the variable RUNCAST_WEBHOOK. It is a secret, and never logged.
        name: What the message calls the training; by default its run name or output folder.
        timeout_s: How long the webhook may take.
    """

    reports = True

    def __init__(self, url: str | None = None, *, name: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        self._url = url or os.environ.get(WEBHOOK_VARIABLE)
        self._name = name
        self._timeout_s = timeout_s
        self._latest: dict[str, float | None] = {}
        self._told = True

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Forget an earlier training."""
        self._latest, self._told = {}, False
        if is_transformers(state):
            _at_exit(weakref.ref(self), args, state)

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **kwargs: Any
    ) -> None:
        """Remember the latest values."""
        numbers = {key: value for key, value in leaves(as_json(logs)) if isinstance(value, int | float)}
        self._latest.update({key: value if math.isfinite(value) else None for key, value in numbers.items()})

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Tell that it is over."""
        reason = reason_of(state)
        early = reason is not None or state.global_step < state.max_steps
        self._tell(args, state, "stopped early" if early else "finished", reason=reason)

    def on_exception(
        self, args: Any, state: TrainerState, control: TrainerControl, exception: BaseException, **kwargs: Any
    ) -> None:
        """Tell that it failed."""
        self.tell_failure(args, state, exception)

    def tell_failure(
        self, args: Any, state: TrainerState, exception: BaseException | None, *, waits: bool = False
    ) -> None:
        """Report that a training has failed, unless its end was already reported."""
        if isinstance(exception, KeyboardInterrupt | SystemExit):
            self._tell(args, state, "interrupted", waits=waits)
        else:
            what = "the program ended" if exception is None else f"{type(exception).__name__}: {exception}"
            self._tell(args, state, "failed", error=redact_text(what)[:1000], waits=waits)

    def _tell(
        self,
        args: Any,
        state: TrainerState,
        status: str,
        *,
        reason: str | None = None,
        error: str | None = None,
        waits: bool = False,
    ) -> None:
        if not self._url or not state.is_world_process_zero or self._told:
            return
        self._told = True
        name = self._name or getattr(args, "run_name", None) or args.output_dir
        why = reason or error
        message = {
            "text": f"{name}: {status} at step {state.global_step} of {state.max_steps}" + (f": {why}" if why else ""),
            "status": status,
            "name": name,
            "step": state.global_step,
            "epoch": state.epoch,
            "metrics": self._latest,
            "reason": reason,
            "error": error,
        }
        (post if waits else post_beside)(self._url, message, f"that the training {status}", self._timeout_s)


def _at_exit(callback: "weakref.ref[NotifyCallback]", args: Any, state: TrainerState) -> None:
    """When the program ends and the training has not, it has failed."""

    def tell() -> None:
        if (still := callback()) is not None:
            still.tell_failure(args, state, last_error(), waits=True)  # a program that ends starts no thread

    atexit.register(tell)
