"""Runs the scenarios of `rank_job.py`, and reads what each rank found."""

import json
from pathlib import Path
from typing import NamedTuple

from tests.ranks import run_ranks

SCRIPT = Path(__file__).with_name("rank_job.py")


class Job(NamedTuple):
    """What the processes of a job left."""

    codes: list[int]
    outputs: list[str]
    found: list[dict]


def content(path):
    """Return what a file of a checkpoint holds; the entries in the head of a safetensors file come in any order."""
    data = path.read_bytes()
    if path.suffix != ".safetensors":
        return data
    end = 8 + int.from_bytes(data[:8], "little")
    return json.loads(data[8:end]), data[end:]


def run_job(folder, scenario, processes, *more):
    """Run a scenario; return what each rank ended with. None may hang."""
    job = run_ranks([SCRIPT, scenario, folder, *more], folder, processes)
    paths = [folder / f"{rank}.json" for rank in range(processes)]
    return Job(*job, [json.loads(path.read_text()) if path.exists() else {} for path in paths])


def results(folder, scenario, processes, *more):
    """Run a scenario that ends well; return what each rank found."""
    job = run_job(folder, scenario, processes, *more)
    assert job.codes == [0] * processes, "\n".join(output[-2500:] for output in job.outputs)
    return job.found
