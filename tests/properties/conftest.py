"""How many examples a property is tried with: few in `make test`, many in `make faults` (HYPOTHESIS_PROFILE=faults)."""

import os

from hypothesis import HealthCheck, settings

QUIET = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture)
settings.register_profile("default", max_examples=60, deadline=None, suppress_health_check=QUIET)
settings.register_profile("faults", max_examples=10_000, deadline=None, suppress_health_check=QUIET)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "default")
