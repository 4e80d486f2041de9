"""The command line: `python -m benchmarks` (what `make bench` runs)."""

import argparse
import importlib
import os
import signal
import sys
import time
from pathlib import Path

from rich.console import Console

from benchmarks import report
from benchmarks.harness import warm_up

QUESTIONS = ("log", "start", "step", "lag", "deliveries", "trainers", "frameworks", "delivery", "memory")
BUSY = 0.5
WIDTH = 150  # a table that is folded to 80 columns cannot be read


def main() -> int:
    """Measure, or load what was measured; show it."""
    arguments = _parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # measuring processes are ended on the way out
    found = report.load(arguments.load) if arguments.load else _measure(arguments.only, arguments.quick, arguments.json)
    if arguments.write:
        report.write_into(arguments.write, report.markdown(found))
    if arguments.markdown:
        print(report.markdown(found))
    else:
        report.show(found, Console(width=max(Console().width, WIDTH)))
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure the budgets, with the peers in the same run."
    )
    parser.add_argument(
        "--only", metavar="LIST", type=_questions, default=QUESTIONS, help=f"a comma list of {', '.join(QUESTIONS)}"
    )
    parser.add_argument(
        "--quick", action="store_true", help="few samples: shows that everything runs, not how fast it is"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write the figures to a file")
    parser.add_argument("--markdown", action="store_true", help="print Markdown")
    parser.add_argument(
        "--write",
        metavar="PAGE",
        type=Path,
        help="put the tables between the markers of a page, such as docs/benchmarks.md",
    )
    parser.add_argument(
        "--from", dest="load", metavar="FILE", type=Path, help="measure nothing, take the figures of an earlier --json"
    )
    return parser.parse_args()


def _questions(text: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    if unknown := [word for word in words if word not in QUESTIONS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is no question. The questions are: {', '.join(QUESTIONS)}.")
    return words


def _measure(questions: tuple[str, ...], quick: bool, file: Path | None) -> report.Report:
    """Ask one question after the other; what is known is saved after each, as it is a long way to the last."""
    minutes = "eight" if quick else "twenty-five"
    print(f"About {minutes} minutes for all questions. Leave the machine alone meanwhile.", file=sys.stderr)
    began, load = time.monotonic(), os.getloadavg()[0]
    if load > BUSY:
        print(f"The machine is busy (load {load:.1f}): the figures will be worse than they should be.", file=sys.stderr)
    warm_up()
    answers = []
    for question in questions:
        print(f"{question}:", file=sys.stderr)
        answers.append(importlib.import_module(f"benchmarks.{question}").measure(quick))
        found = report.new_report(answers, quick=quick, took_s=time.monotonic() - began, load=load)
        if file is not None:
            report.save(found, file)
    return found


if __name__ == "__main__":
    sys.exit(main())
