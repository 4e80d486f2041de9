"""What was counted can be taken as often as it was added, in little memory."""

import tracemalloc
from collections import Counter

from hypothesis import given, strategies as st

from runcast.delivery.marks import MarkCounter

MARKS = st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3))


@given(MARKS, MARKS)
def test_it_counts_as_a_counter_does(added: list[int], taken: list[int]) -> None:
    """What is there may be taken, no more; what is left is what nobody took."""
    counter, model = MarkCounter(added), Counter(added)

    for one in taken:
        assert counter.take(one) is (model[one] > 0)
        model[one] -= 1

    assert Counter(counter.left()) == +model


def test_one_that_came_very_often_is_taken_as_fast() -> None:
    """A value that was logged a hundred thousand times at one step costs no more than others."""
    counter = MarkCounter([7] * 100_000)

    assert all(counter.take(7) for _ in range(100_000))
    assert not counter.take(7)


def test_a_mark_takes_about_twenty_bytes() -> None:
    """A Counter of as many takes ten times as much."""
    tracemalloc.start()
    counter = MarkCounter(map(hash, range(0, 300_000_000, 3000)))
    assert not counter.take(1)
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert size < 25 * 100_000
