"""How a courier sees whether a processor is free."""

import os
from types import SimpleNamespace

import psutil
import pytest

from runcast.delivery.courier import pacing


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="processes can be bound to processors on Linux only")
def test_the_processors_of_other_jobs_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four processors, of which Slurm has given this job the first and the last: those were idle for 2 s and 0.5 s."""
    every = [SimpleNamespace(idle=idle, iowait=0.25) for idle in (1.75, 1000.0, 1000.0, 0.25)]
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: every if percpu else None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3})

    assert pacing._idle_s() == 2.5
