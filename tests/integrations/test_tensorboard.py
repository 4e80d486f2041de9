"""TensorBoard, written by the tracker in a process of its own and read back with TensorBoard's own reader in another one."""

import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integrations.driving import driver

SETUP, READ = ["setup", {}], ["read", {}]


drive = driver("tensorboard")


def run_python(script: str, *arguments: object, **environment: str) -> str:
    """Run a script in a process of its own; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_what_is_logged_is_read_back(tmp_path: Path) -> None:
    """Any key, any step in any order, NaN and the infinities come back; values are the nearest 32-bit floats."""
    table = tmp_path / "table.csv"
    table.write_text("a,b\n1,x|y\n")
    histogram = tmp_path / "histogram.json"
    histogram.write_text('{"counts": [1, 5], "edges": [-1.0, 0.0, 2.5]}')
    points = [
        ["train/loss", 0.1, 3, 1.5],
        ["train/loss", 0.1, 3, 1.5],
        ["train/loss", -7, 0, 1.5],
        ["train/loss", 2.5, -5, 2.0],
    ]
    odd = [["", 1, 2**40, 3.0], ["runcast/status", 2, 1, 3.0], ["a\0\n/../ü", 3, 1, 3.0]]
    rare = [
        ["x", "NaN", 0, 4.0],
        ["x", "Infinity", 0, 4.0],
        ["x", "-Infinity", 0, 4.0],
        ["x", 1e300, 1, 4.0],
        ["x", 2**53 + 1, 2, 4.0],
    ]
    params = {f"p{number}": number for number in range(1000)} | {
        "lr": 1e-5,
        "big": 2**60 + 1,
        "none": None,
        "on": True,
        "": "é",
    }

    *_, seen = drive(
        tmp_path / "run",
        ["setup", {"notes": "some *notes*", "tags": ["first"]}],
        ["log_params", params],
        ["log_metrics", points + odd + rare],
        ["log_summary", {"best": 0.1}],
        ["log_summary", {"best": 0.2, "verdict": "good", "done": True}],
        ["add_tags", ["second", "first"]],
        ["log_media", "samples", 3, "table", str(table)],
        ["log_media", "weights", 4, "histogram", str(histogram)],
        ["finish", "killed"],
        ["finish", "killed"],
        READ,
    )

    loss = [["train/loss", 0.10000000149011612, 3]] * 2 + [["train/loss", -7.0, 0], ["train/loss", 2.5, -5]]
    odd_seen = [["", 1.0, 2**40], ["runcast/status", 2.0, 1], ["a\0\n/../ü", 3.0, 1]]
    rare_seen = [["x", "NaN", 0], ["x", "Infinity", 0], ["x", "-Infinity", 0], ["x", "Infinity", 1], ["x", 2.0**53, 2]]
    assert seen["points"] == sorted(loss + odd_seen + rare_seen, key=str)
    assert seen["params"] == params
    assert seen["summary"] == {"best": 0.2, "verdict": "good", "done": True}
    assert (seen["tags"], seen["notes"], seen["status"]) == (["first", "second"], "some *notes*", "killed")
    assert seen["media"] == [["samples", 3], ["weights", 4]]


HPARAMS = """
import json, sys
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
content = EventAccumulator(sys.argv[1]).Reload().PluginTagToContent("hparams")
start = metadata.parse_session_start_info_plugin_data(content[metadata.SESSION_START_INFO_TAG])
end = content.get(metadata.SESSION_END_INFO_TAG)
kinds = {key: [value.WhichOneof("kind"), getattr(value, value.WhichOneof("kind"))] for key, value in start.hparams.items()}
print(json.dumps([kinds, metadata.parse_session_end_info_plugin_data(end).status if end else None]))
"""


def test_the_hparams_page_shows_the_last_parameters_and_the_last_status(tmp_path: Path) -> None:
    """Parameters are in the run itself with their types; after a resume the new ones count, and not the old failure."""
    run = tmp_path / "run"
    unknown, success, failure, running = 0, 1, 2, 3
    page = str(run / "trackers" / "tensorboard")

    drive(run, SETUP, ["log_params", {"lr": 0.5, "amp": False, "opt": "adam", "none": None}])
    while_open = json.loads(run_python(HPARAMS, page))
    drive(run, ["setup", {"resumed": True}], ["finish", "failed"])
    failed = json.loads(run_python(HPARAMS, page))
    drive(run, ["setup", {"resumed": True}], ["log_params", {"lr": 0.25, "depth": 3}])
    resumed = json.loads(run_python(HPARAMS, page))
    drive(run, ["setup", {"resumed": True}], ["finish", "finished"])
    finished = json.loads(run_python(HPARAMS, page))

    kinds = {
        "lr": ["number_value", 0.5],
        "amp": ["bool_value", False],
        "opt": ["string_value", "adam"],
        "none": ["string_value", "None"],
    }
    changed = kinds | {"lr": ["number_value", 0.25], "depth": ["number_value", 3.0]}
    assert while_open in ([kinds, None], [kinds, unknown])
    assert failed == [kinds, failure]
    assert resumed == [changed, running]
    assert finished == [changed, success]


METERED = """
import json, sys
from pathlib import Path
from runcast.integrations.contract import TrackedRun
from runcast.integrations.tensorboard import TensorboardTracker
from runcast.values.points import Point

