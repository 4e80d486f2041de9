"""An adapter is found when it is first used, and costs nothing before."""

import subprocess
import sys

import pytest

import runcast


def test_a_framework_is_imported_when_its_adapter_is_used():
    """`import runcast` and the room of the adapters import none of them."""
    code = "import sys, runcast; runcast.adapters; print('lightning' in sys.modules, 'accelerate' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.split() == ["False", "False"]
    assert runcast.adapters.transformers.__name__ == "runcast.adapters.transformers"


@pytest.mark.parametrize("name", ["lightnig", "__wrapped__"])
def test_an_adapter_that_does_not_exist_is_no_attribute(name):
    """As of any module."""
    with pytest.raises(AttributeError, match=f"no attribute '{name}'"):
        getattr(runcast.adapters, name)
