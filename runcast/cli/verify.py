"""`runcast verify`: what each tracker really holds."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from runcast.cli.errors import EXIT_WRONG
from runcast.cli.options import (
    Classes,
    Every,
    Json,
    Root,
    RunWords,
    Trackers,
    Trust,
    canonical,
    classes_of,
    find_all,
    for_each,
    taking_part,
)

if TYPE_CHECKING:
    from rich.console import Console

    from runcast.history.comparison import Verdict
    from runcast.journal.layout import RunDirectory


def verify(
    run: RunWords = None,
    root: Root = Path("runs"),
    tracker: Trackers = None,
    every: Every = False,
    trust: Trust = False,
    own_class: Classes = None,
    json: Json = False,
) -> None:
    """Compare the trackers with the journal.

    Reads each tracker back with its own reader, and compares point by point. With --json, several runs are an object
    of lists, by the runs' ids; one is a list.
    """
    from runcast.cli.output import console, print_json

    names, classes = canonical(tracker), classes_of(own_class)

    def one(directory: "RunDirectory") -> "list[Verdict]":
        here = taking_part(names, directory) if every else names
        return read_with_bar(directory, here, quiet=json, trust=trust, classes=classes)

    directories = find_all(run, root, every=every)
    found, is_right = for_each(directories, one, None if json else partial(print_verdicts, console()))
    if json:
        listed = {run_id: as_json(verdicts) for run_id, verdicts in found.items()}
        print_json(listed if every or len(directories) > 1 else next(iter(listed.values())))
    if not is_right:
        raise typer.Exit(EXIT_WRONG)


def read_with_bar(
    directory: "RunDirectory",
    names: list[str] | None = None,
    *,
    quiet: bool = False,
    trust: bool = False,
    classes: dict[str, str] | None = None,
) -> "list[Verdict]":
    """Read the trackers back, with a bar that counts them."""
    from runcast.autodetect import decide
    from runcast.cli.bars import Bars
    from runcast.history.verify import verify as read_back

    total, seen = len(names or directory.load().trackers), 0
    with Bars(quiet=quiet) as bars:
        bars.show("reading back", 0, total)

        def count(_: object) -> None:
            nonlocal seen
            seen += 1
            bars.show("reading back", seen, total)

        return read_back(directory, names, count, decide=decide, trust=trust, classes=classes)


def as_json(verdicts: "list[Verdict]") -> list[dict[str, Any]]:
    """Add its conclusion to each verdict."""
    from msgspec.structs import asdict

    return [{**asdict(v), "is_right": v.is_right, "problems": v.problems()} for v in verdicts]


def print_verdicts(out: "Console", directory: "RunDirectory", verdicts: "list[Verdict]") -> None:
    """Print the table of verdicts, the problems, and the commands that open the run."""
    from runcast.cli.output import (
        CAST_NOWHERE,
        commands,
        count,
        headline,
        line,
        mark,
        nearby,
        notes,
        one_line,
        print_damaged,
        print_dropped,
        table,
        word,
    )
    from runcast.journal.paths import shown

    file = directory.load()
    line(out, headline(file.name, f"  {shown(directory.path)}"))
    out.print()
    if not verdicts:
        out.print(CAST_NOWHERE)
        print_dropped(out, directory.journal)
        return
    listed = table("", "tracker", "points", "other records", "status", "where", right=("points",), shrinks="where")
    for verdict in verdicts:
        points = f"{count(verdict.found)} of {count(verdict.logged)}"
        where = one_line(nearby(verdict.where, shown(directory.path)))
        listed.add_row(mark(verdict.is_right), verdict.name, points, _others(verdict), word(verdict.status), where)
    out.print(listed)
    problems = [(verdict.name, problem) for verdict in verdicts for problem in verdict.problems()]
    known = [(verdict.name, note) for verdict in verdicts for note in _remarks(verdict)]
    notes(out, problems)
    print_damaged(out, max(verdict.damaged for verdict in verdicts))
    notes(out, known)
    print_dropped(out, directory.journal)
    commands(out, "Open it with", [(verdict.name, verdict.open_command or verdict.where) for verdict in verdicts])


def _others(verdict: "Verdict") -> str:
    """Return how many params, summary values, tags, artifacts and media are right."""
    found = sum(tally.found for tally in verdict.others.values())
    logged = sum(tally.logged for tally in verdict.others.values())
    return f"{found} of {logged}" if logged else "–"


def _remarks(verdict: "Verdict") -> list[str]:
    from runcast.delivery.sending.refusals import is_unsupported, refused_values
    from runcast.redaction.console import counted

    remarks = [verdict.note] if verdict.note else []
    unsupported = {reason: n for reason, n in verdict.refused_for.items() if is_unsupported(reason)}
    remarks += [refused_values(reason, number) for reason, number in unsupported.items()]
    if verdict.precision == "float32" and verdict.logged:
        remarks.append("keeps 32-bit floats; values were compared at that precision")
    if verdict.renamed:
        remarks.append(f"holds {counted(verdict.renamed, 'name')} in a different spelling")
    return remarks
