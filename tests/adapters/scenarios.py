"""Several ends of a script in one process that imports the framework once: each scenario ends a forked child of its own."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path


def each_in_a_child(scenarios: Mapping[str, Callable[[], object]]) -> None:
    """Run each scenario in a forked child, in a folder of its name, to the very end of the interpreter; print its exit status.

    Call it last: in a child it returns (or raises) as the scenario does, and the script ends.
    """
    for name, scenario in scenarios.items():
        pid = os.fork()
        if pid == 0:
            Path(name).mkdir()
            os.chdir(name)
            scenario()
            return
        print(name, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
