"""The table of what transformers has, in the docs, is complete and up to date."""

import importlib.util
from pathlib import Path

import pytest
import transformers

TOOL = Path(__file__).parents[2] / "tools" / "transformers_table.py"


@pytest.fixture(scope="module")
def tool():
    """Load the command."""
    spec = importlib.util.spec_from_file_location("transformers_table", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore")
def test_the_page_has_the_table_that_the_command_makes(tool):
    """Run `make format` after a change."""
    text = tool.DOCS.read_text(encoding="utf-8")

    assert tool.with_table(text) == text


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("place", "name"), [(transformers.Trainer, "brand_new"), (transformers.TrainingArguments, "brand_new_attribute")]
)
def test_a_name_that_nobody_has_thought_about_is_an_error(tool, monkeypatch, place, name):
    """As a newer version of transformers adds one."""
    monkeypatch.setattr(place, name, lambda self: None, raising=False)

    with pytest.raises(LookupError, match=name):
        tool.table()


@pytest.mark.filterwarnings("ignore")
def test_nothing_is_explained_that_transformers_does_not_have(tool):
    """What is left over of an older version would mislead."""
    names = {name for _, name in tool.theirs()}

    assert set(tool.ABSENT) | set(tool.DIFFERS) <= names
