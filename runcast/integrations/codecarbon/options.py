"""CodeCarbon's options: the user's, its own variables and files, and our defaults. Seen in codecarbon 3.3.2."""

from collections.abc import Mapping
from typing import Any

from codecarbon.core.config import get_hierarchical_config
from codecarbon.input import DataSource

from runcast.integrations.codecarbon.reader import file_of
from runcast.integrations.contract import TrackedRun


def configured() -> dict[str, str]:
    """Read the variables and files with which the user has configured CodeCarbon."""
    return dict(get_hierarchical_config())


def arguments_for(run: TrackedRun, configured: Mapping[str, str]) -> dict[str, Any]:
    """List what to pass to CodeCarbon, which reads what is configured itself, after the arguments."""
    defaults = {"output_dir": str(run.local), "log_level": "warning"}
    names = {"project_name": run.project, "experiment_name": run.name}
    arguments: dict[str, Any] = {key: value for key, value in (defaults | names).items() if key not in configured}
    if "project" in run.given:
        arguments["project_name"] = run.project
    if not run.online:
        if "save_to_api" in configured:
            arguments["save_to_api"] = False
        if "output_methods" in configured:  # which counts more
            methods = configured["output_methods"].split(",")
            arguments["output_methods"] = ",".join(method for method in methods if method.strip() != "api")
    begun = file_of(run)
    stays = {"output_dir": str(begun.parent), "output_file": begun.name} if run.resumed else {}
    return arguments | dict(run.options) | stays


def has_place(settings: Mapping[str, Any]) -> bool:
    """Return whether the settings say where the machine is."""
    country = str(settings.get("country_iso_code") or "").upper()
    is_known = bool(country) and country in DataSource().get_global_energy_mix_data()
    return is_known or any(settings.get(name) for name in ("cloud_provider", "force_carbon_intensity_g_co2e_kwh"))
