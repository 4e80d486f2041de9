"""Which of a job's processes this is, read when it is asked, never at import."""

import os
import sys

# In this order: torchrun and most launchers; SLURM's srun; Open MPI; MPICH, Intel MPI; LSF's jsrun; Hugging Face/others
# that set only a local rank.
RANK_VARIABLES = ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMIX_RANK", "PMI_RANK", "JSM_NAMESPACE_RANK")
SIZE_VARIABLES = ("WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "JSM_NAMESPACE_SIZE")


def rank() -> int:
    """Return the global rank of this process, 0 if it is alone. Issues no collective operation."""
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_rank())
    return _first_number(RANK_VARIABLES, 0)


def world_size() -> int:
    """Return the number of processes of the job, 1 if this is alone."""
    distributed = getattr(sys.modules.get("torch"), "distributed", None)
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return int(distributed.get_world_size())
    return _first_number(SIZE_VARIABLES, 1)


def _first_number(variables: tuple[str, ...], default: int) -> int:
    for variable in variables:
        text = os.environ.get(variable, "").strip()
        if text.isdigit():
            return int(text)
    return default
