"""The delivery process of one tracker: a fork of the courier, in which an SDK is imported.

It begins in one of three modes. "training": it waits for the delivery of an earlier session and follows the journal
until the courier says that the training is over. "once": it delivers the records that are there. "watch": it follows
a journal that another machine writes.
"""

import contextlib
import functools
import gc
import logging
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import msgspec

from runcast.core.errors import JournalError, RuncastError
from runcast.delivery.attempts import end_if_forked
from runcast.delivery.courier.messages import OVER, Mode
from runcast.delivery.courier.sharing import leave_out_unused
from runcast.delivery.courier.system import set_group_niceness
from runcast.delivery.courier.watchdog import start_watchdog
from runcast.delivery.giving_up import refuse, refusing
from runcast.delivery.liveness import is_training, is_visible
from runcast.delivery.lock import EXIT_BUSY, EXIT_REFUSED, EXIT_RESTART, EXIT_SUSPENDED, exclusive
from runcast.delivery.loop import Delivery
from runcast.delivery.ranks import RankFiles, has_ranks
from runcast.delivery.settling import settle_in
from runcast.delivery.tracked import tracked_run
from runcast.delivery.trust import Orders
from runcast.integrations.loading import make_tracker
from runcast.journal.layout import RunDirectory, RunFile
from runcast.journal.paths import make_private
from runcast.journal.state import load_state
from runcast.redaction.console import warn
from runcast.values.settings import seconds

EXIT_S = 30.0
LINGER_S = 300.0  # how long to continue without progress after the training process is gone
TURN_S = 0.2  # how often a delivery checks whether the previous one has ended


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """The job of one delivery process; `session` is that of the training, 0 for all."""

    directory: RunDirectory
    name: str
    orders: Orders
    mode: Mode
    session: int = 0


def carry_out(job: Job) -> NoReturn:
    """Deliver, and exit with the code that says how far it came: see `lock.py`."""
    code = _deliver(job)
    if code == EXIT_SUSPENDED:
        # The next delivery sends the rest, after asking the tracker. An SDK that closes its run now, as if it were
        # complete, would mislead it: Comet, for one, archives records that it never sent.
        _leave(code)
    end = threading.Timer(EXIT_S, os._exit, (code,))  # an SDK's threads and exit handlers get limited time
    end.daemon = True
    end.start()
    sys.exit(code)


def _deliver(job: Job) -> int:
    directory, orders, training = job.directory, job.orders, job.mode == "training"
    settle_in(directory.path, orders)
    file = directory.load()
    choice, folder = file.trackers[job.name], directory.tracker(job.name)
    make_private(folder)
    inbox = Inbox(os.getppid())
    turn = functools.partial(_wait_for_turn, folder, job.session, inbox)
    with exclusive(folder, turn if training else lambda: False) as mine:
        if not mine and training:
            return 0  # a newer session's delivery covers everything that this one would deliver
        if not mine:
            warn(f"another process is delivering this run to {job.name}.")
            return EXIT_BUSY
        tracked = tracked_run(directory, file, job.name, choice, orders.options)
        pid, began, deliveries = os.getpid(), time.monotonic(), list[Delivery]()
        start_watchdog(
            folder,
            lambda: deliveries[0].attempt.busy_since if deliveries else began,
            EXIT_SUSPENDED,
            each_time=inbox.check_courier,
        )
        with refusing(folder, job.session, then=functools.partial(_leave, EXIT_REFUSED)):
            leave_out_unused(job.name, orders)
            try:
                tracker = make_tracker(orders.tracker, orders.environment)
            except RuncastError as error:
                refuse(folder, job.session, error)
                return EXIT_REFUSED
            finally:
                end_if_forked(pid)
        delivery = Delivery(
            directory,
            job.name,
            tracker,
            tracked,
            alive=(lambda: not inbox.is_over()) if training else _alive(directory, file),
            wait=inbox.wait,
            follow=job.mode != "once",
            patience_s=seconds("RUNCAST_LINGER_S", LINGER_S),
            when_over=hurry if training else lambda: None,
            ranks=RankFiles(directory, file) if training and has_ranks(directory) else None,
            session=job.session,
            ask=orders.ask,
        )
        delivery.state.version = choice.version
        # Batches of small objects: with the default, MLflow spends a third of its time on collection.
        gc.set_threshold(100_000, 50, 100)
        deliveries.append(delivery)
        with refusing(folder, job.session, then=functools.partial(_leave, EXIT_REFUSED)):
            state = delivery.run()
    if delivery.needs_restart:
        return EXIT_RESTART
    return {"finished": 0, "refused": EXIT_REFUSED}.get(state.phase, EXIT_SUSPENDED)


def hurry() -> None:
    """Take a normal share of the processors: the training is over, and someone is waiting."""
    set_group_niceness(os.getpid(), 0)


def _wait_for_turn(folder: Path, session: int, inbox: "Inbox") -> bool:
    """Wait a while for the delivery of an earlier session; return whether to try again."""
    state = load_state(folder)
    if state is not None and state.session > session:
        return False
    inbox.wait(TURN_S)
    return True


def _alive(directory: RunDirectory, file: RunFile) -> Callable[[], bool]:
    def alive() -> bool:
        nonlocal file
        with contextlib.suppress(JournalError):
            file = directory.load()  # another session may have begun
        # A run that may still be training on another machine is not closed from here.
        return is_training(file) or not is_visible(file)

    return alive


class Inbox:
    """What the courier tells this delivery, on standard input. Without the courier, the delivery ends."""

    def __init__(self, courier: int) -> None:
        self._courier, self._is_over = courier, False

    def wait(self, timeout_s: float) -> None:
        """Sleep until there is news, or for *timeout_s*."""
        if select.select([0], [], [], timeout_s)[0]:
            told = os.read(0, 65536)
            self._is_over = self._is_over or OVER in told
            if not told:
                _leave(EXIT_SUSPENDED)

    def is_over(self) -> bool:
        """Return whether the training process is gone."""
        if not self._is_over:
            self.wait(0)
        return self._is_over

    def check_courier(self) -> None:
        """End this process if the courier is gone, even in the middle of a call."""
        if os.getppid() != self._courier:
            _leave(EXIT_SUSPENDED)


def _leave(code: int) -> NoReturn:
    """Exit at once: an SDK that has raised something unexpected may hang when it is closed."""
    logging.shutdown()
    os._exit(code)
