"""What the contract settles for every Tracker."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runcast.integrations.contract import TrackedRun


def tracked(folder: Path, **fields: Any) -> TrackedRun:
    """Describe a run of a tracker whose SDK reads three variables."""
    variables = {"project": "OURS_PROJECT", "mode": "OURS_MODE OURS_OLD_MODE"}
    common = {"id": "run", "name": "a name", "project": "default", "created": 1.7e9, "online": False}
    return TrackedRun(directory=folder, local=folder, variables=variables, **{**common, **fields})


def test_an_option_beats_an_argument_a_variable_and_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`setup` > `init` > the SDK's variable > ours; an empty variable is none."""
    given = frozenset(("project",))

    assert tracked(tmp_path).setting("project") == "default"
    monkeypatch.setenv("OURS_PROJECT", "")
    assert tracked(tmp_path).setting("project") == "default"
    monkeypatch.setenv("OURS_PROJECT", "variable")
    assert tracked(tmp_path).setting("project") == "variable"
    assert tracked(tmp_path, project="argument", given=given).setting("project") == "argument"
    assert tracked(tmp_path, project="argument", given=given, options={"project": None}).setting("project") is None


def test_the_first_variable_that_is_set_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An SDK that has renamed a variable may still read the old one; a setting without any is None."""
    assert tracked(tmp_path).setting("mode") is None
    monkeypatch.setenv("OURS_OLD_MODE", "old")
    assert tracked(tmp_path).setting("mode") == "old"
    monkeypatch.setenv("OURS_MODE", "new")
    assert tracked(tmp_path).setting("mode") == "new"


def test_words_come_from_a_list_or_from_a_text_with_commas(tmp_path: Path) -> None:
    """Tags are a list as an argument, and a text in a variable."""
    assert tracked(tmp_path, tags=["a, b"], given=frozenset(("tags",))).words("tags") == ["a, b"]
    assert tracked(tmp_path, options={"tags": "a, b"}).words("tags") == ["a", "b"]
    assert tracked(tmp_path).words("tags") == []


def test_a_file_that_hides_an_sdk_is_named(tmp_path: Path) -> None:
    """With `delivery="thread"`, what the script imports as wandb counts: its own `wandb.py`."""
    (tmp_path / "wandb.py").write_text("")
    script = tmp_path / "train.py"
    script.write_text(
        "from runcast.integrations.loading import load_tracker\n"
        "try:\n"
        "    load_tracker('runcast.integrations.wandb:WandbTracker')\n"
        "except Exception as error:\n"
        "    print(error)\n"
    )

    said = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True).stdout

    assert said == (
        f"{tmp_path / 'wandb.py'} hides the package wandb, which runcast.integrations.wandb:WandbTracker needs. "
        "Rename that file.\n"
    )
