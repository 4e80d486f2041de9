"""How a callback finds the runs that others report to."""

from typing import Any

from runcast.run.run import Run


def open_runs(report: Any, callback_handler: Any) -> list[Run]:
    """List the runs that are open: that of `report` (a Run or a callback with one), else those of all callbacks.

    Other callbacks are known in our Trainer, which gives every hook its `callback_handler`.
    """
    reporters = [report] if report is not None else getattr(callback_handler, "callbacks", ())
    runs = {}
    for reporter in reporters:
        run = reporter if isinstance(reporter, Run) else getattr(reporter, "run", None)
        if isinstance(run, Run) and run.status is None:
            runs[run.id] = run
    return list(runs.values())
