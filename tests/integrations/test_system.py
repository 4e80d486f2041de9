"""The meter of the machine: real processes, and a stand-in for NVML, as tests have no GPU."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from runcast.autodetect import select
from runcast.integrations.system.gpus import Gpus
from runcast.integrations.system.machine import Machine
from runcast.journal.layout import RunDirectory
from runcast.journal.reader import JournalReader
from runcast.journal.records import AnyRecord, Metrics, Summary, meter_of
from runcast.journal.state import load_state
from tests.waiting import wait_for

MIB = 2**20
# A training with a child that holds 300 MiB and computes; both say that they are ready.
TRAINING = """
import subprocess, sys, threading
child = subprocess.Popen([sys.executable, "-c", "held = b'x' * (300 << 20)\\nprint(flush=True)\\nwhile True: pass"], stdout=subprocess.PIPE)
child.stdout.readline()
print(child.pid, flush=True)
try:
    sys.stdin.read()
finally:
    child.kill()
"""


def test_the_trainings_processes_are_sampled_with_its_children_and_without_ours(tmp_path: Path) -> None:
    """A child's memory and processor time are the training's, unless it is the courier."""
    with subprocess.Popen([sys.executable, "-c", TRAINING], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as training:
        assert training.stdout is not None
        child = int(training.stdout.readline())
        whole, alone = (Machine(training.pid, tmp_path, without=without) for without in (0, child))
        before = sum(psutil.Process(child).cpu_times()[:2])
        wait_for(lambda: sum(psutil.Process(child).cpu_times()[:2]) > before + 0.3)

        (ids, seen), (rest, less) = whole.sample(), alone.sample()
        training.communicate(b"")
    gone, last = whole.sample()

    assert (ids, rest, gone) == ({training.pid, child}, {training.pid}, set())
    assert seen["process_memory_mib"] > 300 > less["process_memory_mib"] > 1
    assert seen["process_cpu_percent"] > 0.0
    assert less["process_cpu_percent"] == 0.0  # it waits
    assert "process_memory_mib" not in last
    assert all(0 <= last[f"{part}_percent"] <= 100 for part in ("cpu", "memory", "disk"))
    assert last["memory_used_mib"] <= psutil.virtual_memory().total / MIB


SCRIPT = """
import sys, runcast
run = runcast.init("p", report_to="wandb,mlflow,dvclive,system", id="run", setup={"system": {"every_s": 0.2}})
run.log({"loss": 0.5}, step=7)
sys.stdin.readline()
run.finish()
"""


def test_samples_reach_every_tracker_from_the_start_also_after_a_kill_of_the_meter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The meter is forked before any SDK is imported, samples are points, their means the summary, and none is twice."""
    monkeypatch.delenv("RUNCAST_SYSTEM_METRICS")
    run = RunDirectory(tmp_path / "runs/run")

    def written() -> list[AnyRecord]:
        return [one for one in JournalReader(run.journal) if meter_of(one) == "system"] if run.journal.exists() else []

    def sampled() -> list[Metrics]:
        return [one for one in written() if isinstance(one, Metrics)]

    def pids() -> dict[str, int]:
        states = {name: load_state(run.tracker(name)) for name in ("wandb", "mlflow", "dvclive", "system")}
        return {name: state.pid for name, state in states.items() if state is not None and state.pid}

    with subprocess.Popen([sys.executable, "-c", SCRIPT], cwd=tmp_path, stdin=subprocess.PIPE) as training:
        wait_for(lambda: len(sampled()) > 1 and len(pids()) == 4)
        began = {name: psutil.Process(pid).create_time() for name, pid in pids().items()}
        os.kill(pids()["system"], signal.SIGKILL)
        before = len(sampled())
        wait_for(lambda: len(sampled()) > before + 2)
        training.communicate(b"\n")

    assert training.returncode == 0
    assert min(began, key=lambda name: began[name]) == "system"
    [totals] = [one for one in written() if isinstance(one, Summary)]
    points = [one.values for one in sampled()]
    assert all(one.step == 7 for one in sampled())
    assert all(set(values) >= {"system/cpu_percent", "system/process_memory_mib"} for values in points)
    assert set(totals.values) >= set(points[-1])
    verify = [sys.executable, "-m", "runcast", "verify", "run"]
    done = subprocess.run(verify, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "it keeps nothing of its own" in " ".join(done.stdout.split())


def test_it_is_there_by_default_and_a_variable_turns_it_off() -> None:
    """Under "all" it takes part; RUNCAST_SYSTEM_METRICS=0, or naming other trackers, leaves it out."""
    assert "system" in select("all", environ={}).chosen
    assert "system" not in select("all", environ={"RUNCAST_SYSTEM_METRICS": "0"}).chosen
    assert list(select("tensorboard", environ={}).chosen) == ["tensorboard"]


class LostError(Exception):
    """Is what NVML raises for what a GPU cannot say."""


def stand_in() -> Any:
    """Make NVML with two GPUs: one whose memory is shared out to one partition (MIG) of two, and an old one."""

    def of_mig(device: str) -> tuple[int, int]:
        if device == "old":
            raise LostError
        return 1, 1

    def partition(device: str, number: int) -> str:
        if number == 0:
            raise LostError
        return f"{device}'s"

    def only(answers: dict[str, Any]) -> Any:
        def answer(device: str, *_: Any) -> Any:
            if device not in answers:
                raise LostError
            return answers[device]

        return answer

    memory = {"new": (80, 20), "new's": (40, 10), "old": (16, 4)}
    return SimpleNamespace(
        NVMLError=LostError,
        NVML_DEVICE_MIG_ENABLE=1,
        NVML_TEMPERATURE_GPU=0,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: ("new", "old")[index],
        nvmlDeviceGetMigMode=of_mig,
        nvmlDeviceGetMaxMigDeviceCount=lambda device: 2,
        nvmlDeviceGetMigDeviceHandleByIndex=partition,
        nvmlDeviceGetMemoryInfo=only(
            {name: SimpleNamespace(total=total * MIB, used=used * MIB) for name, (total, used) in memory.items()}
        ),
        nvmlDeviceGetUtilizationRates=only({"old": SimpleNamespace(gpu=35)}),
        nvmlDeviceGetPowerUsage=only({"new": 250_500, "old": 70_000}),
        nvmlDeviceGetTemperature=only({"new": 61}),
        nvmlDeviceGetComputeRunningProcesses=only(
            {"old": [SimpleNamespace(pid=1, usedGpuMemory=3 * MIB), SimpleNamespace(pid=2, usedGpuMemory=9 * MIB)]}
        ),
    )


def test_each_gpu_and_each_partition_says_what_it_can(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a GPU cannot say is missing, and costs nothing else. No GPU is at hand: NVML is a stand-in here."""
    monkeypatch.setitem(sys.modules, "pynvml", stand_in())

    assert Gpus().sample({1, 77}) == {
        "gpu0/memory_percent": 25.0,
        "gpu0/memory_used_mib": 20.0,
        "gpu0/power_w": 250.5,
        "gpu0/temperature_c": 61.0,
        "gpu0/mig1/memory_percent": 25.0,
        "gpu0/mig1/memory_used_mib": 10.0,
        "gpu1/utilisation_percent": 35.0,
        "gpu1/memory_percent": 25.0,
        "gpu1/memory_used_mib": 4.0,
        "gpu1/process_memory_mib": 3.0,
        "gpu1/power_w": 70.0,
    }


@pytest.mark.parametrize("is_installed", [True, False])
def test_without_a_gpu_there_is_nothing(monkeypatch: pytest.MonkeyPatch, is_installed: bool) -> None:
    """The real library without a driver, or no library: no values, and no error."""
    if not is_installed:
        monkeypatch.setitem(sys.modules, "pynvml", None)

    assert {key for key in Gpus().sample(set()) if not key.startswith("gpu")} == set()


def test_a_sample_costs_next_to_nothing(tmp_path: Path) -> None:
    """At one sample every 10 s, less than half a percent of one processor; measured are about 0.04 percent."""
    machine = Machine(os.getpid(), tmp_path, without=0)
    began = time.process_time()

    for _ in range(10):
        machine.sample()

    assert (time.process_time() - began) / 10 / 10.0 < 0.005
