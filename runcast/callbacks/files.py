"""Callbacks that keep what is logged in a file of one's own: CSV or JSON lines."""

import csv
import json
import os
from pathlib import Path
from typing import Any

from runcast.core.events import TrainerCallback, TrainerControl, TrainerState


class _FileCallback(TrainerCallback):
    """Keeps one row for each log: step, epoch, then the values.

    A resumed training goes on behind the rows up to its step.
    """

    reports = True

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Begin the file anew, or keep the rows up to the step from which the training is resumed."""
        if state.is_world_process_zero:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            kept = self._read() if state.global_step and self.path.exists() else []
            self._rewrite([row for row in kept if int(row["step"]) <= state.global_step])

    def on_log(
        self, args: Any, state: TrainerState, control: TrainerControl, logs: dict[str, Any], **kwargs: Any
    ) -> None:
        """Append a row."""
        if state.is_world_process_zero:
            values = {name: value.item() if hasattr(value, "item") else value for name, value in logs.items()}
            self._append({"step": state.global_step, "epoch": state.epoch, **values})

    def _read(self) -> list[dict[str, Any]]:
        raise NotImplementedError

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        raise NotImplementedError

    def _append(self, row: dict[str, Any]) -> None:
        raise NotImplementedError


class CSVLoggerCallback(_FileCallback):
    """Writes a CSV file with a column for each key; a key that appears later gets its column then."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._columns: list[str] = []

    def _read(self) -> list[dict[str, Any]]:
        with self.path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        self._columns = list(dict.fromkeys(name for row in rows for name in row)) or ["step", "epoch"]
        partial = self.path.with_name(f".{self.path.name}.partial")
        with partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(rows)
        os.replace(partial, self.path)

    def _append(self, row: dict[str, Any]) -> None:
        if not row.keys() <= set(self._columns):
            self._rewrite([*(self._read() if self.path.exists() else []), row])
            return
        with self.path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._columns).writerow(row)


class JSONLLoggerCallback(_FileCallback):
    """Writes one JSON object a line; pandas.read_json(path, lines=True) reads them."""

    def _read(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines() if line.endswith("}")]

    def _rewrite(self, rows: list[dict[str, Any]]) -> None:
        partial = self.path.with_name(f".{self.path.name}.partial")
        partial.write_text("".join(json.dumps(row, default=str) + "\n" for row in rows), encoding="utf-8")
        os.replace(partial, self.path)

    def _append(self, row: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, default=str) + "\n")
