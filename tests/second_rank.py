"""The trackers of the second rank, whose SDKs `make trackers` sets up in an environment of their own."""

from typing import Any

import pytest

from runcast.integrations.table import TABLE

FIRST = [name for name, row in TABLE.items() if row.extra == "all"]


def marked(name: str, *values: Any) -> Any:
    """Return a parameter of a test that needs a tracker's SDK."""
    return pytest.param(name, *values, marks=[] if name in FIRST else [pytest.mark.trackers])


EACH = [marked(name) for name, row in TABLE.items() if row.extra != "apart"]  # the others have a test of their own
