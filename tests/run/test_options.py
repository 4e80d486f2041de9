"""An argument beats the environment, the environment beats the default; what is wrong is said with what is valid."""

import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any, get_type_hints

import docstring_parser
import pytest

import runcast
from runcast.core.errors import OptionError
from runcast.run.options import OF_ADAPTERS, RunOptions, settle
from runcast.values.settings import seconds


def test_the_defaults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who says nothing gets runs/, delivery by processes, no resuming, and a project named after the folder."""
    monkeypatch.chdir(tmp_path)

    options = settle({}, {})

    assert (options.project, options.name, options.dir, options.id) == (tmp_path.name, None, tmp_path / "runs", None)
    assert (options.resume, options.delivery, options.offline, options.strict) == ("never", "process", None, False)
    assert (options.tags, options.setup, options.given) == ((), {}, frozenset())


@pytest.mark.parametrize(
    ("field", "argument", "variable", "value", "expected"),
    [
        ("project", "a", "RUNCAST_PROJECT", "b", ("a", "b")),
        ("name", "a", "RUNCAST_NAME", "b", ("a", "b")),
        ("dir", "a", "RUNCAST_DIR", "b", (Path.cwd() / "a", Path.cwd() / "b")),
        ("id", "a", "RUNCAST_RUN_ID", "b", ("a", "b")),
        ("resume", "must", "RUNCAST_RESUME", "allow", ("must", "allow")),
        ("group", "a", "RUNCAST_GROUP", "b", ("a", "b")),
        ("tags", ["a", "c"], "RUNCAST_TAGS", "b, d", (("a", "c"), ("b", "d"))),
        ("notes", "a", "RUNCAST_NOTES", "b", ("a", "b")),
        ("offline", False, "RUNCAST_OFFLINE", "1", (False, True)),
        ("strict", False, "RUNCAST_STRICT", "yes", (False, True)),
        ("per_rank", False, "RUNCAST_PER_RANK", "1", (False, True)),
        ("delivery", "later", "RUNCAST_DELIVERY", "thread", ("later", "thread")),
    ],
)
def test_an_argument_beats_the_environment(
    field: str, argument: Any, variable: str, value: str, expected: tuple[Any, Any]
) -> None:
    """Each option is taken from the argument, else from its variable, and counts as given either way."""
    both, environment = settle({field: argument}, {variable: value}), settle({}, {variable: value})

    assert (getattr(both, field), getattr(environment, field)) == expected
    assert both.given == environment.given == frozenset({field})


@pytest.mark.parametrize("value", ["1", "on", "Yes", "TRUE", True])
def test_yes_is_written_in_many_ways(value: Any) -> None:
    """Flags take the words that people use."""
    assert settle({"offline": value}, {}).offline is True


@pytest.mark.parametrize("value", ["0", "off", "No", "FALSE", False])
def test_no_is_written_in_many_ways(value: Any) -> None:
    """A flag that is set to no is no, not an argument that is missing."""
    assert settle({"offline": value}, {"RUNCAST_OFFLINE": "1"}).offline is False


def test_an_empty_variable_is_none() -> None:
    """A variable that is set to nothing changes nothing."""
    options = settle({}, {"RUNCAST_NAME": "", "RUNCAST_RESUME": "", "RUNCAST_OFFLINE": "", "RUNCAST_FINISH": ""})

    assert (options.name, options.resume, options.offline) == (None, "never", None)


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ("a", ("a",)),
        ("a, b ,,a", ("a", "b")),
        (("x", "y"), ("x", "y")),
        ([1, "1"], ("1",)),
        ({"k": 1}, ("k",)),
        ([" ", ""], ()),
    ],
)
def test_tags_come_in_any_collection(tags: Any, expected: tuple[str, ...]) -> None:
    """Tags are texts without blanks around them, each once, in order."""
    assert settle({"tags": tags}, {}).tags == expected


def test_a_trackers_options_may_be_under_any_of_its_names() -> None:
    """They were checked under an alias, and never reached the tracker."""
    setup = {"Comet": {"workspace": "team"}, "comet_ml": {"project_name": "p"}, " WandB": {}, "Own": {"a": 1}}

    assert settle({"setup": setup}, {}).setup == {
        "comet_ml": {"workspace": "team", "project_name": "p"},
        "wandb": {},
        "Own": {"a": 1},
    }


def test_a_home_in_a_path_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    """`dir="~/runs"` is in the user's home."""
    monkeypatch.setenv("HOME", "/somewhere")

    assert settle({"dir": "~/runs"}, {}).dir == Path("/somewhere/runs")


