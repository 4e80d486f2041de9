"""Callbacks that write the logs to a file: CSV or JSON lines."""

import csv
import io
import json
import os
from typing import Any

from runcast.core.events import TrainerCallback, TrainerControl, TrainerState
from runcast.journal.paths import absolute
from runcast.redaction.console import warn
from runcast.values.numbers import as_json, leaves

MISSING = ""


class _FileCallback(TrainerCallback):
    """A file with one row for each log: step, epoch, then the values.

    A resumed training continues after the rows up to its step; a row that a crash cut off is left out. A file that
    cannot be written is reported once, and training continues without it.
    """

    reports = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = absolute(path)
        self._is_broken = False

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Start a new file, or keep the rows up to the step from which the training is resumed."""
        if not state.is_world_process_zero:
            return
        self._is_broken = False
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            kept = self._read() if state.global_step and self.path.exists() else []
            self._rewrite([row for row in kept if int(row["step"]) <= state.global_step])
        except OSError as error:
            self._give_up(error)

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **kwargs: Any
    ) -> None:
        """Append a row."""
        if not state.is_world_process_zero or self._is_broken:
            return
        try:
            self._append(as_json({"step": state.global_step, "epoch": state.epoch, **logs}))
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._is_broken = True
        warn(f"{self.path} cannot be written ({error.strerror}): nothing more is written there. Training continues.")

    def _read(self) -> list[dict[str, Any]]:
        raise NotImplementedError

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        raise NotImplementedError

    def _append(self, row: dict[str, Any]) -> None:
        raise NotImplementedError

    def _lines(self) -> list[str]:
        """Return the whole lines of the file; the last one may have been cut off by a crash."""
        whole = self.path.read_bytes().decode("utf-8", "replace").split("\n")[:-1]
        return [f"{line}\n" for line in whole]

    def _replace(self, text: str) -> None:
        partial = self.path.with_name(f".{self.path.name}.partial")
        with partial.open("w", newline="", encoding="utf-8") as file:
            file.write(text)
        os.replace(partial, self.path)


class CSVLoggerCallback(_FileCallback):
    """A CSV file with a column for each key; a key that appears later gets its column then.

    Args:
        path: The file; its folders are made.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._columns: list[str] = []

    def _read(self) -> list[dict[str, Any]]:
        rows = csv.DictReader(self._lines())
        return [row for row in rows if str(row.get("step")).isdigit() and None not in row and None not in row.values()]

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        self._columns = list(dict.fromkeys(name for row in rows for name in row)) or ["step", "epoch"]
        self._replace("".join(map(self._line, [dict(zip(self._columns, self._columns, strict=True)), *rows])))

    def _append(self, row: dict[str, Any]) -> None:
        row = dict(leaves(row))
        if not row.keys() <= set(self._columns):
            self._rewrite([*(self._read() if self.path.exists() else []), row])
            return
        with self.path.open("a", newline="", encoding="utf-8") as file:
            file.write(self._line(row))

    def _line(self, row: dict[str, Any]) -> str:
        line = io.StringIO()
        csv.writer(line, lineterminator="\n").writerow(row.get(name, MISSING) for name in self._columns)
        return line.getvalue()


class JSONLLoggerCallback(_FileCallback):
    """A file of one JSON object a line; `pandas.read_json(path, lines=True)` reads it.

    Args:
        path: The file; its folders are made.
    """

    def _read(self) -> list[dict[str, Any]]:
        rows = (_object(line) for line in self._lines())
        return [row for row in rows if isinstance(row.get("step"), int)]

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        self._replace("".join(json.dumps(row) + "\n" for row in rows))

    def _append(self, row: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def _object(line: str) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
