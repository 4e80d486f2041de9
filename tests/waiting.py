"""Waiting for another process."""

import time
from collections.abc import Callable


def wait_for(condition: Callable[[], object], timeout_s: float = 120.0) -> None:
    """Wait for another process; a condition that never comes true fails the test."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)
