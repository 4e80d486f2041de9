"""The exit statuses, and the one form of errors: what happened, and what to do about it; as JSON under `--json`."""

import re
import sys
from typing import Any

import typer

QUOTED = re.compile(r"""(?<!\w)(?:'[^']*'|"[^"]*")(?!\w)""")  # a name, with whatever is in it
SENTENCE_END = re.compile(r"(?<=[^\s.])\. ")
EXIT_OK, EXIT_WRONG, EXIT_USAGE = 0, 1, 2

# The base of all usage errors; typer has it from click, or brings it along.
UsageError: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")


def complain(message: str, hint: str = "") -> None:
    """Print an error and its hint on standard error.

    Args:
        message: What happened. Further sentences are a hint.
        hint: What to do about it.
    """
    from runcast.redaction.console import visible

    happened, to_do = split(visible(message))
    typer.echo(f"error: {happened}", err=True)
    for line in filter(None, (to_do, hint)):
        typer.echo(f"hint: {line}", err=True)


def stop(message: str, hint: str = "", *, json: bool) -> None:
    """Print an error and exit.

    Args:
        message: What happened, and what to do about it.
        hint: A further hint.
        json: Whether to print it on standard output as JSON, for a program.
    """
    if json:
        from runcast.cli.output import print_json

        happened, to_do = split(message)
        print_json({"error": happened, "hint": " ".join(filter(None, (to_do, hint))) or None})
    else:
        complain(message, hint)
    sys.exit(EXIT_USAGE)


def split(message: str) -> tuple[str, str]:
    """Separate the first sentence of a message, without its full stop, from the others."""
    text = message.replace("\n", " ")
    end = SENTENCE_END.search(QUOTED.sub(lambda name: "_" * len(name[0]), text))
    return (text.removesuffix("."), "") if end is None else (text[: end.start()], text[end.end() :])


def stop_for_usage(error: Any, *, json: bool) -> None:
    """Print a usage error and exit."""
    if type(error).__name__ == "NoArgsIsHelpError":
        error.show()  # not an error of the user's: the help
        sys.exit(error.exit_code)
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "runcast"
    message = str(error.format_message())
    more = ". A name that begins with a dash comes last, behind --" if type(error).__name__ == "NoSuchOption" else ""
    stop(message[:1].upper() + message[1:], f"See: {command} --help{more}", json=json)
