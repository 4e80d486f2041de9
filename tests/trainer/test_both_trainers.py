"""Scripts in the style of transformers' own examples run under both trainers, with one import switched."""

import importlib.util
from pathlib import Path

import pytest

TOOL = Path(__file__).parents[2] / "tools" / "both_trainers.py"


@pytest.fixture(scope="module")
def tool():
    """Load the command that makes the table in the docs."""
    spec = importlib.util.spec_from_file_location("both_trainers", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.parametrize("script", ["text_classification", "causal_language_model", "sequence_to_sequence"])
def test_a_script_does_the_same_under_both(tool, tmp_path, script):
    """The same losses at the same steps, metrics, learning rates and norms; the same files, and the same last line."""
    found = tool.compare(script, tmp_path)

    assert found["missing"] == []
    assert found["order"][0] == found["order"][1]
    assert found["same_files"]
    assert found["same_line"] or script == "causal_language_model"  # its last line is a time or a perplexity
    assert len(found["losses"]) >= 10
    assert tool.furthest(found["losses"]) < 1e-6
    assert tool.furthest(found["common"]) < 1e-4
