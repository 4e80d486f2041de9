"""Deliveries that kill themselves: `python -m runcast.testing.death RUN_DIRECTORY MODULE:CALLABLE OPTIONS MOMENT…`."""

import importlib
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from runcast.delivery.loop import Delivery
from runcast.delivery.tracked import tracked_run
from runcast.integrations.contract import Tracker
from runcast.journal.layout import RunDirectory, TrackerChoice
from runcast.redaction.console import warn
from runcast.values.points import Point


def main(path: str, target: str, options: str, *moments: str) -> int:
    """Deliver a run until the first moment, then until the second, and so on; return 0 if all deliveries died.

    A moment is `setup` or `finish`, after which the process dies, or `half:KEY`, `sent:KEY`, `flushed:KEY` for the
    batch that holds this metric. Each delivery runs in a fork of this process, because importing an SDK takes long.
    """
    module, _, name = target.partition(":")
    make: Any = importlib.import_module(module)
    for part in name.split("."):
        make = getattr(make, part)
    for moment in moments:
        child = os.fork()
        if not child:
            _deliver(Path(path), make(), msgspec.json.decode(options), moment)
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != -signal.SIGKILL:
            warn(f"the delivery that was to be killed at {moment!r} ended before")
            return 1
    return 0


def _deliver(path: Path, tracker: Tracker, options: dict[str, Any], moment: str) -> None:
    _arm(tracker, *moment.partition(":")[::2])
    directory = RunDirectory(path)
    choice = TrackerChoice(tracker="", online=False, reason="in a check", measures=tracker.measures)
    tracked = tracked_run(directory, directory.load(), tracker.name, choice, options)
    Delivery(directory, tracker.name, tracker, tracked, alive=lambda: False, wait=time.sleep, follow=False).run()


def _arm(tracker: Tracker, moment: str, key: str) -> None:
    log_metrics, flush, key = tracker.log_metrics, tracker.flush, tracker.names.encode(key)

    def deadly_log_metrics(points: Sequence[Point]) -> None:
        if not any(point.key == key for point in points):
            log_metrics(points)
            return
        log_metrics(points[: len(points) // 2] if moment == "half" else points)
        if moment != "sent":
            flush()
        _die()

    if moment in ("setup", "finish"):
        setattr(tracker, moment, _and_die(getattr(tracker, moment)))
    else:
        tracker.log_metrics = deadly_log_metrics  # type: ignore[method-assign]


def _and_die(call: Callable[..., None]) -> Callable[..., None]:
    def deadly(*arguments: Any) -> None:
        call(*arguments)
        _die()

    return deadly


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
