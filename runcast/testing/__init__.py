"""For authors of trackers: `check_tracker`, the contract as checks. For authors of tests: `MemoryTracker`.

    def test_my_tracker_keeps_the_contract(tmp_path):
        runcast.testing.check_tracker(MyTracker, tmp_path)

`python -m runcast.testing NAME FOLDER` does the same in a process of its own. Needs no pytest. Start
reading at `kit.py`.
"""

from runcast.testing.kit import GUARANTEES, BrokenContractError, Check, check_tracker
from runcast.testing.memory import MemoryTracker

__all__ = ["GUARANTEES", "BrokenContractError", "Check", "MemoryTracker", "check_tracker"]
