"""How many examples a property is tried with: few in `make test`, many in `make faults` (HYPOTHESIS_PROFILE=faults)."""

import os
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, settings

PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "default")
EXAMPLES = {"default": 50, "faults": int(os.environ.get("HYPOTHESIS_EXAMPLES", "8000"))}
QUIET = (
    HealthCheck.too_slow,
    HealthCheck.data_too_large,
    HealthCheck.function_scoped_fixture,
    HealthCheck.filter_too_much,
)


def examples(share: float = 1.0) -> Callable[[Any], Any]:
    """Try a property with the profile's number of examples, or a share of it where one takes long.

    The few of every day are always the same ones, so that a build does not fail by chance; the many are new each time.
    """
    return settings(
        max_examples=max(10, round(EXAMPLES[PROFILE] * share)),
        derandomize=PROFILE == "default",
        database=None,
        deadline=None,
        suppress_health_check=QUIET,
    )
