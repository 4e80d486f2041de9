"""Start CodeCarbon's meter on the right process, and learn of the failures that it only logs. Seen in 3.3.2."""

import logging
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from codecarbon import EmissionsTracker, OfflineEmissionsTracker
from codecarbon.output_methods.base_output import BaseOutput

from runcast.core.errors import FinalError
from runcast.integrations.codecarbon.early import Early, start
from runcast.integrations.codecarbon.options import arguments_for, configured, has_place
from runcast.integrations.codecarbon.reader import FILE
from runcast.integrations.contract import TrackedRun

EVERY_S = 15.0
ESTIMATES = ("cpu_load", "constant")  # the modes of its CPU class (external/hardware.py) that read no sensor


class Meter:
    """CodeCarbon's own tracker, which measures from the early moment on, or from now.

    `parts` are those of the machine, "measured" or "estimated"; `is_placed` says whether the place is known, `file`
    where the rows go if it `keeps_file`.
    """

    def __init__(self, run: TrackedRun, early: Early | None) -> None:
        self._swallowed, self._rows = _Swallowed(), _Rows()
        logging.getLogger("codecarbon").addFilter(self._swallowed)
        known = configured()
        arguments = arguments_for(run, known)
        settings = known | arguments
        is_online = arguments.pop("online", False) and not has_place(settings)
        self._swallowed.is_quiet = "log_level" not in known | dict(run.options)
        kind = EmissionsTracker if is_online else OfflineEmissionsTracker
        try:
            folder = Path(settings["output_dir"]).resolve()
            folder.mkdir(parents=True, exist_ok=True)
            self.file = folder / settings.get("output_file", FILE)
            self.every_s = float(settings.get("measure_power_secs", EVERY_S))
            with _signal_handlers_kept():
                self._meter = kind(**arguments, output_handlers=[self._rows])
            self.keeps_file = bool(getattr(self._meter, "_save_to_file", True))
            self.id = str(self._meter.run_id)  # which it lacks if its constructor has swallowed an exception
            self.parts = _parts(self._meter, run.pid if settings.get("tracking_mode") == "process" else 0)
            start(self._meter, early)
            if self._meter._start_time is None:
                raise FinalError(self._failure())
            self.is_placed = is_online or has_place(settings)
        except (AssertionError, AttributeError, OSError, TypeError, ValueError) as error:
            raise FinalError(self._failure(error)) from error

    def take(self, *, final: bool) -> Mapping[str, str]:
        """Measure, and return the row; the final one stops the meter."""
        if (self._meter.stop() if final else self._meter.flush()) is None:
            raise FinalError(self._failure())
        return self._rows.last

    def stop(self) -> None:
        """Measure no more."""
        self._meter.stop()

    def _failure(self, error: Exception | None = None) -> str:
        reason = str(self._swallowed.last or error or "it does not say why").rstrip(".")
        where = "setup={'codecarbon': …}, CODECARBON_* and .codecarbon.config"
        return f"CodeCarbon cannot measure: {reason}. Look at {where}."


def _parts(meter: Any, pid: int) -> dict[str, str]:
    """Return which parts are measured and which estimated; make the meter look at process *pid*, if any."""
    getattr(meter, "get_detected_hardware", list)()  # without that method, the constructor has looked for the hardware
    parts = {}
    for hardware in meter._hardware:
        part = getattr(hardware, "chip_part", type(hardware).__name__).lower()
        is_estimate = type(hardware).__name__ == "RAM" or getattr(hardware, "_mode", "") in ESTIMATES
        parts[part] = "estimated" if is_estimate else "measured"
        # There is no argument for it (3.3.2): its CPU and RAM take the process that they are made in.
        if pid and hasattr(hardware, "_pid"):
            hardware._pid, hardware._process = pid, psutil.Process(pid)
    return parts


@contextmanager
def _signal_handlers_kept() -> Iterator[None]:
    """Undo what CodeCarbon does to signals when it takes its lock (allow_multiple_runs=False)."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    if threading.current_thread() is threading.main_thread():
        for number, handler in kept.items():
            signal.signal(number, handler)


class _Rows(BaseOutput):  # type: ignore[misc]
    """A receiver of what is about to be a row of the file."""

    def out(self, total: Any, delta: Any) -> None:
        """Keep the row as the texts that the file holds."""
        self.last = {name: str(value) for name, value in total.values.items()}


class _Swallowed(logging.Filter):
    """The reasons of failures, which CodeCarbon's `start`, `flush` and `stop` only log.

    While `is_quiet`, nothing but errors is shown.
    """

    is_quiet = True
    last = ""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether to show a message."""
        if record.levelno >= logging.ERROR or record.exc_info:
            error = record.exc_info[1] if record.exc_info else None
            self.last = f"{type(error).__name__}: {error}" if error else record.getMessage()
        return record.levelno >= logging.ERROR or not self.is_quiet
