"""The delivery process of one tracker.

`python -m runcast.delivery RUN_DIRECTORY TRACKER (--training PID | --once | --verify)`.

With `--training` it follows the journal while that process lives; its standard input brings the user's options, then a
byte whenever there is news. With `--once` it delivers what there is; with `--verify` it prints what the tracker has,
compared with the journal, as JSON.
"""

import argparse
import contextlib
import gc
import logging
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from runcast.core.console import warn
from runcast.core.errors import RuncastError
from runcast.core.layout import RunDirectory, RunFile
from runcast.core.options import seconds
from runcast.core.state import DeliveryState, load_state, save_state
from runcast.delivery.comparison import Verdict, compare
from runcast.delivery.liveness import is_training, is_visible
from runcast.delivery.lock import EXIT_BUSY, exclusive
from runcast.delivery.loop import Delivery
from runcast.delivery.tracked import tracked_run
from runcast.integrations.contract import TrackedRun
from runcast.integrations.loading import load_tracker

CALL_S = 300.0  # a call of an SDK that takes longer hangs for ever: this process ends, and the next one tries again
EXIT_S = 30.0
LINGER_S = 300.0  # how long to go on after the training process is gone, without getting anywhere

EXIT_REFUSED, EXIT_SUSPENDED = 5, 6


def main() -> int:
    """Run one delivery.

    Return 0 if it is complete, 4 if another one has the tracker, 5 if it was refused, 6 if something still waits.
    """
    arguments = _parse()
    directory = RunDirectory(arguments.run)
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # SDKs print to standard output; it belongs to the answer
    message = _first_message() if arguments.training else {}
    if message:
        sys.path[:] = message["path"]
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # an interrupt at the keyboard is for who started this process
    if arguments.training:
        _step_back()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(levelname)s %(message)s")
    file = directory.load()
    choice = file.trackers[arguments.tracker]
    tracked = tracked_run(directory, file, arguments.tracker, choice, message.get("options"))
    folder = directory.tracker(arguments.tracker)
    if arguments.verify:
        output.write(msgspec.json.encode(_verdict(directory, file, arguments.tracker, tracked)))
        output.close()
        return 0
    with exclusive(folder) as mine:
        if not mine:
            warn(f"another process is delivering this run to {arguments.tracker}.")
            return EXIT_BUSY
        try:
            tracker = load_tracker(choice.tracker, choice.environment)()
        except RuncastError as error:
            return _refuse(folder, error)
        delivery = Delivery(
            directory,
            arguments.tracker,
            tracker,
            tracked,
            alive=_alive(arguments, file),
            wait=_Inbox().wait if arguments.training else time.sleep,
            follow=bool(arguments.training),
            patience_s=seconds("RUNCAST_LINGER_S", LINGER_S),
            when_over=lambda: _set_group_niceness(0),
        )
        delivery.state.pid, delivery.state.version = os.getpid(), choice.version
        gc.set_threshold(100_000, 50, 100)  # batches of small objects: the default costs MLflow a third of its time
        threading.Thread(target=_watch, args=(delivery,), daemon=True, name="runcast-watch").start()
        state = delivery.run()
    return {"finished": 0, "refused": EXIT_REFUSED}.get(state.phase, EXIT_SUSPENDED)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m runcast.delivery", description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("tracker")
    parser.add_argument(
        "--training", type=int, metavar="PID", help="follow the journal while this parent process lives"
    )
    parser.add_argument("--once", action="store_true", help="deliver what there is now")
    parser.add_argument("--verify", action="store_true", help="read the tracker back and print a verdict")
    return parser.parse_args()


def _first_message() -> dict[str, Any]:
    line = b""
    while not line.endswith(b"\n"):
        part = os.read(0, 65536)
        if not part:
            break
        line += part
    return msgspec.json.decode(line.split(b"\n")[0]) if line else {}


def _step_back() -> None:
    """Leave the processors to the training."""
    os.nice(19)
    _set_group_niceness(19)


def _set_group_niceness(niceness: int) -> None:
    """Set the niceness of this session, which is a scheduling group of its own on Linux.

    Only of one that this process leads (`process.py` starts it so): in somebody else's, all of their processes would be
    slowed. When the training is over, there is nobody to step back for, and somebody waits.
    """
    if os.getsid(0) == os.getpid():
        with contextlib.suppress(OSError):
            Path("/proc/self/autogroup").write_text(str(niceness))


def _alive(arguments: argparse.Namespace, file: RunFile) -> Callable[[], bool]:
    if arguments.training:
        return lambda: os.getppid() == arguments.training
    # A run that may train on another machine is not closed from here.
    return lambda: is_training(file) or not is_visible(file)


class _Inbox:
    """Waits for news on standard input; when that is closed, only for the time."""

    def __init__(self) -> None:
        self.open = True

    def wait(self, timeout_s: float) -> None:
        if not self.open:
            time.sleep(timeout_s)
        elif select.select([0], [], [], timeout_s)[0]:
            self.open = bool(os.read(0, 65536))


def _watch(delivery: Delivery) -> None:
    """End this process when a call of the SDK hangs; what it did not deliver is delivered by the next one."""
    limit = seconds("RUNCAST_CALL_TIMEOUT_S", CALL_S)
    while True:
        time.sleep(min(1.0, limit / 4))
        busy = delivery.attempt.busy_since
        if busy is not None and time.monotonic() - busy > limit:
            delivery.state.error = f"a call of the SDK has not returned for {limit:.0f} s"
            with contextlib.suppress(OSError):
                save_state(delivery.folder, delivery.state)
            os._exit(EXIT_SUSPENDED)


def _refuse(folder: Path, error: RuncastError) -> int:
    cause = error.__cause__
    logging.getLogger("runcast.delivery").error("%s", error, exc_info=cause)
    state = load_state(folder) or DeliveryState()
    state.phase, state.error, state.traceback = "refused", str(error), repr(cause)
    with contextlib.suppress(OSError):
        save_state(folder, state)
    return EXIT_REFUSED


def _verdict(directory: RunDirectory, file: RunFile, name: str, tracked: TrackedRun) -> Verdict:
    choice = file.trackers[name]
    try:
        return compare(directory, file, name, load_tracker(choice.tracker, choice.environment)(), tracked)
    except RuncastError as error:
        return Verdict(name=name, error=str(error))


if __name__ == "__main__":
    code = main()
    if code == EXIT_SUSPENDED:
        # What waits is sent by the next delivery, which asks the tracker first. An SDK that closes its run now, as if
        # that were complete, would make it believe too much: Comet, for one, archives what it never sent.
        logging.shutdown()
        os._exit(code)
    end = threading.Timer(EXIT_S, os._exit, (code,))  # an SDK's threads and exit handlers get a while, not for ever
    end.daemon = True
    end.start()
    sys.exit(code)
