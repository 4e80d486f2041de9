"""How long a delivery waits before it tries again."""

import pytest

from runcast.delivery.attempts import backoff_s


@pytest.mark.parametrize(
    ("attempt", "longest"), [(1, 1.0), (2, 2.0), (3, 4.0), (6, 32.0), (7, 60.0), (8, 60.0), (10_000, 60.0)]
)
def test_pauses_double_up_to_a_minute(attempt: int, longest: float) -> None:
    """Each pause is up to twice the one before, at most a minute, and up to a quarter shorter at random."""
    pauses = [backoff_s(attempt) for _ in range(200)]

    assert all(0.75 * longest <= pause <= longest for pause in pauses)
    assert len(set(pauses)) > 10


def test_the_service_may_wish_for_a_longer_pause() -> None:
    """A wish of the service is kept, unless it is shorter than our own pause or absurd."""
    assert backoff_s(1, 20.0) == 20.0
    assert backoff_s(7, 1.0) >= 45.0
    assert backoff_s(1, 10**9) == 600.0
