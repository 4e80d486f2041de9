"""Each trainer's example against each tracker, alone and all at once. It takes minutes: `make matrix` plays it."""

import pytest

from tests.adapters.kit import TRACKERS, assert_everywhere_once
from tests.adapters.test_everywhere import SHORT, run_example


@pytest.mark.timeout(600)
@pytest.mark.parametrize("trackers", [TRACKERS, *((name,) for name in TRACKERS)], ids=",".join)
@pytest.mark.parametrize("name", SHORT, ids=lambda name: name.removesuffix(".py"))
def test_each_tracker_has_every_point_once(folder, name, trackers):
    """With everything else of the run, and its status, as the tracker's own reader sees it."""
    assert_everywhere_once(run_example(name, folder, trackers), trackers)
