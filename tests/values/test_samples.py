"""Samples of an LLM or RL run are kept in whatever form a script has them, with their step, and never stop it."""

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import runcast
from runcast.journal.records import Dropped, Media, Metrics
from tests.journals import records

torch = pytest.importorskip("torch")

pd, pl, pa = map(pytest.importorskip, ("pandas", "polars", "pyarrow"))
CHAT = [{"role": "user", "content": 'Say "hi",\r\nplease.'}]
AS_JSON = r'[{"role":"user","content":"Say \"hi\",\r\nplease."}]'


def files(run: runcast.Run) -> list[list[list[str]]]:
    """Read each file of a run's samples with Python's own reader, in the order of logging."""
    kept: list[list[list[str]]] = []
    for record in records(run, Media):
        assert (record.kind, record.key) == ("table", "samples")
        with (run.dir / record.path).open(newline="", encoding="utf-8") as file:
            kept.append(list(csv.reader(file)))
    return kept


def generated() -> Iterator[dict[str, Any]]:
    """Yield rows one by one."""
    yield {"prompt": "a", "reward": 1}
    yield {"prompt": "007", "reward": None}


ROWS = [["step", "prompt", "reward"], ["10", "a", "1"], ["10", "007", ""]]
FORMS: dict[str, Any] = {
    "rows": [{"prompt": "a", "reward": 1}, {"prompt": "007", "reward": None}],
    "rows with gaps": [{"prompt": "a", "reward": 1}, {"prompt": "007"}],
    "a generator": generated,
    "columns": {"prompt": ["a", "007"], "reward": (1, None)},
    "pandas": pd.DataFrame({"prompt": ["a", "007"], "reward": pd.array([1, None], dtype="Int64")}),
    "polars": pl.DataFrame({"prompt": ["a", "007"], "reward": [1, None]}),
    "pyarrow": pa.table({"prompt": ["a", "007"], "reward": [1, None]}),
    "a table": runcast.Table([["a", 1], ["007", None]], columns=["prompt", "reward"]),
}


@pytest.mark.parametrize("form", FORMS)
def test_rows_are_kept_in_any_form(form: str, start: Callable[..., runcast.Run]) -> None:
    """The first column is the step; a cell that is missing is empty."""
    run, rows = start(), FORMS[form]

    run.log_samples(rows() if callable(rows) else rows, step=10)

    assert files(run) == [ROWS]
    assert run.statistics().dropped == {}


def test_each_step_is_a_table_of_its_own(start: Callable[..., runcast.Run]) -> None:
    """Also without a step, of the current run, and where the rows have a step already."""
    with start() as run:
        run.log_samples({"prompt": "one row", "reward": 0.5})
        runcast.log_samples([{"prompt": "a"}])
        run.log({"loss": 1.0}, step=20)
        run.log_samples([{"step": 7, "prompt": "b"}])
        run.log_samples([], step=30)

        assert files(run) == [
            [["step", "prompt", "reward"], ["0", "one row", "0.5"]],
            [["step", "prompt"], ["1", "a"]],
            [["step", "prompt"], ["7", "b"]],
            [["step"]],
        ]
        assert [record.step for record in records(run, Media)] == [0, 1, 20, 30]


def test_a_cell_may_be_a_chat_an_array_or_many_tokens(start: Callable[..., runcast.Run]) -> None:
    """Lists, mappings and arrays are JSON, whole; numbers are exact, and one element is a number."""
    run = start()
    tokens = list(range(20_000))
    row = {
        "messages": CHAT,
        "ids": tokens,
        "array": np.array([1.5, 2.0], dtype=np.float32),
        "tensor": torch.tensor([[1, 2], [3, 4]], dtype=torch.int32),
        "half": torch.tensor(0.5, dtype=torch.bfloat16),
        "big": np.uint64(2**64 - 1),
        "deep": {"a": [2**53 + 1, None, True]},
        "bytes": b"a\xff",
    }

    run.log_samples([row], step=1)

    [[_, cells]] = files(run)
    assert cells == [
        "1",
        AS_JSON,
        f"[{','.join(map(str, tokens))}]",
        "[1.5,2.0]",
        "[[1,2],[3,4]]",
        "0.5",
        "18446744073709551615",
        '{"a":[9007199254740993,null,true]}',
        r"b'a\xff'",
    ]
    assert '"18446744073709551615"' not in (run.dir / records(run, Media)[0].path).read_text()  # it is no text


