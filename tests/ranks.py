"""Runs a job of several processes on the CPU, without torchrun: it would end the others where one fails."""

import contextlib
import os
import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests import warm

ROOT = Path(__file__).parents[1]


class Job(NamedTuple):
    """What the processes of a job left: exit statuses, and what they printed."""

    codes: list[int]
    outputs: list[str]


def run_ranks(
    command: Sequence[str | Path],
    folder: Path,
    processes: int,
    *,
    modules: warm.Warm = warm.TORCH,
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 120.0,
) -> Job:
    """Run a script in so many processes, each warm with the modules; none may hang.

    Args:
        command: The script's path and its arguments.
        folder: The working directory, and where `output-<rank>.txt` is written.
        processes: How many ranks there are.
        modules: What each process has imported already.
        environment: Variables besides those of this process and of the job.
        timeout_s: How long each may take, in seconds.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": str(processes),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
    }
    paths = [folder / f"output-{rank}.txt" for rank in range(processes)]
    scripts = []
    with contextlib.ExitStack() as stack:
        for rank, path in enumerate(paths):
            own = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
            variables = {**os.environ, **shared, **own, **(environment or {})}
            file = stack.enter_context(path.open("w"))
            script = warm.start(modules, command, folder=folder, environment=variables, stdout=file, stderr=file)
            stack.callback(script.kill)
            scripts.append(script)
        codes = [script.wait(timeout_s) for script in scripts]
    return Job(codes, [path.read_text() for path in paths])