@pytest.mark.parametrize(("flag", "resume"), [(True, "allow"), ("1", "allow"), (False, "never"), ("no", "never")])
def test_resume_may_be_a_flag(flag: Any, resume: str) -> None:
    """`resume=True`, as other libraries have it, goes on if there is something to go on with; False begins a new run."""
    assert settle({"resume": flag}, {}).resume == resume
    assert settle({}, {"RUNCAST_RESUME": str(flag)}).resume == resume


def test_a_wrong_word_in_a_variable_is_told_like_an_argument() -> None:
    """The message names the option, the value and the valid values."""
    with pytest.raises(OptionError, match=r"delivery='pigeon' is unknown\. Valid values are: process, thread, later\."):
        settle({}, {"RUNCAST_DELIVERY": "pigeon"})


def test_a_wrong_time_for_the_end_is_told_at_the_start() -> None:
    """RUNCAST_FINISH_TIMEOUT_S is read when the run ends, but checked when it begins."""
    with pytest.raises(OptionError, match="RUNCAST_FINISH_TIMEOUT_S='soon' is not a number of seconds"):
        settle({}, {"RUNCAST_FINISH_TIMEOUT_S": "soon"})


def test_seconds_are_numbers() -> None:
    """A duration in the environment is a number of seconds, or an error that names the variable."""
    assert seconds("X", 5.0, {}) == 5.0
    assert seconds("X", 5.0, {"X": ""}) == 5.0
    assert seconds("X", 5.0, {"X": "0.5"}) == 0.5
    with pytest.raises(OptionError, match="X='soon' is not a number of seconds"):
        seconds("X", 5.0, {"X": "soon"})


def test_the_arguments_that_adapters_take_are_those_of_init() -> None:
    """With the same types and the same words, which LightningCLI shows as the help of each."""
    init, shared = (docstring_parser.parse_from_object(each) for each in (runcast.init, RunOptions))
    words = {each.arg_name: each.description for each in init.params}
    types = {name: each.annotation for name, each in inspect.signature(runcast.init, eval_str=True).parameters.items()}

    assert tuple(name for name in words if name != "report_to") == OF_ADAPTERS
    assert {each.arg_name: each.description for each in shared.params} == {
        name: words[name] for name in OF_ADAPTERS if name != "project"
    }
    assert {name: types[name] for name in OF_ADAPTERS[1:]} == get_type_hints(RunOptions)


def test_a_job_of_hydra_is_of_the_project_that_it_was_started_in(tmp_path: Path) -> None:
    """Whose `job.chdir` gives each job a folder named after the time, and so gave each run a project of its own."""
    pytest.importorskip("hydra")
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits" / "train.py").write_text(
        "import hydra, os, runcast\n"
        "@hydra.main(version_base=None, config_path=None)\n"
        "def main(config):\n"
        "    with runcast.init(config=config, report_to='none') as run:\n"
        "        print(run.project, os.path.basename(os.getcwd()) == 'digits')\n"
        "main()\n"
    )

    command = [sys.executable, "train.py", "hydra.job.chdir=True"]
    done = subprocess.run(command, cwd=tmp_path / "digits", capture_output=True, text=True)

    assert (done.stdout, done.returncode) == ("digits False\n", 0)
