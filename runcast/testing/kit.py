"""The table of checks, and `check_tracker`, which runs them."""

import contextlib
import dataclasses
import io
import itertools
import logging
import os
import time
import traceback
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from runcast.core.errors import OptionError
from runcast.integrations.contract import Kind, Tracker
from runcast.testing import answers, crashes, holding, lifecycle
from runcast.testing.stage import ForeignRun, Skipped, Stage, Subject

_TABLE: tuple[tuple[Callable[[Stage], None], Kind | None], ...] = (
    (lifecycle.declaration, None),
    (lifecycle.kinds, None),
    (lifecycle.construction, None),
    (lifecycle.setup_and_finish_twice, None),
    (lifecycle.empty_run, None),
    (lifecycle.identity, None),
    (lifecycle.statuses, "status"),
    (lifecycle.open_run, None),
    (lifecycle.resume, None),
    (crashes.sudden_death, "metrics"),
    (lifecycle.foreign_run, None),
    (answers.explanation, None),
    (answers.existence, None),
    (lifecycle.measurements, None),
    (holding.values, "metrics"),
    (holding.precise_values, "metrics"),
    (holding.non_finite_values, "metrics"),
    (holding.steps, "metrics"),
    (holding.sparse_points, "metrics"),
    (holding.repeated_points, "metrics"),
    (holding.times, "metrics"),
    (holding.batches, "metrics"),
    (holding.odd_keys, "metrics"),
    (holding.reserved_keys, "metrics"),
    (holding.long_keys, "metrics"),
    (holding.nested_keys, "metrics"),
    (holding.similar_keys, "metrics"),
    (holding.many_params, "params"),
    (holding.odd_params, "params"),
    (holding.long_params, "params"),
    (holding.changed_params, "params"),
    (holding.summary, "summary"),
    (holding.tags, "tags"),
    (holding.media, "media"),
    (holding.repeated_media, "media"),
    (holding.artifacts, "artifacts"),
    (answers.contents, None),
)
_CHECKS = {check.__name__: (check, kind) for check, kind in _TABLE}

GUARANTEES: Mapping[str, str] = MappingProxyType(
    {name: (check.__doc__ or "").partition("\n")[0] for name, (check, _) in _CHECKS.items()}
)


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome of one check.

    `guarantee` is the promise, `detail` says why it failed or was skipped, or is a remark. `log` is what the delivery
    has logged meanwhile, with the tracebacks of the tracker's exceptions.
    """

    name: str
    guarantee: str
    outcome: Literal["passed", "failed", "skipped"]
    detail: str
    seconds: float
    log: str = ""

    def __str__(self) -> str:
        """Describe it in one line."""
        what = (self.detail or self.guarantee).strip().partition("\n")[0]
        return f"{self.outcome:7} {self.seconds:6.2f} s  {self.name}: {what}"


def tally(checks: Sequence[Check]) -> str:
    """Return the number of checks by outcome, in one line."""
    counts = Counter(check.outcome for check in checks)
    parts = [f"{counts[outcome]} {outcome}" for outcome in ("passed", "failed", "skipped") if counts[outcome]]
    return f"{len(checks)} checks in {sum(check.seconds for check in checks):.0f} s: {', '.join(parts)}"


class BrokenContractError(AssertionError):
    """A broken contract: the message lists the failed checks, `checks` holds all of them."""

    def __init__(self, name: str, checks: list[Check]) -> None:
        self.checks = checks
        failed = [check for check in checks if check.outcome == "failed"]
        lines = [f"{name} fails {len(failed)} of {len(checks)} checks"]
        for check in failed:
            lines += [f"  {check.name}: {check.guarantee}", *(f"      {line}" for line in check.detail.splitlines())]
        super().__init__("\n".join(lines))


def check_tracker(
    make: Callable[[], Tracker],
    folder: Path,
    *,
    only: Collection[str] | None = None,
    options: Mapping[str, Any] | None = None,
    foreign: ForeignRun | None = None,
    report: Callable[[Check], object] | None = None,
) -> list[Check]:
    """Check that a tracker keeps the contract, in its local mode.

    Each check logs a real run into *folder*, delivers it, and reads it back. A check of a kind that the tracker does
    not support is skipped. Set the environment variables that the SDK needs before.

    Args:
        make: The class, or a function that makes a tracker; at the top level of a module, so that a child process can
        import it.
        folder: A folder for the runs; if it is not empty, they go into a new one in it, so that checks can be repeated.
        only: The names of the checks to run; default: all of `GUARANTEES`.
        options: The user's options, as in `init(setup={name: options})`.
        foreign: Called with *folder*, returns a context manager that opens a run with the service's own API, where the
            tracker's `setup` finds it, and yields a function that returns whether that run is still open. Without it,
            one check is skipped.
        report: Called with each check when it is done, such as `print`.

    Raises:
        BrokenContractError: A check failed; the message lists the broken promises.
        OptionError: *only* names a check that does not exist.
    """
    unknown = sorted(set(only or ()) - set(_CHECKS))
    if unknown:
        raise OptionError(f"There is no check {unknown[0]!r}. Valid names are: {', '.join(_CHECKS)}.")
    names = [name for name in _CHECKS if only is None or name in only]
    environment = {**os.environ, "RUNCAST_QUIET": "1"}
    subject = Subject(make, _unused(Path(folder).resolve()), options or {}, foreign, environment)
    checks = []
    for name in names:
        checks.append(_play(name, subject))
        if report is not None:
            report(checks[-1])
    if any(check.outcome == "failed" for check in checks):
        raise BrokenContractError(getattr(make, "__name__", repr(make)), checks)
    return checks


def _unused(folder: Path) -> Path:
    """Return the folder if it is empty or missing, or else a new one in it."""
    if not folder.exists() or not any(folder.iterdir()):
        return folder
    return next(path for number in itertools.count(2) if not (path := folder / f"again-{number}").exists())


@contextlib.contextmanager
def _silence() -> Iterator[io.StringIO]:
    """Keep what a run says and what its delivery logs out of the terminal."""
    text, logger, quiet = io.StringIO(), logging.getLogger("runcast"), os.environ.get("RUNCAST_QUIET")
    handler, propagates = logging.StreamHandler(text), logger.propagate
    logger.addHandler(handler)
    logger.propagate, os.environ["RUNCAST_QUIET"] = False, "1"
    try:
        yield text
    finally:
        logger.removeHandler(handler)
        logger.propagate = propagates
        os.environ.pop("RUNCAST_QUIET") if quiet is None else os.environ.update(RUNCAST_QUIET=quiet)


def _play(name: str, subject: Subject) -> Check:
    with _silence() as log:
        check = _outcome(name, subject)
    return dataclasses.replace(check, log=log.getvalue())


def _outcome(name: str, subject: Subject) -> Check:
    check, kind = _CHECKS[name]
    began, outcome, detail = time.monotonic(), "passed", ""
    try:
        stage = Stage(subject, name)
        if kind is not None and kind not in stage.tracker.supports:
            raise Skipped(f"it holds no {kind}")
        check(stage)
        detail = "; ".join(dict.fromkeys(stage.notes))
    except Skipped as reason:
        outcome, detail = "skipped", str(reason)
    except AssertionError as failure:
        outcome, detail = "failed", str(failure)
    except Exception:  # noqa: BLE001 - a tracker under test may raise anything; it fails this check, not the others
        outcome, detail = "failed", traceback.format_exc()
    return Check(name, GUARANTEES[name], outcome, detail, time.monotonic() - began)  # type: ignore[arg-type]
