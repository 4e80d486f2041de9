"""THE table, pyproject.toml and the modules of `integrations` say the same."""

import ast
import re
import sys
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import pytest

import runcast
from runcast.integrations.table import ALIASES, TABLE

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

REPOSITORY = Path(runcast.__file__).parents[1]
SECTIONS = ("Needs:", "Writes:", "Drops:", "Limits")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    """Read the table `project` of pyproject.toml."""
    return dict(tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"])


def tree_of(name: str) -> ast.Module:
    """Parse the module of a tracker, or the first one of its package."""
    place = REPOSITORY / TABLE[name].tracker.partition(":")[0].replace(".", "/")
    path = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))


def test_the_trackers_are_these() -> None:
    """The first rank and the others, under the names that people write in `report_to`; meters are last."""
    first = ["wandb", "mlflow", "comet_ml", "clearml", "dvclive", "tensorboard", "codecarbon", "system"]

    assert [name for name, row in TABLE.items() if row.extra == "all"] == first
    assert list(TABLE) == [*first[:-2], "swanlab", "trackio", "dagshub", "azure_ml", "flyte", "aim", *first[-2:]]


def test_an_alias_is_no_other_trackers_name() -> None:
    """An alias leads to a row and hides none."""
    assert ALIASES["comet"] == "comet_ml"
    assert set(ALIASES.values()) <= set(TABLE)
    assert not set(ALIASES) & set(TABLE)


@pytest.mark.parametrize("name", TABLE)
def test_a_row_has_its_extra(name: str, project: dict[str, Any]) -> None:
    """`pip install 'runcast[NAME]'`, which our messages recommend, installs the row's distribution."""
    row = TABLE[name]

    assert re.fullmatch(r"pip install 'runcast\[(.*)\]'", row.install)[1] in metadata("runcast").get_all(
        "Provides-Extra"
    )  # type: ignore[index]
    marker = f"; python_version < '{row.below}'" if row.below else ""
    assert project["optional-dependencies"][name] == [f"{row.distribution}>={row.minimum}{marker}"]


@pytest.mark.parametrize("extra", ["all", "more"])
def test_two_extras_name_every_row(extra: str, project: dict[str, Any]) -> None:
    """`runcast[all]` is all of the first rank, `runcast[more]` those of the rest that can live with them."""
    named = re.fullmatch(r"runcast\[(.*)\]", project["optional-dependencies"][extra][0])

    assert named is not None
    assert named[1].split(",") == [name for name, row in TABLE.items() if row.extra == extra]


@pytest.mark.parametrize("name", TABLE)
def test_the_tested_version_is_the_pinned_one(name: str) -> None:
    """The version that a row calls tested is the one that constraints.txt installs."""
    row = TABLE[name]
    pins = dict(
        re.findall(r"^([\w.-]+)==(\S+)", (REPOSITORY / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    )

    assert {key.lower().replace("_", "-"): version for key, version in pins.items()}[row.distribution] == row.tested


@pytest.mark.parametrize("name", TABLE)
def test_an_integration_says_what_it_needs_writes_and_drops(name: str) -> None:
    """The docstring of each integration has the sections from which its page is made, in the same order."""
    document = ast.get_docstring(tree_of(name)) or ""

    places = [document.find(f"\n{section}") for section in SECTIONS]
    assert -1 not in places, f"missing: {[s for s, p in zip(SECTIONS, places, strict=True) if p == -1]}"
    assert places == sorted(places)
    assert TABLE[name].tested in document
    assert re.search(r"20\d\d-\d\d-\d\d", document), "no date says when the limits were read"


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if not row.over])
def test_a_place_is_short(name: str) -> None:
    """A Tracker has at most 180 lines, what is peculiar to its SDK 120, and its reader, as any other file, 200."""
    limits = {"__init__.py": 180, "sdk.py": 120}
    files = (REPOSITORY / "runcast" / "integrations" / name).glob("*.py")
    lines = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in files}

    assert {"__init__.py", *(["reader.py"] if name != "system" else [])} <= set(lines)  # which keeps nothing to read
    assert {file: count for file, count in lines.items() if count > limits.get(file, 200)} == {}


@pytest.mark.parametrize("name", TABLE)
def test_an_integration_has_the_tracker_that_its_row_names(name: str) -> None:
    """The row's class is there, with the row's name: a direct child of Tracker, or of that of the row that it is over."""
    wanted = TABLE[name].tracker.partition(":")[2]
    found = next(node for node in tree_of(name).body if isinstance(node, ast.ClassDef) and node.name == wanted)

    over = TABLE.get(TABLE[name].over)
    assert [ast.unparse(base) for base in found.bases] == [over.tracker.partition(":")[2] if over else "Tracker"]
    names = {ast.unparse(node) for node in found.body if isinstance(node, ast.Assign | ast.AnnAssign)}
    assert f"name = '{name}'" in names


@pytest.mark.parametrize("name", TABLE)
def test_an_integration_reads_like_its_siblings(name: str) -> None:
    """The methods of every tracker come in the order of the contract."""
    order = [
        "__init__",
        "setup",
        "log_params",
        "log_metrics",
        "log_summary",
        "add_tags",
        "log_media",
        "log_artifact",
        "measure",
        "flush",
        "finish",
        "explain",
        "exists",
        "read",
    ]
    wanted = TABLE[name].tracker.partition(":")[2]
    found = next(node for node in tree_of(name).body if isinstance(node, ast.ClassDef) and node.name == wanted)
    methods = [node.name for node in found.body if isinstance(node, ast.FunctionDef) and node.name in order]

    assert methods == sorted(methods, key=order.index)
