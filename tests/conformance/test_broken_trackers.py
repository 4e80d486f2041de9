"""The kit itself: a good tracker passes every check, and each check is failed by one that breaks its promise."""

from pathlib import Path

import pytest

from runcast.core.errors import OptionError
from runcast.testing import GUARANTEES, BrokenContractError, MemoryTracker, check_tracker
from tests.conformance.broken_trackers import BROKEN, open_foreign_run

LONG = ("artifacts", "batches", "media", "sudden_death", "values")  # take more than all the others together
QUICK = tuple(name for name in GUARANTEES if name not in LONG)


class Meter(MemoryTracker):
    measures = True

    def measure(self, final: bool) -> dict[str, float]:
        return {"energy": 1.5} if final else {}


def test_the_reference_tracker_passes_every_check(tmp_path: Path) -> None:
    """`MemoryTracker` keeps every promise, and nothing but the check for meters is skipped."""
    checks = check_tracker(MemoryTracker, tmp_path, foreign=open_foreign_run)

    assert {check.name: check.outcome for check in checks if check.outcome != "passed"} == {"measurements": "skipped"}


def test_every_check_has_a_broken_tracker() -> None:
    """No check is without a tracker that shows that it can fail."""
    assert set(BROKEN) == set(GUARANTEES)


@pytest.mark.parametrize("name", GUARANTEES)
@pytest.mark.parametrize("others", [QUICK, pytest.param(tuple(GUARANTEES), marks=pytest.mark.matrix)], ids=("", "all"))
def test_a_broken_tracker_fails_its_check_and_no_other(name: str, others: tuple[str, ...], tmp_path: Path) -> None:
    """A tracker that breaks one promise is told which."""
    with pytest.raises(BrokenContractError) as caught:
        check_tracker(BROKEN[name], tmp_path, only=[*others, name], foreign=open_foreign_run)

    failed = {check.name: check.detail for check in caught.value.checks if check.outcome == "failed"}
    assert list(failed) == [name], failed


def test_the_report_says_what_is_wrong_in_words(tmp_path: Path) -> None:
    """The error names the tracker, the promise, and the points that are missing."""
    with pytest.raises(BrokenContractError) as caught:
        check_tracker(BROKEN["steps"], tmp_path, only=["times", "steps"])

    assert str(caught.value).splitlines() == [
        "KnowsNoNegativeStep fails 1 of 2 checks",
        "  steps: A point keeps its step when steps repeat, go back, are negative or are huge.",
        (
            "      1 of 9 points are missing: ('loss', -5, 0.625); "
            "1 points are read that were not logged, or not as often: ('loss', 0, 0.625)"
        ),
    ]


def test_a_meter_passes(tmp_path: Path) -> None:
    """A tracker that measures, and whose measurements reach the journal, passes."""
    checks = check_tracker(Meter, tmp_path, only=["measurements", "open_run"])

    assert [check.outcome for check in checks] == ["passed", "passed"]


def test_what_a_tracker_does_not_hold_is_skipped_with_a_reason(tmp_path: Path) -> None:
    """A check of tags is skipped for a tracker that declares none."""

    class Tagless(MemoryTracker):
        supports = MemoryTracker.supports - {"tags"}

    checks = {check.name: check for check in check_tracker(Tagless, tmp_path, only=["tags", "sudden_death", "steps"])}

    assert {name: check.outcome for name, check in checks.items()} == {
        "sudden_death": "skipped",
        "steps": "passed",
        "tags": "skipped",
    }
    assert checks["tags"].detail == "it holds no tags"
    assert "put it at the top level of a module" in checks["sudden_death"].detail


def test_a_tracker_that_raises_fails_with_its_traceback(tmp_path: Path) -> None:
    """An exception of a tracker fails the checks that met it, with the place where it was raised."""

    class Raises(MemoryTracker):
        def read(self, run: object) -> None:  # type: ignore[override]
            raise ZeroDivisionError("in read")

    with pytest.raises(BrokenContractError, match="in read"):
        check_tracker(Raises, tmp_path, only=["steps"])


def test_an_unknown_check_is_an_error(tmp_path: Path) -> None:
    """`only` names the valid checks when one of its names is wrong."""
    with pytest.raises(OptionError, match=r"no check 'stepz'\. Valid names are: declaration, kinds, construction, .*"):
        check_tracker(MemoryTracker, tmp_path, only=["stepz"])
