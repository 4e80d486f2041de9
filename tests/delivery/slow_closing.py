"""A tracker whose closing takes as long as a test wants: until the file `close` lies in the run's folder."""

import time
from pathlib import Path
from typing import Any

from runcast.integrations.contract import TrackedRun
from runcast.testing import MemoryTracker


class SlowlyClosing(MemoryTracker):
    """Writes `closing` when it begins to close, and waits for `close`."""

    name = "slowly"

    def setup(self, run: TrackedRun) -> None:
        self._folder = Path(run.directory)
        super().setup(run)

    def finish(self, ending: Any) -> None:
        (self._folder / "closing").touch()
        deadline = time.monotonic() + 60
        while not (self._folder / "close").exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        super().finish(ending)
