"""What the tests of every adapter share.

A script of a framework is run in a process of its own, in an empty folder, and then its runs are looked at: what the
journal holds, and what each tracker holds by its own reader.
"""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from runcast.history.finding import list_runs
from runcast.history.verify import verify
from runcast.integrations.contract import Ending, TrackedRun, Tracker
from runcast.journal.layout import RunDirectory
from tests import warm

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
# Those that the promises of each adapter are tested with, each in its local mode.
TRACKERS = ("tensorboard", "mlflow", "wandb", "dvclive", "comet_ml", "clearml")
QUIET = {
    "RUNCAST_QUIET": "1",
    "RUNCAST_FINISH_TIMEOUT_S": "300",  # a busy machine needs long to start several SDKs at once
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "CUDA_VISIBLE_DEVICES": "",
    "GIT_CEILING_DIRECTORIES": "/",  # or DVCLive finds the repository that the temporary folder happens to lie in
}


class BrokenAtTheEnd(Tracker):
    """Takes everything and cannot finish."""

    name = "broken_at_the_end"

    def setup(self, run: TrackedRun) -> None:
        run.url = "nowhere"

    def log_metrics(self, points: Any) -> None:
        pass

    log_params = log_summary = log_media = log_artifact = add_tags = log_metrics

    def finish(self, ending: Ending) -> None:
        raise RuntimeError("out of order")


def run_script(
    script: str | Path,
    folder: Path,
    *arguments: str,
    modules: warm.Warm | None = None,
    launcher: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    timeout_s: float = 330.0,
) -> "subprocess.CompletedProcess[str]":
    """Run a script to its end.

    Args:
        script: Its path, or its source.
        folder: Where it runs; the runs will lie in `folder/runs`.
        arguments: Its arguments.
        modules: What its process has already imported (see `tests/warm.py`); without any it is a fresh interpreter.
        launcher: What stands between the interpreter and the script, such as `-m torch.distributed.run`.
        environment: Variables besides those of this process.
        timeout_s: How long it may take, in seconds.
    """
    if not isinstance(script, Path):
        source, script = script, folder / "script.py"
        script.write_text(source, encoding="utf-8")
    variables = {**os.environ, **QUIET, "PYTHONPATH": str(ROOT), **(environment or {})}
    if modules is not None:
        return warm.run(modules, [script, *arguments], folder=folder, environment=variables, timeout_s=timeout_s)
    return subprocess.run(
        [sys.executable, *launcher, str(script), *arguments],
        cwd=folder,
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_s,
    )


def run_well(script: str | Path, folder: Path, *arguments: str, **options: Any) -> str:
    """Run a script that must succeed; return what it printed."""
    done = run_script(script, folder, *arguments, **options)
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout[-1500:]}\n{done.stderr[-4000:]}"
    return done.stdout


def runs_in(folder: Path) -> list["Told"]:
    """List what the runs under `folder/runs` were told, the oldest first."""
    return [Told(directory.path) for directory in list_runs(folder / "runs")]


def only_run_in(folder: Path) -> "Told":
    """Return the one run under `folder/runs`; several would be orphans."""
    found = runs_in(folder)
    assert len(found) == 1, f"{len(found)} runs: {[told.name for told in found]}"
    return found[0]


class Told:
    """Is what a run was told, read from its journal."""

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.file = RunDirectory(self.path).load()
        lines = (self.path / "journal.jsonl").read_text(encoding="utf-8").split("\n")
        self.records: list[dict[str, Any]] = [json.loads(line) for line in lines if line]
        self.name, self.project, self.group = self.file.name, self.file.project, self.file.group

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        """List the records of one type, in order."""
        return [record for record in self.records if record["type"] == kind]

    @property
    def points(self) -> dict[str, list[tuple[int, Any]]]:
        """Map each metric to its steps and values, in order."""
        found: dict[str, list[tuple[int, Any]]] = {}
        for record in self.of_type("metrics"):
            for key, value in record["values"].items():
                found.setdefault(key, []).append((record["step"], value))
        return found

    def steps(self, key: str) -> list[int]:
        """List the steps at which a metric was logged, in order."""
        return [step for step, _ in self.points.get(key, [])]

    @property
    def params(self) -> dict[str, Any]:
        """Return the params, the last value of each."""
        return {key: value for record in self.of_type("params") for key, value in record["values"].items()}

    @property
    def summary(self) -> dict[str, Any]:
        """Return the summary, the last value of each key."""
        return {key: value for record in self.of_type("summary") for key, value in record["values"].items()}

    @property
    def artifacts(self) -> list[tuple[str, str]]:
        """List the artifacts as name and type, in order."""
        return [(record["name"], record["kind"]) for record in self.of_type("artifact") if record["kind"] != "config"]

    @property
    def media(self) -> list[tuple[str, str, int]]:
        """List the media as key, kind and step, in order."""
        return [(record["key"], record["kind"], record["step"]) for record in self.of_type("media")]

    @property
    def endings(self) -> list[str]:
        """List the statuses with which the sessions ended."""
        return [record["status"] for record in self.of_type("finish")]


def assert_everywhere_once(told: Told, trackers: Iterable[str] = TRACKERS) -> None:
    """Each tracker holds every point of the journal exactly once, and everything else, with the right status."""
    wanted = sorted(trackers)
    assert sorted(told.file.trackers) == wanted
    total = sum(Counter(len(record["values"]) for record in told.of_type("metrics")).elements())
    assert total > 0, "nothing was logged"

    verdicts = verify(RunDirectory(told.path))

    problems = {verdict.name: verdict.problems() for verdict in verdicts if not verdict.is_right}
    assert problems == {}, problems
    assert {verdict.name: verdict.found for verdict in verdicts} == dict.fromkeys(wanted, total)
    assert {verdict.status_logged for verdict in verdicts} == {told.endings[-1]}
