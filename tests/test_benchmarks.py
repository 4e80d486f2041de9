"""The benchmarks measure: every measuring process answers, at the smallest size, and the report says what it must."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("benchmarks", reason="the benchmarks are not part of the wheel")

from benchmarks import checkpoints, gpu, report, start
from benchmarks.harness import ROOT, Failed, interleaved, run_child, spread

LIGHT = ["tensorboard"]


def test_log_calls_are_timed_in_a_row_and_between_work() -> None:
    """The log question yields one timing for each call, of each kind."""
    answer = run_child("benchmarks.log:call_runcast", report_to=LIGHT, paced=3, in_a_row=5)

    assert (len(answer["row_us"]), len(answer["paced_us"]), len(answer["starting_us"])) == (5, 3, 1)
    assert answer["phases"] == {"tensorboard": "delivering"}


def test_an_import_is_timed_and_its_modules_are_counted() -> None:
    """Importing runcast takes longer and loads more than importing nothing."""
    bare, imported = start.run_code("pass"), start.run_code("import runcast")

    assert imported["modules"] > bare["modules"]
    assert imported["ms"] > 0


def test_opening_a_run_is_timed() -> None:
    """The start question yields the time until `log` may be called."""
    answer = run_child("benchmarks.start:open_run", report_to=[])

    assert answer["init_ms"] > 0


@pytest.mark.slow
def test_a_tracker_that_raises_does_not_keep_the_step_question_from_an_answer() -> None:
    """Training steps are timed in pairs of blocks, also with a tracker that is broken."""
    answer = run_child(
        "benchmarks.step:train",
        size=0.7,
        report_to=["benchmarks.dead:RaisingTracker"],
        pairs=1,
        block_s=0.05,
        startup_s=0.0,
    )

    assert [sorted(block) for block in answer["blocks"]] == [["with", "without"]]


@pytest.mark.slow
def test_the_same_training_is_timed_by_hand_and_with_ours() -> None:
    """The trainers question yields the times of as many steps, block by block."""
    answer = run_child("benchmarks.trainers:train", size=0.3, steps=5, rounds=2, subjects=["by hand", "runcast"])

    assert {name: [len(block) for block in blocks] for name, blocks in answer.items()} == {
        "by hand": [5, 5],
        "runcast": [5, 5],
    }


@pytest.mark.slow
@pytest.mark.parametrize("way", checkpoints.WAYS[:3])
def test_the_stalls_of_saves_are_timed(way: str) -> None:
    """As many as there are saves; in the background, training goes on until a checkpoint is there."""
    answer = run_child("benchmarks.checkpoints:train", way=way, width=16, layers=2, saves=2)

    assert (len(answer["stalls"]), len(answer["whole"])) == (2, 2)
    assert all(whole >= stall for whole, stall in zip(answer["whole"], answer["stalls"], strict=True))


@pytest.mark.matrix
def test_the_measurements_on_a_gpu_run_to_their_end_on_the_cpu(tmp_path: Path) -> None:
    """All four trainers, compiled and not, with and without a tracker; the table lands between its markers."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n{gpu.BEGIN}\n{gpu.END}\nbehind\n")
    command = [sys.executable, "-m", "benchmarks.gpu", "--cpu", "--tiny", "--write", str(page)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)

    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in page.read_text().splitlines() if line.startswith(("| eager", "| compiled"))]
    assert [(row[0], row[1]) for row in rows] == [
        (way, trainer)
        for way in ("| eager, no tracker", "| compiled, tracked")
        for trainer in ("by hand", "runcast", "transformers", "lightning")
    ]
    assert "the CPU alone" in page.read_text()
    assert page.read_text().endswith("\nbehind\n")


