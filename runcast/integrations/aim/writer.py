"""A run of Aim that is open for writing, with Aim's own classes; read in aim 3.29.1, 2026-11-30.

`aim.Run` measures the system, and stamps what it tracks with the time of the call; so this is its base, BasicRun, and
what that calls.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from aim.sdk import base_run
from aim.sdk.objects.artifact import Artifact
from aim.sdk.run import BasicRun
from aim.storage.context import Context

from runcast.integrations.aim.sdk import has_run, place, repository
from runcast.integrations.contract import TrackedRun
from runcast.integrations.files import files_in, link
from runcast.values.points import Point

# It warns of another process that writes to the run, but a run has one delivery, and what is locked was left by a kill.
logging.getLogger("aim.sdk.lock_manager").setLevel(logging.ERROR)


class Writer:
    """One run that is open for writing, and where the next value of a metric goes.

    Aim keeps one value for a step of a metric in a context. A batch that failed comes again and overwrites what there
    is of it, so what is stored is noted after a whole batch.
    """

    def __init__(self, run: TrackedRun) -> None:
        folder, name = place(run), run.ids["hash"]
        repo = repository(folder)
        repo.request_props(name, read_only=False, created_at=datetime.fromtimestamp(run.created, timezone.utc))
        if has_run(folder, name):
            self.run = BasicRun(name, repo=repo, force_resume=True)
        else:
            theirs, base_run.generate_run_hash = base_run.generate_run_hash, lambda *_: name
            try:
                self.run = BasicRun(repo=repo, force_resume=True)
            finally:
                base_run.generate_run_hash = theirs
        self.run._resources.set_run_end_time = lambda: None  # it would be that of the delivery
        self._highest: dict[str, int] = {}
        self._counts: dict[str, Counter[int]] = {}  # of the metrics whose steps go back

    def track(self, name: str, value: Any, step: int, time: float, context: Mapping[str, Any]) -> None:
        """Do what `Run.track` does, with a time of ours."""
        self.run._tracker._track(value, time, name, step, None, context=dict(context))

    def log(self, points: Sequence[Point]) -> None:
        """Store points: of those with equal metrics and steps, each in a context of its own."""
        new: Counter[tuple[str, int]] = Counter()
        for key, value, step, time in points:
            number = self._stored(key, step) + new[key, step]
            self.track(key, float(value), step, time, _context(number))
            new[key, step] += 1
        for (key, step), count in new.items():
            self._highest[key] = max(step, self._highest.get(key, step))
            if key in self._counts:
                self._counts[key][step] += count

    def keep(self, name: str, path: Path) -> None:
        """Keep a file or a folder among the artifacts of the repository, replacing one of that name."""
        if self.run.artifacts_uri is None:
            self.run.set_artifacts_uri(f"file://{self.run.repo.root_path}/artifacts")
        link(path, Path(self.run.artifacts_uri.removeprefix("file://"), name))
        listed = self.run.meta_run_tree.subtree("artifacts")
        for old in [old for old in self.run.meta_run_tree.get("artifacts", {}) if old.partition("/")[0] == name]:
            del listed[old]
        for file in files_in(path):
            inner = name if file == path else f"{name}/{file.relative_to(path).as_posix()}"
            listed[inner] = Artifact(str(file), uri=self.run.artifacts_uri, name=inner)

    def close(self, ended_at: float) -> None:
        """Close the run with the time at which the training ended."""
        self.run.meta_run_tree["end_time"] = ended_at
        self.run.close()

    def _stored(self, key: str, step: int) -> int:
        """Return how many values of a metric at a step are stored."""
        if key not in self._highest:
            known = self.run._tracker.sequence_infos.get((Context({}).idx, key))
            if known is not None and known.initialized:
                self._highest[key] = known.count - 1
        if key not in self._counts:
            if step > self._highest.get(key, step):
                return 0
            self._counts[key] = self._count(key)
        return self._counts[key][step]

    def _count(self, key: str) -> Counter[int]:
        found: Counter[int] = Counter()
        series, number = self.run.series_run_trees[2], 0
        while steps := series.subtree((Context(_context(number)).idx, key)).array("step").values_list():
            found.update(steps)
            number += 1
        return found


def _context(number: int) -> dict[str, int]:
    return {"repeat": number} if number else {}
