"""Names, values and terminals that nobody had in mind: no command breaks off, and nothing is lost or misread."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast.journal.layout import RunDirectory

ODD = "a [bold]\x1b[31mb\r\x9b1m\u202e'c' -x"


@pytest.fixture
def odd_run(cli: Any) -> runcast.Run:
    """A run in whose names and values there are commands for the terminal, and markup."""
    with runcast.init("p", ODD, {ODD: ODD, "text": "one\ntwo"}, report_to="none", id="odd", tags=[ODD]) as run:
        for step in range(3):
            run.log({ODD: step, "損失/訓練": step, "loss[0]": step}, step=step)
        run.summary[ODD] = ODD
        run.alert(ODD)
        run.log_artifact(__file__, name=ODD)
    return run


@pytest.mark.parametrize("columns", ["0", "1", "11", "40", "80", "160", ""])
@pytest.mark.parametrize(
    "arguments",
    [
        ("list",),
        ("status",),
        ("status", "odd"),
        ("show",),
        ("show", "-m", "loss"),
        ("compare", "odd", "plain"),
        ("compare", "odd", "plain", "-m", "loss"),
        ("du",),
        ("verify", "odd", "plain"),
        ("show", "nothing"),
    ],
    ids=" ".join,
)
def test_no_name_commands_the_terminal(
    arguments: tuple[str, ...], columns: str, cli: Any, odd_run: runcast.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Characters that would colour, move or turn the output are shown as escapes, in any width."""
    monkeypatch.setenv("COLUMNS", columns)
    with runcast.init("p", "plain", report_to="none", id="plain") as run:
        run.log({"loss[0]": float("nan"), "loss": 1.0}, step=0)

    answer = cli(*arguments)

    assert answer.status in (0, 2)
    assert answer.out + answer.err
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", answer.out + answer.err)
    if columns in ("80", "160", ""):
        assert re.search(r"a \[bold\]\\x1b\[|plain", answer.out + answer.err)


def test_a_run_that_diverged_is_listed(cli: Any) -> None:
    """Its last loss is NaN or infinite."""
    for name, loss in (("nan", float("nan")), ("up", float("inf")), ("down", float("-inf"))):
        with runcast.init("p", name, report_to="none") as run:
            run.log({"loss": loss}, step=0)

    answer = cli("list", "--sort", "name")

    assert answer.status == 0
    assert [line.split()[-1] for line in answer.out.splitlines()] == ["loss", "-Infinity", "NaN", "Infinity"]


def test_a_name_with_brackets_names_itself(cli: Any) -> None:
    """It is no wildcard where it is the whole name of a run, a project or a metric."""
    with runcast.init("p[1]", "lr[0.1]", report_to="none") as run:
        run.log({"loss[0]": 0.25, "loss0": 0.5}, step=0)
    runcast.init("other", "other", report_to="none").finish()

    assert [one["name"] for one in json.loads(cli("list", "lr[0.1]", "--json").out)] == ["lr[0.1]"]
    assert [one["name"] for one in json.loads(cli("list", "-p", "p[1]", "--json").out)] == ["lr[0.1]"]
    shown = json.loads(cli("show", "lr", "-m", "loss[0]", "--json").out)
    assert shown["contents"]["curves"] == {"loss[0]": [[0, 0.25]]}


def test_each_metric_that_is_asked_for_must_be_there(cli: Any, finished_run: runcast.Run) -> None:
    """One that is right does not hide a misspelt one."""
    answer = cli("show", "-m", "los*", "-m", "acuracy")

    assert answer.status == 2
    assert "There is no metric 'acuracy'" in answer.err


def test_runs_of_one_name_are_told_apart(cli: Any) -> None:
    """By the end of the id, as lists show it."""
    for run_id, lr in (("x-aaaaaa", 1), ("x-bbbbbb", 2)):
        with runcast.init("p", "same", {"lr": lr}, report_to="none", id=run_id) as run:
            run.log({"loss": lr}, step=0)
            run.log({"loss": lr}, step=1)

    table, plot = cli("compare", "x-a", "x-b").out, cli("compare", "x-a", "x-b", "-m", "loss").out
    cli("compare", "x-a", "x-b", "--html", "page.html")
    page = Path("page.html").read_text(encoding="utf-8")

    for name in ("same (aaaaaa)", "same (bbbbbb)"):
        assert name in table
        assert name in plot
        assert f'"name": "{name}"' in page


