"""CodeCarbon, measuring in a process of its own.

The real meter, without root, network or a country unless a test names one.
"""

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from codecarbon.core.units import Energy

from runcast.integrations.codecarbon.early import Early
from tests.waiting import wait_for

METER = """
import json, os, signal, sys, time
from pathlib import Path
from runcast.core.errors import TrackerError
from runcast.integrations.contract import Ending, TrackedRun
began = time.perf_counter()
from runcast.integrations.codecarbon import CodecarbonTracker

local, fields = Path(sys.argv[1]), json.loads(sys.argv[2])
kept = local / "ids.json"
fields = {"pid": os.getpid(), "online": False, "options": {"measure_power_secs": 1}, **fields}
handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

def run():
    ids = json.loads(kept.read_text()) if kept.exists() else {}
    save = lambda ids: kept.write_text(json.dumps(ids)) and None
    return TrackedRun(
        id="run", name="a name", project="a project", directory=local, local=local, created=1.0, ids=ids, save_ids=save, **fields
    )

answer = {"measured": []}
tracker = CodecarbonTracker()
try:
    tracker.setup(started := run())
    answer["url"], answer["up_s"] = started.url, time.perf_counter() - began
    until = time.monotonic() + float(sys.argv[3])
    while time.monotonic() < until:
        answer["measured"].append(tracker.measure(False))
        time.sleep(0.05)
    answer["measured"] += [tracker.measure(True), tracker.measure(True)]
    tracker.finish(Ending("failed"))
    tracker.finish(Ending("failed"))
except TrackerError as error:
    answer["error"] = [type(error).__name__, str(error)]
answer["measured"] = [dict(one) for one in answer["measured"] if one]
reading = CodecarbonTracker().read(run())
answer["read"], answer["unreadable"] = [point[:3] for point in reading.points], reading.unreadable
answer["handlers"] = handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
print(json.dumps(answer))
"""


