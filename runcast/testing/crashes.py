"""The check that a delivery may be killed at any moment."""

import importlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from runcast.testing.lifecycle import expect_status
from runcast.testing.stage import Skipped, Stage, expect


def sudden_death(stage: Stage) -> None:
    """Deliveries killed at five moments, from setup to finish, leave each point exactly once."""
    target = _importable(stage.subject.make)
    logged = [(key, step / 4, step) for key in "abc" for step in range(100)]
    with stage.start() as run:
        for key, value, step in logged:
            if step == 0:
                run.log_params({f"before {key}": 1})  # ends the batch before it
            run.log({key: value}, step=step)
    stage.tracked()
    _deliver_and_die(stage, target)
    stage.deliver()
    stage.expect_points(logged)
    expect_status(stage, "finished")


def _importable(make: Any) -> str:
    module, name = getattr(make, "__module__", ""), getattr(make, "__qualname__", "")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError):
        found = None
    if found is not make:
        raise Skipped(f"a child process cannot import {name or make!r}: put it at the top level of a module")
    return f"{module}:{name}"


def _deliver_and_die(stage: Stage, target: str) -> None:
    """Run deliveries, each of which kills its process at a different moment."""
    log = stage.directory.path / "death.log"
    options = msgspec.json.encode(dict(stage.subject.options)).decode()
    command = [
        sys.executable,
        "-m",
        "runcast.testing.death",
        str(stage.directory.path),
        target,
        options,
        "setup",
        "half:a",
        "sent:b",
        "flushed:c",
        "finish",
    ]
    environment = {
        **stage.subject.environment,
        "PYTHONPATH": os.pathsep.join(str(Path(folder).resolve()) for folder in sys.path),
    }
    with log.open("wb") as output:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=environment, check=False, timeout=150
        )
    expect(done.returncode == 0, log.read_text(encoding="utf-8", errors="replace")[-3000:])
