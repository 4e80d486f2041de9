"""Drives one Tracker in a process of its own, as a delivery does.

    python tests/integrations/drive.py NAME RUN_DIRECTORY < CALLS > ANSWERS

CALLS is a JSON list of [method, argument …]; `setup` and `read` take the fields of a TrackedRun, points are [key,
value, step, time], NaN and ±inf are the words of the journal, keys are the user's. ANSWERS has an entry for each call:
null, what `read` saw (with the user's keys), or the name and message of the error. `kill` ends the process (or another
one) with SIGKILL, `network` lists the addresses that it has asked for, `fetch` gets a page, `held` and `refused` wait
until a stand-in has that many points or has refused that often, `insist` flushes until that fails,
`fresh` takes another Tracker, as a delivery does whose run is gone, and `unless_gone` makes the call behind it only if
no call since has said that it is. What the tracker remembers is kept in the run directory.
"""

import json
import os
import signal
import sys
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from runcast.core.errors import GoneError, TrackerError
from runcast.delivery.attempts import explained
from runcast.integrations.contract import ArtifactFile, Ending, MediaFile, Reading, TrackedRun, Tracker
from runcast.integrations.loading import load_tracker
from runcast.integrations.table import TABLE
from runcast.values.names import decode
from runcast.values.points import Point
from runcast.values.scalars import NON_FINITE

NAME, DIRECTORY = sys.argv[1], Path(sys.argv[2])
LOCAL = DIRECTORY / "trackers" / NAME
ADDRESSES: list[str] = []
LONGEST_S = 120.0


def tracked(online: bool = False, given: tuple[str, ...] = (), **fields: Any) -> TrackedRun:
    """Describe the run, with what the tracker remembers of it."""
    ids = json.loads((LOCAL / "ids.json").read_text()) if (LOCAL / "ids.json").exists() else {}
    common = {
        "id": DIRECTORY.name,
        "name": "a name",
        "project": "a project",
        "created": 1.7e9,
        "resumed": bool(ids.keys() - {"generation", "replaces"}),
    }
    return TrackedRun(
        directory=DIRECTORY,
        local=LOCAL,
        online=online,
        variables=load_tracker(TABLE[NAME].tracker).variables,
        given=frozenset(given),
        ids=ids,
        save_ids=lambda ids: LOCAL.joinpath("ids.json").write_text(json.dumps(ids)) and None,
        **{**common, **fields},
    )


def call(tracker: Tracker, method: str, *arguments: Any) -> Any:
    """Make one call, with names as the service takes them."""
    if method == "setup":
        run = tracked(**arguments[0])
        if run.resumed and not run.is_joined and tracker.exists(run) is False:
            run.recreate(tracker.identities)
        tracker.setup(run)
        return {"url": run.url, "ids": dict(run.ids)}
    if method == "read":
        return seen(tracker.read(tracked(**arguments[0])))
    if method == "network":
        return ADDRESSES
    if method == "kill":
        return os.kill(arguments[0] if arguments else os.getpid(), signal.SIGKILL)
    if method == "fetch":
        return urllib.request.urlopen(arguments[0], timeout=10).close()
    if method in ("held", "refused"):
        return wait_for_standin(f"{arguments[0]}/standin/{method}", arguments[1])
    if method == "insist":
        return insist(tracker)
    if method == "log_params":
        tracker.log_params({tracker.param_names.encode(key): value for key, value in arguments[0].items()})
    elif method == "log_metrics":
        points = [
            Point(tracker.names.encode(key), NON_FINITE.get(value, value), *when) for key, value, *when in arguments[0]
        ]
        tracker.log_metrics(points)
        tracker.flush()
    elif method == "log_summary":
        tracker.log_summary({tracker.names.encode(key): value for key, value in arguments[0].items()})
    elif method == "add_tags":
        tracker.add_tags([tracker.tag_names.encode(tag) for tag in arguments[0]])
    elif method == "finish":
        tracker.finish(Ending(*arguments, **{} if len(arguments) > 2 else {"ended_at": 1.7e9 + 60}))
    elif method == "log_media":
        key, step, kind, path, *caption = arguments
        about = caption[0] if caption else "a caption"
        tracker.log_media(MediaFile(tracker.names.encode(key), step, kind, Path(path), about, 1.7e9))
    elif method == "log_artifact":
        name, kind, path = arguments
        tracker.log_artifact(ArtifactFile(tracker.artifact_names.encode(name), kind, Path(path)))
    else:
        getattr(tracker, method)(*arguments)
    return None


def wait_for_standin(page: str, number: int) -> None:
    """Wait until a stand-in's list is as long, or its number as high."""
    for _ in until_too_late():
        with urllib.request.urlopen(page, timeout=10) as answer:
            found = json.load(answer)
        if (found if isinstance(found, int) else len(found)) >= number:
            return


def insist(tracker: Tracker) -> None:
    """Flush as a delivery does that has no news, until the tracker notices what has become of the run."""
    for _ in until_too_late():
        tracker.flush()


def until_too_late() -> Iterator[None]:
    """Yield every now and then, and fail in the end."""
    deadline = time.monotonic() + LONGEST_S
    while time.monotonic() < deadline:
        yield
        time.sleep(0.05)
    raise TimeoutError("what is waited for did not come")


def seen(reading: Reading) -> dict[str, Any]:
    """Write a reading as JSON, with the user's keys."""
    words = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}

    def plain(value: Any) -> Any:
        return words.get(str(value), value) if isinstance(value, float) else value

    return {
        "points": sorted(([decode(p.key), plain(p.value), p.step] for p in reading.points), key=str),
        "params": None if reading.params is None else {decode(k): v for k, v in reading.params.items()},
        "summary": None if reading.summary is None else {decode(k): plain(v) for k, v in reading.summary.items()},
        "tags": None if reading.tags is None else sorted(map(decode, reading.tags)),
        "artifacts": None if reading.artifacts is None else sorted(map(decode, reading.artifacts)),
        "media": None if reading.media is None else sorted([decode(key), step] for key, step in reading.media),
        **{field: getattr(reading, field) for field in ("status", "name", "notes", "group")},
    }


def watch(event: str, arguments: tuple[Any, ...]) -> None:
    """Note which addresses this process asks for."""
    if event == "socket.getaddrinfo" or (event == "socket.connect" and isinstance(arguments[1], tuple)):
        ADDRESSES.append(str(arguments[1] if event == "socket.connect" else arguments[0]))


def main() -> None:
    """Make all calls."""
    sys.addaudithook(watch)
    LOCAL.mkdir(parents=True, exist_ok=True)
    answers, out = [], os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    row, calls = TABLE[NAME], json.load(sys.stdin)
    online = any(arguments and isinstance(arguments[0], dict) and arguments[0].get("online") for _, *arguments in calls)
    tracker = load_tracker(row.tracker, {**row.environment, **({} if online else row.offline_environment)})()
    is_gone = False
    for method, *arguments in calls:
        if method == "fresh":
            tracked().recreate(tracker.identities)
            tracker, is_gone = type(tracker)(), False
            continue
        if method == "unless_gone":
            method, *arguments = arguments
            if is_gone:
                answers.append(None)
                continue
        try:
            answers.append(explained(tracker.explain, partial(call, tracker, method, *arguments)))
        except TrackerError as error:
            is_gone = is_gone or isinstance(error, GoneError)
            answers.append([type(error).__name__, str(error)])
    json.dump(answers, out)


main()
