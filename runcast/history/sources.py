"""Import: which tool a folder, a file or an address belongs to, and the process that brings its runs here."""

import contextlib
import os
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from runcast.core.errors import OptionError
from runcast.delivery.courier.spawning import child_environment, module_command, where_to_start
from runcast.delivery.trust import Orders
from runcast.history.importing import Imported, Place
from runcast.integrations.more import LINES, TABLES
from runcast.integrations.table import ARCHIVES, TABLE, row_named
from runcast.journal.paths import absolute
from runcast.journal.records import UNREADABLE
from runcast.journal.status import error_line

PASSED_BY = frozenset((".git", ".venv", "node_modules", "__pycache__", "site-packages"))
FILES = "files"
SQLITE = b"SQLite format 3\x00"


class Tool(NamedTuple):
    """A tool whose runs can be imported: its Tracker, and the names of the files by which its runs are recognised."""

    name: str
    title: str
    tracker: str
    keeps: tuple[str, ...]
    install: str = ""


def tools() -> dict[str, Tool]:
    """Return the tools whose runs can be imported, by name."""
    rows = (row for row in TABLE.values() if row.keeps)
    return {
        **{row.name: Tool(row.name, row.title, row.tracker, row.keeps, row.install) for row in rows},
        **{row.name: Tool(row.name, row.title, row.tracker, row.keeps) for row in ARCHIVES.values()},
    }


def tool_named(word: str) -> Tool:
    """Return the tool that a user names.

    Raises:
        OptionError: There is none of this name, or it cannot be imported from.
    """
    row = row_named(word)
    name = row.name if row is not None else word.strip().lower()
    if name not in tools():
        what = f"{row.title} cannot be imported from." if row is not None else f"There is no {word!r} to import from."
        raise OptionError(f"{what} {_known()}")
    return tools()[name]


def find_tool(source: str) -> Tool:
    """Return the tool that a path or an address belongs to.

    Raises:
        OptionError: It is of none, of several, or not there.
    """
    if "://" in source:
        if source.startswith(("http://", "https://", "sqlite://", "file://", "postgresql", "mysql", "mssql")):
            return tools()["mlflow"]
        raise OptionError(f"{source} is no address of runs. {_known()}")
    path = Path(source)
    if not path.exists():
        raise OptionError(f"There is no {source}. Name a folder, a file or the address of an MLflow server.")
    if (path / "run.json").is_file() and (path / "journal.jsonl").is_file():
        raise OptionError(f"{source} is a run of runcast already. Look at it with: runcast show {source}")
    if path.suffix.lower() in (*TABLES, *LINES):
        return tools()[FILES]
    found: dict[str, Tool] = {}
    for file in _files(path):
        for tool in tools().values():
            if tool.name not in found and any(_fits(file, pattern) for pattern in tool.keeps):
                found[tool.name] = tool
    if len(found) > 1:
        found.pop(FILES, None)  # the files that others keep beside theirs
    if not found:
        raise OptionError(f"{source} holds no runs that can be imported. {_known()}")
    if len(found) > 1:
        names = sorted(found)
        raise OptionError(
            f"{source} holds runs of several tools: {', '.join(names)}. Choose one, as in: --from {names[0]}"
        )
    return next(iter(found.values()))


def _known() -> str:
    return f"runcast imports from {', '.join(tools())}: name one with --from."


def _files(path: Path) -> Iterator[Path]:
    """Yield a file, or the files in a folder but for those of runcast's own runs."""
    if not path.is_dir():
        yield path
        return
    for folder, inside, names in os.walk(path):
        if {"run.json", "journal.jsonl"} <= set(names):
            inside.clear()
            continue
        inside[:] = sorted(set(inside) - PASSED_BY)
        yield from (Path(folder, name) for name in names)


def _fits(file: Path, pattern: str) -> bool:
    """Return whether a file is one that a pattern means: of its path, and of a table of an SQLite file behind `:`."""
    wanted, _, table = pattern.partition(":")
    if not fnmatch(f"/{absolute(file)}", f"*/{wanted}"):
        return False
    return not table or table in _sqlite_tables(file)


def _sqlite_tables(file: Path) -> set[str]:
    with contextlib.suppress(OSError, sqlite3.Error), file.open("rb") as head:
        if head.read(len(SQLITE)) == SQLITE:
            address = f"{absolute(file).as_uri()}?mode=ro"
            with contextlib.closing(sqlite3.connect(address, uri=True)) as database:
                return {name for (name,) in database.execute("select name from sqlite_master where type = 'table'")}
    return set()


def import_runs(
    source: str,
    root: Path,
    *,
    tool: str | None = None,
    project: str | None = None,
    tell: Callable[[Imported], None] | None = None,
) -> list[Imported]:
    """Import the runs that a path or an address holds.

    Args:
        source: A folder, a file or an address.
        root: The folder of runs.
        tool: The name of the tool that has kept them; by default it is found.
        project: The project of the runs; by default what the tool groups them by.
        tell: Called with each outcome, as soon as it is known.

    Raises:
        OptionError: Nothing can be imported.
    """
    chosen = find_tool(source) if tool is None else tool_named(tool)
    where = source if "://" in source else str(absolute(source))
    place = Place(source=where, root=str(absolute(root)), title=chosen.title, project=project)
    row = TABLE.get(chosen.name)
    quiet = {} if row is None else {**row.environment, **({} if "://" in source else row.offline_environment)}
    orders = Orders(tracker=chosen.tracker, environment=quiet, options=msgspec.to_builtins(place))
    found: list[Imported] = []
    with tempfile.TemporaryFile() as errors:
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": errors}
        command, here = module_command("runcast.history.importing"), where_to_start(root)
        with subprocess.Popen(command, cwd=here, env=child_environment(), **pipes) as child:
            try:
                assert child.stdin is not None
                assert child.stdout is not None
                with contextlib.suppress(BrokenPipeError), child.stdin as orders_go_here:
                    orders_go_here.write(msgspec.json.encode(orders) + b"\n")
                for line in child.stdout:
                    found.append(_outcome(line, chosen))
                    if tell is not None:
                        tell(found[-1])
                child.wait()
            finally:
                child.kill()
        errors.seek(0)
        said = errors.read().decode(errors="replace")
    if child.returncode:
        reason = error_line(said) or f"exit status {child.returncode}"
        raise OptionError(f"{source} cannot be imported, after {len(found)} of its runs: {reason}")
    if not found:
        raise OptionError(f"{source} holds no run of {chosen.title}. {_known()}")
    return found


def _outcome(line: bytes, tool: Tool) -> Imported:
    try:
        return msgspec.json.decode(line, type=Imported)
    except UNREADABLE:
        message = str(msgspec.json.decode(line)["error"])
        hint = f" Install it with: {tool.install}" if "is not installed" in message else ""
        raise OptionError(f"{message}{hint}") from None