def meter(
    local: Path, seconds: float = 0.3, environment: dict[str, str] | None = None, **fields: Any
) -> dict[str, Any]:
    """Measure for a while; return what was measured, what is read back, and what was printed."""
    local.mkdir(exist_ok=True)
    done = subprocess.run(
        [sys.executable, "-c", METER, str(local), json.dumps(fields), str(seconds)],
        capture_output=True,
        text=True,
        cwd=local,
        env={**os.environ, "TMPDIR": str(local), **(environment or {})},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {**json.loads(done.stdout), "printed": done.stderr}


def as_points(measured: list[dict[str, float]]) -> list[list[Any]]:
    """List measurements as their points: each of a row, each row a step."""
    return [[key, value, row] for row, values in enumerate(measured) for key, value in values.items()]


def test_each_measurement_is_a_row_and_a_resume_goes_on_from_the_last(tmp_path: Path) -> None:
    """What `measure` returns is what `read` sees, to the last bit.

    Amounts only grow, also over a restart; nothing is left behind.
    """
    local = tmp_path / "local"

    first = meter(local, seconds=2.2)
    second = meter(local, resumed=True)

    assert len(first["measured"]) == 3
    assert len(second["measured"]) == 1
    everything = first["measured"] + second["measured"]
    assert first["read"] == as_points(first["measured"])
    assert second["read"] == as_points(everything)
    for name in ("measured_s", "energy_kwh", "ram_energy_kwh", "emissions_kg_world_average"):
        amounts = [one[f"codecarbon/{name}"] for one in everything]
        assert amounts == sorted(amounts)
        assert 0 < amounts[0] < amounts[-1]
    assert first["handlers"]
    assert first["printed"].count("\n") == 1  # one line: what is measured, and what is estimated
    assert sorted(path.name for path in local.iterdir()) == ["emissions.csv", "ids.json"]


def test_the_seconds_before_the_sdk_is_up_are_measured_too(tmp_path: Path) -> None:
    """Of a run that began with the process all is measured, at the power of the rest; of a later run, what is left."""
    local = tmp_path / "local"
    constant = {"CODECARBON_FORCE_CPU_POWER": "100", "CODECARBON_FORCE_RAM_POWER": "20"}

    seen = meter(local, seconds=2.2, environment=constant)
    later = meter(tmp_path / "later", seconds=0.1, environment=constant, time=time.time() + 1000.0)

    first, last = (seen["measured"][at] for at in (0, -1))
    assert last["codecarbon/measured_s"] > seen["up_s"] + 2.0
    for name in ("measured_s", "ram_energy_kwh"):
        assert later["measured"][-1][f"codecarbon/{name}"] < first[f"codecarbon/{name}"]
    assert first["codecarbon/ram_energy_kwh"] * 3.6e6 == pytest.approx(20 * first["codecarbon/measured_s"], rel=0.05)
    assert seen["read"] == as_points(seen["measured"])


def test_counters_of_energy_are_set_back_to_what_they_were() -> None:
    """A package and a GPU whose counters had 3 J less before CodeCarbon's import add 3 J; one unknown is not set back.

    Neither is at hand: the parts are stand-ins with CodeCarbon's own unit.
    """
    early = Early()
    early.packages, early.gpus = {"/sys/energy": 7e6}, {0: 7e3}
    package = SimpleNamespace(path="/sys/energy", last_energy=Energy.from_ujoules(10e6))
    gpu = SimpleNamespace(gpu_index=0, last_energy=Energy.from_millijoules(10e3))
    other = SimpleNamespace(gpu_index=1, last_energy=Energy.from_millijoules(10e3))
    interface = SimpleNamespace(_rapl_files=[package])
    cpu = type("CPU", (), {"_mode": "intel_rapl", "_intel_interface": interface})()
    gpus = type("GPU", (), {"devices": SimpleNamespace(devices=[gpu])})()
    others = type("GPU", (), {"devices": SimpleNamespace(devices=[gpu, other])})()

    for part in (cpu, gpus):
        assert early.knows(part)
        early.rewind(part)

    assert not early.knows(others)
    assert [one.last_energy.kWh * 3.6e6 for one in (package, gpu)] == [pytest.approx(7.0), pytest.approx(7.0)]


@pytest.mark.parametrize(
    ("environment", "options", "name", "kg_per_kwh"),
    [
        ({}, {}, "emissions_kg_world_average", 0.475),
        ({}, {"country_iso_code": "XXX"}, "emissions_kg_world_average", 0.475),
        ({"CODECARBON_FORCE_CARBON_INTENSITY_G_CO2E_KWH": "100"}, {}, "emissions_kg", 0.1),
    ],
)
def test_emissions_of_an_unknown_place_are_called_so(
    tmp_path: Path, environment: dict[str, str], options: dict[str, Any], name: str, kg_per_kwh: float
) -> None:
    """Without a country nothing is looked up: the world's average counts, under a name of its own."""
    seen = meter(tmp_path / "local", environment=environment, options=options)

    [measured] = seen["measured"]
    assert measured[f"codecarbon/{name}"] / measured["codecarbon/energy_kwh"] == pytest.approx(kg_per_kwh)
    assert [key for key in measured if "emissions" in key] == [f"codecarbon/{name}"]


def test_the_users_variables_and_files_keep_their_meaning(tmp_path: Path) -> None:
    """A country of the configuration file counts.

    The file is where CODECARBON_OUTPUT_DIR says, and is found, and written by the next session, there without it.
    """
    local, other = tmp_path / "local", tmp_path / "other"
    (Path(os.environ["HOME"]) / ".codecarbon.config").write_text("[codecarbon]\ncountry_iso_code = FRA\n")

    seen = meter(local, environment={"CODECARBON_OUTPUT_DIR": str(other), "CODECARBON_OUTPUT_FILE": "mine.csv"})

    assert seen["url"] == str(other / "mine.csv")
    assert seen["read"] == as_points(seen["measured"])
    assert "codecarbon/emissions_kg" in seen["measured"][0]
    assert "FRA" in (other / "mine.csv").read_text()
    again = meter(local, trains=False)
    assert (again["measured"], again["read"]) == ([], seen["read"])
    more = meter(local, resumed=True)
    assert (more["url"], more["read"][: len(seen["read"])]) == (seen["url"], seen["read"])
    assert len(more["read"]) > len(seen["read"])


def test_in_process_mode_it_is_the_training_that_is_measured(tmp_path: Path) -> None:
    """The processor's energy follows the training process, not the one that holds the meter."""
    load = {
        "CODECARBON_TRACKING_MODE": "process",
        "CODECARBON_FORCE_MODE_CPU_LOAD": "true",
        "CODECARBON_FORCE_CPU_POWER": "100",
    }
    energy = {}

    for kind, script in {"busy": "while True: pass", "idle": "import threading; threading.Event().wait()"}.items():
        training = subprocess.Popen([sys.executable, "-c", script])
        try:
            seen = meter(tmp_path / kind, seconds=1.1, environment=load, pid=training.pid)
        finally:
            training.kill()
            training.wait()
        energy[kind] = seen["measured"][-1]["codecarbon/cpu_energy_kwh"]

    assert energy["busy"] > 10 * energy["idle"]


def test_nothing_is_measured_when_the_training_is_over(tmp_path: Path) -> None:
    """A run that is synced later does not get the energy of the later day."""
    seen = meter(tmp_path / "local", trains=False)

    assert (seen["measured"], seen["read"]) == ([], [])
    assert "error" not in seen


def test_what_runcast_0_1_measured_is_read_as_it_was(tmp_path: Path) -> None:
    """Its duration was called `duration_s`; what a meter of today adds goes on from it."""
    local = tmp_path / "local"
    first = meter(local)
    ids = json.loads((local / "ids.json").read_text())
    old = {name: " ".join(word for word in value.split() if word != "covers") for name, value in ids.items()}
    (local / "ids.json").write_text(json.dumps(old))

    second = meter(local, resumed=True)

    renamed = [["codecarbon/duration_s", *point[1:]] for point in first["read"] if point[0].endswith("/measured_s")]
    assert [point for point in second["read"] if point[0] == "codecarbon/duration_s"] == renamed
    assert second["read"][len(first["read"]) :] == as_points([{}, *second["measured"]])
    assert second["measured"][0]["codecarbon/measured_s"] > first["measured"][0]["codecarbon/measured_s"]


TRAINING = """
import os, signal, sys, time, psutil, runcast
run = runcast.init("p", report_to="codecarbon,dvclive", id="run", resume="allow", setup={"codecarbon": {"measure_power_secs": 1}})
state = lambda: (run.identity(), run._carrier.states()["codecarbon"])[1]

def log_until(condition):
    deadline = time.monotonic() + 100
    while not condition():
        run.log({"loss": 0.5})
        time.sleep(0.05)
        assert time.monotonic() < deadline

log_until(lambda: (state().coverage and state().coverage.measured_s or 0) > 1)
for word in sys.argv[1:]:
    if word == "kill the meter":
        before, pid = state().coverage.measured_s, state().pid
        os.kill(pid, signal.SIGKILL)
        log_until(lambda: state().coverage.measured_s > before)
    elif word == "kill the training":
        os.kill(os.getpid(), signal.SIGKILL)
run.finish()
"""


@pytest.mark.slow
@pytest.mark.parametrize("fate", [(), ("kill the meter",), ("kill the training",)], ids=["none", "meter", "training"])
def test_a_run_has_what_was_measured_of_it_and_says_of_how_much(tmp_path: Path, fate: tuple[str, ...]) -> None:
    """Whatever is killed: each row is there once, everywhere, and `verify`, `status`, `show` and the last line agree."""
    done = subprocess.run(
        [sys.executable, "-c", TRAINING, *fate], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    command = [sys.executable, "-m", "runcast"]
    wait_for(lambda: "finished" in (tmp_path / "runs/run/trackers/codecarbon/state.json").read_text())
    subprocess.run([*command, "sync"], cwd=tmp_path, capture_output=True, check=False)

    said = {
        word: subprocess.run([*command, word, "run"], cwd=tmp_path, capture_output=True, text=True, check=True)
        for word in ("verify", "status", "show")
    }

    journal = [json.loads(line) for line in (tmp_path / "runs/run/journal.jsonl").read_text().splitlines()]
    records = [record for record in journal if record.get("by") == "codecarbon"]
    measured = [record["values"] for record in records]
    rows = list(csv.DictReader((tmp_path / "runs/run/trackers/codecarbon/emissions.csv").read_text().splitlines()))
    assert len(measured) == len(rows)
    amounts = [values["codecarbon/measured_s"] for values in measured]
    assert amounts == sorted(set(amounts))
    assert all(values["codecarbon/measured_s"] <= values["codecarbon/training_s"] for values in measured[:-1])
    # The meter runs on for a moment after the end, on a busy machine for a third of a second.
    assert measured[-1]["codecarbon/measured_s"] <= records[-1]["time"] - journal[0]["time"]
    sentence = re.search(r"measured [\d.]+ of [\d.]+ s", said["status"].stdout)
    assert sentence
    assert all(sentence[0] in " ".join(done.stdout.split()) for done in said.values())
    if "kill the training" not in fate:
        assert f"codecarbon {sentence[0]} of the training" in done.stderr


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"nonsense": 1}, "unexpected keyword argument 'nonsense'"),
        ({"measure_power_secs": "often"}, "'often'"),
        ({"output_dir": "/proc/none"}, "/proc/none"),
    ],
)
def test_what_codecarbon_swallows_is_told(tmp_path: Path, options: dict[str, Any], reason: str) -> None:
    """CodeCarbon raises nothing and measures nothing; here it is an error that names the reason."""
    seen = meter(tmp_path / "local", options=options)

    assert seen["error"][0] == "FinalError"
    assert reason in seen["error"][1]
    assert (seen["measured"], seen["read"]) == ([], [])


