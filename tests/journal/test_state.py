"""What a delivery says of itself can be read by another process at any time."""

import time
from pathlib import Path
from typing import Any

import pytest

from runcast.delivery.sending.refusals import is_delivered
from runcast.journal.records import Metrics, encode
from runcast.journal.state import DeliveryState, Waiting, is_over, load_state, save_ids, save_state, waiting_for


def test_a_state_is_read_as_it_was_written(tmp_path: Path) -> None:
    """Every field survives the way through the file."""
    state = DeliveryState(
        phase="retrying", cursor=10, sending=20, clean=False, points=3, refused={"point: größe": 2},
        renamed={"": "_x_"}, ids={"run_id": "a"}, url="http://127.0.0.1", ending="failed", status="killed",
        error="e", traceback="t", attempts=2, pid=7,
    )  # fmt: skip

    save_state(tmp_path, state)

    assert load_state(tmp_path) == state


def test_what_waits_for_a_tracker_is_counted_with_its_age(tmp_path: Path) -> None:
    """Behind the cursor there are two records of three points, the older one 40 s old; its own measurement does not wait."""
    now = time.time()
    records = [
        Metrics(time=now - 90, step=0, values={"loss": 1.0}),
        Metrics(time=now - 60, step=0, values={"energy": 1.0}, by="meter"),
        Metrics(time=now - 40, step=1, values={"loss": 1.0, "acc": 1.0}),
        Metrics(time=now - 10, step=2, values={"loss": 1.0}),
    ]
    lines = [encode(record) + b"\n" for record in records]
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(b"".join(lines))

    found = waiting_for(journal, "meter", len(lines[0]))
    nothing = waiting_for(journal, "meter", len(b"".join(lines)))

    assert found.points == 3
    assert found.lag_s == pytest.approx(40, abs=5)
    assert nothing == waiting_for(tmp_path / "gone", "meter", 0) == Waiting(0, 0.0)


def test_a_tracker_that_never_ran_has_no_state(tmp_path: Path) -> None:
    """There is nothing in its folder, or no folder."""
    assert load_state(tmp_path) is None
    assert load_state(tmp_path / "missing") is None


DAMAGED = (
    *(b"", b" ", b"{", b"{}", b"[]", b"null", b"7", b'"finished"', b"\xff", b"\x00" * 200, b"[" * 100_000),
    *(b'{"phase": "dancing"}', b'{"phase": "finished", "cursor": "5"}', b'{"phase": "finished", "cursor": -5}'),
    b'{"phase": "finished", "cursor": 812, "points": 20, "ids": {"run_id',
    *(b'{"phase": "finish\xe4d", "cursor": 812}', b'{"phase": "finished", "ids": {"run_id": "\xff"}}'),
)


@pytest.mark.parametrize("content", DAMAGED, ids=range(len(DAMAGED)))
def test_a_damaged_state_is_not_nothing(content: bytes, tmp_path: Path) -> None:
    """What cannot be read says that everything may have arrived, from a process that was cut off."""
    (tmp_path / "state.json").write_bytes(content)

    state = load_state(tmp_path)

    assert state is not None
    assert (state.phase, state.clean, state.cursor, state.sending > 10**15) == ("unknown", False, 0, True)
    assert "state.json is damaged, so it is unknown what was delivered" in (state.error or "")


def test_what_a_tracker_calls_the_run_survives_its_state(tmp_path: Path) -> None:
    """The ids and the address are kept apart; a state that was deleted beside them is missed."""
    state = DeliveryState(ids={"run_id": "a"}, url="http://127.0.0.1")
    save_state(tmp_path, state)
    save_ids(tmp_path, state)

    (tmp_path / "state.json").write_bytes(b"")
    emptied = load_state(tmp_path)
    (tmp_path / "state.json").unlink()
    deleted = load_state(tmp_path)

    for found in (emptied, deleted):
        assert found is not None
        assert (found.phase, found.ids, found.url) == ("unknown", {"run_id": "a"}, "http://127.0.0.1")


def test_a_folder_in_place_of_a_state_is_unknown(tmp_path: Path) -> None:
    """It is no more readable than damage is."""
    (tmp_path / "state.json").mkdir()

    state = load_state(tmp_path)

    assert state is not None
    assert (state.phase, "cannot be read (Is a directory)" in (state.error or "")) == ("unknown", True)


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


@pytest.mark.parametrize(
    ("phase", "session", "over"),
    [
        ("finished", 1, False),  # of the session before
        ("refused", 1, False),
        ("delivering", 2, False),
        ("suspended", 2, False),
        ("finished", 2, True),
        ("refused", 2, True),
        ("delivering", 3, True),  # a newer one has taken over
        ("unknown", 0, False),
    ],
)
def test_over_is_said_of_a_session(phase: str, session: int, over: bool) -> None:
    """The end of an earlier session is not the end of this one."""
    assert is_over(DeliveryState(phase=phase, session=session), 2) is over  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "delivered"),
    [
        ({}, True),
        ({"session": 1}, False),
        ({"phase": "refused"}, False),
        ({"cursor": 99}, False),
        ({"refused": {"point: no": 1}}, False),
        ({"refused": {"artifacts: not supported by this tracker": 1}}, True),
        ({"phase": "delivering"}, False),
        ({"phase": "delivering", "session": 3}, True),
    ],
)
def test_delivered_means_all_of_it(changes: dict[str, Any], delivered: bool) -> None:
    """Every record of the session, none refused, and the run closed."""
    state = DeliveryState(**{"phase": "finished", "session": 2, "cursor": 100, **changes})

    assert is_delivered(state, 2, 100) is delivered
