"""Runs a job of several processes on the CPU, without torchrun: it would end the others where one fails."""

import contextlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

SCRIPT = Path(__file__).with_name("rank_job.py")


class Job(NamedTuple):
    """What the processes of a job left."""

    codes: list[int]
    outputs: list[str]
    found: list[dict]


def run_job(folder, scenario, processes, *more, timeout=120):
    """Run a scenario of `rank_job.py`; return what each rank ended with. None may hang."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(processes),
        "OMP_NUM_THREADS": "1",
    }
    files, children = [], []
    try:
        for rank in range(processes):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "PYTHONPATH": os.getcwd()}
            files.append((folder / f"output-{rank}.txt").open("w"))
            children.append(
                subprocess.Popen(
                    [sys.executable, str(SCRIPT), scenario, str(folder), *more],
                    env=os.environ | shared | own,
                    stdout=files[-1],
                    stderr=files[-1],
                )
            )
        codes = [child.wait(timeout) for child in children]
    finally:
        for child in children:
            with contextlib.suppress(OSError):
                child.kill()
            child.wait()
        for file in files:
            file.close()
    outputs = [(folder / f"output-{rank}.txt").read_text() for rank in range(processes)]
    paths = [folder / f"{rank}.json" for rank in range(processes)]
    return Job(codes, outputs, [json.loads(path.read_text()) if path.exists() else {} for path in paths])


def results(folder, scenario, processes, *more):
    """Run a scenario that ends well; return what each rank found."""
    job = run_job(folder, scenario, processes, *more)
    assert job.codes == [0] * processes, "\n".join(output[-2500:] for output in job.outputs)
    return job.found
