"""`runcast show`."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from plotly.offline import get_plotlyjs

import runcast
from runcast.cli.show import cut_names
from runcast.history.views.page import SCRIPT
from runcast.journal.file import append_lines
from runcast.journal.records import Metrics, Summary, encode_line


def test_a_run_shows_what_it_holds(cli, finished_run: runcast.Run) -> None:  # type: ignore[no-untyped-def]
    """Curves, params, summary, tags and files of a run are on one page of 80 columns."""
    answer = cli("show")

    assert answer.status == 0
    for word in ("first-try", "finished", "loss", "█▇▆▅▄▃▂▁", "net/depth", "best", "0.875", "small", "config.json"):
        assert word in answer.out
    assert max(map(len, answer.out.splitlines())) <= 80


def test_a_metric_is_plotted(cli, finished_run: runcast.Run) -> None:  # type: ignore[no-untyped-def]
    """`--metric` draws what it names, and nothing else."""
    answer = cli("show", "--metric", "acc*")

    assert "accuracy" in answer.out
    assert "0.875 │" in answer.out
    assert "loss" not in answer.out


def test_a_metric_that_is_not_there_is_a_usage_error(cli, finished_run: runcast.Run) -> None:  # type: ignore[no-untyped-def]
    """The message names the metrics that there are."""
    answer = cli("show", "--metric", "speed")

    assert answer.status == 2
    assert "accuracy, loss" in " ".join(answer.err.split())


def test_json_holds_every_point(cli, finished_run: runcast.Run) -> None:  # type: ignore[no-untyped-def]
    """A program gets the curves as lists of steps and values."""
    shown = json.loads(cli("show", "--json").out)

    assert shown["contents"]["curves"]["loss"][:2] == [[0, 8], [1, 7]]
    assert shown["contents"]["params"] == {"lr": 0.5, "net/depth": 3}
    assert shown["run"]["points"] == 16


def test_a_run_of_oddities_is_shown(cli) -> None:  # type: ignore[no-untyped-def]
    """NaN, infinity, brackets, an empty run and a traceback neither stop the command nor are lost."""
    run = runcast.init("odd", report_to="none")
    run.log({"[bold]nan": float("nan"), "up": float("inf")}, step=0)
    run.finish("failed", error="Traceback …\nValueError: too small\n")

    answer = cli("show")

    assert answer.status == 0
    assert "ValueError: too small" in answer.out
    assert "[bold]nan" in answer.out
    assert json.loads(cli("show", "--json").out)["contents"]["curves"]["up"] == [[0, "Infinity"]]


def test_meters_are_folded(cli) -> None:  # type: ignore[no-untyped-def]
    """What was measured beside the training is counted, and shown on demand."""
    run = runcast.init("meters", report_to="none")
    for step in range(3):
        run.log({"loss": 3 - step, "system/gpu": 50}, step=step)
    run.finish()

    assert "system/gpu" not in cli("show").out
    assert "and 1 of energy, hardware or speed: runcast show --all" in cli("show").out
    assert "system/gpu" in cli("show", "--all").out


def test_params_that_have_their_default_are_folded(cli) -> None:  # type: ignore[no-untyped-def]
    """Of a trainer's hundred settings, those that were chosen are shown."""
    from runcast.values.config import plain

    arguments = runcast.TrainingArguments(learning_rate=0.25)
    runcast.init("settings", report_to="none", config={**plain(arguments), "mine": 5}).finish()

    brief, whole = cli("show").out, cli("show", "--all").out

    assert "learning_rate  0.25" in brief
    assert "mine" in brief
    assert "adam_beta1" not in brief
    assert "params that have their default: runcast show --all" in brief
    assert "adam_beta1" in whole


