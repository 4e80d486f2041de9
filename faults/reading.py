"""Read one tracker of a run with its own reader: `python -m faults.reading RUN_DIRECTORY NAME`, JSON on standard output."""

import os
import sys
from pathlib import Path

import msgspec

from runcast.delivery.tracked import tracked_run
from runcast.integrations.loading import load_tracker
from runcast.journal.layout import RunDirectory


def main() -> None:
    """Read, and write what was read and how exactly the tracker keeps numbers."""
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    directory, name = RunDirectory(Path(sys.argv[1])), sys.argv[2]
    file = directory.load()
    choice = file.trackers[name]
    tracker = load_tracker(choice.tracker, choice.environment)()
    run = tracked_run(directory, file, name, choice)
    run.variables = tracker.variables
    reading = tracker.read(run)
    reading.points, reading.contents = list(reading.points), {}
    output.write(msgspec.json.encode((reading, tracker.precision)))
    output.close()


if __name__ == "__main__":
    main()
