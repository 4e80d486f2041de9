"""An environment whose installed distributions a test decides: folders on `sys.path`, as pip leaves them."""

import difflib  # noqa: F401 - autodetection imports it on the way to an error, when `sys.path` is not the real one
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from runcast.integrations.table import TABLE


class Site:
    """Is a folder of installed packages."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def install(
        self,
        distribution: str,
        version: str,
        package: str | None,
        entry_points: str = "",
        requires: Sequence[str] = (),
    ) -> None:
        """Lay down a distribution's metadata and, unless *package* is None, a package with code."""
        for need in next((row.local_needs for row in TABLE.values() if row.distribution == distribution), ()):
            (self.path / f"{need}-1.0.dist-info").mkdir(parents=True, exist_ok=True)
        metadata = self.path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(
            "\n".join([f"Name: {distribution}", f"Version: {version}", *(f"Requires-Dist: {one}" for one in requires)])
            + "\n\nA description.\n\nRequires-Dist: nothing-at-all\n"
        )
        if entry_points:
            (metadata / "entry_points.txt").write_text(entry_points)
        if package is not None:
            (self.path / package).mkdir()
            for part in next((row.parts for row in TABLE.values() if row.package == package), ()):
                (self.path / package / part).parent.mkdir()
                (self.path / package / part).touch()
            (self.path / package / "__init__.py").write_text(
                "raise AssertionError('autodetection must not import this')\n"
            )

    def install_all(self) -> None:
        """Install every tracker of the table at its tested version."""
        for distribution, row in {row.distribution: row for row in TABLE.values()}.items():
            self.install(distribution, row.tested, row.package)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Make everything disappear but what the test installs."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    for row in TABLE.values():
        monkeypatch.delitem(sys.modules, row.package, raising=False)
    monkeypatch.setattr(sys, "path", [str(folder)])
    return Site(folder)
