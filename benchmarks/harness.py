"""How a figure is taken: in a child process, repeated in interleaved rounds, reduced to medians. Knows no tracker."""

import atexit
import compileall
import contextlib
import functools
import importlib
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import psutil

ROOT = Path(__file__).resolve().parents[1]
T = TypeVar("T")

# The user's own settings would change what is measured.
FOREIGN = (
    "RUNCAST_",
    "WANDB_",
    "MLFLOW_",
    "COMET_",
    "CLEARML_",
    "TRAINS_",
    "DVC",
    "CODECARBON_",
    "TENSORBOARD_",
    "TRACKIO_",
    "ACCELERATE_",
    "HF_",
    "PYTHONDONTWRITEBYTECODE",  # an installed package is compiled
)
QUIET = {"RUNCAST_QUIET": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}

# Without these the peers ask for credentials or call home. runcast needs none of them, and gets none.
PEERS_OFFLINE = {
    "WANDB_MODE": "offline",
    "WANDB_SILENT": "true",
    "WANDB_ERROR_REPORTING": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "COMET_START_ONLINE": "0",
    "COMET_DISABLE_AUTO_LOGGING": "1",
    "COMET_AUTO_LOG_CO2": "0",
    "COMET_AUTO_LOG_ENV_HOST": "0",
    "COMET_AUTO_LOG_ENV_DETAILS": "0",
    "COMET_ERROR_TRACKING_ENABLE": "0",
    "COMET_DISABLE_ANNOUNCEMENT": "1",
    "COMET_LOGGING_CONSOLE": "critical",
    "CLEARML_OFFLINE_MODE": "1",
    "CLEARML_LOG_LEVEL": "ERROR",
    "DVC_NO_ANALYTICS": "1",
}


class Failed(Exception):
    """A measuring process gave no figure; the text says why, in one line."""


class Spread(NamedTuple):
    """Sums up many timings, in microseconds."""

    median: float
    mean: float
    p99: float
    worst: float
    calls: int


def spread(times_us: Sequence[float]) -> Spread:
    """Reduce timings to the figures that a reader needs."""
    ordered = sorted(times_us)
    p99 = ordered[min(len(ordered) - 1, math.ceil(0.99 * len(ordered)) - 1)]
    return Spread(statistics.median(ordered), statistics.fmean(ordered), p99, ordered[-1], len(ordered))


def run_child(target: str, *, peers: bool = False, timeout_s: float = 300.0, **arguments: Any) -> Any:
    """Call "module:function" in a fresh process and return what it returns.

    Args:
        target: The function; its module must import nothing heavy.
        peers: Whether to set the variables that keep the SDKs offline when something other than runcast uses them.
        timeout_s: After this the process and all its descendants are killed.
        arguments: Keyword arguments of the function, as JSON can hold them.

    Raises:
        Failed: The process died or took too long.
    """
    with tempfile.TemporaryDirectory(prefix="runcast-bench-", ignore_cleanup_errors=True) as folder:
        place = Path(folder)
        (place / "work").mkdir()
        result, output = place / "result.json", place / "output.txt"
        with output.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "benchmarks.child", target, json.dumps(arguments), str(result)],
                cwd=place / "work",
                env=environment(peers=peers),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
            try:
                process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                raise Failed(f"no answer within {timeout_s:.0f} s") from None
            finally:
                if process.poll() is None:
                    end_descendants(process.pid)
                    process.kill()
                    process.wait()
        if not result.exists():
            lines = output.read_text("utf-8", "replace").strip().splitlines()
            raise Failed(lines[-1][:200] if lines else f"exit status {process.returncode}")
        return json.loads(result.read_text("utf-8"))


def environment(*, peers: bool = False) -> dict[str, str]:
    """Return this environment without anybody's tracker settings, and with a home of the benchmarks' own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    return {**kept, **QUIET, **(PEERS_OFFLINE if peers else {}), "HOME": str(home()), "PYTHONPATH": str(ROOT)}


@functools.cache
def home() -> Path:
    """Make the home of all measuring processes: without credentials, and with caches that are filled once."""
    folder = Path(tempfile.mkdtemp(prefix="runcast-bench-home-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def warm_up() -> None:
    """Fill the caches that the first user of a machine waits for: compiled modules, matplotlib's list of fonts."""
    compileall.compile_dir(ROOT / "runcast", quiet=1)  # as pip does
    run_child(
        "benchmarks.harness:_import_all",
        peers=True,
        names=["matplotlib.font_manager", "transformers.integrations", "runcast.run.init"],
    )


def _import_all(names: Sequence[str]) -> None:
    for name in names:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def end_descendants(pid: int) -> None:
    """Kill what a measuring process started (services, deliveries), so that it does not disturb the next one."""
    descendants = psutil.Process(pid).children(recursive=True)
    for process in descendants:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(descendants, timeout=5)


def interleaved(
    subjects: Mapping[str, Callable[[int], T]], rounds: int, *, quiet: bool = False
) -> tuple[dict[str, list[T]], dict[str, str]]:
    """Measure every subject once per round, in turn, so that a slow minute of the machine touches all of them.

    Returns:
        The answers by subject, and for each subject that failed (it is then left out of later rounds) the reason.
    """
    answers: dict[str, list[T]] = {name: [] for name in subjects}
    failures: dict[str, str] = {}
    for number in range(rounds):
        for name, subject in subjects.items():
            if name in failures:
                continue
            began = time.monotonic()
            try:
                answers[name].append(subject(number))
                outcome = f"{time.monotonic() - began:.1f} s"
            except Failed as failure:
                failures[name] = outcome = f"failed: {failure}"
            if not quiet:
                print(f"  {name}, round {number + 1} of {rounds}: {outcome}", file=sys.stderr, flush=True)
    return answers, failures


def median_of(answers: Sequence[Mapping[str, Any]], key: str) -> float:
    """Return the median over the rounds of one figure."""
    return float(statistics.median(answer[key] for answer in answers))
