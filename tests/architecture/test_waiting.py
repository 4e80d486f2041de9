"""Tests wait for what is meant, not for a while: a fixed sleep is too short on a busy machine, and too long on others."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HERE = Path(__file__)
FILES = sorted(path for path in ROOT.rglob("*.py") if path.relative_to(ROOT).parts[0] != "faults" and path != HERE)
# The fault matrix is a product of its own: there a sleep is the time of a training step, or the fault itself.


def place(path: Path) -> str:
    """Name a file by its path in the tests."""
    return path.relative_to(ROOT).as_posix()


def sleeps(tree: ast.AST, *, polls: bool = False) -> Iterator[int]:
    """Yield the lines of `sleep` calls that are not in a loop which looks at something: a `while` with a condition."""
    for node in ast.iter_child_nodes(tree):
        is_loop = isinstance(node, ast.While) and not isinstance(node.test, ast.Constant)
        looks = polls or is_loop or (isinstance(node, ast.While) and has_assert(node))
        if isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] == "sleep" and not polls:
            yield node.lineno
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "sleep(" in node.value:
            yield from (node.lineno + line - 1 for line in in_script(node.value))
        else:
            yield from sleeps(node, polls=looks)


def has_assert(loop: ast.While) -> bool:
    """Tell whether an endless loop ends by itself, as its deadline is asserted in it."""
    return any(isinstance(node, ast.Assert) for node in ast.walk(loop))


def in_script(text: str) -> Iterator[int]:
    """Yield the lines of such calls in a script that a test runs."""
    try:
        yield from sleeps(ast.parse(text))
    except SyntaxError:  # a part of a script, or a sentence
        return


@pytest.mark.parametrize("path", FILES, ids=place)
def test_a_test_waits_for_what_is_meant(path: Path) -> None:
    """`sleep` stands only in loops that look at something, in the scripts that tests run, too."""
    assert list(sleeps(ast.parse(path.read_text(encoding="utf-8")))) == []


@pytest.mark.parametrize(
    ("code", "lines"),
    [
        ("time.sleep(4)", [1]),
        ("def f():\n    from time import sleep\n    sleep(4)", [3]),
        ("while True:\n    time.sleep(1)", [2]),
        ("for _ in range(9):\n    time.sleep(1)", [2]),
        ("script = '''\nimport time\ntime.sleep(3)\n'''", [3]),
        ("while not ready():\n    time.sleep(0.1)", []),
        ("while True:\n    assert time.monotonic() < deadline\n    time.sleep(0.1)", []),
        ("torch.cuda._sleep(2_000_000)", []),  # keeps a device busy, waits for nothing
    ],
)
def test_a_fixed_sleep_is_found(code: str, lines: list[int]) -> None:
    """The rule above can fail."""
    assert list(sleeps(ast.parse(code))) == lines
