"""The rank of this process and the identity of its job, read on demand, never at import."""

import functools
import itertools
import os
import sys
from typing import Any

# In this order: torchrun and most launchers; SLURM's srun; Open MPI; PMIx; MPICH, Intel MPI; LSF's jsrun; horovodrun.
RANK_VARIABLES = (
    *("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMIX_RANK"),
    *("PMI_RANK", "JSM_NAMESPACE_RANK", "HOROVOD_RANK"),
)
SIZE_VARIABLES = (
    *("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE"),
    *("PMI_SIZE", "JSM_NAMESPACE_SIZE", "HOROVOD_SIZE"),
)
# Variables that are equal in all ranks of a job and differ between jobs: torchrun and most launchers; SLURM; PMIx, Open
# MPI; LSF; PBS. Kubernetes' training operators set those of torchrun.
JOB_VARIABLES = (
    *("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT", "MASTER_ADDR", "MASTER_PORT"),
    *("SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT", "PMIX_NAMESPACE", "OMPI_MCA_ess_base_jobid"),
    *("LSB_JOBID", "PBS_JOBID"),
)
# torchrun; SLURM; Lightning and others.
NODE_VARIABLES = ("GROUP_RANK", "SLURM_NODEID", "NODE_RANK")
LOCAL_VARIABLES = ("LOCAL_RANK", "SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID")
_RUNS = itertools.count(1)  # counts the runs of this process: the n-th run of each rank belongs together


def joined_job() -> Any:
    """Return torch.distributed if this process has joined a process group with it, else None."""
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    has_joined = distributed is not None and distributed.is_available() and distributed.is_initialized()
    return distributed if has_joined else None


def rank() -> int:
    """Return the global rank of this process, 0 if it is alone, without a collective operation."""
    if (distributed := joined_job()) is not None:
        return int(distributed.get_rank())
    # Launchers set RANK together with WORLD_SIZE; alone it may be anything, such as the rank of a LoRA.
    size = first_number(("WORLD_SIZE",), 0)
    if (number := first_number(("RANK",), size)) < size:
        return number
    local = first_number(("LOCAL_RANK",), 0)  # all that Lightning gives the other processes that it starts
    return first_number(RANK_VARIABLES[1:], 0) or (local if local < size else 0)


def may_be_first() -> bool:
    """Return whether this may be the first process of its job.

    Lightning starts the others with only a local rank; their global rank is known once they have connected.
    """
    return rank() == 0 and not any(first_number((name,), 0) for name in ("LOCAL_RANK", "NODE_RANK", "GROUP_RANK"))


def other_node() -> int:
    """Return the number of this node, from 1, if this is its first process; 0 in any other, and on the first node."""
    return 0 if first_number(LOCAL_VARIABLES, 0) else first_number(NODE_VARIABLES, 0)


def world_size() -> int:
    """Return the number of processes of the job, 1 if this is alone."""
    if (distributed := joined_job()) is not None:
        return int(distributed.get_world_size())
    return first_number(SIZE_VARIABLES, 1)


def group_of_hosts() -> Any:
    """Return the group of torch.distributed that exchanges objects between hosts; None is the default group.

    If the default group is for GPUs only, a second one is created, so all processes must make the first call together.
    """
    distributed = sys.modules["torch"].distributed
    if any(device.type == "cpu" for device in distributed.group.WORLD._device_types):
        return None
    return _gloo_beside(distributed.group.WORLD)


@functools.lru_cache(maxsize=1)
def _gloo_beside(_default: Any) -> Any:
    return sys.modules["torch"].distributed.new_group(backend="gloo")


def next_job_folder() -> str:
    """Return the name of a folder on which the ranks of this job agree without communicating.

    Each call returns another one, because the n-th runs of all ranks belong together.
    """
    named = [f"{name}={os.environ.get(name, '')}" for name in JOB_VARIABLES]
    text = "\n".join([*named, str(world_size()), str(next(_RUNS))])
    import hashlib  # rarely needed, and start-up counts

    return f".job-{hashlib.sha256(text.encode('utf-8', 'surrogateescape')).hexdigest()[:16]}"


def first_number(variables: tuple[str, ...], default: int) -> int:
    """Return the number in the first of these variables that has one."""
    for variable in variables:
        text = os.environ.get(variable, "").strip()
        if text.isdecimal():
            return int(text)
    return default
