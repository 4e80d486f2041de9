"""A tracker whose class is in the script itself."""

import subprocess
import sys
from pathlib import Path

SCRIPT = '''
import json, runcast

class Lines(runcast.Tracker):
    """A tracker that keeps lines."""

    name = "lines"

    def setup(self, run):
        run.url = str(run.local / "lines.txt")
        self.file = open(run.url, "a")

    def log_metrics(self, points):
        self.file.writelines(json.dumps(point) + "\\n" for point in points)

    def finish(self, ending):
        self.file.close()

    def read(self, run):
        lines = open(run.local / "lines.txt").readlines()
        return runcast.Reading(points=[runcast.Point(*json.loads(line)) for line in lines])

if __name__ == "__main__":
    with runcast.init("own", "mine", report_to=Lines, dir="runs") as run:
        run.log({"loss": 0.5}, step=0)
'''


def test_it_has_its_name_everywhere(tmp_path: Path) -> None:
    """The start line, `status` and `verify` name it; what only the script can make is read with its class named."""
    (tmp_path / "train.py").write_text(SCRIPT)

    def call(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, *command], cwd=tmp_path, capture_output=True, text=True, check=True)

    trained = call("train.py")
    status, verified = call("-m", "runcast", "status").stdout, call("-m", "runcast", "verify").stdout
    read = call("-m", "runcast", "verify", "--class", "lines=train:Lines").stdout
    synced = call("-m", "runcast", "sync").stdout

    assert "→ lines local" in trained.stderr
    assert status.splitlines()[-1].split()[-1] == "lines"
    assert "lines was given by the script, and no other process can make it" in verified
    assert "✓  lines    1 of 1" in read
    assert "The script itself has delivered everything" in synced
