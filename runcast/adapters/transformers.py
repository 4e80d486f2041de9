"""transformers: its Trainer calls `runcast.ReportCallback` directly; this module has what else its users know by name.

    trainer = transformers.Trainer(..., callbacks=[runcast.ReportCallback(report_to="all")])

Its own trackers are to be off: `TrainingArguments(report_to="none")`, which is the default.
"""

from typing import Any

from runcast.callbacks.reporting import ReportCallback


def get_reporting_integration_callbacks(report_to: Any = ..., **options: Any) -> list[ReportCallback]:
    """List the callbacks that report, to extend a trainer's callbacks with; empty if nothing is to be reported.

    Takes the place of the function of that name in `transformers.integrations`: one callback casts to all trackers.

    Args:
        report_to: "all", "none", or trackers by name, class or instance, as for `runcast.init`.
        options: The other arguments of `runcast.ReportCallback`.

    Raises:
        OptionError: A tracker's name is wrong.
        TrackerUnavailableError: A tracker asked for by name cannot be used here.
    """
    report = ReportCallback(report_to, **options)
    return [report] if report.is_on else []