@pytest.mark.parametrize("columns", ["80", "160"])
def test_sparklines_fill_the_terminal(columns: str, cli, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """The line of a metric is as wide as the terminal, and none is wider."""
    run = runcast.init("wide", report_to="none")
    for step in range(500):
        run.log({"train/loss": 1 / (step + 1), "constant": 3}, step=step)
    run.finish()
    monkeypatch.setenv("COLUMNS", columns)

    lines = cli("show").out.splitlines()

    (loss,) = [line for line in lines if line.startswith("train/loss")]
    (constant,) = [line for line in lines if line.startswith("constant")]
    assert int(columns) - 4 <= len(loss.rstrip()) <= int(columns)
    assert set(constant.split()[1]) == {"─"}


def test_names_are_cut_so_that_they_stay_different() -> None:
    """Two long names that differ in the middle are two names."""
    assert cut_names(["a" * 30 + "1" + "b" * 30, "a" * 30 + "2" + "b" * 30], 20) != ["a" * 9 + "…" + "b" * 10] * 2
    assert cut_names(["abcdefghijklmnopqrstuvwxyz", "short"], 12) == ["abcdef…vwxyz", "short"]


def test_a_page_holds_everything(cli, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """One file with curves, params, summary, media and dropped values, which loads nothing and runs nothing of the run's."""
    run = runcast.init("page", "<script>alert(1)</script>", {"lr": "</script>"}, report_to="none")
    for step in range(5000):
        run.log({"loss": 5000 - step}, step=step)
    run.log(
        {
            "picture": np.zeros((8, 9, 3), np.uint8),
            "note": "a < b",
            "table": runcast.Table([[1]], ["n"]),
            "histogram": runcast.Histogram([1, 2]),
            "bad": None,
        }
    )
    run.summary.best = 1
    run.finish()

    answer = cli("show", "--html", "run.html")

    page = (tmp_path / "run.html").read_text(encoding="utf-8")
    library = get_plotlyjs()
    rest = page.replace(library, "").replace(SCRIPT, "")
    assert answer.status == 0
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in rest
    assert "alert(1)</script>" not in rest
    assert library in page
    assert not re.findall(r"(?:src|href)=[\"'](?!data:)", rest)
    for part in (
        "Curves",
        "Params",
        "Summary",
        "Media",
        "Dropped values",
        "data:image/png;base64,",
        "a &lt; b",
        "<rect",
    ):
        assert part in rest
    (curve,) = re.findall(r'application/json">(.*?)</script>', rest)
    assert len(json.loads(curve)[0][0]["x"]) <= 2000
    assert json.loads(curve)[0][0]["y"][0] == 5000


def test_a_run_in_progress_is_followed_to_its_end(cli, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    """It is shown again until it has ended."""
    run = runcast.init("followed", report_to="none")
    run.log({"loss": 0.5}, step=0)
    monkeypatch.setattr("runcast.cli.output.time.sleep", lambda _: run.finish())

    answer = cli("show", "--follow")

    assert answer.out.count("running") == 1
    assert answer.out.count("finished") == 1


def test_the_users_own_comes_first_and_a_meters_is_one_group(cli) -> None:  # type: ignore[no-untyped-def]
    """Curves of a meter are folded, its totals are one paragraph below the summary, and compare has them last."""
    for name in ("one", "two"):
        with runcast.init("p", name, report_to="none") as run:
            run.log({"loss": 0.5}, step=1)
            run.log_summary({"best": 0.875})
        energy = {"codecarbon/energy_kwh": 0.25, "codecarbon/power_w": 40.5}
        append_lines(run.dir / "journal.jsonl", encode_line(Metrics(time=1.0, step=1, values=energy, by="codecarbon")))
        append_lines(run.dir / "journal.jsonl", encode_line(Summary(time=1.0, values=energy, by="codecarbon")))

    shown, compared = cli("show", "two").out, cli("compare", "one", "two").out

    assert re.search(r"codecarbon +energy_kwh 0\.25 · power_w 40\.5\n", shown)
    assert shown.index("best") < shown.index("energy_kwh")
    assert "and 2 of energy, hardware or speed" in shown
    assert compared.index("best") < compared.index("codecarbon/energy_kwh")
    assert compared.index("loss") < compared.rindex("codecarbon/energy_kwh")


def test_alerts_are_shown_at_the_top(cli, finished_run: runcast.Run) -> None:  # type: ignore[no-untyped-def]
    """The newest ones, with their level and step."""
    with runcast.init("shapes", report_to="none") as run:
        run.log({"loss": 1.0}, step=4)
        for number in range(6):
            run.alert(f"alert number {number}", level="error")

    answer = cli("show", run.id)

    assert [line.split("alert ", 1)[1].strip() for line in answer.out.splitlines() if "at step 4" in line] == [
        f"error: alert number {number} (at step 4)" for number in range(1, 6)
    ]
    assert json.loads(cli("show", run.id, "--json").out)["contents"]["alerts"][0] == [4, "error: alert number 0"]
