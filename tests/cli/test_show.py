"""`runcast show`."""

import json

import runcast


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
    answer = cli("show", "--metric", "los")

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
