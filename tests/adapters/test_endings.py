"""However a script ends, its run ends as that: each way to the very end of an interpreter."""

from pathlib import Path

import pytest

from tests.adapters.kit import only_run_in, run_well
from tests.warm import ACCELERATE, LIGHTNING, TRANSFORMERS

# For each script, how each of its children ends: the exit status (or whose it is), the statuses of the run's sessions, a
# word of the traceback.
ENDINGS = {
    "transformers": {
        "trained": (0, ["finished"], ""),
        "evaluated": (0, ["finished", "finished"], ""),
        "raised": (1, ["failed"], "diverged"),
        "interrupted": ("alone", ["killed"], "KeyboardInterrupt"),
        "exited": (3, ["failed"], "the script has caught"),
        "caught": (0, ["failed"], "the script has caught"),
        "caught_and_evaluated": (0, ["failed"], "the script has caught"),
        "handled": (0, ["killed"], "enough"),
        "notebook": (0, ["killed"], "stop button"),
    },
    "lightning": {
        "trained": (0, ["finished"], ""),
        "tested": (0, ["finished", "finished"], ""),
        "raised": (1, ["failed"], "diverged"),
        "interrupted": (1, ["killed"], "KeyboardInterrupt"),
        "exited": (3, ["failed"], "SystemExit"),
        "caught": (0, ["failed"], "diverged"),
    },
    "accelerate": {
        "trained": (0, ["finished"], ""),
        "left_open": (0, ["finished"], ""),
        "raised": (1, ["failed"], "diverged"),
        "interrupted": (-2, ["killed"], "KeyboardInterrupt"),
        "finally_raised": (1, ["failed"], "diverged"),
        "finally_interrupted": (-2, ["killed"], "KeyboardInterrupt"),
    },
}
MODULES = {"transformers": TRANSFORMERS, "lightning": LIGHTNING, "accelerate": ACCELERATE}


@pytest.mark.slow
@pytest.mark.parametrize("framework", ENDINGS)
def test_the_status_is_the_true_one(folder, framework):
    """D1, D16, D18: success, an exception, an interrupt, an exit, one that the script catches; the exit status is its own."""
    printed = run_well(Path(__file__).with_name(f"endings_{framework}.py"), folder, modules=MODULES[framework])

    codes = dict(line.split() for line in printed.splitlines() if len(line.split()) == 2)
    for name, (code, statuses, word) in ENDINGS[framework].items():
        told = only_run_in(folder / name)
        assert (codes[name], told.endings) == (str(codes.get(code, code)), statuses), name
        error = told.of_type("finish")[-1].get("error")
        assert word in error if word else error is None, name
