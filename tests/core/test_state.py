"""What a delivery says of itself can be read by another process at any time."""

from pathlib import Path

import pytest

from runcast.core.state import DeliveryState, load_state, save_state


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Every field survives the way through the file."""
    state = DeliveryState(
        phase="retrying", cursor=10, sending=20, clean=False, points=3, refused={"point: größe": 2},
        renamed={"": "_x_"}, ids={"run_id": "a"}, url="http://127.0.0.1", ending="failed", status="killed",
        error="e", traceback="t", attempts=2, pid=7,
    )  # fmt: skip

    save_state(tmp_path, state)

    assert load_state(tmp_path) == state


@pytest.mark.parametrize("content", [None, b"", b"{", b'{"phase": "dancing"}', b"\xff"])
def test_a_state_that_cannot_be_read_is_none(content: bytes | None, tmp_path: Path) -> None:
    """A tracker that never ran, or whose state is damaged, begins anew and asks the service what it has."""
    if content is not None:
        (tmp_path / "state.json").write_bytes(content)

    assert load_state(tmp_path) is None


def test_states_share_nothing() -> None:
    """Two states begin with collections of their own."""
    one, two = DeliveryState(), DeliveryState()

    one.refused["x"] = 1

    assert two.refused == {}


def test_a_field_of_a_later_version_is_ignored(tmp_path: Path) -> None:
    """An older command line can read a newer delivery's state."""
    (tmp_path / "state.json").write_text('{"phase": "finished", "cursor": 5, "mood": "good"}')

    state = load_state(tmp_path)

    assert state is not None
    assert (state.phase, state.cursor) == ("finished", 5)