def test_runs_that_do_not_fit_beside_each_other_follow_below(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """No column is lost in a terminal; in a pipe they are one table."""
    for number in range(9):
        runcast.init("p", f"run-number-{number}", {"seed": 70 + number}, report_to="none", id=f"id{number}").finish()
    words = [f"id{number}" for number in range(9)]

    narrow = cli("compare", *words).out
    monkeypatch.delenv("COLUMNS")
    wide = cli("compare", *words).out

    assert max(map(len, narrow.splitlines())) <= 80
    seeds = [line.split()[1:] for line in narrow.splitlines() if line.startswith("seed")]
    assert seeds == [["70", "71", "72", "73"], ["74", "75", "76", "77"], ["78"]]
    assert [line.split()[1:] for line in wide.splitlines() if line.startswith("seed")] == [
        [str(70 + number) for number in range(9)]
    ]


def test_long_values_that_differ_look_different(cli: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Paths often differ at their ends; in a pipe nothing is cut."""
    beginning = "/data/" + "long/" * 20
    for name in ("v1", "v2"):
        runcast.init("p", name, {"data": beginning + name}, report_to="none", id=name).finish()

    (row,) = [line.split() for line in cli("compare", "v1", "v2").out.splitlines() if "…" in line]
    monkeypatch.delenv("COLUMNS")
    whole = cli("compare", "v1", "v2").out

    assert len(row) >= 2
    assert beginning + "v1" in whole
    assert beginning + "v2" in whole


def test_long_names_of_metrics_leave_room_for_those_of_runs(cli: Any) -> None:
    """Two columns of forty characters do not push the names out of a terminal."""
    with runcast.init("p", "my-name", report_to="none") as run:
        run.log({f"validation/some-dataset-of-{one}/with_a_long_name_accuracy": 1.0 for one in ("cats", "dogs")})

    lines = cli("list").out.splitlines()

    assert max(map(len, lines)) <= 80
    assert lines[-1].split()[1:] == ["my-name", "finished", "just", "now", "0", "s", "1", "1"]
    assert "dogs" in "".join(lines)


def test_one_line_is_one_run(cli: Any) -> None:
    """A long name with spaces is cut in a narrow terminal, and not wrapped."""
    runcast.init("p", "a name with many words\nand two lines " * 5, report_to="none").finish()

    for command in ("list", "status"):
        assert len(cli(command).out.splitlines()) == 2


def test_an_unknown_status_is_an_error(cli: Any, finished_run: runcast.Run) -> None:
    """A list of runs that are "done" would be empty for ever."""
    answer = cli("list", "--status", "done")

    assert (answer.status, answer.out) == (2, "")
    assert "finished, failed, killed, crashed, running, unknown" in " ".join(answer.err.split())


@pytest.mark.parametrize("error", ["\n", " ", "RuntimeError: line one\nCompile with `THIS`"])
def test_any_text_may_be_an_error(error: str, cli: Any) -> None:
    """Also one without a line."""
    runcast.init("p", report_to="none").finish("failed", error=error)

    assert cli("show").status == 0


def test_the_error_is_shown_and_not_the_end_of_its_message(cli: Any) -> None:
    """PyTorch's, pydantic's and others have many lines, of which the first says what happened."""
    with pytest.raises(RuntimeError), runcast.init("p", report_to="none"):
        raise RuntimeError("CUDA error: device-side assert triggered\nFor debugging …\nCompile with `THIS`")

    assert "error  RuntimeError: CUDA error: device-side assert triggered" in cli("show").out


@pytest.mark.damages_journals
def test_damage_is_shown(cli: Any, finished_run: runcast.Run) -> None:
    """Lines of the journal that are lost, also where no tracker was to get them."""
    with (finished_run.dir / "journal.jsonl").open("ab") as journal:
        journal.write(b"\xff\xfe\n")

    assert "1 line of the journal truncated or damaged, and lost." in cli("show").out


def test_several_runs_are_separated(cli: Any, finished_run: runcast.Run) -> None:
    """By an empty line, so that one sees which table is whose."""
    runcast.init("p", "another", report_to="none").finish()

    for command in ("sync", "verify"):
        out = cli(command, "--all").out
        assert "\n\nanother" in out
        assert not out.startswith("\n")


@pytest.mark.parametrize("command", ["sync", "verify"])
def test_a_folder_without_runs_is_named(command: str, cli: Any) -> None:
    """Nothing to do is no error, and said; a program gets an empty object."""
    answer, machine = cli(command, "--all"), cli(command, "--all", "--json")

    assert (answer.status, answer.out) == (machine.status, "") == (0, "")
    assert "There is no folder runs in" in answer.err
    assert json.loads(machine.out) == {}


@pytest.mark.parametrize("option", [("-t", "tensorboard"), ("--mend",), ("--close", "failed"), ("--json",)])
def test_a_watch_ignores_no_option(option: tuple[str, ...], cli: Any, finished_run: runcast.Run) -> None:
    """One that it does not support is an error: it would deliver more than was asked for."""
    answer = cli("sync", "--watch", *option)

    assert answer.status == 2
    assert "cannot be combined with --" in answer.err + answer.out


def test_a_name_with_a_dash_can_be_given(cli: Any) -> None:
    """The error of the shell's habit says how."""
    runcast.init("p", "-dash", report_to="none").finish()

    assert "behind --" in cli("show", "-dash").err
    assert cli("show", "--", "-dash").status == 0


def test_commands_to_copy_work_with_any_folder(
    cli: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder with a space, or with a dash at its beginning, is quoted."""
    monkeypatch.delenv("RUNCAST_QUIET")
    for folder, quoted in (("my runs", "'my runs/one'"), ("-x", "./-x/one")):
        runcast.init("p", id="one", report_to="none", dir=folder).finish()
        assert f"runcast show {quoted}\n" in capsys.readouterr().err


def test_a_page_of_odd_runs_is_one_that_a_browser_reads(cli: Any, tmp_path: Path) -> None:
    """No name ends its script, no value is no JSON, and a file that is missing is named in its place."""
    with runcast.init("p", "<!--<script>", report_to="none", id="page", axes={"loss": "epoch"}) as run:
        for step in range(3):
            run.log({"loss": step, "epoch": float("nan") if step == 1 else step / 2}, step=step)
        run.log({"note": runcast.Text("x"), "rows": runcast.Table([[1]], ["n"])})
    for file in (run.dir / "media").iterdir():
        file.unlink()

    answer = cli("show", "page", "--html", "page.html", "--json")

    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    curves = [json.loads(curve, parse_constant=pytest.fail) for curve in re.findall(r'application/json">(.*?)</', page)]
    assert json.loads(answer.out)["run"]["id"] == "page"
    assert [lines[0]["x"] for lines, _ in curves] == [[0, 1, 2], [0.0, 1.0]]
    assert curves[0][0][0]["name"] == "&lt;!--&lt;script&gt;"
    assert not re.search(r'application/json">[^\n]*?<!--', page)
    assert page.count(" is not in ") == 2


def test_a_damaged_run_hides_no_page(cli: Any) -> None:
    """The newest that can be read has one; names that are long in bytes, and equal ends of ids, are no obstacle."""
    pytest.importorskip("tensorboard")
    for number in range(3):
        run = runcast.init("p", "損" * 100, report_to="tensorboard", id=f"{number}-same00")
        run.log({"loss": 0.5}, step=0)
        assert run.finish()
    (run.dir.parent / "broken").mkdir()
    (run.dir.parent / "broken" / "run.json").write_text("{")
    os.utime(RunDirectory(run.dir.parent / "broken").run_json, (2**32, 2**32))

    page = json.loads(cli("open", "--json").out)

    assert page["tracker"] == "tensorboard"
    assert len(list(Path(page["command"].split()[2]).iterdir())) == 3


def test_the_metric_of_a_list_is_the_same_in_all_runs(cli: Any) -> None:
    """A word that means one metric here and another one there is an error, and so is one that means none."""
    for name, keys in (("one", ["eval/loss"]), ("two", ["eval/loss", "train/loss"])):
        with runcast.init("p", name, report_to="none") as run:
            run.log(dict.fromkeys(keys, 0.5), step=0)
    runcast.init("p", "without", report_to="none").finish()

    for option in ("--best", "--sort"):
        for json_too in ((), ("--json",)):
            unclear, unknown = cli("list", option, "loss", *json_too), cli("list", option, "acc", *json_too)
            assert (unclear.status, unknown.status) == (2, 2)
            assert "It could be eval/loss, train/loss" in unclear.out + unclear.err
        found = json.loads(cli("list", option, "ev", "--json").out)
        assert found[0]["name"] == "without"
    assert [one["best"] for one in json.loads(cli("list", "--best", "ev", "--json").out)] == [None, [0.5, 0], [0.5, 0]]
    assert cli("list", "nothing", "--best", "acc").out == "No run matches.\n"


def test_a_condition_about_a_param_that_no_run_has_is_an_error(cli: Any) -> None:
    """A slip is no reason to find nothing; a param that only some of the runs have is no slip."""
    for name, config in (("one", {"lr": 0.1}), ("two", {"lr": 0.2, "depth": 3})):
        runcast.init("p", name, report_to="none", config=config).finish()

    slip, some = cli("list", "--where", "lrr=0.1"), cli("list", "-w", "depth=3", "--json")

    assert slip.status == 2
    assert "No run has a param 'lrr'" in slip.err
    assert "There is depth, lr" in slip.err
    assert [one["name"] for one in json.loads(some.out)] == ["two"]


def test_a_message_names_some_of_many_metrics(cli: Any) -> None:
    """Thousands are no help."""
    with runcast.init("p", report_to="none") as run:
        run.log({f"layer{number:04}/norm": 1.0 for number in range(1000)}, step=0)

    answer = cli("get", "last", "nrom")

    assert "layer0019/norm and 980 more" in answer.err
    assert "layer0020" not in answer.err


def test_a_folder_whose_name_is_no_text_is_listed(cli: Any) -> None:
    """Bytes that are no UTF-8, as a file name may have; a program gets them as Python writes them."""
    folder = os.fsdecode(b"r\xff")
    try:
        Path(folder).mkdir()
    except OSError:
        pytest.skip("this file system has only names in UTF-8")
    runcast.init("p", id="one", report_to="none", dir=folder).finish()

    assert cli("status", "one", "--dir", folder).status == 0
    assert json.loads(cli("list", "--dir", folder, "--json").out)[0]["path"] == f"{folder}/one"


def test_a_link_to_a_run_is_not_removed(cli: Any, finished_run: runcast.Run) -> None:
    """What it leads to is named instead."""
    Path("newest").symlink_to(finished_run.dir)

    answer = cli("rm", "newest", "--yes")

    assert answer.status == 2
    assert f"Name the run itself: runs/{finished_run.id}" in answer.err.replace("hint: ", "")
    assert finished_run.dir.exists()


def test_a_folder_in_the_home_is_the_one_of_the_script(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a variable, no shell expands ~; `init` does, and so do the commands."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("RUNCAST_DIR", "~/runs")
    runcast.init("p", id="one", report_to="none").finish()

    assert (tmp_path / "home" / "runs" / "one").is_dir()
    assert [one["id"] for one in json.loads(cli("list", "--json").out)] == ["one"]
    assert cli("status", "one", "--dir=~/runs").status == 0


def test_a_tracker_that_one_of_several_runs_lacks_stops_none(cli: Any) -> None:
    """The other runs are delivered, and the exit status says that something is wrong."""
    pytest.importorskip("tensorboard")
    runcast.init("p", id="a-bare", report_to="none").finish()
    with runcast.init("p", id="b-later", report_to="tensorboard", delivery="later") as run:
        run.log({"loss": 0.5}, step=0)

    answer = cli("sync", "a-bare", "b-later", "-t", "tensorboard", "--tracker", "TensorBoard")

    assert answer.status == 1
    assert "has no part in this run" in answer.err
    assert answer.out.count("complete") == 1


def test_the_newest_run_is_the_one_that_began_last(cli: Any) -> None:
    """Not one that was delivered, renamed or finished later."""
    first = runcast.init("p", id="first", report_to="tensorboard", delivery="later")
    runcast.init("p", id="second", report_to="none").finish()
    first.config.seed = 1
    first.name = "renamed"
    first.finish()
    cli("sync", "first")

    assert json.loads(cli("status", "last", "--json").out)["id"] == "second"
    assert [one["id"] for one in json.loads(cli("list", "--json").out)] == ["first", "second"]
    runcast.init("p", id="first", resume="allow", report_to="none").finish()
    assert json.loads(cli("status", "last", "--json").out)["id"] == "first"


def test_characters_that_take_two_columns_hide_no_value(cli: Any) -> None:
    """The names are shortened by what they take, and the values stay."""
    with runcast.init("p", "run", {"学習率" * 12: 0.25}, report_to="none") as run:
        for step in range(200):
            run.log({"検証/正解率" * 8 + "loss": step + 0.5, "loss": step}, step=step)

    out = cli("show").out

    assert re.search(r"正解…\S* +\S+ +199\.5 +0\.5 +199\.5 +200\n", out)
    assert re.search(r"学習率\S*…\S* +0\.25", out)
