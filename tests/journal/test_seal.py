"""The key of a user's seals, which several first runs may want to make at once."""

from pathlib import Path

import pytest

from runcast.journal import seal
from runcast.journal.layout import RunFile


def file(id: str) -> RunFile:
    """Describe a run without trackers."""
    return RunFile(id=id, name=id, project="p", created=0.0, started=0.0)


def test_two_first_runs_at_once_have_one_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second one has found no key, and the first has made one by the time that it makes its own."""
    first = file("one")
    read, is_first_look = seal._read, True

    def read_too_early(path: Path) -> bytes | None:
        nonlocal is_first_look
        if is_first_look:
            is_first_look = False
            assert read(path) is None
            first.seal = seal.seal_of(first)
            return None
        return read(path)

    monkeypatch.setattr(seal, "_read", read_too_early)
    second = file("two")
    second.seal = seal.seal_of(second)

    assert first.seal
    assert seal.is_own(first)
    assert seal.is_own(second)


def test_a_damaged_key_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that were sealed with it are nobody's own, and new ones are."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    old = file("old")
    old.seal = seal.seal_of(old)
    (tmp_path / "runcast" / "key").write_bytes(b"cut")
    new = file("new")
    new.seal = seal.seal_of(new)

    assert not seal.is_own(old)
    assert seal.is_own(new)
    assert [path.name for path in (tmp_path / "runcast").iterdir()] == ["key"]
