"""The application: the order of the commands, the options of `runcast` itself, and the form of errors."""

import codecs
import io
import os
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from runcast.cli.compare import compare
from runcast.cli.demo import demo
from runcast.cli.doctor import doctor
from runcast.cli.errors import EXIT_OK, EXIT_WRONG, UsageError, complain, stop, stop_for_usage
from runcast.cli.folder import du, import_, list_, rm
from runcast.cli.get import get
from runcast.cli.opening import open_
from runcast.cli.show import show
from runcast.cli.status import status
from runcast.cli.sync import replay, sync
from runcast.cli.verify import verify

EPILOG = """
\b
Exit status of every command:
  0    all is well
  1    something is missing, waiting, wrong or refused
  2    the command failed: a wrong option, no such run or tracker
  130  interrupted
"""


def run(arguments: Sequence[str] | None = None) -> None:
    """Run the command given by the arguments; by default, those of the process.

    A user error is printed as an error and a hint, without a traceback.
    """
    from runcast.core.errors import RuncastError
    from runcast.redaction.console import in_ascii, keep_standard_descriptors

    keep_standard_descriptors()
    codecs.register_error("runcast", in_ascii)
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by a daemon, or by `>&-`
            setattr(sys, name, open(os.devnull, "r+", encoding="utf-8"))  # noqa: SIM115 - for the whole process
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="runcast")  # works in a terminal that supports only ASCII
    json = "--json" in (sys.argv[1:] if arguments is None else arguments)
    try:
        status = make_app()(args=arguments, prog_name="runcast", standalone_mode=False)
        sys.stdout.flush()
    except UsageError as error:
        stop_for_usage(error, json=json)
    except typer.Abort:  # a question that was not answered
        typer.echo(err=True)
        complain("Nothing was done, as nobody has answered. Add --yes to go on without asking")
        sys.exit(EXIT_WRONG)
    except RuncastError as error:
        stop(str(error), json=json)
    except OSError as error:  # an unreadable folder, a name that is too long
        if error.filename is None:
            _drop_output()
        place = error.filename or "A file, or the output,"
        stop(f"{place} cannot be used ({error.strerror or error}).", json=json and error.filename is not None)
    else:
        sys.exit(status if isinstance(status, int) else EXIT_OK)


def _drop_output() -> None:
    """Forget what could not be printed, for example on a full disk: Python would try it again at exit, and complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def make_app() -> typer.Typer:
    """Make the application with all of its commands."""
    app = typer.Typer(
        help="One run, cast to every tracker: show runs, deliver waiting records, check that they arrived.",
        epilog=EPILOG,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_options)
    commands = (doctor, demo, status, list_, show, compare, get, open_, sync, replay, import_, verify, du, rm)
    for command in commands:
        app.command(command.__name__.rstrip("_"), epilog=EPILOG)(command)
    return app


def _options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=lambda on: _version(on), is_eager=True)
    ] = False,
) -> None:
    pass


def _version(wanted: bool) -> None:
    if wanted:
        from runcast import __version__

        typer.echo(f"runcast {__version__}")
        raise typer.Exit
