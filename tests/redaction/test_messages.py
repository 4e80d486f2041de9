"""What a run prints: short, also in a terminal that knows little."""

import codecs
import io
import sys

import pytest

from runcast.redaction.console import counted, in_ascii, say, warn


def test_a_number_has_the_right_form_of_its_noun() -> None:
    """One artifact, two artifacts."""
    assert counted(1, "artifact") == "1 artifact"
    assert counted(2000, "artifact") == "2,000 artifacts"
    assert counted(0, "point is", "points are") == "0 points are"


def test_a_long_message_is_cut_in_the_middle(caplog: pytest.LogCaptureFixture) -> None:
    """A page of HTML from a server is not printed; the end, with the command that helps, is."""
    warn(f"wandb has failed: {'<html>' * 2000}. Fix the cause, then run: runcast sync runs/a")

    (printed,) = caplog.messages
    assert len(printed) < 1300
    assert printed.startswith("wandb has failed: <html>")
    assert printed.endswith("Fix the cause, then run: runcast sync runs/a")


def test_ascii_gets_lookalikes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Arrows, dashes and bars have one that looks alike, and the width stays the same."""
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(buffer, encoding="ascii"))
    codecs.register_error("runcast", in_ascii)

    say("a → b")

    assert buffer.getvalue() == b"runcast: a > b\n"
    assert "✓ – ▁█ ⠁ é".encode("ascii", "runcast") == b"+ - _# * \\xe9"


def test_a_message_is_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the end of its line: else the messages of two threads, such as Optuna's `n_jobs`, share a line."""
    written: list[str] = []

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            written.append(text)
            return len(text)

    monkeypatch.setattr(sys, "stderr", Stream())

    say("a")
    say("b")

    assert list(filter(None, written)) == ["runcast: a\n", "runcast: b\n"]
