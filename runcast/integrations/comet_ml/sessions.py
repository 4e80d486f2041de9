"""Find, settle and upload what the SDK keeps on disk of a run: a session for each process that had it open.

A session that ended is a zip archive. One that is open, or whose process was killed, is a folder with the same
`messages.json`. Online it has a database too, of messages that the server has not acknowledged. Seen in comet_ml 3.43.2
and 3.58.8, 2026-11-20.
"""

import contextlib
import hashlib
import json
import shutil
import sqlite3
import sys
import time
import zipfile
from collections.abc import Iterable
from pathlib import Path

from runcast.core.errors import RetryableError
from runcast.integrations.command import run_command
from runcast.integrations.contract import TrackedRun
from runcast.values.points import Point

MESSAGES, UNSENT = "messages.json", "comet_messages.db"
OPEN, CUT, SENT = "open", "cut-", "sent"
UPLOAD_S = 240
# The SDK sends a parameter's last value only; what that replaced stays in the database as registered, not failed.
SUPERSEDED = "message_type = 'parameter_msg' AND status = 1"


def remember_place(run: TrackedRun) -> None:
    """Settle the experiment's key and the folder of its archives, once; "" is the run's own, which may be moved."""
    key = None if run.replaces else run.setting("experiment_key")
    own_key = hashlib.sha256((run.replaces or f"{run.project}/{run.id}/{run.created}").encode()).hexdigest()[:32]
    if run.replaces and "key" not in run.ids:  # what was sent to the deleted one counts for nothing
        for sent in (run.local / OPEN, *run.local.glob(f"{CUT}*")):
            shutil.rmtree(sent, ignore_errors=True)
    wanted = run.setting("offline_directory")
    folder = str(Path(wanted).expanduser().absolute()) if wanted else ""
    run.remember(key=run.ids.get("key", key or own_key), folder=run.ids.get("folder", folder))


def archive_folder(run: TrackedRun) -> Path:
    """Return where archives lie that are not on the server."""
    return Path(run.ids.get("folder") or run.local)


def list_sessions(run: TrackedRun) -> list[Path]:
    """List the archives and folders of a run, the oldest first."""
    archives = [*_archives(run, archive_folder(run)), *_archives(run, run.local / SENT)]
    ended = [*filter(_is_whole, archives), *run.local.glob(f"{CUT}*")]
    return [*sorted(ended, key=_changed), *run.local.glob(OPEN)]


def settle_earlier_sessions(run: TrackedRun, *, upload: bool) -> None:
    """Settle what earlier processes left: keep what the server has, drop what is no archive, upload what is one.

    A session that was cut off offline is dropped, because only Comet can make an archive of it: it is delivered again.

    Raises:
        RetryableError: An archive could not be uploaded.
    """
    opened = run.local / OPEN
    if any(opened.glob(f"*/{UNSENT}")):
        opened.rename(opened.with_name(f"{CUT}{time.time():.0f}"))
    else:
        shutil.rmtree(opened, ignore_errors=True)
    for archive in _archives(run, archive_folder(run)):
        if not _is_whole(archive):
            archive.unlink()
        elif upload:
            _upload(archive)
            (run.local / SENT).mkdir(exist_ok=True)
            shutil.move(archive, run.local / SENT / archive.name)


def _archives(run: TrackedRun, folder: Path) -> list[Path]:
    return sorted(folder.glob(f"{run.ids['key']}[-.]*zip"), key=_changed) if "key" in run.ids else []


def _changed(path: Path) -> float:
    return path.stat().st_mtime


def _is_whole(archive: Path) -> bool:
    """Return whether a session has its archive; Comet makes an empty one when the session begins."""
    if not zipfile.is_zipfile(archive):
        return False
    with zipfile.ZipFile(archive) as content:
        return MESSAGES in content.namelist()


def _upload(archive: Path) -> None:
    command = [sys.executable, "-m", "comet_ml.scripts.comet_upload", str(archive)]
    done = run_command(command, archive.parent, UPLOAD_S)
    if done.returncode:
        raise RetryableError(f"comet upload failed: {(done.stderr + done.stdout)[-500:]}")


def count_unsent(run: TrackedRun) -> int:
    """Count the messages of the open session that the server should have acknowledged by now."""
    return len(unsent_in(run.local / OPEN, besides=SUPERSEDED))


def oldest_unsent(run: TrackedRun) -> int | None:
    """Return the number of the first such message, if there is one."""
    return min(unsent_in(run.local / OPEN, besides=SUPERSEDED), default=None)


def unsent_in(path: Path, besides: str = "0") -> set[int]:
    """Return the numbers of a session's messages that the server has not acknowledged, *besides* some of them."""
    unsent: set[int] = set()
    query = f"SELECT message_id FROM messages WHERE status <> 2 AND NOT ({besides})"  # noqa: S608 - a constant
    for database in path.glob(f"*/{UNSENT}"):
        with contextlib.closing(sqlite3.connect(database)) as connection:
            unsent.update(row[0] for row in connection.execute(query))
    return unsent


def mark_sent(path: Path, numbers: set[int]) -> None:
    """Note that the server has these messages of a session."""
    for database in path.glob(f"*/{UNSENT}"):
        with contextlib.closing(sqlite3.connect(database)) as connection, connection:
            connection.executemany("DELETE FROM messages WHERE message_id = ?", [(one,) for one in numbers])


def keep_session(run: TrackedRun, points: Iterable[Point]) -> None:
    """Make a session of points that are at Comet."""
    folder = run.local / f"{CUT}0" / "there"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / MESSAGES).open("w") as file:
        for key, value, step, time_s in points:
            metric = {"metricName": key, "metricValue": value, "step": step}
            payload = {"local_timestamp": round(time_s * 1000), "metric": metric}
            file.write(json.dumps({"type": "metric_msg", "payload": payload}) + "\n")
