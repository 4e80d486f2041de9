"""transformers: its Trainer calls `runcast.ReportCallback` directly; this module has what else its users know by name.

    trainer = transformers.Trainer(..., callbacks=[runcast.ReportCallback(report_to="all")])

Its own trackers are to be off: `TrainingArguments(report_to="none")`, which is the default.
"""

from typing import Any

from runcast.callbacks.reporting import ReportCallback
from runcast.run.options import RunOptions, Unpack
from runcast.run.run import Run


def get_reporting_integration_callbacks(
    report_to: Any = ...,
    *,
    run: Run | None = None,
    log_model: bool | str | None = None,
    again: str = "same",
    project: str | None = None,
    **options: Unpack[RunOptions],
) -> list[ReportCallback]:
    """List the callbacks that report, to extend a trainer's callbacks with; empty if nothing is to be reported.

    Takes the place of the function of that name in `transformers.integrations`: one callback casts to all trackers.

    Args:
        report_to: "all", "none", or trackers by name, class or instance, as for `runcast.init`.
        run: An open run to report to; it is not finished here.
        log_model: The checkpoints to keep as artifacts, as for `runcast.ReportCallback`.
        again: Whether a second training of the same trainer is the "same" run (the default) or a "new" one.
        project: Groups runs in the trackers. Default: the name of the working directory.
        options: The other arguments of `runcast.init`, those of `RunOptions`.

    Raises:
        OptionError: A tracker's name is wrong.
        TrackerUnavailableError: A tracker asked for by name cannot be used here.
    """
    report = ReportCallback(report_to, run=run, log_model=log_model, again=again, project=project, **options)
    return [report] if report.is_on else []
