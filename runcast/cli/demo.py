"""`runcast demo`: a training from end to end, in under a minute."""

from pathlib import Path
from typing import Annotated

import typer

from runcast.cli.errors import EXIT_WRONG
from runcast.cli.options import Json, Root


def demo(
    report_to: Annotated[
        str, typer.Option("--report-to", metavar="NAMES", help="Trackers, separated by commas; 'all' or 'none'.")
    ] = "all",
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="How often to go through the training images.")] = 20,
    root: Root = Path("runs"),
    json: Json = False,
) -> None:
    """Train a small network and read every tracker back.

    The network learns handwritten digits in under a minute, on a GPU if there is one. Needs no account and no
    internet.
    """
    from importlib.util import find_spec

    from runcast.core.errors import OptionError

    if find_spec("torch") is None:
        raise OptionError(
            "the demo trains with PyTorch, which is not installed. Install it with: pip install 'runcast[demo]'"
        )
    from runcast.autodetect import decide
    from runcast.cli.bars import Bars
    from runcast.cli.output import commands, console, print_json
    from runcast.cli.verify import as_json, print_verdicts, read_with_bar
    from runcast.history.sync import sync
    from runcast.journal.layout import RunDirectory
    from runcast.journal.paths import argument
    from runcast.trainer.demo import train_demo

    run = train_demo(report_to=report_to, dir=root, epochs=epochs, progress=not json)
    directory = RunDirectory(run.dir)
    with Bars(quiet=json) as bars:  # on a busy machine some deliveries are still running
        sync(directory, decide=decide, progress=bars.show, wait=True)
    verdicts = read_with_bar(directory, quiet=json)
    if json:
        print_json(as_json(verdicts))
    else:
        out = console()
        out.print()
        print_verdicts(out, directory, verdicts)
        commands(out, "Look at it here with", [("", f"runcast show {argument(run.dir)}")])
    if not all(verdict.is_right for verdict in verdicts):
        raise typer.Exit(EXIT_WRONG)
