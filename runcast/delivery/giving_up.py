"""Ending a delivery for good, with the reason in its state, even if the SDK exits in an unexpected way."""

import contextlib
import logging
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from runcast.core.errors import RuncastError, TrackerUnavailableError
from runcast.journal.state import DeliveryState, load_state, save_state
from runcast.redaction.console import warn
from runcast.redaction.tree import redact_text


def refuse(folder: Path, session: int, error: BaseException) -> None:
    """Write that the delivery of a session has ended with *error*; the caller holds the tracker's lock.

    The next delivery finds out what has arrived.
    """
    logging.getLogger("runcast.delivery").error("%s", error, exc_info=error)
    state = load_state(folder) or DeliveryState()
    state.phase, state.session = "refused", max(state.session, session)
    state.error = redact_text(str(error) if isinstance(error, RuncastError) else f"{type(error).__name__}: {error}")
    state.traceback = redact_text("".join(traceback.format_exception(error)))
    with contextlib.suppress(OSError):
        save_state(folder, state)


def report_failure(name: str, error: str, state: DeliveryState, fix: str = "") -> TrackerUnavailableError:
    """Report that a delivery has failed for good, and how to fix it; return the error for a strict run."""
    warn(f"{name} has failed: {error.rstrip('.')}. Training continues and nothing is lost. {fix}".rstrip())
    return TrackerUnavailableError(f"{name}: {error}\n{state.traceback or ''}")


@contextlib.contextmanager
def refusing(folder: Path, session: int, then: Callable[[], None] = lambda: None) -> Iterator[None]:
    """On any exception, end the delivery with it, call *then*, and raise it again."""
    try:
        yield
    except BaseException as error:
        refuse(folder, session, error)
        then()
        raise
