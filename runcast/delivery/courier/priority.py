"""The priority of deliveries: the lowest beside a training, normal when someone is waiting.

On Linux each session is a scheduling group of its own ("autogroup"), and between groups only the niceness of the group
counts. The deliveries of a run have a session to themselves (`launcher.py`), so that this slows no other process. On
other systems the niceness of each process is set.
"""

import contextlib
import os
import threading
import time
from pathlib import Path

LOWEST = 19
TRIES, PAUSE_S = 20, 0.12  # Linux accepts one such change every 100 ms from all unprivileged processes together


def step_back() -> None:
    """Take the lowest priority; threads and processes of the SDK inherit it.

    Niceness alone does not keep a waking process from preempting one that computes; the policy "batch" does.
    """
    os.nice(LOWEST)
    if hasattr(os, "SCHED_BATCH"):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    if os.getsid(0) != os.getsid(os.getppid()):
        threading.Thread(target=_step_group_back, daemon=True, name="runcast-priority").start()


def _step_group_back() -> None:
    for _ in range(TRIES):
        if set_group_niceness(os.getpid(), LOWEST):
            return
        time.sleep(PAUSE_S)


def set_group_niceness(pid: int, niceness: int) -> bool:
    """Set the niceness of a process's scheduling group; return whether it is set, or never can be."""
    group = Path(f"/proc/{pid}/autogroup")
    try:
        if not group.read_text().rstrip().endswith(f" {niceness}"):
            group.write_text(str(niceness))
    except BlockingIOError:
        return False
    except OSError:
        pass  # there are no such groups, or the process is gone
    return True
