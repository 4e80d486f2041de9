"""Running a service's own command, such as `wandb sync`, so that it never outlives the delivery that needs it.

A second delivery would start the same command, and both would send the same points.
"""

import ctypes
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from runcast.core.errors import RetryableError

PR_SET_PDEATHSIG = 1  # of prctl(2)


def run_command(command: Sequence[str], cwd: Path, timeout_s: float) -> "subprocess.CompletedProcess[str]":
    """Run a command of this interpreter's, which is killed when this process dies.

    Raises:
        RetryableError: It took too long, and was killed.
    """
    before = None
    if sys.platform.startswith("linux"):
        set_option = ctypes.CDLL(None).prctl  # looked up before the fork, where little is allowed

        def before() -> None:
            set_option(PR_SET_PDEATHSIG, signal.SIGKILL)

    try:
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=timeout_s, preexec_fn=before)
    except subprocess.TimeoutExpired:
        raise RetryableError(f"This needs more than {timeout_s:g} s, run it by hand: {' '.join(command)}") from None
