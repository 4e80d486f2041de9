"""Modules that several SDKs import are imported once, before the deliveries are forked; those of no use not at all."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runcast.integrations.table import TABLE

SHARED = """
import json, os, sys
before = list(sys.path)
from runcast.delivery.courier.sharing import import_shared
from runcast.delivery.trust import Orders
names, path = json.loads(sys.argv[1])
import_shared({name: Orders(path=path) for name in names})
found = [name for name in ("numpy", "pydantic", "requests", "yaml", "google.protobuf", "pandas") if name in sys.modules]
native = len(os.listdir("/proc/self/task")) if sys.platform == "linux" else 1
print(json.dumps([found, sys.path == before, native]))
"""


def shared(names: list[str], path: list[str] | None = None) -> list[Any]:
    """Return what a courier for these trackers imports, whether its path is as before, and how many threads it has."""
    command = [sys.executable, "-c", SHARED, json.dumps([names, path or []])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["wandb"], []),
        (["tensorboard", "codecarbon"], ["numpy"]),
        (["wandb", "mlflow"], ["numpy", "pydantic", "yaml", "google.protobuf"]),
        (["comet_ml", "dvclive", "my_own"], ["numpy", "requests"]),
    ],
)
def test_what_two_sdks_import_is_imported_once_and_starts_no_thread(names: list[str], expected: list[str]) -> None:
    """A fork has none of its parent's threads, so the courier must not have any."""
    assert shared(names) == [expected, True, 1]


def test_a_module_that_is_broken_is_not_for_the_courier_to_report(tmp_path: Path) -> None:
    """It ends neither the courier nor the other imports."""
    (tmp_path / "yaml.py").write_text("raise SystemExit('not this one')\n")
    path = [str(tmp_path), *sys.path]

    found, is_same, _ = shared(["wandb", "mlflow"], path)

    assert (found, is_same) == (["numpy", "pydantic", "google.protobuf"], True)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row.unused])
def test_an_sdk_does_without_what_a_delivery_has_no_use_for(name: str, tmp_path: Path) -> None:
    """It is imported although these modules seem not to be installed, and no other module of its own brings them in."""
    script = f"""
import sys
from runcast.delivery.courier.sharing import leave_out_unused
from runcast.delivery.trust import Orders
from runcast.integrations.loading import make_tracker
from runcast.integrations.table import TABLE
row = TABLE[{name!r}]
leave_out_unused(row.name, Orders(tracker=row.tracker))
make_tracker(row.tracker, row.environment)
print([module for module in row.unused if sys.modules.get(module) is not None])
leave_out_unused(row.name, Orders(tracker="mine:Own"))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=tmp_path, env=dict(os.environ)
    )

    assert done.stdout.splitlines()[-1] == "[]"
