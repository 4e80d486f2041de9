"""The runs and the tracker with moods that the tests of deliveries use."""

from tests.delivery.conftest import add_plain, make_run, set_mood

__all__ = ["add_plain", "make_run", "set_mood"]
