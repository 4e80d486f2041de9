"""Which process of a job this is, read when a run starts."""

import subprocess
import sys

import pytest

from runcast.run.ranks import rank, world_size


def test_alone_is_rank_zero_of_one() -> None:
    """Without a launcher there is one process."""
    assert (rank(), world_size()) == (0, 1)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"RANK": "3", "WORLD_SIZE": "8"}, (3, 8)),
        ({"SLURM_PROCID": "2", "SLURM_NTASKS": "4"}, (2, 4)),
        ({"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"}, (1, 2)),
        ({"PMI_RANK": "5", "PMI_SIZE": "6"}, (5, 6)),
        ({"RANK": "0", "SLURM_PROCID": "7", "WORLD_SIZE": "2", "SLURM_NTASKS": "1"}, (0, 2)),
        ({"RANK": "", "WORLD_SIZE": " "}, (0, 1)),
        ({"RANK": "abc", "WORLD_SIZE": "-1"}, (0, 1)),
        ({"LOCAL_RANK": "1"}, (0, 1)),
        ({"LOCAL_RANK": "1", "NODE_RANK": "0", "WORLD_SIZE": "2"}, (1, 2)),  # Lightning, before it has connected them
        ({"LOCAL_RANK": "1", "RANK": "0", "WORLD_SIZE": "2"}, (0, 2)),
        ({"LOCAL_RANK": "1", "SLURM_PROCID": "0", "WORLD_SIZE": "2"}, (1, 2)),  # the same in one task of SLURM
        ({"LOCAL_RANK": "3", "WORLD_SIZE": "2"}, (0, 2)),
        ({"HOROVOD_RANK": "1", "HOROVOD_SIZE": "2"}, (1, 2)),
        ({"RANK": "8"}, (0, 1)),  # of a LoRA
        ({"RANK": "8", "WORLD_SIZE": "4", "SLURM_PROCID": "3"}, (3, 4)),
        ({"RANK": "²", "WORLD_SIZE": "³"}, (0, 1)),  # digits, and not a number for `int`
    ],
)
def test_launchers_are_understood(
    environment: dict[str, str], expected: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """torchrun, SLURM and MPI each say it with their variables; torchrun beats the others; nonsense is ignored."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    assert (rank(), world_size()) == expected


def test_the_process_group_beats_the_environment() -> None:
    """Where torch.distributed is initialised it knows, whatever variables a launcher left behind."""
    pytest.importorskip("torch")
    code = """
import os
os.environ.update(RANK="5", SLURM_PROCID="6", WORLD_SIZE="9")
import torch.distributed
from runcast.run.ranks import rank, world_size
assert (rank(), world_size()) == (5, 9)
torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
assert (rank(), world_size()) == (0, 1)
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
