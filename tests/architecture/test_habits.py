"""Habits that a reader may rely on in every file."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

import runcast

ROOT = Path(runcast.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
LONGEST = 300
VERB = re.compile(
    r"Is|Are|Has|(Hold|Say|Tell|Carr(y|ie)|Open|Refer|Add|End|Write|Keep|Call|Collect|Count|Read|Make|Give|Send|Find|Measure|"
    r"Report|Stop|Show|Log|Let|Raise|Take|Run|Append|Copie|Name|Draw|Print|Save|Train|Mean|Watch|Push|Compute|Set|Post|"
    r"Notice|Note|Play|List|Answer|Receive|Appl(y|ie)|Wait|Start|Return|Move|Map|Deliver)s"
)

# Where every exception may be caught, and why: nothing else may hide a mistake.
CATCHES_ALL = {
    "core/foreign.py": "what a user gives may raise anything, and so may a user's own logging handler",
    "values/config.py": "a config's own code may raise anything",
    "core/handler.py": "a user's callback may raise anything",
    "callbacks/hub/upload.py": "a hub's client, in a child process, may raise anything",
    "run/recording.py": "an odd key or value, or a dict that another thread changes, takes the slow way",
    "values/numbers.py": "a value's own code may raise anything",
    "delivery/attempts.py": "an SDK may raise anything",
    "integrations/loading.py": "importing an SDK runs foreign code",
    "integrations/open_runs.py": "an SDK of the script's may be half imported",
    "testing/kit.py": "a tracker under test may raise anything",
    "trainer/checkpoints/saving.py": "whatever fails while a failed training waits for its save, the failure is raised",
    "trainer/ranks/ranks.py": "what one rank raises, the others have to know before it is raised again",
}


def place(path: Path) -> str:
    """Name a file by its path in the package."""
    return path.relative_to(ROOT).as_posix()


def ends_in_raise(handler: ast.ExceptHandler) -> bool:
    """Tell whether a handler raises again what it caught."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


@pytest.mark.parametrize("path", FILES, ids=place)
def test_every_exception_is_caught_only_where_that_is_the_point(path: Path) -> None:
    """`except Exception` stands in few named places; elsewhere, who catches everything raises it again.

    Who catches BaseException first passes on an interrupt, an exit, and what a signal handler has raised.
    """
    text = path.read_text(encoding="utf-8")
    handlers = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ExceptHandler)]
    swallowed = [
        ast.unparse(handler.type) if handler.type else "BaseException"
        for handler in handlers
        if not ends_in_raise(handler)
    ]

    assert swallowed.count("BaseException") <= len(re.findall(r"^ +pass_on\(\w+\)$", text, re.MULTILINE))
    if place(path) not in CATCHES_ALL:
        assert "Exception" not in swallowed


@pytest.mark.parametrize("path", FILES, ids=place)
def test_a_file_can_be_read_in_one_go(path: Path) -> None:
    """No file has more than 300 lines."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= LONGEST


@pytest.mark.parametrize("path", FILES, ids=place)
def test_a_module_holds_no_state(path: Path) -> None:
    """What a module assigns in lower case would be a mutable global: modules hold constants, functions and classes."""
    bodies = ast.parse(path.read_text(encoding="utf-8")).body
    names = [
        target.id
        for node in bodies
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    ]
    mutable = {
        "log",
        "_log",
        "_encoder",
        "_decoder",
        "encode",
        "decode",
        "app",
    }  # one object each, which nobody changes

    assert [
        name
        for name in names
        if not (
            name.isupper() or name.startswith("__") or name in mutable or name[:1].isupper() or name.upper() == name
        )
    ] == []


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.name == "__init__.py" and path.parent.parent == ROOT], ids=place
)
def test_a_room_says_what_it_is_in_a_few_lines(path: Path) -> None:
    """The `__init__.py` of each has a docstring and is short; that of one thing inside a room holds the thing."""
    text = path.read_text(encoding="utf-8")

    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= 15


def test_no_two_modules_of_a_room_share_a_first_sentence() -> None:
    """Every module begins with a sentence of its own."""
    sentences = Counter(
        (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or place(path)).split("\n")[0] for path in FILES
    )

    assert [sentence for sentence, count in sentences.items() if count > 1] == []


@pytest.mark.parametrize("path", FILES, ids=place)
def test_a_class_is_described_by_a_noun_phrase(path: Path) -> None:
    """The first word of its docstring is no verb that says what the class does: "The journal of …", not "Holds …"."""
    classes = [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ClassDef)]
    first = {node.name: (ast.get_docstring(node) or " ").split()[:1] for node in classes}

    assert [name for name, words in first.items() if words and VERB.fullmatch(words[0])] == []
