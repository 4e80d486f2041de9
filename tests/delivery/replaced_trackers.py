"""A tracker of a third party that calls its run's id something of its own."""

from runcast.integrations.contract import TrackedRun
from runcast.testing import MemoryTracker


class Replaced(MemoryTracker):
    """Finds its run gone when the file `gone` lies there, and begins an empty one under another ticket."""

    name = "replaced"

    def setup(self, run: TrackedRun) -> None:
        gone = run.local / "gone"
        if gone.exists():
            gone.unlink()
            self.path_of(run).unlink()
            run.remember(ticket="B-2", opened="again")
        else:
            run.remember(ticket="A-1", opened="first")
        super().setup(run)


class Choosy(Replaced):
    """Says that only one of its ids tells one run from another."""

    name = "choosy"
    identities = frozenset(("ticket",))
