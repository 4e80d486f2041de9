"""What came out: tables and budgets, in the terminal, as JSON, and as Markdown between two markers of a page."""

import json
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import psutil
from rich.console import Console
from rich.table import Table as RichTable

BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"
PACKAGES = (
    "torch",
    "transformers",
    "accelerate",
    "lightning",
    "wandb",
    "mlflow",
    "comet_ml",
    "clearml",
    "dvclive",
    "codecarbon",
    "tensorboard",
    "trackio",
)


@dataclass
class Table:
    """Answers one question: the first column is the subject, the others are figures."""

    title: str
    columns: Sequence[str]
    rows: list[Sequence[str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@dataclass
class Budget:
    """Compares a figure with what was promised; `value` is None where nothing could be measured."""

    what: str
    value: float | None
    limit: float
    unit: str = ""
    sense: Literal["at most", "at least"] = "at most"

    @property
    def verdict(self) -> str:
        """Say "met" or "not met"."""
        if self.value is None:
            return "not measured"
        return (
            "met" if (self.value <= self.limit if self.sense == "at most" else self.value >= self.limit) else "not met"
        )

    def cells(self) -> tuple[str, str, str, str]:
        """Return the row of the table of budgets."""
        value = "–" if self.value is None else f"{figure(self.value)} {self.unit}".strip()
        return self.what, f"{self.sense} {figure(self.limit)} {self.unit}".strip(), value, self.verdict


@dataclass
class Answer:
    """The result of one question."""

    tables: list[Table]
    budgets: list[Budget] = field(default_factory=list)


@dataclass
class Report:
    """One run of the benchmarks."""

    tables: list[Table]
    budgets: list[Budget]
    date: str
    machine: str
    versions: dict[str, str]
    quick: bool = False
    took_s: float = 0.0


def new_report(answers: Sequence[Answer], *, quick: bool, took_s: float, load: float) -> Report:
    """Put the answers together with what a reader must know of the run."""
    tables = [table for answer in answers for table in answer.tables]
    budgets = [budget for answer in answers for budget in answer.budgets]
    where = f"{machine()}, load {load:.1f} before the run"
    return Report(tables, budgets, time.strftime("%Y-%m-%d"), where, versions(), quick, took_s)


def save(report: Report, path: Path) -> None:
    """Write a report as JSON."""
    path.write_text(json.dumps(asdict(report), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def load(path: Path) -> Report:
    """Read a report that `save` wrote."""
    fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    fields["tables"] = [Table(**table) for table in fields["tables"]]
    fields["budgets"] = [Budget(**budget) for budget in fields["budgets"]]
    return Report(**fields)


def show(report: Report, console: Console) -> None:
    """Print a report to the terminal."""
    for table in [*report.tables, *([_budgets(report)] if report.budgets else [])]:
        shown = RichTable(
            title=table.title,
            title_justify="left",
            title_style="bold",
            caption="\n".join(table.notes),
            caption_justify="left",
        )
        for index, column in enumerate(table.columns):
            shown.add_column(column, justify="right" if index else "left", overflow="fold")
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
    console.print(_about(report))


def markdown(report: Report) -> str:
    """Write a report as Markdown."""
    parts = [_about(report)]
    for table in [*([_budgets(report)] if report.budgets else []), *report.tables]:
        lines = [f"### {table.title}", "", _row(table.columns), _row(["---", *["---:"] * (len(table.columns) - 1)])]
        lines += [_row(row) for row in table.rows]
        parts += ["\n".join(lines), *table.notes]
    return "\n\n".join(parts) + "\n"


def write_into(path: Path, text: str, first: str = BEGIN, last: str = END) -> None:
    """Replace what stands between the markers of a page."""
    page = path.read_text(encoding="utf-8")
    head, begin, rest = page.partition(first)
    _, end, tail = rest.partition(last)
    if not (begin and end):
        raise SystemExit(f"{path} has no {first} and {last}. Put both where the tables shall stand.")
    path.write_text(f"{head}{first}\n\n{text}\n{last}{tail}", encoding="utf-8")


def figure(value: float) -> str:
    """Write a number with three significant digits."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def ratio(value: float) -> str:
    """Write a ratio so that a per cent shows."""
    return f"{value:.3f}" if value < 10 else figure(value)


def duration(microseconds: float) -> str:
    """Write a time in the unit that fits it."""
    for factor, unit in ((1e6, "s"), (1e3, "ms")):
        if microseconds >= factor:
            return f"{figure(microseconds / factor)} {unit}"
    return f"{figure(microseconds)} µs"


def machine() -> str:
    """Describe what the figures were taken on."""
    memory = f"{psutil.virtual_memory().total / 2**30:.0f} GiB"
    system = f"{platform.system()} {platform.machine()}"
    return f"{system}, {os.cpu_count()} cores, {memory}, Python {platform.python_version()}"


def versions() -> dict[str, str]:
    """Name the versions of everything that was compared."""
    from runcast import __version__

    found = {"runcast": __version__}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _budgets(report: Report) -> Table:
    return Table("Budgets", ("what", "budget", "measured", "verdict"), [budget.cells() for budget in report.budgets])


def _about(report: Report) -> str:
    quick = " Quick run: too few samples to rely on." if report.quick else ""
    names = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return f"{report.date}, {report.machine}. {names}. Took {report.took_s:.0f} s.{quick}"


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
