"""`runcast list`, `compare`, `get`, `open`, `du` and `rm`: many runs in a folder."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast.history.views.digest import digest
from runcast.journal.layout import RunDirectory


@pytest.fixture
def runs(cli: Any) -> list[runcast.Run]:
    """Three runs whose losses fall to 0.5, 0.25 and 0.125, and rise by 1 at the end."""
    made = []
    for name, lr, best in (("low", 0.1, 0.5), ("lower", 0.2, 0.25), ("lowest", 0.3, 0.125)):
        with runcast.init("shapes", name, {"lr": lr, "depth": 3}, report_to="none", tags=[f"tag-{name}"]) as run:
            for step, value in enumerate((2.0, best, best + 1)):
                run.log({"eval/loss": value, "train/loss": 1.0, "nan": float("nan")}, step=step)
            run.summary["best"] = best
        made.append(run)
    return made


def names(answer: Any) -> list[str]:
    """List the names in a JSON list of runs."""
    assert answer.status == 0
    return [one["name"] for one in json.loads(answer.out)]


def test_a_list_has_each_run_with_its_last_values(cli: Any, runs: list[runcast.Run]) -> None:
    """The newest is the last line."""
    lines = cli("list").out.splitlines()

    assert lines[0].split() == ["run", "name", "status", "started", "took", "eval/loss", "train/loss"]
    assert [line.split()[1] for line in lines[1:]] == ["low", "lower", "lowest"]
    assert lines[-1].split()[-2:] == ["1.125", "1"]


def test_the_best_run_is_the_last_line(cli: Any, runs: list[runcast.Run]) -> None:
    """By the least or the greatest value that it ever had, with its step."""
    assert cli("list", "--best", "eval").out.splitlines()[-1].split()[-2:] == ["0.125", "1"]
    assert names(cli("list", "--best", "eval/loss", "--max", "--json")) == ["low", "lower", "lowest"]
    assert json.loads(cli("list", "--best", "eval/loss", "--max", "--json").out)[-1]["best"] == [2.0, 0]
    assert cli("list", "--best", "accuracy").status == 2


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("lowe*",), ["lower", "lowest"]),
        (("--status", "failed"), []),
        (("--tag", "tag-low"), ["low"]),
        (("--where", "lr>=0.2", "-w", "depth=3"), ["lower", "lowest"]),
        (("--where", "lr!=0.2"), ["low", "lowest"]),
        (("--sort", "eval/loss", "--max"), ["lowest", "lower", "low"]),
        (("--sort", "name", "-n", "1"), ["lowest"]),
        (("--project", "other"), []),
    ],
)
def test_runs_can_be_filtered_and_sorted(
    arguments: tuple[str, ...], expected: list[str], cli: Any, runs: list[runcast.Run]
) -> None:
    """By name, status, tag, project, params and last values."""
    assert names(cli("list", *arguments, "--json")) == expected


def test_a_digest_is_continued(cli: Any, tmp_path: Path) -> None:
    """What was read once is kept, and a run that grows is read from there."""
    run = runcast.init("shapes", report_to="none")
    for step in range(3000):
        run.log({"loss": 3000 - step}, step=step)
    directory = RunDirectory(run.dir)

    first = digest(directory).metrics["loss"]
    run.log({"loss": -1.0}, step=3000)
    run.log({"loss": float("nan")}, step=3001)
    second = digest(directory).metrics["loss"]
    run.finish()

    assert (first.count, first.least, first.greatest) == (3000, 1, 3000)
    assert (second.count, second.least, second.least_step, second.last) == (3002, -1, 3000, "NaN")
    assert (run.dir / "digest.json").exists()


@pytest.mark.damages_journals  # to be read whole after the test, they are too many
def test_a_hundred_runs_of_a_million_points_are_listed_in_a_second(cli: Any, runs: list[runcast.Run]) -> None:
    """Only the ends of the journals are read."""
    journal, content = runs[0].dir / "journal.jsonl", (runs[0].dir / "run.json").read_text()
    lines = journal.read_bytes().splitlines(keepends=True)
    metrics = next(line for line in lines if b'"metrics"' in line)
    with journal.open("wb") as file:
        file.writelines([*lines[:2], *[metrics] * 333_333, *lines[2:]])
    for number in range(97):
        folder = runs[0].dir.parent / f"copy-{number}"
        folder.mkdir()
        os.link(journal, folder / "journal.jsonl")
        (folder / "run.json").write_text(content.replace(runs[0].id, f"copy-{number}"))

    began = time.perf_counter()
    answer = cli("list")

    assert len(answer.out.splitlines()) == 101
    assert time.perf_counter() - began < 5  # below 1 s on an idle machine; others may work here


def test_runs_are_compared(cli: Any, runs: list[runcast.Run]) -> None:
    """The params that differ, and what came out; those that are the same are counted."""
    answer = cli("compare", "low", "lowest")
    found = json.loads(cli("compare", "low", "lowest", "--json").out)

    rows = {line.split()[0]: line.split()[1:] for line in answer.out.splitlines() if line.strip()}
    assert rows["lr"] == ["0.1", "0.3"]
    assert "depth" not in rows
    assert rows["best"] == ["0.5", "0.125"]
    assert max(map(len, answer.out.splitlines())) <= 80
    assert found["params"] == {"lr": [0.1, 0.3]}
    assert found["metrics"]["eval/loss"] == {"last": [1.5, 1.125], "least": [0.5, 0.125], "greatest": [2.0, 2.0]}
    assert cli("compare", "low", "low").status == 2


def test_curves_are_drawn_over_each_other(cli: Any, runs: list[runcast.Run]) -> None:
    """With common axes and a legend."""
    answer = cli("compare", "low", "lowest", "-m", "eval/loss")

    assert "         2 │" in answer.out
    assert "     0.125 │" in answer.out
    assert "low  1.5" in answer.out
    assert "lowest  1.125" in answer.out


def test_the_points_of_a_metric_can_be_read(cli: Any, runs: list[runcast.Run]) -> None:
    """As CSV or JSON, all or those after a step."""
    lines = cli("get", "low", "eval").out.splitlines()

    assert lines[0] == "step,value,time"
    assert [line.rsplit(",", 1)[0] for line in lines[1:]] == ["0,2.0", "1,0.5", "2,1.5"]
    found = json.loads(cli("get", "last", "nan", "--since", "1", "--json").out)
    assert (found["metric"], [one[:2] for one in found["points"]]) == ("nan", [[2, "NaN"]])
    assert "It could be eval/loss, train/loss" in cli("get", "low", "loss").err


def test_the_rows_of_a_table_can_be_read(cli: Any, start: Callable[..., runcast.Run]) -> None:
    """Those of all steps under one header, with their step, whatever columns each step has."""
    with start(name="talk") as run:
        run.log_samples([{"prompt": "007", "n": 2**53 + 1}, {"prompt": None, "n": float("inf")}], step=10)
        run.log_samples([{"prompt": "a,b", "chat": ["x"]}], step=20)
        run.log({"errors": runcast.Table([["cat", 3]], columns=["class", "count"])}, step=20)

    assert cli("get", "talk", "samples").out == (
        'step,prompt,n,chat\n10,"007",9007199254740993,\n10,,Infinity,\n20,"a,b",,"[""x""]"\n'
    )
    assert cli("get", "talk", "errors").out == "step,class,count\n20,cat,3\n"
    assert json.loads(cli("get", "talk", "samples", "--json").out) == {
        "table": "samples",
        "columns": ["step", "prompt", "n", "chat"],
        "rows": [[10, "007", 9007199254740993, None], [10, None, "Infinity", None], [20, "a,b", None, '["x"]']],
    }
    assert json.loads(cli("get", "talk", "samples", "--since", "10", "--json").out)["rows"] == [[20, "a,b", '["x"]']]
    assert "samples (2)" in cli("show", "talk").out


def test_what_runs_take_is_shown(cli: Any, runs: list[runcast.Run]) -> None:
    """By part, with a total."""
    found = json.loads(cli("du", "--json").out)

    assert {one["name"] for one in found} == {"low", "lower", "lowest"}
    assert all(one["total"] >= one["journal"] > 0 for one in found)
    assert cli("du").out.splitlines()[-1].split()[0] == "all"


def test_a_run_is_removed_after_asking(cli: Any, runs: list[runcast.Run], monkeypatch: pytest.MonkeyPatch) -> None:
    """No answer is no; a running one stays."""
    monkeypatch.setattr("typer.confirm", lambda *_, **__: False)
    assert cli("rm", "low").status == 1
    assert runs[0].dir.exists()

    assert cli("rm", "low", "lowest", "--yes").status == 0
    assert [run.dir.exists() for run in runs] == [False, True, False]

    running = runcast.init("shapes", "still-running", report_to="none")
    answer = cli("rm", "still", "--yes")
    running.finish()
    assert answer.status == 2
    assert "is still training" in answer.err


def test_what_lies_elsewhere_is_said_before_a_run_is_removed(cli: Any) -> None:
    """MLflow's store is beside the runs and keeps the run; what TensorBoard has goes with the folder."""
    pytest.importorskip("mlflow")
    run = runcast.init("shapes", "kept", report_to=["mlflow", "tensorboard"])
    run.log({"loss": 0.5}, step=0)
    assert run.finish()

    answer = cli("rm", "kept", "--yes")

    assert "mlflow  keeps it: sqlite:///" in " ".join(answer.out.split()).replace("mlflow keeps", "mlflow  keeps")
    assert "tensorboard" not in answer.out
    assert not run.dir.exists()


def test_a_page_is_found(cli: Any) -> None:
    """The command that serves it, and its address; a tracker that has none says what else there is.

    TensorBoard calls a run as its folder is called: there each is called by its own name, and two of one name differ.
    """
    pytest.importorskip("tensorboard")
    runs = [runcast.init("shapes", "a/b", report_to=["tensorboard", "dvclive"]) for _ in range(2)]
    for run in runs:
        run.log({"loss": 0.5}, step=0)
        assert run.finish()
    second = max(run.id for run in runs)  # by the time, or by chance in the same second

    page = json.loads(cli("open", "tens", "--port", "6007", "--json").out)

    named = Path(page["command"].split()[2])
    assert page == {
        "tracker": "tensorboard",
        "address": "http://127.0.0.1:6007",
        "command": f"tensorboard --logdir {named} --port 6007",
    }
    assert sorted(link.name for link in named.iterdir()) == ["a-b", f"a-b {second[-6:]}"]
    assert all(list(link.glob("events.out.tfevents*")) for link in named.iterdir())
    assert "dvclive has no page of its own for local runs" in cli("open", "dvclive").err
