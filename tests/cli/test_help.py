"""What the command line says of itself."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from runcast.cli.app import make_app

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
COMMANDS = typer.main.get_command(make_app()).commands  # type: ignore[attr-defined]
SECTIONS = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL))
SHARED = re.search(r"^## In every command\n(.*?)^## ", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_there_are_these_commands() -> None:
    """The commands are those of the design, in the order in which one meets them."""
    assert list(COMMANDS) == [
        *("doctor", "demo", "status", "list", "show", "compare", "get", "open"),
        *("sync", "replay", "import", "verify", "du", "rm"),
    ]


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_and_each_of_its_options_have_help(name: str) -> None:
    """A command says in one line what it does, and every option and argument what it is for."""
    command = COMMANDS[name]

    assert 10 < len(command.help.split("\n")[0]) < 60
    assert all(getattr(param, "help", None) for param in command.params)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_has_json(name: str) -> None:
    """Every command can be read by a program."""
    assert any("--json" in param.opts for param in COMMANDS[name].params)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_and_each_of_its_options_are_documented(name: str) -> None:
    """docs/cli.md has a section for each command, which names each of its options, unless the section on all commands does."""
    assert SHARED is not None
    documented = SECTIONS[name] + SHARED[1]

    for param in COMMANDS[name].params:
        for option in (*param.opts, *param.secondary_opts):
            word = option if option.startswith("-") else option.upper()
            assert re.search(rf"^`.*{word}\b", documented, re.MULTILINE), f"{name} {word} is not in docs/cli.md"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_documents_nothing_that_is_not_there(name: str) -> None:
    """Each option that a command's section defines exists."""
    known = {option for param in COMMANDS[name].params for option in (*param.opts, *param.secondary_opts)}

    defined = {
        option
        for line in re.findall(r"^(`-.*)\n:", SECTIONS[name], re.MULTILINE)
        for option in re.findall(r"`(--?[\w-]+)", line)
    }

    assert defined <= known


def test_help_names_the_exit_statuses(cli) -> None:  # type: ignore[no-untyped-def]
    """`runcast sync --help` says what each exit status means."""
    answer = cli("sync", "--help")

    assert answer.status == 0
    assert re.findall(r"^ +(\d+)  ", answer.out, re.MULTILINE) == ["0", "1", "2", "130"]


def test_help_fits_eighty_columns(cli) -> None:  # type: ignore[no-untyped-def]
    """No line of any help is longer than a terminal is wide."""
    for name in COMMANDS:
        assert max(map(len, cli(name, "--help").out.splitlines())) <= 80


def test_version(cli) -> None:  # type: ignore[no-untyped-def]
    """`runcast --version` prints the version and nothing else."""
    answer = cli("--version")

    assert answer.status == 0
    assert re.fullmatch(r"runcast \d+\.\d+\.\d+\S*\n", answer.out)


def test_a_wrong_word_is_a_usage_error(cli) -> None:  # type: ignore[no-untyped-def]
    """A command that does not exist is exit status 2."""
    assert cli("sink").status == 2


def test_help_is_quick() -> None:
    """`runcast --help` loads neither rich nor msgspec nor anything heavier."""
    code = "import sys; from runcast.cli.app import make_app; make_app(); print(*sys.modules)"

    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )

    assert not loaded & {
        "rich.console",
        "msgspec",
        "psutil",
        "torch",
        "numpy",
        "runcast.run.run",
        "runcast.delivery.loop",
    }


def test_python_m_runcast_is_the_command_line() -> None:
    """`python -m runcast` works without the console script."""
    done = subprocess.run([sys.executable, "-m", "runcast", "--version"], capture_output=True, text=True, check=True)

    assert done.stdout.startswith("runcast ")
