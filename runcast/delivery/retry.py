"""How long to wait before the next attempt."""

import os

FIRST_S = 1.0
LONGEST_S = 60.0


def backoff_s(attempt: int, wished_s: float | None = None) -> float:
    """Return the pause after the given failed attempt (1, 2, …): doubling, up to a minute, a quarter of it random.

    At least what the service wished.
    """
    pause: float = min(LONGEST_S, FIRST_S * 2.0 ** min(attempt - 1, 10))
    pause *= 0.75 + 0.25 * os.urandom(1)[0] / 255
    return max(pause, min(wished_s or 0.0, 10 * LONGEST_S))