def test_a_missing_text_of_pandas_is_empty_and_nan_among_numbers_stays(start: Callable[..., runcast.Run]) -> None:
    """What pandas shows as NaN, NA or NaT is a gap, except in a column of floats."""
    run = start()
    frame = pd.DataFrame(
        {
            "text": ["x", None],
            "kind": pd.Categorical(["a", None]),
            "time": pd.to_datetime(["2026-01-02", None]),
            "number": [1.5, float("nan")],
            "object": pd.Series([None, float("nan")], dtype=object),
        }
    )

    run.log_samples(frame, step=1)

    assert files(run)[0][1:] == [["1", "x", "a", "2026-01-02T00:00:00", "1.5", ""], ["1", "", "", "", "NaN", "NaN"]]


class Odd:
    """Raises whatever is asked of it."""

    def __iter__(self) -> Any:
        raise RuntimeError("no")

    def __str__(self) -> str:
        raise RuntimeError("no")


NOT_ROWS: dict[str, tuple[Any, str]] = {
    "texts": (["a", "b"], "Samples need names for their columns. Give a list of mappings"),
    "a mixture": ([{"a": 1}, 2], "Samples need names for their columns. Give a list of mappings"),
    "a text": ("a", "Samples need names for their columns. Give a list of mappings"),
    "None": (None, "Samples need names for their columns. Give a list of mappings"),
    "a column and a single value": ({"a": [1, 2], "b": 3}, "Of the columns, 'b' is a single value"),
    "columns of two lengths": ({"a": [1, 2], "b": [3]}, "differ in length (a: 2, b: 1)"),
    "odd": (Odd(), "RuntimeError: no"),
}


@pytest.mark.parametrize("what", NOT_ROWS)
def test_what_cannot_be_samples_is_counted(what: str, start: Callable[..., runcast.Run]) -> None:
    """It never raises in the loop, and the reason is kept once; an odd key or step is no obstacle."""
    run, (rows, reason) = start(), NOT_ROWS[what]

    run.log_samples(rows, step=1)
    run.log_samples(rows, step=2)
    run.log_samples([{"a": 1}], step=1.5, key=Odd())  # type: ignore[arg-type]

    [dropped] = records(run, Dropped)
    assert run.statistics().dropped == {"samples": 2}
    assert reason in dropped.reason
    assert files(run) == [[["step", "a"], ["2", "1"]]]
    assert [record.values for record in records(run, Metrics)] == [{"step": 1.5}]


def test_a_secret_in_a_sample_is_gone(start: Callable[..., runcast.Run], tmp_path: Path) -> None:
    """One among many cells, in a text and in a chat."""
    run, secret = start(), "hf_" + "aB3" * 12
    rows: list[dict[str, Any]] = [{"text": f"row {number}", "chat": CHAT} for number in range(200)]
    rows[150] = {"text": f"use {secret} here", "chat": [{"role": "tool", "content": f"HF_TOKEN={secret}"}]}

    run.log_samples(rows, step=1)

    [[_, *lines]] = files(run)
    assert lines[150] == ["1", "use [redacted] here", '[{"role":"tool","content":"HF_TOKEN=[redacted]"}]']
    assert [line for number, line in enumerate(lines) if number != 150] == [
        ["1", f"row {number}", AS_JSON] for number in range(200) if number != 150
    ]
