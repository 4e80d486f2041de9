"""The check of one tracker in this process: `python -m runcast.testing (NAME | MODULE:CLASS) FOLDER`."""

import argparse
import importlib
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import msgspec

from runcast.core.errors import RuncastError
from runcast.integrations.loading import load_tracker
from runcast.integrations.table import TABLE
from runcast.redaction.console import warn
from runcast.testing.kit import BrokenContractError, Check, check_tracker, tally

LOG_LINES = 25  # of a failed check: the last exception of the tracker


def main() -> int:
    """Print each check and its outcome; return 0 if none failed, 1 if one did, 2 if the tracker cannot be checked."""
    arguments = _parse()
    output = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # SDKs print to standard output, which is reserved for the result
    row = TABLE.get(arguments.tracker)
    environment = {**row.environment, **row.offline_environment} if row else {}
    try:
        tracker = load_tracker(row.tracker if row else arguments.tracker, environment)
        foreign = _find(arguments.foreign) if arguments.foreign else None
        report = None if arguments.json else lambda check: print(_fitting(str(check)), file=output, flush=True)
        checks = check_tracker(tracker, arguments.folder, only=arguments.only, foreign=foreign, report=report)
    except BrokenContractError as error:
        checks = error.checks
    except (RuncastError, ImportError) as error:
        warn(str(error))
        return 2
    with output:
        output.write(msgspec.json.encode(checks).decode() if arguments.json else _summary(checks))
    return int(any(check.outcome == "failed" for check in checks))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m runcast.testing", description="Check that a tracker keeps the contract, in its local mode."
    )
    parser.add_argument("tracker", help="a name from the table, or module:Class")
    parser.add_argument("folder", type=Path, help="a folder for the runs; repeated checks get new folders in it")
    parser.add_argument("--only", type=lambda text: text.split(","), metavar="CHECK,CHECK", help="the checks to play")
    parser.add_argument(
        "--foreign", metavar="MODULE:FUNCTION", help="a function that opens a run with the service's own API"
    )
    parser.add_argument("--json", action="store_true", help="print a list of objects")
    return parser.parse_args()


def _find(target: str) -> Any:
    module, _, name = target.partition(":")
    return getattr(importlib.import_module(module), name)


def _fitting(line: str) -> str:
    """Cut a line to the width of a terminal; in a file it stays whole."""
    width = shutil.get_terminal_size().columns if os.isatty(2) else len(line)
    return line if len(line) <= width else f"{line[: width - 1]}…"


def _summary(checks: list[Check]) -> str:
    """Return what went wrong in detail, and the tally."""
    parts = []
    for check in checks:
        if check.outcome == "failed":
            log = "".join(f"    {line}\n" for line in check.log.splitlines()[-LOG_LINES:])
            parts.append(f"\n{check.name}: {check.guarantee}\n  {check.detail.strip()}\n{log}")
    return f"{''.join(parts)}\n{tally(checks)}\n"


if __name__ == "__main__":
    sys.exit(main())
