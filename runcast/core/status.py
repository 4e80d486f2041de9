"""How a run ends, and what is said of it then."""

# Not imported when it is needed: at exit, an import may call exec(), which makes Python forget that an interrupt ended
# the script, and its exit code changes.
import traceback
from collections.abc import Mapping
from pathlib import Path

from runcast.core.console import say, warn
from runcast.core.records import Status
from runcast.core.state import DeliveryState


def status_of(error: BaseException | None) -> tuple[Status, str | None]:
    """Say how a run ends that is left with *error*: the status, and the traceback as text."""
    if error is None or (isinstance(error, SystemExit) and error.code in (None, 0)):
        return "finished", None
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    return ("killed" if isinstance(error, KeyboardInterrupt) else "failed"), text


def report_end(directory: Path, dropped: Mapping[str, int], lost: int, behind: Mapping[str, DeliveryState]) -> None:
    """Tell the user what a run that has just ended lacks, and what the trackers that are behind still lack of it."""
    if dropped:
        say(f"{sum(dropped.values())} values were no numbers and were not logged: {', '.join(sorted(dropped)[:5])}")
    if lost:
        warn(f"{lost} records could not be written to {directory} and are lost, as its disk was full for too long.")
    for name, state in behind.items():
        if state.phase not in ("finished", "refused"):
            warn(
                f"{name} does not have everything yet ({state.error or state.phase}). It is safe in the journal; "
                f"deliver it with: runcast sync {directory}"
            )
