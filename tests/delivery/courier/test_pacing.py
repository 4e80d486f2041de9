"""How a courier sees whether a processor is free."""

import os
from types import SimpleNamespace

import psutil
import pytest

from runcast.delivery.courier import pacing
from runcast.delivery.courier.system import LOWEST


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="processes can be bound to processors on Linux only")
def test_the_processors_of_other_jobs_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four processors, of which Slurm has given this job the first and the last: those were idle for 2 s and 0.5 s."""
    every = [SimpleNamespace(idle=idle, iowait=0.25) for idle in (1.75, 1000.0, 1000.0, 0.25)]
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: every if percpu else None)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3})

    assert pacing._idle_s() == 2.5


def test_deliveries_that_are_waited_for_are_called_at_once_and_get_a_whole_share(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """While every processor is busy, deliveries wait ten seconds for a call, at the lowest priority: not so in a flush."""
    now, shares = [0.0], []
    monkeypatch.setattr(pacing, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(pacing, "_idle_s", lambda: 0.0)
    monkeypatch.setattr(pacing, "set_group_niceness", lambda pid, niceness: shares.append(niceness) or True)
    pace = pacing.Pace()
    pace._owns_group = True

    now[0] = 1.0
    pace.look()
    pace.share(0.0)
    calls = [pace.is_time()]
    now[0] = 6.0
    calls.append(pace.is_time())
    pace.is_hurried = True  # as `flush` and `finish` ask
    pace.share(0.0)
    calls.append(pace.is_time())

    assert calls == [True, False, True]
    assert shares == [LOWEST, 0]
