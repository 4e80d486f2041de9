"""Calling a tracker until it succeeds, fails for good, or runs out of time.

This is one of the two places that catch every exception: an SDK may raise anything, and none of it may end the
delivery.
"""

import logging
import os
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from runcast.core.errors import (
    FinalError,
    RestartError,
    RetryableError,
    RuncastError,
    TrackerError,
    TrackerUnavailableError,
)
from runcast.core.foreign import attempt

UNKNOWN_ERRORS = 3  # attempts after an exception that is neither retryable nor final
LEAVING = (SystemExit, KeyboardInterrupt, GeneratorExit)  # they would end a script, but must not end a delivery
ONCE_PAUSE_S = 0.5
FIRST_S, LONGEST_S, LONGEST_WISH_S = 1.0, 60.0, 600.0

Result = TypeVar("Result")

log = logging.getLogger("runcast.delivery")


def end_if_forked(pid: int) -> None:
    """End this process if it is a fork of *pid* that an SDK has let return: it would deliver twice."""
    if os.getpid() != pid:
        os._exit(0)


def explained(explain: Callable[[Exception], TrackerError | None], call: Callable[[], Result]) -> Result:
    """Call; replace an SDK's exception by the Tracker's explanation, if it has one."""
    try:
        return call()
    except RuncastError:
        raise
    except Exception as error:
        meaning = attempt(partial(explain, error), lambda _: None)
        if meaning is None:
            raise
        raise meaning from error


class GaveUp(Exception):
    """The end of a delivery's patience after the end of the run; the rest stays in the journal."""


class Attempts:
    """The attempts of one delivery; `busy_since` tells a watchdog how long a call has been under way.

    Args:
        name: The tracker's name, for the log.
        explain: Returns our error for an exception of the SDK, or None.
        alive: Tells whether the training process still lives.
        wait: Sleeps up to a number of seconds; returns early when there is news.
        follow: Whether to keep trying while the training lives; without it, there are only a few attempts.
        patience_s: How long to keep trying once the run is over.
        save: Writes changes to the delivery's state.
    """

    def __init__(
        self,
        name: str,
        *,
        explain: Callable[[Exception], TrackerError | None],
        alive: Callable[[], bool],
        wait: Callable[[float], None],
        follow: bool,
        patience_s: float,
        save: Callable[..., None],
    ) -> None:
        self._name, self._explain, self._alive, self._wait = name, explain, alive, wait
        self._follow, self._patience_s, self._save = follow, patience_s, save
        self._over_since: float | None = None
        self._pid = os.getpid()
        self.busy_since: float | None = None

    def run_is_over(self) -> None:
        """Start the clock for the patience."""
        self._over_since = self._over_since or time.monotonic()

    def keep_pause(self, not_before: float) -> None:
        """Wait for the rest of the pause that the service demanded from an earlier process.

        Without `follow`, do not wait: the user asked for delivery now, and one call shows whether the service still
        objects.
        """
        left = min(not_before - time.time(), LONGEST_WISH_S)
        if self._follow and left > 0:
            log.warning("%s has asked for a pause: the first call follows in %.1f s", self._name, left)
            self._save(phase="retrying", error=f"it has asked for a pause of another {left:.0f} s")
            self._sleep(left, left)

    def __call__(
        self,
        what: str,
        call: Callable[[], Result],
        again: Callable[[], object] | None = None,
        in_vain: set[type[Exception]] | None = None,
    ) -> Result:
        """Call until it succeeds, and return the result; `again` runs before every attempt but the first.

        `in_vain` collects the unknown exceptions for which retrying other parts of the same request did not help: they
        are final at once.

        Raises:
            FinalError: The call will never succeed.
            TrackerUnavailableError: The SDK keeps trying to exit the process.
            RestartError: Only a fresh process can continue.
            GaveUp: The run is over, and the patience is used up.
        """
        tries = unknown = 0
        while True:
            self.busy_since = time.monotonic()
            try:
                if tries and again is not None:
                    explained(self._explain, again)
                result = explained(self._explain, call)
                break
            except (FinalError, TrackerUnavailableError, RestartError):
                raise
            except RetryableError as error:
                failure: BaseException = error
            except LEAVING as error:
                end_if_forked(self._pid)
                log.exception("%s: %s wants to leave the process", self._name, what)
                unknown += 1
                if unknown >= UNKNOWN_ERRORS:
                    raise TrackerUnavailableError(f"{what} raised {type(error).__name__}: {error}") from error
                failure = error
            except Exception as error:
                is_known = in_vain is not None and type(error) in in_vain
                if not is_known:
                    log.exception("%s: %s raised", self._name, what)
                unknown += 1
                if is_known or unknown >= UNKNOWN_ERRORS:
                    if in_vain is not None:
                        in_vain.add(type(error))
                    raise FinalError(f"{type(error).__name__}: {error}") from error
                failure = error
            finally:
                self.busy_since = None
                end_if_forked(self._pid)
            tries += 1
            self._pause(what, failure, tries)
        if tries:
            self._save(phase="delivering", error=None, traceback=None, not_before=0.0)
        return result

    def _pause(self, what: str, failure: BaseException, attempt: int) -> None:
        said = f"{what}: {failure if isinstance(failure, Exception) else repr(failure)}"
        trace = "".join(traceback.format_exception(failure))
        wish = min(getattr(failure, "retry_after_s", None) or 0.0, LONGEST_WISH_S)
        if self._no_time_left(attempt):
            self._save(error=said, traceback=trace, not_before=time.time() + wish)
            raise GaveUp from failure
        pause = backoff_s(attempt, wish) if self._follow else max(ONCE_PAUSE_S, wish)
        log.warning("%s: %s failed (%s); trying again in %.1f s", self._name, what, failure, pause)
        self._save(phase="retrying", error=said, traceback=trace, not_before=time.time() + wish)
        self._sleep(pause, wish)

    def _sleep(self, pause_s: float, wish_s: float) -> None:
        """Wait; the end of a run shortens our own pause, but not one that the service asked for."""
        began, is_over = time.monotonic(), False
        while (waited := time.monotonic() - began) < pause_s:
            is_over = self._ends_now() or is_over
            if is_over and waited >= wish_s:
                break
            self._wait(min(pause_s - waited, 1.0))

    def _no_time_left(self, attempt: int) -> bool:
        self._ends_now()
        if not self._follow:
            return attempt >= UNKNOWN_ERRORS
        return self._over_since is not None and time.monotonic() - self._over_since > self._patience_s

    def _ends_now(self) -> bool:
        """Return whether the training has just disappeared, which allows one more attempt at once."""
        if self._over_since is not None or self._alive():
            return False
        self.run_is_over()
        return True


def backoff_s(attempt: int, wished_s: float | None = None) -> float:
    """Return the pause after the n-th failed attempt (1, 2, …): doubling, up to a minute, a quarter of it random.

    It is at least what the service asked for.
    """
    pause: float = min(LONGEST_S, FIRST_S * 2.0 ** min(attempt - 1, 10))
    pause *= 0.75 + 0.25 * os.urandom(1)[0] / 255
    return max(pause, min(wished_s or 0.0, LONGEST_WISH_S))
