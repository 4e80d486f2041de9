"""A file system without hard and symbolic links, as FAT and some network shares are: MLflow starts and takes files."""

import os
from pathlib import Path
from typing import Any

import pytest

mlflow = pytest.importorskip("mlflow")


def refuse(*_: object, **__: object) -> Any:
    """Raise as such a file system does."""
    raise PermissionError(1, "Operation not permitted")


def test_a_store_is_put_in_place_without_hard_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The new store is moved; one that is there already is kept."""
    from runcast.integrations.mlflow.store import put_in_place

    monkeypatch.setattr(os, "link", refuse)
    for content in ("first", "second"):
        (tmp_path / "new").write_text(content)
        put_in_place(tmp_path / "new", tmp_path / "store")

    assert (tmp_path / "store").read_text() == "first"


def test_a_file_gets_its_name_without_symbolic_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is copied under the name that MLflow is to store."""
    from runcast.integrations.mlflow.files import under_name

    monkeypatch.setattr(os, "symlink", refuse)
    (tmp_path / "file").write_text("content")

    assert under_name(tmp_path / "file", tmp_path / "wanted").read_text() == "content"
