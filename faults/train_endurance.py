"""A long training: `python faults/train_endurance.py FOLDER TRACKERS POINTS RATE FINISH_S`; prints what it measured.

RATE is in points a second, 0 is full speed. Ten metrics are logged in each call.
"""

import contextlib
import json
import os
import statistics
import sys
import time
from pathlib import Path

import psutil

import runcast
from runcast.journal.layout import RunDirectory
from runcast.journal.state import load_state

METRICS = 10
SLICES = 20


def main() -> None:
    """Log all points; measure each twentieth of them."""
    folder, trackers, points, rate, finish_s = Path(sys.argv[1]), sys.argv[2], *map(float, sys.argv[3:6])
    process = psutil.Process()
    run = runcast.init("endurance", report_to=trackers, dir=folder / "runs", id="endurance", config={"lr": 0.1})
    calls = int(points) // METRICS
    slices = []
    step, began = 0, time.monotonic()
    for _ in range(SLICES):
        costs = []
        for _ in range(calls // SLICES):
            values = {f"group/metric{i}": step * 0.001 + i for i in range(METRICS)}
            start = time.perf_counter_ns()
            run.log(values, step=step)
            costs.append(time.perf_counter_ns() - start)
            step += 1
            if rate:
                time.sleep(max(0.0, began + step * METRICS / rate - time.monotonic()))
        costs.sort()
        slices.append(
            {
                "log_us": statistics.median(costs) / 1000,
                "p99_us": costs[int(len(costs) * 0.99)] / 1000,
                "rss_mib": process.memory_info().rss / 2**20,
                "deliveries_mib": {
                    name: child.memory_info().rss / 2**20 for name, child in deliveries(run.dir).items()
                },
            }
        )
    logging_s = time.monotonic() - began
    run.finish(timeout_s=finish_s)
    told = {
        "points": step * METRICS,
        "logging_s": logging_s,
        "exit_s": time.monotonic() - began - logging_s,
        "slices": slices,
        "threads": process.num_threads(),
        "pid": os.getpid(),
    }
    print(json.dumps(told))


def deliveries(folder: Path) -> dict[str, psutil.Process]:
    """Map the trackers to their delivery processes that live."""
    found = {}
    for tracker in RunDirectory(folder).load().trackers:
        state = load_state(RunDirectory(folder).tracker(tracker))
        with contextlib.suppress(psutil.Error):
            if state is not None and state.pid:
                found[tracker] = psutil.Process(state.pid)
    return found


if __name__ == "__main__":
    main()
