"""What every test gets.

A clean environment and a home of its own, so that nothing of the user's or another test's is seen.
"""

import gc
import json
import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

import runcast
from runcast.run.current import Current
from tests.guard import pytest_configure  # noqa: F401 - a hook: it ends what an interrupted run leaves behind

PREFIXES = (
    "RUNCAST_",
    "WANDB_",
    "MLFLOW_",
    "COMET_",
    "CLEARML_",
    "TRAINS_",
    "DVC",
    "CODECARBON_",
    "TENSORBOARD_",
    "SWANLAB_",
    "TRACKIO_",
    "DAGSHUB_",
    "FLYTE_",
    "_F_",
    "__AIM_",
    "SLURM_",
    "OMPI_",
    "PMI",
    "HF_",
)

# A busy machine makes examples slow; the fixtures that they share hold nothing that an example changes.
settings.register_profile(
    "runcast", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
settings.load_profile("runcast")

# Two threads for four numbers wait for each other longer than they compute, above all where every core has a test to run.
os.environ.setdefault("OMP_NUM_THREADS", "1")
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and so would theirs


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Start each test without any tracker's variables and without an open run, in an empty home."""
    for name in list(os.environ):
        if name.startswith(PREFIXES) or name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "NETRC"):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setattr(Current, "begun", [])  # an adapter would join a run that another test has left open
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    monkeypatch.setenv("RUNCAST_FINISH_TIMEOUT_S", "300")  # a busy machine needs long to start several SDKs at once
    monkeypatch.setenv("RUNCAST_SYSTEM_METRICS", "0")  # one process less for each run; its own tests turn it on
    monkeypatch.setenv("RUNCAST_SNAPSHOT", "none")  # likewise


@pytest.fixture(autouse=True)
def plain_journals(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[None]:
    """Read the journals that a test leaves as anybody would: every line is JSON, and none is empty."""
    yield
    if request.node.get_closest_marker("damages_journals") is None:
        for path in tmp_path.rglob("journal.jsonl"):
            for line in path.read_bytes().split(b"\n")[:-1]:
                assert isinstance(json.loads(line.decode()), dict | str), (path, line)


class _Swallowed(logging.Handler):
    """The errors of callbacks that the dispatcher logs instead of raising."""

    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            self.records.append(record)


@pytest.fixture(autouse=True)
def errors_of_callbacks(request: pytest.FixtureRequest) -> Iterator[list[logging.LogRecord]]:
    """Fail a test in which a callback raised and the dispatcher went on, unless the test claims it (`swallowed`)."""
    handler, logger = _Swallowed(), logging.getLogger("runcast.callbacks")
    logger.addHandler(handler)
    yield handler.records
    logger.removeHandler(handler)
    messages = [handler.format(record) for record in handler.records]
    if "swallowed" not in request.fixturenames and messages:
        pytest.fail("a callback raised, and the test does not claim it:\n" + "\n".join(messages))


@pytest.fixture
def swallowed(errors_of_callbacks: list[logging.LogRecord]) -> Iterator[list[logging.LogRecord]]:
    """Claim that callbacks raise in this test; it fails if none does."""
    yield errors_of_callbacks
    assert errors_of_callbacks, "no callback raised, though the test claims it"


@pytest.fixture
def start(tmp_path: Path) -> Callable[..., runcast.Run]:
    """Start a run in the test's folder, to no tracker unless the test says otherwise."""

    def begin(**arguments: Any) -> runcast.Run:
        return runcast.init(**{"dir": tmp_path / "runs", "report_to": None, "project": "test", **arguments})

    return begin


def has_gpu() -> bool:
    """Tell whether torch is installed and finds a CUDA device."""
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none.

    Anything else that is skipped under CI is an error (see `pytest_runtest_logreport`).
    """
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked and not has_gpu():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def pytest_collection_finish() -> None:
    """Take what was imported so far out of the garbage collector's sight.

    It is a million objects, which each collection walks through, for a second, and trainers collect a dozen times.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    """Under CI a skip is a failure: what is not run there is not run anywhere."""
    report = yield
    if (
        report.skipped
        and os.environ.get("CI") == "true"
        and not item.get_closest_marker("gpu")
        and not hasattr(report, "wasxfail")
    ):
        report.outcome = "failed"
        report.longrepr = f"skipped under CI: {report.longrepr}"
    return report
