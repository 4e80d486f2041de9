"""Imports point one way, as DESIGN.md's rooms say; reading them needs no import."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import runcast
from runcast.integrations.table import TABLE

ROOT = Path(runcast.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

# A room may import the rooms above it. `runcast/__init__.py` resolves names lazily and holds the version.
ROOMS = (
    *("core", "redaction", "values", "journal", "integrations", "autodetect", "delivery", "run"),
    *("callbacks", "adapters", "trainer", "history", "cli", "testing"),
)
SDKS = {row.package for row in TABLE.values()} - {"psutil"}  # which is a dependency of ours, too
# The adapters' frameworks: the module of that name imports it, and nothing else does.
FRAMEWORKS = {"accelerate", "ignite", "keras", "lightning", "lightning_fabric", "pytorch_lightning", "transformers"}
FRAMEWORKS |= {"ultralytics"}
HEAVY = {*SDKS, *FRAMEWORKS, "torch", "numpy", "PIL", "matplotlib", "pandas"}


def imported(path: Path) -> Iterator[tuple[str, bool]]:
    """Yield each module that a file imports, and whether it does so when it is itself imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, id(node) not in inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield node.module or "", id(node) not in inside
            yield from ((f"{node.module}.{alias.name}", id(node) not in inside) for alias in node.names)


def place(path: Path) -> str:
    """Name a file by its path in the package."""
    return path.relative_to(ROOT).as_posix()


def room(module: str) -> str:
    """Return the room of a module of ours: `runcast.run.init` is in `run`; the empty word is the package itself."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else ""


def test_the_rooms_are_these() -> None:
    """Every folder of the package has its place in the order."""
    assert sorted(ROOMS) == sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))


@pytest.mark.parametrize("path", FILES, ids=place)
def test_a_file_imports_only_what_its_room_may(path: Path) -> None:
    """No arrow points up, whenever it is followed; `core` imports nobody."""
    own = place(path).split("/")[0].removesuffix(".py")
    if own in ("__init__", "__main__"):
        return
    allowed = {*ROOMS[: ROOMS.index(own) + 1], ""}

    assert {room(module) for module, _ in imported(path) if module.split(".")[0] == "runcast"} <= allowed


def test_no_files_import_each_other() -> None:
    """No circle, not for annotations and not inside a function either: each file can be read after those that it uses."""
    modules = {place(path).removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in FILES}
    uses = {}
    for name, path in modules.items():
        used = {found.removeprefix("runcast.") for found, _ in imported(path)} & set(modules) - {name}
        uses[name] = {one for one in used if not any(other.startswith(f"{one}.") for other in used)}  # not its package

    while free := {name for name, used in uses.items() if not used & set(uses)}:
        uses = {name: used for name, used in uses.items() if name not in free}

    assert sorted(uses) == []


@pytest.mark.parametrize("folder", sorted({path.parent for path in FILES}), ids=lambda path: path.name)
def test_a_room_can_be_overlooked(folder: Path) -> None:
    """A folder has at most sixteen files of its own."""
    assert len(list(folder.glob("*.py"))) <= 17


def test_core_is_thin() -> None:
    """The callback core: at most 700 lines."""
    assert sum(len(path.read_text(encoding="utf-8").splitlines()) for path in (ROOT / "core").glob("*.py")) <= 700


@pytest.mark.parametrize("path", FILES, ids=place)
def test_an_sdk_is_imported_only_by_its_integration(path: Path) -> None:
    """Each SDK is imported in one place: the package of that name in `integrations`."""
    parts = place(path).split("/")
    packages = {module.split(".")[0] for module, _ in imported(path)} & SDKS
    place_of = parts[1].removesuffix(".py") if parts[0] == "integrations" else ""
    own = next((row.package for row in TABLE.values() if row.name == place_of), None)

    assert packages <= {own}


@pytest.mark.parametrize("path", FILES, ids=place)
def test_a_framework_is_imported_only_by_its_adapter(path: Path) -> None:
    """An adapter imports its one framework, under whichever of its names, and so do its parts; elsewhere there is none."""
    packages = {module.split(".")[0] for module, _ in imported(path)} & FRAMEWORKS
    own = Path(place(path).split("/")[1]).stem if place(path).startswith("adapters/") else "none"

    assert all(own in package for package in packages)


@pytest.mark.parametrize(
    "path",
    [path for path in FILES if place(path).split("/")[0] not in ("integrations", "adapters", "trainer", "testing")],
    ids=place,
)
def test_nothing_heavy_is_imported_before_it_is_needed(path: Path) -> None:
    """What a script or the command line imports loads neither torch nor NumPy nor any SDK when imported."""
    assert not {module.split(".")[0] for module, early in imported(path) if early} & HEAVY


@pytest.mark.parametrize(
    ("module", "too_much"),
    [
        (
            "runcast",
            {
                *HEAVY,
                "msgspec",
                "psutil",
                "rich",
                "typer",
                "asyncio",
                "importlib.metadata",
                "runcast.core",
                "runcast.integrations",
            },
        ),
        (
            "runcast.run.init",
            {
                *HEAVY,
                "psutil",
                "rich",
                "typer",
                "asyncio",
                "importlib.metadata",
                "runcast.delivery.courier.children",
                "runcast.autodetect.selection",
            },
        ),
        ("runcast.autodetect", {*HEAVY, "psutil", "rich", "typer", "importlib.metadata"}),
        ("runcast.delivery.courier.carriers", {*HEAVY, "rich", "typer"}),
        ("runcast.testing", {*HEAVY, "pytest", "rich", "typer"}),
        ("runcast.adapters", {*HEAVY, "rich", "typer", "runcast.core"}),
        ("runcast.adapters.transformers", {*HEAVY, "rich", "typer"}),
    ],
)
def test_importing_loads_no_more_than_it_says(module: str, too_much: set[str]) -> None:
    """`import runcast` costs next to nothing, and no module of ours drags in torch, NumPy or a tracker."""
    code = f"import sys, {module}; print(*sys.modules)"

    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )

    assert module in loaded
    assert not loaded & too_much
