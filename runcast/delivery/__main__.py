"""The delivery process of one tracker.

`python -m runcast.delivery RUN_DIRECTORY TRACKER (--training PID --session NUMBER | --once)`.

It reads its orders (`trust.py`) from standard input. With `--training` it waits for the delivery of an earlier session,
follows the journal while that process lives, and receives a byte whenever there is news. With `--once` it delivers the
records that are there.
"""

import argparse
import contextlib
import functools
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

from runcast.core.errors import JournalError, RuncastError
from runcast.delivery.attempts import end_if_forked
from runcast.delivery.courier.exit_status import ended_by
from runcast.delivery.courier.priority import set_group_niceness, step_back
from runcast.delivery.courier.watchdog import start_watchdog
from runcast.delivery.giving_up import refuse, refusing
from runcast.delivery.liveness import end_run, is_training, is_visible
from runcast.delivery.lock import EXIT_BUSY, EXIT_RESTART, exclusive
from runcast.delivery.loop import Delivery
from runcast.delivery.ranks import RankFiles, has_ranks
from runcast.delivery.settling import settle_in
from runcast.delivery.tracked import tracked_run
from runcast.integrations.loading import make_tracker
from runcast.journal.layout import RunDirectory, RunFile
from runcast.journal.paths import make_private
from runcast.journal.state import load_state
from runcast.redaction.console import warn
from runcast.values.settings import seconds

EXIT_S = 30.0
LINGER_S = 300.0  # how long to continue without progress after the training process is gone

TOLD_TO_GO = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGXCPU)

EXIT_REFUSED, EXIT_SUSPENDED = 5, 6
TURN_S = 0.2  # how often a delivery checks whether the previous one has ended


def main() -> int:
    """Run one delivery.

    Return 0 if it is complete, 4 if another delivery holds the tracker, 5 if it was refused, 6 if records still wait, 7
    if a fresh process should continue.
    """
    arguments = _parse()
    directory = RunDirectory(arguments.run)
    orders = settle_in(directory.path)
    if arguments.training:
        step_back()
    hurry = functools.partial(_hurry, arguments)
    file = directory.load()
    choice = file.trackers[arguments.tracker]
    folder = directory.tracker(arguments.tracker)
    make_private(folder)
    alive = _alive(arguments, directory, file)
    turn = functools.partial(_wait_for_turn, folder, arguments.session, alive)
    with exclusive(folder, turn if arguments.training else lambda: False) as mine:
        if not mine and arguments.training:
            return 0  # a newer session's delivery covers everything that this one would deliver
        if not mine:
            warn(f"another process is delivering this run to {arguments.tracker}.")
            return EXIT_BUSY
        tracked = tracked_run(directory, file, arguments.tracker, choice, orders.options)
        pid, began, deliveries = os.getpid(), time.monotonic(), list[Delivery]()
        start_watchdog(
            folder,
            lambda: deliveries[0].attempt.busy_since if deliveries else began,
            EXIT_SUSPENDED,
            each_time=lambda: None if os.getppid() == arguments.training else hurry(),
        )
        with refusing(folder, arguments.session, then=_leave_refused):
            try:
                tracker = make_tracker(orders.tracker, orders.environment)
            except RuncastError as error:
                refuse(folder, arguments.session, error)
                return EXIT_REFUSED
            finally:
                end_if_forked(pid)
        delivery = Delivery(
            directory,
            arguments.tracker,
            tracker,
            tracked,
            alive=alive,
            wait=_Inbox().wait if arguments.training else time.sleep,
            follow=bool(arguments.training),
            patience_s=seconds("RUNCAST_LINGER_S", LINGER_S),
            when_over=hurry,
            ranks=RankFiles(directory, file) if arguments.training and has_ranks(directory) else None,
            session=arguments.session,
            ask=orders.ask,
        )
        delivery.state.version = choice.version
        gc.set_threshold(
            100_000, 50, 100
        )  # batches of small objects: with the default, MLflow spends a third of its time on collection
        deliveries.append(delivery)
        with refusing(folder, arguments.session, then=_leave_refused):
            state = delivery.run()
    if delivery.needs_restart:
        return EXIT_RESTART
    return {"finished": 0, "refused": EXIT_REFUSED}.get(state.phase, EXIT_SUSPENDED)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m runcast.delivery", description="Deliver a run to one tracker.")
    parser.add_argument("run", type=Path)
    parser.add_argument("tracker")
    parser.add_argument(
        "--training", type=int, metavar="PID", help="follow the journal while this parent process lives"
    )
    parser.add_argument(
        "--session", type=int, default=0, metavar="NUMBER", help="the session of that process; default: all"
    )
    parser.add_argument("--descriptor", type=int, metavar="N", help="of that process, which says how it ended")
    parser.add_argument("--once", action="store_true", help="deliver what there is now")
    return parser.parse_args()


def _wait_for_turn(folder: Path, session: int, alive: Callable[[], bool]) -> bool:
    """Wait a while for the delivery of an earlier session; return whether to try again."""
    alive()  # it records how the training ended
    state = load_state(folder)
    if state is not None and state.session > session:
        return False
    time.sleep(TURN_S)
    return True


def _alive(arguments: argparse.Namespace, directory: RunDirectory, file: RunFile) -> Callable[[], bool]:
    if arguments.training:
        return _Parent(directory, arguments)

    def alive() -> bool:
        nonlocal file
        with contextlib.suppress(JournalError):
            file = directory.load()  # another session may have begun
        # A run that may still be training on another machine is not closed from here.
        return is_training(file) or not is_visible(file)

    return alive


class _Parent:
    """The training process as its delivery sees it; if a signal killed it, that is written to the journal."""

    def __init__(self, directory: RunDirectory, arguments: argparse.Namespace) -> None:
        self._directory, self._pid, self._session = directory, arguments.training, arguments.session
        self._descriptor, self._noted = arguments.descriptor, False

    def __call__(self) -> bool:
        if os.getppid() == self._pid:
            return True
        if not self._noted:
            self._noted = True
            if ended_by(self._descriptor) in TOLD_TO_GO:
                with contextlib.suppress(JournalError, OSError):
                    end_run(self._directory, "killed", session=self._session)
        return False


def _hurry(arguments: argparse.Namespace) -> None:
    """Return to normal priority: the training is over, and someone is waiting."""
    if arguments.training:
        set_group_niceness(os.getpid(), 0)


class _Inbox:
    """The news on standard input; once that is closed, waiting is a plain sleep."""

    def __init__(self) -> None:
        self.open = True

    def wait(self, timeout_s: float) -> None:
        if not self.open:
            time.sleep(timeout_s)
        elif select.select([0], [], [], timeout_s)[0]:
            self.open = bool(os.read(0, 65536))


def _leave_refused() -> None:
    """Exit at once: an SDK that has raised something unexpected may hang when it is closed."""
    logging.shutdown()
    os._exit(EXIT_REFUSED)


if __name__ == "__main__":
    code = main()
    if code == EXIT_SUSPENDED:
        # The next delivery sends the rest, after asking the tracker. An SDK that closes its run now, as if it were
        # complete, would mislead it: Comet, for one, archives records that it never sent.
        logging.shutdown()
        os._exit(code)
    end = threading.Timer(EXIT_S, os._exit, (code,))  # an SDK's threads and exit handlers get limited time
    end.daemon = True
    end.start()
    sys.exit(code)
