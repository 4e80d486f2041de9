"""The watchdog: ends a delivery process whose SDK hangs; the next process delivers the rest.

A delivery has the lowest priority, so on a busy machine it may wait for the processor most of the time. That is not
hanging: time that the kernel reports as waiting is not counted, nor is time in which the process was suspended.
"""

import contextlib
import faulthandler
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from runcast.delivery.courier.system import waited_s
from runcast.journal.state import DeliveryState, load_state, save_state
from runcast.values.settings import seconds

CALL_S = 300.0
GRACE_S = 5.0


def start_watchdog(
    folder: Path, busy_since: Callable[[], float | None], exit_code: int, each_time: Callable[[], None]
) -> None:
    """Watch the main thread of this process from another one.

    Args:
        folder: The tracker's folder, for its state.
        busy_since: Returns when the current call of the SDK began; None if there is none.
        exit_code: The exit code of the process.
        each_time: Called about once a second, even while the SDK is busy.
    """
    limit = seconds("RUNCAST_CALL_TIMEOUT_S", CALL_S)
    threading.Thread(
        target=_watch, args=(folder, busy_since, exit_code, each_time, limit), daemon=True, name="runcast-watch"
    ).start()


def _watch(
    folder: Path,
    busy_since: Callable[[], float | None],
    exit_code: int,
    each_time: Callable[[], None],
    limit_s: float,
) -> None:
    tick_s = min(1.0, limit_s / 4)
    call, spent_s = busy_since(), 0.0
    while spent_s <= limit_s:
        # A call that hangs while holding the interpreter lock stops this thread too, but not the timer.
        faulthandler.dump_traceback_later(limit_s + GRACE_S, exit=True, file=2)
        before = time.monotonic() - waited_s()
        time.sleep(tick_s)
        each_time()
        now = busy_since()
        spent_s += min(time.monotonic() - waited_s() - before, 2 * tick_s)
        if now is None or now != call:
            call, spent_s = now, 0.0
    state = load_state(folder) or DeliveryState()
    state.error = f"a call of the SDK has not returned for {limit_s:.0f} s"
    with contextlib.suppress(OSError):
        save_state(folder, state)
    os._exit(exit_code)