def test_a_stale_lock_matters_only_to_a_user_who_wants_the_lock(tmp_path: Path) -> None:
    """By default the lock is neither taken nor looked at.

    With allow_multiple_runs=False it counts, and signals are still not CodeCarbon's.
    """
    local, wanted = tmp_path / "local", {"CODECARBON_ALLOW_MULTIPLE_RUNS": "False"}
    local.mkdir()

    with_lock = meter(local, environment=wanted)
    (local / ".codecarbon.lock").touch()
    stale = meter(local)
    locked = meter(local, environment=wanted)

    assert (len(with_lock["measured"]), len(stale["measured"])) == (1, 1)
    assert locked["error"][0] == "FinalError"
    assert ".codecarbon.lock" in locked["error"][1]
    assert with_lock["handlers"]
    assert locked["handlers"]


@pytest.mark.parametrize(
    ("environment", "options"),
    [
        ({"CODECARBON_SAVE_TO_FILE": "False"}, {}),
        ({"CODECARBON_OUTPUT_METHODS": "api"}, {}),  # offline there is no API
        ({}, {"save_to_file": False}),
    ],
)
def test_without_a_file_it_still_measures_and_says_that_nothing_can_be_read_back(
    tmp_path: Path, environment: dict[str, str], options: dict[str, Any]
) -> None:
    """Who wants no emissions.csv gets none; the measurements go to the other trackers, and `verify` is told why."""
    local = tmp_path / "local"

    found = meter(local, environment=environment, options={"measure_power_secs": 1, **options})

    assert len(found["measured"]) == 1
    assert (found["read"], found["url"]) == ([], str(local / "journal.jsonl"))
    assert found["unreadable"].startswith("CodeCarbon keeps no file (save_to_file=False)")
    assert found["printed"].count("CodeCarbon keeps no file") == 1
    assert [path.name for path in local.iterdir()] == ["ids.json"]

    again = meter(local, environment=environment, resumed=True, options={"measure_power_secs": 1, **options})

    (first,), (second,) = found["measured"], again["measured"]
    grown = [name for name in first if name.endswith(("/measured_s", "_kwh", "_world_average"))]
    assert len(grown) == 7
    assert [name for name in grown if second[name] < first[name]] == []
    assert second["codecarbon/measured_s"] > first["codecarbon/measured_s"] + 0.2
