"""The cells of a table come back as what they were, from the file and from every tracker that keeps cells."""

import csv
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from runcast.values.media.cells import csv_line, read_table
from runcast.values.media.kinds import Table

CELLS: list[Any] = [
    *("007", "1_000", "1.50", "1e3", "nan", "inf", "-Infinity", "True", "false", "None", "", " ", "a,b", 'say "x"'),
    *("lone\rreturn", "two\r\nlines", "line\n", "größe", "x" * 2**20, "-", "+1", ".5", "0x10", "١"),
    *(None, True, False, 0, -7, 2**53 + 1, 2**70, 0.1, -0.0, 1e300, 5e-324),
]


def same(a: Any, b: Any) -> bool:
    """Tell whether two cells are of one type and value."""
    return type(a) is type(b) and (a == b or (a != a and b != b))


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{type(cell).__name__}-{cell!r}"[:30].replace("\0", ""))
def test_a_cell_comes_back_as_it_was(cell: Any, tmp_path: Path) -> None:
    """Alone in its column, and beside others."""
    path = Table([[cell, 1, "x"], [None, cell, 2.5]], columns=["a", "b,", ""]).save(tmp_path, "table")

    columns, rows = read_table(path)

    assert columns == ["a", "b,", ""]
    assert [list(map(type, row)) for row in rows] == [[type(cell), int, str], [type(None), type(cell), float]]
    assert rows == [[cell, 1, "x"], [None, cell, 2.5]]


def test_numbers_that_are_not_finite_stay_numbers(tmp_path: Path) -> None:
    """NaN and the infinities are floats, and the texts that look like them are texts."""
    path = Table([[math.nan, math.inf, -math.inf, "NaN"]], columns=list("abcd")).save(tmp_path, "table")

    ((a, b, c, d),) = read_table(path)[1]

    assert math.isnan(a)  # type: ignore[arg-type]
    assert (b, c, d) == (math.inf, -math.inf, "NaN")


def test_other_programs_read_the_file(tmp_path: Path) -> None:
    """It is CSV as Python's own reader knows it, and texts that need no quotes have none."""
    path = Table([["007", 1, None], ["word", 0.5, 'a "b"']], columns=["x", "y", "z"]).save(tmp_path, "table")

    assert path.read_text() == 'x,y,z\n"007",1,\nword,0.5,"a ""b"""\n'
    with path.open(newline="") as file:
        assert list(csv.reader(file)) == [["x", "y", "z"], ["007", "1", ""], ["word", "0.5", 'a "b"']]


def test_bytes_are_kept_as_python_writes_them(tmp_path: Path) -> None:
    """Their number alone would tell nothing of them."""
    path = Table([[b"a\xff", bytearray(b"b")]], columns=["x", "y"]).save(tmp_path, "table")

    assert read_table(path)[1] == [[r"b'a\xff'", "b'b'"]]


def test_tables_of_an_older_version_are_read(tmp_path: Path) -> None:
    """Their texts stand bare, and their numbers as now."""
    (tmp_path / "old.csv").write_text('step,word\n1,hello\n2.5,"a, b"\n')

    assert read_table(tmp_path / "old.csv") == (["step", "word"], [[1, "hello"], [2.5, "a, b"]])


@given(
    st.lists(
        st.lists(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=["Cs"])),
            min_size=2,
            max_size=2,
        ),
        max_size=5,
    )
)
def test_any_rows_come_back(tmp_path_factory: pytest.TempPathFactory, rows: list[list[Any]]) -> None:
    """Whatever the cells are, and whichever stand beside each other."""
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes("".join(map(csv_line, [["a", "b"], *rows])).encode())

    columns, found = read_table(path)

    assert columns == ["a", "b"]
    assert len(found) == len(rows)
    assert all(same(a, b) for one, other in zip(found, rows, strict=True) for a, b in zip(one, other, strict=True))


def test_wandb_keeps_the_types_of_cells(tmp_path: Path) -> None:
    """Text stays text, None leaves its column a column of numbers."""
    pytest.importorskip("wandb")
    from runcast.integrations.contract import MediaFile
    from runcast.integrations.wandb.media import as_wandb

    rows = [["007", 1, "1_000"], ["x", None, "lone\rreturn"]]
    path = Table(rows, columns=["a", "b", "c"]).save(tmp_path, "table")

    table = as_wandb(MediaFile("key", 0, "table", path, None, 0.0))

    assert (table.columns, table.data) == (["a", "b", "c"], rows)
