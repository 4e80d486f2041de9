"""The program that collects a snapshot: `… collecting RUN_DIRECTORY PIPE PARTS WORK_TREE IMPORT_PATH…`.

It is a process of its own, so that neither Git's time nor its failures reach the training. What it has found it appends
to the journal at once, and only while the run still waits for it: nothing follows the record of a run's end.
"""

import os
import select
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path

from runcast.core.foreign import attempt, described
from runcast.delivery.courier.system import step_back
from runcast.journal.file import append_lines
from runcast.journal.records import Dropped, Params, Record, encode_line
from runcast.journal.snapshots import keep_artifact
from runcast.redaction.tree import redact_text
from runcast.run.snapshot.collector import PREFIX
from runcast.run.snapshot.differences import diff_of, is_dirty
from runcast.run.snapshot.environment import describe_hardware, list_packages
from runcast.values.scalars import ParamValue

NAME = "snapshot"  # of the artifact, and its kind


class Snapshot:
    """What was found: params, the files of one artifact, and what is missing."""

    def __init__(self, parts: Collection[str], root: str) -> None:
        self.params: dict[str, ParamValue] = {}
        self.files: dict[str, str] = {}
        self.missing: list[str] = []
        if "git" in parts and root:
            self._try("git", partial(self._add_state, root))
        if "diff" in parts:
            self._try("diff", partial(self._add_diff, root))
        if "packages" in parts:
            self._try("packages", lambda: self.files.update({"packages.txt": list_packages()}))
        if "hardware" in parts:
            self._try("hardware", self._add_hardware)

    def _try(self, part: str, collect: Callable[[], None]) -> None:
        attempt(collect, lambda error: self.missing.append(f"{part}: {described(error)}"))

    def _add_state(self, root: str) -> None:
        if (dirty := is_dirty(root)) is not None:
            self.params[f"{PREFIX}git/dirty"] = dirty

    def _add_diff(self, root: str) -> None:
        text, problem = diff_of(root) if root else ("", "the script is in no work tree of Git")
        if text:
            self.files["diff.patch"] = text
        if problem:
            self.missing.append(f"diff: {problem}")

    def _add_hardware(self) -> None:
        self.params |= {f"{PREFIX}hardware/{key}": value for key, value in describe_hardware().items()}

    def records(self, directory: Path, now: float) -> list[Record]:
        """Return the records of all that, with the artifact's files in the run's folder."""
        records: list[Record] = [Params(time=now, values=self.params)] if self.params else []
        if self.files:
            with tempfile.TemporaryDirectory(prefix="runcast-") as temporary:
                folder = Path(temporary, NAME)
                folder.mkdir()
                for name, text in self.files.items():
                    (folder / name).write_text(text, encoding="utf-8", errors="replace", newline="")
                records.append(keep_artifact(directory, folder, NAME, NAME, 0).record)
        reason = "lacks a part: "
        return records + [Dropped(time=now, key=NAME, reason=reason + redact_text(missing)) for missing in self.missing]


def main(place: str, pipe: str, parts: str, root: str, path: Sequence[str]) -> None:
    """Collect, and record what was found unless the run has ended meanwhile."""
    directory = Path(place)
    os.umask(0o077)
    step_back()
    sys.path[:] = path
    try:
        records = Snapshot(parts.split(","), root).records(directory, time.time())
        if records and _is_awaited(int(pipe)):
            append_lines(directory / "journal.jsonl", b"".join(map(encode_line, records)))
    except Exception:
        with open(directory / "snapshot.log", "a", encoding="utf-8") as log:
            traceback.print_exc(file=log)
        raise


def _is_awaited(descriptor: int) -> bool:
    """Return whether the run still reads the pipe of which this is the other end."""
    poll = select.poll()
    poll.register(descriptor, 0)
    return not poll.poll(0)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:])
