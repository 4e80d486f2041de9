"""Tracker classes are found by their name, whatever other threads import."""

import importlib
import sys
import threading
from importlib.machinery import ModuleSpec, SourceFileLoader
from importlib.util import spec_from_file_location
from pathlib import Path

import pytest

from runcast.integrations.contract import Tracker
from runcast.integrations.loading import load_tracker
from tests.waiting import wait_for

TRACKER = """
import {imported}
from runcast.integrations.contract import Tracker

class Crossed(Tracker):
    name = "{name}"
"""
IMPORTED = {"outer": "crossed", "inner": "crossed.inner"}


def test_imports_that_cross_in_two_threads_both_succeed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One begins with a package, the other one with its module, and each holds the lock that the other one needs."""
    package = tmp_path / "crossed" / "__init__.py"
    package.parent.mkdir()
    package.write_text("import crossed.inner")
    package.with_name("inner.py").touch()
    for name, imported in IMPORTED.items():
        (tmp_path / f"crossed_{name}.py").write_text(TRACKER.format(imported=imported, name=name))
    loaded: dict[str, type[Tracker]] = {}

    def load(name: str) -> None:
        loaded[name] = load_tracker(f"crossed_{name}:Crossed")

    outer, inner = (threading.Thread(target=load, args=(name,), name=name) for name in IMPORTED)
    waits = importlib._bootstrap._blocking_on  # type: ignore[attr-defined]  # of each thread: for which locks

    class Crossing(SourceFileLoader):
        """A loader of the package that lets the inner thread come as far as it can before there is a module."""

        def create_module(self, spec: ModuleSpec) -> None:
            if not inner.ident:
                inner.start()
                wait_for(lambda: waits.get(inner.ident))

    class Finder:
        def find_spec(self, name: str, *rest: object) -> ModuleSpec | None:
            if name != "crossed":
                return None
            return spec_from_file_location(name, package, loader=Crossing(name, str(package)))

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "meta_path", [Finder(), *sys.meta_path])
    outer.start()
    outer.join(60)
    inner.join(60)
    for name in [name for name in sys.modules if name.startswith("crossed")]:
        monkeypatch.delitem(sys.modules, name)

    assert {name: tracker.name for name, tracker in loaded.items()} == {"outer": "outer", "inner": "inner"}
