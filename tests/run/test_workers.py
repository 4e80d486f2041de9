"""A run that a worker of multiprocessing opens and leaves open: it ends with that worker, and with its status."""

import subprocess
import sys
from pathlib import Path

import pytest

from runcast.journal.layout import RunDirectory
from runcast.journal.reader import JournalReader
from runcast.journal.records import Finish, Metrics

SCRIPT = """
import multiprocessing, sys
import runcast

def work(name):
    run = runcast.init("p", id=name, report_to="none")
    run.log({"loss": 0.5}, step=0)
    if name == "raises":
        raise ValueError("diverged")
    if name == "exits":
        sys.exit(4)
    if name == "finishes":
        run.finish("killed")

if __name__ == "__main__":
    try:
        raise KeyError("of the parent, which handles it meanwhile")
    except KeyError:
        context = multiprocessing.get_context(sys.argv[1])
        workers = [context.Process(target=work, args=(name,)) for name in ("returns", "raises", "exits", "finishes")]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        print([worker.exitcode for worker in workers])
"""


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_worker_ends_its_run(method: str, tmp_path: Path) -> None:
    """A forked worker runs no exit handlers, so its run would count as crashed although it has returned."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)

    done = subprocess.run(
        [sys.executable, str(script), method], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.stdout == "[0, 1, 4, 0]\n", done.stderr
    ends = {}
    for name in ("returns", "raises", "exits", "finishes"):
        records = JournalReader(RunDirectory(tmp_path / "runs" / name).journal)
        (ends[name],) = [record for record in records if isinstance(record, Finish)]
    assert {name: end.status for name, end in ends.items()} == {
        "returns": "finished", "raises": "failed", "exits": "failed", "finishes": "killed",
    }  # fmt: skip
    assert ends["returns"].error is None
    told = "ValueError: diverged\n" if sys.version_info < (3, 13) else "exit code 1"  # the error is forgotten by then
    assert (ends["raises"].error or "").endswith(told)


DAEMON = """
import os, sys, time
import runcast
from runcast.journal.layout import RunDirectory
from runcast.run.init import is_running
from runcast.testing import MemoryTracker
run = runcast.init("p", dir=sys.argv[1], id="run", name="mine", report_to=MemoryTracker)
run.log({"loss": 0.5}, step=0)
if os.fork():
    os._exit(0)
while is_running(RunDirectory(run.dir), RunDirectory(run.dir).load()):
    time.sleep(0.01)
run.log({"loss": 0.25}, step=1)
print(run.finish())
"""


def test_a_daemon_forked_after_init_is_told_that_nobody_delivers_what_it_logs(tmp_path: Path) -> None:
    """The process that began the run has ended with the fork, so the run counts as crashed; its records are kept."""
    done = subprocess.run(
        [sys.executable, "-c", DAEMON, str(tmp_path)], capture_output=True, text=True, check=True, timeout=60
    )

    assert done.stdout == "False\n"
    assert done.stderr.splitlines()[-1] == (
        "runcast: the process that began the run mine has ended, and a fork of it delivers nothing. Deliver what was "
        f"logged here with: runcast sync {tmp_path / 'run'}. Next time, call init after the fork."
    )
    records = JournalReader(RunDirectory(tmp_path / "run").journal)
    assert [record.step for record in records if isinstance(record, Metrics)] == [0, 1]
