"""SwanLab's run file, written with its own classes, but whole after a kill and one for all sessions of a run.

`swanlab.Run` cannot be used for it: it logs from a thread that swallows what goes wrong, has a file for each process,
takes the times of the delivery, watches the machine, and replaces handlers. Seen in swanlab 0.10.3, 2026-11-30.
"""

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from swanlab.proto.swanlab.metric.column.v1.column_pb2 import ColumnType
from swanlab.proto.swanlab.metric.data.v1.data_pb2 import MediaItem, MediaRecord, MediaValue, ScalarRecord, ScalarValue
from swanlab.proto.swanlab.run.v1.run_pb2 import FinishRecord, StartRecord
from swanlab.proto.swanlab.save.v1.save_pb2 import SavePolicy, SaveRecord, SaveType
from swanlab.sdk.internal.core_python.context import CoreContext
from swanlab.sdk.internal.core_python.pkg import builder, counter
from swanlab.sdk.internal.core_python.store import DataStoreWriter

from runcast.integrations.files import append
from runcast.integrations.swanlab.reader import scan
from runcast.integrations.swanlab.sdk import moment

NUMBER = ColumnType.COLUMN_TYPE_SCALAR


def number(column: str, step: int, time: float, value: float) -> ScalarRecord:
    """Return SwanLab's form of a point."""
    return ScalarRecord(
        key=column, step=step, type=NUMBER, timestamp=moment(time), value=ScalarValue(number=float(value))
    )


def medium(column: str, step: int, time: float, kind: int, item: MediaItem) -> MediaRecord:
    """Return SwanLab's form of a media file."""
    return MediaRecord(key=column, step=step, type=kind, timestamp=moment(time), value=MediaValue(items=[item]))


def saved(path: Path, root: Path) -> SaveRecord:
    """Return SwanLab's form of a file of the user's, below the folder of all files."""
    name, source = path.relative_to(root).as_posix(), str(path.absolute())
    policy = SavePolicy.SAVE_POLICY_NOW
    return SaveRecord(name=name, source_path=source, policy=policy, type=SaveType.SAVE_TYPE_CUSTOM)


def config(path: Path) -> SaveRecord:
    """Return SwanLab's form of the config."""
    return SaveRecord(name="config", source_path=str(path.absolute()), type=SaveType.SAVE_TYPE_CONFIG)


class RunFile(DataStoreWriter):  # type: ignore[misc]
    """The run file: what is added is appended whole, or not at all, to what earlier processes have left."""

    def __init__(self, context: CoreContext, start: StartRecord) -> None:
        super().__init__()
        self.path, self._context, self._known = context.run_file, context, set[str]()
        self._fp, self._counter = io.BytesIO(), counter.Counter()
        if self.path.exists():
            for record, end in scan(self.path):
                if not record.HasField("finish"):  # the run goes on, and `swanlab sync` heeds the first end
                    self._index = end
                    self._counter.inc()
                    self._known.add(record.column.column_key)
            os.truncate(self.path, self._index)
        if self._index == 0:
            self.path.unlink(missing_ok=True)
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.open(self.path)
            self.close()  # with the head of the file
            self._append([builder.build_start_record(start)])

    @property
    def size(self) -> int:
        """The length of the file in bytes."""
        return int(self._index)

    def add(self, data: Sequence[ScalarRecord | MediaRecord]) -> list[Any]:
        """Append points or media, with a definition before the first of each column; return SwanLab's records."""
        known, records = set(self._known), []
        for each in data:
            if each.key not in known:
                known.add(each.key)
                column = builder.build_auto_column(self._context, each)
                records.append(builder.build_column_record(self._counter, column))
            is_number = isinstance(each, ScalarRecord)
            build = builder.build_scalar_record if is_number else builder.build_media_record
            records.append(build(self._counter, each))
        self._append(records)
        self._known = known
        return records

    def save(self, files: Sequence[SaveRecord]) -> list[Any]:
        """Append files; return SwanLab's records."""
        records = [builder.build_save_record(self._counter, file, file.type) for file in files]
        self._append(records)
        return records

    def end(self, end: FinishRecord) -> None:
        """Append the end of the run."""
        self._append([builder.build_finish_record(end)])

    def _append(self, records: Sequence[Any]) -> None:
        before, self._fp = self._index, io.BytesIO()
        try:
            for record in records:
                self.write(record.SerializeToString())
            append(self.path, self._fp.getvalue())
        except BaseException:
            self._index = before
            raise