folder = Path(sys.argv[1])
run = TrackedRun(id="run", name="n", project="p", directory=folder, local=folder, created=1.0, online=False)
tracker = TensorboardTracker()
tracker.setup(run)
encode = tracker.names.encode
keys = [encode("codecarbon/power_w"), encode("train/loss"), encode("~codecarbon/power_w"), "codecarbon/power_w"]
tracker.log_metrics([Point(key, 0.5, step, 1.0) for step, key in enumerate(keys)])
tracker.flush()
print(json.dumps([point[:3] for point in TensorboardTracker().read(run).points]))
"""


def test_what_a_meter_measures_is_shown_after_the_users_own(tmp_path: Path) -> None:
    """The page sorts names, in which a tilde comes after letters; the plain name of an earlier version is the same."""
    seen = json.loads(run_python(METERED, tmp_path))

    assert sorted(seen) == [
        *(["_x7e_codecarbon/power_w", 0.5, 2], ["train/loss", 0.5, 1]),
        *(["~codecarbon/power_w", 0.5, 0], ["~codecarbon/power_w", 0.5, 3]),
    ]


def test_a_kill_loses_nothing_and_a_resume_adds_to_the_run(tmp_path: Path) -> None:
    """What log_metrics has returned from is on disk.

    A torn record at the end of a file hides nothing, in no later file either.
    """
    run = tmp_path / "run"
    folder = run / "trackers" / "tensorboard"

    killed = drive(
        run, SETUP, ["log_params", {"lr": 1}], ["log_metrics", [["loss", 1, 1, 1.0], ["loss", 2, 2, 2.0]]], ["kill"]
    )
    [torn] = [path for path in folder.iterdir() if not path.name.endswith("state")]
    with torn.open("ab") as file:
        file.write(struct.pack("<Q", 50) + b"half a rec")
    [after_kill] = drive(run, READ)
    drive(
        run,
        ["setup", {"resumed": True}],
        ["log_metrics", [["loss", 3, 1, 3.0], ["loss", 4, 3, 4.0]]],
        ["finish", "finished"],
    )
    [after_resume] = drive(run, READ)

    assert killed == []
    assert after_kill["points"] == [["loss", 1.0, 1], ["loss", 2.0, 2]]
    assert (after_kill["params"], after_kill["status"]) == ({"lr": 1}, "running")
    assert after_resume["points"] == [["loss", 1.0, 1], ["loss", 2.0, 2], ["loss", 3.0, 1], ["loss", 4.0, 3]]
    assert (after_resume["params"], after_resume["status"]) == ({"lr": 1}, "finished")


def test_the_users_log_directory_holds_a_folder_per_run(tmp_path: Path) -> None:
    """TENSORBOARD_LOGGING_DIR keeps its meaning, the option log_dir comes before it, and a reader finds the run without either."""
    calls = [["log_metrics", [["loss", 1, 1, 1.0]]], ["finish", "finished"]]
    logs, other = tmp_path / "logs", tmp_path / "other"

    drive(tmp_path / "one", SETUP, *calls, TENSORBOARD_LOGGING_DIR=str(logs))
    drive(tmp_path / "two", ["setup", {"options": {"log_dir": str(other)}}], *calls, TENSORBOARD_LOGGING_DIR=str(logs))
    refused, *_ = drive(tmp_path / "three", SETUP, TENSORBOARD_LOGGING_DIR="s3://bucket/logs")

    assert [path.name for path in logs.iterdir()] == ["one"]
    assert [path.name for path in other.iterdir()] == ["two"]
    assert drive(tmp_path / "one", READ)[0]["points"] == [["loss", 1.0, 1]]
    assert refused[0] == "FinalError"
    assert "s3://bucket/logs is not a local folder" in refused[1]


FULL_DISK = """
import resource, sys
from pathlib import Path
from runcast.core.errors import RetryableError
from runcast.delivery.attempts import explained
from runcast.integrations.contract import Point, TrackedRun
from runcast.integrations.tensorboard import TensorboardTracker
local = Path(sys.argv[1])
run = TrackedRun(id="run", name="", project="", directory=local, local=local, created=1.0, online=False)
tracker = TensorboardTracker()
tracker.setup(run)
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, hard))
points = [Point("loss", step, step, 1.0) for step in range(200)]
for attempt in range(2):
    try:
        tracker.log_metrics(points)
        explained(tracker.explain, tracker.flush)
    except RetryableError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
print(sorted(point.step for point in tracker.read(run).points) == list(range(200)))
"""


def test_a_batch_that_finds_no_room_leaves_no_trace(tmp_path: Path) -> None:
    """On a full disk a batch fails as a whole and may be sent again: each point is there once."""
    failed, complete = run_python(FULL_DISK, tmp_path).splitlines()

    assert "Make room there, then: runcast sync" in failed
    assert complete == "True"


def test_tensorflow_and_torch_are_left_alone_where_they_are_installed(tmp_path: Path) -> None:
    """Writing a run imports neither: they take seconds and graphics memory."""
    (tmp_path / "decoy").mkdir()
    for name in ("tensorflow", "torch"):
        (tmp_path / "decoy" / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')")

    answers = drive(
        tmp_path / "run", SETUP, ["log_params", {"lr": 1}], ["finish", "finished"], PYTHONPATH=str(tmp_path / "decoy")
    )

    assert [answer for answer in answers[1:] if answer is not None] == []


@pytest.mark.parametrize("kind", ["histogram", "text"])
def test_a_file_that_is_not_what_it_says_is_refused(tmp_path: Path, kind: str) -> None:
    """A damaged file is one refused record, and the run goes on."""
    damaged = tmp_path / "damaged"
    damaged.write_bytes(b"\xff neither")

    _, refused, after = drive(
        tmp_path / "run", SETUP, ["log_media", "samples", 1, kind, str(damaged)], ["log_summary", {"x": 1}]
    )

    assert refused[0] == "FinalError"
    assert after is None
