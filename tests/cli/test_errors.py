"""Errors look the same everywhere, and help."""

import json
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast.cli.errors import split


@pytest.mark.parametrize(
    ("arguments", "error", "hint"),
    [
        (("show",), "There is no folder runs in", "Name the folder of your runs with --dir or RUNCAST_DIR"),
        (("show", "nothing"), "No run in runs matches 'nothing'", "The newest is first-try ("),
        (("show", "first-tyr"), "No run in runs matches 'first-tyr'", "Did you mean first-try ("),
        (("shwo",), "No such command 'shwo'", "Did you mean 'show'?"),
        (("show", "--wide"), "No such option: --wide", "See: runcast show --help"),
        (("verify", "-t", "wanb"), "There is no tracker 'wanb'", "Did you mean 'wandb'?"),
    ],
    ids=lambda one: " ".join(one) if isinstance(one, tuple) else None,
)
def test_an_error_says_what_happened_and_what_to_do(
    arguments: tuple[str, ...],
    error: str,
    hint: str,
    cli,  # type: ignore[no-untyped-def]
) -> None:
    """One line each, on standard error; as JSON on standard output if JSON was asked for; the exit status is 2."""
    if arguments != ("show",):
        runcast.init("shapes", "first-try", report_to="none").finish()

    answer = cli(*arguments)
    machine = cli(*arguments, "--json")

    lines = answer.err.splitlines()
    assert (answer.status, answer.out) == (machine.status, machine.err) == (2, "")
    assert lines[0].startswith(f"error: {error}")
    assert any(line.startswith(f"hint: {hint}") for line in lines[1:])
    assert json.loads(machine.out)["error"].startswith(error)
    assert hint in json.loads(machine.out)["hint"]


@pytest.mark.parametrize(
    ("made_in", "asked", "hint"),
    [
        ("runs/first", (), "--dir runs/first"),
        ("runs/big 1", (), "--dir 'runs/big 1'"),
        (".", (), "--dir ."),
        ("../runs", (), "--dir ../runs"),
        ("runs", ("--dir", "other"), "--dir runs"),
    ],
)
def test_runs_in_a_folder_nearby_are_named(
    made_in: str, asked: tuple[str, ...], hint: str, cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One a project, the folder of the runs itself, or the one above it: the user is only in the wrong place."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    runcast.init("shapes", "one", report_to="none", dir=made_in).finish()
    (tmp_path / "here" / "other").mkdir()

    shown, listed = cli("show", *asked), cli("list", *asked)

    assert shown.err.splitlines()[-1] == f"hint: There are some elsewhere: add {hint}"
    assert " ".join(listed.out.split()).endswith(f"There are some elsewhere: add {hint}")


def test_an_empty_folder_is_no_error_in_a_list(cli) -> None:  # type: ignore[no-untyped-def]
    """It says where it looked, and how to make a first run."""
    answer = cli("status")

    assert answer.status == 0
    assert "There is no folder runs in" in answer.out
    assert "runcast demo" in answer.out


def test_a_run_is_found_by_the_beginning_of_its_name_and_the_end_of_its_id(cli) -> None:  # type: ignore[no-untyped-def]
    """What a list shows is enough; what is not unique names the runs that it could be."""
    first = runcast.init("shapes", "first-try", report_to="none")
    first.finish()
    runcast.init("shapes", "second-try", report_to="none").finish()
    runcast.init("shapes", "second-thought", report_to="none").finish()

    for word in ("first-try", "fir", first.id, first.id[-6:]):
        assert f"first-try  runs/{first.id}" in cli("verify", word).out
    unclear = cli("show", "sec").err
    assert "2 runs in runs match 'sec'" in unclear
    assert "second-try (" in unclear
    assert "second-thought (" in unclear


def test_names_are_whole_in_eighty_columns(cli) -> None:  # type: ignore[no-untyped-def]
    """A list in a narrow terminal shortens the ids, not the names."""
    runcast.init("shapes", "a-name-of-twenty-four-ch", report_to="none").finish()

    answer = cli("status")

    assert "a-name-of-twenty-four-ch" in answer.out
    assert max(map(len, answer.out.splitlines())) <= 80


def test_nothing_is_cut_in_a_pipe(cli, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """A program that reads the output gets whole names."""
    monkeypatch.delenv("COLUMNS")
    run = runcast.init("shapes", "n" * 150, report_to="none")
    run.log({"k" * 150: 0.5})
    run.finish()

    assert "n" * 150 in cli("status").out
    assert "k" * 150 in cli("show").out


def test_watching_ends_when_nothing_changes(cli) -> None:  # type: ignore[no-untyped-def]
    """`status --watch` of finished runs prints them once."""
    runcast.init("shapes", "first-try", report_to="none").finish()

    answer = cli("status", "--watch")

    assert answer.status == 0
    assert answer.out.count("first-try") == 1


@pytest.mark.parametrize(
    ("message", "parts"),
    [
        ("It failed. Try again. Or not.", ("It failed", "Try again. Or not.")),
        ("No run matches 'exp. 2'. The newest is one.", ("No run matches 'exp. 2'", "The newest is one.")),
        ("No run matches 'exp. 2'.", ("No run matches 'exp. 2'", "")),
        ("It isn't the user's. See 'a'", ("It isn't the user's", "See 'a'")),
        (". cannot be used (Is a directory).", (". cannot be used (Is a directory)", "")),
        ("There is no folder .. in /a. Name one", ("There is no folder .. in /a", "Name one")),
    ],
)
def test_a_full_stop_in_a_name_ends_no_sentence(message: str, parts: tuple[str, str]) -> None:
    """Of a run called "exp. 2", half a name was the error, and the other half the hint."""
    assert split(message) == parts


def test_a_port_that_does_not_exist_is_refused(cli: Any) -> None:
    """An address with it was printed, and a server started that could not use it."""
    answer = cli("open", "tensorboard", "--port", "99999")

    assert answer.status == 2
    assert answer.err.startswith("error: Invalid value for '--port': ")


@pytest.mark.parametrize("command", ["show", "compare"])
def test_a_page_is_written_to_no_file_of_another_kind(command: str, cli: Any, tmp_path: Path) -> None:
    """`show --html RUN` wrote the newest run's page to a file called RUN, and `--html train.py` over the script."""
    for name in ("first", "second"):
        runcast.init("shapes", name, report_to="none").finish()
    (tmp_path / "train.py").write_text("import runcast")

    for file in ("first", "train.py"):
        answer = cli(command, "--html", file, *(("first", "second") if command == "compare" else ()))
        assert (answer.status, answer.out) == (2, "")
        assert f"'{file}' does not end in .html" in answer.err

    assert not (tmp_path / "first").exists()
    assert (tmp_path / "train.py").read_text() == "import runcast"
