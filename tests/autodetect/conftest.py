"""An environment whose installed distributions a test decides: folders on `sys.path`, as pip leaves them."""

import difflib  # noqa: F401 - autodetection imports it on the way to an error, when `sys.path` is not the real one
import sys
from pathlib import Path

import pytest

from runcast.integrations.table import TABLE


class Site:
    """Is a folder of installed packages."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def install(self, distribution: str, version: str, package: str | None, entry_points: str = "") -> None:
        """Lay down a distribution's metadata and, unless *package* is None, a package with code."""
        metadata = self.path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(f"Name: {distribution}\nVersion: {version}\n")
        if entry_points:
            (metadata / "entry_points.txt").write_text(entry_points)
        if package is not None:
            (self.path / package).mkdir()
            (self.path / package / "__init__.py").write_text(
                "raise AssertionError('autodetection must not import this')\n"
            )

    def install_all(self) -> None:
        """Install every tracker of the table at its tested version."""
        for row in TABLE.values():
            self.install(row.distribution, row.tested, row.package)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Make everything disappear but what the test installs."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    for row in TABLE.values():
        monkeypatch.delitem(sys.modules, row.package, raising=False)
    monkeypatch.setattr(sys, "path", [str(folder)])
    return Site(folder)
