"""The process that reads one tracker and prints the verdict: `python -m runcast.history.reading RUN_DIRECTORY TRACKER`.

It reads its orders from standard input, as a delivery does. The verdict is JSON on standard output.
"""

import os
import sys
from pathlib import Path

import msgspec

from runcast.core.errors import RuncastError
from runcast.delivery.attempts import explained
from runcast.delivery.settling import read_orders, settle_in
from runcast.delivery.tracked import tracked_run
from runcast.history.comparison import Verdict, compare
from runcast.integrations.loading import make_tracker
from runcast.journal.layout import RunDirectory


def main(path: str, name: str) -> None:
    """Read the tracker, compare it with the journal, print the verdict."""
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # SDKs print to standard output, which is reserved for the verdict
    directory = RunDirectory(Path(path))
    orders = read_orders()
    settle_in(directory.path, orders)
    file = directory.load()
    tracked = tracked_run(directory, file, name, file.trackers[name], orders.options)
    try:
        tracker = make_tracker(orders.tracker, orders.environment)
        verdict = explained(tracker.explain, lambda: compare(directory, file, name, tracker, tracked))
    except RuncastError as error:
        verdict = Verdict(name=name, error=str(error))
    output.write(msgspec.json.encode(verdict))
    output.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