def test_steps_that_log_may_wait_and_the_others_may_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 25 steps, tracked every ten, all behind the third are looked at but those two, and the last."""
    ticks: list[int] = []
    monkeypatch.setitem(gpu.LOOPS, "runcast", lambda work, tick: [ticks.append(n) or tick() for n in range(work.steps)])

    work = gpu.Work(lambda: None, [], 25)
    assert gpu.unwaiting(work) == 22
    assert gpu.unwaiting(gpu.Work(lambda: None, [], 25, tracks=True)) == 20
    assert len(ticks) == 50


def test_without_a_gpu_nothing_is_measured_and_that_is_no_failure() -> None:
    """It says so."""
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": ""}

    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu"], cwd=ROOT, env=environment, capture_output=True, text=True
    )

    assert (done.returncode, done.stdout.split(",")[0]) == (0, "There is no GPU here")


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", [*(pytest.param(kind, marks=pytest.mark.matrix) for kind in ("nothing", "empty", "theirs")), "ours"]
)
def test_a_training_is_timed_from_its_start_to_its_end(kind: str) -> None:
    """The frameworks question yields the step, the time to the first one, and that from the last one to the end."""
    answer = run_child(
        "benchmarks.framework_loops:measure", peers=True, train="train_accelerate", kind=kind, trackers=LIGHT, steps=10
    )

    assert sorted(answer) == ["cpu_us", "end_s", "first_step_s", "mean_us", "median_us"]
    assert min(answer.values()) > 0


def test_a_delivery_is_timed_until_the_run_is_closed() -> None:
    """Closing a run comes after its last batch."""
    answer = run_child("benchmarks.delivery:deliver_journal", name="tensorboard", logs=5)

    assert 0 < answer["calls_s"] <= answer["closed_s"]


def test_resident_memory_is_read_while_a_journal_grows() -> None:
    """The memory question yields the size of the process at the start, in the middle and at the end."""
    answer = run_child("benchmarks.memory:fill_journal", logs=20, pause_s=0.0, report_to=[])

    assert list(answer["rss"]) == ["before import runcast", "after runcast.init", "10 %", "50 %", "100 %"]


def test_a_subject_that_fails_is_named_and_the_others_are_measured() -> None:
    """A measuring process that dies costs its own figure only, and its last line says why."""
    answers, failures = interleaved(
        {"broken": lambda number: run_child("benchmarks.nowhere:nothing"), "sound": lambda number: number},
        2,
        quiet=True,
    )

    assert answers == {"broken": [], "sound": [0, 1]}
    assert failures == {"broken": "failed: ModuleNotFoundError: No module named 'benchmarks.nowhere'"}


def test_a_measuring_process_that_hangs_is_ended() -> None:
    """A subject has a limited time."""
    with pytest.raises(Failed, match="no answer within 1 s"):
        run_child("subprocess:run", timeout_s=1.0, args=["sleep", "60"])


def test_the_99th_percentile_is_a_value_that_occurred() -> None:
    """Of a hundred timings the 99th percentile is the 99th."""
    assert spread([float(value) for value in range(1, 101)]) == (50.5, 50.5, 99.0, 100.0, 100)


def test_a_budget_says_whether_it_is_met() -> None:
    """Limits hold in their own direction, and what was not measured is not met."""
    verdicts = [
        report.Budget("a", 5.0, 5.0).verdict,
        report.Budget("b", 5.1, 5.0).verdict,
        report.Budget("c", 9.0, 10.0, sense="at least").verdict,
        report.Budget("d", None, 10.0).verdict,
    ]

    assert verdicts == ["met", "not met", "not met", "not measured"]


def test_a_report_is_written_between_the_markers_of_a_page(tmp_path: Path) -> None:
    """What stands before and behind the markers stays, and writing again replaces."""
    page, figures = tmp_path / "page.md", tmp_path / "figures.json"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nbehind\n")
    table = report.Table("Time", ("subject", "time"), [["runcast", "5 µs"]], ["A note."])
    made = report.new_report(
        [report.Answer([table], [report.Budget("log", 4.0, 5.0, "µs")])], quick=False, took_s=1.0, load=0.0
    )
    report.save(made, figures)

    for _ in range(2):
        report.write_into(page, report.markdown(report.load(figures)))

    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nbehind\n")
    assert "| runcast | 5 µs |" in text
    assert "| log | at most 5 µs | 4 µs | met |" in text
    assert text.count("A note.") == 1
    assert "old" not in text
