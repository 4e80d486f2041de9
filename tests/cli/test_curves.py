"""Curves made of characters."""

import math

from runcast.cli.curves import plot, sparkline


def test_a_sparkline_has_a_block_per_step() -> None:
    """Eight values that rise evenly are the eight blocks."""
    assert sparkline([(step, float(step)) for step in range(8)], 16) == "▁▂▃▄▅▆▇█"


def test_a_sparkline_is_no_longer_than_its_width() -> None:
    """Many values share a block, which is their mean."""
    assert sparkline([(step, float(step >= 500)) for step in range(1000)], 4) == "▁▁██"


def test_a_constant_is_a_flat_line() -> None:
    """One value all the time is no division by zero."""
    assert sparkline([(0, 3.0), (1, 3.0), (2, 3.0)], 16) == "───"


def test_what_is_not_finite_is_left_out() -> None:
    """NaN and infinity take no room, and nothing else is nothing."""
    assert sparkline([(0, 0.0), (1, math.nan), (2, 7.0), (3, math.inf)], 16) == "▁█"
    assert sparkline([(0, math.nan)], 16) == ""
    assert plot([(0, math.nan)], 40, 4) == []


def test_a_plot_has_its_values_at_the_left_and_its_steps_below() -> None:
    """A straight line from corner to corner, in dots."""
    assert plot([(0, 0.0), (100, 1.0)], 20, 2) == [
        "         1 │⠀⠀⠀⠀⣀⠤⠒⠉",
        "         0 │⣀⠤⠒⠉⠀⠀⠀⠀",
        "            0    100",
    ]


def test_steps_that_go_back_are_drawn_where_they_belong() -> None:
    """The order of logging does not matter to a curve."""
    forth = [(0, 1.0), (1, 2.0), (2, 3.0)]

    assert sparkline(list(reversed(forth)), 16) == sparkline(forth, 16) == "▁▅█"


def test_the_largest_floats_are_drawn() -> None:
    """Their sum and their difference overflow, as the losses of a training that diverges."""
    largest = [(0, -1.7e308), (1, 1.7e308), (1, 1.7e308), (2, -1.7e308)]

    assert sparkline(largest, 3) == "▁█▁"
    assert plot(largest, 20, 2)[0].startswith("  1.7e+308 │")
    assert plot(largest, 20, 2)[1].startswith(" -1.7e+308 │")
