"""A file system without links, as FAT, without locks, as some network shares, and with one name for `Loss` and `loss`."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from runcast.history.verify import verify
from runcast.journal.layout import RunDirectory
from runcast.journal.state import load_state

SHIM = Path(__file__).with_name("file_system")
TRACKERS = ["wandb", "mlflow", "comet_ml", "clearml", "dvclive", "codecarbon", "tensorboard"]
SESSION = """
import os, sys, numpy, runcast
first = int(sys.argv[1])
run = runcast.init("p", id="run", resume="allow", config={"lr": first}, tags=["a"], offline=True, report_to=TRACKERS)
for step in range(first, first + 5):
    run.log({"loss": step / 4, "Loss": -step, "Train/acc": 0.5, "train/loss": 0.25}, step=step)
pixels = numpy.full((4, 4, 3), first, numpy.uint8)
run.log({"Seen": runcast.Image(pixels), "seen": runcast.Image(pixels + 1)}, step=first)
run.log({"Note": runcast.Text("big"), "note": runcast.Text("small"), "wave": runcast.Audio(numpy.zeros(80), 8000)})
os.makedirs("folder/inside", exist_ok=True)
for path in ("folder/inside/file", "weights.bin"):
    for name in ("Model", "model"):
        with open(path, "w") as file:
            file.write(name)
        run.log_artifact(path.partition("/")[0], name=f"{name}{path[0]}")
run.log_summary({"best": 0.5})
print(run.finish(timeout_s=600))
"""


@pytest.mark.slow
def test_every_tracker_holds_all_of_a_run_on_a_poor_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two sessions: points, params, media and artifacts of each are there once, and none has overwritten another."""
    trackers = [name for name in TRACKERS if importlib.util.find_spec(name) is not None]
    monkeypatch.setenv("PYTHONPATH", str(SHIM))
    monkeypatch.setenv("TEST_FILE_SYSTEM", str(tmp_path))
    script = SESSION.replace("TRACKERS", repr(trackers))

    for first in ("0", "10"):
        done = subprocess.run([sys.executable, "-c", script, first], cwd=tmp_path, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr

    run = RunDirectory(tmp_path / "runs" / "run")
    assert {verdict.name: verdict.problems() for verdict in verify(run)} == {name: [] for name in trackers}
    for name in trackers:
        state = load_state(run.tracker(name))
        assert state is not None
        assert (state.phase, [why for why in state.refused if "not supported" not in why]) == ("finished", []), name
    for name in {"clearml", "dvclive"}.intersection(trackers):  # whose readers look at names only
        files = [path for path in run.tracker(name).rglob("*") if path.is_file() and "odelw" in str(path)]
        assert sorted(path.read_text() for path in files) == ["Model", "model"]
