"""Draw the README's picture: a terminal on the newest run in `runs/`, as the command line itself prints it.

`make picture` trains the demo first. The result is `docs/pictures/terminal.svg`.
"""

import io
import re
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI

from runcast.cli import app, output

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "terminal.svg"
COMMANDS = ("show --metric eval/accuracy", "verify")


def main() -> None:
    """Run each command in a terminal of 100 columns, and save all that they print as one picture."""
    terminal = Console(
        record=True, file=io.StringIO(), force_terminal=True, width=100, highlight=False, emoji=False, markup=False
    )
    output.console = lambda: terminal
    output.commands = lambda *_: None  # the last lines of `verify`: paths on the machine that drew the picture
    for number, command in enumerate(COMMANDS):
        terminal.print(*[""] * bool(number), f"$ runcast {command}", sep="\n", style="bold")
        app.make_app()(args=command.split(), prog_name="runcast", standalone_mode=False)
    drawn = terminal.export_svg(title="runcast", theme=MONOKAI, unique_id="runcast")
    drawn = re.sub(r"\s*@font-face \{.*?\n    \}", "", drawn, flags=re.DOTALL)  # nothing is loaded from a network
    PICTURE.write_text(drawn.replace("Fira Code, ", ""), encoding="utf-8")


if __name__ == "__main__":
    main()
