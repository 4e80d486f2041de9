"""Values that could not be kept are counted where people look."""

from collections.abc import Callable

import runcast
from runcast.history.overview import overview
from runcast.history.views.contents import contents
from runcast.history.views.dropped import DroppedValues, dropped_values
from runcast.journal.layout import RunDirectory

Start = Callable[..., runcast.Run]


def test_dropped_values_are_counted_by_key(start: Start) -> None:
    """Every one is counted, with the reason of the first; while the run trains, at least the first is known."""
    run = start()
    for step in range(3):
        run.log({"nothing": None, "loss": 0.5}, step=step)
    run.log({"list": [1]}, step=3)
    directory = RunDirectory(run.dir)

    during = dropped_values(directory.journal)
    run.finish()

    assert {key: one.count for key, one in during.items()} == {"nothing": 1, "list": 1}
    assert dropped_values(directory.journal) == {
        "nothing": DroppedValues(count=3, reason="is None. Leave it out, or log float('nan')"),
        "list": DroppedValues(count=1, reason="is a list. Log its mean, or wrap it in runcast.Histogram to keep it"),
    }
    assert overview(directory).dropped == 4
    assert contents(directory).dropped["nothing"].count == 3
