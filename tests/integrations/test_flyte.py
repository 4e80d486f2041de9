"""Flyte, by flytekit's own local execution: inside of a task a run has its Deck and its checkpoint, elsewhere it takes no part."""

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.integrations.driving import driver

pytestmark = [pytest.mark.trackers, pytest.mark.slow]

drive = driver("flyte")

TASK = """
    import json, sys
    from pathlib import Path
    import flytekit, runcast
    from flytekit.core.context_manager import FlyteContextManager

    FOLDER = Path(sys.argv[1])

    @flytekit.task(enable_deck=True)
    def train(steps: int) -> str:
        (FOLDER / "checkpoint-2").mkdir()
        (FOLDER / "checkpoint-2" / "weights.bin").write_bytes(b"weights")
        for number in range(2):
            with runcast.init(
                "digits", id=f"run-{number}", dir=FOLDER / "runs", report_to=["tensorboard", "flyte"], config={"lr": 0.5}
            ) as run:
                for step in range(steps):
                    run.log({"train/loss": 1 / (step + 1 + number)}, step=step)
                if number == 0:
                    run.log_artifact(FOLDER / "checkpoint-2", type="model")
                    run.log({"sample": runcast.Text("<script>x</script>")}, step=3)
        checkpoint = Path(flytekit.current_context().checkpoint._checkpoint_dest)
        raw = Path(flytekit.current_context().raw_output_prefix, "runcast", "run-0")
        return json.dumps([[str(p.relative_to(at)) for p in sorted(at.rglob("*.bin"))] for at in (checkpoint, raw)])

    kept = json.loads(train(steps=4))
    decks = sorted(Path(FlyteContextManager.current_context().file_access.local_sandbox_dir).rglob("deck.html"))
    print("ANSWER", json.dumps({"kept": kept, "decks": [deck.read_text() for deck in decks]}))
"""

OUTSIDE = """
    import contextlib, io, json, sys
    import flytekit, runcast
    from runcast.autodetect.selection import select

    try:
        runcast.init("digits", dir=sys.argv[1] + "/runs", report_to="flyte")
    except runcast.TrackerUnavailableError as error:
        told = str(error)

    @flytekit.task
    def plain() -> str:
        with contextlib.redirect_stderr(io.StringIO()) as said:
            runcast.init("digits", dir=sys.argv[1] + "/runs", report_to="flyte", delivery="later").finish()
        return said.getvalue()

    print("ANSWER", json.dumps([told, select("all").skipped["flyte"], plain()]))
"""


def play(script: str, folder: Path) -> Any:
    """Run a script in a process of its own; return what it answers."""
    path = folder / "script.py"
    path.write_text(textwrap.dedent(script))
    environment = {**os.environ, "TMPDIR": str(folder)}
    done = subprocess.run([sys.executable, path, folder], capture_output=True, text=True, env=environment, check=False)
    assert "ANSWER" in done.stdout, done.stderr[-3000:]
    return json.loads(done.stdout.rpartition("ANSWER")[2])


def test_a_task_gets_a_deck_for_each_run_and_the_model_as_its_checkpoint(tmp_path: Path) -> None:
    """The Deck has the curve, the params and where the other trackers have the run; nothing of it is the user's HTML."""
    found = play(TASK, tmp_path)

    assert found["kept"] == [["weights.bin"], ["checkpoint-2/weights.bin"]]
    (deck,) = found["decks"]
    assert re.findall(r"<li [^>]*>(runcast[^<]*)</li>", deck) == ["runcast", "runcast 2"]
    assert len(re.findall(r'<polyline points="([^"]+)"', deck)) == 2
    assert deck.count("train/loss: 0.25") == 1  # 1 / 4, the first run's last point
    assert deck.count("<td>lr</td><td>0.5</td>") == 2
    assert str(tmp_path / "runs" / "run-0" / "trackers" / "tensorboard") in deck
    assert "<b>finished</b>" in deck
    assert "&lt;script&gt;x&lt;/script&gt;" in deck
    assert "<script>x" not in deck

    verified = subprocess.run(
        [sys.executable, "-m", "runcast", "verify", "run-0", "--dir", tmp_path / "runs", "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert verified.returncode == 0, verified.stdout[-3000:] + verified.stderr[-3000:]
    assert '"flyte"' in verified.stdout


def test_outside_of_a_task_it_takes_no_part_and_says_why(tmp_path: Path) -> None:
    """With flytekit imported: an error of ours by name, a reason under "all"; a task without a Deck is warned."""
    by_name, under_all, in_a_task_without_deck = play(OUTSIDE, tmp_path)

    assert by_name.startswith("flyte works in a task of Flyte only, and this is not one.")
    assert "@flytekit.task(enable_deck=True)" in by_name
    assert under_all.startswith("works in a task of Flyte only")
    assert "Flyte shows no Deck of this task" in in_a_task_without_deck


def test_files_reach_an_address_of_the_tasks_storage(tmp_path: Path) -> None:
    """By flytekit's own file access, as in a cluster, here to a `file://` address; a line cut by a kill is not read."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "part").write_bytes(b"part")
    options = {"files": f"file://{tmp_path}/raw", "checkpoint": f"{tmp_path}/checkpoint"}
    setup = ["setup", {"online": True, "options": options}]

    drive(
        tmp_path / "run-1",
        setup,
        ["log_metrics", [["loss", 0.5, 3, 1.7e9]]],
        ["log_artifact", "all", "dataset", str(tmp_path / "folder")],
        ["log_artifact", "one", "model", str(tmp_path / "folder" / "part")],
        ["kill"],
    )
    lines = tmp_path / "run-1" / "trackers" / "flyte" / "deck.jsonl"
    lines.write_bytes(lines.read_bytes() + b'["points", [["loss", 0.25, 4')
    *_, seen = drive(
        tmp_path / "run-1", setup, ["log_metrics", [["loss", 0.25, 4, 1.7e9]]], ["finish", "failed"], ["read", {}]
    )

    assert (tmp_path / "raw" / "runcast" / "run-1" / "one").read_bytes() == b"part"
    assert [p.name for p in (tmp_path / "raw" / "runcast" / "run-1" / "all").rglob("part")] == ["part"]
    assert (tmp_path / "checkpoint" / "part").read_bytes() == b"part"
    assert seen["points"] == [["loss", 0.25, 4], ["loss", 0.5, 3]]
    assert (seen["artifacts"], seen["status"]) == (["all", "one"], "failed")
