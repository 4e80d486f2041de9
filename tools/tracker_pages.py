"""Write the section "Configure" of each page in `docs/trackers/`: a tracker's options, its variables and its commands.

    python tools/tracker_pages.py

The facts are those of the table and of the `variables` of each Tracker, read from its source, without its SDK.
"""

import ast
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from runcast.integrations.row import Integration
from runcast.integrations.table import TABLE

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "trackers"
BEGIN, END = "<!-- made by tools/tracker_pages.py -->\n", "<!-- end -->"


def main() -> None:
    """Write every page that is not current."""
    for row in TABLE.values():
        page = PAGES / f"{row.name}.md"
        page.write_text(written(page.read_text(encoding="utf-8"), row), encoding="utf-8")


def written(text: str, row: Integration) -> str:
    """Return a page's text with the present section; it is the last one where the page had none."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    lines = "\n".join(section(row))
    return f"{before.rstrip()}\n\n{BEGIN}{lines}\n{END}{after or chr(10)}"


def section(row: Integration) -> Iterator[str]:
    """Write the section of one tracker."""
    yield from ("", "## Configure", "", "| what | how |", "|---|---|")
    yield f"| install | `{row.install}` |"
    yield f"| go online | `{row.log_in}` |" if row.log_in else "| go online | – (always local) |"
    for what, switches in (("local mode only", row.offline), ("switch off", row.off)):
        found = [f"`{variable}={values[0]}`" for variable, values in switches.items()]
        if found:
            yield f"| {what} | {', '.join(found)} |"
    if row.page_command:
        yield f"| look at local runs | `runcast open {row.name}` |"
    if row.open_command:
        yield f"| send or open a local run | `{row.open_command}`, as `runcast status RUN` prints it |"
    variables = {**row.switches, **variables_of(row)}
    words = [word for word in row.options if ":" not in word]
    names = list(dict.fromkeys([*variables, *words]))
    if names:
        yield from ("", f'| `setup={{"{row.name}": {{…}}}}` | environment variable |', "|---|---|")
    for name in names:
        found = " ".join(f"`{variable}`" for variable in variables.get(name, "").split())
        yield f"| `{name}` | {found or '–'} |"
    functions = [word.replace(":", ".") for word in row.options if ":" in word]
    if functions:
        yield ""
        yield f"Also every argument of {', '.join(f'`{name}`' for name in functions)}."
    yield ""


def variables_of(row: Integration) -> dict[str, str]:
    """Read the options that have an environment variable, with those of the tracker that this one extends."""
    place = ROOT / Path(*row.tracker.partition(":")[0].split("."))
    files = sorted(place.glob("*.py")) if place.is_dir() else [place.with_suffix(".py")]
    found = variables_of(TABLE[row.over]) if row.over else {}
    for file in files:
        constants: dict[str, Any] = {}
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Assign | ast.AnnAssign) or node.value is None:
                continue
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            name = target.id if isinstance(target, ast.Name) else ""
            with contextlib.suppress(ValueError):
                constants[name] = ast.literal_eval(node.value)
            if name in ("variables", "VARIABLES") and isinstance(node.value, ast.Dict):
                made = compile(ast.Expression(node.value), str(file), "eval")
                found |= eval(made, constants)  # noqa: S307 - our own source, some of it a comprehension
    return found


if __name__ == "__main__":
    main()
